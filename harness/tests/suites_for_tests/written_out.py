"""Losses whose reproducers are written out in every form that a callable can have.

Each is wrong in one way that a script of its own must show; `dense` is right for every variant of rows and
stands in for those that are not. The trap: module constants, tables, aliases and closures are what a copied
source forgets.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from harness import Implementation
from suites.cross_entropy import SUITE as FAMILY
from suites.implementations.cross_entropy import softmax_log as spelt_out

HALF = 0.5
TABLE = {}
TABLE["factor"] = HALF


def negative(logits, target):
    """Right gradient, loss with the wrong sign."""
    return -2 * F.cross_entropy(logits, target).detach() + F.cross_entropy(logits, target)


def nanless(logits, target, ignore_index=-100):
    return F.cross_entropy(logits, target, ignore_index=ignore_index).nan_to_num()


def raising(logits, target):
    raise RuntimeError('always "here" {0}')


def unreduced(logits, target):
    return F.cross_entropy(logits, target, reduction="none")


def overwriting(logits, target):
    loss = F.cross_entropy(logits, target)
    logits.data.mul_(2)
    return loss


def detached(logits, target):
    return F.cross_entropy(logits.detach(), target)


def refuses(function, options):
    raise TypeError("cannot be built")


def halved(logits, target):
    return {"loss": TABLE["factor"] * F.cross_entropy(logits, target), "rest": None}


def renamed(logits, target):
    return TABLE["factor"] * spelt_out(logits, target)


class Halved(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, logits, target):
        return HALF * F.cross_entropy(logits, target, reduction=self.reduction)


def built(module, options):
    return module(**options)


def made(factor):
    def closes_over(logits, target):
        return factor * F.cross_entropy(logits, target)

    return closes_over


def scaled(logits, target, *, factor):
    return factor * F.cross_entropy(logits, target)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, q):
        top, place = x.max(1, keepdim=True)
        powers = (x - top).exp()
        rest = powers.scatter(1, place, 0.0).sum(1, keepdim=True)
        losses = torch.log1p(rest) - (x - top)
        apart = (1 + rest - powers).scatter(1, place, rest) / (1 + rest)
        most, where = q.max(1, keepdim=True)
        below = q.scatter(1, where, 0.0).sum(1, keepdim=True)
        others = (most + below - q).scatter(1, where, below)
        ctx.save_for_backward(powers / (1 + rest) * others - q * apart, losses)
        return torch.where(q == 0, 0.0, q * losses).sum(1)

    @staticmethod
    def backward(ctx, upstream):
        gradient, losses = ctx.saved_tensors
        return gradient * upstream.unsqueeze(1), losses * upstream.unsqueeze(1)


def dense(logits, target, reduction="mean", weight=None, ignore_index=-100, label_smoothing=0.0):
    """Right for every variant of rows: the closed form over class coefficients, in float64."""
    x, classes = logits.double(), logits.shape[1]
    w = torch.ones(classes, dtype=x.dtype) if weight is None else weight.double()
    if target.is_floating_point():
        kept, distribution = torch.ones(len(x), dtype=torch.bool), target.double()
        denominator = torch.tensor(float(len(x)))
    else:
        kept = target != ignore_index
        safe = torch.where(kept, target, 0)
        distribution = F.one_hot(safe, classes).double()
        denominator = w[safe][kept].sum()
    q = ((1 - label_smoothing) * distribution + label_smoothing / classes) * w
    losses = torch.zeros(len(x), dtype=x.dtype).masked_scatter(kept, _Dense.apply(x[kept], q[kept]))
    total = losses if reduction == "none" else losses.sum()
    return (total / denominator if reduction == "mean" else total).to(logits.dtype)


SUITE = FAMILY.extended(
    Implementation(dense),
    Implementation(negative, name="planted_negative"),
    Implementation(nanless, name="planted_nanless"),
    Implementation(raising, name="planted_raise"),
    Implementation(raising, name="planted_prepare", prepare=refuses),
    Implementation(unreduced, name="planted_shape"),
    Implementation(overwriting, name="planted_overwrite"),
    Implementation(detached, name="planted_detach"),
    Implementation(halved, reads="loss"),
    Implementation(renamed),
    Implementation(Halved, name="halved_module"),
    Implementation(Halved, name="halved_built", prepare=built),
    Implementation(lambda logits, target: HALF * F.cross_entropy(logits, target), name="halved_lambda"),
    Implementation(partial(scaled, factor=0.5), name="halved_partial"),
    Implementation(made(0.5), name="halved_closure"),
)
