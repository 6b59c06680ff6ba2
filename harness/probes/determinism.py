"""Does it answer the same, bit for bit? Repeats, slices of the batch, row order, threads, layout.

Each question is a column: the largest difference in ulp of the answer, 0 when every bit of loss and
gradients agrees. Only three differences are findings: other bits on the very same call
(`nondeterministic`), an answer that is wrong on several threads alone (`harness.probes.threads`), and a row
of an unreduced loss that depends on its neighbours beyond the strict bound (`neighbours`); summation in
another order is a property, no fault. A gradient that did not come is the accuracy probe's to report: here
what came is compared, and one that comes in one call and not in another counts as different. The trap: a
column that was not asked looks like one that is 0, so why it was not is a note.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.block import Answer, OpenBlock
from harness.calling import failure
from harness.metrics import FORMATS, Format
from harness.oracle.reduction import Array
from harness.probes.bits import (
    Answers,
    answers_to,
    beyond,
    called,
    finding_of,
    identical,
    numbers_of,
    raise_to,
    sticks,
    unrepeatable,
)
from harness.probes.protocol.layouts import transposed
from harness.probes.threads import bound_of_rows, over_threads, unthreaded
from harness.results import Finding
from harness.sample import Sample, batch_of
from harness.standard import Standard

REPEATS = 8


def determinism(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation the same thing again in ways that should not matter."""
    stand = block.standard(name)
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    came, notes = "", _not_asked(block, name, stand)
    try:
        bound, form = block.bound(name), FORMATS[block.case.dtype]
        plain = called(bound, stand.sample, stand.upstream, block)
        first = numbers_of(plain, stand.sample, stand.upstream)
        came = _what_came(first, stand.sample)
        for _ in range(REPEATS):
            repeated = called(bound, stand.sample, stand.upstream, block)
            if identical(plain, repeated):
                numbers.setdefault("repeat_ulps", 0.0)
                continue
            again = numbers_of(repeated, stand.sample, stand.upstream)
            raise_to(numbers, "repeat_ulps", first, again, form)
            if not findings:
                findings += unrepeatable(first, again, stand)
        order = torch.arange(batch_of(stand.sample)).flip(0)
        if stand.sample.layout != "nchw":
            permuted = stand.sample.taken(order)
            upstream = stand.upstream[order] if stand.upstream.dim() else stand.upstream
            asked = bound_of_rows(block, name, order)
            back = _reordered(
                answers_to(asked, permuted, upstream, block), order.numpy(), stand.sample.shared
            )
            raise_to(numbers, "permutation_ulps", first, back, form)
            findings += _neighbours(first, back, stand, "in another order of rows")
        if not block.suite.implementation(name).compiled:
            findings += _sliced(name, stand, block, first, numbers, form)
            laid = stand.sample.mapped(lambda t: transposed(t) if t.is_floating_point() else t)
            other = answers_to(bound, laid, stand.upstream, block, dense=False)
            raise_to(numbers, "layout_ulps", first, other, form)
            threaded = over_threads(block, name, numbers)
            # Who answers otherwise on one thread does so on several.
            findings += threaded if not any(f.kind == "nondeterministic" for f in findings) else []
    except Exception as error:
        status, reason = failure(error)
        if status is None and findings:
            return Answer("ok", reason, tuple(findings), numbers, notes)
        return Answer(status or "skipped", f"{reason}; see accuracy" if status is None else reason)
    return Answer("ok", came, tuple(findings), numbers, notes)


def _not_asked(block: OpenBlock, name: str, stand: Standard) -> dict[str, str]:
    """Returns why a column is missing: by the question, "not asked: slicing" for example."""
    compiled = block.suite.implementation(name).compiled
    notes = {}
    if stand.sample.layout == "nchw":
        notes["permutation"] = "the pixels of an image stay where they are"
    if compiled:
        notes |= dict.fromkeys(("slicing", "layout", "threads"), "each would be another artefact to compile")
    elif stand.sample.layout == "nchw":
        notes["slicing"] = "the pixels of an image stay together"
    elif not stand.upstream.dim():
        notes["slicing"] = "a reduced loss of fewer rows is another number"
    if not compiled and (why := unthreaded(block, name)):
        notes["threads"] = why
    return {f"not asked: {question}": why for question, why in notes.items()}


def _what_came(answers: Answers, sample: Sample) -> str:
    """Says which gradients did not come and what is compared instead, "" where all of them came."""
    missing = [name for name in sample.gradients if name not in answers]
    if not missing:
        return ""
    return f"no gradient reached {', '.join(missing)}; compared: {', '.join(answers)}"


def _neighbours(first: Answers, other: Answers, stand: Standard, where: str) -> list[Finding]:
    """Returns the finding that rows of an unreduced loss answer otherwise among other rows."""
    if not stand.upstream.dim():
        return []
    # What all rows share adds them up in another order, which is no fault.
    own = {name: stick for name, stick in sticks(stand).items() if name not in stand.sample.shared}
    moved = [n for n, stick in own.items() if beyond(first.get(n), other.get(n), np.nan_to_num(stick.strict))]
    if not moved:
        return []
    far = any(beyond(first.get(n), other.get(n), np.fmax(own[n].strict, own[n].error)) for n in moved)
    sentence = f"{', '.join(moved)} of a row differ beyond the strict bound {where}"
    return [finding_of("neighbours", "error" if far else "warning", "rows", sentence)]


def _reordered(answers: Answers, order: Array, shared: tuple[str, ...]) -> dict[str, Array]:
    """Returns answers with their rows put back; a reduced loss and gradients of parameters have none."""
    back = np.argsort(order)
    count = len(back)
    return {
        name: values.reshape(count, -1)[back].reshape(values.shape)
        if values.ndim and name not in shared
        else values
        for name, values in answers.items()
    }


def _sliced(
    name: str, stand: Standard, block: OpenBlock, first: Answers, numbers: dict[str, float], form: Format
) -> list[Finding]:
    """Asks the first row alone and the first half of the rows of an unreduced loss."""
    if not stand.upstream.dim() or stand.sample.layout == "nchw":
        return []
    found: list[Finding] = []
    count = len(stand.upstream)
    # Fewer rows add up to another gradient of what they share.
    first = {name: values for name, values in first.items() if name not in stand.sample.shared}
    for part in {1, max(1, count // 2)}:
        index = torch.arange(part)
        bound = bound_of_rows(block, name, index)
        answers = answers_to(bound, stand.sample.taken(index), stand.upstream[index], block)
        alone = {name: values for name, values in answers.items() if name not in stand.sample.shared}
        # An element-wise loss has several entries per row of its sample.
        ends = {name: part * (len(values) // count) for name, values in first.items()}
        cut = {name: values[: ends[name]] for name, values in first.items()}
        raise_to(numbers, "slicing_ulps", cut, alone, form)
        if not found:
            padded = {
                n: np.concatenate([values, first[n][ends[n] :]]) if n in first else values
                for n, values in alone.items()
            }
            found = _neighbours(first, padded, stand, f"in a batch of {part}")
    return found
