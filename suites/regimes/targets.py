"""How a variant changes the sample of a regime: other labels, probability targets, images.

The trap: a variant's ignore index may be a valid class, so relabelling has to keep the rows that a
regime had already dropped and move no other row onto the index by accident.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor

from harness import Sample, Shape
from suites.regimes.classification import IGNORE

Options = Any


def ascending_weights(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Class weights from 1/2 to 2 in equal steps, as stored in the dtype."""
    return torch.linspace(0.5, 2.0, shape.classes, dtype=torch.float64).to(dtype)


def relabelled(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Moves dropped rows to the variant's ignore index and drops every fourth row besides."""
    target = sample["target"]
    dropped = target == IGNORE
    dropped |= torch.arange(target.shape[0]) % 4 == 3
    return sample.replaced(target=torch.where(dropped, int(options["ignore_index"]), target))


def weightless(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Gives a row that holds a NaN a label of weight 0, so that what is broken does not count."""
    logits, target, weight = sample["logits"], sample["target"], options["weight"]
    nothing = (weight == 0).nonzero().reshape(-1)
    if not len(nothing):
        return sample
    broken = logits.isnan().any(1) & (target != IGNORE)
    return sample.replaced(target=torch.where(broken, nothing[0], target))


def probability_targets(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Replaces labels by distributions: 0.9 on the label, the rest at random over open classes.

    Every fourth row sums to 3/4, since soft targets need not sum to one (a distilled and pruned teacher).
    Probabilities cannot say "ignored": a row that a regime had dropped counts, with ordinary logits.
    """
    target, dropped = sample["target"], sample["target"] == IGNORE
    ordinary = sample["logits"].nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1)
    logits = torch.where(dropped.unsqueeze(1), ordinary, sample["logits"])
    label = torch.where(dropped, 0, target).unsqueeze(1)
    noise = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    noise = noise.masked_fill(logits == -math.inf, 0.0)
    noise = noise / noise.sum(1, keepdim=True).clamp(min=1e-300)
    soft = (0.1 * noise).scatter_add(1, label, torch.full(label.shape, 0.9, dtype=torch.float64))
    soft[3::4] *= 0.75
    return sample.replaced(logits=logits, target=soft, gradients=("logits", "target"))


def as_images(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Folds N*H*W rows into images: logits (N, C, H, W), targets (N, H, W), distributions (N, C, H, W)."""
    rows = len(sample["logits"])
    width = next(side for side in (8, 4, 2, 1) if rows % side == 0)
    height = next(side for side in (4, 2, 1) if (rows // width) % side == 0)
    count = rows // (width * height)

    def folded(tensor: Tensor) -> Tensor:
        images = tensor.reshape(count, height, width, *tensor.shape[1:])
        return images if tensor.dim() == 1 else images.permute(0, 3, 1, 2).contiguous()

    return sample.mapped(folded).replaced(layout="nchw")
