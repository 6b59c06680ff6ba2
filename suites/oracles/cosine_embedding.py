"""The truth about the cosine embedding loss as torch defines it, on stored numbers, for both inputs.

L = 1 - c for y = 1, L = max(0, c - margin) for y = -1, with c = a.b / (r(a) r(b)) and
r(v) = max(sqrt(|v|^2 + added), least): torch adds 1e-12 (as a float32) to the squares and clamps nothing.
Option `margin_sign` "plus" puts c + margin in the place of c - margin. Gradients: dc/da = b / (r(a) r(b)) -
c a / r(a)^2, its second term 0 where r(a) is clamped, times -1 or [c >= margin]. N is 1 + |c| + S (y = 1)
or |margin| + |c| + S (y = -1), S = sum |a_k b_k| / (r(a) r(b)).
The traps: squares over- and underflow long before a cosine does, so each row is scaled by a power of two
first; and 1 - c cancels for vectors of one direction, so it is taken from the difference of the unit vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
NAMES = ("first", "second")
ROUNDOFFS = 8.0
# With a guard, a vector is not scaled up from below it: what is added would overflow instead.
SHORTEST = 2.0**-20


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(inputs["first"].shape[0], dtype=torch.float64)


def shift_of(options: Options) -> float:
    """Returns what is taken from the cosine of a pair that should differ: the margin, with its sign."""
    margin = float(options["margin"])
    return -margin if options["margin_sign"] == "plus" else margin


@dataclass(frozen=True)
class Directions:
    """One input of a chunk (R, D) over its guarded norm.

    `unit` is v / r(v), `deficit` 1 - |unit|^2, `clamped` says where r is constant, `free` is v over a
    power of two next to its largest entry. `scale` times `root` (R, 1) is r(v), maybe beyond float64.
    """

    unit: Tensor
    root: Tensor
    scale: Tensor
    deficit: Tensor
    clamped: Tensor
    free: Tensor


def directions(vectors: Tensor, options: Options) -> Directions:
    """Returns the guarded unit vectors of a chunk (R, D); NaN for a vector of zeros without a guard."""
    added, least = float(options["added"]), float(options["least"])
    largest = vectors.abs().amax(1, keepdim=True)
    # A power of two: nothing rounds. Infinities and NaN go through as they are.
    own = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - 1)
    scale = own.clamp(min=SHORTEST) if added or least else own
    scaled = vectors / scale
    squares = (scaled * scaled).sum(1, keepdim=True)
    share = added / scale / scale
    norm = (squares + share).sqrt()
    root = norm.maximum(least / scale) if least else norm
    clamped = root > norm
    missing = torch.where(clamped, root * root - squares, share)
    return Directions(scaled / root, root, scale, missing / (root * root), clamped, vectors / own)


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk: both directions, c and S (R, 1), the gap 1 - |c|, what y asks for.

    `resting` marks pairs that should differ and are below the margin.
    """

    first: Directions
    second: Directions
    cosine: Tensor
    products: Tensor
    gap: Tensor
    positive: Tensor
    shift: float
    resting: Tensor

    @property
    def excess(self) -> Tensor:
        """c - margin (R, 1)."""
        return self.cosine - self.shift


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    first, second = (directions(inputs[name], options) for name in NAMES)
    products = first.unit * second.unit
    cosine = products.sum(1, keepdim=True)
    turned = torch.where(cosine < 0, -1.0, 1.0) * second.unit
    apart = ((first.unit - turned) ** 2).sum(1, keepdim=True)
    gap = (apart + first.deficit + second.deficit) / 2
    positive = (inputs["target"] == 1).unsqueeze(1)
    size = products.abs().sum(1, keepdim=True)
    shift = shift_of(options)
    # A cosine that underflows still has a sign.
    resting = cosine < shift if shift else (first.free * second.free).sum(1, keepdim=True) < 0
    return Terms(first, second, cosine, size, gap, positive, shift, resting & ~positive)


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    distance = torch.where(t.cosine > 0.5, t.gap, 1 - t.cosine)
    return torch.where(t.positive, distance, t.excess.clamp(min=0)).squeeze(1)


def _slope(t: Terms, own: Directions, other: Directions) -> Tensor:
    """Returns dc / d own (R, D), before the factor of the label."""
    sign = torch.where(t.cosine < 0, -1.0, 1.0)
    near = sign * other.unit - own.unit + t.gap * own.unit
    plain = other.unit - torch.where(own.clamped, 0.0, t.cosine) * own.unit
    close = (t.cosine.abs() > 0.5) & ~own.clamped
    return torch.where(close, sign * near, plain) / own.root / own.scale


def _factor(t: Terms) -> Tensor:
    """Returns dL / dc (R, 1); a pair at the margin counts as active, as in torch."""
    return torch.where(t.positive, -1.0, torch.where(t.resting, 0.0, 1.0))


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/da and dL/db (R, D)."""
    factor = _factor(t)
    return {
        "first": _weighted(factor, _slope(t, t.first, t.second)),
        "second": _weighted(factor, _slope(t, t.second, t.first)),
    }


def _weighted(factor: Tensor, slope: Tensor) -> Tensor:
    # A slope may be infinite where the pair does not count.
    return torch.where(factor == 0, 0.0, factor * slope)


def sensitivity(t: Terms) -> Tensor:
    """Returns N = 1 + |c| + S, or |margin| + |c| + S for pairs that should differ (R,)."""
    constant = torch.where(t.positive, 1.0, abs(t.shift))
    return (constant + t.cosine.abs() + t.products).squeeze(1)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i = |b_i| / (r(a) r(b)) + (|c| + S) |a_i| / r(a)^2 on active rows (R, D)."""
    active = _factor(t) != 0
    pairs = (("first", t.first, t.second), ("second", t.second, t.first))
    found = {}
    for name, own, other in pairs:
        size = other.unit.abs() + (t.cosine.abs() + t.products) * own.unit.abs()
        found[name] = torch.where(active, size / own.root / own.scale, 0.0)
    return found


def kinks(t: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the ends of the subdifferential: 0 and dc/dv where c is at the margin to the last bits."""
    at_kink = ~t.positive & (t.excess.abs() <= ROUNDOFFS * 2.0**-53 * sensitivity(t).unsqueeze(1))
    ends = {}
    for name, found in gradients(t).items():
        own, other = (t.first, t.second) if name == "first" else (t.second, t.first)
        slope = _slope(t, own, other)
        low, high = slope.clamp(max=0), slope.clamp(min=0)
        ends[name] = torch.where(at_kink, low, found), torch.where(at_kink, high, found)
    return ends


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and both gradients of one stored row as Arb balls, by the plain definition.

    `row` holds "first" and "second" as floats and "target" 1 or -1. NaN where an input is not finite
    and where a vector of zeros has no guard.
    """
    from flint import arb

    a, b = ([arb(v) for v in row[name]] for name in NAMES)
    added, least = arb(float(options["added"])), arb(float(options["least"]))

    def norm(vector: list[Any]) -> tuple[Any, bool]:
        free = (sum((v * v for v in vector), arb(0)) + added).sqrt()
        return (least, True) if free < least else (free, False)

    (of_a, a_clamped), (of_b, b_clamped) = norm(a), norm(b)
    cosine = sum((v * w for v, w in zip(a, b, strict=True)), arb(0)) / (of_a * of_b)

    def slope(own: list[Any], other: list[Any], root: Any, clamped: bool) -> list[Any]:
        factor = arb(0) if clamped else cosine / (root * root)
        return [w / (of_a * of_b) - factor * v for v, w in zip(own, other, strict=True)]

    slopes = {"first": slope(a, b, of_a, a_clamped), "second": slope(b, a, of_b, b_clamped)}
    if row["target"] == 1:
        return 1 - cosine, {name: [-entry for entry in entries] for name, entries in slopes.items()}
    excess = cosine - arb(shift_of(options))
    if excess < 0:
        return arb(0), {name: [arb(0)] * len(entries) for name, entries in slopes.items()}
    return excess, slopes


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
