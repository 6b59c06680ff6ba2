"""Losses of pairs and triplets of vectors or scores, with one fault each.

The trap: the defaults are a margin of 0 or 1 and no swap, where a margin in the wrong place and a swap that
the backward pass forgot are both right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.tests.mutants.grafts import grafted
from harness.tests.mutants.mutant import (
    INACCURATE,
    NAN,
    SPURIOUS,
    WRONG,
    Expected,
    Mutant,
    planted,
)
from suites.implementations import (
    cosine_embedding,
    hinge_embedding,
    margin_ranking,
    triplet_margin,
)
from suites.implementations.cosine_embedding import ADDED, by_label
from suites.implementations.margin_ranking import reduced


def stored_guard(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """m24: the 1e-12 under the root is a constant of the input's dtype, which is 0 in float16."""
    guard = torch.tensor(ADDED, dtype=first.dtype).double()
    one, other = first.double(), second.double()
    norms = (one.square().sum(1) + guard).sqrt() * (other.square().sum(1) + guard).sqrt()
    return by_label((one * other).sum(1) / norms, target, margin, reduction).to(first.dtype)


def slope_without_margin(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """f17: backward takes every positive cosine for active, whatever the margin."""
    one, other = first.double(), second.double()
    right = cosine_embedding.exact_gradient(one, other, target, "none", margin)
    sloped = cosine_embedding.exact_gradient(one, other, target, "none", 0.0)
    return reduced(grafted(right, sloped), reduction).to(first.dtype)


def careless_without_grad(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """f50: without gradients the vectors are read as bfloat16, as by a path for inference."""
    if not torch.is_grad_enabled():
        one, other = first.bfloat16().to(first.dtype), second.bfloat16().to(second.dtype)
        return cosine_embedding.exact_gradient(one, other, target, reduction, margin)
    return cosine_embedding.exact_gradient(first, second, target, reduction, margin)


def root_at_zero(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    swap: bool = False,
) -> Tensor:
    """m25: plain roots of squares, in float64; the root of 0 has no slope."""
    return triplet_margin.root_of_squares(
        anchor.double(), positive.double(), negative.double(), reduction, margin, swap
    ).to(anchor.dtype)


def forgotten_swap(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    swap: bool = False,
) -> Tensor:
    """f18: forward takes the nearer of both distances, backward the one to the anchor."""
    triplet = anchor.double(), positive.double(), negative.double()
    right = triplet_margin.exact_gradient(*triplet, "none", margin, p, swap)
    sloped = triplet_margin.exact_gradient(*triplet, "none", margin, p)
    return reduced(grafted(right, sloped), reduction).to(anchor.dtype)


def usual_threshold(distance: Tensor, target: Tensor, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """f19: backward takes a distance above 1 for far enough, whatever the margin."""
    wide = distance.double()
    right = hinge_embedding.exact_gradient(wide, target, "none", margin)
    sloped = hinge_embedding.exact_gradient(wide, target, "none")
    return reduced(grafted(right, sloped), reduction).to(distance.dtype)


def signed_margin(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """f20: the label multiplies the margin, too: max(0, -y (x1 - x2 + margin))."""
    shifted = first.double() + margin * (1 + target.double())
    return margin_ranking.exact_gradient(shifted, second.double(), target, reduction, margin).to(first.dtype)


def squeezed(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    swap: bool = False,
) -> Tensor:
    """f42: a batch of one loses its axis."""
    losses = triplet_margin.exact_gradient(
        anchor.double(), positive.double(), negative.double(), "none", margin, 2.0, swap
    )
    return reduced(losses.squeeze(), reduction).to(anchor.dtype)


def narrow_sum(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    reduction: str = "mean",
    margin: float = 1.0,
    swap: bool = False,
) -> Tensor:
    """f43: loss sum and row count are stored in the input's dtype before the division."""
    losses = triplet_margin.exact_gradient(
        anchor.double(), positive.double(), negative.double(), "none", margin, 2.0, swap
    )
    if reduction != "mean":
        return reduced(losses, reduction).to(anchor.dtype)
    count = torch.tensor(len(losses), dtype=anchor.dtype)
    return losses.sum().to(anchor.dtype) / count


def silenced(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """f44: NaN scores are set to 0 before anything is computed."""
    return margin_ranking.exact_gradient(
        first.nan_to_num(0.0, float("inf"), float("-inf")), second, target, reduction, margin
    )


def unsaid(
    first: Tensor, second: Tensor, target: Tensor, reduction: str = "mean", margin: float = 0.0
) -> Tensor:
    """f53: the loss is NaN where a score is, the gradients of both scores are 0 there."""
    scores = [score.clone() for score in (first, second)]
    for score in scores:
        if score.requires_grad:
            score.register_hook(torch.nan_to_num)
    return margin_ranking.exact_gradient(*scores, target, reduction, margin)


MUTANTS: tuple[Mutant, ...] = (
    planted(
        "cosine_embedding",
        "m24",
        stored_guard,
        Expected(("spurious_nan", "spurious_overflow", "inaccurate")),
        source="pytorch#69512",
        fault="the 1e-12 under the square root is 0 in float16",
        right="vectors longer than 1e-3",
        right_at="mean/independent/float16",
        dtypes=("float16",),
    ),
    planted(
        "cosine_embedding",
        "f17",
        slope_without_margin,
        WRONG,
        source="like m20",
        fault="backward takes every positive cosine for active, whatever the margin",
        right="margin 0",
        right_at="mean/independent/float32",
    ),
    planted(
        "cosine_embedding",
        "f50",
        careless_without_grad,
        Expected(("grad_mode",), ("protocol",)),
        source="a slip",
        fault="without gradients the vectors are read as bfloat16",
        right="gradients asked for",
        right_at="mean/independent/float32",
        dtypes=("float32",),
    ),
    planted(
        "triplet_margin",
        "m25",
        root_at_zero,
        NAN,
        source="tensorflow#30199",
        fault="square root at distance zero",
        right="anchor other than positive",
        right_at="mean/triplet/float32",
        dtypes=("float32", "bfloat16", "float16"),
        variants=("mean", "sum", "none", "swap", "narrow"),
        eps=0.0,
    ),
    planted(
        "triplet_margin",
        "f18",
        forgotten_swap,
        WRONG,
        source="like m20",
        fault="backward knows nothing of the swap that forward made",
        right="swap off",
        right_at="mean/triplet/float32",
    ),
    planted(
        "hinge_embedding",
        "f19",
        usual_threshold,
        WRONG,
        source="like m20",
        fault="backward takes a distance above 1 for far enough, whatever the margin",
        right="margin 1",
        right_at="mean/distances/float32",
    ),
    planted(
        "margin_ranking",
        "f20",
        signed_margin,
        INACCURATE,
        source="a slip",
        fault="the label multiplies the margin as well as the difference",
        right="margin 0",
        right_at="mean/scores/float32",
    ),
    planted(
        "triplet_margin",
        "f42",
        squeezed,
        Expected(("shape", "edge_shape"), ("accuracy", "protocol")),
        source="a slip",
        fault="without reduction a batch of one comes back without its axis",
        right="two rows and more",
        right_at="none/triplet/float32",
        variants=("mean", "sum", "none", "swap", "narrow"),
    ),
    planted(
        "triplet_margin",
        "f43",
        narrow_sum,
        Expected(("inaccurate", "dead_gradient", *SPURIOUS.kinds), ("overflow",)),
        source="like m14",
        fault="loss sum and row count are stored in float16 before the division",
        right="a few thousand rows",
        right_at="mean/triplet/float16",
        variants=("mean", "sum", "none", "swap", "narrow"),
        dtypes=("float16",),
    ),
    planted(
        "margin_ranking",
        "f44",
        silenced,
        Expected(("nan_swallowed",)),
        source="a slip",
        fault="NaN scores are set to 0 beforehand",
        right="scores that are numbers",
        right_at="mean/scores/float32",
    ),
    planted(
        "margin_ranking",
        "f53",
        unsaid,
        Expected(("nan_swallowed",)),
        source="training loops that clean their gradients",
        fault="a NaN is taken out of the gradients, so that the loss alone tells of it",
        right="scores that are numbers",
        right_at="mean/scores/float32",
    ),
)
