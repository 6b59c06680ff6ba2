"""Long batches: the ladder of rows, and the rows of another regime, over and over.

What a ladder of rows asks about is the sum, the count and the place, not the rows. Rows that repeat are
evaluated once by the oracle (`harness.oracle.cycle`). The trap: in a cycle of 64 a row number that wraps at
2^16 lands on an equal row, and blocks of a sum are equal and round alike, so the cycle's length is a prime.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, finfo

from harness import Ladder, Sample, Shape

Drawing = Callable[[Shape, finfo, Generator], Sample]
Climbing = Callable[[float, Shape, finfo, Generator], Sample]
PERIOD = 61
# 131,072 rows: beyond what float16 can count, and beyond where a sum in bfloat16 stops growing.
MOST = 1 << 17


def places(count: float) -> Tensor:
    """Returns for each of so many rows which one of the cycle it is."""
    return torch.arange(int(count)) % PERIOD


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
    """Returns the ladder of rows from a cycle that a regime draws in few classes, up to `most`."""

    def sample(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
        once = regime(Shape(PERIOD, classes), finfo, generator)
        return once.taken(places(value))

    return rows_ladder(sample, f"rows in the batch, as {regime.__name__} draws them", most=most)
