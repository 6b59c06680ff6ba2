"""What the focal losses see that the cross-entropies do not: almost only easy negatives.

The trap: the easy elements, of which there are thousands for each hard one, are those whose 1 - p_t is
rounded away, so a draw of equal labels does not show what a detector sums up.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, finfo

from harness import Sample, Shape
from suites.regimes.binary import unit_normal

# The share of positives that the paper initialises its detector with.
PRIOR = 0.01


def rare_positives(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits about log(0.01 / 0.99), one label in a hundred is 1: a detector at its start."""
    noise = torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    chosen = torch.rand(shape.batch, shape.classes, generator=generator) < PRIOR
    prior = math.log(PRIOR / (1 - PRIOR))
    return Sample(logits=prior + noise, target=chosen.double(), layout="elements")


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One logit is NaN where 1 is right: no other element may know of it, and at alpha = 0 none at all."""
    sample = unit_normal(shape, finfo, generator)
    logits, target = sample["logits"].clone(), sample["target"].clone()
    logits[0, 0], target[0, 0] = math.nan, 1.0
    return sample.replaced(logits=logits, target=target)
