"""Every distinct finding once, with how often it occurred, the first witness and its certified truth.

Distinct is implementation x kind x group x dtype; open ones come before known ones, errors before
warnings; notes come last, known or not. The trap: a finding that is listed as known is still shown,
with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import units
from harness.outcome import KINDS
from harness.results import SEVERITIES, Finding
from reports.enclosures import exact_words, got_words, short_hex
from reports.ranking import cell_word
from reports.records import Record
from reports.speed import dtype_order
from reports.table import Cell, Table, cells

_MARKS = {"error": "e", "warning": "w", "note": "n"}
# What the lines of a witness say in words of their own.
_TOLD = frozenset({"truth", "exact", "got", "ball", "place", "tensor", "inputs", "dtype"})
_MOST_FACT = 260
NOTE = (
    "Exact values are balls: middle ± radius, by Arb, or a bound that the suite states where a sum was too "
    "long for Arb; without either they are called uncertified. The command prints a script that fails "
    "because of the finding; add --run DIR where runs/latest is not this run."
)


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
            item.finding.severity == "note",
            bool(item.finding.known),
            -SEVERITIES.index(item.finding.severity),
            -item.cases,
            item.record.trial.case.suite,
            item.record.maker.place,
            dtype_order(item.record.trial.case.dtype),
        ),
    )


def by_suite(found: Sequence[Distinct], suites: Sequence[str]) -> list[tuple[str, list[Distinct]]]:
    """Returns the findings of each suite that has any, in the order of the suites."""
    members: dict[str, list[Distinct]] = {suite: [] for suite in suites}
    for item in found:
        members.setdefault(item.record.trial.case.suite, []).append(item)
    return [(suite, items) for suite, items in members.items() if items]


def words(found: Sequence[Distinct]) -> str:
    """Returns how many findings are open and how many are known, e.g. "2 errors, 1 warning, 40 known"."""
    ordinary = [item for item in found if not item.record.maker.known_bad]
    parts = []
    for severity in reversed(SEVERITIES):
        count = sum(item.finding.severity == severity and not item.finding.known for item in ordinary)
        parts += [units.counted(count, severity)] if count else []
    known = sum(bool(item.finding.known) for item in ordinary)
    parts += [f"{units.count(known)} known"] if known else []
    bad = len(found) - len(ordinary)
    parts += [f"{units.count(bad)} of implementations known to be bad"] if bad else []
    return ", ".join(parts)


def findings_table(
    found: Sequence[Distinct], most: int, *, short: bool = False, suite: str = ""
) -> Table | None:
    """Returns at most so many findings as a table, worst first; None when there are none.

    With a `suite` the findings are all of it, and the table says so once.
    """
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
            Cell(item.record.trial.implementation, "", "" if suite else case.suite),
            Cell(case.dtype, "", case.device),
            Cell(cell_word(finding.kind), "", finding.group),
            Cell(units.count(item.cases), "", regimes),
            Cell(
                item.sentence,
                "",
                "\n".join(part for part in (aside, "" if short else _witness(item)) if part),
                code="" if short else _command(item),
            ),
        ]
        rows.append(cells(*row))
    left = len(found) - most
    more_left = f"{units.counted(left, 'further finding')} of lower rank in results.csv." if left > 0 else ""
    return Table(
        f"{f'{suite}: d' if suite else 'D'}istinct findings, open before known, worst first, notes last",
        ("severity", "implementation", "dtype", "finding", "cases", "what was seen first, and where"),
        rows,
        frozenset(),
        " ".join(part for part in (more_left, "" if short or suite else NOTE) if part),
    )


def _command(item: Distinct) -> str:
    """Returns the command that prints what is stored, or the script that fails because of the finding."""
    script = f" --repro --finding {item.finding.kind}" if item.finding.witness else ""
    return f"lossgauge show {item.record.trial.id}{script}"


def _witness(item: Distinct) -> str:
    witness = item.finding.witness
    facts = [exact_words(witness), got_words(witness), _inputs(witness)]
    facts += [f"{key}: {value}" for key, value in witness.items() if key not in _TOLD]
    return "\n".join(fact if len(fact) <= _MOST_FACT else f"{fact[:_MOST_FACT]}…" for fact in facts if fact)


def _inputs(witness: Mapping[str, Any]) -> str:
    """Returns the input row, "logits [0x1.8p+0, ...], target 3"; where it is abridged, by index."""
    given = witness.get("inputs")
    if not isinstance(given, Mapping):
        return ""
    parts = []
    for name, value in given.items():
        if isinstance(value, Mapping):
            held = ", ".join(f"{index}: {short_hex(str(entry))}" for index, entry in value.items())
            parts.append(f"{name} {{{held}, …}}")
        elif isinstance(value, list | tuple):
            parts.append(f"{name} [{', '.join(short_hex(str(entry)) for entry in value)}]")
        else:
            parts.append(f"{name.replace('_', ' ')} {short_hex(str(value))}")
    return f"for {', '.join(parts)}"
