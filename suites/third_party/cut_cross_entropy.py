"""cut-cross-entropy: its `torch_compile` implementation against the truth, on a projection that is the
identity.

The loss takes embeddings and a classifier and forms the logits itself; with the identity for a classifier
the logits are the embeddings, and so is their gradient. Documented, and declared here: the loss is that of
`(e @ c.T).float()`, float32 whatever comes in, so float64 is outside. The package's Triton kernels need
CUDA and are not asked. The trap: it compiles itself, once per option, dtype and layout, which is what the
harness asks one after the other, so a worker meets the recompile limit that a training run does not; it is
lifted around the call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness import Contract, above
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.third_party import LOST_IN_THE_PROJECTION, MULTIPLIED, TINY, alone, module, package

CUT = package("cut-cross-entropy", "cut_cross_entropy")


class Linear(nn.Module):
    """LinearCrossEntropy(impl="torch_compile") with the identity for a classifier."""

    def __init__(self, reduction: str = "mean", ignore_index: int = -100) -> None:
        """Builds the module."""
        super().__init__()
        self.loss = CUT.LinearCrossEntropy(ignore_index, reduction=reduction, impl="torch_compile")

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        """Returns the loss."""
        identity = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
        with torch._dynamo.config.patch(recompile_limit=1024):
            return self.loss(logits, identity, target)


SUITE = alone(
    CROSS_ENTROPY,
    module(
        Linear,
        name="cut_torch_compile",
        contract=Contract(
            dtypes=("float32", "bfloat16", "float16"),
            variants=("mean", "sum", "none", "ignore_index"),
            except_regimes=LOST_IN_THE_PROJECTION,
            result_dtype="float32",
        ),
        known=(MULTIPLIED,),
        skip=above(batch=64, classes=1031),
    ),
    shapes=TINY,
)
