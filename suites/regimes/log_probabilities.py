"""Input distributions for losses of log-probabilities (N, C) under labels (N,).

Rows are those of `suites.regimes.classification` after log_softmax, and some that only this family meets:
a label that the model forbids, a NaN beside it. The trap: a loss that reads one entry of a row must
not notice the others, so they hold what would give them away.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Invalid, Regime, Sample, Shape
from suites.regimes import classification, invalid, targets

Options = Any


def _log_softmax(sample: Sample) -> Sample:
    return Sample(log_probabilities=sample["logits"].log_softmax(1), target=sample["target"])


def log_softmax(shape: Shape, finfo: finfo, generator: Generator, *, logits: Any) -> Sample:
    """Log-probabilities of a model whose logits another regime draws."""
    return _log_softmax(logits(shape, finfo, generator))


def after_log_softmax(logits: Any, name: str = "", needs: tuple[str, ...] = ()) -> Regime:
    """Returns the regime of the log-probabilities of logits that `logits` draws."""
    first = str((logits.func if isinstance(logits, partial) else logits).__doc__).splitlines()[0]
    return Regime(
        partial(log_softmax, logits=logits),
        name=name or logits.__name__,
        about=f"log_softmax of: {first}",
        needs=needs,
    )


def scores(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores of both signs up to a size at which the exact sum stays finite: nothing asks for a logarithm."""
    sample = classification.near_overflow(shape, finfo, generator)
    return Sample(log_probabilities=sample["logits"], target=sample["target"])


def forbidden_label(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every third row forbids its own label, x = -inf: the loss is infinite, its gradient is not."""
    sample = _log_softmax(classification.unit_normal(shape, finfo, generator))
    x, label = sample["log_probabilities"], sample["target"].unsqueeze(1)
    row = torch.arange(shape.batch).unsqueeze(1)
    return sample.replaced(
        log_probabilities=x.scatter(1, label, torch.where(row % 3 == 0, -math.inf, x.gather(1, label)))
    )


def infinite_label(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every fourth row has +inf at its label, a score that no other reaches: the loss is -inf."""
    sample = _log_softmax(classification.unit_normal(shape, finfo, generator))
    row = torch.arange(0, shape.batch, 4)
    x = sample["log_probabilities"].clone()
    x[row, sample["target"][row]] = math.inf
    return sample.replaced(log_probabilities=x)


def poisoned_elsewhere(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every second row holds NaN, an infinity or the like in the class behind its label."""
    sample = _log_softmax(classification.unit_normal(shape, finfo, generator))
    if shape.classes == 1:
        return sample
    row = torch.arange(shape.batch)
    poison = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)[row // 2 % 3]
    column = ((sample["target"] + 1) % shape.classes).unsqueeze(1)
    x = sample["log_probabilities"]
    kept = torch.where(row % 2 == 0, poison, x.gather(1, column).squeeze(1))
    return sample.replaced(log_probabilities=x.scatter(1, column, kept.unsqueeze(1)))


def nan_label(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The first row counts and holds a NaN at its label."""
    sample = _log_softmax(classification.unit_normal(shape, finfo, generator))
    x, target = sample["log_probabilities"].clone(), sample["target"].clone()
    # The last class: of weight above 0 and no variant's ignore index, in the first row, which none drops.
    target[:1] = shape.classes - 1
    x[:1, -1] = math.nan
    return sample.replaced(log_probabilities=x, target=target)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four rows whose largest magnitude is `value`, see `classification.scaled`."""
    sample = classification.scaled(value, shape, finfo, generator)
    return Sample(log_probabilities=sample["logits"], target=sample["target"])


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator, *, lead: float) -> Sample:
    """Rows of three classes, the label ahead by about `lead`: see `classification.many_rows`."""
    return _log_softmax(classification.many_rows(value, shape, finfo, generator, lead=lead))


def many_classes(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two rows of so many classes: what reads a block of them alone misses the label in the rest."""
    return _log_softmax(classification.many_classes(value, shape, finfo, generator))


def every_value(values: Tensor) -> Sample:
    """Rows [x, 0] labelled 0: the exact loss is -x."""
    x = torch.stack([values, torch.zeros_like(values)], 1)
    return Sample(log_probabilities=x, target=torch.zeros(len(values), dtype=torch.long))


def as_images(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Folds rows into images: log-probabilities (N, C, H, W) and labels (N, H, W)."""
    rows = Sample(logits=sample["log_probabilities"], target=sample["target"])
    folded = targets.as_images(rows, options, generator)
    return Sample(layout="nchw", log_probabilities=folded["logits"], target=folded["target"])


def every_second_zero(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Class weights 1, 0, 1, 0, ... and a last one of 2: some rows count nothing."""
    weights = (torch.arange(shape.classes) % 2 == 0).to(dtype)
    weights[-1] = 2.0
    return weights


def beyond_classes(sample: Sample, options: Options) -> Sample:
    """The last label is C, one beyond the last class."""
    target = sample["target"].clone()
    target.reshape(-1)[-1] = sample.tensors[0].shape[1]
    return sample.replaced(target=target)


INVALID_LABELS = (
    Invalid("label_beyond_classes", beyond_classes),
    *(item for item in invalid.INVALID_LABELS if item.name != "label_beyond_classes"),
)
