"""Every way in which people compute the divergence, as plain functions of (x, target, options).

`reduction` is none, sum or mean; `mean_over` says what mean divides by: "rows" is torch's batchmean,
"elements" torch's mean. Without reduction the harness knows one value per row, so every function
here sums over classes before it returns; torch's own none is elementwise. The trap: t log t has no
value at t = 0 until someone says that it is 0, and its gradient knows nothing of that.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


def reduced(terms: Tensor, reduction: str, mean_over: str) -> Tensor:
    """Sums (N, C) terms over classes, over all, or divides the sum by rows or elements."""
    if reduction == "none":
        return terms.sum(1)
    if reduction == "sum":
        return terms.sum()
    return terms.mean() if mean_over == "elements" else terms.sum() / terms.shape[0]


def torch_name(reduction: str, mean_over: str) -> str:
    """Returns what torch calls a reduction: its mean divides by all elements."""
    return "batchmean" if reduction == "mean" and mean_over == "rows" else reduction


def _prepared(x: Tensor, from_logits: bool) -> Tensor:
    return F.log_softmax(x, 1) if from_logits else x


def naive_loop(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
) -> Tensor:
    """A row loop over the classes whose target is not 0."""
    losses = []
    for x, t in zip(log_probabilities, target, strict=True):
        # Not as t > -inf, which a NaN is not: its class would be cut out.
        counted = t != -torch.inf if log_target else t != 0
        x, t = x[counted], t[counted]
        losses.append((torch.exp(t) * (t - x) if log_target else t * (torch.log(t) - x)).sum())
    row_losses = torch.stack(losses) if losses else log_probabilities.sum(1) + target.sum(1)
    if reduction == "none":
        return row_losses
    total = row_losses.sum()
    if reduction == "sum":
        return total
    return total / (target.numel() if mean_over == "elements" else len(losses))


def textbook(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
    from_logits: bool = False,
) -> Tensor:
    """The definition as printed, t (log t - x): undefined where t = 0."""
    x = _prepared(log_probabilities, from_logits)
    terms = target.exp() * (target - x) if log_target else target * (target.log() - x)
    return reduced(terms, reduction, mean_over)


def xlogy(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    from_logits: bool = False,
) -> Tensor:
    """Negative entropy by xlogy(t, t) minus t x: right at t = 0 as long as x is finite."""
    x = _prepared(log_probabilities, from_logits)
    return reduced(torch.xlogy(target, target) - target * x, reduction, mean_over)


def native(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
    from_logits: bool = False,
) -> Tensor:
    """torch.nn.functional.kl_div, after log_softmax where x is logits."""
    x = _prepared(log_probabilities, from_logits)
    name = torch_name(reduction, mean_over)
    if name == "mean":
        with warnings.catch_warnings():
            # torch warns that mean divides by all elements; here that is asked for.
            warnings.simplefilter("ignore", UserWarning)
            return F.kl_div(x, target, reduction=name, log_target=log_target)
    losses = F.kl_div(x, target, reduction=name, log_target=log_target)
    return losses.sum(1) if reduction == "none" else losses


class NativeModule(nn.Module):
    """torch.nn.KLDivLoss, summed over classes where it does not reduce."""

    def __init__(self, reduction: str = "mean", mean_over: str = "rows", log_target: bool = False) -> None:
        """Builds the module under torch's name of the reduction."""
        super().__init__()
        self.reduction = torch_name(reduction, mean_over)
        self.loss = nn.KLDivLoss(reduction=self.reduction, log_target=log_target)

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Returns the loss."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            losses: Tensor = self.loss(log_probabilities, target)
        return losses.sum(1) if self.reduction == "none" else losses


def upcast(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
    from_logits: bool = False,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    x, t = log_probabilities.to(wide_dtype), target.to(wide_dtype)
    return native(x, t, reduction, mean_over, log_target, from_logits).to(log_probabilities.dtype)


def epsilon_inside(
    log_probabilities: Tensor, target: Tensor, reduction: str = "mean", mean_over: str = "rows"
) -> Tensor:
    """t (log(t + 1e-5) - x): defined at t = 0, and another number everywhere else."""
    return reduced(target * (torch.log(target + EPSILON) - log_probabilities), reduction, mean_over)


def double_where(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
    from_logits: bool = False,
) -> Tensor:
    """Cut out classes before the logarithm and once more after it, in float32 at least."""
    wide = torch.promote_types(log_probabilities.dtype, torch.float32)
    x, t = _prepared(log_probabilities.to(wide), from_logits), target.to(wide)
    dropped = t == -torch.inf if log_target else t == 0
    # Two `where`s: one alone leaves a NaN gradient, 0 * inf, behind the classes it cuts out.
    x = torch.where(dropped, torch.zeros_like(x), x)
    t = torch.where(dropped, torch.zeros_like(t) if log_target else torch.ones_like(t), t)
    terms = t.exp() * (t - x) if log_target else t * (t.log() - x)
    terms = torch.where(dropped, torch.zeros_like(terms), terms)
    return reduced(terms, reduction, mean_over).to(log_probabilities.dtype)


class _ExactGradient(torch.autograd.Function):
    """Row losses and both gradients by the closed forms, on float64 tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, log_target: bool) -> Tensor:
        weight, logarithm = (target.exp(), target) if log_target else (target, target.log())
        dropped = target == -torch.inf if log_target else target == 0
        slope = logarithm + 1 - x
        if log_target:
            slope = torch.where(dropped, torch.zeros_like(slope), weight * slope)
        ctx.save_for_backward(-weight, slope)
        terms = weight * (logarithm - x)
        return torch.where(dropped, torch.zeros_like(terms), terms).sum(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        of_x, of_target = ctx.saved_tensors
        factor = upstream.unsqueeze(1)
        return of_x * factor, of_target * factor, None


def exact_gradient(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    mean_over: str = "rows",
    log_target: bool = False,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradients, rounded once."""
    losses = _ExactGradient.apply(log_probabilities.double(), target.double(), log_target)
    if reduction == "none":
        found = losses
    elif reduction == "sum":
        found = losses.sum()
    else:
        found = losses.sum() / (target.numel() if mean_over == "elements" else target.shape[0])
    return found.to(log_probabilities.dtype)
