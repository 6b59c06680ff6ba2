"""A stored finding asked again, on as few rows as still show it: what a reproducer is written from.

Inputs are drawn anew from the run's seed (`harness.inputs`), so nothing is lost where the journal
abridges its witness; implementation and oracle are asked again for each smaller batch: the
witness's row alone, any single row, then halves, else the whole batch. The trap: a smaller batch can
show another finding, so only the same kind, severity and tensor counts, and a finding that this
machine does not show is written down as it was stored and said to be so.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.block import OpenBlock, reset_compiler
from harness.calling import Bound, torch_state_kept
from harness.discovery import Selection, discover, is_reference
from harness.errors import HarnessError, UsageError, unknown
from harness.implementation import Implementation
from harness.inputs import draw_exhaustive
from harness.observation import observe
from harness.results import Finding
from harness.sample import Sample, rows
from harness.standard import Standard, standard
from harness.suite import Suite
from harness.trial import Trial

# Kinds whose assertion is about one number, and those about the call as a whole.
NUMERIC = (
    "inaccurate",
    "dead_gradient",
    "dead_loss",
    "flushed",
    "negative",
    "spurious_overflow",
    "spurious_nan",
    "saturated",
    "nan_swallowed",
    "nan_leak",
)
WHOLE_CALL = ("raises", "shape", "overwrites", "no_gradient", "loss_gradient_split")
EXHAUSTIVE = "exhaustive "
# From what a probe puts into a witness as its "question" to the lines that ask it: `lines(found)`
# stands in place of call and assertion. Whoever adds a probe adds its questions here.
QUESTIONS: dict[str, Callable[[Reproduction], list[str]]] = {}
# Batches up to this many rows are searched row by row before they are halved.
SINGLES = 64


class NoReproducerError(HarnessError):
    """A finding for which no script of its own can be written; the message says why."""


@dataclass(frozen=True)
class Reproduction:
    """A finding as it is seen again: on which rows, under which standard, at which place.

    `finding` is the stored one, `seen` what the kept rows show; `stand` holds the kept rows. `again` is
    False where this machine does not show the finding: then all rows are kept and `seen` is `finding`.
    """

    suite: Suite
    trial: Trial
    implementation: Implementation
    finding: Finding
    seen: Finding
    stand: Standard
    given: Mapping[str, Any]
    rows_drawn: int
    kept: tuple[int, ...]
    seed: int
    again: bool

    @property
    def place(self) -> tuple[int, ...]:
        """The witness's entry in row form: (), (row,) or (row, class)."""
        return tuple(self.seen.witness.get("place", ()))

    @property
    def tensor(self) -> str:
        """What the finding is about: "loss" or the name of an input, empty for the whole call."""
        return str(self.seen.witness.get("tensor", ""))


def selection_of(manifest: Mapping[str, Any]) -> Selection:
    """Returns what a stored run selected; known-bad implementations are always visible here."""

    def value(name: str) -> tuple[str, ...]:
        return tuple(manifest["config"].get(name, {}).get("value") or ())

    words, inputs = shlex.split(manifest.get("command", "")), ""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--inputs":
            inputs = following
        elif word.startswith("--inputs="):
            inputs = word.partition("=")[2]
    loaded = tuple(name for name in value("impl") if ":" in name)
    suites = value("suite") if loaded or inputs else tuple(s for s in value("suite") if is_reference(s))
    return Selection(suites, loaded, inputs, known_bad=True)


def suite_of(manifest: Mapping[str, Any], name: str) -> Suite:
    """Returns the suite that a stored run asked; raises UsageError when it is no longer found."""
    selection = selection_of(manifest)
    for reference in (s for s in selection.suites if s.endswith(".py")):
        if not Path(reference).exists():
            raise UsageError(
                f"show --repro: the run was made with --suite {reference}, which is not here; call it from "
                "the directory of the run."
            )
    suites = discover(selection).suites
    if name not in suites:
        raise UsageError(unknown("show --repro", "suite", name, sorted(suites)))
    return suites[name]


def reproduced(suite: Suite, trial: Trial, finding: Finding, seed: int) -> Reproduction:
    """Asks for a stored finding again on fewer rows; raises NoReproducerError where none can be written."""
    question = str(finding.witness.get("question", ""))
    known = question.startswith(EXHAUSTIVE) or question in QUESTIONS
    if (question and not known) or finding.kind not in (*NUMERIC, *WHOLE_CALL):
        raise NoReproducerError(
            f"show {trial.id} --repro: no reproducer yet for question {question or finding.kind}: see "
            f"`lossgauge show {trial.id}` for what was asked."
        )
    if trial.case.regime not in {regime.name for regime in suite.regimes}:
        raise NoReproducerError(
            f"show {trial.id} --repro: suite {suite.name!r} has no regime {trial.case.regime} any more."
        )
    with _as_in_a_worker(trial.case.threads):
        return _Search(suite, trial, finding, seed, question).found()


@contextmanager
def _as_in_a_worker(threads: int) -> Any:
    """Sets what a worker sets, and puts it back: threads decide how sums are split."""
    with torch_state_kept():
        torch.set_num_threads(threads)
        reset_compiler()
        yield


class _Search:
    """The search for the fewest rows: draws once, then asks implementation and oracle per batch."""

    def __init__(self, suite: Suite, trial: Trial, finding: Finding, seed: int, question: str) -> None:
        self._suite, self._trial, self._finding, self._seed = suite, trial, finding, seed
        self._implementation = suite.implementation(trial.implementation)
        block = OpenBlock(suite, trial.case, seed)
        self._options: Mapping[str, Any]
        self._unit_upstream = question.startswith(EXHAUSTIVE)
        on_ladder = "ladder" in finding.witness
        if on_ladder and self._implementation.compiled:
            # A ladder asks for one artefact over all shapes.
            prepare = partial(torch.compile, dynamic=True)
            self._implementation = replace(self._implementation, prepare=prepare)
        if self._unit_upstream:
            named = question.removeprefix(EXHAUSTIVE)
            exhaustive = next(e for e in suite.exhaustive if e.name == named)
            self._sample, self._options = draw_exhaustive(exhaustive, trial.case, suite)
        elif on_ladder:
            ladder = next(one for one in suite.ladders if one.name == finding.witness["ladder"])
            value = float.fromhex(finding.witness["value"])
            stand = block.rung(ladder, value, trial.implementation)
            self._sample, self._options = stand.sample, stand.options
        else:
            self._sample, self._options = block.drawn()
        self._bound: Bound | Exception
        try:
            self._bound = block.bound_for(trial.implementation, self._options, any_shape=on_ladder)
        except Exception as error:
            self._bound = error

    def found(self) -> Reproduction:
        """Returns the smallest batch that was seen to show the finding."""
        count = len(self._sample.in_rows()[next(iter(self._sample))])
        everything = list(range(count))
        if isinstance(self._bound, Exception):
            # What building raises does not depend on the rows.
            return self._reproduction([0], self._stand([0]), self._finding, again=True)
        for kept in self._singles(count):
            if (seen := self._asked(kept)) is not None:
                return self._reproduction(kept, *seen, again=True)
        whole = self._asked(everything)
        if whole is None:
            return self._reproduction(everything, self._stand(everything), self._finding, again=False)
        kept, best = everything, whole
        while len(kept) > 1:
            middle = len(kept) // 2
            for half in (kept[:middle], kept[middle:]):
                if (seen := self._asked(half)) is not None:
                    kept, best = half, seen
                    break
            else:
                break
        return self._reproduction(kept, *best, again=True)

    def _singles(self, count: int) -> list[list[int]]:
        place = self._finding.witness.get("place", ())
        first = [[int(place[0])]] if place else []
        # Every further shape costs a compiled artefact; the witness's row is worth one.
        if count > SINGLES or self._implementation.compiled:
            return first
        return first + [[row] for row in range(count) if [row] not in first]

    def _stand(self, kept: list[int]) -> Standard:
        sample = _cut(self._sample, kept)
        case, definition = self._trial.case, self._implementation.contract.definition
        stand = standard(self._suite, sample, self._options, case.dtype, definition)
        return stand.under(torch.ones_like(stand.upstream)) if self._unit_upstream else stand

    def _asked(self, kept: list[int]) -> tuple[Standard, Finding] | None:
        assert isinstance(self._bound, Bound)
        case = self._trial.case
        try:
            stand = self._stand(kept)
        except Exception:
            return None  # Options or oracle that need the whole batch: this one cannot be made smaller.
        seen = observe(self._bound, stand, case.dtype, case.device, self._finding.probe)
        same = next((f for f in seen.findings if _same(f, self._finding)), None)
        return None if same is None else (stand, same)

    def _reproduction(self, kept: list[int], stand: Standard, seen: Finding, *, again: bool) -> Reproduction:
        return Reproduction(
            suite=self._suite,
            trial=self._trial,
            implementation=self._implementation,
            finding=self._finding,
            seen=seen,
            stand=stand,
            given=self._suite.variant(self._trial.case.variant).options,
            rows_drawn=len(self._sample.in_rows()[next(iter(self._sample))]),
            kept=tuple(kept),
            seed=self._seed,
            again=again,
        )


def _same(one: Finding, wanted: Finding) -> bool:
    """Tells whether a finding is the one that is looked for; what a ladder's group was is in its text."""
    if (one.kind, one.severity) != (wanted.kind, wanted.severity):
        return False
    if wanted.kind == "raises":
        return one.message.partition(":")[0] in wanted.message
    if "tensor" in wanted.witness:
        return one.witness.get("tensor") == wanted.witness["tensor"]
    return one.group == wanted.group or "ladder" in wanted.witness


def _cut(sample: Sample, kept: list[int]) -> Sample:
    """Returns some rows of a sample; rows of images become images of one pixel."""
    if kept == list(range(len(sample.in_rows()[next(iter(sample))]))):
        return sample

    def cut(tensor: Tensor) -> Tensor:
        some = rows(tensor, sample.layout)[torch.tensor(kept)]
        return some.reshape(*some.shape, *([1] * (tensor.dim() - some.dim())))

    return sample.mapped(cut)
