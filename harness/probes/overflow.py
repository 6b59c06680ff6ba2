"""Where does it break? Each ladder of the suite is climbed to its first failing value.

A rung fails when a finding of severity error appears; on a ladder of the question "dead_gradient" a
gradient that is returned as 0 and is a normal number has a number of its own. The first failing pair of
rungs is bisected (`harness.probes.climb`); where it blows up later than it first fails, that value is found
as well, and so are the first failing loss and gradient. Where a loss has several gradients each has its own
number (`gradient_fails_scale/variance`, `first_dead_gap/weight`) and the plain one is the lowest of them.
In 16 bits the suite's exhaustive questions follow. A climb ends where an implementation has no answer; a
note says where, and want of memory is the status of the whole. Every rung that was answered is put to null
answers (`harness.vacuity`). The trap: failure need not be monotone, so the number is the first failing
value *met on the way up*, and the rungs below it were seen to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.block import Answer, OpenBlock
from harness.calling import Bound, admission, failure
from harness.columns import of_gradient
from harness.probes.climb import (
    BLOWING_UP,
    FAILING,
    LOSS_FAILING,
    OTHERWISE,
    Climb,
    Event,
    dying,
    gradient_failing,
    written,
)
from harness.probes.exhaustive import all_values, every_value
from harness.regime import Ladder
from harness.results import Finding, Status
from harness.standard import Standard
from harness.vacuity import Rule


def overflow(block: OpenBlock, name: str) -> Answer:
    """Climbs every ladder of the suite with one implementation."""
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    callables: dict[str, Bound] = {}
    unanswered: list[tuple[str, Status, str]] = []
    held: list[tuple[str, Standard, Rule]] = []
    for ladder in block.suite.ladders:
        if not _is_asked(block, name, ladder):
            continue
        climb = Climb(block, name, ladder, callables)
        try:
            for column, value, told in _climbed(climb, ladder):
                numbers[column] = value
                findings += () if told is None else (climb.finding(value, told),)
            held += climb.held
            if climb.unanswered is not None:
                end, status, reason = climb.unanswered
                unanswered.append((f"ladder {ladder.name} from {written(ladder, end)} on", status, reason))
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
            held.append((f"exhaustive {exhaustive.name}", values, "errors"))
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
        value = climb.first(OTHERWISE)
        if value is not None:
            yield f"{OTHERWISE.prefix}_{ladder.name}", value, OTHERWISE
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


def _distinct(findings: list[Finding]) -> list[Finding]:
    """Drops the second finding where the first failure is already a blow-up."""
    kept: list[Finding] = []
    for finding in findings:
        if finding not in kept:
            kept.append(finding)
    return kept
