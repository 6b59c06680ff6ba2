"""info-nce-pytorch: `InfoNCE` with paired negatives against the truth.

With negatives of its own for every query a row stands alone; of the other two modes, unpaired negatives are
the same formula, and a batch that serves as its own negatives has no rows to be judged one by one. The
trap: the package takes negatives as one tensor (N, M, D), the family stores M tensors (N, D).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from harness import Known
from suites.third_party import MULTIPLIED, alone, module, package
from suites.third_party.families.info_nce import SUITE as FAMILY
from suites.third_party.families.info_nce import no_direction

PACKAGE = package("info-nce-pytorch", "info_nce")


class Paired(nn.Module):
    """InfoNCE(negative_mode="paired")."""

    def __init__(self, temperature: float = 0.1, reduction: str = "mean") -> None:
        """Builds the module."""
        super().__init__()
        self.loss = PACKAGE.InfoNCE(temperature=temperature, reduction=reduction, negative_mode="paired")

    def forward(self, query: Tensor, positive: Tensor, *negatives: Tensor) -> Any:
        """Returns the loss."""
        return self.loss(query, positive, torch.stack(negatives, 1))


# All but `long`: there bfloat16, as the wide formats, loses the squares of the lengths, which is no rounding.
IN_SIXTEEN_BITS = Known(
    ("inaccurate", "dead_gradient"),
    "unit vectors and cosines are rounded to 16 bits, and 1 / T multiplies that, as in the plain form",
    probe="accuracy",
    dtype=("bfloat16", "float16"),
    regime=("independent", "learned", "hard", "false_negatives", "same"),
    up_to=16,
)
# 1 / |q| multiplies the rounding of a slope.
OF_OTHER_LENGTHS = replace(IN_SIXTEEN_BITS, regime=("mixed_lengths", "short"), up_to=256)
LONG_IN_FLOAT16 = replace(IN_SIXTEEN_BITS, kind="inaccurate", dtype="float16", regime="long", up_to=256)
UNDER_OTHER_FACTORS = Known(
    ("upstream", "second_backward"),
    "where nothing but the rounding to 16 bits is left of a gradient, another factor rounds otherwise",
    probe="protocol",
    dtype=("bfloat16", "float16"),
    group=("upstream 3", "random upstream", "second backward"),
    up_to=16,
)
SUITE = alone(
    FAMILY,
    module(
        Paired,
        name="info_nce_pytorch",
        known=(MULTIPLIED, IN_SIXTEEN_BITS, OF_OTHER_LENGTHS, LONG_IN_FLOAT16, UNDER_OTHER_FACTORS),
        skip=no_direction,
    ),
)
