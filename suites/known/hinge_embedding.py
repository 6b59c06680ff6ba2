"""What is known to be wrong with hinge embedding losses as torch and others compute them on the CPU."""

from __future__ import annotations

from suites.known.margin_ranking import CLAMPED, RELU
from suites.known.unrefused import ANY_SIGN, BROADCAST

UNREFUSED = (ANY_SIGN, BROADCAST)
NATIVE = (CLAMPED, *UNREFUSED)
TEXTBOOK = (RELU, *UNREFUSED)
COMPILED = (RELU, *UNREFUSED)
