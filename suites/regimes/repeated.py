"""Long batches: the ladder of rows, and the rows of another regime, over and over.

What a ladder of rows asks about is the sum and the count, not the rows. The trap: 64 rows that repeat are
evaluated once by the oracle (`harness.oracle.cycle`), so the cycle has to be exactly 64 long.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, finfo

from harness import Ladder, Sample, Shape
from harness.oracle.cycle import PERIOD

Drawing = Callable[[Shape, finfo, Generator], Sample]
Climbing = Callable[[float, Shape, finfo, Generator], Sample]
# 131,072 rows: beyond what float16 can count, and beyond where a sum in bfloat16 stops growing.
MOST = 1 << 17


def rows_ladder(sample: Climbing, names: str, *, name: str = "rows", most: int = MOST) -> Ladder:
    """Returns the ladder of the number of rows, from 2 to `most`; `names` says what the rows are."""
    return Ladder(
        name,
        sample,
        start=2.0,
        stop=lambda finfo: float(most),
        resolution=1.0,
        batch_is_value=True,
        names=names,
    )


def rows_of(regime: Drawing, *, classes: int, most: int = MOST) -> Ladder:
    """Returns the ladder of rows from a cycle of 64 that a regime draws in few classes, up to `most`."""

    def sample(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
        once = regime(Shape(PERIOD, classes), finfo, generator)
        return once.taken(torch.arange(int(value)) % PERIOD)

    return rows_ladder(sample, f"rows in the batch, as {regime.__name__} draws them", most=most)
