"""Are two answers the same, bit for bit, and how far are they apart if not?

An answer is a loss with the gradients that came, by name; compared as it came back, in its dtype, and as
float64 rows where a difference is to be told in ulp. The trap: a copy of every answer in float64 costs more
than most calls, so numbers are taken only where bits differ; and -0 equals 0 but has other bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import Bound, gradients_of, leaves
from harness.judge import Yardstick
from harness.metrics import FORMATS, Format, ulp
from harness.observation import private_upstream, same_bits
from harness.oracle.reduction import Array
from harness.outcome import KINDS
from harness.results import Finding, Severity
from harness.sample import Sample, rows
from harness.standard import Standard
from harness.units import ulps

NAME = "determinism"
Answers = Mapping[str, Array]


def called(
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


def numbers_of(called: Mapping[str, Tensor], sample: Sample, upstream: Tensor) -> dict[str, Array]:
    """Returns an answer as float64 rows, by name; the loss in the shape of its upstream gradient."""
    loss = called["loss"].cpu().double().reshape(upstream.shape)
    answers = {"loss": np.asarray((loss.reshape(-1) if upstream.dim() else loss).numpy())}
    for name, gradient in called.items():
        if name != "loss":
            answers[name] = np.asarray(rows(gradient, sample.layout).cpu().double().numpy())
    return answers


def answers_to(
    bound: Bound, sample: Sample, upstream: Tensor, block: OpenBlock, *, dense: bool = True
) -> dict[str, Array]:
    """Returns loss and gradients of one call as float64 rows, by name."""
    return numbers_of(called(bound, sample, upstream, block, dense=dense), sample, upstream)


def identical(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Tells whether two answers have the same bits; a NaN is equal to its copy, and 0 is not -0."""
    return one.keys() == other.keys() and all(same_bits(tensor, other[name]) for name, tensor in one.items())


def raise_to(numbers: dict[str, float], column: str, one: Answers, other: Answers, form: Format) -> None:
    """Raises a column to the difference of two answers in ulp."""
    numbers[column] = max(numbers.get(column, 0.0), difference_ulps(one, other, form))


def difference_ulps(one: Answers, other: Answers, form: Format) -> float:
    """Returns the largest difference of two answers in ulp of the first; infinite where a class differs.

    0 and -0 are one ulp apart, as they have other bits.
    """
    worst = 0.0
    if other.keys() - one.keys():
        return float("inf")
    for name, values in one.items():
        if name not in other or values.shape != other[name].shape:
            return float("inf")
        unequal = (values != other[name]) & ~(np.isnan(values) & np.isnan(other[name]))
        if bool(((values == 0) & (other[name] == 0) & (np.signbit(values) != np.signbit(other[name]))).any()):
            worst = max(worst, 1.0)
        if not unequal.any():
            continue
        before, after = values[unequal], other[name][unequal]
        if not (np.isfinite(before) & np.isfinite(after)).all():
            return float("inf")
        with np.errstate(over="ignore"):
            worst = max(worst, float((np.abs(before - after) / ulp(before, form)).max()))
    return worst


def beyond(one: Array | None, other: Array | None, bound: Array) -> bool:
    """Tells whether two answers differ beyond a bound; None is a gradient that did not come."""
    if one is None or other is None:
        return one is not other
    with np.errstate(invalid="ignore"):
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        return bool((~same & ~(np.abs(one - other) <= bound)).any())


def sticks(stand: Standard) -> dict[str, Yardstick]:
    """Returns the yardsticks of a standard by name, that of the loss as "loss"."""
    return {"loss": stand.loss, **stand.gradients}


def unrepeatable(first: Answers, again: Answers, stand: Standard, threads: int = 1) -> list[Finding]:
    """Returns the finding that a repeat had other bits: an error beyond the error bound."""
    by_name = sticks(stand)
    changed = [name for name in by_name if beyond(first.get(name), again.get(name), np.zeros(()))]
    if not changed:
        return []
    far = any(
        beyond(first.get(n), again.get(n), np.fmax(by_name[n].strict, by_name[n].error)) for n in changed
    )
    form = FORMATS[stand.loss.form.name]
    size = ulps(difference_ulps(first, again, form))
    sentence = f"{KINDS['nondeterministic'].sentence}: {', '.join(changed)} by up to {size}"
    severity: Severity = "error" if far else "warning"
    if threads == 1:
        return [finding_of("nondeterministic", severity, "repeat", sentence)]
    return [finding_of("nondeterministic", severity, "threads", f"{sentence}, each on {threads} threads")]


def finding_of(kind: str, severity: Severity, group: str, sentence: str) -> Finding:
    """Returns a finding of the probe; its group is its question."""
    return Finding(kind, severity, NAME, group, sentence, {"question": f"determinism: {group}"})
