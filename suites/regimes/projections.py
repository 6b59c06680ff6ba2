"""Input distributions for losses of projected rows: hidden (N, H), linear_weight (C, H), labels (N,).

Each function draws in float64 from the generator alone. The number of features is a function of the number
of classes (`features`), since a case names rows and classes only. Weights are normal with standard deviation
1/sqrt(H), so that logits are as large as hidden rows. The trap: the oracle sees the stored rows and weights,
never logits, so a regime that wants a logit has to reach it through a projection that is rounded.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Sample, Shape
from suites.regimes.classification import IGNORE
from suites.regimes.repeated import PERIOD, places

Options = Any
SHARED = ("linear_weight", "linear_bias")


def features(classes: int) -> int:
    """Returns H for a number of classes: 4 up to 8, 16 up to 64, 33 up to 1031, 64 beyond."""
    return next((h for most, h in ((8, 4), (64, 16), (1031, 33)) if classes <= most), 64)


def _labels(shape: Shape, generator: Generator) -> Tensor:
    return torch.randint(0, shape.classes, (shape.batch,), generator=generator)


def _normal(rows: int, columns: int, generator: Generator) -> Tensor:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def projected(hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None) -> Sample:
    """Returns the sample of rows, weights, labels and perhaps a bias, of which all gradients are asked."""
    names = SHARED[:1] if bias is None else SHARED
    tensors = {"hidden": hidden, "linear_weight": weight, "target": target}
    if bias is not None:
        tensors["linear_bias"] = bias
    return Sample(gradients=("hidden", *names), layout="rows", shared=names, **tensors)


def _weights(shape: Shape, generator: Generator) -> Tensor:
    count = features(shape.classes)
    return _normal(shape.classes, count, generator) / math.sqrt(count)


def unit(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Standard normal rows and weights of norm about 1: a model at initialisation."""
    weight = _weights(shape, generator)
    return projected(_normal(shape.batch, weight.shape[1], generator), weight, _labels(shape, generator))


def wide(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows ten times as large: logits of standard deviation 10."""
    sample = unit(shape, finfo, generator)
    return sample.replaced(hidden=10 * sample["hidden"])


def _towards(sample: Sample, peak: Tensor, shape: Shape, finfo: finfo, generator: Generator) -> Tensor:
    """Returns hidden rows moved along the weights of a class until it leads by a gap, from 0 up."""
    weight = sample["linear_weight"]
    direction = weight[peak]
    logits = sample["hidden"] @ weight.T
    rivals = logits.scatter(1, peak.unsqueeze(1), -math.inf).max(1).values
    behind = rivals - logits.gather(1, peak.unsqueeze(1)).squeeze(1)
    # 1.5 p ln 2 is past the gap p ln 2 from which the largest probability rounds to 1.
    widest = 1.5 * (1 - math.log2(finfo.eps)) * math.log(2)
    gap = widest * torch.rand(shape.batch, generator=generator, dtype=torch.float64)
    length = (gap + behind.nan_to_num(0.0, 0.0, 0.0).clamp(min=0)) / direction.square().sum(1).clamp(min=1e-3)
    return sample["hidden"] + length.unsqueeze(1) * direction


def confident(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows along the weights of their label: it leads up to and past the point where 1 - p rounds to 0."""
    sample = unit(shape, finfo, generator)
    return sample.replaced(hidden=_towards(sample, sample["target"], shape, finfo, generator))


def confident_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows along the weights of another class: losses about the gap."""
    sample = unit(shape, finfo, generator)
    away = torch.randint(0, max(shape.classes - 1, 1), (shape.batch,), generator=generator) + 1
    peak = (sample["target"] + away) % shape.classes
    return sample.replaced(hidden=_towards(sample, peak, shape, finfo, generator))


def offset_bias(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """A bias of 300 common to all classes, which the loss does not depend on, beside one of order 1."""
    sample = unit(shape, finfo, generator)
    return with_bias(sample, 300 + torch.randn(shape.classes, generator=generator, dtype=torch.float64))


def masked_bias(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """A bias of -inf forbids every third class, as for the padding of a vocabulary; never the label."""
    sample = unit(shape, finfo, generator)
    forbidden = torch.arange(shape.classes) % 3 == 2
    allowed = torch.nonzero(~forbidden).squeeze(1)
    bias = torch.randn(shape.classes, generator=generator, dtype=torch.float64)
    masked = sample.replaced(target=allowed[sample["target"] % len(allowed)])
    return with_bias(masked, bias.masked_fill(forbidden, -math.inf))


def few_labels(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits of standard deviation 4 of which one class is the label: what the others get is the tail."""
    sample = unit(shape, finfo, generator)
    return sample.replaced(hidden=4 * sample["hidden"], target=torch.zeros_like(sample["target"]))


def ignored(shape: Shape, finfo: finfo, generator: Generator, *, share: float) -> Sample:
    """Normal rows; a share is labelled -100, is 32 times as large and does not count."""
    sample = unit(shape, finfo, generator)
    dropped = torch.rand(shape.batch, generator=generator) < share
    # What stands in a row that does not count must not matter, to no parameter either.
    hidden = torch.where(dropped.unsqueeze(1), 32 * sample["hidden"], sample["hidden"])
    return sample.replaced(hidden=hidden, target=torch.where(dropped, IGNORE, sample["target"]))


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Normal rows; every third is labelled -100 and holds a NaN, as padding may."""
    sample = unit(shape, finfo, generator)
    dropped = torch.arange(shape.batch) % 3 == 2
    hidden = sample["hidden"].clone()
    hidden[dropped, 0] = math.nan
    return sample.replaced(hidden=hidden, target=torch.where(dropped, IGNORE, sample["target"]))


def nan_hidden(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Normal rows, the first of which counts and holds a NaN: its loss and all parameters are undefined."""
    sample = unit(shape, finfo, generator)
    # Neither the first row nor a label above 0 is dropped by any variant, so the NaN counts.
    hidden, target = sample["hidden"].clone(), sample["target"].clone()
    target[:1] = target[:1].clamp(min=min(1, shape.classes - 1))
    hidden[0, 0] = math.nan
    return sample.replaced(hidden=hidden, target=target)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four rows of entries up to `value` against weights of at most 1/H: no logit is larger than `value`."""
    weight = _weights(shape, generator)
    weight = weight / (weight.abs().max() * weight.shape[1])
    hidden = 2 * torch.rand(4, weight.shape[1], generator=generator, dtype=torch.float64) - 1
    return projected(value * hidden, weight, _labels(Shape(4, shape.classes), generator))


def common(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four rows that share a feature of this value, to which all classes give the weight 16."""
    sample = unit(Shape(4, max(shape.classes, 2)), finfo, generator)
    hidden, weight = sample["hidden"].clone(), sample["linear_weight"].clone()
    hidden[:, 0], weight[:, 0] = value, 16.0
    return projected(hidden, weight, sample["target"])


def two_class_gap(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row of one feature against weights 1 and 0, labelled 0: the logits are exactly [gap, 0]."""
    return every_gap(torch.tensor([value], dtype=torch.float64))


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator, *, lead: float) -> Sample:
    """Rows of four features and three classes from a cycle, the label ahead by about `lead`."""
    weight = torch.eye(3, 4, dtype=torch.float64)
    cycle = 0.25 * _normal(PERIOD, 4, generator)
    cycle[:, 1] += lead
    return projected(cycle[places(value)], weight, torch.ones(int(value), dtype=torch.long))


def many_classes(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two rows of four features against so many classes."""
    weight = _normal(int(value), 4, generator) / 2
    return projected(_normal(2, 4, generator), weight, _labels(Shape(2, int(value)), generator))


def every_gap(values: Tensor) -> Sample:
    """Rows of one feature x against weights 1 and 0, labelled 0: the exact loss is log(1 + exp(-x))."""
    weight = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    return projected(values.unsqueeze(1), weight, torch.zeros(len(values), dtype=torch.long))


def with_bias(sample: Sample, bias: Tensor) -> Sample:
    """Returns a sample with a bias in the place of the one it had, if any."""
    return projected(sample["hidden"], sample["linear_weight"], sample["target"], bias)


def biased(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Adds a normal bias where the regime has none."""
    if "linear_bias" in sample:
        return sample
    count = len(sample["linear_weight"])
    return with_bias(sample, torch.randn(count, generator=generator, dtype=torch.float64))
