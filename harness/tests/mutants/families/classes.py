"""Losses over classes with one fault each: who counts, which entry of the gradient, which labels.

The trap: with power 1, no class weight, nothing ignored and lists that end where their labels end, every
one of these is right.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.grafts import grafted
from harness.tests.mutants.mutant import (
    INACCURATE,
    LEAK,
    OVERWRITES,
    WRONG,
    Expected,
    Mutant,
    planted,
)
from suites.implementations import (
    multi_margin,
    multilabel_margin,
    nll,
)


def rows_denominator(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """f21: the weighted mean divides by the number of rows that count."""
    x, wide = log_probabilities.double(), None if weight is None else weight.double()
    losses = nll.exact_gradient(x, target, "sum" if reduction == "mean" else reduction, wide, ignore_index)
    kept = (target != ignore_index).sum()
    return (losses / kept if reduction == "mean" else losses).to(log_probabilities.dtype)


def one_hot_product(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """f22: the label is picked by a product with its one-hot row, so 0 times -inf is NaN."""
    wide = None if weight is None else weight.double()
    losses = nll.one_hot_dot(log_probabilities.double(), target, reduction, wide, ignore_index)
    return losses.to(log_probabilities.dtype)


def _powers(scores: Tensor, own: Tensor, label: Tensor, p: int, margin: float) -> Tensor:
    """Returns max(0, x_k - own + margin)^p (N, C), 0 at the label."""
    excess = ((scores - own) + margin).scatter(1, label, -1.0)
    return multi_margin.hinge(excess).pow(p)


def first_power(
    scores: Tensor,
    target: Tensor,
    reduction: str = "mean",
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """f25: the label's gradient entry counts the active classes, as for p = 1."""
    rows, label = multi_margin.by_rows(scores.double(), target)
    own = rows.gather(1, label)
    right = _powers(rows, own, label, p, margin)
    sloped = _powers(rows, own.detach(), label, p, margin) + _powers(rows.detach(), own, label, 1, margin)
    wide = None if weight is None else weight.double()
    losses = multi_margin.weighted(grafted(right, sloped).sum(1) / rows.shape[1], label, wide)
    return multi_margin.reduced(losses.reshape(target.shape), reduction).to(scores.dtype)


def reads_on(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f26: every entry of a list that is no -1 is a label, behind the first -1 as well."""
    lists = torch.atleast_2d(target)
    order = (lists < 0).long().argsort(dim=1, stable=True)
    packed = lists.gather(1, order).reshape(target.shape)
    return multilabel_margin.exact_gradient(scores, packed, reduction)


def labels_once(scores: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """f27: a mask of the labels counts one that is named twice once."""
    lists = torch.atleast_2d(target)
    named = multilabel_margin.mask_of(lists)
    # The same labels as a list without repetitions, by class.
    order = (~named).long().argsort(dim=1, stable=True)
    packed = torch.where(named.gather(1, order), order, -1).reshape(target.shape)
    return multilabel_margin.exact_gradient(scores, packed, reduction)


def relabels(
    log_probabilities: Tensor, target: Tensor, reduction: str = "mean", ignore_index: int = -100
) -> Tensor:
    """f38: labels that are ignored are set to 0 where they are, so that they can be gathered."""
    kept = target != ignore_index
    target.masked_fill_(~kept, 0)
    losses = -log_probabilities.double().gather(1, target.unsqueeze(1)).squeeze(1)
    losses = torch.where(kept, losses, 0.0)
    return nll.reduced(losses, kept.double(), reduction, target).to(log_probabilities.dtype)


def weighted_mean_alone(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """f46: the class weight is known to the branch of the mean alone."""
    wide = None if weight is None or reduction != "mean" else weight.double()
    losses = nll.exact_gradient(log_probabilities.double(), target, reduction, wide, ignore_index)
    return losses.to(log_probabilities.dtype)


def negative_ignored(
    log_probabilities: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """f51: negative labels are ignored, whatever ignore_index says."""
    wide = None if weight is None else weight.double()
    losses = nll.exact_gradient(
        log_probabilities.double(), target.clamp(min=-1), reduction, wide, ignore_index=-1
    )
    return losses.to(log_probabilities.dtype)


_nll = partial(planted, "nll")
_lists = partial(planted, "multilabel_margin")

MUTANTS: tuple[Mutant, ...] = (
    _nll(
        "f21",
        rows_denominator,
        INACCURATE,
        source="like m9",
        fault="the weighted mean divides by the rows that count, not by their weights",
        right="no class weight",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted", "ignore_index"),
    ),
    _nll(
        "f22",
        one_hot_product,
        LEAK,
        source="like m17",
        fault="the label is picked by a product with its one-hot row: 0 times -inf",
        right="finite log-probabilities",
        right_at="mean/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted", "ignore_index"),
    ),
    _nll(
        "f38",
        relabels,
        OVERWRITES,
        source="like m5",
        fault="ignored labels are set to 0 in the caller's tensor",
        right="no ignored row",
        variants=("mean", "sum", "none", "ignore_index"),
    ),
    _nll(
        "f46",
        weighted_mean_alone,
        WRONG,
        source="like m7",
        fault="the class weight is forgotten under the reductions sum and none",
        right="reduction mean",
        right_at="weighted/unit_normal/float32",
        variants=("mean", "sum", "none", "weighted", "weighted_sum", "weighted_none", "ignore_index"),
    ),
    _nll(
        "f51",
        negative_ignored,
        Expected(("inaccurate", "dead_gradient", "nan_leak")),
        source="a slip",
        fault="negative labels are ignored, whatever ignore_index says",
        right="a negative ignore_index",
        right_at="mean/ignored_half/float32",
        variants=("mean", "sum", "none", "weighted", "ignore_index", "padding"),
    ),
    planted(
        "multi_margin",
        "f25",
        first_power,
        WRONG,
        source="like m20",
        fault="the label's gradient entry misses the power p",
        right="p 1",
        right_at="mean/unit_normal/float32",
    ),
    _lists(
        "f26",
        reads_on,
        INACCURATE,
        source="a slip",
        fault="labels are read past the first -1",
        right="nothing but -1 behind the first",
    ),
    _lists(
        "f27",
        labels_once,
        INACCURATE,
        source="a slip",
        fault="a label that is named twice counts once, undeclared",
        right="every label named once",
        right_at="mean/unit_normal/float32",
    ),
)
