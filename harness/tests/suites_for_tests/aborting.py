"""A family of labels in which one implementation dies of a bad label, as compiled kernels do.

`aborts` is right on every valid input. The trap: it must be asked in a worker only; imported by a test it
is never called with a bad label.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from harness import Implementation, Invalid, Regime, Sample, Shape, Suite


def reference(logits: Tensor, target: Tensor) -> Tensor:
    """The square of the label's logit, and of all logits a hundredth."""
    picked = logits.gather(1, target.unsqueeze(1)).squeeze(1)
    return picked.square() + 0.01 * logits.square().sum(1)


def good(logits: Tensor, target: Tensor) -> Tensor:
    """The mean; a bad label raises."""
    return reference(logits, target).mean()


def aborts(logits: Tensor, target: Tensor) -> Tensor:
    """The mean; a bad label ends the process."""
    if bool((target >= logits.shape[1]).any()):
        os.write(1, b"aborts: last words\n")
        os.abort()
    return good(logits, target)


def clamps(logits: Tensor, target: Tensor) -> Tensor:
    """The mean; a bad label is moved to the nearest good one."""
    return good(logits, target.clamp(0, logits.shape[1] - 1))


def few_rows(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Standard normal logits, uniform labels."""
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Sample(logits=logits, target=torch.randint(0, shape.classes, (shape.batch,), generator=generator))


def beyond(sample: Sample, options: object) -> Sample:
    """The last label is one beyond the last class."""
    target = sample["target"].clone()
    target[-1] = sample["logits"].shape[1]
    return sample.replaced(target=target)


SUITE = Suite(
    name="aborting",
    oracle=reference,
    implementations=(
        Implementation(aborts),
        Implementation(clamps),
        Implementation(good, baseline=True),
    ),
    regimes=(Regime(few_rows),),
    invalid=(Invalid("label_beyond_classes", beyond),),
)
