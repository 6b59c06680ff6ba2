"""Does it answer the same, bit for bit? Repeats, slices of the batch, row order, threads, layout.

Each question is a column: the largest difference in ulp of the answer, 0 when every bit of loss and
gradients agrees. Only two differences are findings: other bits on the very same call
(`nondeterministic`), and a row of an unreduced loss that depends on its neighbours beyond the strict
bound (`neighbours`); summation in another order is a property, no fault. A gradient that did not come is
the accuracy probe's to report: here what came is compared, and one that comes in one call and not in
another counts as different. The trap: at usual shapes nothing runs in parallel, so threads are asked at
PARALLEL_ENTRIES, where torch splits the work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.block import Answer, OpenBlock
from harness.calling import Bound, failure, gradients_of, leaves, torch_state_kept
from harness.judge import Yardstick
from harness.metrics import FORMATS, Format, ulp
from harness.observation import private_upstream
from harness.oracle.reduction import Array
from harness.outcome import KINDS
from harness.probes.protocol.layouts import transposed
from harness.results import Finding, Severity
from harness.sample import Sample, Shape, batch_axis, rows
from harness.standard import Standard, asked_upstream
from harness.units import ulps

NAME = "determinism"
REPEATS = 8
# torch splits element-wise work from 32,768 entries on, reductions later.
PARALLEL_ENTRIES = 1 << 18
Answers = Mapping[str, Array]


def determinism(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation the same thing again in ways that should not matter."""
    stand = block.standard(name)
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    came = ""
    try:
        bound, form = block.bound(name), FORMATS[block.case.dtype]
        plain = _called(bound, stand.sample, stand.upstream, block)
        first = _numbers(plain, stand.sample, stand.upstream)
        came = _what_came(first, stand.sample)
        for _ in range(REPEATS):
            repeated = _called(bound, stand.sample, stand.upstream, block)
            if _same(plain, repeated):
                numbers.setdefault("repeat_ulps", 0.0)
                continue
            again = _numbers(repeated, stand.sample, stand.upstream)
            _raise_to(numbers, "repeat_ulps", first, again, form)
            if not findings:
                findings += _unrepeatable(first, again, stand)
        order = torch.arange(_batch(stand.sample)).flip(0)
        if stand.sample.layout != "nchw":
            permuted = stand.sample.taken(order)
            upstream = stand.upstream[order] if stand.upstream.dim() else stand.upstream
            asked = _of_rows(block, name, order)
            back = _reordered(_answers(asked, permuted, upstream, block), order.numpy(), stand.sample.shared)
            _raise_to(numbers, "permutation_ulps", first, back, form)
            findings += _neighbours(first, back, stand, "in another order of rows")
        if not block.suite.implementation(name).compiled:
            findings += _sliced(name, stand, block, first, numbers, form)
            laid = stand.sample.mapped(lambda t: transposed(t) if t.is_floating_point() else t)
            other = _answers(bound, laid, stand.upstream, block, dense=False)
            _raise_to(numbers, "layout_ulps", first, other, form)
            _over_threads(block, name, numbers, form)
    except Exception as error:
        status, reason = failure(error)
        if status is None and findings:
            return Answer("ok", reason, tuple(findings), numbers)
        return Answer(status or "skipped", f"{reason}; see accuracy" if status is None else reason)
    return Answer("ok", came, tuple(findings), numbers)


def _what_came(answers: Answers, sample: Sample) -> str:
    """Says which gradients did not come and what is compared instead, "" where all of them came."""
    missing = [name for name in sample.gradients if name not in answers]
    if not missing:
        return ""
    return f"no gradient reached {', '.join(missing)}; compared: {', '.join(answers)}"


def _answers(
    bound: Bound, sample: Sample, upstream: Tensor, block: OpenBlock, *, dense: bool = True
) -> dict[str, Array]:
    """Returns loss and gradients of one call as float64 rows, by name."""
    return _numbers(_called(bound, sample, upstream, block, dense=dense), sample, upstream)


def _called(
    bound: Bound, sample: Sample, upstream: Tensor, block: OpenBlock, *, dense: bool = True
) -> dict[str, Tensor]:
    """Returns loss and gradients of one call as they came back, by name; no gradient is left out."""
    device = block.case.device
    if dense:
        asked = leaves(sample, device)
    else:
        asked = sample.mapped(lambda tensor: tensor.detach().to(device))
        for name in sample.gradients:
            asked[name].requires_grad_(True)
    with block.ledger.spending("implementation"):
        loss = bound.loss(asked.tensors)
        found = gradients_of(loss, asked, private_upstream(upstream, device, loss.dtype))
    given = {name: gradient.detach() for name, gradient in found.items() if gradient is not None}
    return {"loss": loss.detach(), **given}


def _numbers(called: Mapping[str, Tensor], sample: Sample, upstream: Tensor) -> dict[str, Array]:
    loss = called["loss"].cpu().double().reshape(upstream.shape)
    answers = {"loss": np.asarray((loss.reshape(-1) if upstream.dim() else loss).numpy())}
    for name, gradient in called.items():
        if name != "loss":
            answers[name] = np.asarray(rows(gradient, sample.layout).cpu().double().numpy())
    return answers


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Tells whether two answers are equal number by number; a NaN is taken for another one."""
    return one.keys() == other.keys() and all(
        tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]) for name, tensor in one.items()
    )


def _raise_to(numbers: dict[str, float], column: str, one: Answers, other: Answers, form: Format) -> None:
    numbers[column] = max(numbers.get(column, 0.0), difference_ulps(one, other, form))


def difference_ulps(one: Answers, other: Answers, form: Format) -> float:
    """Returns the largest difference of two answers in ulp of the first; infinite where a class differs."""
    worst = 0.0
    if other.keys() - one.keys():
        return float("inf")
    for name, values in one.items():
        if name not in other or values.shape != other[name].shape:
            return float("inf")
        unequal = (values != other[name]) & ~(np.isnan(values) & np.isnan(other[name]))
        if not unequal.any():
            continue
        before, after = values[unequal], other[name][unequal]
        if not (np.isfinite(before) & np.isfinite(after)).all():
            return float("inf")
        with np.errstate(over="ignore"):
            worst = max(worst, float((np.abs(before - after) / ulp(before, form)).max()))
    return worst


def _beyond(one: Array | None, other: Array | None, bound: Array) -> bool:
    """Tells whether two answers differ beyond a bound; None is a gradient that did not come."""
    if one is None or other is None:
        return one is not other
    with np.errstate(invalid="ignore"):
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        return bool((~same & ~(np.abs(one - other) <= bound)).any())


def _sticks(stand: Standard) -> dict[str, Yardstick]:
    return {"loss": stand.loss, **stand.gradients}


def _unrepeatable(first: Answers, again: Answers, stand: Standard) -> list[Finding]:
    """Returns the finding that a repeat had other bits: an error beyond the error bound."""
    sticks = _sticks(stand)
    changed = [name for name in sticks if _beyond(first.get(name), again.get(name), np.zeros(()))]
    if not changed:
        return []
    far = any(
        _beyond(first.get(n), again.get(n), np.fmax(sticks[n].strict, sticks[n].error)) for n in changed
    )
    form = FORMATS[stand.loss.form.name]
    size = ulps(difference_ulps(first, again, form))
    sentence = f"{KINDS['nondeterministic'].sentence}: {', '.join(changed)} by up to {size}"
    return [_finding("nondeterministic", "error" if far else "warning", "repeat", sentence)]


def _neighbours(first: Answers, other: Answers, stand: Standard, where: str) -> list[Finding]:
    """Returns the finding that rows of an unreduced loss answer otherwise among other rows."""
    if not stand.upstream.dim():
        return []
    # What all rows share adds them up in another order, which is no fault.
    sticks = {name: stick for name, stick in _sticks(stand).items() if name not in stand.sample.shared}
    moved = [
        n for n, stick in sticks.items() if _beyond(first.get(n), other.get(n), np.nan_to_num(stick.strict))
    ]
    if not moved:
        return []
    far = any(_beyond(first.get(n), other.get(n), np.fmax(sticks[n].strict, sticks[n].error)) for n in moved)
    sentence = f"{', '.join(moved)} of a row differ beyond the strict bound {where}"
    return [_finding("neighbours", "error" if far else "warning", "rows", sentence)]


def _finding(kind: str, severity: Severity, group: str, sentence: str) -> Finding:
    return Finding(kind, severity, NAME, group, sentence, {"question": f"determinism: {group}"})


def _batch(sample: Sample) -> int:
    first = sample.tensors[0]
    return first.shape[batch_axis(first, sample.layout)]


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


def _of_rows(block: OpenBlock, name: str, index: Tensor) -> Bound:
    """Returns the callable for some rows: options with a row for each row of the sample go with them."""
    _, options = block.drawn()
    own = {
        key: value[index]
        for key, value in options.items()
        if isinstance(value, Tensor) and value.dim() > 1 and len(value) == block.case.batch
    }
    return block.bound_for(name, {**options, **own}) if own else block.bound(name)


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
        bound = _of_rows(block, name, index)
        answers = _answers(bound, stand.sample.taken(index), stand.upstream[index], block)
        alone = {name: values for name, values in answers.items() if name not in stand.sample.shared}
        # An element-wise loss has several entries per row of its sample.
        ends = {name: part * (len(values) // count) for name, values in first.items()}
        cut = {name: values[: ends[name]] for name, values in first.items()}
        _raise_to(numbers, "slicing_ulps", cut, alone, form)
        if not found:
            padded = {
                n: np.concatenate([values, first[n][ends[n] :]]) if n in first else values
                for n, values in alone.items()
            }
            found = _neighbours(first, padded, stand, f"in a batch of {part}")
    return found


def _over_threads(block: OpenBlock, name: str, numbers: dict[str, float], form: Format) -> None:
    """Compares one thread with several on rows enough for torch to split."""
    threads = min(4, os.cpu_count() or 1)
    # Entries of a row: its classes, times the frames of a sequence.
    entries = block.drawn()[0].tensors[0].numel() // max(1, block.case.batch)
    shape = Shape(max(1, PARALLEL_ENTRIES // max(1, entries)), block.case.classes)
    implementation = block.suite.implementation(name)
    if threads < 2 or (implementation.skip is not None and implementation.skip(shape)):
        return
    drawn = block.drawn_at(shape)
    if drawn is None:
        return
    sample, options = drawn
    bound = block.bound_for(name, options)
    upstream = asked_upstream(sample, options)
    with torch_state_kept():
        torch.set_num_threads(1)
        one = _called(bound, sample, upstream, block)
        torch.set_num_threads(threads)
        several = _called(bound, sample, upstream, block)
    if _same(one, several):
        numbers.setdefault("threads_ulps", 0.0)
    else:
        first = _numbers(one, sample, upstream)
        _raise_to(numbers, "threads_ulps", first, _numbers(several, sample, upstream), form)
