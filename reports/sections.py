"""The tables of a report: which one, where it breaks, speed, memory, compilation.

Each function turns records into a Table, or None when nothing of the kind was measured. The trap: a
time is comparable within its own case only, so the speed table shows one case per dtype and says
which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harness import units
from harness.results import LADDER_PREFIXES
from reports.declared import Declared
from reports.ranking import Standing, worst_number
from reports.records import Record, ladder_names
from reports.speed import Choice, against_baseline, dtype_order, shape_words
from reports.table import Cell, Table, cells, rights


def which_one(choices: Sequence[Choice]) -> Table:
    """Returns the recommendations, one row per suite, device and dtype."""
    rows = []
    for choice in choices:
        best = choice.recommended
        chosen = Cell("none", "e")
        if best:
            chosen = Cell(best.group.implementation, "best", choice.race.words(best.group.implementation))
        second = choice.runner_up
        rows.append(
            cells(
                choice.suite,
                f"{choice.dtype}",
                choice.device,
                chosen,
                choice.reason or choice.nearest,
                Cell(second.group.implementation, "", choice.runner_up_words) if second else "",
                _rejected(choice.rejected),
            )
        )
    return Table(
        "Recommended implementation per suite, dtype and device",
        ("suite", "dtype", "device", "recommended", "because", "runner-up", "excluded or unproven"),
        rows,
        note="Rankable is what answered accuracy and overflow without an error on any regime, shape and rung "
        "of the timed variant; known errors exclude too, errors in other variants are named. Clean controls "
        "and implementations that are known to be bad are never recommended. A time is forward + backward at "
        "the largest shape that at least half of the implementations timed.",
    )


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


def speed(choices: Sequence[Choice], suite: str) -> Table | None:
    """Returns the timed implementations of a suite at the shape where they are compared."""
    rows = []
    for choice in choices:
        if choice.suite != suite or choice.race.case is None:
            continue
        standings = {standing.group.implementation: standing for standing in choice.standings}
        where = Cell(choice.dtype, "", f"{choice.device}, {shape_words(choice.race.case)}")
        for name in sorted(choice.race.records, key=lambda n: choice.race.seconds(n) or math.inf):
            numbers = choice.race.records[name].numbers
            differs = against_baseline(choice.race, name)
            rows.append(
                cells(
                    where,
                    _named(standings[name]),
                    choice.race.words(name),
                    _span(numbers, "forward_seconds"),
                    _span(numbers, "backward_seconds"),
                    Cell(
                        _number(numbers, "ratio", units.multiple), "", "≈" if "not shown" in differs else ""
                    ),
                    _number(numbers, "elements_per_second", partial(units.rate, unit="")),
                    _number(numbers, "copy_bandwidth_share", units.percentage),
                    " / ".join(_number(numbers, key, units.count) for key in ("samples", "processes")),
                )
            )
            where = Cell("")
    if not rows:
        return None
    return Table(
        f"{suite}: time at the compared shape (rows × classes), fastest first",
        (
            "dtype", "implementation", "forward + backward", "forward", "backward", "over baseline",
            "elements/s", "of copy bandwidth", "samples / processes",
        ),
        rows,
        rights(2, 3, 4, 5, 6, 7, 8),
        "Medians; ± is the wider half of the 95 % interval; ≈ not shown to differ from the baseline. Over "
        "baseline: the ratio of times from the same rounds, below 1 is faster. Wrong answers are timed too, "
        "and marked.",
    )  # fmt: skip


def _named(standing: Standing) -> Cell:
    marks = {"excluded": "e", "unproven": "p", "rankable": ""}
    small = (
        "clean control" if standing.maker.control else "known to be bad" if standing.maker.known_bad else ""
    )
    if not small and standing.rank != "rankable":
        small = standing.rank
    return Cell(standing.group.implementation, marks[standing.rank], small)


def _span(numbers: Mapping[str, float], name: str) -> str:
    value = numbers.get(name)
    if value is None:
        return ""
    return units.interval(value, numbers.get(f"{name}_low"), numbers.get(f"{name}_high"))


def _number(numbers: Mapping[str, float], name: str, words: Callable[[float], str]) -> str:
    value = numbers.get(name)
    return "" if value is None else words(value)


def memory(rows: Sequence[Record], suite: str) -> Table | None:
    """Returns the peak memory of a suite at its largest measured shape per dtype and device."""
    measured: dict[tuple[str, str], dict[tuple[int, int, int], dict[str, Record]]] = {}
    for row in rows:
        if "peak_bytes" in row.numbers and row.trial.case.suite == suite:
            case = row.trial.case
            size = (case.batch * case.classes, case.batch, case.classes)
            place = measured.setdefault((case.device, case.dtype), {}).setdefault(size, {})
            old = place.get(row.trial.implementation)
            peak = row.numbers["peak_bytes"]
            if old is None or worst_number((peak, old.numbers["peak_bytes"])) == peak:
                place[row.trial.implementation] = row
    table = []
    for (device, dtype), sizes in sorted(
        measured.items(), key=lambda item: (item[0][0], dtype_order(item[0][1]))
    ):
        everyone = {name for found in sizes.values() for name in found}
        eligible = [size for size, found in sizes.items() if 2 * len(found) >= len(everyone)]
        found = sizes[max(eligible or sizes)]
        ordered = sorted(found.items(), key=lambda item: (item[1].numbers["peak_bytes"], item[0]))
        where = Cell(dtype, "", f"{device}, {shape_words(ordered[0][1].trial.case)}")
        for name, row in ordered:
            numbers = row.numbers
            table.append(
                cells(
                    where,
                    name,
                    _number(numbers, "peak_bytes", units.byte_count),
                    _number(numbers, "peak_multiple", units.multiple),
                    _number(numbers, "forward_peak_multiple", units.multiple),
                    _number(numbers, "backward_peak_multiple", units.multiple),
                    _number(numbers, "live_between_multiple", units.multiple),
                    _number(numbers, "input_bytes", units.byte_count),
                )
            )
            where = Cell("")
    if not table:
        return None
    return Table(
        f"{suite}: peak memory at the largest measured shape (rows × classes), smallest first",
        (
            "dtype", "implementation", "peak", "peak, × logits", "in forward",
            "in backward", "live between", "inputs",
        ),
        table,
        rights(2, 3, 4, 5, 6, 7),
        "Inputs are excluded from every peak; multiples are of the bytes of the logits.",
    )  # fmt: skip


def compilation(rows: Sequence[Record]) -> Table | None:
    """Returns what compiling cost, the worst over cases; None when nothing was compiled."""
    names = ("graphs", "graph_breaks", "recompiles", "warm_compile_seconds", "cold_compile_seconds")
    found: dict[tuple[str, str, str, str], list[Record]] = {}
    for row in rows:
        if any(name in row.numbers for name in names):
            case = row.trial.case
            found.setdefault((case.suite, row.trial.implementation, case.dtype, case.device), []).append(row)
    if not found:
        return None
    table = []
    for place, members in found.items():
        worst = {name: worst_number(row.numbers.get(name) for row in members) for name in names}
        counts = [
            Cell("" if (value := worst[name]) is None else units.count(value), "w" if value and bad else "")
            for name, bad in (("graphs", False), ("graph_breaks", True), ("recompiles", True))
        ]
        times = ["" if (value := worst[name]) is None else units.seconds(value) for name in names[3:]]
        table.append(cells(*place, units.count(len(members)), *counts, *times))
    return Table(
        "What compiling cost, the worst over the measured cases",
        (
            "suite", "implementation", "dtype", "device", "cases", "graphs", "graph breaks", "recompiles",
            "warm compile", "cold compile",
        ),
        table,
        rights(4, 5, 6, 7, 8, 9),
        "Warm: first call with the compiler's cache filled; cold: in a fresh cache directory, measured for "
        "a few.",
    )  # fmt: skip
