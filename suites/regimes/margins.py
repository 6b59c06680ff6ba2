"""Input distributions for element-wise hinge losses (N, C): pairs of scores, and distances with a label.

Each function draws in float64 from the generator alone. The trap: a hinge has a kink where
its argument is 0, which random scores never meet, so regimes put multiples of 1/8 there, which every
dtype holds and subtracts exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, finfo

from harness import Sample, Shape, Shapes
from suites.regimes.pairs import lengths, normal, signs

BOTH = ("first", "second")
SHAPES = Shapes(
    covering=(Shape(1, 3), Shape(7, 10), Shape(64, 1)),
    timed=(Shape(256, 1000),),
    slow_regime="",
    clocked=("float32", "bfloat16"),
)


def eighths(shape: Shape, generator: Generator, span: int = 16) -> Tensor:
    """Returns multiples of 1/8 up to span / 8 in magnitude (N, C)."""
    return torch.randint(-span, span + 1, tuple(shape), generator=generator).double() / 8


# Pairs of scores: (first, second, target), target 1 where the first should be the larger.
def _ranked(first: Tensor, second: Tensor, generator: Generator) -> Sample:
    target = signs(tuple(first.shape), generator)
    return Sample(gradients=BOTH, layout="elements", first=first, second=second, target=target)


def scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two standard normal scores in either order."""
    return _ranked(normal(shape, generator), normal(shape, generator), generator)


def close_scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two scores a hundredth apart, far from 0: their difference is all that counts."""
    first = 8 + normal(shape, generator)
    return _ranked(first, first + 1e-2 * normal(shape, generator), generator)


def stepped_scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores in steps of 1/8: many pairs are equal or exactly a margin of 1/2 apart, at the kink."""
    return _ranked(eighths(shape, generator, 4), eighths(shape, generator, 4), generator)


def near_margin(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """A score of 1/2 against one of about 1/1000: rounding their difference decides about a margin of 1/2."""
    sample = _ranked(normal(shape, generator), 2.0**-10 * normal(shape, generator), generator)
    return sample.replaced(first=sample["target"].double() / 2)


def tiny_scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores down to the smallest normal number."""
    size = lengths(shape.batch, 16 * finfo.smallest_normal, 1e-3, generator)
    return _ranked(size * normal(shape, generator), size * normal(shape, generator), generator)


def _top(shape: Shape, finfo: finfo) -> float:
    return finfo.max / (8 * max(shape.batch * shape.classes, 1))


def huge_scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores up to a size at which the exact sum over all entries stays finite."""
    top = _top(shape, finfo)
    size = lengths(shape.batch, top / 64, top, generator)
    first, second = (2 * torch.rand(tuple(shape), generator=generator).double() - 1 for _ in range(2))
    sample = _ranked(size * first, size * second, generator)
    # Beside N of this size a batch at rest would accept any constant, so one pair is in the wrong order.
    sample["target"][:1, :1] = torch.where(first > second, -1, 1)[:1, :1]
    return sample


def poisoned_scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row in eight has a NaN, by turns in the first and the second score."""
    sample = scores(shape, finfo, generator)
    sample["first"][::16, 0] = math.nan
    sample["second"][8::16, -1] = math.nan
    return sample


def grown_scores(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row of four pairs (x, -x / 2) of size `value`, in both orders of label and sign."""
    first = torch.tensor([[value, -value, value, -value]], dtype=torch.float64)
    target = torch.tensor([[1, 1, -1, -1]])
    return Sample(gradients=BOTH, layout="elements", first=first, second=-first / 2, target=target)


def every_score(values: Tensor, *, label: int) -> Sample:
    """Every value x as the first score against 0; label 1 says that it should be the larger."""
    column = values.unsqueeze(1)
    return Sample(
        gradients=BOTH,
        layout="elements",
        first=column,
        second=torch.zeros_like(column),
        target=torch.full(column.shape, label),
    )


# Distances: (distance, target), target -1 for pairs that should be at least a margin apart.
def _embedded(distance: Tensor, generator: Generator) -> Sample:
    return Sample(layout="elements", distance=distance, target=signs(tuple(distance.shape), generator))


def distances(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Magnitudes of standard normal numbers: distances on both sides of the margin."""
    return _embedded(normal(shape, generator).abs(), generator)


def signed(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Numbers of both signs: nothing in the loss asks for a distance."""
    return _embedded(4 * normal(shape, generator), generator)


def stepped(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Distances in steps of 1/8, many of them exactly the margin, at the kink."""
    return _embedded(eighths(shape, generator).abs(), generator)


def tiny(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Distances down to the smallest normal number."""
    size = lengths(shape.batch, 16 * finfo.smallest_normal, 1e-3, generator)
    return _embedded(size * (0.5 + normal(shape, generator).abs()), generator)


def huge(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Distances up to a size at which the exact sum over all entries stays finite."""
    top = _top(shape, finfo)
    size = lengths(shape.batch, top / 64, top, generator)
    sample = _embedded(size * (2 * torch.rand(tuple(shape), generator=generator).double() - 1), generator)
    # Beside N of this size a batch at rest would accept any constant, so one entry is active.
    sample["target"][:1, :1] = torch.where(sample["distance"] < 0, -1, 1)[:1, :1]
    return sample


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row in eight has a NaN; no other entry may know of it."""
    sample = distances(shape, finfo, generator)
    sample["distance"][::8, 0] = math.nan
    return sample


def grown(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row of four distances of size `value`, of both signs under both labels."""
    distance = torch.tensor([[value, -value, value, -value]], dtype=torch.float64)
    return Sample(layout="elements", distance=distance, target=torch.tensor([[1, 1, -1, -1]]))


def every_distance(values: Tensor, *, label: int) -> Sample:
    """Every value under one label: under -1 there is a hinge, under 1 the loss is the value."""
    column = values.unsqueeze(1)
    return Sample(layout="elements", distance=column, target=torch.full(column.shape, label))
