"""Sparsemax and 1.5-entmax losses: Fenchel-Young losses whose gradient is a sparse distribution minus the
label.

p maximises <p, z> + H(p) over the simplex, with the Tsallis entropy of order alpha (Martins & Astudillo
2016 for alpha = 2; Peters, Niculae & Martins 2019 for 1.5). With x = (alpha - 1) z shifted to a maximum of
0 there is a threshold tau so that t = max(0, x - tau), p = t^(1 / (alpha - 1)) and sum p = 1. L = H(p) +
<p, z> - z_y, gradient p - e_y. Where y is in the support this is, with o = sum_{j != y} p_j and a = o / (1
+ t_y), (o^2 + sum_{j != y} p_j^2) / 2 and 2/3 (a^2 (2 + t_y) + sum_{j != y} t_j^3), else (1 + sum p^2) / 2
+ tau - x_y and 4/3 + 2/3 sum t^3 + 2 (tau - x_y): no term is subtracted. The trap: L is exactly 0 once the
label leads by 1 (alpha 1.5: by 2), so a form that leaves rounding there has a gradient where none is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from harness import Blind, Contract, Implementation, Ladder, Regime, Suite, Variant
from harness.oracle.closed_form import ClosedForm
from harness.oracle.doubled import leading, ratio_like
from harness.oracle.softmax import limits
from harness.sample import Sample, Shape
from harness.suite import Shapes
from suites.regimes import classification as draw

Options = Mapping[str, Any]
# Nothing further below the maximum than 1 is in a support; so far all squares are finite.
BELOW = -2.0
# What is as close to the threshold may be counted in or out by a rounding of float32.
ZONE = 2.0**-12


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk: shifted scores x, excess t and p (R, C), tau, and the label's column (R, 1).

    `others` is o; `size` is what a rounding multiplies in each t (R, C).
    """

    scores: Tensor
    excess: Tensor
    probabilities: Tensor
    threshold: Tensor
    column: Tensor
    others: Tensor
    size: Tensor
    alpha: float


def sorted_threshold(scores: Tensor, alpha: float) -> Tensor:
    """Returns tau (R, 1) of shifted scores (R, C), by sorting."""
    ordered = scores.sort(1, descending=True).values
    count = torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype, device=scores.device)
    total = ordered.cumsum(1)
    if alpha == 2:
        inside = 1 + count * ordered > total
    else:
        inside = (ordered**2).cumsum(1) - 2 * ordered * total + count * ordered**2 < 1
    # The first is always in; a NaN row has none.
    inside[:, 0] = True
    last = inside.sum(1, keepdim=True) - 1
    # One over an integer tensor would be float32 whatever the scores are.
    size = (last + 1).to(scores.dtype)
    mean = total.gather(1, last) / size
    if alpha == 2:
        return mean - 1 / size
    square = (ordered**2).cumsum(1).gather(1, last) - size * mean**2
    return mean - ((1 - square).clamp(min=0) / size).sqrt()


def threshold(scores: Tensor, alpha: float) -> Tensor:
    """Returns tau (R, 1), found by sorting and mended by Newton's steps on sum p - 1.

    Scores in pairs are sorted as float64: the steps double the digits, so three leave nothing of it.
    """
    tau = sorted_threshold(leading(scores), alpha)
    for _ in range(3):
        excess = (scores - tau).clamp(min=0)
        if alpha == 2:
            mass, slope = excess.sum(1, keepdim=True), (excess > 0).sum(1, keepdim=True)
        else:
            mass, slope = (excess**2).sum(1, keepdim=True), 2 * excess.sum(1, keepdim=True)
        tau = tau + (mass - 1) / slope
    return tau


def terms(inputs: Mapping[str, Tensor], options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    logits, alpha = inputs["logits"], float(options["alpha"])
    top, largest = logits.max(1, keepdim=True)
    scores = (alpha - 1) * limits(logits - top, top, largest)
    tau = threshold(scores.clamp(min=BELOW), alpha)
    excess = (scores - tau).clamp(min=0)
    probabilities = excess if alpha == 2 else excess**2
    column = inputs["target"].unsqueeze(1)
    others = probabilities.scatter(1, column, 0.0).sum(1, keepdim=True)
    # A NaN at the label must not vanish with it.
    others = others + 0 * probabilities.gather(1, column)
    # Scores in the support, and so their roundings, are of size 1 at most.
    size = (scores.clamp(min=BELOW).abs() + tau.abs() + 1).masked_fill(scores < tau - ZONE, 0.0)
    return Terms(scores, excess, probabilities, tau, column, others, size, alpha)


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    label = t.excess.gather(1, t.column)
    gap = t.threshold - t.scores.gather(1, t.column)
    without = t.excess.scatter(1, t.column, 0.0)
    if t.alpha == 2:
        inside = (t.others**2 + (without**2).sum(1, keepdim=True)) / 2
        outside = (1 + (t.excess**2).sum(1, keepdim=True)) / 2 + gap
    else:
        away, third = t.others / (1 + label), ratio_like(t.scores, 1, 3)
        inside = 2 * third * (away**2 * (2 + label) + (without**3).sum(1, keepdim=True))
        outside = 4 * third + 2 * third * (t.excess**3).sum(1, keepdim=True) + 2 * gap
    return torch.where(gap > 0, outside, inside).squeeze(1)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns p - e_y (R, C); the label's entry is the sum of the others."""
    return {"logits": t.probabilities.scatter(1, t.column, -t.others)}


def _moved(t: Terms) -> Tensor:
    """Returns what a rounding multiplies in each p (R, C)."""
    if t.alpha == 2:
        return t.size
    # At the threshold a rounding is squared: 2^-22 of the size covers that up to float32.
    return 2 * t.size * t.excess + 2.0**-22 * t.size**2


def sensitivity(t: Terms) -> Tensor:
    """Returns N of the loss: L, what moves p and o in it, and the distance of a label outside."""
    moved = _moved(t).scatter(1, t.column, 0.0)
    power = (t.probabilities * t.size).sum(1)
    gap = (t.threshold - t.scores.gather(1, t.column)).clamp(min=0).squeeze(1)
    far = torch.where(gap > 0, 3 + 4 * gap, 0.0)
    # A class at the threshold may carry a rounding, of which the loss takes the square.
    inside = (4 * t.others.squeeze(1) + 2.0**-22) * moved.sum(1)
    inside = inside + 2 * (power - _at_label(t, t.probabilities * t.size)).clamp(min=0)
    return row_losses(t) + torch.where(gap > 0, 2 * power, inside) + far


def _at_label(t: Terms, entries: Tensor) -> Tensor:
    return entries.gather(1, t.column).squeeze(1)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i (R, C): exactly 0 for classes well below the threshold, whose p is 0 in any format."""
    moved = _moved(t)
    label = moved.scatter(1, t.column, 0.0).sum(1, keepdim=True) + moved.gather(1, t.column)
    return {"logits": (t.probabilities + moved).scatter(1, t.column, t.others + label)}


def denominator(inputs: Mapping[str, Tensor], options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one."""
    return torch.ones(inputs["target"].shape[0], dtype=torch.float64)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored row as Arb balls; the support is found in exact rationals.

    Infinite logits follow `harness.oracle.softmax.limits`: -inf has p = 0, one +inf has p = 1.
    """
    from flint import arb, fmpq

    logits, label, alpha = row["logits"], row["target"], float(options["alpha"])
    columns = range(len(logits))
    if (
        any(math.isnan(v) for v in logits)
        or sum(v == math.inf for v in logits) > 1
        or max(logits) == -math.inf
    ):
        return arb("nan"), {"logits": [arb("nan")] * len(logits)}
    if max(logits) == math.inf:
        winner = logits.index(math.inf)
        hit = arb(0) if winner == label else arb("inf")
        return hit, {"logits": [arb((c == winner) - (c == label)) for c in columns]}
    scale = Fraction(1, 1 if alpha == 2 else 2)
    top = Fraction(max(logits))
    scores = [None if v == -math.inf else scale * (Fraction(v) - top) for v in logits]
    support = _exact_support(sorted((x for x in scores if x is not None), reverse=True), alpha)
    mean = sum(support, Fraction(0)) / len(support)

    def ball(value: Fraction) -> Any:
        return arb(fmpq(value.numerator, value.denominator))

    if alpha == 2:
        tau = ball(mean - Fraction(1, len(support)))
    else:
        square = sum(((x - mean) ** 2 for x in support), Fraction(0))
        tau = ball(mean) - (ball(1 - square) / len(support)).sqrt()
    last = support[-1]
    excess = [arb(0) if x is None or x < last else ball(x) - tau for x in scores]
    p = excess if alpha == 2 else [t * t for t in excess]
    entropy = (1 - sum((q * q for q in p), arb(0))) / 2
    if alpha != 2:
        entropy = (1 - sum((t * q for t, q in zip(excess, p, strict=True)), arb(0))) * 4 / 3
    at_label = scores[label]
    gradient = [q - (c == label) for c, q in enumerate(p)]
    if at_label is None:
        return arb("inf"), {"logits": gradient}
    inner = sum((q * ball(x) for q, x in zip(p, scores, strict=True) if x is not None), arb(0))
    return entropy + (inner - ball(at_label)) / ball(scale), {"logits": gradient}


def _exact_support(ordered: list[Fraction], alpha: float) -> list[Fraction]:
    """Returns the scores in the support, largest first."""
    total = square = Fraction(0)
    for k, x in enumerate(ordered):
        spread = total - k * x if alpha == 2 else square - 2 * x * total + k * x * x
        if spread >= 1:
            return ordered[:k]
        total, square = total + x, square + x * x
    return ordered


ORACLE = ClosedForm(
    terms=terms,
    rows=row_losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=8.0,
)


def gradient_groups(inputs: Mapping[str, Tensor], options: Options) -> dict[str, Tensor]:
    """Returns the target entries (R, C): the label."""
    mask = torch.zeros(inputs["logits"].shape, dtype=torch.bool)
    return {"target": mask.scatter_(1, inputs["target"].unsqueeze(1), True)}


def _reduced(losses: Tensor, reduction: str) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def by_sorting(logits: Tensor, target: Tensor, alpha: float, reduction: str = "mean") -> Tensor:
    """The definition on shifted logits: the threshold by sorting, H(p) + <p, z> - z_y with p held fixed."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    z = wide - wide.detach().max(1, keepdim=True).values
    scores = (alpha - 1) * z.detach()
    # A square of what is further below is infinite, and a difference of two such no number.
    excess = (scores - sorted_threshold(scores.clamp(min=BELOW), alpha)).clamp(min=0)
    p = excess if alpha == 2 else excess**2
    power = excess * p if alpha != 2 else p * p
    entropy = (1 - power.sum(1)) / (2 if alpha == 2 else 0.75)
    # A masked class must not contribute 0 * -inf.
    inner = torch.where(p == 0, torch.zeros_like(z), p * z).sum(1)
    losses = entropy + inner - z.gather(1, target.unsqueeze(1)).squeeze(1)
    return _reduced(losses, reduction).to(logits.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and their gradient by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, alpha: float) -> Tensor:
        found = terms({"logits": logits, "target": target}, {"alpha": alpha})
        ctx.save_for_backward(gradients(found)["logits"])
        return row_losses(found)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return upstream.unsqueeze(1) * gradient, None, None


def exact_gradient(logits: Tensor, target: Tensor, alpha: float, reduction: str = "mean") -> Tensor:
    """Clean control: an autograd.Function with the closed forms in float64, rounded once."""
    return _reduced(_ExactGradient.apply(logits.double(), target, alpha), reduction).to(logits.dtype)


def at_the_margin(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """The label leads by 1/2 to 5/2: on either side of the lead from which the loss is exactly 0."""
    sample = draw.unit_normal(shape, finfo, generator)
    lead = 0.5 + torch.randint(0, 5, (shape.batch, 1), generator=generator).double() / 2
    top = sample["logits"].max(1, keepdim=True).values
    return sample.replaced(logits=sample["logits"].scatter(1, sample["target"].unsqueeze(1), top + lead))


SUITE = Suite(
    name="sparse",
    formula="L = max_p (<p, z> + H_alpha(p)) - z_y",
    oracle=ORACLE,
    options={"reduction": "mean", "alpha": 0.0},
    groups=gradient_groups,
    variants=(
        Variant("sparsemax", alpha=2.0),
        Variant("entmax15", alpha=1.5),
        Variant("sparsemax_sum", alpha=2.0, reduction="sum"),
        Variant("entmax15_sum", alpha=1.5, reduction="sum"),
        Variant("sparsemax_none", alpha=2.0, reduction="none"),
        Variant("entmax15_none", alpha=1.5, reduction="none"),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(at_the_margin),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.near_overflow),
        Regime(draw.offset),
        Regime(draw.masked),
        Regime(draw.ties),
        Regime(draw.tiny),
        Regime(draw.nan_logit),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            stop=lambda finfo: 0.24 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="largest |logit|",
        ),
        Ladder(
            "classes",
            draw.many_classes,
            start=2.0,
            stop=lambda finfo: float(1 << 14),
            resolution=1.0,
            classes_is_value=True,
            names="classes in a row",
        ),
    ),
    shapes=Shapes(timed=(Shape(256, 1000),), slow_regime=""),
    implementations=(
        Implementation(by_sorting, baseline=True),
        Implementation(exact_gradient, control=True, contract=Contract()),
    ),
    blind=(
        Blind(
            "logits next to 0 give a loss of a number of classes alone", check="loss", regime=("tiny", "ties")
        ),
    ),
)
