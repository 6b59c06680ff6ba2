"""Do identities hold? Two ways to say the same number, put to every implementation of a suite.

One row per suite: which identities were asked, how near anybody came to what is allowed, which are
broken; every broken one has a row below. The trap: an identity that an implementation cannot be asked
(an option that it lacks) holds for nobody, so what was not taken is counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness import units
from harness.results import Finding
from reports.declared import Declared
from reports.folding import dtypes_in_words, folded, names_in_words
from reports.records import Record
from reports.table import Cell, Table, cells, rights

PROBE = "identity"
_UNSUPPORTED = "unsupported: "
_MARKS = {"error": "e", "warning": "w", "note": "n"}


class _Broken(NamedTuple):
    """One broken identity of one suite: who broke it in which dtype, and the first finding of it."""

    row: Record
    finding: Finding
    places: dict[str, dict[str, None]]


def identities(suites: Mapping[str, Sequence[Record]], declared: Declared) -> Table | None:
    """Returns what was asked and how it went, a row per suite; None when no suite was asked."""
    table = []
    for suite, rows in suites.items():
        asked = [row for row in rows if row.ran(PROBE)]
        if not asked:
            continue
        names = _names(suite, asked, declared)
        fallen = list(_broken(asked))
        count = max(int(row.numbers.get("identities", 0.0)) for row in asked)
        table.append(
            cells(
                suite,
                Cell(units.count(max(count, len(names))), "", ", ".join(names)),
                units.count(len({row.trial.implementation for row in asked})),
                _nearest(asked),
                Cell(names_in_words([name.replace("_", " ") for name in fallen]), _mark(asked))
                if fallen
                else Cell("none", "fine"),
                _untaken(asked),
            )
        )
    if not table:
        return None
    return Table(
        "Identities: the same number computed in two ways must agree within what both are allowed",
        ("suite", "identities", "implementations", "nearest to the bound", "broken", "could not be asked"),
        table,
        rights(2),
        "The other side is the same implementation called differently, or the truth of another family, "
        "never another implementation, since two that share a mistake would agree. 1 is the bound.",
    )


def broken(suites: Mapping[str, Sequence[Record]], declared: Declared) -> Table | None:
    """Returns every broken identity, with who broke it; None when all hold."""
    table = []
    for suite, rows in suites.items():
        family = declared.families.get(suite)
        everything = {row.trial.case.dtype for row in rows if row.ran(PROBE)}
        where = suite
        for name, item in _broken(rows).items():
            equation = family.identities.get(name, "") if family else ""
            who = [
                f"{names_in_words(names)} ({words})"
                for names, words in folded(
                    (maker, dtypes_in_words(dtypes, everything)) for maker, dtypes in item.places.items()
                )
            ]
            known = f"known: {item.finding.known}" if item.finding.known else ""
            css = "k" if known or item.row.maker.known_bad else _MARKS[item.finding.severity]
            table.append(
                cells(
                    Cell(where),
                    Cell(name.replace("_", " "), css, equation),
                    "\n".join(who),
                    Cell(item.finding.message, "", known),
                )
            )
            where = ""
    if not table:
        return None
    heads = ("suite", "broken identity", "by whom", "what was seen first")
    return Table("Broken identities", heads, table)


def _broken(rows: Sequence[Record]) -> dict[str, _Broken]:
    """Returns the broken identities by name, open ones before known ones."""
    found: dict[str, _Broken] = {}
    for row in rows:
        for finding in row.findings:
            if finding.probe != PROBE or finding.severity == "note":
                continue
            item = found.get(finding.group)
            if item is None or (item.finding.known and not finding.known):
                item = _Broken(row, finding, item.places if item else {})
                found[finding.group] = item
            item.places.setdefault(row.trial.implementation, {})[row.trial.case.dtype] = None
    return dict(sorted(found.items(), key=lambda pair: bool(pair[1].finding.known)))


def _names(suite: str, rows: Sequence[Record], declared: Declared) -> list[str]:
    """Returns the names of the identities: the declared ones, in older runs those that left a trace."""
    family = declared.families.get(suite)
    names = dict.fromkeys(family.identities if family else ())
    names |= dict.fromkeys(_broken(rows))
    for row in rows:
        notes = row.notes.get(PROBE, {})
        names |= dict.fromkeys(k.removeprefix(_UNSUPPORTED) for k in notes if k.startswith(_UNSUPPORTED))
    return [name.replace("_", " ") for name in names]


def _nearest(rows: Sequence[Record]) -> Cell:
    """Returns the largest difference over what is allowed, of those that hold, and whose it is."""
    shares = [
        (row.numbers["identity_share"], row)
        for row in rows
        if "identity_share" in row.numbers and row.numbers["identity_share"] <= 1
    ]
    if not shares:
        return Cell("")
    share, row = max(shares, key=lambda pair: pair[0])
    words = units.number(share, 2) if math.isfinite(share) else units.word(share)
    return Cell(words, "", f"{row.trial.implementation}, {row.trial.case.dtype}")


def _mark(rows: Sequence[Record]) -> str:
    severities = [
        "k" if finding.known or row.maker.known_bad else _MARKS[finding.severity]
        for row in rows
        for finding in row.findings
        if finding.probe == PROBE and finding.severity != "note"
    ]
    return min(severities, key="ewk".index, default="fine")


def _untaken(rows: Sequence[Record]) -> Cell:
    """Returns how many implementations could not be asked something, and why, the first reasons."""
    found: dict[str, str] = {}
    for row in rows:
        for key, reason in row.notes.get(PROBE, {}).items():
            if key.startswith(_UNSUPPORTED):
                found.setdefault(row.trial.implementation, reason)
    if not found:
        return Cell("none", "fine")
    alike = folded((name, reason) for name, reason in found.items())
    lines = [f"{names_in_words(names, 4)}: {reason}" for names, reason in alike]
    seen = len(lines) if len(lines) <= 3 else 2
    return Cell(
        units.counted(len(found), "implementation"), "", "\n".join(lines[:seen]), more=tuple(lines[seen:])
    )
