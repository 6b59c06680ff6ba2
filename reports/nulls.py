"""Which checks were vacuous: where an answer that knows nothing would have passed as well.

The probes that judge by bounds put null answers (zeros, a constant, a flipped sign) to them and note
the accepted ones under "vacuous", and under "vacuous_declared" those that are declared to be right
there, with the reason. Notes are statements joined by "; ", those of accuracy about the case as it is, those
of the others with the question before. The trap: every implementation of a case notes the same, so cases are
counted, not trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from harness import units
from reports.records import Record
from reports.table import Cell, Table, cells, rights

_PROBES = ("accuracy", "protocol", "overflow", "identity")
_OPEN, _DECLARED = "vacuous", "vacuous_declared"


@dataclass
class _Statement:
    """One statement of one suite: the cases that noted it, and the axes it was noted at."""

    cases: set[str] = field(default_factory=set)
    variants: dict[str, None] = field(default_factory=dict)
    regimes: dict[str, None] = field(default_factory=dict)
    dtypes: dict[str, None] = field(default_factory=dict)


def _asked(rows: Sequence[Record]) -> list[Record]:
    return [row for row in rows if any(row.ran(probe) for probe in _PROBES)]


def _statements(rows: Sequence[Record], key: str) -> dict[tuple[str, str], _Statement]:
    found: dict[tuple[str, str], _Statement] = {}
    for row in _asked(rows):
        case = row.trial.case
        for text in (text for probe in _PROBES for text in _split(row.note(probe, key))):
            item = found.setdefault((case.suite, text), _Statement())
            item.cases.add(case.id)
            for names, name in (
                (item.variants, case.variant),
                (item.regimes, case.regime),
                (item.dtypes, case.dtype),
            ):
                names[name] = None
    return found


@cache
def _split(note: str) -> tuple[str, ...]:
    """Returns the statements of a note; a semicolon inside parentheses belongs to a reason."""
    parts, depth = [""], 0
    for sign in note:
        depth += (sign == "(") - (sign == ")")
        if sign == ";" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return tuple(part.strip() for part in parts if part.strip())


def sentences(rows: Sequence[Record]) -> list[str]:
    """Returns the sentence that no check was vacuous, nothing where one was or none was asked."""
    asked = _asked(rows)
    if not asked or _statements(rows, _OPEN):
        return []
    cases = units.counted(len({row.trial.case.id for row in asked}), "case")
    declared = _statements(rows, _DECLARED)
    but = "but those that are declared right there" if declared else "put to it"
    probes = ", ".join(probe for probe in _PROBES if any(row.ran(probe) for row in asked))
    return [f"Every check of {probes} rejected every null answer {but}, in {cases}."]


def tables(rows: Sequence[Record]) -> list[Table]:
    """Returns the table of the checks that were vacuous, undeclared ones first; nothing without any."""
    listed = []
    for key, word, css in ((_OPEN, "no", "w"), (_DECLARED, "yes", "k")):
        found = _statements(rows, key)
        for (suite, text), item in sorted(found.items(), key=lambda pair: (pair[0][0], -len(pair[1].cases))):
            axes = (item.variants, item.regimes, item.dtypes)
            where = "\n".join(_few(tuple(names)) for names in axes)
            listed.append(
                cells(suite, Cell(text, css), word, units.count(len(item.cases)), Cell("", "", where))
            )
    if not listed:
        return []
    return [
        Table(
            "Checks that were vacuous",
            (
                "suite",
                "what an answer that knows nothing passed",
                "declared",
                "cases",
                "variants, regimes, dtypes",
            ),
            listed,
            rights(3),
            "A vacuous check proves nothing in these cases; a declared one is right there, for its reason.",
        )
    ]


def _few(names: Sequence[str], most: int = 6) -> str:
    """Returns at most so many names in a line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
