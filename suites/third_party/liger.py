"""liger-kernel: its Triton kernels against the truth, interpreted on the CPU, compiled where CUDA is.

Asked is whether they are right, never what they cost: Triton's interpreter runs a row in milliseconds, so
shapes are tiny and nothing is timed. Declared is what its source states: kernels compute in float32, so
float64 is outside; the gradient is stored in the memory of the logits; a batch of ignored rows costs 0;
fused losses are float32. The trap: the interpreter has no arithmetic on bfloat16, so that dtype is asked on
CUDA alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness import Contract, Known, above
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.kl_div import SUITE as DIVERGENCE
from suites.known.kl_div import MASKED
from suites.third_party import LOST_IN_THE_PROJECTION, MULTIPLIED, TINY, alone, module, package
from suites.third_party.interpreter import device

DEVICE = device()
LIGER = package("liger-kernel", "liger_kernel.transformers")
COMPUTED_IN_FLOAT32 = ("float32", "float16") if DEVICE == "cpu" else ("float32", "bfloat16", "float16")
HARD_LABELS = (
    "mean",
    "sum",
    "none",
    "weighted",
    "ignore_index",
    "smoothed",
    "weighted_smoothed_ignored",
)
# One class beyond 1,024 is asked on three rows; ladders of rows and classes end here.
SMALL = above(batch=64, classes=1031)
IN_PLACE = Known(
    "overwrites",
    "by design the gradient is stored in the memory of the logits, which are gone after the forward pass",
    "liger_kernel/ops/cross_entropy.py: a trick to store X_ptr gradient in X_ptr so we can save memory",
    outside=True,
)


class FusedLinear(nn.Module):
    """LigerFusedLinearCrossEntropyLoss on a projection that is the identity: its logits are the input."""

    def __init__(
        self,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> None:
        """Builds the module; it takes the projection first."""
        super().__init__()
        self.loss = LIGER.LigerFusedLinearCrossEntropyLoss(
            ce_weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
        )

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        """Returns the loss."""
        identity = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
        return self.loss(identity, logits, target)


class Divergence(nn.Module):
    """LigerKLDIVLoss under torch's names of the reductions, summed over classes where it does not reduce."""

    def __init__(self, reduction: str = "mean", mean_over: str = "rows", log_target: bool = False) -> None:
        """Builds the module."""
        super().__init__()
        self.reduction = "batchmean" if reduction == "mean" and mean_over == "rows" else reduction
        self.loss = LIGER.LigerKLDIVLoss(reduction=self.reduction, log_target=log_target)

    def forward(self, log_probabilities: Tensor, target: Tensor) -> Tensor:
        """Returns the loss."""
        losses: Tensor = self.loss(log_probabilities, target)
        return losses.sum(1) if self.reduction == "none" else losses


SUITE = alone(
    CROSS_ENTROPY,
    module(
        LIGER.LigerCrossEntropyLoss,
        name="liger",
        contract=Contract(
            dtypes=COMPUTED_IN_FLOAT32, variants=HARD_LABELS, devices=(DEVICE,), empty_mean="zero"
        ),
        known=(IN_PLACE,),
        skip=SMALL,
    ),
    shapes=TINY,
)
FUSED_LINEAR = alone(
    CROSS_ENTROPY,
    module(
        FusedLinear,
        name="liger_fused_linear",
        contract=Contract(
            dtypes=COMPUTED_IN_FLOAT32,
            variants=HARD_LABELS,
            devices=(DEVICE,),
            except_regimes=LOST_IN_THE_PROJECTION,
            result_dtype="float32",
            empty_mean="zero",
        ),
        known=(MULTIPLIED,),
        skip=SMALL,
    ),
    shapes=TINY,
)
KL_DIV = alone(
    DIVERGENCE,
    module(
        Divergence,
        name="liger",
        contract=Contract(
            dtypes=COMPUTED_IN_FLOAT32,
            # Its backward pass gives a gradient to the prediction alone.
            variants=("batchmean", "mean", "sum", "none"),
            devices=(DEVICE,),
            result_dtype="float32",
        ),
        known=(MASKED,),
        skip=SMALL,
    ),
    shapes=TINY,
)
