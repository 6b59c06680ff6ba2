"""A right loss with a wrong backward pass, for any family: the value of one formula, the slope of another.

`precomputed` keeps the gradient of a loss in the forward pass as fused kernels do; its variants lose it in
the backward pass. The trap: a loss that is a function of its row alone has one slope per row, so a sum of
rows is differentiated once and each row's slope is scaled by its own upstream gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable


class _Grafted(Function):
    """The value of the second argument; the upstream gradient goes to the first."""

    @staticmethod
    def forward(ctx: Any, sloped: Tensor, valued: Tensor) -> Tensor:
        return valued.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return upstream, None


def grafted(valued: Tensor, sloped: Tensor) -> Tensor:
    """Returns the value of one loss with the gradient of another of the same shape."""
    found: Tensor = _Grafted.apply(sloped, valued.detach())
    return found


def spread(upstream: Tensor, like: Tensor) -> Tensor:
    """Returns the upstream gradient so that it multiplies slopes: one entry for all, per row or per entry."""
    return upstream.reshape(*upstream.shape, *(1 for _ in range(like.dim() - upstream.dim())))


class Precomputed(Function):
    """Forward computes loss and slope in float64, backward scales what was saved."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            leaf = first.detach().double().requires_grad_()
            loss = loss_of(leaf)
            (ctx.slope,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach().to(first.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return (ctx.slope * spread(upstream, ctx.slope)).to(upstream.dtype), None


class ScaledTwice(Precomputed):
    """Backward scales the saved slope in place."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return ctx.slope.mul_(spread(upstream, ctx.slope)).to(upstream.dtype), None


class FirstUpstream(Precomputed):
    """The upstream gradient is read as a scalar, which is its first entry."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return Precomputed.backward(ctx, upstream.reshape(-1)[:1].sum().expand(upstream.shape))


class DenseUpstream(Precomputed):
    """The upstream gradient is read one element after the other, whatever its strides."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        stored = torch.empty(0, dtype=upstream.dtype).set_(upstream.untyped_storage())
        read = stored[upstream.storage_offset() :][: upstream.numel()]
        # What lies behind the end of the storage is nobody's; here it is 0.
        read = F.pad(read, (0, upstream.numel() - read.numel()))
        return Precomputed.backward(ctx, read.reshape(upstream.shape))


class InPlace(Precomputed):
    """The slope is written into the storage of the input."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        loss = Precomputed.forward(ctx, first, loss_of)
        # Through .data, as a kernel writes: the version counter does not move.
        first.data.copy_(ctx.slope)
        return loss


def precomputed(function: type[Precomputed], first: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns loss_of(first) with the forward and backward pass of a form; only `first` gets a gradient."""
    found: Tensor = function.apply(first, loss_of)
    return found
