"""The truth about the focal loss over classes, row by row, on stored numbers.

With p = softmax(x), Q = 1 - p_t as the sum of the other classes' probabilities, l = -log p_t and
w_j = p_j / Q: L = a_t Q^gamma l, dL/dx_j = a_t w_j Q^(gamma + 1) K for j != t and minus their sum,
-a_t Q^(gamma + 1) K, at the label, with K = gamma p_t l / Q + 1. Nothing cancels, and nothing is singular:
as p_t goes to 1, l / Q goes to 1, whereas Q^(gamma - 1), which the chain rule meets, is infinite for
gamma < 1. N is shift-normalised as in cross-entropy: F(v) = sum_k p_k |x_k - v| bounds how far p and Q move.
The trap: no two public versions agree on the mean; here it divides by the number of kept rows, whatever
their alpha is (cross-entropy divides by the weights).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.softmax import REACH_ROUNDING, SoftmaxRows, softmax_rows
from suites.oracles.cross_entropy import kept_rows
from suites.oracles.sigmoid_focal import raised

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk: softmax rows and, each (R, 1), what stands at the label.

    `mass` is Q, `share` p_t, `loss` l, `power` Q^gamma, `lean` K, `scale` a_t, 0 for a row that does not
    count; `shares` (R, C) is w, 0 at the label and throughout a row whose other classes have no mass.
    """

    softmax: SoftmaxRows
    column: Tensor
    kept: Tensor
    scale: Tensor
    mass: Tensor
    share: Tensor
    loss: Tensor
    power: Tensor
    lean: Tensor
    shares: Tensor
    gamma: float

    def slope(self) -> Tensor:
        """Returns |dL/dx_t| (R, 1)."""
        return self.scale.abs() * self.power * self.mass * self.lean

    def distance(self) -> Tensor:
        """Returns F at the label's logit (R, 1)."""
        return self.softmax.distances(self.softmax.shifted.gather(1, self.column))

    def counted(self, entries: Tensor) -> Tensor:
        """Returns the entries, (R, C) or (R, 1), with 0 in rows that do not count."""
        return torch.where(self.kept, entries, 0.0)


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 rows."""
    target, alpha, gamma = inputs["target"], options["alpha"], float(options["gamma"])
    kept = kept_rows(inputs, options).unsqueeze(1)
    column = torch.where(kept.squeeze(1), target, 0).unsqueeze(1)
    scale = kept.double() if alpha is None else torch.where(kept, alpha[column], 0.0)
    rows = softmax_rows(inputs["logits"])
    mass, loss = rows.complement_at(column), rows.loss_at(column)
    share = rows.exponentials.gather(1, column) / rows.total
    # As Q goes to 0, l / Q goes to 1; p_t l / Q goes to 0 as p_t does.
    ratio = torch.where(mass == 0, 1.0, loss / mass)
    lean = gamma * torch.where(share == 0, 0.0, share * ratio) + 1
    off = mass * rows.total
    shares = torch.where(off == 0, 0.0, rows.exponentials / off).scatter(1, column, 0.0)
    return Terms(
        rows, column, kept & (scale != 0), scale, mass, share, loss, mass**gamma, lean, shares, gamma
    )


def losses(t: Terms) -> Tensor:
    """Returns L (R,), exactly 0 for rows that do not count."""
    return t.counted(t.scale * t.power * t.loss).squeeze(1)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dlogits (R, C)."""
    slope = t.scale.sign() * t.slope()
    return {"logits": t.counted((t.shares * slope).scatter(1, t.column, -slope))}


def sensitivity(t: Terms) -> Tensor:
    """Returns N = (1 + gamma) |L| + |a| Q^gamma K F(x_t) (R,): a power multiplies what rounds its base."""
    moved = t.scale.abs() * t.power * t.lean * t.distance()
    return (1 + t.gamma) * losses(t).abs() + t.counted(moved).squeeze(1)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N of each entry: 1 + gamma of itself, what moving p_j changes, and what moving Q changes.

    dQ is at most p_t F(x_t), and d(Q^gamma K) / dQ at most Q^(gamma - 1) T with
    T = |gamma - 1| K + gamma (l + 1) + 1.
    """
    gamma, slope = t.gamma, t.slope()
    turn = abs(gamma - 1) * t.lean + gamma * (t.loss + 1) + 1
    step = t.scale.abs() * t.power * torch.where(t.share == 0, 0.0, t.share * t.distance())
    by_mass = torch.where(step == 0, 0.0, step * turn)
    at_label = (1 + gamma) * slope + torch.where(step == 0, 0.0, step * t.lean) + by_mass
    reach = t.softmax.reaches() * (1 + REACH_ROUNDING)
    others = t.shares * (slope * (1 + gamma + reach) + by_mass)
    return {"logits": t.counted(others.scatter(1, t.column, at_label))}


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: one where it is kept."""
    return kept_rows(inputs, options).double()


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored row as Arb balls."""
    from flint import arb

    from harness.oracle.softmax_exact import exact_row

    logits, target, gamma = row["logits"], row["target"], float(options["gamma"])
    nothing = arb(0), {"logits": [arb(0)] * len(logits)}
    if target == options["ignore_index"]:
        return nothing
    scale = arb(1) if options["alpha"] is None else arb(float(options["alpha"][target]))
    if scale.is_zero():
        return nothing
    balls = exact_row(logits)
    loss, mass, share = balls.loss(target), balls.complement(target), balls.probability(target)
    power = scale * raised(mass, gamma)
    slope = power * (mass if share.is_zero() else gamma * share * loss + mass)
    entries = [arb(0)] * len(logits)
    if not mass.is_zero():
        # The others' softmax by itself: p_c / Q would divide by a ball that holds 0 where Q underflows.
        rest = exact_row([*logits[:target], *logits[target + 1 :]])
        shares = [rest.probability(c) for c in range(len(logits) - 1)]
        entries = [slope * share for share in shares]
        entries.insert(target, -slope)
    return power * loss, {"logits": entries}


ORACLE = ClosedForm(
    terms=terms,
    rows=losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=16.0,
)
