"""Does the number of threads matter? The rows of a case, so many times that torch splits the work.

One answer on one thread, REPEATS on several: the largest difference in ulp is a column, for sums in another
order are a property. Findings (`nondeterministic`, group "threads") are other bits from one call on several
threads to the next, and an answer on several threads that is wrong by the oracle where that on one is not.
The trap: at usual shapes nothing runs in parallel; and the truth of so many rows is dear, so it is asked
for only where bits differ, and is that of a cycle (`harness.oracle.cycle`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import Bound, torch_state_kept
from harness.metrics import FORMATS
from harness.observation import news
from harness.outcome import KINDS
from harness.probes.bits import NAME, called, finding_of, identical, numbers_of, raise_to, unrepeatable
from harness.results import Finding
from harness.sample import Sample, Shape, batch_of
from harness.standard import Standard, asked_upstream, standard

# torch splits work from 32,768 entries on; a few parts each are enough for sums in another order.
PARALLEL_ENTRIES = 1 << 17
REPEATS = 2
# Several threads split a matrix product into small parts, and of tiled rows many parts round alike. A row
# that is lost is off by 2,048 u N at 8,192 rows, such a sum by 220.
PART_OF_PRODUCT = 16


def several_threads() -> int:
    """Returns how many threads are held against one; below 2 there is nothing to ask."""
    return min(4, os.cpu_count() or 1)


def copies(sample: Sample) -> int:
    """Returns how often the rows of a sample are taken for its work to be split."""
    return max(1, PARALLEL_ENTRIES // max(1, sample.tensors[0].numel()))


def cycle(sample: Sample) -> int:
    """Returns how many rows are repeated: an odd number, for parts that are alike would hide a mix-up."""
    count = batch_of(sample)
    return count - 1 if count > 2 and count % 2 == 0 else count


def places(sample: Sample) -> Tensor:
    """Returns which row of the sample each of the many rows is."""
    return torch.arange(batch_of(sample) * copies(sample)) % cycle(sample)


def unthreaded(block: OpenBlock, name: str) -> str:
    """Returns why an implementation is not asked over threads, "" where it is."""
    if several_threads() < 2:
        return "this machine has one processor"
    sample, implementation = block.drawn()[0], block.suite.implementation(name)
    if not batch_of(sample):
        return "there are no rows"
    shape = Shape(block.case.batch * copies(sample), block.case.classes)
    return (implementation.skip(shape) if implementation.skip is not None else "") or ""


def over_threads(block: OpenBlock, name: str, numbers: dict[str, float]) -> list[Finding]:
    """Compares one thread with several and several with themselves; returns findings, raises the column."""
    if unthreaded(block, name):
        return []
    threads, (sample, _) = several_threads(), block.drawn()
    index = places(sample)
    many, options = sample.taken(index), {**block.drawn()[1], **options_of_rows(block, index)}
    bound, upstream = bound_of_rows(block, name, index), asked_upstream(many, options)
    with torch_state_kept():
        torch.set_num_threads(1)
        one = called(bound, many, upstream, block)
        torch.set_num_threads(threads)
        several = [called(bound, many, upstream, block) for _ in range(REPEATS)]
    if all(identical(one, other) for other in several):
        numbers.setdefault("threads_ulps", 0.0)
        return []

    def made(definition: Mapping[str, Any]) -> Standard:
        return in_parts(standard(block.suite, many, options, block.case.dtype, definition))

    stand = block.kept("threads", name, made)
    first, *others = (numbers_of(answer, many, upstream) for answer in (one, *several))
    for other in others:
        raise_to(numbers, "threads_ulps", first, other, FORMATS[block.case.dtype])
    if not identical(several[0], several[1]):
        return unrepeatable(others[0], others[1], stand, threads)
    wrong = news(
        stand,
        NAME,
        loss=(others[0]["loss"], first["loss"]),
        gradients={
            tensor: (got, first[tensor])
            for tensor, got in others[0].items()
            if tensor != "loss" and tensor in first
        },
    )
    words = KINDS["nondeterministic"].sentence
    return [
        finding_of(
            "nondeterministic",
            defect.severity,
            "threads",
            f"{words}: on {threads} threads {defect.group}: {defect.message}; right on one",
        )
        for defect in wrong[:1]
    ]


def in_parts(stand: Standard) -> Standard:
    """Returns a standard that grants a matrix product a rounding for each PART_OF_PRODUCT rows besides."""
    parts, sticks = batch_of(stand.sample) / PART_OF_PRODUCT, dict(stand.gradients)
    for name in stand.sample.products:
        stick = sticks[name]
        granted = parts * stick.form.arithmetic_roundoff * stick.sensitivity
        sticks[name] = replace(stick, strict=stick.strict + granted)
    return replace(stand, gradients=sticks)


def options_of_rows(block: OpenBlock, index: Tensor) -> dict[str, Any]:
    """Returns the options that have a row for each row of the sample, for some rows of it."""
    return {
        key: value[index]
        for key, value in block.drawn()[1].items()
        if isinstance(value, Tensor) and value.dim() > 1 and len(value) == block.case.batch
    }


def bound_of_rows(block: OpenBlock, name: str, index: Tensor) -> Bound:
    """Returns the callable for some rows: options with a row for each row of the sample go with them."""
    own = options_of_rows(block, index)
    return block.bound_for(name, {**block.drawn()[1], **own}) if own else block.bound(name)
