"""Where does it break? The first wrong value of each ladder, and exact counts over 16-bit dtypes.

A ladder's number is the first failing value met on the way up, bisected; an exhaustive count is over every
finite value of a 16-bit dtype and is therefore exact. Where a loss has several gradients each has a row of
its own, in place of one for all. Implementations that break alike share a row. The trap: a ladder that was
climbed to its top without a failure has no number, and "not run" has none either, so both are words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import units
from harness.columns import parted
from harness.results import EXHAUSTIVE_PREFIX, LADDER_PREFIXES
from reports.declared import Declared
from reports.folding import folded, names_in_words
from reports.ranking import cell_word
from reports.records import Record, exhaustive_names, ladder_names
from reports.speed import dtype_order
from reports.table import Cell, Table, cells, rights

# In the order of a reader's questions: what is wrong first, then how, then what is lost.
_HAPPENS = {
    "loss_fails_": "loss wrong",
    "gradient_fails_": "gradient{of} wrong",
    "first_failing_": "stops being right",
    "first_nonfinite_": "NaN or inf",
    "first_dead_": "gradient{of} is 0",
}
_SPLIT = ("loss_fails_", "gradient_fails_")
_WHOLE = "first_failing_"
_INPUTS = "inputs"
# Suite, device, ladder, what happens by its prefix, and the input whose gradient it happens to.
_Key = tuple[str, str, str, str, str]


def breaks(rows: Sequence[Record], declared: Declared) -> Table | None:
    """Returns the first failing and dead values of every climbed ladder; None when none failed."""
    found: dict[_Key, dict[str, dict[str, float]]] = {}
    climbed: set[tuple[str, str, str, str]] = set()
    climbs = [
        (name, prefix, *parted(name.removeprefix(prefix)))
        for name in ladder_names(rows)
        for prefix in LADDER_PREFIXES
        if name.startswith(prefix)
    ]
    for row in rows:
        if not row.ran("overflow"):
            continue
        case, name = row.trial.case, row.trial.implementation
        climbed.add((case.suite, case.device, name, case.dtype))
        # Which of its columns are told of one gradient each.
        parts = {parted(column)[0] for column in row.numbers if parted(column)[1]}
        for column, prefix, ladder, tensor in climbs:
            if column in row.numbers and column not in parts and not _said_elsewhere(row, prefix, ladder):
                key = (case.suite, case.device, ladder, prefix, tensor)
                place = found.setdefault(key, {}).setdefault(name, {})
                place[case.dtype] = _first(place.get(case.dtype), row.numbers[column])
    if not found:
        return None
    columns = sorted({dtype for *_, dtype in climbed}, key=dtype_order)
    table = []
    above: tuple[str, ...] = ()
    prefixes = list(_HAPPENS)
    for (suite, device, ladder, prefix, tensor), makers in sorted(
        found.items(), key=lambda item: (item[0][:3], prefixes.index(item[0][3]), item[0][4])
    ):
        family = declared.families.get(suite)
        meaning = family.ladders.get(ladder, "") if family else ""
        head = Cell(ladder, "", f"{meaning}\n{device}".strip())
        if (suite, device, ladder) == above:
            head = Cell("")
        above = (suite, device, ladder)
        what = Cell(_HAPPENS[prefix].format(of=f" of {tensor}" if tensor else ""))
        ordered = sorted(makers, key=lambda name, suite=suite: declared.maker(suite, name).place)  # type: ignore[misc]
        lines = [
            (
                name,
                tuple(_break_cell(makers[name].get(d), (suite, device, name, d) in climbed) for d in columns),
            )
            for name in ordered
        ]
        for names, numbers in folded(lines):
            table.append(cells(head, what, names_in_words(names), *numbers))
            head = what = Cell("")
    return Table(
        "First value of each ladder at which something goes wrong",
        ("ladder", "what happens there", "implementation", *columns),
        table,
        rights(*range(3, 3 + len(columns))),
        "The first found on the way up, bisected between two rungs; rungs below were right, values between "
        "them were not all tried. “none” means that the ladder was climbed to its top without it; "
        "implementations that pass every ladder have no row. A first failure excludes from recommendation; a "
        "dead gradient is a warning.",
    )


def words(rows: Sequence[Record]) -> str:
    """Returns who fails on a ladder, in a line, "" when none was climbed."""
    climbed = [row for row in rows if row.ran("overflow")]
    failing = (*_SPLIT, _WHOLE)
    fails = dict.fromkeys(
        row.trial.implementation
        for row in climbed
        if not row.maker.known_bad
        for name, value in row.numbers.items()
        if name.startswith(failing) and not math.isinf(value)
    )
    names = {row.trial.implementation for row in climbed if not row.maker.known_bad}
    if not names:
        return ""
    of = units.counted(len(names), "implementation")
    return f"{len(fails)} of {of} fail on a ladder" if fails else f"no failure of {of} on a ladder"


def _said_elsewhere(row: Record, prefix: str, ladder: str) -> bool:
    """Tells whether the failing loss or the failing gradient is the very same rung."""
    split = [row.numbers[p + ladder] for p in _SPLIT if p + ladder in row.numbers]
    return prefix == _WHOLE and bool(split) and min(split) == row.numbers[prefix + ladder]


def _first(old: float | None, new: float) -> float:
    return new if old is None or math.isnan(old) or new < old else old


def _break_cell(value: float | None, climbed: bool) -> Cell:
    if value is not None and not math.isinf(value):
        return Cell(units.threshold(value))
    return Cell("none", "fine") if climbed else Cell("not run", "n")


def exhaustive(rows: Sequence[Record], declared: Declared) -> Table | None:
    """Returns the exact counts over all values of 16-bit dtypes; None when nobody was asked for them."""
    columns = exhaustive_names(rows)
    names = [
        c.removeprefix(EXHAUSTIVE_PREFIX).removesuffix(f"_{_INPUTS}") for c in columns if c.endswith(_INPUTS)
    ]
    found: dict[tuple[str, str, str, str, float], list[tuple[str, Record]]] = {}
    for row in rows:
        case = row.trial.case
        for name in names:
            inputs = row.numbers.get(f"{EXHAUSTIVE_PREFIX}{name}_{_INPUTS}")
            if inputs is not None:
                place = (case.suite, case.device, name, case.dtype, inputs)
                found.setdefault(place, []).append((row.trial.implementation, row))
    if not found:
        return None
    kinds = [
        kind
        for kind in dict.fromkeys(
            column.removeprefix(f"{EXHAUSTIVE_PREFIX}{name}_")
            for name in names
            for column in columns
            if column.startswith(f"{EXHAUSTIVE_PREFIX}{name}_")
        )
        if kind != _INPUTS
    ]
    table = []
    for (suite, device, name, dtype, inputs), members in sorted(
        found.items(), key=lambda item: (item[0][:3], dtype_order(item[0][3]))
    ):
        family = declared.families.get(suite)
        meaning = (family.exhaustive.get(name) or family.ladders.get(name, "")) if family else ""
        head = Cell(f"{name}, {dtype}", "", f"{meaning}\n{device}".strip())
        lines = [
            (
                maker,
                tuple(_count_cell(row.numbers.get(f"{EXHAUSTIVE_PREFIX}{name}_{kind}")) for kind in kinds),
            )
            for maker, row in sorted(members, key=lambda item: item[1].maker.place)
        ]
        total = Cell(units.count(inputs))
        for makers, counts in folded(lines):
            table.append(cells(head, total, names_in_words(makers), *counts))
            head = total = Cell("")
    return Table(
        "Every finite value of a 16-bit dtype: exact counts, not the largest found",
        ("scalar", "all values", "implementation", *map(cell_word, kinds)),
        table,
        rights(1, *range(3, 3 + len(kinds))),
        "Exact: no value is left out. Counted are losses and gradient entries, so a value whose loss and "
        "several entries are wrong counts once for each; 0 is a count too. Everywhere else on this page an "
        "error is the largest found, a lower bound of the largest there is.",
    )


def _count_cell(value: float | None) -> Cell:
    return Cell(units.count(value)) if value else Cell("0", "fine")
