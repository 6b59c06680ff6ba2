"""The closing lines of a run in the terminal: one per suite and device, the choice per dtype.

The trap: a line must stay true off a terminal and in a log, so it carries no colour and no column
padding that depends on the window.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import units
from harness.run import Run
from reports.ranking import Standing, defect_words, standings
from reports.records import records
from reports.speed import Choice, choices


def summary_lines(run: Run) -> list[str]:
    """Returns the closing lines, e.g. "cross_entropy cpu  float32: native (0.5 ulp, 410 µs ±2 %)"."""
    rows = records(run)
    if not rows:
        return ["nothing was planned, nothing was measured"]
    by_place: dict[tuple[str, str], list[Choice]] = {}
    for choice in choices(rows, standings(rows)):
        by_place.setdefault((choice.suite, choice.device), []).append(choice)
    width = max(len(f"{suite} {device}") for suite, device in by_place)
    return [
        f"{f'{suite} {device}':<{width}}  {'   '.join(map(_said, found))}"
        for (suite, device), found in by_place.items()
    ]


def _said(choice: Choice) -> str:
    text = f"{choice.dtype}: {_chosen(choice)}"
    unsafe = [s for s in choice.standings if s.rank == "excluded" and s.maker.recommendable]
    return f"{text}; {_unsafe(unsafe)}" if unsafe else text


def _chosen(choice: Choice) -> str:
    best = choice.recommended
    if best is None:
        unproven = [s for s in choice.standings if s.rank == "unproven" and s.replaces]
        return f"none proven ({unproven[0].cause})" if unproven else "none safe"
    name = best.group.implementation
    words = [] if best.worst_error is None else [_error(best)]
    words.append(choice.race.words(name) or "not timed")
    return f"{name} ({', '.join(words)})"


def _error(best: Standing) -> str:
    over_inputs = best.worst_conditioned
    assert best.worst_error is not None
    if over_inputs is not None and best.within_inputs:
        return f"{units.number(over_inputs, 2)} u N"
    rest = best.unwarned_words
    if not rest or not best.warnings or best.warned_error is None:
        return units.ulps(best.worst_error)
    return f"{rest}, where warned {units.ulps(best.warned_error)}"


def _unsafe(standings: Sequence[Standing], most: int = 2) -> str:
    words = [
        f"{s.group.implementation} unsafe: {defect_words(s.errors[:1], s.cases).removesuffix(' cases')}"
        for s in standings[:most]
    ]
    more = f", {len(standings) - most} more unsafe" if len(standings) > most else ""
    return f"{', '.join(words)}{more}"
