"""Cross-entropy over classes: every way in which people compute it, and the truth about each.

loss_i = sum_c q_ic (logsumexp(x_i) - x_ic), reduced by none, sum or mean; the closed forms are in
`suites/oracles/cross_entropy.py`. The trap: mean divides by the class weights of the kept rows, not
by their number, but under probability targets it divides by the number of rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness import Contract, Implementation, Known, Ladder, Regime, Suite, Variant, above
from suites.examples.cross_entropy import EXAMPLES, IDENTITIES
from suites.oracles.cross_entropy import ORACLE, gradient_groups, ignored_rows
from suites.regimes import classification as draw
from suites.regimes.recorded import recorded_regimes
from suites.regimes.targets import (
    as_images,
    ascending_weights,
    probability_targets,
    relabelled,
)


def _flattened(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Unfolds (N, C, H, W) and (N, H, W) into rows; rows pass through."""
    if logits.dim() == 2:
        return logits, target
    return logits.movedim(1, -1).reshape(-1, logits.shape[1]), target.reshape(-1)


def _reduced(losses: Tensor, weights: Tensor, reduction: str, shape: torch.Size) -> Tensor:
    if reduction == "none":
        return losses.reshape(shape)
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / weights.sum()


def _row_weights(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Returns labels that can be gathered and the weight of every row, 0 where it is ignored."""
    kept = target != ignore_index
    safe = torch.where(kept, target, 0)
    ones = torch.ones_like(safe, dtype=logits.dtype) if weight is None else weight[safe]
    return safe, torch.where(kept, ones, torch.zeros_like(ones))


def naive_loop(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The textbook row loop -log(exp(z_y) / sum exp(z)), without a shift."""
    rows, labels = _flattened(logits, target)
    losses, weights = [], []
    for row, label in zip(rows, labels.tolist(), strict=True):
        if label == ignore_index:
            losses.append(row.sum() * 0)
            weights.append(torch.zeros_like(row[0]))
            continue
        scale = torch.ones_like(row[0]) if weight is None else weight[label]
        losses.append(-torch.log(torch.exp(row[label]) / torch.exp(row).sum()) * scale)
        weights.append(scale)
    return _reduced(torch.stack(losses), torch.stack(weights).detach(), reduction, target.shape)


def one_hot(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    smoothing_over: str = "all",
) -> Tensor:
    """The dense formula: target distribution times log_softmax, summed over classes."""
    classes = logits.shape[1]
    shape = logits.shape[:1] + logits.shape[2:]
    if target.is_floating_point():
        rows, distribution = logits, target
        row_weights = torch.ones(logits.shape[0], dtype=logits.dtype, device=logits.device)
        kept = torch.ones_like(row_weights, dtype=torch.bool)
    else:
        rows, labels = _flattened(logits, target)
        safe, row_weights = _row_weights(rows, labels, weight, ignore_index)
        distribution = F.one_hot(safe, classes).to(logits.dtype)
        kept = labels != ignore_index
    if label_smoothing:
        if smoothing_over == "others":
            share = label_smoothing / max(classes - 1, 1)
            distribution = (1 - label_smoothing) * distribution + share * (1 - distribution)
        else:
            distribution = (1 - label_smoothing) * distribution + label_smoothing / classes
    if weight is not None:
        distribution = distribution * weight
    terms = distribution * F.log_softmax(rows, 1)
    # A class of coefficient 0 must not contribute 0 * -inf.
    losses = -torch.where(distribution == 0, torch.zeros_like(terms), terms).sum(1)
    losses = torch.where(kept, losses, torch.zeros_like(losses))
    return _reduced(losses, row_weights, reduction, shape)


def _by_label(
    label_losses: Tensor,
    target: Tensor,
    logits: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    rows, labels = _flattened(label_losses, target)
    safe, weights = _row_weights(logits, labels, weight, ignore_index)
    picked = rows.gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = torch.where(weights == 0, torch.zeros_like(picked), picked * weights)
    return _reduced(losses, weights, reduction, target.shape)


def softmax_log(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """softmax, then log, then the label: unstable on purpose, seen everywhere."""
    return _by_label(-torch.softmax(logits, 1).log(), target, logits, weight, ignore_index, reduction)


def log_softmax_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """log_softmax, then gather the label."""
    return _by_label(-F.log_softmax(logits, 1), target, logits, weight, ignore_index, reduction)


def logsumexp_gather(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """logsumexp minus the label's logit: cancels under a common offset."""
    rows, labels = _flattened(logits, target)
    safe, weights = _row_weights(rows, labels, weight, ignore_index)
    picked = torch.logsumexp(rows, 1) - rows.gather(1, safe.unsqueeze(1)).squeeze(1)
    losses = torch.where(weights == 0, torch.zeros_like(picked), picked * weights)
    return _reduced(losses, weights, reduction, target.shape)


def native(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """torch.nn.functional.cross_entropy."""
    return F.cross_entropy(
        logits,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def upcast(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    *,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Upcast, native, round the loss once."""
    loss = native(
        logits.to(wide_dtype),
        target.to(wide_dtype) if target.is_floating_point() else target,
        reduction,
        None if weight is None else weight.to(wide_dtype),
        ignore_index,
        label_smoothing,
    )
    return loss.to(logits.dtype)


def chunked(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    fewest_rows: int = 16,
) -> Tensor:
    """Native over at most 16 chunks of rows, never fewer than 16 rows in one."""
    rows_per_chunk = max(fewest_rows, -(-logits.shape[0] // 16))
    options = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
    pieces = range(0, logits.shape[0], rows_per_chunk)
    parts = [
        native(logits[i : i + rows_per_chunk], target[i : i + rows_per_chunk], reduction="none", **options)
        for i in pieces
    ]
    losses = torch.cat(parts)
    if target.is_floating_point():
        weights = torch.ones_like(losses)
    else:
        _, weights = _row_weights(logits, target.reshape(-1), weight, ignore_index)
    return _reduced(losses, weights, reduction, losses.shape)


class _ExactGradient(torch.autograd.Function):
    """Row losses and logit gradients by closed forms in float64, for index targets."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, row_weight: Tensor) -> Tensor:
        x = logits.double()
        top, place = x.max(1, keepdim=True)
        powers = (x - top).exp()
        rest = powers.scatter(1, place, 0.0).sum(1, keepdim=True)
        column = label.unsqueeze(1)
        lead = top - x.gather(1, column)
        share = powers / (1 + rest)
        missing = torch.where(column == place, rest, 1 + rest - powers.gather(1, column)) / (1 + rest)
        share.scatter_(1, column, -missing)
        weight = row_weight.double().unsqueeze(1)
        ctx.save_for_backward(torch.where(weight == 0, torch.zeros_like(share), share * weight))
        losses = (torch.log1p(rest) + lead) * weight
        return torch.where(weight == 0, torch.zeros_like(losses), losses).squeeze(1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (share,) = ctx.saved_tensors
        return share * upstream.unsqueeze(1), None, None


def exact_gradient(
    logits: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form gradient, rounded once."""
    rows, labels = _flattened(logits.double(), target)
    safe, weights = _row_weights(rows, labels, None if weight is None else weight.double(), ignore_index)
    losses = _ExactGradient.apply(rows, safe, weights)
    return _reduced(losses, weights, reduction, target.shape).to(logits.dtype)


def double_softmax(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of probabilities that already went through softmax."""
    return F.cross_entropy(torch.softmax(logits, 1), target, reduction=reduction)


def weight_truthiness(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """`if weight:` on a tensor with more than one element."""
    rows = -F.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    if weight:
        rows = rows * weight[target]
    return rows.mean()


def epsilon_inside_log(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(p + 1e-5): biased, and without gradient where p vanishes."""
    picked = -torch.log(torch.softmax(logits, 1) + 1e-5).gather(1, target.unsqueeze(1)).squeeze(1)
    return _reduced(picked, torch.ones_like(picked), reduction, target.shape)


def divides_by_rows(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean divided by x.size(-2) whatever the weights."""
    rows = -F.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    return (rows if weight is None else rows * weight[target]).sum() / logits.size(-2)


def returns_pair(logits: Tensor, target: Tensor) -> Any:
    """Returns (loss, target distribution) instead of a loss."""
    distribution = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    return [-(distribution * F.log_softmax(logits, 1)).sum(1).mean(), distribution]


def smoothing_is_none(logits: Tensor, target: Tensor, label_smoothing: float | None = None) -> Tensor:
    """The `smoothing == None` path, which computes 1 - None."""
    confidence = (
        1 - label_smoothing if label_smoothing else 1 - (None if label_smoothing == 0 else label_smoothing)
    )  # type: ignore[operator]
    rows = -F.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    return (confidence * rows).mean()


def float_labels(logits: Tensor, target: Tensor) -> Tensor:
    """Class labels as floating numbers."""
    return F.cross_entropy(logits, target.to(logits.dtype))


INDEX = Contract(variants=("mean", "sum", "none", "weighted", "ignore_index", "images"))
ROWS_ONLY = Contract(
    variants=(
        "mean",
        "sum",
        "none",
        "weighted",
        "ignore_index",
        "smoothed",
        "weighted_smoothed_ignored",
        "probability",
    )
)
# Beyond a gap of about 20 float64 keeps too few bits of 1 - p to be right in float32.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
    variants=("mean", "sum", "none", "weighted", "ignore_index", "images", "smoothed"),
    except_regimes=("confident", "wide", "near_overflow", "recorded_digits_late"),
)

DEAD = Known(
    ("dead_gradient", "dead_loss", "inaccurate"),
    regime=("confident", "wide", "near_overflow", "recorded_*"),
    reason="the largest probability rounds to 1, so the loss and its target gradient are lost",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)

SUITE = Suite(
    name="cross_entropy",
    formula="L = sum_c q_c (logsumexp(x) - x_c)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "weight": None,
        "ignore_index": -100,
        "label_smoothing": 0.0,
        "smoothing_over": "all",
        "mean_denominator": "weights",
        "empty_mean": "nan",
    },
    groups=gradient_groups,
    ignored=ignored_rows,
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("weighted", weight=ascending_weights),
        Variant("ignore_index", ignore_index=-1, adapt=relabelled),
        Variant("smoothed", label_smoothing=0.1),
        Variant("smoothed_other", label_smoothing=0.1, smoothing_over="others"),
        Variant(
            "weighted_smoothed_ignored",
            weight=ascending_weights,
            label_smoothing=0.1,
            ignore_index=0,
            adapt=relabelled,
        ),
        Variant("probability", adapt=probability_targets),
        Variant("images", adapt=as_images),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.near_overflow),
        Regime(draw.offset),
        Regime(draw.masked),
        Regime(draw.ties),
        Regime(draw.tiny),
        Regime(partial(draw.ignored, share=0.1), name="ignored_tenth"),
        Regime(partial(draw.ignored, share=0.5), name="ignored_half"),
        Regime(partial(draw.ignored, share=1.0), name="ignored_all"),
        *recorded_regimes(),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            # Differences of two logits reach twice their size.
            stop=lambda finfo: 0.49 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="largest |logit|",
        ),
        Ladder(
            "gap",
            draw.two_class_gap,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="lead of the label over one other class",
        ),
        Ladder(
            "rows",
            partial(draw.many_rows, lead=3.0),
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows in the batch, losses about 0.1",
        ),
        Ladder(
            "rows_untrained",
            partial(draw.many_rows, lead=-10.0),
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows in the batch, losses about 10",
        ),
    ),
    implementations=(
        Implementation(native, baseline=True),
        Implementation(nn.CrossEntropyLoss, name="native_module"),
        Implementation(naive_loop, contract=INDEX, skip=above(batch=256)),
        Implementation(one_hot),
        Implementation(softmax_log, contract=INDEX),
        Implementation(log_softmax_gather, contract=INDEX),
        Implementation(logsumexp_gather, contract=INDEX),
        Implementation(upcast, contract=Contract(dtypes=("float32", "bfloat16", "float16"))),
        Implementation(chunked, contract=ROWS_ONLY),
        Implementation(
            log_softmax_gather, name="compiled", contract=INDEX, prepare=partial(torch.compile, dynamic=False)
        ),
        Implementation(native, name="compiled_native", prepare=partial(torch.compile, dynamic=False)),
        Implementation(
            partial(upcast, wide_dtype=torch.float64),
            name="float64_control",
            control=True,
            contract=WHERE_FLOAT64_IS_GOOD,
        ),
        Implementation(exact_gradient, control=True, contract=INDEX),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
