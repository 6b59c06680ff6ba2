"""Was it right only while it was watched? Correctness once more after timing.

The last answer given under the clock is judged first. Then come three questions, none of which an
honest implementation can fail by bad luck with its inputs: does it still answer what it answered
before timing (wrong after so many calls); does it answer unseen inputs in storage that was timed as it
answers them in fresh storage (a result cached by pointer); and is it, error-free before, now wrong in
at least half of what it returns (a result cached by shape). Differences count beyond the strict
bound, so that varying order of summation is no accusation. The trap: comparing kinds of findings
between two inputs accuses whoever is rarely inaccurate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import Bound, torch_state_kept
from harness.judge import Yardstick
from harness.observation import Observation, answered, gradient_array, judged, loss_array, news, overwritten
from harness.oracle.reduction import Array
from harness.outcome import severity
from harness.results import Finding
from harness.sample import Sample
from harness.standard import Standard, upstream_for

KIND = "wrong_while_timed"
UNSEEN = 1


@dataclass(frozen=True)
class TimedAnswer:
    """The last loss and gradients that were computed under the clock, and the sample they belong to."""

    loss: Tensor
    gradients: Mapping[str, Tensor | None]
    sample: Sample


def wrong_under_the_clock(
    block: OpenBlock, name: str, bound: Bound, answer: TimedAnswer, probe: str
) -> Finding | None:
    """Judges the last timed answer; None where it is as good as an answer that nobody times.

    Both are asked under the same upstream gradient: a 16-bit gradient of 1/N may be inaccurate under 1
    and right under 2. Who writes into its inputs is judged by the finding that says so.
    """
    known = block.standard(name)
    if overwritten(answer.sample, known.sample):
        return None
    several = upstream_for(known.sample, known.options)
    stand = block.under(torch.ones_like(known.upstream) if several is None else several, name)
    with torch_state_kept():
        calm = answered(bound, stand, block.case.device, probe)
    if calm.loss is None or calm.gradients is None:
        return None
    pairs = {
        tensor: (gradient_array(gradient, stand), calm.gradients[tensor])
        for tensor, gradient in answer.gradients.items()
        if gradient is not None and tensor in calm.gradients
    }
    found = news(stand, probe, loss=(loss_array(answer.loss, stand), calm.loss), gradients=pairs)
    if not found:
        return None
    sentence = f"answers otherwise under the clock than without it: {found[0].message}"
    return Finding(KIND, severity(KIND), probe, found[0].group, sentence, found[0].witness)


def recheck(
    block: OpenBlock, name: str, bound: Bound, before: Observation, timed: Sample | None, probe: str
) -> Finding | None:
    """Asks an implementation again after timing; returns the finding, None when it is as it was."""
    known, unseen = block.standard(name), block.standard(name, repeat=UNSEEN)

    def asked(stand: Standard, sample: Sample | None = None) -> Observation:
        with torch_state_kept():
            return answered(bound, stand, block.case.device, probe, sample=sample)

    again = asked(known)
    if group := difference(before, again, known):
        return _finding(probe, group, "answers otherwise than before timing on the same inputs", again, known)
    reused = asked(unseen, None if timed is None else refilled(timed, unseen.sample))
    fresh = asked(unseen)
    if group := difference(reused, fresh, unseen):
        sentence = "answers unseen inputs otherwise in storage that was timed"
        return _finding(probe, group, sentence, reused, unseen)
    if not before.worst_is_error() and mostly_wrong(fresh, unseen):
        return _finding(probe, "loss", "right before timing, wrong on unseen inputs", fresh, unseen)
    return None


def _finding(probe: str, group: str, sentence: str, seen: Observation, stand: Standard) -> Finding:
    told = judged(seen, stand, probe)
    shown = next((f for f in (*told.described(stand, probe), *told.findings) if f.severity == "error"), None)
    detail = f": {shown.group}: {shown.message}" if shown is not None else ""
    witness = shown.witness if shown is not None else {}
    return Finding(KIND, severity(KIND), probe, group, f"{sentence}{detail}", witness)


def difference(one: Observation, other: Observation, stand: Standard) -> str | None:
    """Returns where two answers differ beyond the strict bound, None where they agree; NaN equals NaN."""
    if one.loss is None or other.loss is None:
        return None if (one.loss is None) == (other.loss is None) else "call"
    if _apart(one.loss, other.loss, stand.loss):
        return "loss"
    first, second = one.gradients or {}, other.gradients or {}
    for name in stand.gradients:
        if (name in first) != (name in second):
            return name
        if name in first and _apart(first[name], second[name], stand.gradients[name]):
            return name
    return None


def _apart(one: Array, other: Array, stick: Yardstick) -> bool:
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= np.nan_to_num(stick.strict)
        same = (one == other) | (np.isnan(one) & np.isnan(other))
    return bool((~near & ~same).any())


def mostly_wrong(seen: Observation, stand: Standard) -> bool:
    """Tells whether at least half of a gradient's entries are beyond the error bound.

    One reduced loss is no evidence: a single rare row moves it.
    """
    for name, stick in stand.gradients.items():
        got = (seen.gradients or {}).get(name)
        if got is None or not stick.defined.any():
            continue
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(got - stick.truth) <= np.maximum(stick.error, stick.strict))
        counted = stick.defined & ~stick.infinite & (stick.truth != 0)
        if counted.any() and off[counted].mean() >= 0.5:
            return True
    return False


def refilled(used: Sample, fresh: Sample) -> Sample:
    """Returns the used tensors with other contents in the same storage."""
    with torch.no_grad():
        for name, tensor in fresh.named.items():
            used[name].copy_(tensor)
    return used
