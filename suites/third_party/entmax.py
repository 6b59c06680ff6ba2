"""entmax: its sparsemax and 1.5-entmax losses against the truth, by sorting and by bisection.

The package spells the mean "elementwise_mean" and takes its labels as plain classes. `Entmax15Loss` sorts
the 100 largest logits and more where that is not enough; the bisecting forms stop after 50 halvings, of
which its documentation calls 24 enough for float32. The trap: without a reduction its modules overwrite
nothing, with an `ignore_index` they write into the loss.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from suites.third_party import alone, module, package
from suites.third_party.families.sparse import SUITE as SPARSE

ENTMAX = package("entmax", "entmax")
WORDS = {"mean": "elementwise_mean"}
SORTING = {2.0: ENTMAX.SparsemaxLoss, 1.5: ENTMAX.Entmax15Loss}


class Sorting(nn.Module):
    """SparsemaxLoss or Entmax15Loss, whichever the order asks for."""

    def __init__(self, alpha: float, reduction: str = "elementwise_mean") -> None:
        """Builds the module."""
        super().__init__()
        self.loss = SORTING[alpha](reduction=reduction)

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        """Returns the loss."""
        return self.loss(logits, target)


SUITE = alone(
    SPARSE,
    module(Sorting, name="entmax", words=WORDS),
    module(ENTMAX.EntmaxBisectLoss, name="entmax_bisect", words=WORDS),
)
