"""What tutorials and recipes get wrong about CTC: runs only on request (`--include known_bad`).

The trap: most of these train, slowly or towards something else, since the loss still falls when the network
gets better.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation
from suites.implementations.ctc import Lattice, native
from suites.oracles.ctc import FUSED

ONCE = Contract(dtypes=("float32", "float64"), variants=("mean",), derivative=FUSED)
PARTIAL_ONCE = Contract(dtypes=("float32", "float64"), variants=("mean",))


def native_as_partial(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """Native's gradient by log-probabilities taken for what it is called: their partial derivative."""
    return native(log_probs, targets, input_lengths, target_lengths)


def probabilities_for_logarithms(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """The first argument as probabilities: softmax in the place of log_softmax."""
    return native(log_probs.exp(), targets, input_lengths, target_lengths)


def reshaped_for_transposed(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """A batch (N, T, C) brought to (T, N, C) by reshape: frames of one sequence end up in others."""
    batch_first = log_probs.transpose(0, 1)
    return native(batch_first.reshape(log_probs.shape), targets, input_lengths, target_lengths)


def padding_counted(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """Every input as long as the longest: padding is aligned as well."""
    whole = torch.full_like(input_lengths, len(log_probs))
    return native(log_probs, targets, whole, target_lengths)


def plain_mean(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
    """The mean of the losses, not divided by their target lengths."""
    return native(log_probs, targets, input_lengths, target_lengths, reduction="none").mean()


def total_length_mean(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """The sum of the losses over the number of all labels."""
    total = native(log_probs, targets, input_lengths, target_lengths, reduction="sum")
    return total / target_lengths.sum().clamp(min=1)


def blank_forgotten(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """A network whose blank is the last class, and the blank left at 0."""
    return native(log_probs.roll(-1, 2), (targets - 1).clamp(min=1), input_lengths, target_lengths)


def skips_between_repeats(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """The recursion without its condition: the blank between two equal labels may be skipped as well."""
    net = Lattice.of(log_probs, targets, input_lengths, target_lengths, 0)
    states = torch.arange(net.scores.shape[2])
    skips = (states % 2 == 1) & (states > 1)
    return -_total(net, skips.expand_as(net.skips)).div(target_lengths.clamp(min=1)).mean()


def logsumexp_of_nothing(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
) -> Tensor:
    """The recursion with torch.logsumexp under autograd: the value is right, the gradient NaN."""
    net = Lattice.of(log_probs, targets, input_lengths, target_lengths, 0)
    return -_total(net, net.skips).div(target_lengths.clamp(min=1)).mean()


def _total(net: Lattice, skips: Tensor) -> Tensor:
    """Returns log-sums over all paths (N,) by torch.logsumexp."""
    states = torch.arange(net.scores.shape[2])
    alpha = torch.where(states < 2, net.scores[:, 0], -torch.inf)
    for t in range(1, net.scores.shape[1]):
        one, two = (F.pad(alpha, (by, 0), value=-torch.inf)[:, :-by] for by in (1, 2))
        three = torch.stack([alpha, one, torch.where(skips, two, -torch.inf)])
        alpha = torch.where(t < net.frames, three.logsumexp(0) + net.scores[:, t], alpha)
    return torch.where(net.ends, alpha, -torch.inf).logsumexp(1)


KNOWN_BAD = (
    Implementation(
        native_as_partial,
        contract=PARTIAL_ONCE,
        known_bad="ctc_loss answers exp(x) minus the occupancy (pytorch#52241): right for logits behind "
        "log_softmax in the same graph, wrong for x itself; call log_softmax inside what you differentiate",
    ),
    Implementation(
        probabilities_for_logarithms,
        contract=ONCE,
        known_bad="ctc_loss takes log-probabilities; pass log_softmax(z, -1), not softmax(z, -1)",
    ),
    Implementation(
        reshaped_for_transposed,
        contract=ONCE,
        known_bad="reshape does not exchange axes; bring (N, T, C) to (T, N, C) by transpose(0, 1)",
    ),
    Implementation(
        padding_counted,
        contract=ONCE,
        known_bad="input_lengths are the frames of each sequence, not T: padding must not be aligned",
    ),
    Implementation(
        plain_mean,
        contract=ONCE,
        known_bad="reduction='mean' divides each loss by its target length first; .mean() alone does not",
    ),
    Implementation(
        total_length_mean,
        contract=ONCE,
        known_bad="sum over total length weighs long targets more than reduction='mean', a mean of quotients",
    ),
    Implementation(
        blank_forgotten,
        contract=ONCE,
        known_bad="the blank is class 0 unless said otherwise; a network with its blank last needs blank=C-1",
    ),
    Implementation(
        skips_between_repeats,
        contract=PARTIAL_ONCE,
        known_bad="two equal labels need a blank between them; allow the skip only where labels differ",
    ),
    Implementation(
        logsumexp_of_nothing,
        contract=PARTIAL_ONCE,
        known_bad="logsumexp of nothing but -inf has the slope NaN; take the maximum out and use where twice",
    ),
)
