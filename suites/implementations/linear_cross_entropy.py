"""Cross-entropy of projected rows, composed and fused: functions of (hidden, linear_weight, target, bias).

Composed forms hold the logits (N, C), in the dtype of the rows; fused ones never hold more than a piece of
them and compute 16-bit logits in float32. The trap: a row that is ignored may hold NaN, and its logit
gradient of 0 times NaN lands in the gradient of every weight, so a fused form cuts the row out first.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from suites.implementations import cross_entropy

CLASSES_PER_PIECE = 512


def native(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """torch.nn.functional.linear_cross_entropy, which by default is linear, then cross_entropy."""
    return F.linear_cross_entropy(
        hidden,
        linear_weight,
        target,
        linear_bias=linear_bias,
        weight=weight,
        reduction=reduction,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
    )


def native_chunked(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    *,
    policy: Any = "auto",
) -> Tensor:
    """The same with LinearCrossEntropyOptions: chunks of rows, gradients made in the forward pass.

    Chunks take no smoothing: torch would fall back to the default with a warning. `policy` "compact" keeps
    sums in the dtype, where "auto" on the CPU has float32 for 16 bits.
    """
    return F.linear_cross_entropy(
        hidden,
        linear_weight,
        target,
        linear_bias=linear_bias,
        weight=weight,
        reduction=reduction,
        ignore_index=ignore_index,
        options=nn.LinearCrossEntropyOptions(acc_policy=policy),
    )


class NativeModule(nn.Module):
    """torch.nn.LinearCrossEntropyLoss with the sample's tensors in the place of its own parameters."""

    def __init__(
        self,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.given: dict[str, Any] = {
            "reduction": reduction,
            "weight": weight,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
        }

    def forward(
        self, hidden: Tensor, linear_weight: Tensor, target: Tensor, linear_bias: Tensor | None = None
    ) -> Tensor:
        """Returns the loss; the module itself is built on no memory and draws no random numbers."""
        classes, features = linear_weight.shape
        loss = nn.LinearCrossEntropyLoss(
            features, classes, bias=linear_bias is not None, device="meta", **self.given
        )
        parameters = {"linear.weight": linear_weight}
        if linear_bias is not None:
            parameters["linear.bias"] = linear_bias
        answer: Tensor = torch.func.functional_call(loss, parameters, (hidden, target))
        return answer


def naive_loop(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """linear, then log_softmax and the label's entry, row by row."""
    # An empty sum: 0 with gradients of 0, whatever stands in a row that is ignored.
    nothing = hidden[:0].sum() + linear_weight[:0].sum()
    if linear_bias is not None:
        nothing = nothing + linear_bias[:0].sum()
    losses, weights = [nothing], [hidden.new_zeros(())]
    for row, label in zip(hidden, target.tolist(), strict=True):
        if label == ignore_index:
            losses.append(nothing)
            weights.append(row.new_zeros(()))
            continue
        scale = row.new_ones(()) if weight is None else weight[label]
        losses.append(-F.log_softmax(F.linear(row, linear_weight, linear_bias), 0)[label] * scale)
        weights.append(scale)
    total = torch.stack(losses)
    if reduction == "none":
        return total[1:]
    return total.sum() if reduction == "sum" else total.sum() / torch.stack(weights).sum()


def textbook(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """linear, then cross_entropy."""
    logits = F.linear(hidden, linear_weight, linear_bias)
    return cross_entropy.native(logits, target, reduction, weight, ignore_index, label_smoothing)


def row_chunks(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    fewest_rows: int = 16,
) -> Tensor:
    """linear and cross_entropy over at most 16 chunks of rows, each computed once more in the backward."""
    rows = max(fewest_rows, -(-hidden.shape[0] // 16))
    losses = []
    for part, labels in zip(hidden.split(rows), target.split(rows), strict=True):
        asked = (part, linear_weight, labels, linear_bias, "none", weight, ignore_index, label_smoothing)
        losses.append(checkpoint(textbook, *asked, use_reentrant=False, preserve_rng_state=False))
    total = torch.cat(losses) if losses else hidden.sum(1)
    if reduction == "none":
        return total
    if reduction == "sum":
        return total.sum()
    _, weights = row_weights(target, weight, ignore_index, total.dtype)
    return total.sum() / weights.sum()


def row_weights(
    target: Tensor, weight: Tensor | None, ignore_index: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Returns labels that can be gathered and the weight of every row, 0 where it is ignored."""
    kept = target != ignore_index
    safe = torch.where(kept, target, 0)
    ones = torch.ones(safe.shape, dtype=dtype, device=target.device) if weight is None else weight[safe]
    return safe, torch.where(kept, ones.to(dtype), 0.0)


class _ClassChunks(torch.autograd.Function):
    """Row losses by an online logsumexp over pieces of the classes; logits are made again in the backward."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, label: Tensor, scale: Tensor, least: float
    ) -> Tensor:
        top, mass = torch.full_like(scale, -torch.inf), torch.zeros_like(scale)
        own = torch.zeros_like(scale)
        for part in range(0, len(weight), CLASSES_PER_PIECE):
            logits = _piece(rows, weight, bias, part)
            higher = torch.maximum(top, logits.max(1).values)
            mass = mass * (top - higher).exp() + (logits - higher.unsqueeze(1)).exp().sum(1)
            top = higher
            # Of the same product: a logit summed in another order could exceed the largest one.
            here, place = _place(label, part, logits.shape[1])
            own = torch.where(here, logits.gather(1, place).squeeze(1), own)
        ctx.save_for_backward(rows, weight, bias, label, scale, top, mass)
        ctx.least = least
        losses = (mass.log() + (top - own)) * scale
        return torch.where(scale == 0, 0.0, losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        rows, weight, bias, label, scale, top, mass = ctx.saved_tensors
        back, of_weight, of_bias = torch.zeros_like(rows), torch.empty_like(weight), torch.empty_like(bias)
        above = (upstream * scale).unsqueeze(1)
        for part in range(0, len(weight), CLASSES_PER_PIECE):
            logits = _piece(rows, weight, bias, part)
            slope = (logits - top.unsqueeze(1)).exp() / mass.unsqueeze(1)
            here, place = _place(label, part, slope.shape[1])
            slope.scatter_add_(1, place, -here.to(slope.dtype).unsqueeze(1))
            if ctx.least:
                slope = torch.where(slope.abs() < ctx.least, 0.0, slope)
            slope = torch.where(above == 0, 0.0, slope * above)
            piece = weight[part : part + CLASSES_PER_PIECE].to(rows.dtype)
            back += slope @ piece
            of_weight[part : part + CLASSES_PER_PIECE] = slope.T @ rows
            of_bias[part : part + CLASSES_PER_PIECE] = slope.sum(0)
        return back, of_weight, of_bias, None, None, None


def _piece(rows: Tensor, weight: Tensor, bias: Tensor, start: int) -> Tensor:
    part = slice(start, start + CLASSES_PER_PIECE)
    return F.linear(rows, weight[part].to(rows.dtype), bias[part].to(rows.dtype))


def _place(label: Tensor, start: int, count: int) -> tuple[Tensor, Tensor]:
    """Returns which labels stand in a piece (R,), and their columns there (R, 1), 0 for the others."""
    here = (label >= start) & (label < start + count)
    return here, torch.where(here, label - start, 0).unsqueeze(1)


def class_chunks(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    least_gradient: float = 0.0,
) -> Tensor:
    """Online logsumexp over pieces of 512 classes, in float32 for 16-bit rows, as cut cross-entropy does.

    Entries of softmax - one_hot below `least_gradient` are dropped.
    """
    if bool(((target != ignore_index) & ((target < 0) | (target >= len(linear_weight)))).any()):
        raise IndexError("class_chunks: a label is no class, so no piece of them holds it")
    wide = torch.promote_types(hidden.dtype, torch.float32)
    safe, weights = row_weights(target, weight, ignore_index, wide)
    rows = torch.where((weights != 0).unsqueeze(1), hidden.to(wide), 0.0)
    bias = linear_weight.new_zeros(len(linear_weight)) if linear_bias is None else linear_bias
    losses = _ClassChunks.apply(rows, linear_weight, bias, safe, weights, least_gradient)
    return reduced(losses, weights, reduction).to(hidden.dtype)


def reduced(losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    """Returns row losses reduced; the mean divides by the weights of the rows."""
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


def upcast(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    loss = native(
        hidden.to(wide_dtype),
        linear_weight.to(wide_dtype),
        target,
        None if linear_bias is None else linear_bias.to(wide_dtype),
        reduction,
        None if weight is None else weight.to(wide_dtype),
        ignore_index,
        label_smoothing,
    )
    return loss.to(hidden.dtype)


def exact_gradient(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Clean control: projection in float64, closed-form gradient of the logits, everything rounded once."""
    wide = None if weight is None else weight.double()
    _, weights = row_weights(target, wide, ignore_index, torch.float64)
    rows = torch.where((weights != 0).unsqueeze(1), hidden.double(), 0.0)
    bias = None if linear_bias is None else linear_bias.double()
    logits = F.linear(rows, linear_weight.double(), bias)
    loss = cross_entropy.exact_gradient(logits, target, reduction, wide, ignore_index)
    return loss.to(hidden.dtype)
