"""The table of decisions: which one.

The trap: what is excluded or unproven is named with its cause beside what is recommended, because an
implementation that is merely absent from a list looks as if nobody had asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.costs import legend
from reports.ranking import Standing
from reports.speed import Choice
from reports.table import Cell, Table, cells


def which_one(choices: Sequence[Choice]) -> Table:
    """Returns the recommendations, one row per suite, device and dtype."""
    rows = []
    for choice in choices:
        best = choice.recommended
        chosen = Cell("none", "e")
        if best:
            name = best.group.implementation
            chosen = Cell(name, "best", choice.race.words(name), badge=choice.race.badge(name))
        rows.append(
            cells(
                choice.suite,
                f"{choice.dtype}",
                choice.device,
                chosen,
                choice.reason or choice.nearest,
                _runner_up(choice),
                _rejected(choice.rejected),
            )
        )
    return Table(
        "Recommended implementation per suite, dtype and device",
        ("suite", "dtype", "device", "recommended", "because", "runner-up", "excluded or unproven"),
        rows,
        note=legend(
            rows,
            "Rankable is what answered accuracy, protocol and overflow without an error on any regime, shape "
            "and rung of the timed variant; known errors exclude too, errors in other variants are named. "
            "Clean controls and implementations that are known to be bad are never recommended. A time is "
            "forward + backward at the largest shape that at least half of the implementations timed.",
        ),
    )


def _runner_up(choice: Choice) -> Cell | str:
    if choice.runner_up is None:
        return ""
    name = choice.runner_up.group.implementation
    return Cell(name, "", choice.runner_up_words, badge=choice.race.badge(name))


def _rejected(standings: Sequence[Standing], most: int = 4) -> Cell:
    words = [
        f"{standing.group.implementation}: {_shortened(standing.cause)}"
        for standing in sorted(standings, key=lambda s: s.rank)
    ]
    more = f"\nand {len(words) - most} more" if len(words) > most else ""
    return Cell("", "", "\n".join(words[:most]) + more)


def _shortened(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
