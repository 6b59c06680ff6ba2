"""Worked Poisson likelihoods, and identities that every implementation must hold.

No tutorial prints a number; the examples are torch's documented formula worked by hand on numbers that
every dtype holds, and the behaviour around t = 1 that the documentation states. The trap: with Stirling's
term the loss is still no likelihood at t <= 1, where log t! is 0 and the term is left out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

# e^x - t x at x = 0, 1, -1, 0: 1, e, 1 / e + 2, 1.
PAIRS = {"prediction": [[0.0, 1.0], [-1.0, 0.0]], "target": [[0.0, 0.0], [2.0, 1.0]]}
PRINTED = 1 + math.e + math.exp(-1) + 2 + 1
RATES = {"prediction": [[1.0, 2.0]], "target": [[3.0, 0.0]]}
# At the optimum e^x = t only log(2 pi t) / 2 is left: x = 0 would be t = 1, so x = 1 with t = 2 is near it.
TWO = {"prediction": [[1.0]], "target": [[2.0]]}
STIRLING_OF_TWO = 2 * math.log(2) - 2 + 0.5 * math.log(4 * math.pi)
IMPOSSIBLE = {"prediction": [[0.0]], "target": [[1.0]]}
DOCUMENTED = "torch documentation of poisson_nll_loss"

EXAMPLES = (
    Example("mean", PAIRS, PRINTED / 4, digits=14, source=f"{DOCUMENTED}, log_input"),
    Example("sum", PAIRS, PRINTED, digits=14, source=f"{DOCUMENTED}, log_input"),
    Example("full", TWO, math.e - 2 + STIRLING_OF_TWO, digits=14, source=f"{DOCUMENTED}, full"),
    Example(
        "full",
        {"prediction": [[0.5]], "target": [[1.0]]},
        math.exp(0.5) - 0.5,
        digits=14,
        source="torch documentation of PoissonNLLLoss: zeros for targets of 1 and below",
    ),
    # log(1 + 1e-8) = 1e-8 - 5e-17.
    Example("rates", RATES, 1.5 - 1.5e-8, digits=14, source=f"{DOCUMENTED}, log_input=False"),
    Example(
        "rates",
        IMPOSSIBLE,
        8 * math.log(10),
        digits=13,
        source=f"{DOCUMENTED}, eps",
        note="a rate of 0 costs -log eps per count",
    ),
    Example(
        "rates",
        IMPOSSIBLE,
        8 * math.log(10),
        dtype="float16",
        tolerance=0.01,
        source=f"{DOCUMENTED}, eps",
        note="eps = 1e-8 is 0 in float16, whose smallest number is 6e-8",
        divergent=dict.fromkeys(
            ("native", "native_module", "naive_loop", "textbook"), "eps is 0 in float16, and log 0 infinite"
        ),
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _zero(evaluate: Evaluate, sample: Sample) -> Tensor:
    return torch.zeros_like(sample["prediction"])


def _exponential(evaluate: Evaluate, sample: Sample) -> Tensor:
    return sample["prediction"].exp()


def _without_counts(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return evaluate(prediction, torch.zeros_like(target), reduction="none")


def _mixed(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    # L is a straight line in t.
    return evaluate(prediction, target / 2, reduction="none")


def _halves(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    none = torch.zeros_like(target)
    return (evaluate(prediction, target, reduction="none") + evaluate(prediction, none, reduction="none")) / 2


def _of_rates(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none", log_input=False, eps=0.0)


def _of_logarithms(evaluate: Evaluate, sample: Sample) -> Tensor:
    prediction, target = sample.tensors
    return evaluate(prediction.log(), target, reduction="none", log_input=True)


IDENTITIES = (
    Identity("rate_without_counts", _without_counts, _exponential, variant="mean", regime="wide"),
    Identity("straight_in_target", _mixed, _halves, variant="mean", regime="counts"),
    Identity(
        "rates_and_logarithms",
        _of_rates,
        _of_logarithms,
        variant="rates",
        regime="wide",
        source=DOCUMENTED,
    ),
)
