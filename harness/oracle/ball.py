"""Oracle tier B2: one number of a truth as an Arb ball, a proof in place of an error estimate.

The reduced loss or one entry of a reduced gradient is evaluated by `ClosedForm.exact` at 128, 256, 512
and 1024 bits until the radius is below 2^-20 ulp of float64. A ball that would have to sum more than
2^15 elements is not computed: the enclosure is then the bound that the family states a priori, which
`nox -s certify` puts to the test. The trap: rounding the middle to float64 would cost half an ulp, so
it is a pair (middle, tail) and the radius covers what is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import flint
import numpy as np
from flint import arb
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.reduction import Array
from harness.oracle.truth import Truth, reduced

PRECISIONS = (128, 256, 512, 1024)
LARGEST_SUM = 1 << 15
# An element costs an exponential, an entry that all rows share a product.
PRODUCTS_PER_ELEMENT = 8
# Bits by which a ball must be narrower than an ulp of float64.
NARROWER = 20

Kind = Literal["enclosed", "zero", "infinite", "beyond_float64", "undefined"]


@dataclass(frozen=True)
class Ball:
    """A real number enclosed: |exact - (middle + tail)| <= radius.

    `kind` is "zero" for exactly 0, "infinite" for the limit +-inf, "beyond_float64" for a finite value above
    the largest float64 (middle is +-inf), "undefined" for no value (middle is NaN). `tier` is "B2" for
    an Arb ball of `precision` bits, and "B0 bound" or "B1 bound", precision 53, for an a-priori one.
    """

    kind: Kind
    middle: float
    tail: float
    radius: float
    tier: str
    precision: int

    def distance(self, got: float) -> tuple[float, float]:
        """Returns bounds from below and above of |got - exact|; NaN where a side is not finite."""
        off = abs((got - self.middle) - self.tail)
        if not math.isfinite(off):
            return math.nan, math.nan
        slack = self.radius + 2.0**-52 * off
        return max(off - slack, 0.0), off + slack

    def as_json(self) -> dict[str, Any]:
        """Returns the ball with its numbers as hex text, exact to the last bit."""
        return {
            "kind": self.kind,
            "middle": self.middle.hex(),
            "tail": self.tail.hex(),
            "radius": self.radius.hex(),
            "tier": self.tier,
            "precision": self.precision,
        }


def enclosure(
    form: ClosedForm,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    upstream: Array | None,
    tensor: str,
    place: Sequence[int] = (),
    *,
    truth: Truth | None = None,
) -> Ball:
    """Returns the ball of one reduced number: `tensor` is "loss" or an input whose gradient is meant.

    `inputs` are the stored rows, `upstream` as for `reduced`, `place` the index in the truth's array. `truth`
    (with sensitivities) saves the a-priori bound an evaluation. Raises TypeError without `exact`.
    """
    if form.exact is None:
        raise TypeError("enclosure(): this closed form declares no `exact`; only a-priori bounds hold.")
    first = next(iter(inputs.values()))
    everything = tensor in form.shared or (tensor == "loss" and options["reduction"] != "none")
    elements = first.numel() // max(len(first), 1)
    elements += sum(inputs[n].numel() for n in form.shared if n in inputs) // PRODUCTS_PER_ELEMENT
    elements *= len(first) if everything else 1
    if elements > LARGEST_SUM:
        return a_priori(form, inputs, options, upstream, tensor, place, truth=truth)
    ball = arb("nan")
    for bits in PRECISIONS:
        with flint.ctx.workprec(bits):
            ball = _reduced_ball(form, inputs, options, upstream, tensor, tuple(place))
            if is_narrow(ball):
                return rounded(ball, bits)
    return rounded(ball, PRECISIONS[-1])


def row_ball(
    form: ClosedForm, inputs: Mapping[str, Tensor], options: Mapping[str, Any], row: int
) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored row before reduction, at the working precision of flint."""
    assert form.exact is not None
    own = {n: t if n in form.shared else t[row] for n, t in inputs.items()}
    return form.exact(as_numbers(own), as_numbers(options))


def as_numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options or inputs with tensors as lists of the stored numbers."""
    return {
        name: (value.double() if value.is_floating_point() else value).tolist()
        if isinstance(value, Tensor)
        else value
        for name, value in options.items()
    }


def _reduced_ball(
    form: ClosedForm,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    upstream: Array | None,
    tensor: str,
    place: tuple[int, ...],
) -> Any:
    reduction = options["reduction"]
    count = len(next(iter(inputs.values())))
    if tensor == "loss":
        if reduction == "none":
            return row_ball(form, inputs, options, place[0])[0]
        total = sum((row_ball(form, inputs, options, row)[0] for row in range(count)), arb(0))
        if reduction == "sum":
            return total
        denominator = _denominator(form, inputs, options, count)
        if denominator.is_zero() and options.get("empty_mean") == "zero":
            return arb(0)
        return _divided(total, denominator)
    if tensor in form.shared:
        return _over_rows(form, inputs, options, upstream, tensor, place)
    _, gradients = row_ball(form, inputs, options, place[0])
    # `exact` lists the entries of a row one after another, whatever axes they have.
    inner = tuple(inputs[tensor].shape[1:])
    entry = gradients[tensor][int(np.ravel_multi_index(place[1:], inner)) if inner else 0]
    above = 1.0 if upstream is None else float(upstream[place[0] if reduction == "none" else 0])
    if reduction == "mean":
        return entry * _divided(arb(above), _denominator(form, inputs, options, count))
    return entry * arb(above)


def _over_rows(
    form: ClosedForm,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    upstream: Array | None,
    tensor: str,
    place: tuple[int, ...],
) -> Any:
    """Returns one entry of the gradient of an input that all rows share: the sum of what they add."""
    reduction, count, total = options["reduction"], len(next(iter(inputs.values()))), arb(0)
    for row in range(count):
        left, right = row_ball(form, inputs, options, row)[1][tensor]
        above = 1.0 if upstream is None else float(upstream[row if reduction == "none" else 0])
        total += left[place[0]] * (right[place[1]] if len(place) > 1 else right[0]) * arb(above)
    return _divided(total, _denominator(form, inputs, options, count)) if reduction == "mean" else total


def _denominator(
    form: ClosedForm, inputs: Mapping[str, Tensor], options: Mapping[str, Any], count: int
) -> Any:
    widened = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
    prepared = {
        n: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in options.items()
    }
    parts = form.denominator(widened, prepared).double().expand(count)
    # Rows mostly add the same, and Arb adds one at a time.
    values, counts = np.unique(parts.numpy(), return_counts=True)
    return sum((arb(v) * int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)), arb(0))


def _divided(numerator: Any, denominator: Any) -> Any:
    """Divides in the extended reals: by exactly 0 gives an infinity, 0/0 is undefined; as `quotient` does."""
    if not denominator.is_zero():
        return numerator / denominator
    if not (numerator > 0 or numerator < 0):
        return arb("nan")
    return arb("+inf") if numerator > 0 else arb("-inf")


def is_narrow(ball: Any) -> bool:
    """Tells whether a ball's radius is below 2^-20 ulp of its middle; infinities and NaN are no wider."""
    if not ball.is_finite():
        return ball.is_nan() or bool(ball > 0) or bool(ball < 0)
    middle = abs(float(ball.mid()))
    spacing = 2.0**-1074 if middle < 2.0**-1022 else math.ulp(min(middle, 1.7e308))
    return bool(ball.rad() <= arb(spacing) * arb(2) ** -NARROWER)


def rounded(ball: Any, bits: int) -> Ball:
    """Returns an Arb ball as floats, the radius rounded outwards."""
    if not ball.is_finite():
        if ball > 0 or ball < 0:
            return Ball("infinite", math.inf if ball > 0 else -math.inf, 0.0, 0.0, "B2", bits)
        return Ball("undefined", math.nan, 0.0, 0.0, "B2", bits)
    if ball == 0:
        return Ball("zero", 0.0, 0.0, 0.0, "B2", bits)
    middle = float(ball.mid())
    if math.isinf(middle):
        return Ball("beyond_float64", middle, 0.0, 0.0, "B2", bits)
    with flint.ctx.workprec(4 * PRECISIONS[-1]):
        tail = float((ball.mid() - arb(middle)).mid())
        rest = (ball - arb(middle) - arb(tail)).abs_upper()
        radius = 0.0 if rest == 0 else math.nextafter(float(rest), math.inf)
    return Ball("enclosed", middle, tail, radius, "B2", bits)


def a_priori(
    form: ClosedForm,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    upstream: Array | None,
    tensor: str,
    place: Sequence[int] = (),
    *,
    truth: Truth | None = None,
) -> Ball:
    """Returns value +- rounding * N of the best tier that the family has, or of a `truth` at hand."""
    if truth is None:
        wanted = () if tensor == "loss" else (tensor,)
        rows = form.evaluate(inputs, options, wanted, tier=form.tiers()[-1])
        truth = reduced(rows, options, upstream)
    index = tuple(place)
    if tensor == "loss":
        value, tails, sensitivity = truth.value, truth.value_tail, truth.value_sensitivity
    else:
        value, tails = truth.gradients[tensor], truth.gradient_tails.get(tensor)
        sensitivity = truth.gradient_sensitivities[tensor]
    middle = float(value[index])
    tail = 0.0 if tails is None else float(tails[index])
    tier = f"{truth.tier} bound"
    if math.isnan(middle):
        return Ball("undefined", middle, 0.0, 0.0, tier, 53)
    if math.isinf(middle):
        return Ball("infinite", middle, 0.0, 0.0, tier, 53)
    # Two roundings: of N itself and of this product.
    radius = float(truth.rounding_of(tensor) * sensitivity[index] * (1 + 2.0**-50) + truth.floor)
    return Ball("enclosed", middle, tail, float(np.nextafter(radius, np.inf)), tier, 53)
