"""Worked squared errors, and identities that every implementation must hold.

Tutorial B defines the loss and prints no number; the examples are its definition on numbers that every
dtype holds. The trap: a sum hides which entry is wrong, so the identities are about entries.
"""

from __future__ import annotations

from harness import Example, Identity
from suites.examples.residuals import EVEN, OF_THE_DIFFERENCE, PAIRS, SYMMETRIC, WEIGHT, plain, quartered

EXAMPLES = (
    # d^2 = 0.25, 9, 0, 4, 9, 4.
    Example("mean", PAIRS, 4.375, digits=15, source="tutorial B, definition by hand"),
    Example("sum", PAIRS, 26.25, digits=15, source="tutorial B, definition by hand"),
    Example("mean", PAIRS, 4.375, digits=7, source="tutorial B, definition by hand", dtype="float16"),
    Example(
        "weighted",
        PAIRS,
        24.625 / 3.5,
        digits=15,
        source="torch documentation of mse_loss, weight",
        options=WEIGHT,
        note="divided by the sum of the weights, 3.5",
    ),
)


IDENTITIES = (
    SYMMETRIC,
    EVEN,
    Identity("homogeneous", plain, quartered(16), variant="mean", regime="wide", source="tutorial B"),
    OF_THE_DIFFERENCE,
)
