"""The truth about the Kullback-Leibler divergence as torch defines it, on stored numbers.

L = sum_c t_c (log t_c - x_c) for probabilities t, L = sum_c e^{t_c} (t_c - x_c) where the target is given
as logarithms; x are log-probabilities as they stand, normalised or not. Options: `epsilon` adds to t
inside the logarithm, t (log(t + epsilon) - x); `from_logits` puts x - logsumexp(x) in the place of x.
Gradients: dx = -t (from logits: sum(t) softmax(x) - t), dt = log t + 1 - x, log target: -e^t and
e^t (t - x + 1). A class whose target is exactly 0 (log target: -inf) contributes 0 whatever x is;
its slope dt is -inf, its log-slope 0. N is the sum of |terms| as they stand in these formulas plus
|t dL/dt| (numerics: F): where t is close to e^x the terms cancel, the bound does not shrink with L.
The trap: 0 * inf, so masked classes are cut out by definition and never multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.softmax import SoftmaxRows, softmax_rows

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one, or its number of entries."""
    rows, classes = inputs["target"].shape
    added = classes if options["mean_over"] == "elements" else 1
    return torch.full((rows,), float(added), dtype=torch.float64)


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk (R, C): weights p (t or e^t), log p, x, and which classes are cut out.

    `softmax` holds the rows of x where it is logits; then `x` is x - logsumexp(x). `inner` is what
    stands inside the logarithm's slope: p / (p + epsilon). `root` is e^(t/2), which has all of its bits where
    e^t is subnormal and a factor of hundreds would show that it has not.
    """

    weight: Tensor
    root: Tensor | None
    logarithm: Tensor
    x: Tensor
    dropped: Tensor
    inner: Tensor
    by_logarithm: bool
    softmax: SoftmaxRows | None

    def weighted(self, factor: Tensor) -> Tensor:
        """Returns p * factor; exactly 0 where a class is cut out, infinite where only p underflows."""
        product = self.weight * factor if self.root is None else self.root * (self.root * factor)
        product = torch.where((self.weight == 0) & factor.isinf(), factor, product)
        return torch.where(self.dropped, 0.0, product)


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    x, target = inputs["log_probabilities"], inputs["target"]
    by_logarithm, epsilon = bool(options["log_target"]), float(options["epsilon"])
    softmax = root = None
    if options["from_logits"]:
        softmax = softmax_rows(x)
        x = -softmax.class_losses()
    if by_logarithm:
        root = (0.5 * target).exp()
        weight, logarithm, dropped = root * root, target, target == -math.inf
        inner = torch.ones_like(target)
    else:
        weight, logarithm, dropped = target, torch.log(target + epsilon), target == 0
        inner = target / (target + epsilon) if epsilon else torch.ones_like(target)
    return Terms(weight, root, logarithm, x, dropped, inner, by_logarithm, softmax)


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    return t.weighted(t.logarithm - t.x).sum(1)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx and dL/dt (R, C); NaN where log 0 meets x = -inf."""
    slope = t.logarithm + t.inner - t.x
    return {
        "log_probabilities": _of_x(t),
        "target": t.weighted(slope) if t.by_logarithm else slope,
    }


def _of_x(t: Terms) -> Tensor:
    if t.softmax is None:
        return -t.weight
    # The largest weight takes the sum of the others, so that Q p - q never cancels there.
    top, place = t.weight.max(1, keepdim=True)
    below = t.weight.scatter(1, place, 0.0).sum(1, keepdim=True)
    remaining = (top + below - t.weight).scatter_(1, place, below)
    return t.softmax.probabilities * remaining - t.weight * t.softmax.complements()


def sensitivity(t: Terms) -> Tensor:
    """Returns N = sum |p log p| + |p x| + |t dL/dt| (R,)."""
    slope = (t.logarithm + t.inner - t.x).abs()
    if t.by_logarithm:
        slope = slope * t.logarithm.abs()
    return t.weighted(t.logarithm.abs() + t.x.abs() + slope).sum(1) + _reach_of_logits(t)


def _reach_of_logits(t: Terms) -> Tensor | float:
    """Returns sum p F(x) (R,), what the rounding of differences of logits can do; 0 without logits."""
    if t.softmax is None:
        return 0.0
    return t.weighted(t.softmax.distances(t.softmax.shifted)).sum(1)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i: the |terms| of each gradient entry, and once more what a rounding of t changes."""
    by_target = t.logarithm.abs() + t.inner + t.x.abs()
    if t.by_logarithm:
        own = t.weighted(1 + t.logarithm.abs())
        by_target = t.weighted(by_target + t.logarithm.abs() * (t.logarithm - t.x + 2).abs())
    else:
        own = 2 * t.weight
        by_target = by_target + 1
    if t.softmax is not None:
        rows = t.softmax
        total = t.weight.sum(1, keepdim=True)
        reach = rows.distances(rows.depth) * rows.probabilities * total
        own = own + reach + _of_x(t).abs()
    return {"log_probabilities": own, "target": by_target}


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored row as Arb balls, by the plain definition.

    `row` holds "log_probabilities" and "target" as floats. Where a slope is infinite the ball is
    infinite, where it is undefined it is NaN. Finite logits or -inf only, at least one finite.
    """
    from flint import arb

    x = [arb(v) for v in row["log_probabilities"]]
    target = row["target"]
    classes = range(len(x))
    by_logarithm, epsilon = bool(options["log_target"]), arb(float(options["epsilon"]))
    shares = [arb(0)] * len(x)
    if options["from_logits"]:
        top = arb(max(row["log_probabilities"]))
        # The exponent of a ball is bounded, that of e^x at x near the top of float64 is not.
        powers = [arb(0) if v == -math.inf else (arb(v) - top).exp() for v in row["log_probabilities"]]
        mass = sum(powers, arb(0))
        shares = [power / mass for power in powers]
        x = [entry - top - mass.log() for entry in x]
    cut = -math.inf if by_logarithm else 0.0
    dropped = [target[c] == cut for c in classes]
    p = [
        arb(0) if dropped[c] else (arb(target[c]).exp() if by_logarithm else arb(target[c])) for c in classes
    ]
    loss, by_target = arb(0), []
    for c in classes:
        if dropped[c]:
            by_target.append(_slope_at_zero(row["log_probabilities"][c], x[c], epsilon, by_logarithm))
            continue
        logarithm = arb(target[c]) if by_logarithm else (p[c] + epsilon).log()
        loss += p[c] * (logarithm - x[c])
        slope = logarithm + p[c] / (p[c] + (0 if by_logarithm else epsilon)) - x[c]
        by_target.append(p[c] * slope if by_logarithm else slope)
    # A NaN elsewhere in the target is in the mass, and no part of a slope that has none.
    mass = sum(p, arb(0)) if options["from_logits"] else arb(0)
    by_x = [mass * shares[c] - p[c] for c in classes]
    return loss, {"log_probabilities": by_x, "target": by_target}


def _slope_at_zero(stored: float, x: Any, epsilon: Any, by_logarithm: bool) -> Any:
    """Returns dL/dt where the target is exactly 0 (or its logarithm -inf)."""
    from flint import arb

    if by_logarithm:
        return arb(0)
    if epsilon == 0:
        return arb("nan") if stored == -math.inf else arb("-inf")
    return epsilon.log() - x


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
