"""Input distributions for hinges between classes: scores (N, C) under a label (N,) or lists of them (N, C).

The rows are those of `suites.regimes.classification` and some that stand at, beside and beyond the kink.
Lists of labels end at their first -1; behind it stand labels that count nothing. The trap: a random score
never stands at a kink, so regimes put multiples of 1/8 there, which every dtype holds and subtracts exactly.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Invalid, Regime, Sample, Shape
from suites.regimes import classification

Options = Any
# Labels of one row at most, so that lists stay short where classes are many.
MOST_LABELS = 4


def _scored(sample: Sample) -> Sample:
    return Sample(scores=sample["logits"], target=sample["target"])


def scored(shape: Shape, finfo: finfo, generator: Generator, *, logits: Any) -> Sample:
    """Logits of another regime as scores."""
    return _scored(logits(shape, finfo, generator))


def unit_normal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Standard normal scores in steps of 1/64, every class a little aside: no pair is next to a kink."""
    sample = classification.unit_normal(shape, finfo, generator)
    # Below 1/128 in all: a difference of two scores and a margin that is a step stay apart.
    aside = torch.arange(shape.classes, dtype=torch.float64) / (128 * shape.classes)
    return Sample(scores=(64 * sample["logits"]).round() / 64 + aside, target=sample["target"])


def eighths(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores in steps of 1/8 up to 2: many classes are exactly a margin of 1 or 1/4 behind their label."""
    scores = torch.randint(-16, 17, tuple(shape), generator=generator).double() / 8
    return Sample(scores=scores, target=torch.randint(0, shape.classes, (shape.batch,), generator=generator))


def near_margin(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every class is a margin of 1 behind the label but for 1e-4 to 1e-1, on either side of the kink."""
    label = torch.randint(0, shape.classes, (shape.batch,), generator=generator)
    sizes = 10.0 ** (-4 + 3 * torch.rand(tuple(shape), generator=generator, dtype=torch.float64))
    signs = torch.randint(0, 2, tuple(shape), generator=generator) * 2 - 1
    scores = (signs * sizes).scatter_(1, label.unsqueeze(1), 1.0)
    return Sample(scores=scores, target=label)


def infinite(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """An infinite score in every row, by turns: of another class, of the label, and minus it of each."""
    sample = _scored(classification.unit_normal(shape, finfo, generator))
    row, column = torch.arange(shape.batch), sample["target"]
    place = torch.where(row % 2 == 0, (column + 1) % shape.classes, column)
    value = torch.tensor([math.inf, math.inf, -math.inf, -math.inf], dtype=torch.float64)[row % 4]
    return sample.replaced(scores=sample["scores"].scatter(1, place.unsqueeze(1), value.unsqueeze(1)))


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """A quarter of the rows is undefined: NaN beside the label, NaN at it, or both infinite."""
    sample = _scored(classification.unit_normal(shape, finfo, generator))
    if shape.classes == 1:
        return sample
    scores, column = sample["scores"].clone(), sample["target"]
    row = torch.arange(shape.batch)
    other = (column + 1) % shape.classes
    for start, places, value in (
        (0, (other,), math.nan),
        (4, (column,), math.nan),
        (8, (column, other), math.inf),
    ):
        chosen = row % 12 == start
        for place in places:
            scores[row[chosen], place[chosen]] = value
    return sample.replaced(scores=scores)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four rows whose largest magnitude is `value`, see `classification.scaled`."""
    return _scored(classification.scaled(value, shape, finfo, generator))


def level(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two rows of so many equal scores, as an untrained model has them: every class costs the margin."""
    count = int(value)
    return Sample(scores=torch.ones(2, count, dtype=torch.float64), target=torch.tensor([0, count - 1]))


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of the scores 0.1, 0.3 and 0.7 under the first label: each rounding of a sum goes the same way."""
    scores = torch.tensor([[0.1, 0.3, 0.7]], dtype=torch.float64).repeat(int(value), 1)
    return Sample(scores=scores, target=torch.zeros(int(value), dtype=torch.long))


SCORES = (
    # The first: second derivatives are asked by steps that must not cross a kink.
    Regime(unit_normal),
    *(
        Regime(
            partial(scored, logits=logits), name=logits.__name__, about=str(logits.__doc__).splitlines()[0]
        )
        for logits in (
            classification.wide,
            classification.confident,
            classification.offset,
            classification.masked,
            classification.ties,
            classification.near_overflow,
        )
    ),
    Regime(eighths),
    Regime(near_margin),
    Regime(infinite),
    Regime(poisoned),
)


def listed(sample: Sample, generator: Generator, least: int = 0) -> Sample:
    """Returns the sample with a list of labels per row: its label and up to three others, or none at all.

    One row in eight has no label. Behind the first -1 every second row goes on with labels that do not count.
    """
    scores, label = sample["scores"], sample["target"].unsqueeze(1)
    rows, classes = scores.shape
    # A forbidden class is no label beside another one: two infinities have no difference.
    late = (scores == -math.inf).double()
    order = (torch.rand(scores.shape, generator=generator) + late).scatter_(1, label, -1.0).argsort(1)
    most = min(MOST_LABELS, max(classes - 1, 1))
    count = torch.randint(1, most + 1, (rows,), generator=generator)
    count = count.minimum((late == 0).sum(1)).clamp(min=1)
    if not least:
        count[7::8] = 0
    place, end = torch.arange(classes), count.unsqueeze(1)
    goes_on = (torch.arange(rows) % 2 == 0).unsqueeze(1)
    beyond = torch.where(goes_on & (place > end), order, -1)
    return sample.replaced(target=torch.where(place < end, order, beyond))


def listed_regime(regime: Regime) -> Regime:
    """Returns the regime with lists of labels in the place of one."""

    def draw(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
        return listed(regime.function(shape, finfo, generator), generator)

    return Regime(draw, name=regime.name, about=regime.about)


def listed_ladder(value: float, shape: Shape, finfo: finfo, generator: Generator, *, scores: Any) -> Sample:
    """The samples of a ladder of scores, with lists of labels."""
    return listed(scores(value, shape, finfo, generator), generator, least=1)


def many_lists(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The rows of `many_rows`, each under a list of its first label alone."""
    sample = many_rows(value, shape, finfo, generator)
    return sample.replaced(target=torch.tensor([[0, -1, -1]]).repeat(int(value), 1))


def repeated(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Names the first label of every row a second time, in the place of its first -1."""
    target = sample["target"].clone()
    end = (target >= 0).long().cumprod(1).sum(1)
    row = torch.arange(len(target))
    chosen = (end > 0) & (end < target.shape[1])
    target[row[chosen], end[chosen]] = target[chosen, 0]
    # What stood behind the end would begin to count.
    after = end + 1
    chosen &= after < target.shape[1]
    target[row[chosen], after[chosen]] = -1
    return sample.replaced(target=target)


def _with_first(sample: Sample, label: int) -> Sample:
    target: Tensor = sample["target"].clone()
    target[-1:].reshape(-1)[0] = label
    return sample.replaced(target=target)


def beyond_classes(sample: Sample, options: Options) -> Sample:
    """The last row's label is C, one beyond the last class."""
    return _with_first(sample, sample["scores"].shape[1])


def far_beyond(sample: Sample, options: Options) -> Sample:
    """The last row's label is 2^40, far outside of any memory."""
    return _with_first(sample, 1 << 40)


def negative(sample: Sample, options: Options) -> Sample:
    """The last row's label is -2, which names no class."""
    return _with_first(sample, -2)


INVALID_LABELS = (
    Invalid("label_beyond_classes", beyond_classes),
    Invalid("label_far_beyond", far_beyond),
    Invalid("label_negative", negative),
)
# To a list any negative number may be its end; torch documents -1 alone and says nothing of the others.
INVALID_LISTS = INVALID_LABELS[:2]
