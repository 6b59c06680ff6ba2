"""What tutorials get wrong about cross-entropy: runs only on request (`--include known_bad`).

Wrong definitions and wrong calls stand here; right formulas that are unstable (softmax then log, exp
without a shift) are ordinary implementations. The trap: some of these agree with the truth on the
data of the text that teaches them, e.g. dividing by rows under equal weights.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Implementation


def _picked(logits: Tensor, target: Tensor) -> Tensor:
    return -F.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)


def double_softmax(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of probabilities that already went through softmax."""
    return F.cross_entropy(torch.softmax(logits, 1), target)


def weight_truthiness(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """`if weight:` on a tensor with more than one element."""
    losses = _picked(logits, target)
    if weight:
        return (losses * weight[target]).sum() / weight[target].sum()
    return losses.mean()


def epsilon_inside_log(logits: Tensor, target: Tensor) -> Tensor:
    """log(p + 1e-5): biased everywhere, and saturated where p vanishes."""
    return -torch.log(torch.softmax(logits, 1) + 1e-5).gather(1, target.unsqueeze(1)).mean()


def divides_by_rows(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean divided by x.size(-2) whatever the weights."""
    losses = _picked(logits, target)
    return (losses if weight is None else losses * weight[target]).sum() / logits.size(-2)


def returns_pair(logits: Tensor, target: Tensor) -> Any:
    """Returns (loss, target distribution) instead of a loss."""
    distribution = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    return -(distribution * F.log_softmax(logits, 1)).sum(1).mean(), distribution


def smoothing_is_none(logits: Tensor, target: Tensor, smoothing: float | None = None) -> Tensor:
    """A default of None that is computed with: the `smoothing == None` path."""
    confidence: Any = smoothing
    return ((1 - confidence) * _picked(logits, target)).mean()


def float_labels(logits: Tensor, target: Tensor) -> Tensor:
    """Class labels as floating numbers."""
    return F.cross_entropy(logits, target.to(logits.dtype))


def _whole(answer: Any) -> Any:
    """Takes the answer as it is, so that a pair is seen to be a pair."""
    return answer


KNOWN_BAD = (
    Implementation(
        double_softmax,
        known_bad="softmax is applied twice: cross_entropy takes logits; pass the logits themselves",
    ),
    Implementation(
        weight_truthiness,
        known_bad="`if weight:` raises for more than one weight; write `if weight is not None:`",
    ),
    Implementation(
        epsilon_inside_log,
        known_bad="log(p + 1e-5) is biased and loses gradients; use log_softmax, which needs no epsilon",
    ),
    Implementation(
        divides_by_rows,
        known_bad="a weighted mean divides by the weights used, weight[target].sum(), not by the rows",
    ),
    Implementation(
        returns_pair,
        reads=_whole,
        known_bad="returns (loss, distribution): backward() on a tuple fails; return the loss alone",
    ),
    Implementation(
        smoothing_is_none,
        known_bad="computes 1 - None; give smoothing a number as its default, 0.0",
    ),
    Implementation(
        float_labels,
        known_bad="class labels must be integers (torch.long); floating targets mean probabilities",
    ),
)
