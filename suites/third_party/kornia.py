"""kornia: its robust and focal losses against the truth.

Declared is what kornia documents: the mean of `focal_loss` divides by classes as well as by rows, so it is
asked for sums and single rows. Charbonnier, Cauchy, Geman-McClure and Welsch are Barron's general loss,
which is what their documentation cites. Dice, Lovasz, Hausdorff, SSIM and total variation are functions of
whole images, not of rows: not asked. The trap: the robust losses compute 16-bit inputs in float32, the focal
ones do not.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from harness import Contract, Known
from suites.sigmoid_focal import SUITE as SIGMOID_FOCAL
from suites.softmax_focal import SUITE as SOFTMAX_FOCAL
from suites.third_party import alone, module, package
from suites.third_party.families.robust import SUITE as ROBUST

LOSSES = package("kornia", "kornia.losses")
PENALTIES = {
    "charbonnier": LOSSES.CharbonnierLoss,
    "cauchy": LOSSES.CauchyLoss,
    "geman_mcclure": LOSSES.GemanMcclureLoss,
    "welsch": LOSSES.WelschLoss,
}


class Penalty(nn.Module):
    """The kornia module of a penalty."""

    def __init__(self, penalty: str, reduction: str = "mean") -> None:
        """Builds the module; kornia's own default is no reduction."""
        super().__init__()
        self.loss = PENALTIES[penalty](reduction=reduction)

    def forward(self, prediction: Tensor, target: Tensor) -> Any:
        """Returns the loss."""
        return self.loss(prediction, target)


class Focal(nn.Module):
    """FocalLoss without its weight of class 0, summed over the classes where it does not reduce."""

    def __init__(self, reduction: str = "sum", gamma: float = 2.0, ignore_index: int = -100) -> None:
        """Builds the module."""
        super().__init__()
        self.reduction = reduction
        self.loss = LOSSES.FocalLoss(None, gamma=gamma, reduction=reduction, ignore_index=ignore_index)

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        """Returns the loss."""
        losses = self.loss(logits, target)
        return losses.sum(1) if self.reduction == "none" else losses


class BinaryFocal(nn.Module):
    """BinaryFocalLossWithLogits, whose alpha of None is the family's negative one: no weight."""

    def __init__(self, reduction: str = "mean", alpha: float = 0.25, gamma: float = 2.0) -> None:
        """Builds the module."""
        super().__init__()
        self.loss = LOSSES.BinaryFocalLossWithLogits(
            None if alpha < 0 else alpha, gamma=gamma, reduction=reduction
        )

    def forward(self, logits: Tensor, target: Tensor) -> Any:
        """Returns the loss."""
        return self.loss(logits, target)


AS_IT_WAS = Known(
    ("spurious_overflow", "dead_gradient", "spurious_nan"),
    "its square of the residual overflows, and with it the loss",
    "kornia/losses/charbonnier.py: keep the original large-residual branch, including its behavior when the "
    "square overflows",
    variant="charbonnier*",
    outside=True,
    up_to=Known.ANY_SIZE,
)
SUITE = alone(ROBUST, module(Penalty, name="kornia", known=(AS_IT_WAS,)))
FOCAL = alone(SOFTMAX_FOCAL, module(Focal, name="kornia", contract=Contract(variants=("sum", "none"))))
BINARY_FOCAL = alone(SIGMOID_FOCAL, module(BinaryFocal, name="kornia"))
