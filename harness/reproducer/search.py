"""A stored finding asked again, on as few rows as still show it.

Inputs are drawn anew from the run's seed (`harness.inputs`), so nothing is lost where the journal
abridges its witness. Each smaller batch is asked again: the witness's row alone, any single row, then
halves, else the whole batch. For the plain call implementation and oracle are asked; any other
question is asked by running its script here. The trap: a smaller batch can show another finding, so
only the same kind, severity and tensor counts, and a finding that this machine does not show is
written down as it was stored and said to be so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.block import reset_compiler
from harness.calling import torch_state_kept
from harness.discovery import Selection
from harness.errors import unknown
from harness.outcome import KINDS
from harness.reproducer.asking import Asking, ByObservation, ByScript
from harness.reproducer.assertion import WHOLE_CALL
from harness.reproducer.questions import retelling_of
from harness.reproducer.reproduction import EXHAUSTIVE, NoReproducerError, Reproduction
from harness.results import Finding
from harness.suite import Suite
from harness.trial import Trial

# Kinds whose assertion is about one number, as the plain call finds them.
NUMERIC = (
    "inaccurate",
    "dead_gradient",
    "dead_loss",
    "negative_zero",
    "flushed",
    "negative",
    "spurious_overflow",
    "spurious_nan",
    "saturated",
    "nan_swallowed",
    "nan_leak",
)


def reproduced(
    suite: Suite, trial: Trial, finding: Finding, seed: int, selection: Selection | None = None
) -> Reproduction:
    """Asks for a stored finding again on fewer rows; raises NoReproducerError where none can be written.

    `selection` is how the suite was found, for scripts of callables whose source cannot be copied.
    """
    if finding.kind not in KINDS:
        raise NoReproducerError(unknown(f"show {trial.id} --repro", "kind of finding", finding.kind, KINDS))
    question = str(finding.witness.get("question", ""))
    retelling = retelling_of(finding)
    plain = not question or question.startswith(EXHAUSTIVE)
    if retelling is None and not (plain and finding.kind in (*NUMERIC, *WHOLE_CALL)):
        raise NoReproducerError(
            f"show {trial.id} --repro: no reproducer yet for question {question or finding.kind}: see "
            f"`lossgauge show {trial.id}` for what was asked."
        )
    if trial.case.regime not in {regime.name for regime in suite.regimes}:
        raise NoReproducerError(
            f"show {trial.id} --repro: suite {suite.name!r} has no regime {trial.case.regime} any more."
        )
    with _as_in_a_worker(trial.case.threads):
        asking: Asking
        if retelling is None:
            asking = ByObservation(suite, trial, finding, seed, selection)
        else:
            asking = ByScript(suite, trial, finding, seed, selection, retelling)
        return _fewest(asking)


@contextmanager
def _as_in_a_worker(threads: int) -> Iterator[None]:
    """Sets what a worker sets, and puts it back: threads decide how sums are split."""
    with torch_state_kept():
        torch.set_num_threads(threads)
        reset_compiler()
        yield


def _fewest(asking: Asking) -> Reproduction:
    """Returns the smallest batch that was seen to show the finding."""
    first, everything = asking.batches()
    for kept in first:
        if (found := asking.asked(kept)) is not None:
            return found
    best = asking.asked(everything)
    if best is None:
        return asking.unseen(everything)
    kept = everything
    while len(kept) > 1:
        middle = len(kept) // 2
        for half in (kept[:middle], kept[middle:]):
            if (found := asking.asked(half)) is not None:
                kept, best = half, found
                break
        else:
            break
    return best
