"""The truth about cross-entropy: L = sum_c q_c (logsumexp(x) - x_c) for every option torch has.

Class coefficients q carry the options: index targets q_c = (1 - eps) w_t [c = t] + (eps / C) w_c,
probability targets q_c = w_c ((1 - eps) T_c + eps / C), smoothing over the others eps / (C - 1) for
c != t, ignored rows q = 0. The gradient p_c sum_{k!=c} q_k - q_c sum_{k!=c} p_k never subtracts p_t
from 1 (numerics: F). The trap: Q p - q cancels at the target entry, which is how dead gradients
pass unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.doubled import ratio_like
from harness.oracle.softmax import REACH_ROUNDING, SoftmaxRows, softmax_rows
from suites.oracles.cross_entropy_pair import PAIR_ROUNDING, PAIRS

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


def kept_rows(inputs: Inputs, options: Options) -> Tensor:
    """Returns which rows count (R,); every row does under probability targets."""
    target = inputs["target"]
    if target.is_floating_point():
        return torch.ones(target.shape[0], dtype=torch.bool)
    return target != options["ignore_index"]


def ignored_rows(inputs: Inputs, options: Options) -> Tensor:
    """Returns which rows are ignored (R,)."""
    return ~kept_rows(inputs, options)


def gradient_groups(inputs: Inputs, options: Options) -> dict[str, Tensor]:
    """Returns the target entries (R, C): the label, or every class with probability above 1/2."""
    target = inputs["target"]
    if target.is_floating_point():
        return {"target": target > 0.5}
    safe = torch.where(kept_rows(inputs, options), target, 0)
    mask = torch.zeros(inputs["logits"].shape, dtype=torch.bool)
    return {"target": mask.scatter_(1, safe.unsqueeze(1), True)}


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: its class weight, or one, or nothing."""
    kept = kept_rows(inputs, options)
    if options["mean_denominator"] == "rows":
        return torch.ones(kept.shape[0], dtype=torch.float64)
    weight, target = options["weight"], inputs["target"]
    if weight is None or target.is_floating_point() or options["mean_denominator"] == "kept":
        return kept.double()
    return torch.where(kept, weight[torch.where(kept, target, 0)], 0.0)


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk: softmax rows, which rows count, and the class coefficients.

    Without smoothing an index target needs one column and one weight per row (`column`,
    `coefficient`); otherwise `dense` holds q (R, C).
    """

    softmax: SoftmaxRows
    kept: Tensor
    column: Tensor
    coefficient: Tensor
    dense: Tensor | None
    target_slope: Tensor | None

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient with respect to the logits (R, C)."""
        rows = self.softmax
        if self.dense is None:
            at_label = -self.coefficient * self.label_complement
            # In place: the gradient is asked last, and one array less is a fifth of a pass less.
            entries = rows.exponentials.mul_(self.coefficient / rows.total)
            entries.scatter_(1, self.column, at_label)
        else:
            q = self.dense
            top, place = q.max(1, keepdim=True)
            below = q.scatter(1, place, 0.0).sum(1, keepdim=True)
            # The largest coefficient takes the sum of the others; the rest may subtract safely.
            remaining = (top + below - q).scatter_(1, place, below)
            entries = rows.probabilities * remaining - q * rows.complements()
        if not self.whole:
            entries[~self.kept] = 0.0
        return entries

    @cached_property
    def whole(self) -> bool:
        """Whether every row counts."""
        return bool(self.kept.all())

    @cached_property
    def magnitudes(self) -> Tensor:
        """|q| (R, C); class weights may be negative."""
        assert self.dense is not None
        return self.dense.abs() if bool((self.dense < 0).any()) else self.dense

    @cached_property
    def label_loss(self) -> Tensor:
        """l at the label (R, 1)."""
        return self.softmax.loss_at(self.column)

    @cached_property
    def label_complement(self) -> Tensor:
        """1 - p at the label (R, 1)."""
        return self.softmax.complement_at(self.column)

    @cached_property
    def label_distance(self) -> Tensor:
        """F at the label's logit (R, 1)."""
        return self.softmax.distances(self.softmax.shifted.gather(1, self.column))


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    logits, target = inputs["logits"], inputs["target"]
    classes = logits.shape[1]
    weight, smoothing = options["weight"], float(options["label_smoothing"])
    kept = kept_rows(inputs, options)
    by_index = not target.is_floating_point()
    column = (
        torch.where(kept, target, 0) if by_index else torch.zeros(len(kept), dtype=torch.long)
    ).unsqueeze(1)
    dense = target_slope = None
    if by_index and smoothing == 0:
        coefficient = kept.double().unsqueeze(1)
        if weight is not None:
            coefficient = torch.where(kept.unsqueeze(1), weight[column], 0.0)
            # A row of weight 0 does not count, whatever stands in it.
            kept = kept & (coefficient.squeeze(1) != 0)
    else:
        coefficient = torch.ones(len(kept), 1, dtype=torch.float64)
        one_hot = torch.zeros_like(logits).scatter_(1, column, 1.0) if by_index else target
        rest = ratio_like(logits, 1.0, 1.0) - smoothing
        if options["smoothing_over"] == "others":
            share = ratio_like(logits, smoothing, max(classes - 1, 1))
            dense = rest * one_hot + share * (1 - one_hot)
        else:
            dense = rest * one_hot + ratio_like(logits, smoothing, classes)
        ones = torch.ones(classes, dtype=torch.float64) if weight is None else weight
        dense = dense * ones
        dense = dense.masked_fill_(~kept.unsqueeze(1), 0.0)
        # Nor does a row whose coefficients are all exactly 0.
        kept = kept & (dense != 0).any(1)
        if not by_index:
            target_slope = rest * ones.expand_as(logits)
    return Terms(
        softmax=softmax_rows(logits),
        kept=kept,
        column=column,
        coefficient=coefficient,
        dense=dense,
        target_slope=target_slope,
    )


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,); rows that do not count are exactly 0, terms with coefficient 0 are dropped."""
    if t.dense is None:
        losses = (t.coefficient * t.label_loss).squeeze(1)
        return losses if t.whole else torch.where(t.kept, losses, 0.0)
    losses = torch.where(t.dense == 0, 0.0, t.dense * t.softmax.class_losses()).sum(1)
    return torch.where(t.kept, losses, 0.0)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dlogits and, for probability targets, dL/dT_c = (1 - eps) w_c l_c."""
    found = {"logits": t.gradient}
    if t.target_slope is not None:
        found["target"] = torch.where(t.target_slope == 0, 0.0, t.target_slope * t.softmax.class_losses())
    return found


def sensitivity(t: Terms) -> Tensor:
    """Returns N of the loss: L + sum_c q_c F(x_c), and L once more where T itself is rounded."""
    rows = t.softmax
    if t.dense is None:
        reach = (t.coefficient.abs() * (t.label_loss + t.label_distance)).squeeze(1)
        return reach if t.whole else torch.where(t.kept, reach, 0.0)
    reach = 2 * rows.class_losses() + rows.distances(rows.shifted)
    total = torch.where(t.dense == 0, 0.0, t.magnitudes * reach).sum(1)
    return torch.where(t.kept, total, 0.0)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N_i = |g_i| + Q p_i F(x_i), plus q_i where the coefficient itself is rounded."""
    rows = t.softmax
    if t.dense is None:
        # Off the label g_i = w p_i, so N_i = w p_i (1 + F): the gradient itself is not needed.
        share = t.coefficient.abs() / rows.total
        own = rows.exponentials.gather(1, t.column)
        # At a masked label p = 0 and F = inf.
        nearby = torch.where(own == 0, 0.0, own * t.label_distance)
        at_label = torch.addcmul(t.coefficient.abs() * t.label_complement, nearby, share)
        entries = rows.reaches().add_(1).double().mul_(rows.exponentials)
        entries.mul_(share * (1 + REACH_ROUNDING)).scatter_(1, t.column, at_label)
    else:
        total = t.magnitudes.sum(1, keepdim=True) * (1 + REACH_ROUNDING)
        entries = rows.reaches().double().mul_(rows.probabilities)
        entries.mul_(total).add_(t.gradient.abs()).add_(t.magnitudes)
    if not t.whole:
        entries[~t.kept] = 0.0
    found = {"logits": entries}
    if t.target_slope is not None:
        far = rows.class_losses() + rows.distances(rows.shifted)
        found["target"] = torch.where(t.target_slope == 0, 0.0, t.target_slope.abs() * far)
    return found


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradients of one stored row as Arb balls at the caller's working precision.

    `row` holds "logits" (floats) and "target" (an int or a list of floats). Terms whose coefficient
    is exactly 0 are dropped; infinite logits follow `harness.oracle.softmax.limits`.
    """
    from flint import arb

    from harness.oracle.softmax_exact import exact_row

    logits, target = row["logits"], row["target"]
    columns = range(len(logits))
    weights = _exact_weights(options["weight"], len(logits))
    q = _exact_coefficients(target, weights, options, len(logits))
    balls = exact_row(logits)
    slopes = {}
    if not isinstance(target, int):
        scale = 1 - arb(float(options["label_smoothing"]))
        slopes["target"] = [
            arb(0) if (scale * w).is_zero() else scale * w * balls.loss(c) for c, w in enumerate(weights)
        ]
    counting = [c for c in columns if not q[c].is_zero()]
    if not counting:
        return arb(0), {"logits": [arb(0)] * len(logits), **slopes}
    loss = sum((q[c] * balls.loss(c) for c in counting), arb(0))
    place = max(counting, key=lambda c: float(q[c].mid()))
    mass, below = sum(q, arb(0)), sum((q[c] for c in counting if c != place), arb(0))
    gradient = []
    for c in columns:
        entry = balls.probability(c) * (below if c == place else mass - q[c])
        gradient.append(entry if q[c].is_zero() else entry - q[c] * balls.complement(c))
    return loss, {"logits": gradient, **slopes}


def _exact_weights(weight: Any, classes: int) -> list[Any]:
    from flint import arb

    return [arb(1)] * classes if weight is None else [arb(float(w)) for w in weight]


def _exact_coefficients(target: Any, weights: list[Any], options: Options, classes: int) -> list[Any]:
    """Returns q of one row by its definition; zeros for an ignored row."""
    from flint import arb

    smoothing = arb(float(options["label_smoothing"]))
    if isinstance(target, int):
        if target == options["ignore_index"]:
            return [arb(0)] * classes
        shares = [arb(0)] * classes
        shares[target] = arb(1)
        if smoothing == 0:
            shares[target] = weights[target]
            return shares
    else:
        shares = [arb(float(value)) for value in target]
    if options["smoothing_over"] == "others":
        share = smoothing / max(classes - 1, 1)
        mixed = [(1 - smoothing) * each + share * (1 - each) for each in shares]
    else:
        mixed = [(1 - smoothing) * each + smoothing / classes for each in shares]
    return [each * w for each, w in zip(mixed, weights, strict=True)]


ORACLE = ClosedForm(
    terms=terms,
    rows=row_losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=8.0,
    pairs=PAIRS,
    pair_rounding=PAIR_ROUNDING,
)
