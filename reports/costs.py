"""The tables of what an implementation costs: speed, memory, compilation.

Each returns a Table, or None when nothing of the kind was measured. The trap: a time is comparable
within its own case only, so the speed table shows one case per dtype and says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harness import units
from reports.ranking import Standing, worst_number
from reports.records import Record
from reports.speed import FUSED, Choice, against_baseline, dtype_order, shape_words
from reports.table import Cell, Table, cells, rights


def legend(rows: Sequence[Sequence[Cell]], note: str) -> str:
    """Returns a note, with what "fused" means where a row says so."""
    return f"{note} {FUSED}" if any(cell.badge for row in rows for cell in row) else note


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
                    _named(standings[name], choice.race.badge(name)),
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
        legend(
            rows,
            "Medians; ± is the wider half of the 95 % interval; ≈ not shown to differ from the baseline. "
            "Over baseline: the ratio of times from the same rounds, below 1 is faster. Wrong answers are "
            "timed too, and marked.",
        ),
    )  # fmt: skip


def _named(standing: Standing, badge: str) -> Cell:
    marks = {"excluded": "e", "unproven": "p", "rankable": ""}
    small = (
        "clean control" if standing.maker.control else "known to be bad" if standing.maker.known_bad else ""
    )
    if not small and standing.rank != "rankable":
        small = standing.rank
    return Cell(standing.group.implementation, marks[standing.rank], small, badge=badge)


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
        "Inputs are excluded from every peak; multiples are of the bytes of the logits, of the first "
        "input where a loss has none.",
    )  # fmt: skip


def compilation(rows: Sequence[Record]) -> Table | None:
    """Returns what compiling one suite cost, the worst over cases; None when nothing was compiled."""
    names = ("graphs", "graph_breaks", "recompiles", "warm_compile_seconds", "cold_compile_seconds")
    found: dict[tuple[str, str, str], list[Record]] = {}
    for row in rows:
        if any(name in row.numbers for name in names):
            case = row.trial.case
            found.setdefault((row.trial.implementation, case.dtype, case.device), []).append(row)
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
            "implementation", "dtype", "device", "cases", "graphs", "graph breaks", "recompiles",
            "warm compile", "cold compile",
        ),
        table,
        rights(3, 4, 5, 6, 7, 8),
        "Warm: first call with the compiler's cache filled; cold: in a fresh cache directory, measured for "
        "a few.",
    )  # fmt: skip


def compilation_words(rows: Sequence[Record]) -> str:
    """Returns who was compiled and what went wrong with it, in a line."""
    bad = {
        word: dict.fromkeys(row.trial.implementation for row in rows if row.numbers.get(name))
        for name, word in (("graph_breaks", "graph breaks"), ("recompiles", "recompiles"))
    }
    parts = [f"{word} in {', '.join(names)}" for word, names in bad.items() if names]
    return "; ".join(parts) or "no graph break, no recompilation"
