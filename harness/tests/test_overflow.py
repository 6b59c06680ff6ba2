"""A ladder stops where a planted limit is: by loss, by each gradient, by class, by row, by a dead one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import Function

from harness import Contract, Implementation
from harness.block import OpenBlock
from harness.implementation import above
from harness.probes.overflow import overflow
from harness.tests.questioned import Above
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.implementations.cross_entropy import exact_gradient
from suites.implementations.mse import exact_gradient as exact_square
from suites.linear_cross_entropy import SUITE as PROJECTED
from suites.mse import SUITE as SQUARED

LOW, HIGH = 100.0, 1000.0
INF = math.inf


def climbed(function, ladder, dtype="float32", variant="mean", suite=SUITE, **declared):
    ladders = tuple(item for item in suite.ladders if item.name == ladder)
    assert len(ladders) == 1
    family = replace(
        suite.extended(Implementation(function, name="planted", **declared)), ladders=ladders, exhaustive=()
    )
    case = Case(family.name, variant, suite.regimes[0].name, dtype, "cpu", 64, 10, 1)
    return overflow(OpenBlock(family, case, 0), "planted")


def failing(*, loss=INF, gradient=INF, by=1.5, size=lambda logits: float(logits.detach().abs().max())):
    """Returns the closed form, whose loss and gradient are multiplied by `by` from their sizes on."""

    def planted(logits, target, reduction="mean"):
        reached = size(logits)
        passed = Above.apply(logits, lambda g: g * by) if reached >= gradient else logits
        answer = exact_gradient(passed, target, reduction)
        if reached < loss:
            return answer
        # The value changes, the gradient does not.
        return answer + (by - 1) * answer.detach()

    return planted


def test_who_never_fails_has_no_number_and_no_finding():
    answer = climbed(exact_gradient, "scale")
    assert (answer.status, answer.findings, dict(answer.numbers)) == ("ok", (), {})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gradient_that_fails_before_its_loss(dtype):
    numbers = climbed(failing(loss=HIGH, gradient=LOW), "scale", dtype).numbers
    assert numbers["gradient_fails_scale"] == pytest.approx(LOW, rel=0.01)
    assert numbers["loss_fails_scale"] == pytest.approx(HIGH, rel=0.01)
    assert numbers["first_failing_scale"] == numbers["gradient_fails_scale"]
    assert "first_nonfinite_scale" not in numbers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_loss_that_fails_before_its_gradient(dtype):
    numbers = climbed(failing(loss=LOW, gradient=HIGH), "scale", dtype).numbers
    assert numbers["loss_fails_scale"] == pytest.approx(LOW, rel=0.01)
    assert numbers["gradient_fails_scale"] == pytest.approx(HIGH, rel=0.01)
    assert numbers["first_failing_scale"] == numbers["loss_fails_scale"]


@pytest.mark.parametrize(("side", "other"), [("loss", "gradient"), ("gradient", "loss")])
def test_a_side_that_never_fails_has_no_number(side, other):
    answer = climbed(failing(**{side: LOW}), "scale")
    assert f"{side}_fails_scale" in answer.numbers
    assert f"{other}_fails_scale" not in answer.numbers
    # One finding for both: the first failure.
    (found,) = answer.findings
    assert (found.kind, found.group) == ("inaccurate", "ladder scale")
    assert found.message.startswith("from largest |logit| = 100")
    assert float.fromhex(found.witness["value"]) == answer.numbers["first_failing_scale"]


def test_the_first_failing_scale_is_bisected_to_a_quarter():
    value = climbed(failing(loss=LOW), "scale").numbers["first_failing_scale"]
    assert LOW <= value <= LOW + 0.25


def test_a_blow_up_is_told_apart_from_the_first_failure():
    def planted(logits, target, reduction="mean"):
        answer = failing(loss=LOW)(logits, target, reduction)
        return answer * INF if float(logits.detach().abs().max()) >= HIGH else answer

    answer = climbed(planted, "scale")
    assert answer.numbers["first_failing_scale"] == pytest.approx(LOW, rel=0.01)
    assert answer.numbers["first_nonfinite_scale"] == pytest.approx(HIGH, rel=0.01)
    assert [f.kind for f in answer.findings] == ["inaccurate", "spurious_overflow"]


def test_a_blow_up_that_is_the_first_failure_is_said_once():
    answer = climbed(failing(loss=LOW, by=INF), "scale")
    assert answer.numbers["first_failing_scale"] == answer.numbers["first_nonfinite_scale"]
    assert [f.kind for f in answer.findings] == ["spurious_overflow"]


@pytest.mark.parametrize("limit", [777, 1000, 4097])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_first_failing_class_count_is_exact(limit, dtype):
    function = failing(loss=limit, size=lambda logits: logits.shape[1])
    answer = climbed(function, "classes", dtype)
    assert answer.numbers["first_failing_classes"] == answer.numbers["loss_fails_classes"] == limit
    (found,) = answer.findings
    assert found.message.startswith(f"from classes in a row = {limit:,} on: loss: ")


@pytest.mark.parametrize("ladder", ["rows", "rows_untrained"])
def test_the_first_failing_row_count_is_exact(ladder):
    function = failing(gradient=3001, size=lambda logits: logits.shape[0])
    answer = climbed(function, ladder, "float16")
    assert answer.numbers[f"first_failing_{ladder}"] == 3001
    assert f"loss_fails_{ladder}" not in answer.numbers


def test_a_ladder_of_rows_is_not_climbed_without_a_reduction():
    function = failing(gradient=3, size=lambda logits: logits.shape[0])
    assert dict(climbed(function, "rows", variant="none").numbers) == {}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_first_dead_gradient_is_met_on_the_rung(dtype):
    answer = climbed(failing(gradient=5.5, by=0.0), "gap", dtype)
    assert answer.numbers == {"first_dead_gap": 5.5}
    (found,) = answer.findings
    assert (found.kind, found.group) == ("dead_gradient", "ladder gap")


def test_an_error_of_another_kind_on_a_ladder_of_dead_gradients_is_told():
    answer = climbed(failing(gradient=5.5, by=-1.0), "gap")
    assert answer.numbers == {"first_failing_gap": 5.5}
    (found,) = answer.findings
    assert (found.kind, found.severity, found.group) == ("inaccurate", "error", "ladder gap")
    loss = climbed(failing(loss=5.5, by=INF), "gap")
    assert [f.kind for f in loss.findings] == ["spurious_overflow"]


class FewSlopes(Function):
    """Passes rows on; from a number of classes on the slopes off the label are not computed."""

    @staticmethod
    def forward(ctx, logits, target, classes):
        ctx.save_for_backward(target)
        ctx.classes = classes
        return logits.clone()

    @staticmethod
    def backward(ctx, upstream):
        (target,) = ctx.saved_tensors
        kept = F.one_hot(target, upstream.shape[1]).bool()
        lost = upstream.shape[1] >= ctx.classes
        return torch.where(kept, upstream, 0.0) if lost else upstream, None, None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("limit", [3000, 9001])
def test_slopes_of_many_classes_that_nobody_computed_are_told_in_16_bits(dtype, limit):
    def planted(logits, target, reduction="mean"):
        return F.cross_entropy(FewSlopes.apply(logits, target, limit), target, reduction=reduction)

    answer = climbed(planted, "classes", dtype)
    assert answer.numbers["gradient_fails_classes"] == limit
    (found,) = answer.findings
    assert (found.kind, found.severity) == ("dead_gradient", "error")
    assert found.message.startswith(f"from classes in a row = {limit:,} on: logits/")
    assert climbed(F.cross_entropy, "classes", dtype).findings == ()


def gradient_of_row(modulus):
    """A cross-entropy whose backward counts rows up to a limit and then from 0 again, as 16 bits do."""

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.clone()

        @staticmethod
        def backward(ctx, upstream):
            return upstream[torch.arange(len(upstream)) % modulus]

    def wraps(logits, target, reduction="mean"):
        return F.cross_entropy(Wrapped.apply(logits), target, reduction=reduction)

    return wraps


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("limit", [1 << 15, 1 << 16])
def test_a_row_number_that_wraps_is_met_at_the_first_wrong_row(limit, dtype):
    # In a cycle of 64 rows it lands on an equal one.
    answer = climbed(gradient_of_row(limit), "rows", dtype)
    assert answer.numbers["first_failing_rows"] == limit + 1
    (found,) = answer.findings
    assert (found.kind, found.severity, found.group) == ("inaccurate", "error", "ladder rows")
    assert climbed(F.cross_entropy, "rows", dtype).findings == ()


def test_who_raises_on_the_way_up_fails_there():
    def planted(logits, target, reduction="mean"):
        if logits.shape[1] >= 600:
            raise RuntimeError("too many classes for shared memory")
        return exact_gradient(logits, target, reduction)

    answer = climbed(planted, "classes")
    assert answer.status == "ok"
    assert answer.numbers["first_failing_classes"] == 600
    assert [f.kind for f in answer.findings] == ["raises"]
    # A raise is neither a loss nor a gradient that fails.
    assert "loss_fails_classes" not in answer.numbers
    assert "gradient_fails_classes" not in answer.numbers


def test_a_16_bit_mean_of_many_rows_that_is_a_quarter_too_small_fails():
    def adds_blocks(logits, target, reduction="mean"):
        losses = F.cross_entropy(logits, target, reduction="none")
        blocks = [block.sum() for block in losses.split(256)]
        return reduce(torch.add, blocks) / len(losses)

    def loses(logits, target, reduction="mean"):
        return F.cross_entropy(logits, target, reduction=reduction) * (0.6 if len(logits) > 100_000 else 1)

    for planted in (adds_blocks, loses):
        (found,) = climbed(planted, "rows", "bfloat16").findings
        assert (found.kind, found.severity) == ("inaccurate", "error")
        assert ": loss: " in found.message
    for name in ("native", "exact_gradient"):
        assert climbed(SUITE.implementation(name).function, "rows", "bfloat16").findings == ()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (MemoryError("no room"), "out_of_memory", "out of memory"),
        (NotImplementedError("not for so many rows"), "ok", "unsupported"),
    ],
)
def test_a_climb_that_ends_without_an_answer_says_where(error, status, words):
    def ends(logits, target, reduction="mean"):
        if len(logits) > 1000:
            raise error
        return F.cross_entropy(logits, target, reduction=reduction)

    answer = climbed(ends, "rows")
    key = f"{words}: ladder rows from 1,024 on"
    assert str(error) in answer.notes[key]
    assert (answer.status, answer.findings) == (status, ())
    assert answer.reason == (f"ladder rows from 1,024 on: {answer.notes[key]}" if status != "ok" else "")


def test_a_climb_that_is_skipped_from_a_size_on_says_so():
    answer = climbed(exact_gradient, "rows", skip=above(batch=5000))
    assert [key for key in answer.notes if key.startswith("skipped: ladder rows from ")]
    assert answer.status == "ok"


def test_a_ladder_that_the_contract_takes_out_is_not_climbed():
    declared = Contract(except_regimes=("ladder scale",))
    assert dict(climbed(failing(loss=LOW), "scale", contract=declared).numbers) == {}


def test_bisection_meets_a_limit_that_lies_between_two_rungs_of_zero_start():
    seen = []

    def planted(logits, target, reduction="mean"):
        seen.append(float(logits.detach().abs().max()))
        return failing(loss=LOW)(logits, target, reduction)

    climbed(planted, "scale")
    assert len(seen) < 200
    assert any(abs(value - LOW) < 0.25 for value in seen)
    assert torch.finfo(torch.float32).max > max(seen)


def squares(*, prediction=INF, target=INF, by=1.5):
    """Returns the squared residual, whose gradients are multiplied by `by` from sizes of their own on."""

    def planted(x, t, reduction="mean"):
        size = float((x - t).detach().abs().max())
        x = Above.apply(x, lambda g: g * by) if size >= prediction else x
        t = Above.apply(t, lambda g: g * by) if size >= target else t
        return exact_square(x, t, reduction)

    return planted


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_second_gradient_that_fails_alone_has_its_own_number(dtype):
    answer = climbed(squares(target=LOW), "scale", dtype, suite=SQUARED)
    numbers = dict(answer.numbers)
    lowest = numbers["first_failing_scale"]
    assert numbers == dict.fromkeys(
        ("first_failing_scale", "gradient_fails_scale", "gradient_fails_scale/target"), lowest
    )
    (found,) = answer.findings
    assert ": target: " in found.message or ": target/" in found.message


def test_every_gradient_fails_where_it_does_and_the_plain_number_is_the_lowest():
    numbers = climbed(squares(prediction=HIGH, target=LOW), "scale", suite=SQUARED).numbers
    assert numbers["gradient_fails_scale/target"] < 2 * LOW
    assert HIGH <= numbers["gradient_fails_scale/prediction"] < 2 * HIGH
    assert numbers["gradient_fails_scale"] == numbers["gradient_fails_scale/target"]
    assert "loss_fails_scale" not in numbers
    assert dict(climbed(exact_square, "scale", suite=SQUARED).numbers) == {}


def test_a_gradient_that_is_dead_alone_has_its_own_number():
    native = PROJECTED.baseline.function

    def planted(hidden, linear_weight, target, reduction="mean"):
        logits = (hidden @ linear_weight.T).detach()
        if float((logits.amax(1) - logits.amin(1)).max()) >= 5.5:
            linear_weight = Above.apply(linear_weight, torch.zeros_like)
        return native(hidden, linear_weight, target, reduction=reduction)

    right = climbed(native, "gap", suite=PROJECTED).numbers
    numbers = climbed(planted, "gap", suite=PROJECTED).numbers
    assert numbers["first_dead_gap/linear_weight"] == numbers["first_dead_gap"] == 5.5
    assert numbers["first_dead_gap/hidden"] == right["first_dead_gap/hidden"] > 10
