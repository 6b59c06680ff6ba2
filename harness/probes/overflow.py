"""Where does it break? Each ladder of the suite is climbed to its first failing value.

A rung fails when a finding of severity error appears (question "failure") or when a gradient is
returned as 0 that is a normal number (question "dead_gradient"). The first failing pair of rungs is
bisected; where it blows up later than it first fails, that value is found as well, and so are the first
failing loss and gradient. Where a loss has several gradients each has its own number
(`gradient_fails_scale/variance`, `first_dead_gap/weight`) and the plain one is the lowest of them. In 16
bits the suite's exhaustive questions follow. A climb ends where an implementation has no answer; a note says
where, and want of memory is the status of the whole. The trap: failure need not be monotone, so the number
is the first failing value *met on the way up*, and the rungs below it were seen to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from harness.block import Answer, OpenBlock
from harness.calling import Bound, admission, failure
from harness.columns import gradient_in, of_gradient
from harness.inputs import dtype_named
from harness.judge import Defect
from harness.observation import Observation, observe
from harness.probes.exhaustive import all_values, every_value
from harness.regime import Ladder
from harness.results import Finding, Status
from harness.sample import Shape
from harness.standard import Standard
from harness.units import count, number

NAME = "overflow"


@dataclass(frozen=True)
class Event:
    """Something a climb looks for: the number it gives, and which findings are it."""

    prefix: str
    is_met: Callable[[Defect | Finding], bool]


NONFINITE = ("spurious_nan", "spurious_overflow", "nan_leak")
FAILING = Event("first_failing", lambda f: f.severity == "error")
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
    def lowest(self) -> Standard | None:
        """The standard of the lowest rung; None of a ladder that has none in this dtype."""
        value = next(iter(self._ladder.rungs(self._finfo)), None)
        return None if value is None else self._block.rung(self._ladder, value, self._name)

    @property
    def differentiated(self) -> tuple[str, ...]:
        """The inputs whose gradients are asked for on this ladder."""
        return () if self.lowest is None else self.lowest.sample.gradients

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
            self._wrong[value] = (*seen.defects, *seen.findings)
        return any(map(event.is_met, self._wrong[value]))

    def finding(self, value: float, event: Event) -> Finding:
        """Returns what met an event at a value, on the ladder and with its witness: one costs a proof."""
        seen, stand = self._asked(value), self._block.rung(self._ladder, value, self._name)
        met = next(f for f in (*seen.described(stand, NAME), *seen.findings) if event.is_met(f))
        return _on_ladder(self._ladder, value, met)

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


def overflow(block: OpenBlock, name: str) -> Answer:
    """Climbs every ladder of the suite with one implementation."""
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    callables: dict[str, Bound] = {}
    unanswered: list[tuple[str, Status, str]] = []
    held: list[tuple[str, Standard, bool]] = []
    for ladder in block.suite.ladders:
        if not _is_asked(block, name, ladder):
            continue
        climb = Climb(block, name, ladder, callables)
        try:
            if climb.lowest is not None:
                held.append((f"ladder {ladder.name}", climb.lowest, False))
            for column, value, told in _climbed(climb, ladder):
                numbers[column] = value
                findings += () if told is None else (climb.finding(value, told),)
            if climb.unanswered is not None:
                end, status, reason = climb.unanswered
                unanswered.append((f"ladder {ladder.name} from {_written(ladder, end)} on", status, reason))
        except Exception as error:
            failed, reason = failure(error)
            return Answer(failed or "error", reason, tuple(findings), numbers)
    for exhaustive in block.suite.exhaustive:
        counted, seen, refused = every_value(block, name, exhaustive)
        numbers |= counted
        findings += seen
        if refused is not None:
            unanswered.append((f"exhaustive {exhaustive.name}", *refused))
        values = all_values(block, name, exhaustive)
        if values is not None:
            held.append((f"exhaustive {exhaustive.name}", values, False))
    with block.ledger.spending("judging"):
        notes = block.coarse_vacuity(held)
    words: dict[Status, str] = {"out_of_memory": "out of memory"}
    notes |= {f"{words.get(status, status)}: {where}": reason for where, status, reason in unanswered}
    exhausted = [f"{where}: {reason}" for where, status, reason in unanswered if status == "out_of_memory"]
    # Of what memory did not suffice for nothing can be said, though the other ladders were climbed.
    outcome: Status = "out_of_memory" if exhausted else "ok"
    return Answer(outcome, exhausted[0] if exhausted else "", tuple(_distinct(findings)), numbers, notes)


def _is_asked(block: OpenBlock, name: str, ladder: Ladder) -> bool:
    """Tells whether an implementation climbs a ladder in this case."""
    suite, case, item = block.suite, block.case, block.suite.implementation(name)
    variant = ladder.variant or case.variant
    unreduced = suite.variant(variant).options.get("reduction") == "none"
    if (ladder.batch_is_value and unreduced) or item.contract.takes_out(f"ladder {ladder.name}"):
        return False
    if not ladder.variant:
        return True
    here = case.variant in (suite.variants[0].name, ladder.variant)
    return here and admission(suite, item, replace(case, variant=variant)) is None


def _climbed(climb: Climb, ladder: Ladder) -> Iterator[tuple[str, float, Event | None]]:
    """Yields the numbers of a ladder by name, each with the event whose finding is to be told, if any.

    Failing sides are numbers only: the finding is the first failure, whichever side it is on.
    """
    if ladder.question == "dead_gradient":
        yield from _of_gradients(climb, ladder, dying, told=True)
        return
    for event in (FAILING, BLOWING_UP, LOSS_FAILING):
        value = climb.first(event)
        if value is not None:
            yield f"{event.prefix}_{ladder.name}", value, None if event is LOSS_FAILING else event
    yield from _of_gradients(climb, ladder, gradient_failing, told=False)


def _of_gradients(
    climb: Climb, ladder: Ladder, event_of: Callable[[str], Event], *, told: bool
) -> Iterator[tuple[str, float, Event | None]]:
    """Yields the lowest value over the gradients, and where there are several the value of each."""
    events = {tensor: event_of(tensor) for tensor in climb.differentiated}
    values = {tensor: value for tensor, event in events.items() if (value := climb.first(event)) is not None}
    if not values:
        return
    earliest = min(values, key=lambda tensor: values[tensor])
    column = f"{events[earliest].prefix}_{ladder.name}"
    yield column, values[earliest], events[earliest] if told else None
    if len(events) > 1:
        for tensor, value in values.items():
            yield of_gradient(column, tensor), value, None


def _on_ladder(ladder: Ladder, value: float, met: Finding) -> Finding:
    return Finding(
        met.kind,
        met.severity,
        NAME,
        f"ladder {ladder.name}",
        f"from {ladder.names} = {_written(ladder, value)} on: {met.group}: {met.message}",
        {"ladder": ladder.name, "value": float(value).hex(), **met.witness},
    )


def _written(ladder: Ladder, value: float) -> str:
    return count(value) if ladder.counts else number(value, 4)


def _distinct(findings: list[Finding]) -> list[Finding]:
    """Drops the second finding where the first failure is already a blow-up."""
    kept: list[Finding] = []
    for finding in findings:
        if finding not in kept:
            kept.append(finding)
    return kept
