"""Is it safe? One cell per implementation x regime x dtype, the worst over variants and shapes.

Worst outcome first, then worst number: an error outranks a failure to run, that a known error, a
warning, a known warning, a number. The trap: a mean or a skipped NaN would hide the one bad case, so
nothing here averages and NaN is larger than every number. A number that leaves no digit of a value near
0, although no bound is broken, is told as "near 0": there it is the inputs that decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness import units
from harness.results import INCOMPLETE, Finding
from reports.conditioning import OVER_INPUTS, conditioned, lost, told_in_inputs
from reports.declared import Declared, Maker
from reports.ranking import cell_word, worst_number
from reports.records import Record
from reports.speed import dtype_order
from reports.table import Cell

_FAILURES = {"out_of_memory": "OOM", "timed_out": "timeout", "crashed": "crash", "error": "harness error"}
_NOT_RUN, _NUMBER, _KNOWN_WARNING, _WARNING, _KNOWN_ERROR, _FAILURE, _ERROR = range(1, 8)
_ELSEWHERE = ("protocol", "determinism", "invalid_input", "identity")
_CSS = ("n", "p", "", "k", "w", "k", "f", "e")


@dataclass(frozen=True)
class Band:
    """The rows of one dtype: each an implementation with its cells, one per regime."""

    dtype: str
    rows: tuple[tuple[Maker, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Matrix:
    """The outcome matrix of one suite on one device; `regimes` are (name, about)."""

    suite: str
    device: str
    regimes: tuple[tuple[str, str], ...]
    bands: tuple[Band, ...]

    @property
    def counts(self) -> str:
        """How many cells are errors, warnings and known findings, in words."""
        found = [
            cell.css for band in self.bands for maker, row in band.rows for cell in row if not maker.known_bad
        ]
        words = [
            f"{units.count(found.count(css))} {word}"
            for css, word in (("e", "wrong"), ("f", "failed to run"), ("w", "warned of"), ("k", "known"))
            if css in found
        ]
        return ", ".join(words) or "nothing found"


def matrices(rows: Sequence[Record], declared: Declared) -> list[Matrix]:
    """Returns one matrix per suite and device, in the order of the plan."""
    members: dict[tuple[str, str], dict[str, dict[Maker, dict[str, list[Record]]]]] = {}
    abouts: dict[tuple[str, str], dict[str, str]] = {}
    makers: dict[tuple[str, str], Maker] = {}
    for row in rows:
        case = row.trial.case
        place = (case.suite, case.device)
        maker = makers.setdefault((case.suite, row.trial.implementation), row.maker)
        bands = members.setdefault(place, {})
        bands.setdefault(case.dtype, {}).setdefault(maker, {}).setdefault(case.regime, []).append(row)
        if case.regime not in abouts.setdefault(place, {}):
            family = declared.families.get(case.suite)
            abouts[place][case.regime] = family.regimes.get(case.regime, "") if family else ""
    return [
        Matrix(
            *place,
            tuple(abouts[place].items()),
            tuple(
                Band(
                    dtype,
                    tuple(
                        (maker, tuple(worst_cell(found.get(regime, ())) for regime in abouts[place]))
                        for maker, found in sorted(
                            bands[dtype].items(), key=lambda item: (bool(item[0].known_bad), item[0].place)
                        )
                    ),
                )
                for dtype in sorted(bands, key=dtype_order)
            ),
        )
        for place, bands in members.items()
    ]


def worst_cell(rows: Sequence[Record]) -> Cell:
    """Returns the cell of the records of one implementation, regime and dtype."""
    if not rows:
        return Cell("", "n")
    graded = [(*_grade(row), row) for row in rows]
    rank, word, row = max(graded, key=lambda item: item[0])
    cases = f" ({units.counted(len(rows), 'case')})"
    if rank == _NUMBER:
        worst = worst_number(
            value
            for each in rows
            for value in (each.numbers.get("loss_ulps"), each.numbers.get("gradient_ulps"))
        )
        waiting = any(grade in (_NOT_RUN, _FAILURE) for grade, _, _ in graded)
        text = "ok" if worst is None else units.ulp_number(worst)
        title = "some cases have no result" if waiting else ""
        if worst is not None and (over_inputs := _near_zero(rows, worst)) is not None:
            title = f"{text} ulp of a value near 0, {units.number(over_inputs, 2)} u N; {title}".rstrip("; ")
            text = "near 0"
        return Cell(text, "p" if waiting else "", title=title)
    if word == "inaccurate":
        errors = [each.numbers.get(name) for each in rows for name in ("loss_ulps", "gradient_ulps")]
        worst = worst_number(errors)
        word = word if worst is None or not math.isfinite(worst) else units.ulp_number(worst)
    text = f"known {word}" if rank in (_KNOWN_ERROR, _KNOWN_WARNING) else word
    hits = sum(grade == rank for grade, _, _ in graded)
    if rank < _KNOWN_WARNING:
        return Cell(text, _CSS[rank], title=row.reason)
    return Cell(text, _CSS[rank], title=f"{row.trial.id}: {hits} of {cases.strip(' ()')}")


def _near_zero(rows: Sequence[Record], worst: float) -> float | None:
    """Returns the worst error in u N where it is that, and not the ulp, that says something."""
    if not math.isfinite(worst) or not lost(worst, rows[0].trial.case.dtype):
        return None
    other = worst_number(
        conditioned(row.numbers, name, row.numbers.get(name)) for row in rows for name in OVER_INPUTS
    )
    return other if told_in_inputs(worst, other) else None


def _grade(row: Record) -> tuple[int, str]:
    rank, word = 0, "n/a" if row.status == "unsupported" else "skip"
    if row.status == "ok":
        rank, word = _NUMBER, ""
    elif row.status == "not_run":
        rank, word = _NOT_RUN, "not run"
    elif row.status in INCOMPLETE:
        rank, word = _FAILURE, _FAILURES.get(row.status, row.status)
    for finding in filter(in_its_regime, row.findings):
        if finding.severity == "note":
            continue
        known = bool(finding.known)
        if finding.severity == "error":
            grade = _KNOWN_ERROR if known else _ERROR
        else:
            grade = _KNOWN_WARNING if known else _WARNING
        if grade > rank:
            rank, word = grade, cell_word(finding.kind)
    return rank, word


def in_its_regime(finding: Finding) -> bool:
    """Tells whether a finding belongs to the regime of its trial: what has a table of its own does not.

    Ladders, exact counts, protocol questions and invalid inputs are asked in one regime and about others.
    """
    return finding.probe not in _ELSEWHERE and not finding.group.startswith(("ladder ", "exhaustive "))
