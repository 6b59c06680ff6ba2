"""What tutorials get wrong about the divergence: runs only on request (`--include known_bad`).

The trap: several of these return plausible positive numbers, and a mean over all elements even has
gradients of the right direction, only C times too small.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

# Calls that name no reduction of their own.
USUAL = Contract(variants=("batchmean", "both_gradients"))


def probabilities_for_logarithms(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """The first argument as probabilities."""
    return F.kl_div(log_probabilities.exp(), target, reduction="batchmean")


def arguments_swapped(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Target first, as in KL(P || Q) on paper: another divergence."""
    return F.kl_div(target.log(), log_probabilities.exp(), reduction="batchmean")


def mean_for_batchmean(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """The mean over all N C elements, torch's default reduction."""
    return F.kl_div(log_probabilities, target, reduction="none").mean()


def logarithms_for_probabilities(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """A target of logarithms without log_target=True."""
    return F.kl_div(log_probabilities, target.log(), reduction="batchmean")


def undeclared_epsilon(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """log(t + 1e-5) passed off as the divergence."""
    return (target * (torch.log(target + 1e-5) - log_probabilities)).sum() / target.shape[0]


def zero_case_missing(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """t * log(t) without the case t = 0."""
    return (target * torch.log(target) - target * log_probabilities).sum() / target.shape[0]


def where_after_the_logarithm(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """The case t = 0 chosen after the logarithm: right value, NaN gradient."""
    terms = target * (torch.log(target) - log_probabilities)
    return torch.where(target > 0, terms, torch.zeros_like(terms)).sum() / target.shape[0]


def logits_for_logarithms(log_probabilities: Tensor, target: Tensor, from_logits: bool = False) -> Tensor:
    """Logits passed on without log_softmax."""
    return F.kl_div(log_probabilities, target, reduction="batchmean")


KNOWN_BAD = (
    Implementation(
        probabilities_for_logarithms,
        contract=USUAL,
        known_bad="kl_div takes log-probabilities first; pass log_softmax(z, 1), not softmax(z, 1)",
    ),
    Implementation(
        arguments_swapped,
        contract=USUAL,
        known_bad="KL(t || q) is kl_div(log q, t): the prediction comes first, and KL is not symmetric",
    ),
    Implementation(
        mean_for_batchmean,
        contract=USUAL,
        known_bad="reduction='mean' divides by all N C elements; write reduction='batchmean'",
    ),
    Implementation(
        logarithms_for_probabilities,
        contract=USUAL,
        known_bad="a target of logarithms needs log_target=True; without it log t is NaN",
    ),
    Implementation(
        undeclared_epsilon,
        contract=USUAL,
        known_bad="log(t + 1e-5) biases every term; write xlogy(t, t) - t * x, which is 0 at t = 0",
    ),
    Implementation(
        zero_case_missing,
        contract=USUAL,
        known_bad="t * log(t) is NaN at t = 0, where it counts 0; write torch.xlogy(t, t)",
    ),
    Implementation(
        where_after_the_logarithm,
        contract=USUAL,
        known_bad="`where` after log leaves 0 * inf = NaN in the gradient; make t safe before the log too",
    ),
    Implementation(
        logits_for_logarithms,
        contract=Contract(variants=("from_logits",)),
        known_bad="logits are no log-probabilities; write kl_div(log_softmax(z, 1), t)",
    ),
)
