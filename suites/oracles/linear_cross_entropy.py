"""The truth about cross-entropy of projected rows: L = sum_c q_c (logsumexp(z) - z_c), z = W x + b.

With g = dL/dz as in `suites/oracles/cross_entropy.py`: dx = W^T g, and each row adds g x^T to the gradient
of W and g to that of b, so these two are sums over rows. The logits are rounded by whoever computes them:
M_k = sum_h |x_h W_kh| + |b_k| is what u multiplies there, and it reaches the loss as sum_k |g_k| M_k and
the gradient of logit i as p_i Q sum_{k!=i} p_k (M_i + M_k). Matrix products of K terms add them one after
another: their error grows as sqrt(K) u with a factor of about one (Higham and Mary 2019; 19 u measured for
K = 257 in float32), where the judge grants 4 + log2 C. So M, and the terms of W^T g, count 1 + sqrt(K) / 4
times; sums over rows have 2 + log2 rows + rows / 64 from the judge. Stored in 16 bits the logits lose u |z|,
which is a warning, and an error only beyond u N (`ClosedForm.staged`): a fused form, whose logits never leave
float32, shows what that costs. The trap: a row that does not count may hold NaN, and in the sum over rows
0 * NaN would poison every parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.contraction import contracted
from suites.oracles import cross_entropy

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
SHARED = ("linear_weight", "linear_bias")


@dataclass(frozen=True)
class Terms:
    """Terms of a chunk: those of its logits, hidden rows x (R, H; 0 where a row does not count), W, M (R, C).

    `logit_gradient` g and what u multiplies in it, `logit_sensitivity`, are (R, C).
    """

    loss: cross_entropy.Terms
    hidden: Tensor
    weight: Tensor
    magnitude: Tensor
    losses: Tensor

    @cached_property
    def sensitivity(self) -> Tensor:
        """N of the loss (R,)."""
        own = cross_entropy.sensitivity(self.loss)
        # Asked for before the gradient is built in the same room.
        _ = self.logit_sensitivity
        return own + (self.logit_gradient.abs() * self.magnitude).sum(1)

    @cached_property
    def logit_sensitivity(self) -> Tensor:
        """What u multiplies in g (R, C)."""
        own = cross_entropy.gradient_sensitivity(self.loss)["logits"]
        return own + _of_logit_gradient(self.loss, self.magnitude)

    @cached_property
    def logit_gradient(self) -> Tensor:
        """g = dL/dz (R, C)."""
        return cross_entropy.gradients(self.loss)["logits"]


def projected(inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Returns logits z = x W^T + b and sum |x W| + |b|, both (R, C)."""
    hidden, weight = inputs["hidden"].T, inputs["linear_weight"].T
    logits, magnitude = contracted(hidden, weight), contracted(hidden.abs(), weight.abs())
    if "linear_bias" in inputs:
        logits, magnitude = logits + inputs["linear_bias"], magnitude + inputs["linear_bias"].abs()
    return logits, magnitude


def _steps(count: int) -> float:
    """Returns what the terms of a matrix product over so many of them count."""
    return 1 + math.sqrt(count) / 4


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the terms of a chunk of float64 rows."""
    logits, magnitude = projected(inputs)
    magnitude *= _steps(inputs["hidden"].shape[1])
    loss = cross_entropy.terms({"logits": logits, "target": inputs["target"]}, options)
    counts = loss.kept.unsqueeze(1)
    # An infinite logit, a masked class, has no rounding.
    magnitude = torch.where(counts & magnitude.isfinite(), magnitude, 0.0)
    return Terms(
        loss=loss,
        hidden=torch.where(counts, inputs["hidden"], 0.0),
        weight=inputs["linear_weight"],
        magnitude=magnitude,
        losses=cross_entropy.row_losses(loss),
    )


def _of_logit_gradient(loss: cross_entropy.Terms, magnitude: Tensor) -> Tensor:
    """Returns Q p_i sum_{k!=i} p_k (M_i + M_k) (R, C), what a change of every logit by M does to g_i."""
    rows = loss.softmax
    mass = loss.coefficient.abs() if loss.dense is None else loss.magnitudes.sum(1, keepdim=True)
    spread = rows.exponentials * magnitude
    # As with 1 - p, the others of the maximum are summed apart: there p_i M_i would cancel.
    at_top = spread.gather(1, rows.largest)
    others = spread.scatter(1, rows.largest, 0.0).sum(1, keepdim=True)
    beside = (others + at_top - spread).clamp(min=0).scatter(1, rows.largest, others)
    found = mass * rows.probabilities * (rows.complements() * magnitude + beside / rows.total)
    return torch.where(loss.kept.unsqueeze(1), found, 0.0)


def gradients(t: Terms) -> dict[str, Any]:
    """Returns dL/dx (R, H), and the factors g, x of what each row adds to dL/dW and g, 1 to dL/db."""
    ones = torch.ones(len(t.hidden), dtype=torch.float64)
    return {
        "hidden": contracted(t.logit_gradient.T, t.weight),
        "linear_weight": (t.logit_gradient, t.hidden),
        "linear_bias": (t.logit_gradient, ones),
    }


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns what u multiplies: |W|^T N_g for x; N_g, the factor that is no stored number, for W and b."""
    added = (_steps(len(t.weight)) - 1) * t.logit_gradient.abs()
    return {
        "hidden": contracted((t.logit_sensitivity + added).T, t.weight.abs()),
        "linear_weight": t.logit_sensitivity,
        "linear_bias": t.logit_sensitivity,
    }


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each row adds to the mean's denominator: its class weight, one, or nothing."""
    return cross_entropy.denominator({"target": inputs["target"]}, options)


def ignored_rows(inputs: Inputs, options: Options) -> Tensor:
    """Returns which rows are ignored (R,)."""
    return cross_entropy.ignored_rows(inputs, options)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, Any]]:
    """Returns loss and gradients of one stored row as Arb balls; pairs of factors for what all rows share.

    A row that does not count adds zeros, whatever it holds.
    """
    from flint import arb, arb_mat

    weight, hidden = arb_mat(row["linear_weight"]), arb_mat([[x] for x in row["hidden"]])
    products = (weight * hidden).entries()
    bias = row.get("linear_bias", [0.0] * len(products))
    logits = [z + b for z, b in zip(products, bias, strict=True)]
    loss, slopes = cross_entropy.exact({"logits": logits, "target": row["target"]}, options)
    gradient = slopes["logits"]
    back = (weight.transpose() * arb_mat([[g] for g in gradient])).entries()
    counts = any(g != 0 or g.is_nan() for g in gradient)
    features = hidden.entries() if counts else [arb(0)] * len(back)
    found = {"hidden": back, "linear_weight": (gradient, features)}
    if "linear_bias" in row:
        found["linear_bias"] = (gradient, [arb(1)])
    return loss, found


ORACLE = ClosedForm(
    terms=terms,
    rows=lambda t: t.losses,
    gradient=gradients,
    sensitivity=lambda t: t.sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=28.0,
    shared=SHARED,
    staged=True,
)
