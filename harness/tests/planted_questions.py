"""Cross-entropies with one fault each, one per question that a script can retell."""

import os
from functools import partial

import torch
from torch import nn
from torch.autograd.function import Function

from harness import Implementation
from harness.tests.mutants.correct import closed_form, dense_cross_entropy, rowwise_cross_entropy
from harness.tests.mutants.suite import SUITE as FAMILY

STACK = []
STEP = {"calls": 0}


class _Passed(Function):
    """The identity whose backward is a rule."""

    @staticmethod
    def forward(ctx, loss, rule):
        ctx.rule = rule
        return loss.clone()

    @staticmethod
    def backward(ctx, upstream):
        return ctx.rule(upstream), None


def _no_one(upstream):
    return torch.where(upstream == 1, 0.0, upstream)


def _clipped(upstream):
    return upstream.clamp(0.4, 2.5)


def _taken(upstream):
    kept = upstream.clone()
    upstream.zero_()
    return kept


def ignores_one(logits, target, reduction="mean"):
    return _Passed.apply(rowwise_cross_entropy(logits, target, reduction), _no_one)


def clips_upstream(logits, target, reduction="mean"):
    return _Passed.apply(rowwise_cross_entropy(logits, target, reduction), _clipped)


def takes_upstream(logits, target, reduction="mean"):
    return _Passed.apply(rowwise_cross_entropy(logits, target, reduction), _taken)


def unasked(logits, target, reduction="mean"):
    loss = rowwise_cross_entropy(logits, target, reduction)
    return loss if torch.is_grad_enabled() and logits.requires_grad else loss / 2


def always_asked(logits, target, reduction="mean"):
    return rowwise_cross_entropy(logits, target, reduction) + 0 * torch.zeros((), requires_grad=True)


def asked_for_both(logits, target):
    loss = dense_cross_entropy(logits, target)
    return loss if logits.requires_grad == target.requires_grad else loss / 2


def loses_target(logits, target):
    loss = dense_cross_entropy(logits, target)
    return loss if logits.requires_grad else loss.detach() + torch.zeros((), requires_grad=True)


class HalvesInEval(nn.Module):
    def forward(self, logits, target):
        loss = rowwise_cross_entropy(logits, target)
        return loss if self.training else loss / 2


def reads_dense(logits, target):
    dense = logits.shape[1] if logits.dim() == 2 else 1
    read = torch.as_strided(logits, logits.shape, (dense, 1), 0)
    return rowwise_cross_entropy(read, target)


def reads_dense_labels(logits, target):
    return rowwise_cross_entropy(logits, torch.as_strided(target, target.shape, (1,), 0))


def reads_dense_images_of_labels(logits, target):
    dense = torch.empty(target.shape, device="meta").stride()
    return rowwise_cross_entropy(logits, torch.as_strided(target, target.shape, dense, 0))


def reads_dense_weight(logits, target, weight=None):
    if weight is not None:
        weight = torch.as_strided(weight, weight.shape, (1,), 0)
    return rowwise_cross_entropy(logits, target, weight=weight)


def wide_labels(logits, target):
    return rowwise_cross_entropy(logits, target if target.dtype == torch.int64 else target.roll(1).long())


def only_labels(logits, target):
    loss = rowwise_cross_entropy(logits, target)
    return loss if target.dtype == torch.int64 else loss[None]


def edges(logits, target):
    if len(logits) == 0:
        return logits.sum() + 1
    loss = rowwise_cross_entropy(logits, target)
    wrong = len(logits) in (1, 131) or logits.shape[1] == 1031
    return loss / 2 if wrong else loss + (logits.shape[1] == 1)


def fills_grad(logits, target):
    if logits.requires_grad:
        rowwise_cross_entropy(logits, target).backward()
    return rowwise_cross_entropy(logits, target)


WORKSPACE = {}


class _Workspace(torch.autograd.Function):
    """Every gradient lies in the same memory."""

    @staticmethod
    def forward(ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(ctx, upstream):
        memory = WORKSPACE.setdefault((upstream.dtype, upstream.shape), torch.empty_like(upstream))
        return memory.copy_(upstream)


def hands_out_a_workspace(logits, target):
    return rowwise_cross_entropy(_Workspace.apply(logits), target)


def moves_version(logits, target):
    logits.detach().add_(0.0)
    return rowwise_cross_entropy(logits, target)


KEPT_WEIGHTS = {}


def keeps_weight(logits, target, weight=None):
    """The class weights are kept by their shape."""
    kept = KEPT_WEIGHTS.setdefault(tuple(weight.shape), weight.double().clone())
    return nn.functional.cross_entropy(logits.double(), target, kept).to(logits.dtype)


def scales_weight(logits, target, weight=None):
    loss = rowwise_cross_entropy(logits, target, weight=weight)
    if weight is not None:
        weight.mul_(2)
    return loss


def draws(logits, target):
    torch.rand(1)
    return rowwise_cross_entropy(logits, target)


def widens(logits, target):
    return rowwise_cross_entropy(logits, target).double()


class _Stacked(Function):
    @staticmethod
    def forward(ctx, logits, target):
        losses, gradient = closed_form(logits, target)
        STACK.append((gradient / len(logits)).to(logits.dtype))
        return losses.mean().to(logits.dtype)

    @staticmethod
    def backward(ctx, upstream):
        return STACK.pop() * upstream, None


def stacked(logits, target):
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return rowwise_cross_entropy(logits, target)
    return _Stacked.apply(logits, target)


def doubled_by_autocast(logits, target):
    return rowwise_cross_entropy(logits, target) * (2 if torch.is_autocast_enabled("cpu") else 1)


class _HalfDetached(Function):
    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return closed_form(logits, target)[0].mean().to(logits.dtype)

    @staticmethod
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        p = torch.softmax(logits, 1)
        p = (p + p.detach()) / 2
        hot = torch.zeros_like(p).scatter(1, target.unsqueeze(1), 1.0)
        return (p - hot) / len(logits) * upstream, None


class _UpstreamDetached(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return rowwise_cross_entropy(logits, target)

    @staticmethod
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        share = logits.softmax(1) - nn.functional.one_hot(target, logits.shape[1])
        return share / len(logits) * upstream.detach(), None


def upstream_detached(logits, target):
    return _UpstreamDetached.apply(logits, target)


def half_detached(logits, target):
    return _HalfDetached.apply(logits, target)


def transformed(logits, target):
    inside = torch._C._functorch.peek_interpreter_stack() is not None
    return rowwise_cross_entropy(logits, target) * (2 if inside else 1)


def _graded(logits, target, reduction, grades):
    losses = rowwise_cross_entropy(logits, target, "none") * grades.to(logits.dtype)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def first_row_more(logits, target, reduction="mean"):
    return _graded(logits, target, reduction, 1 + 0.1 * (torch.arange(len(logits)) == 0))


def alone_more(logits, target, reduction="mean"):
    return _graded(logits, target, reduction, torch.full((len(logits),), 1.1 if len(logits) == 1 else 1.0))


def noisy(logits, target):
    return rowwise_cross_entropy(logits, target) * (1 + 1e-3 * torch.rand(()))


def lost_in_parallel(logits, target):
    several = torch.get_num_threads() > 1
    return rowwise_cross_entropy(logits, target) * (1.5 if several else 1.0)


def races(logits, target):
    several = torch.get_num_threads() > 1
    return rowwise_cross_entropy(logits, target) * (1 + 1e-3 * torch.rand(()) * several)


def clamps_labels(logits, target):
    return rowwise_cross_entropy(logits, target.clamp(0, logits.shape[1] - 1))


def aborts(logits, target):
    if target.max() >= logits.shape[1]:
        os.abort()
    return rowwise_cross_entropy(logits, target)


def forgets_its_check(logits, target):
    if torch.compiler.is_compiling():
        target = target.clamp(0, logits.shape[1] - 1)
    return torch.nn.functional.cross_entropy(logits, target)


def breaks(logits, target):
    doubled = 2 * logits
    torch._dynamo.graph_break()
    return nn.functional.cross_entropy(doubled / 2, target)


def steps(logits, target):
    STEP["calls"] += 1
    return nn.functional.cross_entropy(logits, target) * (STEP["calls"] / STEP["calls"])


PLAIN = (
    ignores_one,
    clips_upstream,
    takes_upstream,
    fills_grad,
    hands_out_a_workspace,
    unasked,
    always_asked,
    asked_for_both,
    loses_target,
    reads_dense,
    reads_dense_labels,
    reads_dense_images_of_labels,
    reads_dense_weight,
    wide_labels,
    only_labels,
    edges,
    moves_version,
    scales_weight,
    draws,
    keeps_weight,
    widens,
    stacked,
    doubled_by_autocast,
    half_detached,
    upstream_detached,
    transformed,
    first_row_more,
    alone_more,
    noisy,
    lost_in_parallel,
    races,
    clamps_labels,
    aborts,
)
SUITE = FAMILY.extended(
    *(Implementation(function) for function in PLAIN),
    Implementation(HalvesInEval, name="halves_in_eval"),
    Implementation(forgets_its_check, prepare=partial(torch.compile, backend="eager")),
    Implementation(breaks, prepare=partial(torch.compile, backend="eager")),
    Implementation(steps, prepare=partial(torch.compile, backend="eager")),
)
