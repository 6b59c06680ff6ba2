"""Ways to compute connectionist temporal classification that people use; those that break are here too.

All take log-probabilities (T, N, C), labels (N, S) padded at will, and the lengths of both; `reduction` is
none, sum or mean, the mean that of the losses divided by their target lengths (1 for an empty target). The
trap: an alignment may skip the blank between two labels only where they differ; and -inf - (-inf) is NaN,
so forbidden classes and impossible alignments break whoever differentiates differences of logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def reduced(losses: Tensor, target_lengths: Tensor, reduction: str, zero_infinity: bool) -> Tensor:
    """Returns the losses (N,), their sum, or torch's mean; infinite ones as 0 where asked."""
    if zero_infinity:
        losses = torch.where(losses == math.inf, torch.zeros_like(losses), losses)
    if reduction == "mean":
        return (losses / target_lengths.clamp(min=1).to(losses.dtype)).mean()
    return losses.sum() if reduction == "sum" else losses


def native(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """torch.nn.functional.ctc_loss; its gradient is the one that reaches the logits of a log_softmax."""
    return F.ctc_loss(
        log_probs,
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        reduction=reduction,
        zero_infinity=zero_infinity,
    )


def native_concatenated(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The other form of the same call: targets one after another (sum S,), lengths as tuples."""
    counted = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    return F.ctc_loss(
        log_probs,
        targets[counted],
        tuple(input_lengths.tolist()),  # type: ignore[arg-type]  # documented: "Tuple or Tensor"
        tuple(target_lengths.tolist()),  # type: ignore[arg-type]
        blank=blank,
        reduction=reduction,
        zero_infinity=zero_infinity,
    )


def upcast(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    wide_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Native on float32 (float64 where asked), rounded once: the only way to train in 16 bits on the CPU."""
    wide = log_probs.to(wide_dtype)
    if not target_lengths.numel():
        # Native refuses an empty batch, the last one of a data set may be.
        return reduced(wide.sum((0, 2)), target_lengths, reduction, zero_infinity).to(log_probs.dtype)
    found = native(wide, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
    return found.to(log_probs.dtype)


def native_corrected(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Native plus a term of value 0 and slope -exp(x): the true partial derivative by log-probabilities."""
    losses = native(log_probs, targets, input_lengths, target_lengths, blank, "none", zero_infinity)
    aligned = torch.arange(len(log_probs), device=log_probs.device)[:, None] < input_lengths
    if zero_infinity:
        with torch.no_grad():
            found = native(log_probs, targets, input_lengths, target_lengths, blank, "none")
        aligned = aligned & (found != math.inf)
    # Behind the last frame stands anything, NaN included.
    counted = torch.where(aligned[:, :, None], log_probs, -math.inf).exp()
    losses = losses + (counted.detach() - counted).sum((0, 2))
    return reduced(losses, target_lengths, reduction, zero_infinity=False)


@dataclass(frozen=True)
class Lattice:
    """States of every sequence: labels (N, L), scores (N, T, L) with -inf where nobody counts, and masks."""

    labels: Tensor
    scores: Tensor
    skips: Tensor
    ends: Tensor
    frames: Tensor

    @staticmethod
    def of(
        log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
    ) -> Lattice:
        """Returns the lattice of a batch; blanks stand in even states, labels in odd ones.

        Raises ValueError for lengths that the tensors do not have; a compiler's one graph looks at no value.
        """
        if not torch.compiler.is_compiling():
            Lattice.check(log_probs, targets, input_lengths, target_lengths)
        count, width = targets.shape
        device = log_probs.device
        sizes, frames = target_lengths[:, None].long(), input_lengths[:, None].long()
        labels = torch.full((count, 2 * width + 1), blank, device=device)
        labels[:, 1::2] = torch.where(torch.arange(width, device=device) < sizes, targets.long(), blank)
        states = torch.arange(2 * width + 1, device=device)
        unequal = F.pad(labels[:, 2:] != labels[:, :-2], (2, 0))[:, : 2 * width + 1]
        skips = unequal & (states % 2 == 1) & (states > 1)
        scores = log_probs.transpose(0, 1).gather(2, labels[:, None].expand(-1, len(log_probs), -1))
        counted = (torch.arange(len(log_probs), device=device) < frames)[:, :, None]
        scores = torch.where(counted & (states <= 2 * sizes)[:, None], scores, -math.inf)
        ends = (states == 2 * sizes) | ((states == 2 * sizes - 1) & (sizes > 0))
        return Lattice(labels, scores, skips, ends, frames)

    @staticmethod
    def check(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> None:
        """Raises ValueError for lengths that the tensors do not have."""
        for name, lengths, longest in (
            ("input_lengths", input_lengths, len(log_probs)),
            ("target_lengths", target_lengths, targets.shape[1]),
        ):
            if bool(((lengths < 0) | (lengths > longest)).any()):
                raise ValueError(f"{name}={lengths.tolist()} must lie between 0 and {longest}")


def _three(values: Tensor, skips: Tensor, empty: float) -> Tensor:
    """Returns (3, N, L): the values of a state, of the one before, and of the one skipped from."""
    one = F.pad(values, (1, 0), value=empty)[:, :-1]
    two = F.pad(values, (2, 0), value=empty)[:, :-2]
    return torch.stack([values, one, torch.where(skips, two, empty)])


def textbook(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Sums of products of probabilities as on paper: below the smallest number after some dozen frames."""
    net = Lattice.of(log_probs, targets, input_lengths, target_lengths, blank)
    p = net.scores.exp()
    states = torch.arange(p.shape[2], device=p.device)
    alpha = torch.where(states < 2, p[:, 0], 0.0)
    for t in range(1, p.shape[1]):
        following = _three(alpha, net.skips, 0.0).sum(0) * p[:, t]
        alpha = torch.where(t < net.frames, following, alpha)
    empty = torch.where(target_lengths == 0, 1.0, 0.0).to(p.dtype)
    total = torch.where(input_lengths == 0, empty, torch.where(net.ends, alpha, 0.0).sum(1))
    return reduced(-total.log(), target_lengths, reduction, zero_infinity)


def rescaled(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Sums of products, brought back to a sum of 1 after every frame (Rabiner 1989, V.A).

    No step depends on a value, so it is one graph. A beginning of e^-87 beside another is 0 in float32, and
    the loss is lost if only that one can be finished.
    """
    net = Lattice.of(log_probs, targets, input_lengths, target_lengths, blank)
    states = torch.arange(net.scores.shape[2], device=log_probs.device)
    # What a frame is divided by and what is added to the logarithm are one constant to autograd.
    top = net.scores.detach().amax(2, keepdim=True)
    top = torch.where(top > -math.inf, top, 0.0)
    p = (net.scores - top).exp()
    mass = torch.where(states < 2, p[:, 0], 0.0)
    logarithm = torch.where(net.frames > 0, top[:, 0], 0.0)
    for t in range(1, p.shape[1]):
        size = mass.detach().sum(1, keepdim=True)
        size = torch.where(size > 0, size, 1.0)
        following = _three(mass / size, net.skips, 0.0).sum(0) * p[:, t]
        mass = torch.where(t < net.frames, following, mass)
        logarithm = logarithm + torch.where(t < net.frames, top[:, t] + size.log(), 0.0)
    none = (target_lengths == 0).to(p.dtype)
    total = torch.where(net.frames[:, 0] == 0, none, torch.where(net.ends, mass, 0.0).sum(1))
    # The slope of log 0 is infinite, times 0: what has no path is taken out before the logarithm.
    found = total > 0
    logarithm = torch.where(found, torch.where(found, total, 1.0).log() + logarithm[:, 0], -math.inf)
    return reduced(-logarithm, target_lengths, reduction, zero_infinity)


def log_space(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The same recursion on logarithms in float32 at least, nothing lost near 0 and no NaN from -inf."""
    wide = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
    net = Lattice.of(wide, targets, input_lengths, target_lengths, blank)
    total = _forward(net)[-1]
    return reduced(-total, target_lengths, reduction, zero_infinity).to(log_probs.dtype)


def log_space_for_logits(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """`log_space` plus a term of value 0 and slope exp(x): native's gradient, to take native's place."""
    wide = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
    net = Lattice.of(wide, targets, input_lengths, target_lengths, blank)
    total = _forward(net)[-1]
    aligned = torch.arange(len(wide), device=wide.device)[:, None] < input_lengths
    aligned = aligned & (total.detach() > -math.inf)
    share = torch.where(aligned[:, :, None], wide, -math.inf).exp()
    losses = (share - share.detach()).sum((0, 2)) - total
    return reduced(losses, target_lengths, reduction, zero_infinity).to(log_probs.dtype)


def logarithm_of_sum(logarithms: Tensor) -> Tensor:
    """Returns log sum exp over axis 0 as the largest plus log1p of the others; -inf of nothing but -inf.

    torch's logsumexp loses a sum that is close to 0, and its slope is NaN where everything is -inf.
    """
    top, place = logarithms.max(0, keepdim=True)
    alive = top > -math.inf
    # Out of the reach of autograd before it is subtracted: -inf - (-inf) has a slope of NaN.
    safe = torch.where(alive & (logarithms > -math.inf), logarithms - torch.where(alive, top, 0.0), 0.0)
    shares = torch.where(logarithms > -math.inf, safe.exp(), 0.0)
    return top[0] + shares.scatter(0, place, 0.0).sum(0).log1p()


def _forward(net: Lattice) -> list[Tensor]:
    """Returns log-sums over beginnings of paths (N, L) for every frame, and last over all paths (N,)."""
    states = torch.arange(net.scores.shape[2], device=net.scores.device)
    alphas = [torch.where(states < 2, net.scores[:, 0], -math.inf)]
    for t in range(1, net.scores.shape[1]):
        following = logarithm_of_sum(_three(alphas[-1], net.skips, -math.inf)) + net.scores[:, t]
        alphas.append(torch.where(t < net.frames, following, alphas[-1]))
    none = torch.where(net.ends[:, 0], 0.0, -math.inf).to(net.scores.dtype)
    total = logarithm_of_sum(torch.where(net.ends, alphas[-1], -math.inf).T)
    return [*alphas, torch.where(net.frames[:, 0] == 0, none, total)]


def naive_loop(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Sequence by sequence, frame by frame, state by state; states not yet reached are left out."""
    losses = []
    for row in range(log_probs.shape[1]):
        frames, size = int(input_lengths[row]), int(target_lengths[row])
        labels = [blank] + [label for y in targets[row, :size].tolist() for label in (y, blank)]
        reached: dict[int, Tensor] = {}
        for t in range(frames):
            before, reached = reached, {}
            for state, label in enumerate(labels):
                sources = [before[s] for s in (state, state - 1) if s in before]
                if state > 2 and label not in (blank, labels[state - 2]) and state - 2 in before:
                    sources.append(before[state - 2])
                if sources:
                    reached[state] = torch.stack(sources).logsumexp(0) + log_probs[t, row, label]
                elif t == 0 and state < 2:
                    reached[state] = log_probs[t, row, label]
        last = [reached[s] for s in (len(labels) - 1, len(labels) - 2) if s in reached]
        empty = 0.0 if frames == size == 0 else math.inf
        losses.append(
            -torch.stack(last).logsumexp(0)
            if last
            else log_probs.new_full((), empty) + 0 * _anchor(log_probs)
        )
    found = torch.stack(losses) if losses else log_probs.new_zeros(0) + 0 * _anchor(log_probs)
    return reduced(found, target_lengths, reduction, zero_infinity)


def _anchor(log_probs: Tensor) -> Tensor:
    """Returns 0 that depends on the log-probabilities by slopes of 0, so that a graph leads back to them."""
    return log_probs[:0].sum()


class _ExactGradient(torch.autograd.Function):
    """Losses and partial derivatives by forward and backward sums in float64."""

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        blank: int,
        zero_infinity: bool,
    ) -> Tensor:
        net = Lattice.of(log_probs, targets, input_lengths, target_lengths, blank)
        *alphas, total = _forward(net)
        ends = torch.where(net.ends, 0.0, -math.inf).double()
        skipped = F.pad(net.skips[:, 2:], (0, 2))[:, : net.skips.shape[1]]
        beta, occupancy = ends, torch.zeros_like(log_probs)
        for t in reversed(range(len(log_probs))):
            if t + 1 < len(log_probs):
                ahead = (beta + net.scores[:, t + 1]).flip(1)
                following = logarithm_of_sum(_three(ahead, skipped.flip(1), -math.inf)).flip(1)
                beta = torch.where(t + 1 < net.frames, following, ends)
            power = alphas[t] + beta - total[:, None]
            # A probability, however large the sums; undefined where no path exists, -inf - (-inf).
            gamma = torch.where(t < net.frames, power.clamp(max=0.0).exp(), 0.0)
            occupancy[t].scatter_add_(1, net.labels, gamma)
        if zero_infinity:
            occupancy = torch.where((total == -math.inf)[:, None], 0.0, occupancy)
        ctx.save_for_backward(occupancy)
        return -total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (occupancy,) = ctx.saved_tensors
        return -occupancy * upstream[:, None], None, None, None, None, None


def exact_gradient(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Clean control: an autograd.Function with the closed-form partial derivative, rounded once."""
    losses = _ExactGradient.apply(
        log_probs.double(), targets, input_lengths, target_lengths, blank, zero_infinity
    )
    return reduced(losses, target_lengths, reduction, zero_infinity).to(log_probs.dtype)
