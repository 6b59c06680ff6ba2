"""The truth about the triplet margin loss as torch defines it, on stored numbers, for all three inputs.

L = max(0, d(a, p) - d(a, n) + margin), d(x, y) = (sum |x - y + eps|^P)^(1/P): torch adds 1e-6 to the
*signed* difference. With `swap` the smaller of d(a, n) and d(p, n) is taken. Option `squared` puts the sum of
squares in the place of d. With v = x - y + eps and G = sgn(v) (|v| / d)^(P-1) (squared: 2 v), active
rows have da = G(a, p) - G(a, n), dp = -G(a, p), dn = G(a, n); swapped da = G(a, p), dp = -G(a, p) - G(p, n),
dn = G(p, n). N is the sum of both distances, margin and |x g|. The traps: powers of v leave the range long
before d does, so each row is scaled by a power of two; and at d = 0 every vector of dual norm 1 is a slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.doubled import ratio_like

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
Range = tuple[Tensor, Tensor]
NAMES = ("anchor", "positive", "negative")
ROUNDOFFS = 8.0


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(inputs["anchor"].shape[0], dtype=torch.float64)


@dataclass(frozen=True)
class Distance:
    """Distances d (R, 1) of a chunk, slopes G (R, D) with their lowest and highest choice at a kink.

    `reach` is sum |G_k| r_k (R, 1) and `spread` N of each slope, where r is |x| + |y| + epsilon.
    """

    length: Tensor
    slope: Tensor
    ends: Range
    reach: Tensor
    spread: Tensor


def distance(x: Tensor, y: Tensor, options: Options) -> Distance:
    """Returns d(x, y) of a chunk of rows (R, D)."""
    power, epsilon = float(options["p"]), float(options["eps"])
    v = x - y + epsilon
    size = x.abs() + y.abs() + abs(epsilon)
    if options["squared"]:
        squares = (v * v).sum(1, keepdim=True)
        slope = 2 * v
        reach = (slope.abs() * size).sum(1, keepdim=True)
        return Distance(squares, slope, (slope, slope), reach, slope.abs() + 2 * size)
    largest = v.abs().amax(1, keepdim=True)
    scale = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - 1)
    scaled = v / scale
    root = _power(_power(scaled.abs(), power).sum(1, keepdim=True), ratio_like(v, 1.0, power))
    share = torch.where(root == 0, 0.0, scaled / root)
    slope = share.sign() * _power(share.abs(), power - 1)
    free = (root == 0) | (v == 0) if power == 1 else (root == 0).expand_as(v)
    ends = torch.where(free, -1.0, slope), torch.where(free, 1.0, slope)
    reach = (slope.abs() * size).sum(1, keepdim=True)
    # |G| moves by (P - 1) (|v|^(P-2) / d^(P-1) r + |G| R / d).
    own = _power(share.abs(), power - 2) * size / root / scale if power != 1 else torch.zeros_like(v)
    spread = slope.abs() + (power - 1) * (own + slope.abs() * reach / root / scale)
    return Distance(root * scale, slope, ends, reach, torch.where(root == 0, 1.0, spread))


def _power(base: Tensor, exponent: Any) -> Tensor:
    if exponent == 1:
        return base
    return base.sqrt() if exponent == 0.5 else base**exponent


@dataclass(frozen=True)
class Terms:
    """Distances of a chunk: to the positive, to the negative, from positive to negative where asked.

    `swapped` says where the last is the smaller; `excess` is what the hinge sees (R, 1), `size` its N.
    """

    near: Distance
    far: Distance
    across: Distance | None
    swapped: Tensor
    excess: Tensor
    size: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    anchor, positive, negative = (inputs[name] for name in NAMES)
    near, far = distance(anchor, positive, options), distance(anchor, negative, options)
    across = distance(positive, negative, options) if options["swap"] else None
    margin = float(options["margin"])
    other, reach = far.length, far.reach
    swapped = torch.zeros_like(other, dtype=torch.bool)
    if across is not None:
        swapped = across.length < far.length
        other = torch.where(swapped, across.length, other)
        reach = torch.where(swapped, across.reach, reach)
        # A NaN on either side is the smaller one, as `minimum` has it.
        other = torch.where(across.length.isnan(), across.length, other)
    excess = near.length - other + margin
    size = near.length + other + abs(margin) + near.reach + reach
    return Terms(near, far, across, swapped, excess, size)


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    return t.excess.clamp(min=0).squeeze(1)


def sensitivity(t: Terms) -> Tensor:
    """Returns N = d(a, p) + d(., n) + |margin| + sum |x g| (R,); the hinge keeps it where it rests."""
    return t.size.squeeze(1)


def _chosen(t: Terms, of: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a field of the three distances, 0 for the one of d(a, n) and d(p, n) that does not count."""
    far = torch.where(t.swapped, 0.0, of(t.far))
    across = torch.zeros_like(far) if t.across is None else torch.where(t.swapped, of(t.across), 0.0)
    return of(t.near), far, across


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns the gradients (R, D); a row whose excess is exactly 0 counts as active, as in torch."""
    near, far, across = _chosen(t, lambda d: d.slope)
    # A NaN leaves it open whether the row is active.
    active = torch.where(t.excess.isnan(), t.excess, 1.0)
    resting = t.excess < 0
    found = {"anchor": near - far, "positive": -near - across, "negative": far + across}
    return {name: torch.where(resting, 0.0, active * slope) for name, slope in found.items()}


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i: what a rounding of the inputs and of each distance does to the slopes (R, D)."""
    near, far, across = _chosen(t, lambda d: d.spread)
    resting = t.excess < 0
    found = {"anchor": near + far, "positive": near + across, "negative": far + across}
    return {name: torch.where(resting, 0.0, size) for name, size in found.items()}


def kinks(t: Terms) -> dict[str, Range]:
    """Returns the ends of the subdifferential: where the hinge, the swap or a distance has a kink."""
    zone = ROUNDOFFS * 2.0**-53 * t.size
    at_hinge, resting = t.excess.abs() <= zone, t.excess < 0
    far, across = t.far.ends, (torch.zeros_like(t.far.slope),) * 2
    if t.across is not None:
        tied = (t.across.length - t.far.length).abs() <= zone
        far, across = _shared(far, ~t.swapped, tied), _shared(t.across.ends, t.swapped, tied)
    (near_low, near_high), (far_low, far_high), (across_low, across_high) = t.near.ends, far, across
    ends = {
        "anchor": (near_low - far_high, near_high - far_low),
        "positive": (-near_high - across_high, -near_low - across_low),
        "negative": (far_low + across_low, far_high + across_high),
    }
    return {
        name: (
            torch.where(at_hinge, low.clamp(max=0), torch.where(resting, 0.0, low)),
            torch.where(at_hinge, high.clamp(min=0), torch.where(resting, 0.0, high)),
        )
        for name, (low, high) in ends.items()
    }


def _shared(ends: Range, counts: Tensor, tied: Tensor) -> Range:
    """Returns the ends of one of two distances: all of it, nothing, or anything between at a tie."""
    low, high = (torch.where(counts, end, 0.0) for end in ends)
    return torch.where(tied, ends[0].clamp(max=0), low), torch.where(tied, ends[1].clamp(min=0), high)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored row as Arb balls, by the plain definition.

    `row` holds "anchor", "positive" and "negative" as floats. NaN where an input is NaN; the slope of a
    distance of exactly 0 is stated as 0.
    """
    from flint import arb

    anchor, positive, negative = ([arb(v) for v in row[name]] for name in NAMES)
    near, near_slope = _exact_distance(anchor, positive, options)
    far, far_slope = _exact_distance(anchor, negative, options)
    nothing = [arb(0)] * len(anchor)
    across_slope = nothing
    if options["swap"]:
        across, slope = _exact_distance(positive, negative, options)
        if across < far or across.is_nan():
            far, far_slope, across_slope = across, nothing, slope
    excess = near - far + arb(float(options["margin"]))
    if excess < 0:
        return arb(0), dict.fromkeys(NAMES, nothing)
    if excess.is_nan():
        return excess, dict.fromkeys(NAMES, [excess] * len(anchor))
    entries = list(zip(near_slope, far_slope, across_slope, strict=True))
    return excess, {
        "anchor": [g - h for g, h, _ in entries],
        "positive": [-g - k for g, _, k in entries],
        "negative": [h + k for _, h, k in entries],
    }


def _exact_distance(x: list[Any], y: list[Any], options: Options) -> tuple[Any, list[Any]]:
    from flint import arb

    power, epsilon = arb(float(options["p"])), arb(float(options["eps"]))
    v = [p - q + epsilon for p, q in zip(x, y, strict=True)]
    if options["squared"]:
        return sum((w * w for w in v), arb(0)), [2 * w for w in v]
    sizes = [arb(0) if w.is_zero() else abs(w) ** power for w in v]
    length = sum(sizes, arb(0)) ** (1 / power)
    if length.is_zero():
        return length, [arb(0)] * len(v)
    # |w| is positive unless w is exactly 0, which has slope 0 (P = 1: one of the choices).
    slopes = [arb(0) if w.is_zero() else w / abs(w) * (abs(w) / length) ** (power - 1) for w in v]
    return length, slopes


ORACLE = ClosedForm(
    terms=terms,
    rows=row_losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=ROUNDOFFS,
    kinks=kinks,
)
