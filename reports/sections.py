"""The tables of decisions: which one, and where does it break.

Each function turns records into a Table, or None when nothing of the kind was measured. The trap: a
ladder that was climbed to its top without a failure has no number, and "not run" has none either, so
both are words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import units
from harness.results import LADDER_PREFIXES
from reports.costs import legend
from reports.declared import Declared
from reports.ranking import Standing
from reports.records import Record, ladder_names
from reports.speed import Choice, dtype_order
from reports.table import Cell, Table, cells, rights


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
            "Rankable is what answered accuracy and overflow without an error on any regime, shape and rung "
            "of the timed variant; known errors exclude too, errors in other variants are named. Clean "
            "controls and implementations that are known to be bad are never recommended. A time is forward "
            "+ backward at the largest shape that at least half of the implementations timed.",
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


_HAPPENS = {
    "first_failing_": "stops being right",
    "first_nonfinite_": "NaN or inf",
    "loss_fails_": "loss wrong",
    "gradient_fails_": "gradient wrong",
    "first_dead_": "gradient is 0",
}


def breaks(rows: Sequence[Record], declared: Declared) -> Table | None:
    """Returns the first failing and dead values of every climbed ladder; None when none was climbed."""
    found: dict[tuple[str, str, str, str, str], dict[str, float | None]] = {}
    climbed: set[tuple[str, str, str, str]] = set()
    dtypes: set[str] = set()
    climbs = [
        (name, prefix, name.removeprefix(prefix))
        for name in ladder_names(rows)
        for prefix in LADDER_PREFIXES
        if name.startswith(prefix)
    ]
    for row in rows:
        if not row.ran("overflow"):
            continue
        case, name = row.trial.case, row.trial.implementation
        climbed.add((case.suite, case.device, name, case.dtype))
        dtypes.add(case.dtype)
        for key, prefix, ladder in climbs:
            if key in row.numbers:
                place = found.setdefault((case.suite, case.device, ladder, prefix, name), {})
                place[case.dtype] = _first(place.get(case.dtype), row.numbers[key])
    if not found:
        return None
    columns = sorted(dtypes, key=dtype_order)
    table = []
    above: tuple[str, ...] = ()
    for (suite, device, ladder, prefix, name), values in sorted(
        found.items(), key=lambda item: (item[0][:4], declared.maker(item[0][0], item[0][4]).place)
    ):
        family = declared.families.get(suite)
        meaning = family.ladders.get(ladder, "") if family else ""
        head = Cell(ladder, "", f"{meaning}\n{suite}, {device}".strip())
        what = Cell(_HAPPENS.get(prefix, prefix.replace("_", " ").strip()))
        here = (suite, device, ladder, prefix)
        numbers = [_break_cell(values.get(d), (suite, device, name, d) in climbed) for d in columns]
        if here[:3] == above[:3]:
            head = Cell("")
        if here == above:
            what = Cell("")
        table.append(cells(head, what, name, *numbers))
        above = here
    return Table(
        "First value of each ladder at which something goes wrong",
        ("ladder", "what happens there", "implementation", *columns),
        table,
        rights(*range(3, 3 + len(columns))),
        "“none” means that the ladder was climbed to its top without it; implementations that pass every "
        "ladder have no row. A first failure excludes from recommendation; a dead gradient is a warning.",
    )


def _first(old: float | None, new: float) -> float:
    return new if old is None or math.isnan(old) or new < old else old


def _break_cell(value: float | None, climbed: bool) -> Cell:
    if value is not None and not math.isinf(value):
        return Cell(units.threshold(value))
    return Cell("none", "ok") if climbed else Cell("not run", "n")
