"""One implementation on one ladder: its rungs are answered once, and searched for events.

An event is a kind of finding; the first rung that shows it is bisected against the rung below. On ladders of
rows and classes 16-bit garbage is an error too (`harness.garbage`), for a slope of 1/C is below the error
bound. The trap: a rung costs a call and a finding a proof, so answers are kept and findings are made only of
what is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import torch

from harness.block import OpenBlock
from harness.calling import Bound
from harness.columns import gradient_in
from harness.garbage import garbage
from harness.inputs import dtype_named
from harness.judge import Defect, Yardstick
from harness.observation import Observation, compared_with, observe
from harness.oracle.reduction import Array
from harness.regime import Ladder
from harness.results import Finding, Status
from harness.sample import Shape
from harness.standard import Standard
from harness.units import count, number
from harness.vacuity import Rule
from harness.witness import described

NAME = "overflow"


@dataclass(frozen=True)
class Event:
    """Something a climb looks for: the number it gives, and which findings are it."""

    prefix: str
    is_met: Callable[[Defect | Finding], bool]


NONFINITE = ("spurious_nan", "spurious_overflow", "nan_leak")
FAILING = Event("first_failing", lambda f: f.severity == "error")
OTHERWISE = Event("first_failing", lambda f: f.severity == "error" and f.kind != "dead_gradient")
BLOWING_UP = Event("first_nonfinite", lambda f: f.kind in NONFINITE)
LOSS_FAILING = Event("loss_fails", lambda f: f.severity == "error" and f.group == "loss")


def gradient_failing(tensor: str) -> Event:
    """Returns the event of an error in the gradient of one input."""
    return Event("gradient_fails", lambda f: f.severity == "error" and gradient_in(f.group) == tensor)


def dying(tensor: str) -> Event:
    """Returns the event of a gradient of one input that is 0 and should not be."""
    return Event("first_dead", lambda f: f.kind == "dead_gradient" and gradient_in(f.group) == tensor)


class Climb:
    """One implementation on one ladder; callables are shared between rungs of equal options."""

    def __init__(self, block: OpenBlock, name: str, ladder: Ladder, callables: dict[str, Bound]) -> None:
        self._block, self._name, self._ladder, self._callables = block, name, ladder, callables
        self._seen: dict[float, Observation] = {}
        self._wrong: dict[float, tuple[Defect | Finding, ...]] = {}
        # The value without an answer, with status and reason: what lies above was not seen.
        self.unanswered: tuple[float, Status, str] | None = None
        self._finfo = torch.finfo(dtype_named(block.case.dtype))

    @property
    def differentiated(self) -> tuple[str, ...]:
        """The inputs whose gradients are asked for; none of a ladder that has no rung in this dtype."""
        lowest = next(iter(self._ladder.rungs(self._finfo)), None)
        if lowest is None:
            return ()
        return self._block.rung(self._ladder, lowest, self._name).sample.gradients

    @property
    def held(self) -> Iterator[tuple[str, Standard, Rule]]:
        """What answers were held against: every rung that was answered, and what is told on it."""
        rule: Rule = "garbage" if self._ladder.counts else "errors"
        for value, seen in self._seen.items():
            if seen.status == "ok":
                stand = self._block.rung(self._ladder, value, self._name)
                yield f"ladder {self._ladder.name}", stand, rule

    def first(self, event: Event) -> float | None:
        """Returns the first value at which an event is met on the way up."""
        skip = self._block.suite.implementation(self._name).skip
        below: float | None = None
        for value in self._ladder.rungs(self._finfo):
            if self._ladder.counts and skip and (why := skip(self._ladder.shape(value, Shape(1, 1)))):
                self.unanswered = value, "skipped", why
                return None
            seen = self._asked(value)
            if seen.status != "ok":
                self.unanswered = value, seen.status, seen.reason
                return None
            if self._met(value, event):
                return self._bisected(below, value, event)
            below = value
        return None

    def _met(self, value: float, event: Event) -> bool:
        if value not in self._wrong:
            seen = self._asked(value)
            uncomputed = (defect for defect, *_ in self._garbage(value))
            self._wrong[value] = (*seen.defects, *seen.findings, *uncomputed)
        return any(map(event.is_met, self._wrong[value]))

    def finding(self, value: float, event: Event) -> Finding:
        """Returns what met an event at a value, on the ladder and with its witness: one costs a proof."""
        seen, stand = self._asked(value), self._block.rung(self._ladder, value, self._name)
        told = (*seen.described(stand, NAME), *seen.findings)
        uncomputed = (
            described(defect, stick, got, stand, NAME, tensor)
            for defect, tensor, stick, got in self._garbage(value)
        )
        met = next(f for f in chain(told, uncomputed) if event.is_met(f))
        return _on_ladder(self._ladder, value, met)

    def _garbage(self, value: float) -> Iterator[tuple[Defect, str | None, Yardstick, Array]]:
        """Yields what nobody computed on a rung of rows or classes: in 16 bits an error may be too small."""
        if self._ladder.counts:
            stand = self._block.rung(self._ladder, value, self._name)
            for tensor, stick, got in compared_with(stand, self._asked(value)):
                for defect in garbage(stick, got):
                    yield defect, tensor, stick, got

    def _bisected(self, below: float | None, above: float, event: Event) -> float:
        resolution, relative = self._ladder.resolution, self._ladder.relative
        if below is not None and (resolution or relative):
            while above - below > max(resolution, relative * above):
                # Roots apart, since the product of two sizes may overflow.
                middle = below**0.5 * above**0.5 if above > 4 * below > 0 else below + (above - below) / 2
                if self._ladder.counts:
                    middle = float(int(middle))
                if self._met(middle, event):
                    above = middle
                else:
                    below = middle
        return above

    def _asked(self, value: float) -> Observation:
        if value not in self._seen:
            stand = self._block.rung(self._ladder, value, self._name)
            # Options hold tensors of the rung's class count; equal ones share a callable and artefact.
            key = repr(sorted(stand.options.items(), key=lambda item: item[0]))
            if key not in self._callables:
                self._callables[key] = self._block.bound_for(
                    self._name, stand.options, any_shape=True, variant=self._ladder.variant
                )
            case = self._block.case
            self._seen[value] = observe(
                self._callables[key], stand, case.dtype, case.device, NAME, described_defects=False
            )
        return self._seen[value]


def _on_ladder(ladder: Ladder, value: float, met: Finding) -> Finding:
    return Finding(
        met.kind,
        met.severity,
        NAME,
        f"ladder {ladder.name}",
        f"from {ladder.names} = {written(ladder, value)} on: {met.group}: {met.message}",
        {"ladder": ladder.name, "value": float(value).hex(), **met.witness},
    )


def written(ladder: Ladder, value: float) -> str:
    """Returns a value of a ladder as a count or a number."""
    return count(value) if ladder.counts else number(value, 4)
