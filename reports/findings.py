"""Every distinct finding once, with how often it occurred and the first witness.

Distinct is implementation x kind x group x dtype; open ones come before known ones, errors before
warnings before notes. The trap: a finding that is listed as known is still shown, with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from harness import units
from harness.outcome import KINDS
from harness.results import SEVERITIES, Finding
from reports.ranking import cell_word
from reports.records import Record
from reports.speed import dtype_order
from reports.table import Cell, Table, cells

_MARKS = {"error": "e", "warning": "w", "note": "n"}


@dataclass
class Distinct:
    """One distinct finding: where it first occurred, in how many trials, in which regimes."""

    record: Record
    finding: Finding
    cases: int = 0
    regimes: dict[str, None] = field(default_factory=dict)

    @property
    def upstream(self) -> str:
        """The upstream issue that its Known entry names, "" when there is none."""
        for entry in self.record.maker.known:
            upstream = str(entry.get("upstream") or "")
            if self.finding.known == entry.get("reason") and upstream not in self.finding.known:
                return upstream
        return ""

    @property
    def sentence(self) -> str:
        """What the kind means, then what was seen."""
        kind = KINDS.get(self.finding.kind)
        said = kind is None or kind.sentence in self.finding.message
        meaning = "" if kind is None or said else f"{kind.sentence}: "
        return f"{meaning}{self.finding.message}"


def distinct(rows: Sequence[Record]) -> list[Distinct]:
    """Returns the distinct findings, worst first."""
    found: dict[tuple[object, ...], Distinct] = {}
    for row in rows:
        seen = set()
        for finding in row.findings:
            case = row.trial.case
            key = (
                case.suite, row.trial.implementation, finding.kind, finding.group, case.dtype,
                finding.severity, bool(finding.known),
            )  # fmt: skip
            item = found.setdefault(key, Distinct(row, finding))
            item.regimes[case.regime] = None
            item.cases += key not in seen
            seen.add(key)
    return sorted(
        found.values(),
        key=lambda item: (
            bool(item.record.maker.known_bad),
            bool(item.finding.known),
            -SEVERITIES.index(item.finding.severity),
            -item.cases,
            item.record.trial.case.suite,
            item.record.maker.place,
            dtype_order(item.record.trial.case.dtype),
        ),
    )


def findings_table(found: Sequence[Distinct], most: int, *, short: bool = False) -> Table | None:
    """Returns at most so many findings as a table, worst first; None when there are none."""
    if not found:
        return None
    rows = []
    for item in found[:most]:
        case, finding = item.record.trial.case, item.finding
        known = "known to be bad" if item.record.maker.known_bad else f"known: {finding.known}"
        upstream = f" ({item.upstream})" if item.upstream else ""
        listed = list(item.regimes)
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        regimes = f"{', '.join(listed[:3])}{more}"
        aside = f"{known}{upstream}" if finding.known or item.record.maker.known_bad else ""
        row = [
            Cell(finding.severity, "k" if finding.known else _MARKS[finding.severity]),
            Cell(item.record.trial.implementation, "", case.suite),
            Cell(case.dtype, "", case.device),
            Cell(cell_word(finding.kind), "", finding.group),
            Cell(units.count(item.cases), "", regimes),
            Cell(
                item.sentence,
                "",
                "\n".join(part for part in (aside, "" if short else _witness(item)) if part),
            ),
        ]
        rows.append(cells(*row))
    left = len(found) - most
    return Table(
        "Distinct findings, open before known, worst first",
        ("severity", "implementation", "dtype", "finding", "cases", "what was seen first, and where"),
        rows,
        frozenset(),
        f"{units.counted(left, 'further finding')} of lower rank in results.csv." if left > 0 else "",
    )


def _witness(item: Distinct, most: int = 220) -> str:
    facts = (
        json.dumps(dict(item.finding.witness), ensure_ascii=False, default=str)
        if item.finding.witness
        else ""
    )
    facts = facts if len(facts) <= most else f"{facts[:most]}…"
    return f"{item.record.trial.id}\n{facts}".strip()
