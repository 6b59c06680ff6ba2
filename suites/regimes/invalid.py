"""What no classification loss may answer: labels that name no class.

The last label of a valid sample is exchanged, so that a kernel which checks only its first block is
found out. The trap: -1 means "ignored" to some definitions, so the negative label steers clear of the
ignore index.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from harness import Invalid, Sample

Options = Any


def _with_last(sample: Sample, label: int) -> Sample:
    target: Tensor = sample["target"].clone()
    target.reshape(-1)[-1] = label
    return sample.replaced(target=target)


def beyond_classes(sample: Sample, options: Options) -> Sample:
    """The last label is C, one beyond the last class."""
    return _with_last(sample, sample.shape.classes)


def far_beyond(sample: Sample, options: Options) -> Sample:
    """The last label is 2^40, far outside of any memory."""
    return _with_last(sample, 1 << 40)


def negative(sample: Sample, options: Options) -> Sample:
    """The last label is negative and not the ignore index."""
    return _with_last(sample, -2 if options["ignore_index"] == -1 else -1)


INVALID_LABELS = (
    Invalid("label_beyond_classes", beyond_classes),
    Invalid("label_far_beyond", far_beyond),
    Invalid("label_negative", negative),
)
