"""Input distributions for losses on vectors: pairs (a, b) with y = 1 or -1, and triplets (a, p, n).

Vectors are (N, D); D is the number of entries per row of a shape. A pair asks for both gradients, a triplet
for all three. Each function draws in float64 from the generator alone. The trap: a loss of
directions does not depend on length, its squares do, so lengths are drawn log-uniformly over what
the dtype can hold; and a batch of like labels would never show the other branch, so labels are mixed.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, finfo

from harness import Sample, Shape, Shapes

BOTH = ("first", "second")
# Rows of embeddings: what is timed has their usual number of entries.
SHAPES = Shapes(
    covering=(Shape(1, 3), Shape(7, 16), Shape(64, 2), Shape(16, 257)),
    timed=(Shape(256, 512),),
    slow_regime="",
    clocked=("float32", "bfloat16"),
)


def normal(shape: Shape, generator: Generator) -> Tensor:
    """Returns standard normal numbers (N, D)."""
    return torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)


def signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Returns labels 1 and -1 of a shape, int64."""
    return torch.randint(0, 2, shape, generator=generator) * 2 - 1


def lengths(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """Returns log-uniform factors (count, 1) between two positive numbers."""
    share = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    return (math.log(low) + (math.log(high) - math.log(low)) * share).exp()


def bounded(shape: Shape, generator: Generator) -> Tensor:
    """Returns numbers of both signs between 1/8 and 1 in magnitude (N, D): none is lost beside another."""
    size = 0.125 + 0.875 * torch.rand(shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    return size * signs(tuple(shape), generator)


def shortest(finfo: finfo) -> float:
    """Returns the smallest length that is asked: where float32 has it, a product of two is still normal."""
    return max(16 * finfo.smallest_normal, 2.0**-60)


def _pair(first: Tensor, second: Tensor, generator: Generator) -> Sample:
    target = signs((first.shape[0],), generator)
    return Sample(gradients=BOTH, first=first, second=second, target=target)


def independent(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two standard normal vectors that know nothing of each other."""
    return _pair(normal(shape, generator), normal(shape, generator), generator)


def unit(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit vectors at all angles, as embedding models give them."""
    first, other = normal(shape, generator), normal(shape, generator)
    mixed = 2 * torch.rand(shape.batch, 1, generator=generator, dtype=torch.float64) - 1
    second = mixed * first + (1 - mixed.abs()) * other
    return _pair(torch.nn.functional.normalize(first), torch.nn.functional.normalize(second), generator)


def similar(shape: Shape, finfo: finfo, generator: Generator, *, noise: float) -> Sample:
    """The second vector is the first, moved a little."""
    first = normal(shape, generator)
    return _pair(first, first + noise * normal(shape, generator), generator)


def identical(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The same vector twice."""
    first = normal(shape, generator)
    return _pair(first, first.clone(), generator)


def opposite(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The second vector is the first turned around, with a length of its own."""
    first = normal(shape, generator)
    return _pair(first, -first * lengths(shape.batch, 0.1, 10.0, generator), generator)


def orthogonal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """No entry is in both vectors, so the cosine is exactly 0, a kink without margin (one entry: it is 1)."""
    first, second = normal(shape, generator), normal(shape, generator)
    if shape.classes > 1:
        even = torch.arange(shape.classes) % 2 == 0
        first, second = first.masked_fill(~even, 0.0), second.masked_fill(even, 0.0)
    return _pair(first, second, generator)


def tiny(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Short vectors, each of its own length, down to 2^-60: far below any guard."""
    low = shortest(finfo)
    first = bounded(shape, generator) * lengths(shape.batch, low, 1e-2, generator)
    return _pair(first, bounded(shape, generator) * lengths(shape.batch, low, 1e-2, generator), generator)


def small(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Vectors with entries of about 1e-4 in one direction or nearly so: lengths at which a guard is felt."""
    first = bounded(shape, generator) * lengths(shape.batch, 2.0**-16, 2.0**-10, generator)
    return _pair(first, first * (1 + 0.1 * normal(shape, generator)), generator)


def huge(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Long vectors, each of its own length, up to an eighth of the largest number in an entry."""
    high = finfo.max / 8
    first = bounded(shape, generator) * lengths(shape.batch, 16.0, high, generator)
    return _pair(first, bounded(shape, generator) * lengths(shape.batch, 16.0, high, generator), generator)


def unequal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """A short vector beside a long one: the products of lengths are ordinary, the squares are not."""
    first = bounded(shape, generator) * lengths(shape.batch, 16 * finfo.smallest_normal, 1e-2, generator)
    return _pair(
        first, bounded(shape, generator) * lengths(shape.batch, 16.0, finfo.max / 8, generator), generator
    )


def zero_vectors(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every second row has a vector of zeros, first or second in turn: only a guard gives it a direction."""
    first, second = normal(shape, generator), normal(shape, generator)
    place = torch.arange(shape.batch) % 4
    first[place == 0], second[place == 2] = 0.0, 0.0
    return _pair(first, second, generator)


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row in eight has a NaN in one of its vectors; no other row may know of it."""
    sample = independent(shape, finfo, generator)
    first, second = sample["first"], sample["second"]
    first[::8, 0] = math.nan
    second[4::8, -1] = math.nan
    return sample


def grown(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four pairs whose largest entries are `value`."""
    size = Shape(4, max(shape.classes, 2))
    first, second = bounded(size, generator), bounded(size, generator)
    first *= value / first.abs().amax(1, keepdim=True)
    second *= value / second.abs().amax(1, keepdim=True)
    return Sample(gradients=BOTH, first=first, second=second, target=torch.tensor([1, -1, 1, -1]))


def halved(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four pairs whose largest entries are 2^-value."""
    return grown(2.0**-value, shape, finfo, generator)


THREE = ("anchor", "positive", "negative")


def _triplet(anchor: Tensor, positive: Tensor, negative: Tensor) -> Sample:
    return Sample(gradients=THREE, anchor=anchor, positive=positive, negative=negative)


def triplet(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Three standard normal vectors that know nothing of each other."""
    return _triplet(*(normal(shape, generator) for _ in range(3)))


def learned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit vectors: the positive close to its anchor, the negative not much farther."""
    anchor, other, third = (torch.nn.functional.normalize(normal(shape, generator)) for _ in range(3))
    positive = torch.nn.functional.normalize(anchor + 0.4 * other)
    return _triplet(anchor, positive, torch.nn.functional.normalize(anchor + 0.8 * third))


def hard(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The negative is closer to the anchor, and to the positive, than the positive is."""
    anchor, positive = normal(shape, generator), normal(shape, generator)
    share = torch.rand(shape.batch, 1, generator=generator, dtype=torch.float64)
    between = anchor + share * (positive - anchor)
    return _triplet(anchor, positive, between + 0.1 * normal(shape, generator))


def resting(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every second negative is far beyond the margin: there is nothing left to learn from it."""
    sample = learned(shape, finfo, generator)
    far = torch.where(torch.arange(shape.batch) % 2 == 0, 16.0, 0.0).unsqueeze(1)
    return sample.replaced(negative=sample["negative"] + far)


def equal_positive(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The positive is its anchor: a distance of 0, where a root has no slope."""
    anchor = normal(shape, generator)
    return _triplet(anchor, anchor.clone(), normal(shape, generator) / 4 + anchor)


def equal_all(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """All three are one vector, as in a collapsed model: the loss is the margin."""
    anchor = normal(shape, generator)
    return _triplet(anchor, anchor.clone(), anchor.clone())


def moved(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Three vectors a little apart and far from the origin: a difference of squares would cancel."""
    center = 64 * normal(shape, generator)
    return _triplet(*(center + normal(shape, generator) for _ in range(3)))


def tiny_triplet(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Short vectors, of lengths beside which the 1e-6 of torch is felt."""
    return _triplet(
        *(bounded(shape, generator) * lengths(shape.batch, 2.0**-20, 2.0**-10, generator) for _ in range(3))
    )


def huge_triplet(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Long vectors up to a length at which the exact sum over the batch stays finite."""
    top = finfo.max / (32 * max(shape.batch, 1) * max(shape.classes, 1))
    low = min(16.0, top / 2)
    size = lengths(shape.batch, low, top, generator)
    # A negative nearer than the positive: the distances do not cancel.
    anchor, positive, negative = (bounded(shape, generator) * size for _ in range(3))
    return _triplet(anchor, positive, anchor + (negative - anchor) / 8)


def poisoned_triplet(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row in nine has a NaN, in its anchor, positive or negative by turns."""
    sample = triplet(shape, finfo, generator)
    for start, name in enumerate(THREE):
        sample[name][start * 9 :: 27, 0] = math.nan
    return sample


def grown_triplet(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two triplets whose largest entries are `value`."""
    size = Shape(2, max(shape.classes, 2))
    drawn = [bounded(size, generator) for _ in range(3)]
    return _triplet(*(v * value / v.abs().amax(1, keepdim=True) for v in drawn))
