"""What is known to be wrong with hinge embedding losses as torch and others compute them on the CPU."""

from __future__ import annotations

from suites.known.margin_ranking import RELU

TEXTBOOK = (RELU,)
COMPILED = (RELU,)
