"""Element-wise losses: every entry has a loss of its own, with its own upstream gradient and weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.block import OpenBlock
from harness.oracle.closed_form import ClosedForm
from harness.probes.accuracy import accuracy
from harness.probes.determinism import determinism
from harness.probes.protocol.probe import protocol
from harness.trial import DTYPES, Case


def normal(shape, finfo, generator):
    drawn = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(x=drawn[0], t=drawn[1], gradients=("x", "t"), layout="elements")


def weights(shape, dtype):
    return torch.linspace(0.5, 2.0, shape.classes, dtype=torch.float64).to(dtype)


def weight_of(inputs):
    return inputs["weight"] if "weight" in inputs else torch.ones_like(inputs["x"])


def gradient(terms):
    inputs, _ = terms
    slope = 2 * (inputs["x"] - inputs["t"]) * weight_of(inputs)
    return {"x": slope, "t": -slope}


def sensitivity(terms):
    inputs, _ = terms
    return weight_of(inputs) * (inputs["x"].abs() + inputs["t"].abs()) ** 2


def gradient_sensitivity(terms):
    inputs, _ = terms
    size = 2 * (inputs["x"].abs() + inputs["t"].abs()) * weight_of(inputs)
    return {"x": size, "t": size}


def squared(x, t, reduction="mean", weight=None):
    losses = (x - t) ** 2 if weight is None else weight * (x - t) ** 2
    return losses if reduction == "none" else getattr(losses, reduction)()


def native(x, t, reduction="mean"):
    return F.mse_loss(x, t, reduction=reduction)


def ignores_class_weight(x, t, reduction="mean", weight=None):
    return squared(x, t, reduction, None if weight is None else weight.flip(0))


SUITE = Suite(
    name="squares",
    oracle=ClosedForm(
        rows=lambda terms: weight_of(terms[0]) * (terms[0]["x"] - terms[0]["t"]) ** 2,
        gradient=gradient,
        sensitivity=sensitivity,
        gradient_sensitivity=gradient_sensitivity,
        denominator=lambda inputs, options: torch.ones_like(inputs["x"]),
    ),
    options={"reduction": "mean", "weight": None},
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("weighted", reduction="none", weight=weights),
    ),
    regimes=(Regime(normal),),
    implementations=(
        Implementation(native, baseline=True),
        Implementation(squared),
        Implementation(ignores_class_weight),
    ),
)


def opened(variant, dtype):
    return OpenBlock(SUITE, Case("squares", variant, "normal", dtype, "cpu", 6, 5, 1), 0)


def loud(answer):
    assert answer.status == "ok", answer.reason
    return {finding.kind for finding in answer.findings if finding.severity != "note"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "variant"),
    [
        *((name, variant) for name in ("native", "squared") for variant in ("mean", "sum", "none")),
        ("squared", "weighted"),
    ],
)
def test_a_right_element_wise_loss_is_right_under_every_probe(name, variant, dtype):
    for probe in (accuracy, protocol, determinism):
        assert not loud(probe(opened(variant, dtype), name))


def test_an_unreduced_loss_keeps_the_shape_of_its_elements():
    stand = opened("none", "float32").standard("squared")
    assert stand.upstream.shape == (6, 5)
    assert stand.truth.value.shape == (30,)


def test_each_element_is_judged_with_its_own_weight():
    assert "inaccurate" in loud(accuracy(opened("weighted", "float32"), "ignores_class_weight"))


def test_slices_and_permutations_are_of_rows_not_of_elements():
    numbers = determinism(opened("none", "float32"), "squared").numbers
    assert numbers["slicing_ulps"] == numbers["permutation_ulps"] == 0


def at_kinks(shape, finfo, generator):
    sample = normal(shape, finfo, generator)
    # Every entry of the first row is its target: |x - t| has a kink there.
    target = sample["t"].clone()
    target[0] = sample["x"][0]
    return sample.replaced(t=target, gradients=("x",))


def slope_range(terms):
    residual = terms[0]["x"] - terms[0]["t"]
    kink = (residual == 0).double()
    return {"x": (residual.sign() - kink, residual.sign() + kink)}


def with_slope(slope):
    """Returns an absolute error that answers `slope` where the residual is 0."""

    class Absolute(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, t):
            residual = x - t
            ctx.save_for_backward(torch.where(residual == 0, slope, residual.sign()))
            return residual.abs()

        @staticmethod
        def backward(ctx, upstream):
            return ctx.saved_tensors[0] * upstream, None

    return lambda x, t: Absolute.apply(x, t).mean()


ABSOLUTE = Suite(
    name="absolute",
    oracle=ClosedForm(
        rows=lambda terms: (terms[0]["x"] - terms[0]["t"]).abs(),
        gradient=lambda terms: {"x": (terms[0]["x"] - terms[0]["t"]).sign()},
        sensitivity=lambda terms: terms[0]["x"].abs() + terms[0]["t"].abs(),
        gradient_sensitivity=lambda terms: {"x": torch.ones_like(terms[0]["x"])},
        denominator=lambda inputs, options: torch.ones_like(inputs["x"]),
        kinks=slope_range,
    ),
    regimes=(Regime(at_kinks),),
    implementations=(
        Implementation(F.l1_loss, name="native", baseline=True),
        Implementation(with_slope(1.0), name="upper"),
        Implementation(with_slope(-1.0), name="lower"),
        Implementation(with_slope(0.5), name="inside"),
        Implementation(with_slope(1.25), name="above"),
    ),
)


@pytest.mark.parametrize(
    ("name", "right"),
    [("native", True), ("upper", True), ("lower", True), ("inside", True), ("above", False)],
)
def test_at_a_kink_every_element_of_the_subdifferential_is_right(name, right):
    block = OpenBlock(ABSOLUTE, Case("absolute", "mean", "at_kinks", "float32", "cpu", 6, 5, 1), 0)
    assert ("inaccurate" not in loud(accuracy(block, name))) is right
    # A negative upstream gradient turns the range around.
    stand = block.standard(name).under(torch.tensor(-1.0))
    low, high = stand.gradients["x"].reach
    assert (low <= high).all()


def half_of_the_curvature(x, t, reduction="mean"):
    residual = x - t
    fixed = residual.detach()
    losses = 2 * fixed * residual - fixed**2 + 0.5 * (residual - fixed) ** 2
    return losses if reduction == "none" else getattr(losses, reduction)()


def test_the_second_derivative_of_elements_is_asked():
    suite = SUITE.extended(Implementation(half_of_the_curvature))
    for name, right in (("squared", True), ("half_of_the_curvature", False)):
        block = OpenBlock(suite, Case("squares", "mean", "normal", "float32", "cpu", 6, 5, 1), 0)
        answer = protocol(block, name)
        assert "unsupported: double backward" not in answer.notes
        assert ("second_order" not in loud(answer)) is right


def test_a_step_over_a_kink_is_no_curvature():
    def close(shape, finfo, generator):
        sample = at_kinks(shape, finfo, generator)
        # Nearer to the kink than the step of the difference.
        target = sample["t"] + 2.0**-15 * (sample["t"] == sample["x"])
        return sample.replaced(t=target)

    suite = replace(ABSOLUTE, regimes=(Regime(close),))
    block = OpenBlock(suite, Case("absolute", "mean", "close", "float64", "cpu", 6, 5, 1), 0)
    assert "second_order" not in loud(protocol(block, "native"))
