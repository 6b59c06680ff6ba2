"""Input distributions for losses over classes: logits (N, C) and index targets (N,).

Each function draws in float64 from the generator alone. The ranges that matter are stated in terms
of the dtype (`finfo`), because a gap of 17 is extreme in float32 and unreachable in bfloat16. The
trap: logits are rounded to the dtype afterwards, so rows with a large offset turn into ties; that is
a case of its own and wanted.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, finfo

from harness import Exhaustive, Regime, Sample, Shape
from suites.regimes.climbs import lead_ladder, scale_ladder
from suites.regimes.repeated import PERIOD, places

IGNORE = -100


def _normal(shape: Shape, generator: Generator) -> Tensor:
    return torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)


def _labels(shape: Shape, generator: Generator) -> Tensor:
    return torch.randint(0, shape.classes, (shape.batch,), generator=generator)


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def _log_uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return _uniform(count, math.log(low), math.log(high), generator).exp()


def _bits(finfo: finfo) -> float:
    """Returns the precision p of a dtype, 24 for float32."""
    return 1 - math.log2(finfo.eps)


def unit_normal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Standard normal logits, uniform labels: a model at initialisation."""
    return Sample(logits=_normal(shape, generator), target=_labels(shape, generator))


def wide(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Normal logits of standard deviation 10, uniform labels."""
    return Sample(logits=10 * _normal(shape, generator), target=_labels(shape, generator))


def _peaked(shape: Shape, finfo: finfo, generator: Generator) -> tuple[Tensor, Tensor]:
    logits, peak = _normal(shape, generator), _labels(shape, generator)
    # 1.5 p ln 2 is past the gap p ln 2 from which the largest probability rounds to 1.
    gap = _uniform(shape.batch, 0.0, 1.5 * _bits(finfo) * math.log(2), generator)
    top = logits.max(1).values + gap
    return logits.scatter_(1, peak.unsqueeze(1), top.unsqueeze(1)), peak


def confident(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The label leads by a gap up to and past the point where its probability rounds to 1."""
    logits, peak = _peaked(shape, finfo, generator)
    return Sample(logits=logits, target=peak)


def confident_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Another class leads by such a gap: loss about the gap, target gradient about -1."""
    logits, peak = _peaked(shape, finfo, generator)
    if shape.classes == 1:
        return Sample(logits=logits, target=peak)
    away = torch.randint(1, shape.classes, (shape.batch,), generator=generator)
    return Sample(logits=logits, target=(peak + away) % shape.classes)


def near_overflow(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits of both signs up to a size at which the exact sum over the batch stays finite."""
    top = finfo.max / (16 * max(shape.batch, 1))
    sizes = _log_uniform(shape.batch, top / 64, top, generator).unsqueeze(1)
    signs = torch.randint(0, 2, (shape.batch, shape.classes), generator=generator) * 2 - 1
    spread = 0.5 + 0.5 * torch.rand(shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    return Sample(logits=sizes * signs * spread, target=_labels(shape, generator))


def offset(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit-normal logits plus a common offset per row, log-uniform from 1e2 to a quarter of the range."""
    top = finfo.max / 4
    middle = min(top, 1e2 / finfo.eps**0.5)
    half = shape.batch // 2
    shifts = torch.cat(
        [
            # Small enough that differences survive the rounding to the dtype ...
            _log_uniform(shape.batch - half, 1e2, max(middle, 2e2), generator),
            # ... and anywhere up to the top, where they do not.
            _log_uniform(half, 1e2, top, generator),
        ]
    )
    return Sample(logits=_normal(shape, generator) + shifts.unsqueeze(1), target=_labels(shape, generator))


def masked(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Half of the classes forbidden by -inf, never the label."""
    logits, target = _normal(shape, generator), _labels(shape, generator)
    forbidden = torch.rand(shape.batch, shape.classes, generator=generator) < 0.5
    # However few the rows and classes, something is masked in each ...
    forbidden.scatter_(1, ((target + 1) % shape.classes).unsqueeze(1), True)
    # ... but never the label.
    forbidden.scatter_(1, target.unsqueeze(1), False)
    return Sample(logits=logits.masked_fill_(forbidden, -math.inf), target=target)


def masked_label(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Forbidden classes, every fourth label one of them: an infinite loss whose gradient is p - 1."""
    sample = masked(shape, finfo, generator)
    logits, row = sample["logits"].clone(), torch.arange(0, shape.batch, 4)
    if shape.classes > 1:
        label = sample["target"][row]
        logits[row, label] = -math.inf
        # Something stays open: where nothing is, nothing is defined.
        other = (label + min(2, shape.classes - 1)) % shape.classes
        logits[row, other] = logits[row, other].clamp(min=0.0)
    return sample.replaced(logits=logits)


def masked_rows(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit-normal rows; in every fourth every class is forbidden, and nothing is defined."""
    sample = unit_normal(shape, finfo, generator)
    logits = sample["logits"].clone()
    logits[1::4] = -math.inf
    return sample.replaced(logits=logits)


def ties(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits from three values, every fourth row all equal: several maxima."""
    logits = torch.randint(-1, 2, (shape.batch, shape.classes), generator=generator).double()
    logits[::4] = logits[::4, :1]
    return Sample(logits=logits, target=_labels(shape, generator))


def tiny(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits between the smallest normal number and 1e-3: the loss is log C to the last bit."""
    sizes = _log_uniform(shape.batch, finfo.tiny, 1e-3, generator).unsqueeze(1)
    return Sample(logits=sizes * _normal(shape, generator), target=_labels(shape, generator))


def ignored(shape: Shape, finfo: finfo, generator: Generator, *, share: float) -> Sample:
    """Unit-normal rows; a share is labelled -100, holds a quarter of the range and does not count."""
    sample = unit_normal(shape, finfo, generator)
    dropped = torch.rand(shape.batch, generator=generator) < share
    size = finfo.max / 4
    # What stands in a row that does not count must not matter, however large it is.
    logits = torch.where(dropped.unsqueeze(1), size * sample["logits"].sign(), sample["logits"])
    return sample.replaced(logits=logits, target=torch.where(dropped, IGNORE, sample["target"]))


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit-normal rows; every third is labelled -100 and holds a NaN or an infinity."""
    sample = unit_normal(shape, finfo, generator)
    row = torch.arange(shape.batch)
    dropped = row % 3 == 2
    poison = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)[row // 3 % 3]
    logits = sample["logits"].clone()
    logits[dropped, 0] = poison[dropped]
    return sample.replaced(logits=logits, target=torch.where(dropped, IGNORE, sample["target"]))


def nan_logit(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit-normal rows, the first of which counts and holds a NaN beside its label."""
    sample = unit_normal(shape, finfo, generator)
    if shape.classes == 1:
        return sample
    # Neither the first row nor a label above 0 is dropped by any variant, so the NaN counts.
    logits, target = sample["logits"].clone(), sample["target"].clone()
    target[0] = target[0].clamp(min=1)
    logits[0, 0] = math.nan
    return sample.replaced(logits=logits, target=target)


def infinite_logit(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unit-normal rows; every fourth has +inf at its label: the limit is a loss and a gradient of 0."""
    sample = unit_normal(shape, finfo, generator)
    row = torch.arange(0, shape.batch, 4)
    logits = sample["logits"].clone()
    logits[row, sample["target"][row]] = math.inf
    return sample.replaced(logits=logits)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four rows of both signs whose largest magnitude is `value`; three labels are the argmax.

    One label is the argmin, so the losses sum to at most twice the value: a ladder that ends at half
    of the range never overflows by the sum, only by the logits.
    """
    logits = 2 * torch.rand(4, max(shape.classes, 2), generator=generator, dtype=torch.float64) - 1
    logits *= value / logits.abs().max(1, keepdim=True).values
    target = logits.argmax(1)
    target[1] = logits[1].argmin()
    return Sample(logits=logits, target=target)


def two_class_gap(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row [gap, 0] labelled 0: the exact target gradient is -1/(1 + exp(gap))."""
    return Sample(
        logits=torch.tensor([[value, 0.0]], dtype=torch.float64), target=torch.zeros(1, dtype=torch.long)
    )


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator, *, lead: float) -> Sample:
    """Rows of three classes from a cycle, the label ahead by about `lead` (behind if negative).

    A lead of 3 keeps the sum of 2^17 losses below 65504, so that what breaks is the count of rows; a
    lead of -10 is a model at initialisation over a large vocabulary, where the sum breaks first.
    """
    cycle = 0.25 * torch.randn(PERIOD, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(PERIOD) % 3
    cycle[torch.arange(PERIOD), labels] += lead
    return Sample(logits=cycle[places(value)], target=labels[places(value)])


def many_classes(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two rows of so many unit-normal logits: a sum over classes in the dtype itself stalls or overflows."""
    return unit_normal(Shape(2, int(value)), finfo, generator)


def every_gap(values: Tensor) -> Sample:
    """Rows [x, 0] labelled 0: the exact loss is log(1 + exp(-x))."""
    logits = torch.stack([values, torch.zeros_like(values)], 1)
    return Sample(logits=logits, target=torch.zeros(len(values), dtype=torch.long))


# What every loss over classes is asked where all rows count and all logits are numbers.
REGIMES = (
    Regime(unit_normal),
    Regime(wide),
    Regime(confident),
    Regime(confident_wrong),
    Regime(near_overflow),
    Regime(offset),
    Regime(masked),
    Regime(ties),
    Regime(tiny),
)
# Differences of two logits reach twice their size.
SCALE = scale_ladder(scaled, "largest |logit|", share=0.49)
GAP = lead_ladder(two_class_gap, "lead of the label over one other class", name="gap")
EXHAUSTIVE = (Exhaustive("gap", every_gap, "the lead x of the label in a row [x, 0]"),)
