"""The truth about the binary focal loss (Lin et al. 2017), element by element, on stored numbers.

With the margin m = z at label 1 and -z at label 0, r = s(m) = p_t, q = s(-m) = 1 - p_t and c = log(1 + e^-m):
L = a q^gamma c, dL/dm = -a q^gamma (gamma r c + q), where a is alpha at label 1 and 1 - alpha at label 0,
or 1 where alpha is negative. All terms are positive and q is never formed as 1 - r, so nothing cancels;
written like this the slope has no q^(gamma - 1) either, which is infinite at p_t = 1 for gamma < 1 though
the slope is 0 there. N = (1 + gamma) |L| + |z dL/dz|, as a power multiplies the rounding of its base
by gamma, and for the slope likewise, with |z| times its |terms|. The trap: labels are exactly 0 or 1, as the
original states them; a mixture of both is another loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from suites.oracles.binary_cross_entropy_with_logits import Logistic, counted, exact_softplus, logistic, ones

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk of elements (R,): the margins' logistic terms, q^gamma, a and dm/dz."""

    margin: Logistic
    loss: Tensor
    power: Tensor
    scale: Tensor
    direction: Tensor
    gamma: float

    def lean(self) -> Tensor:
        """Returns gamma r c + q; r c has the limit 0 where the logit is infinite."""
        share = self.margin.share
        return torch.where(share == 0, 0.0, self.gamma * share * self.loss) + self.margin.rest

    def slope(self) -> Tensor:
        """Returns |dL/dz|."""
        return counted(self.scale, self.power * self.lean())


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 elements."""
    direction = 2 * inputs["target"] - 1
    margin, gamma, alpha = logistic(direction * inputs["logits"]), float(options["gamma"]), options["alpha"]
    scale = torch.ones_like(direction)
    if alpha >= 0:
        scale = torch.where(direction > 0, alpha * scale, 1 - alpha * scale)
    return Terms(margin, margin.softplus(flipped=True), margin.rest**gamma, scale, direction, gamma)


def losses(t: Terms) -> Tensor:
    """Returns L (R,)."""
    return counted(t.scale, t.power * t.loss)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dz (R,)."""
    return {"logits": -t.direction * t.slope()}


def _moved(size: Tensor, slope: Tensor) -> Tensor:
    """Returns |z| times a slope; its limit 0 where the slope is 0 and z infinite."""
    return torch.where(slope == 0, 0.0, size * slope)


def sensitivity(t: Terms) -> Tensor:
    """Returns N = (1 + gamma) L + |z dL/dz| (R,)."""
    return (1 + t.gamma) * losses(t) + _moved(t.margin.size, t.slope())


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N: (1 + gamma) |slope| + |z| a q^gamma r (gamma^2 r c + gamma q c + (2 gamma + 1) q)."""
    share, rest, gamma = t.margin.share, t.margin.rest, t.gamma
    parts = gamma * t.loss * (gamma * share + rest) + (2 * gamma + 1) * rest
    bend = torch.where(share == 0, 0.0, share * parts)
    return {"logits": (1 + gamma) * t.slope() + counted(t.scale, t.power * _moved(t.margin.size, bend))}


def raised(base: Any, gamma: float) -> Any:
    """Returns an Arb ball of a number >= 0 to the power gamma >= 0, with 0^0 = 1; NaN stays NaN."""
    from flint import arb

    if gamma == 0:
        return arb(1)
    if base.contains(0) and base.is_finite():
        # Far below the working precision a ball reaches under 0, where no root is defined.
        upper = base.abs_upper()
        return arb(0) if upper.is_zero() else arb(0).union(upper ** arb(gamma))
    return base ** arb(gamma)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored element as Arb balls."""
    from flint import arb

    z, positive = row["logits"], row["target"] == 1
    gamma, alpha = float(options["gamma"]), arb(float(options["alpha"]))
    scale = arb(1) if float(options["alpha"]) < 0 else alpha if positive else 1 - alpha
    if scale.is_zero():
        return arb(0), {"logits": [arb(0)]}
    margin = z if positive else -z
    (loss, rest), (_, share) = exact_softplus(-margin), exact_softplus(margin)
    power = scale * raised(rest, gamma)
    lean = rest if share.is_zero() else gamma * share * loss + rest
    return power * loss, {"logits": [-power * lean if positive else power * lean]}


ORACLE = ClosedForm(
    terms=terms,
    rows=losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=ones,
    exact=exact,
    roundoffs=16.0,
)
