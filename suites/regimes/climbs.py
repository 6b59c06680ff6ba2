"""Ladders of size: how large inputs may become, how many classes, and which lead leaves a gradient dead.

The trap: a ladder of sizes that goes up to the largest number fails by the sum over its rows, not by the
logits; how much of the range its rows leave is for each family to say.
"""

from __future__ import annotations

from harness import Ladder
from suites.regimes.repeated import Climbing


def scale_ladder(sample: Climbing, names: str, *, share: float) -> Ladder:
    """Returns the ladder of sizes up to a share of the dtype's largest number, in steps of a quarter."""
    return Ladder(
        "scale",
        sample,
        start=1.0,
        stop=lambda finfo: share * float(finfo.max),
        resolution=0.25,
        relative=2.0**-10,
        names=names,
    )


def lead_ladder(sample: Climbing, names: str, *, name: str = "lead") -> Ladder:
    """Returns the ladder of leads up to 48 that asks for the first dead gradient; names what leads."""
    return Ladder(
        name,
        sample,
        question="dead_gradient",
        start=1.0,
        step=0.25,
        stop=lambda finfo: 48.0,
        names=names,
    )


def classes_ladder(sample: Climbing, names: str, *, most: int = 1 << 16) -> Ladder:
    """Returns the ladder of the number of classes, from 2 to `most`; `names` says what the rows are."""
    return Ladder(
        "classes",
        sample,
        start=2.0,
        stop=lambda finfo: float(most),
        resolution=1.0,
        classes_is_value=True,
        names=names,
    )
