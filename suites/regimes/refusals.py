"""What losses of signs, of shares and of vectors may not answer: other labels, shapes that do not fit.

torch documents the labels of these families and checks none of them, shapes only as far as they cannot be
broadcast. The last label of a valid sample is exchanged, so that a check of the first block alone is found
out. The trap: a column (N, 1) beside N labels is broadcast to N x N pairs, nearly all of things
that do not belong together; with the rows of the probe these were 4e8, so a few are kept.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness import Invalid, Sample

Options = Any
# Rows of what is broadcast: 64 pairs instead of 8.
FEW = 8


def _exchanged(sample: Sample, name: str, tensor: Tensor) -> Sample:
    by_name: dict[str, Any] = {name: tensor}
    return sample.replaced(**by_name)


def longer(sample: Sample, options: Options, *, tensor: str) -> Sample:
    """One tensor has a row more than the others, which have more than one: nothing can be broadcast."""
    rows = sample[tensor]
    return _exchanged(sample, tensor, torch.cat([rows, rows[:1]]))


def wider(sample: Sample, options: Options, *, tensor: str) -> Sample:
    """One tensor has a column more than the others."""
    rows = sample[tensor]
    return _exchanged(sample, tensor, torch.cat([rows, rows[:, :1]], 1))


def flat(sample: Sample, options: Options, *, tensor: str) -> Sample:
    """Labels (N,) beside columns (N, 1): broadcast, every entry meets every label."""
    columns = sample.mapped(lambda rows: rows[:FEW, :1])
    return _exchanged(columns, tensor, columns[tensor].flatten())


def in_a_column(sample: Sample, options: Options, *, tensor: str) -> Sample:
    """Labels (N, 1) beside vectors (N, D): broadcast, every pair of vectors meets every label."""
    few = sample.mapped(lambda rows: rows[:FEW])
    return _exchanged(few, tensor, few[tensor].unsqueeze(1))


def ending_in(sample: Sample, options: Options, *, tensor: str, value: float) -> Sample:
    """The last entry of a tensor is another number; integers become floats where it is none."""
    changed = sample[tensor].clone()
    if math.isnan(value):
        changed = changed.to(sample.tensors[0].dtype)
    changed.view(-1)[-1] = value
    return _exchanged(sample, tensor, changed)


def signs(tensor: str = "target") -> tuple[Invalid, ...]:
    """Returns what a loss of labels 1 and -1 may not answer: a label that is neither.

    A label 0 falls between the branches: torch pays both of them in `hinge_embedding`, none of them in
    `cosine_embedding`, and log 2 in `soft_margin`, whatever the input is.
    """
    return (
        Invalid("label_zero", partial(ending_in, tensor=tensor, value=0.0), "The last label is 0"),
        Invalid("label_nan", partial(ending_in, tensor=tensor, value=math.nan), "The last label is NaN"),
    )


def shares(tensor: str = "target") -> tuple[Invalid, ...]:
    """Returns what a loss of targets between 0 and 1 may not answer: it has no lower bound beyond them."""
    return (
        Invalid(
            "label_minus_one",
            partial(ending_in, tensor=tensor, value=-1.0),
            "The last label is -1, as margin losses have it",
        ),
        Invalid(
            "label_255",
            partial(ending_in, tensor=tensor, value=255.0),
            "The last label is 255, as masks of images have it",
        ),
        Invalid("label_nan", partial(ending_in, tensor=tensor, value=math.nan), "The last label is NaN"),
    )


def shapes(tensor: str = "target") -> tuple[Invalid, ...]:
    """Returns what a loss of entries may not answer: a row of labels too many, labels (N,) of a column."""
    return (
        Invalid(f"{tensor}_with_a_row_more", partial(longer, tensor=tensor)),
        Invalid(f"{tensor}_flat", partial(flat, tensor=tensor)),
    )


OF_SIGNS = (*shapes(), *signs())
OF_SHARES = (*shapes(), *shares())
OF_MARGINS = (*shapes("y"), *signs("y"))
# What is negative is no mass, and t log t has no value there.
OF_DISTRIBUTIONS = (
    *shapes(),
    Invalid("mass_negative", partial(ending_in, tensor="target", value=-0.25), "The last mass is -1/4"),
)
OF_PAIRS = (
    Invalid("second_with_a_row_more", partial(longer, tensor="second")),
    Invalid("second_with_a_column_more", partial(wider, tensor="second")),
    Invalid("target_with_a_row_more", partial(longer, tensor="target")),
    Invalid("target_in_a_column", partial(in_a_column, tensor="target")),
    *signs(),
)
OF_TRIPLETS = (
    Invalid("negative_with_a_row_more", partial(longer, tensor="negative")),
    Invalid("negative_with_a_column_more", partial(wider, tensor="negative")),
)
