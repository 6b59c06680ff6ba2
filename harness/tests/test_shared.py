"""Inputs that all rows share: their gradients are sums over rows, and no question cuts them into rows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.block import OpenBlock
from harness.errors import SuiteError
from harness.inputs import check_sample
from harness.metrics import FORMATS
from harness.oracle.closed_form import ClosedForm
from harness.oracle.contraction import ROUNDOFFS, contracted
from harness.oracle.in_pairs import StatedPairs
from harness.probes.accuracy import accuracy
from harness.probes.determinism import determinism
from harness.probes.memory import memory
from harness.probes.protocol.probe import protocol
from harness.reproducer.retelling import cut, row_of
from harness.sample import Shape
from harness.trial import Case

FEATURES = 3


def drawn(shape, finfo, generator):
    rows = torch.randn(shape.batch, FEATURES, generator=generator, dtype=torch.float64)
    weight = torch.randn(shape.classes, FEATURES, generator=generator, dtype=torch.float64)
    bias = torch.randn(shape.classes, generator=generator, dtype=torch.float64)
    shared = ("weight", "bias")
    return Sample(rows=rows, weight=weight, bias=bias, shared=shared, gradients=("rows", *shared))


def terms(inputs, options):
    rows, weight, bias = inputs["rows"], inputs["weight"], inputs["bias"]
    return rows, weight, rows @ weight.T + bias, rows.abs() @ weight.abs().T + bias.abs()


def gradient(t):
    rows, weight, z, _ = t
    return {"rows": z @ weight, "weight": (z, rows), "bias": (z, torch.ones(len(rows), dtype=torch.float64))}


def gradient_sensitivity(t):
    _, weight, _, size = t
    return {"rows": 2 * size @ weight.abs(), "weight": 2 * size, "bias": 2 * size}


def exact(row, options):
    from flint import arb

    x = [arb(v) for v in row["rows"]]
    z = [
        sum((a * arb(w) for a, w in zip(x, each, strict=True)), arb(b))
        for each, b in zip(row["weight"], row["bias"], strict=True)
    ]
    back = [
        sum((v * arb(w[h]) for v, w in zip(z, row["weight"], strict=True)), arb(0)) for h in range(len(x))
    ]
    loss = sum((v * v for v in z), arb(0)) / 2
    return loss, {"rows": back, "weight": (z, x), "bias": (z, [arb(1)])}


def projected_squares(rows, weight, bias, reduction="mean"):
    losses = (torch.nn.functional.linear(rows, weight, bias) ** 2).sum(1) / 2
    return losses if reduction == "none" else getattr(losses, reduction)()


class _Wrong(torch.autograd.Function):
    """The mean or the rows of projected squares, with a fault in the gradient of the weights alone."""

    @staticmethod
    def forward(ctx, rows, weight, bias, fault):
        z = rows @ weight.T + bias
        ctx.save_for_backward(rows, weight, z)
        ctx.fault = fault
        return (z**2).sum(1) / 2

    @staticmethod
    def backward(ctx, upstream):
        rows, weight, z = ctx.saved_tensors
        g = z * upstream.unsqueeze(1)
        of_weight = {
            "none": lambda: g.T @ rows,
            "no_factor": lambda: z.T @ rows,
            "first_upstream": lambda: z.T @ rows * upstream[0],
            "last_row": lambda: g[-1:].T @ rows[-1:],
            "zeros": lambda: torch.zeros_like(weight),
        }[ctx.fault]
        return g @ weight, of_weight(), g.sum(0), None


def faulty(rows, weight, bias, reduction="mean", *, fault):
    losses = _Wrong.apply(rows, weight, bias, fault)
    return losses if reduction == "none" else getattr(losses, reduction)()


def faults(fault):
    def loss(rows, weight, bias, reduction="mean"):
        return faulty(rows, weight, bias, reduction, fault=fault)

    return Implementation(loss, name=fault)


FORM = ClosedForm(
    rows=lambda t: (t[2] ** 2).sum(1) / 2,
    gradient=gradient,
    sensitivity=lambda t: (2 * t[3] ** 2).sum(1),
    gradient_sensitivity=gradient_sensitivity,
    denominator=lambda inputs, options: torch.ones(len(inputs["rows"]), dtype=torch.float64),
    exact=exact,
    terms=terms,
    roundoffs=16.0,
    shared=("weight", "bias"),
    staged=True,
)
FAULTS = ("no_factor", "first_upstream", "last_row", "zeros")
SUITE = Suite(
    name="projected_squares",
    oracle=FORM,
    options={"reduction": "mean"},
    variants=(Variant("mean"), Variant("sum", reduction="sum"), Variant("none", reduction="none")),
    regimes=(Regime(drawn),),
    implementations=(
        Implementation(projected_squares, baseline=True),
        faults("none"),
        *(faults(fault) for fault in FAULTS),
    ),
)


def opened(variant, dtype="float32", batch=20, classes=5):
    return OpenBlock(SUITE, Case(SUITE.name, variant, "drawn", dtype, "cpu", batch, classes, 1), 0)


def loud(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group.split("/")[0]) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["projected_squares", "none"])
def test_a_right_form_is_right_under_every_probe(name, variant, dtype):
    for probe in (accuracy, determinism):
        assert not loud(probe(opened(variant, dtype), name))
    kinds = {kind for kind, _ in loud(protocol(opened(variant, dtype), name))}
    # A Function without a second derivative is told apart by nobody here.
    assert kinds <= ({"second_order"} if name == "none" else set())


@pytest.mark.parametrize(
    ("fault", "variant", "shown"),
    [
        ("no_factor", "mean", True),
        ("no_factor", "none", True),
        ("first_upstream", "mean", False),
        ("first_upstream", "none", True),
        *((fault, variant, True) for fault in ("last_row", "zeros") for variant in ("mean", "sum", "none")),
    ],
)
def test_a_fault_in_the_gradient_of_the_weights_is_seen_there_and_nowhere_else(fault, variant, shown):
    found = loud(accuracy(opened(variant), fault))
    assert {group for _, group in found} == ({"weight"} if shown else set())


def test_sums_over_rows_are_as_exact_as_stated():
    for count in (0, 1, 7, 8, 9, 65):
        generator = torch.Generator().manual_seed(count)
        spread = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        left = torch.randn(count, 2, generator=generator, dtype=torch.float64) * (9 * spread).exp()
        right = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        got = contracted(left, right)
        for i in range(2):
            for j in range(2):
                products = [
                    Fraction(a) * Fraction(b)
                    for a, b in zip(left[:, i].tolist(), right[:, j].tolist(), strict=True)
                ]
                bound = ROUNDOFFS * Fraction(2) ** -53 * sum(map(abs, products))
                assert abs(Fraction(float(got[i, j])) - sum(products)) <= bound


def test_sums_over_rows_keep_the_class_of_what_is_not_finite():
    left = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    left[0] = torch.tensor([torch.inf, torch.nan, -torch.inf])
    got = contracted(left, torch.ones(2, 1, dtype=torch.float64)).squeeze(1)
    assert got[0] == torch.inf
    assert got[1].isnan()
    assert got[2] == -torch.inf


@pytest.mark.parametrize("variant", ["mean", "none"])
def test_the_truth_of_a_shared_gradient_lies_in_its_ball(variant):
    stand = opened(variant).standard("projected_squares")
    for tensor, place in (("weight", (4, 2)), ("bias", (3,))):
        ball = stand.enclosure(tensor, place)
        truth = stand.truth.gradients[tensor][place]
        bound = stand.truth.rounding_of(tensor) * stand.truth.gradient_sensitivities[tensor][place]
        assert ball.tier == "B2"
        assert ball.distance(float(truth))[1] <= bound
        # One row's share less is another number.
        products = stand.row_truth.shared[tensor]
        less = float(truth) - float(products.left[0, place[0]] * stand.truth.row_scale[0])
        assert ball.distance(less)[0] > bound


def test_the_mean_divides_a_shared_gradient_once():
    for variant, divisor in (("mean", 20), ("sum", 1)):
        stand = opened(variant, batch=20).standard("projected_squares")
        rows, weight, bias = (stand.row_inputs[n].double() for n in ("rows", "weight", "bias"))
        plain = stand.upstream.double() * ((rows @ weight.T + bias).T @ rows) / divisor
        assert np.allclose(stand.truth.gradients["weight"], plain.numpy(), rtol=1e-13)


def test_a_parameter_is_never_cut_to_some_rows():
    sample = drawn(Shape(4, 6), torch.finfo(torch.float64), torch.Generator())
    taken = sample.taken(torch.tensor([2, 0]))
    assert torch.equal(taken["rows"], sample["rows"][[2, 0]])
    assert taken["weight"] is sample["weight"]
    assert taken.shape == Shape(2, 6)
    assert cut(sample, [1])["bias"].shape == (6,)
    assert taken.mapped(torch.clone).shared == taken.replaced(rows=taken["rows"]).shared == ("weight", "bias")


def test_a_place_in_a_shared_gradient_is_no_row():
    finding = accuracy(opened("none"), "zeros").findings[0]
    assert finding.witness["tensor"] == "weight"
    assert row_of(finding) is None
    # Shown is the class, which all such inputs have, and no row.
    assert set(finding.witness["inputs"]) == {"weight", "bias"}


def test_peaks_are_multiples_of_the_logits_that_no_input_holds():
    numbers = memory(opened("mean", batch=64, classes=100), "projected_squares").numbers
    assert numbers["peak_bytes"] / numbers["peak_multiple"] == pytest.approx(64 * 100 * 4)
    assert numbers["peak_multiple"] >= 1


def test_severity_error_forgives_what_a_stage_may_store():
    plain = replace(SUITE, oracle=replace(FORM, staged=False))
    case = opened("mean", "bfloat16").case
    sticks = [OpenBlock(suite, case, 0).standard("none").gradients["weight"] for suite in (plain, SUITE)]
    added = FORMATS["bfloat16"].roundoff * sticks[1].sensitivity
    assert np.allclose(sticks[1].error - sticks[0].error, added, rtol=1e-12)
    assert (sticks[1].strict == sticks[0].strict).all()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"shared": ("weights",)}, "there is no tensor beside the first 'weights'"),
        ({"shared": ("rows",)}, "there is no tensor beside the first 'rows'"),
        ({"shared": ("weight",), "layout": "nchw"}, "parameters go with rows alone"),
    ],
)
def test_a_wrong_declaration_is_refused_with_a_sentence(given, sentence):
    tensors = {"rows": torch.ones(2, 3), "weight": torch.ones(4, 3)}
    with pytest.raises(SuiteError, match=sentence):
        Sample(**tensors, **given)


def test_the_first_shared_input_has_a_row_per_class():
    sample = drawn(Shape(4, 6), torch.finfo(torch.float64), torch.Generator())
    assert check_sample(sample, SUITE.regimes[0], Shape(4, 6)) is sample
    with pytest.raises(SuiteError, match="must have the 5 classes asked for"):
        check_sample(sample, SUITE.regimes[0], Shape(4, 5))


def test_pairs_and_sums_over_rows_exclude_one_another():
    with pytest.raises(SuiteError, match="has no sums over rows"):
        ClosedForm(
            rows=FORM.rows,
            gradient=gradient,
            sensitivity=FORM.sensitivity,
            gradient_sensitivity=gradient_sensitivity,
            denominator=FORM.denominator,
            pairs=StatedPairs(lambda *_: None, lambda *_: None),
            shared=("weight",),
        )
