"""What is known to be wrong with multi-label margin losses as torch and others compute them on the CPU."""

from __future__ import annotations

from suites.known.multi_margin import (
    ANYHOW,
    CLAMP,
    MARGIN_FIRST,
    RELU,
    SEQUENTIAL_CLASSES,
    SWALLOWED,
    UNINITIALISED,
)

NATIVE = (SWALLOWED, MARGIN_FIRST, UNINITIALISED, SEQUENTIAL_CLASSES)
MASKS = (RELU, ANYHOW)
LOOP = (CLAMP, ANYHOW)
UPCAST = (SWALLOWED, MARGIN_FIRST, UNINITIALISED, SEQUENTIAL_CLASSES)
COMPILED = (RELU, MARGIN_FIRST)
