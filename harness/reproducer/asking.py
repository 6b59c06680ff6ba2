"""Two ways to ask for a finding again on some rows: calling the implementation, and running the script.

The plain call is judged by the oracle anew, so the worst entry of a smaller batch is asserted; other
questions keep the place of the stored witness and let the script say whether it still fails. The
trap: a place names a row of the whole batch, so it moves when rows are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Protocol

import torch

from harness.block import OpenBlock
from harness.calling import Bound
from harness.discovery import Selection
from harness.garbage import garbage
from harness.implementation import Implementation
from harness.inputs import draw_exhaustive
from harness.observation import Observation, compared_with, observe
from harness.reproducer.reproduction import EXHAUSTIVE, NoReproducerError, Reproduction
from harness.reproducer.retelling import Retelling, Rows, cut, row_of
from harness.reproducer.running import ended
from harness.reproducer.script import script
from harness.results import Finding
from harness.sample import Sample
from harness.standard import Standard, standard
from harness.suite import Suite
from harness.trial import Trial
from harness.witness import described

# Batches up to this many rows are searched row by row before they are halved.
SINGLES = 64
# What a sample cut to fewer rows may raise in suite, oracle or torch; anything else is a fault and seen.
TOO_FEW_ROWS = (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError)


class Asking(Protocol):
    """One way to ask for a finding again on some rows."""

    def batches(self) -> tuple[list[list[int]], list[int]]:
        """Returns the batches that are tried first, and the whole batch."""

    def asked(self, kept: list[int]) -> Reproduction | None:
        """Returns the reproduction on some rows, None where they do not show the finding."""

    def unseen(self, kept: list[int]) -> Reproduction:
        """Returns the finding as it was stored, on rows that do not show it here."""


class _Search:
    """What both ways of asking know: the finding, where it was found, and how a result is put together."""

    def __init__(
        self, suite: Suite, trial: Trial, finding: Finding, seed: int, selection: Selection | None
    ) -> None:
        self._suite, self._trial, self._finding, self._seed = suite, trial, finding, seed
        self._implementation: Implementation = suite.implementation(trial.implementation)
        self._selection = selection
        # Of the options that are asked: a ladder may name its own.
        self._variant = trial.case.variant
        self._count = 0

    def _first(self, anchor: int | None) -> list[list[int]]:
        first = [] if anchor is None else [[anchor]]
        # Every further shape costs a compiled artefact; the witness's row is worth one.
        if self._count > SINGLES or self._implementation.compiled:
            return first
        return first + [[row] for row in range(self._count) if [row] not in first]

    def _reproduction(
        self, kept: list[int], stand: Standard, seen: Finding, *, again: bool, **more: Any
    ) -> Reproduction:
        return Reproduction(
            suite=self._suite,
            trial=self._trial,
            implementation=self._implementation,
            finding=self._finding,
            seen=seen,
            stand=stand,
            given=self._suite.variant(self._variant).options,
            rows_drawn=self._count,
            kept=tuple(kept),
            seed=self._seed,
            again=again,
            selection=self._selection,
            **{"threads": self._trial.case.threads, **more},
        )


class ByObservation(_Search):
    """Asks the plain call: draws once, then implementation and oracle per batch."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        suite, trial, finding = self._suite, self._trial, self._finding
        question = str(finding.witness.get("question", ""))
        block = OpenBlock(suite, trial.case, self._seed)
        self._options: Mapping[str, Any]
        self._unit_upstream = question.startswith(EXHAUSTIVE)
        on_ladder = "ladder" in finding.witness
        self._counts = False
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
            self._counts = ladder.counts
            value = float.fromhex(finding.witness["value"])
            self._variant = ladder.variant or self._variant
            stand = block.rung(ladder, value, trial.implementation)
            self._sample, self._options = stand.sample, stand.options
        else:
            self._sample, self._options = block.drawn()
        self._count = _rows_of(self._sample)
        self._bound: Bound | Exception
        try:
            self._bound = block.bound_for(
                trial.implementation, self._options, any_shape=on_ladder, variant=self._variant
            )
        except Exception as error:
            self._bound = error

    def batches(self) -> tuple[list[list[int]], list[int]]:
        """Returns single rows, then all of them."""
        if isinstance(self._bound, Exception):
            # What building raises does not depend on the rows.
            return [[0]], [0]
        return self._first(row_of(self._finding)), list(range(self._count))

    def asked(self, kept: list[int]) -> Reproduction | None:
        """Calls the implementation on some rows and looks for the finding."""
        if isinstance(self._bound, Exception):
            return self._reproduction(kept, self._stand(kept), self._finding, again=True)
        case = self._trial.case
        try:
            stand = self._stand(kept)
        except TOO_FEW_ROWS:
            return None  # Options or oracle that need the whole batch: this one cannot be made smaller.
        seen = observe(self._bound, stand, case.dtype, case.device, self._finding.probe)
        told = chain(seen.findings, self._uncomputed(stand, seen))
        same = next((f for f in told if _same(f, self._finding)), None)
        return None if same is None else self._reproduction(kept, stand, same, again=True)

    def _uncomputed(self, stand: Standard, seen: Observation) -> Iterator[Finding]:
        """Yields the garbage of an answer on a ladder of rows or classes, where it is an error."""
        if self._counts:
            for tensor, stick, got in compared_with(stand, seen):
                for defect in garbage(stick, got):
                    yield described(defect, stick, got, stand, self._finding.probe, tensor)

    def unseen(self, kept: list[int]) -> Reproduction:
        """Returns the finding as it was stored."""
        return self._reproduction(kept, self._stand(kept), self._finding, again=False)

    def _stand(self, kept: list[int]) -> Standard:
        sample = cut(self._sample, kept)
        case, definition = self._trial.case, self._implementation.contract.definition
        stand = standard(self._suite, sample, self._options, case.dtype, definition)
        return stand.under(torch.ones_like(stand.upstream)) if self._unit_upstream else stand


class ByScript(_Search):
    """Asks any other question: writes its script for some rows and runs it here."""

    def __init__(
        self,
        suite: Suite,
        trial: Trial,
        finding: Finding,
        seed: int,
        selection: Selection | None,
        retelling: Retelling,
    ) -> None:
        super().__init__(suite, trial, finding, seed, selection)
        self._retelling = retelling
        # What the script of the rows asked last raised; those of `unseen` are asked last.
        self._raised = ""
        self._case = retelling.case(trial.case, finding)
        self._whole = self._rows(None)
        self._count = _rows_of(self._whole.drawn()[0])

    def batches(self) -> tuple[list[list[int]], list[int]]:
        """Returns single rows, then all of them; no rows where the question needs its own."""
        if not self._retelling.cut:
            return [], []
        return self._first(self._retelling.anchor(self._finding, self._count)), list(range(self._count))

    def asked(self, kept: list[int]) -> Reproduction | None:
        """Writes and runs the script of some rows."""
        try:
            found = self._made(kept, again=True)
        except NoReproducerError:
            raise
        except TOO_FEW_ROWS:
            return None  # What is drawn, judged or indexed needs more rows than these.
        if found is None:
            return None
        end = ended(_unsigned(found))
        self._raised = end.raised or ""
        return None if end.failure is None else found

    def unseen(self, kept: list[int]) -> Reproduction:
        """Returns the finding as it was stored."""
        try:
            found = self._made(kept, again=False)
        except NoReproducerError:
            raise
        except Exception as error:
            asked = self._finding.witness.get("question", self._finding.kind)
            raise NoReproducerError(f"show {self._trial.id} --repro: {asked}: {error}.") from None
        assert found is not None
        return replace(found, instead=self._raised)

    def _rows(self, kept: list[int] | None) -> Rows:
        name = self._trial.implementation
        return Rows(self._suite, self._case, self._seed, name, self._finding, kept)

    def _made(self, kept: list[int], *, again: bool) -> Reproduction | None:
        retelling, finding = self._retelling, self._finding
        some = bool(kept) and len(kept) < self._count
        block, seen = self._rows(kept if some else None), finding
        row = row_of(finding)
        if some and row is not None:
            if row not in kept:
                return None
            moved = [kept.index(row), *finding.witness["place"][1:]]
            seen = replace(finding, witness={**finding.witness, "place": moved})
        return self._reproduction(
            kept,
            retelling.stand(block),
            seen,
            again=again,
            other=None if retelling.other is None else retelling.other(block),
            extra=retelling.extra(block),
            threads=retelling.threads(self._trial.case, finding),
        )


def _unsigned(found: Reproduction) -> str:
    """Returns the script of a reproduction for a trial run, where nobody reads its head."""
    return script(found, identity={}, command="")


def _rows_of(sample: Sample) -> int:
    return len(sample.in_rows()[next(iter(sample))])


def _same(one: Finding, wanted: Finding) -> bool:
    """Tells whether a finding is the one that is looked for; what a ladder's group was is in its text."""
    if (one.kind, one.severity) != (wanted.kind, wanted.severity):
        return False
    if wanted.kind == "raises":
        return one.message.partition(":")[0] in wanted.message
    if "tensor" in wanted.witness:
        return one.witness.get("tensor") == wanted.witness["tensor"]
    return one.group == wanted.group or "ladder" in wanted.witness
