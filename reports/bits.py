"""Same bits? Asked the same in ways that should not matter: which of them moved an answer, and how far.

The columns of the determinism probe per implementation, reduction and dtype, the worst over its
cases; what behaves alike shares a row. The trap: 0 ulp is a measurement and says "same bits", a
question that was not put says "not asked", and neither may look like the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import units
from reports.declared import Declared
from reports.folding import dtypes_in_words, folded, names_in_words
from reports.ranking import worst_number
from reports.records import Record
from reports.speed import dtype_order
from reports.table import Cell, Table, cells

PROBE = "determinism"
# Column, its head, and the group under which the probe files a finding about it.
_COLUMNS = (
    ("repeat_ulps", "asked again", "repeat"),
    ("permutation_ulps", "row order", "rows"),
    ("slicing_ulps", "batch slice", "rows"),
    ("layout_ulps", "layout", ""),
    ("threads_ulps", "threads", ""),
)
_MARKS = {"error": "e", "warning": "w"}
_Place = tuple[str, str, str]


def same_bits(rows: Sequence[Record], declared: Declared) -> Table | None:
    """Returns the table, those whose answers move first; None when the probe has no answer."""
    found: dict[_Place, dict[str, dict[str, list[Record]]]] = {}
    dtypes: dict[_Place, dict[str, None]] = {}
    for row in rows:
        if not row.ran(PROBE):
            continue
        case = row.trial.case
        family = declared.families.get(case.suite)
        place = (case.suite, case.device, family.reduction(case.variant) if family else case.variant)
        dtypes.setdefault(place, {})[case.dtype] = None
        by_dtype = found.setdefault(place, {}).setdefault(row.trial.implementation, {})
        by_dtype.setdefault(case.dtype, []).append(row)
    if not found:
        return None
    table = []
    for place, makers in found.items():
        lines = []
        for name, by_dtype in makers.items():
            ordered = sorted(by_dtype, key=dtype_order)
            for alike, content in folded((dtype, _answers(by_dtype[dtype])) for dtype in ordered):
                lines.append((name, (dtypes_in_words(alike, dtypes[place]), content)))
        where = Cell(place[2], "", place[1])
        for names, (words, content) in sorted(folded(lines), key=_moved):
            table.append(cells(names_in_words(names), where, words, *content))
            where = Cell(place[2])
    heads = ("implementation", "reduction", "dtype", *(head for _, head, _ in _COLUMNS))
    return Table(
        "Largest difference of loss and gradients in ulp, where the same is asked in another way",
        heads,
        table,
        note="Only other bits on the very same call, and a row of an unreduced loss that depends on its "
        "neighbours beyond the strict bound, are findings; a sum in another order is a property. Threads: "
        "one against several, on rows enough for torch to split the work; row order: a reduced loss is "
        "summed in another order. Not asked: by rule of the probe (compiled forms, reduced losses) or a "
        "shape that the implementation leaves out.",
    )


def words(rows: Sequence[Record]) -> str:
    """Returns whose answers moved, in a line, "" when the probe has no answer."""
    asked = [row for row in rows if row.ran(PROBE)]
    names = dict.fromkeys(row.trial.implementation for row in asked)
    moved = {
        row.trial.implementation
        for row in asked
        for column, _, _ in _COLUMNS
        if row.numbers.get(column, 0.0) != 0
    }
    if not names:
        return ""
    of = units.counted(len(names), "implementation")
    if not moved:
        return f"the same bits from all of {of}, however asked"
    return f"{len(moved)} of {of} answer with other bits somewhere"


def _answers(rows: Sequence[Record]) -> tuple[Cell, ...]:
    return tuple(_cell(rows, column, group) for column, _, group in _COLUMNS)


def _cell(rows: Sequence[Record], column: str, group: str) -> Cell:
    value = worst_number(row.numbers.get(column) for row in rows)
    if value is None:
        return Cell("not asked", "n")
    if value == 0:
        return Cell("same bits", "same")
    filed = [
        finding
        for row in rows
        for finding in row.findings
        if finding.probe == PROBE and group and finding.group == group
    ]
    css = next(("k" if finding.known else _MARKS.get(finding.severity, "") for finding in filed), "")
    return Cell(units.ulps(value) if math.isfinite(value) else "NaN or inf", css)


def _moved(line: tuple[list[str], tuple[str, tuple[Cell, ...]]]) -> tuple[int, int]:
    """Orders lines: findings, then how many answers moved."""
    content = line[1][1]
    bad = sum(cell.css in ("e", "w", "k") for cell in content)
    return -bad, -sum(cell.css not in ("same", "n") for cell in content)
