"""Connectionist temporal classification with one fault each.

The trap: targets without a repeated label, one per sequence, need neither the blank between equal labels
nor a division by the length of the target.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from harness.tests.mutants.mutant import INACCURATE, Expected, Mutant, planted
from suites.implementations import ctc
from suites.implementations.ctc import Lattice


def skips_between_equals(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """f36: a path may skip the blank between two equal labels."""
    net = Lattice.of(log_probs.double(), targets, input_lengths, target_lengths, blank)
    states = torch.arange(net.skips.shape[1])
    net = replace(net, skips=((states % 2 == 1) & (states > 1)).expand_as(net.skips))
    alpha = torch.where(states < 2, net.scores[:, 0], -torch.inf)
    for t in range(1, net.scores.shape[1]):
        sources = torch.stack([torch.roll(alpha, k, 1) for k in range(3)])
        reached = torch.stack([states >= 0, states >= 1, states >= 2]).unsqueeze(1).expand_as(sources).clone()
        reached[2] &= net.skips
        following = ctc.logarithm_of_sum(torch.where(reached, sources, -torch.inf)) + net.scores[:, t]
        alpha = torch.where(t < net.frames, following, alpha)
    total = ctc.logarithm_of_sum(torch.where(net.ends, alpha, -torch.inf).T)
    none = torch.where(net.ends[:, 0], 0.0, -torch.inf).double()
    total = torch.where(input_lengths == 0, none, total)
    return ctc.reduced(-total, target_lengths, reduction, zero_infinity).to(log_probs.dtype)


def mean_of_sequences(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """f37: the mean divides by the number of sequences, not by the lengths of their targets first."""
    losses = ctc.exact_gradient(
        log_probs.double(), targets, input_lengths, target_lengths, blank, "none", zero_infinity
    )
    ones = torch.ones_like(target_lengths)
    return ctc.reduced(losses, ones, reduction, zero_infinity=False).to(log_probs.dtype)


_ctc = partial(planted, "ctc")

MUTANTS: tuple[Mutant, ...] = (
    _ctc(
        "f36",
        skips_between_equals,
        Expected((*INACCURATE.kinds, "saturated")),
        source="a slip",
        fault="a path may skip the blank between two equal labels",
        right="targets in which no label follows itself",
        dtypes=("float32", "bfloat16", "float16"),
    ),
    _ctc(
        "f37",
        mean_of_sequences,
        INACCURATE,
        source="like m9",
        fault="the mean does not divide by the lengths of the targets",
        right="reduction sum",
        right_at="sum/typical/float32",
    ),
)
