"""What is known to be wrong with multi-label margin losses as torch and others compute them on the CPU."""

from __future__ import annotations

from dataclasses import replace

from suites.known.multi_margin import (
    ANYHOW,
    CLAMP,
    MARGIN_FIRST,
    RELU,
    SEQUENTIAL_CLASSES,
    SEQUENTIAL_ROWS,
    SWALLOWED,
    UNINITIALISED,
)

NATIVE = (SWALLOWED, MARGIN_FIRST, UNINITIALISED, SEQUENTIAL_CLASSES, SEQUENTIAL_ROWS)
# Which regimes and which rungs of the scores show it in 16 bits is the draw's choice.
ANYWHERE = replace(ANYHOW, probe=("accuracy", "protocol", "overflow"), regime=(), up_to=8)
MASKS = (RELU, ANYWHERE, ANYHOW)
LOOP = (CLAMP, ANYHOW)
UPCAST = (SWALLOWED, MARGIN_FIRST, UNINITIALISED, SEQUENTIAL_CLASSES)
COMPILED = (RELU, MARGIN_FIRST)
