"""What the protocol section says: who fails what, suites in which nobody fails in one sentence.

A suite in which somebody answers a question wrong, or is not asked, has a line and its tables; what
was refused elsewhere, as it may be, stands in one table. The trap: a suite that the probe was never put
to has no wrong answer either, so it is named as not asked and never among the clean ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import units
from reports.declared import Declared
from reports.folding import folded, names_in_words
from reports.questions import INVALID, PROTOCOL, REFUSED, invalid, protocol, wrong_answers
from reports.ranking import cell_word
from reports.records import Record
from reports.table import Part, Table, cells

_NOT_RUN = {PROTOCOL: "The protocol probe was not run.", INVALID: "The invalid-input probe was not run."}
_CLEAN = {
    PROTOCOL: "No protocol question was answered wrong by any implementation of {}.",
    INVALID: "Every invalid input was refused or answered with NaN by all implementations of {}.",
}
_ABSENT = {PROTOCOL: "The protocol probe was not run in {}.", INVALID: "No invalid input was given in {}."}


@dataclass(frozen=True)
class Manners:
    """Sentences on all suites, a part for each suite with something wrong, the refusals of the others."""

    said: tuple[str, ...]
    parts: tuple[Part, ...]
    refusals: Table | None


def manners(suites: Mapping[str, Sequence[Record]], declared: Declared) -> Manners:
    """Returns what the section says of the records of each suite."""
    parts, quiet = [], []
    for suite, rows in suites.items():
        tables = tuple(table for table in (protocol(rows, declared), invalid(rows)) if table is not None)
        if not tables:
            continue
        if len(suites) > 1 and all(_clean(rows, probe) for probe in (PROTOCOL, INVALID)):
            quiet.append(suite)
        else:
            said = _spoken(rows) if len(suites) == 1 else _failing(rows)
            parts.append(Part(suite, " ".join(said), tables))
    refusals = _refusals({suite: suites[suite] for suite in quiet})
    return Manners(tuple(sentences(suites)), tuple(parts), refusals)


def sentences(suites: Mapping[str, Sequence[Record]], *, everything: bool = False) -> list[str]:
    """Returns who fails what; several suites share a sentence for those in which nobody does.

    With `everything`, each of several suites in which somebody fails has a sentence of its own here.
    """
    if len(suites) == 1:
        return [said for rows in suites.values() for said in _spoken(rows)]
    said = []
    for probe in (PROTOCOL, INVALID):
        asked = {suite: [row for row in rows if row.ran(probe)] for suite, rows in suites.items()}
        absent = [suite for suite, answered in asked.items() if not answered]
        if len(absent) == len(asked):
            said.append(_NOT_RUN[probe])
            continue
        clean = [suite for suite in asked if suite not in absent and _clean(suites[suite], probe)]
        if clean:
            said.append(_CLEAN[probe].format(", ".join(clean)))
        if absent:
            said.append(_ABSENT[probe].format(", ".join(absent)))
        if everything:
            failing = [suite for suite in asked if suite not in (*clean, *absent)]
            said += [f"{suite}: {_SPEAK[probe](asked[suite])}" for suite in failing]
    return said


def _spoken(rows: Sequence[Record]) -> list[str]:
    """Returns the sentences on the two probes of one suite."""
    said = []
    for probe in (PROTOCOL, INVALID):
        answered = [row for row in rows if row.ran(probe)]
        said.append(_SPEAK[probe](answered) if answered else _NOT_RUN[probe])
    return said


def _failing(rows: Sequence[Record]) -> list[str]:
    """Returns the sentences of the probes that found something wrong; of the others all suites have one."""
    said = []
    for probe in (PROTOCOL, INVALID):
        if not _clean(rows, probe):
            answered = [row for row in rows if row.ran(probe)]
            said.append(_SPEAK[probe](answered) if answered else _NOT_RUN[probe])
    return said


def _clean(rows: Sequence[Record], probe: str) -> bool:
    """Tells whether everybody who was to be asked was, and nobody answered wrong, known or not."""
    return all(row.ran(probe) and not wrong_answers(row, probe) for row in rows if probe in row.answers)


def _protocol_sentence(answered: Sequence[Record]) -> str:
    wrong: dict[str, dict[str, None]] = {}
    for row in answered:
        for finding in wrong_answers(row, PROTOCOL):
            wrong.setdefault(row.trial.implementation, {})[finding.group] = None
    of = units.counted(len({row.trial.implementation for row in answered}), "implementation")
    if not wrong:
        return f"No protocol question was answered wrong by any of {of}."
    alike = folded((name, tuple(sorted(questions))) for name, questions in wrong.items())
    words = [f"{names_in_words(names, 4)} ({names_in_words(questions, 3)})" for names, questions in alike]
    verb = "answers" if len(wrong) == 1 else "answer"
    more = f"; and {units.counted(len(words) - 6, 'group')} more" if len(words) > 6 else ""
    return f"{len(wrong)} of {of} {verb} a protocol question wrong: {'; '.join(words[:6])}{more}."


def _invalid_sentence(answered: Sequence[Record]) -> str:
    found: dict[str, list[str]] = {}
    for row in answered:
        for kind in dict.fromkeys(finding.kind for finding in wrong_answers(row, INVALID)):
            names = found.setdefault(kind, [])
            if row.trial.implementation not in names:
                names.append(row.trial.implementation)
    if not found:
        return "Nobody answered an invalid input with a number, and none ended its process."
    said = {
        "accepts_invalid": "answered with a number",
        "error_parity": "met otherwise than uncompiled",
        "kills_process": "ended the process",
    }
    parts = [
        f"{said.get(kind, cell_word(kind))}: {names_in_words(names, 6)}" for kind, names in found.items()
    ]
    return f"Invalid input: {'; '.join(parts)}."


_SPEAK = {PROTOCOL: _protocol_sentence, INVALID: _invalid_sentence}


def _refusals(suites: Mapping[str, Sequence[Record]]) -> Table | None:
    """Returns who refused what where nobody answered wrong; None when nothing was refused there."""
    table = []
    for suite, rows in suites.items():
        refused: dict[str, dict[str, None]] = {}
        for row in rows:
            for key in row.notes.get(PROTOCOL, {}):
                if key.startswith(REFUSED):
                    questions = refused.setdefault(row.trial.implementation, {})
                    questions[key.removeprefix(REFUSED)] = None
        alike = folded((name, tuple(sorted(questions))) for name, questions in refused.items())
        for place, (names, declined) in enumerate(alike):
            table.append(cells("" if place else suite, names_in_words(names), ", ".join(declined)))
    if not table:
        return None
    return Table(
        "Refused, as it may be, where nothing was answered wrong",
        ("suite", "implementation", "refused in some case"),
        table,
    )
