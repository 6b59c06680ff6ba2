"""What tutorials get wrong about the soft margin loss: runs only on request (`--include known_bad`).

The trap: labels in {0, 1} raise nothing; every 0 costs log 2 and teaches nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Contract, Implementation

USUAL = Contract(variants=("mean",))


def labels_of_zero_and_one(x: Tensor, y: Tensor) -> Tensor:
    """Labels in {0, 1}: the negative answers drop out."""
    return F.soft_margin_loss(x, (y + 1) / 2)


def sign_forgotten(x: Tensor, y: Tensor) -> Tensor:
    """log(1 + e^(y x)): right answers cost most."""
    return F.softplus(y * x).mean()


def hinge_instead(x: Tensor, y: Tensor) -> Tensor:
    """max(0, 1 - y x), the hard margin."""
    return F.relu(1 - y * x).mean()


def sum_for_mean(x: Tensor, y: Tensor) -> Tensor:
    """The text's sum where torch's mean is meant."""
    return F.soft_margin_loss(x, y, reduction="sum")


def clamped_power(x: Tensor, y: Tensor) -> Tensor:
    """-y x kept below 10 so that nothing overflows: what is most wrong has no gradient."""
    return torch.log1p(torch.exp((-y * x).clamp(max=10))).mean()


KNOWN_BAD = (
    Implementation(
        labels_of_zero_and_one,
        contract=USUAL,
        known_bad="the labels are -1 and 1; write 2 * t - 1, or use binary_cross_entropy_with_logits",
    ),
    Implementation(
        sign_forgotten,
        contract=USUAL,
        known_bad="the exponent is -y x: an answer of the right sign has to be cheap",
    ),
    Implementation(
        hinge_instead,
        contract=USUAL,
        known_bad="max(0, 1 - y x) is the hinge; the soft margin is log(1 + e^(-y x)), softplus(-y x)",
    ),
    Implementation(
        sum_for_mean,
        contract=USUAL,
        known_bad="torch divides by the number of elements; write reduction='sum' only if the sum is meant",
    ),
    Implementation(
        clamped_power,
        contract=USUAL,
        known_bad="a clamp takes the gradient from the worst answers; write -logsigmoid(y * x)",
    ),
)
