"""A covering set: few combinations in which every pair of values of two factors occurs.

`allpairspy` does the search; this module fixes the order and drops what a regime fixes. The trap:
the set must not depend on hashing or on what else is selected in another factor's order, since the
plan's hash names the run directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from allpairspy import AllPairs

Value = TypeVar("Value")


def covering(factors: Sequence[Sequence[Value]]) -> list[tuple[Value, ...]]:
    """Returns combinations that contain every pair of values of any two factors, in a fixed order."""
    open_factors = [list(factor) for factor in factors]
    if any(not factor for factor in open_factors):
        return []
    if len(open_factors) < 2:
        return [(value,) for factor in open_factors for value in factor]
    return [tuple(row) for row in AllPairs(open_factors)]
