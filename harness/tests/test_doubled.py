"""Tensors of pairs: torch's operators and functions on them against Arb, and what has no form in pairs."""

from __future__ import annotations

import math

import flint
import numpy as np
import pytest
import torch
from flint import arb

from harness.errors import SuiteError
from harness.oracle.closed_form import ClosedForm
from harness.oracle.doubled import Doubled, doubled, of_parts, pair_of, pi_like, ratio_like
from harness.oracle.pair import Pair
from harness.tests.pairs_and_balls import balls, drawn, worst

INF, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def wide_precision():
    with flint.ctx.workprec(2400):
        yield


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def numbers(seed, low=-20, high=20):
    a = drawn(300, low, high, seed)
    return of_parts(a.high, a.low), balls(a)


def larger(x, y):
    return x if x > y else y


BINARY = {
    "a + b": (lambda a, b: a + b, lambda x, y: (x + y, abs(x) + abs(y))),
    "a - b": (lambda a, b: a - b, lambda x, y: (x - y, abs(x) + abs(y))),
    "a * b": (lambda a, b: a * b, lambda x, y: (x * y, abs(x * y))),
    "a / b": (lambda a, b: a / b, lambda x, y: (x / y, abs(x / y))),
    "minimum": (torch.minimum, lambda x, y: (min(x, y, key=lambda v: float(v.mid())), abs(x) + abs(y))),
    "maximum": (torch.maximum, lambda x, y: (larger(x, y), abs(x) + abs(y))),
    "hypot": (torch.hypot, lambda x, y: ((x * x + y * y).sqrt(), abs(x) + abs(y))),
    "where": (
        lambda a, b: torch.where(a > b, a, b),
        lambda x, y: (larger(x, y), abs(x)),
    ),
}


@pytest.mark.parametrize("name", BINARY)
def test_arithmetic_of_two_keeps_100_bits(name):
    function, exact = BINARY[name]
    (a, x), (b, y) = numbers(1), numbers(2)
    truth = [exact(p, q) for p, q in zip(x, y, strict=True)]
    found = pair_of(function(a, b))
    assert worst(found, [t for t, _ in truth], [scale for _, scale in truth]) < -99


@pytest.mark.parametrize("name", ["a + b", "a - b", "a * b", "a / b"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tensor_or_a_number_may_stand_on_either_side(name, side):
    function, exact = BINARY[name]
    a, x = numbers(3)
    for other in (tensor(1 / 3), 0.1, 7):
        y = arb(float(other))
        found = pair_of(function(a, other) if side == "left" else function(other, a))
        truth = [exact(p, y) if side == "left" else exact(y, p) for p in x]
        assert worst(found, [t for t, _ in truth], [scale for _, scale in truth]) < -99


UNARY = {
    "exp": (torch.exp, lambda x: x.exp(), -65),
    "expm1": (torch.expm1, lambda x: x.expm1(), -64),
    "log of |a|": (lambda a: torch.log(a.abs()), lambda x: abs(x).log(), -71),
    "log1p of |a|": (lambda a: torch.log1p(a.abs()), lambda x: abs(x).log1p(), -71),
    "sqrt of |a|": (lambda a: a.abs().sqrt(), lambda x: abs(x).sqrt(), -99),
    "a ** 2": (lambda a: a**2, lambda x: x * x, -99),
    "|a| ** 1.5": (lambda a: a.abs() ** 1.5, lambda x: abs(x) ** arb(1.5), -60),
    "sigmoid": (torch.sigmoid, lambda x: 1 / (1 + (-x).exp()), -65),
    "-a": (lambda a: -a, lambda x: -x, -400),
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_keep_their_bits(name):
    function, exact, bits = UNARY[name]
    a, x = numbers(4, -20, 8)
    assert worst(pair_of(function(a)), [exact(v) for v in x]) < bits


def test_comparisons_see_the_low_part():
    a = of_parts(tensor(1.0, 1.0, 1.0), tensor(0.0, 2.0**-60, -(2.0**-60)))
    assert (a > 1).tolist() == [False, True, False]
    assert (a < 1).tolist() == [False, False, True]
    assert (a == 1).tolist() == [True, False, False]
    assert (a >= 1).tolist() == [True, True, False]
    assert (a <= 1).tolist() == [True, False, True]
    assert (a != 1).tolist() == [False, True, True]
    assert torch.sign(a - 1).tolist() == [0.0, 1.0, -1.0]


def test_sums_scatters_and_moves_keep_both_parts():
    high, low = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low = low * 2.0**-55
    a = of_parts(high, low)
    exact = [sum(balls(Pair(high[r], low[r])), arb(0)) for r in range(4)]
    assert worst(pair_of(a.sum(1)), exact) < -95
    assert a.sum(1, keepdim=True).shape == (4, 1)
    images = Doubled(*(part.reshape(2, 2, 5) for part in (high, low)))
    assert worst(pair_of(images.sum((1, 2))), [exact[0] + exact[1], exact[2] + exact[3]]) < -95
    assert worst(pair_of(a.mean(1)), [total / 5 for total in exact]) < -95
    column = torch.tensor([[0], [3], [1], [4]])
    assert torch.equal(pair_of(a.gather(1, column)).low, low.gather(1, column))
    moved = pair_of(a.scatter(1, column, 0.0))
    assert torch.equal(moved.low, low.scatter(1, column, 0.0))
    for moved in (
        a.roll(2, 1),
        a.transpose(0, 1),
        a.flatten(),
        a.narrow(1, 1, 2),
        a.permute(1, 0).contiguous(),
    ):
        assert set(pair_of(moved).low.flatten().tolist()) <= set(low.flatten().tolist())
        assert set(pair_of(moved).high.flatten().tolist()) <= set(high.flatten().tolist())
    top, place = a.max(1, keepdim=True)
    assert torch.equal(pair_of(top).low, low.gather(1, place))
    assert float(a.max()) == float(high.max())
    twice = torch.tensor([[0, 0, 1, 1, 0]]).expand(4, 5)
    added = pair_of(torch.zeros_like(a).scatter_add_(1, twice, a))
    for row in range(4):
        parts = balls(Pair(high[row], low[row]))
        sums = [parts[0] + parts[1] + parts[4], parts[2] + parts[3]]
        assert worst(Pair(added.high[row, :2], added.low[row, :2]), sums) < -90


def test_matrix_products_add_in_pairs():
    a, b = (
        torch.randn(4, 4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2)
    )
    found = doubled(a) @ b
    exact = [
        sum((arb(x) * arb(y) for x, y in zip(row, column, strict=True)), arb(0))
        for row in a.tolist()
        for column in b.T.tolist()
    ]
    scales = [arb(v) for v in (a.abs() @ b.abs()).reshape(-1).tolist()]
    assert worst(pair_of(found), exact, scales) < -99
    assert torch.equal(pair_of(a @ doubled(b)).low, pair_of(found).low)


def test_in_place_methods_change_the_object_and_never_the_stored_numbers():
    stored = torch.ones(3, dtype=torch.float64)
    a = doubled(stored)
    a[1] = 5.0
    a.mul_(3.0).add_(0.1)
    a += 1.0
    assert stored.tolist() == [1.0, 1.0, 1.0]
    assert pair_of(a).high.tolist() == pytest.approx([4.1, 16.1, 4.1])


SPECIAL = tensor(0.0, -0.0, INF, -INF, NAN, 1e308, -1e308, 5e-324, 1.0)
SPECIAL_FUNCTIONS = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "clamp": lambda a, b: a.clamp(min=-1.0, max=2.0) + 0 * b,
    "exp": lambda a, b: torch.exp(a) + 0 * b,
    "sum": lambda a, b: a.sum(1, keepdim=True) + 0 * b,
}


@pytest.mark.parametrize("name", SPECIAL_FUNCTIONS)
def test_what_is_not_finite_is_what_float64_makes_of_it(name):
    function = SPECIAL_FUNCTIONS[name]
    a, b = SPECIAL.repeat_interleave(len(SPECIAL)).unsqueeze(1), SPECIAL.repeat(len(SPECIAL)).unsqueeze(1)
    expected = function(a, b)
    found = pair_of(function(doubled(a), doubled(b)))
    odd = ~expected.isfinite()
    np.testing.assert_array_equal(found.high[odd].numpy(), expected[odd].numpy())
    assert bool(found.high[~odd].isfinite().all())
    assert bool(found.low.isfinite().all())


def test_constants_have_both_parts_in_pairs_and_one_in_tensors():
    assert worst(pair_of(pi_like(doubled(tensor(1.0)))), [arb.pi()]) < -104
    assert worst(pair_of(ratio_like(doubled(tensor(1.0)), 1.0, 3.0)), [arb(1) / 3]) < -100
    assert (pi_like(tensor(1.0)), ratio_like(tensor(1.0), 1.0, 3.0)) == (math.pi, 1 / 3)


def test_what_pairs_have_not_is_named_with_the_way_out():
    a = doubled(tensor(1.0))
    with pytest.raises(SuiteError, match=r"torch\.erf\(\.\.\.\) has no form in pairs .*in_pairs=False"):
        torch.erf(a)
    with pytest.raises(AttributeError, match="a tensor of pairs has no 'erfinv'"):
        _ = a.erfinv


def form(**changes):
    """A loss x^2 whose gradient is stated apart."""
    stated = {
        "rows": lambda t: t[0]["x"] ** 2,
        "gradient": lambda t: {"x": 2 * t[0]["x"]},
        "sensitivity": lambda t: 2 * t[0]["x"] ** 2,
        "gradient_sensitivity": lambda t: {"x": 4 * t[0]["x"].abs()},
        "denominator": lambda inputs, options: torch.ones(len(inputs["x"]), dtype=torch.float64),
    }
    return ClosedForm(**(stated | changes))


def test_a_closed_form_answers_in_pairs_as_it_is():
    x = torch.tensor([1 / 3, 0.1, -7.3], dtype=torch.float64)
    truth = form().evaluate({"x": x}, {}, ("x",), tier="B1")
    assert truth.tier == "B1"
    found = Pair(torch.from_numpy(truth.losses), torch.from_numpy(truth.loss_tails))
    assert worst(found, [arb(v) ** 2 for v in x.tolist()]) < -100
    # float64 alone is off by a rounding.
    alone = form().evaluate({"x": x}, {}, ("x",), tier="B0")
    assert (
        worst(Pair(torch.from_numpy(alone.losses), torch.zeros(3)), [arb(v) ** 2 for v in x.tolist()]) > -60
    )


def test_a_form_that_leaves_pairs_says_so_or_answers_in_float64():
    left = {"rows": lambda t: torch.erf(t[0]["x"])}
    by_numpy = {"rows": lambda t: torch.from_numpy(np.square(t[0]["x"].numpy()))}
    x = torch.tensor([0.5], dtype=torch.float64)
    with pytest.raises(SuiteError, match=r"torch\.erf\("):
        form(**left).evaluate({"x": x}, {}, ("x",), tier="B1")
    with pytest.raises(SuiteError, match=r"not for tensors of pairs.*'numpy'"):
        form(**by_numpy).evaluate({"x": x}, {}, ("x",), tier="B1")
    for changes in (left, by_numpy):
        declared = form(in_pairs=False, **changes)
        assert declared.tiers() == ("B0",)
        assert declared.evaluate({"x": x}, {}, ("x",), tier="B1").tier == "B0"


def test_a_tensor_of_pairs_is_no_tensor_by_accident():
    assert not isinstance(doubled(tensor(1.0)), torch.Tensor)
    assert isinstance(doubled(tensor(1.0)), Doubled)
