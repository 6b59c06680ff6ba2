"""Does it keep the protocol? Who answers a question wrong, who may refuse it and does, who takes anything.

One row per implementation and set of dtypes that behave alike, implementations that behave alike
folded, wrong answers first. Findings of the protocol probe are filed under the question that was
asked; a refusal that is allowed is a note "unsupported: <question>". The trap: who fails the plain
call is asked nothing, which is no clean sheet, so it says "not asked" and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness import units
from harness.results import INCOMPLETE, SEVERITIES, Finding
from reports.declared import Declared, Maker
from reports.folding import dtypes_in_words, folded, names_in_words
from reports.ranking import cell_word
from reports.records import Record
from reports.speed import dtype_order
from reports.table import Cell, Table, cells, rights

PROTOCOL, INVALID = "protocol", "invalid_input"
REFUSED = "unsupported: "
_MARKS = {"error": "e", "warning": "w", "note": "n"}
_Place = tuple[str, str]


class Wrong(NamedTuple):
    """A question answered wrong: its words, the mark it gets, why it is known, and its severity."""

    question: str
    word: str
    css: str
    known: str
    severity: str


def protocol(rows: Sequence[Record], declared: Declared) -> Table | None:
    """Returns the table of the protocol probe; None when it was put to nobody."""
    places = _by_place([row for row in rows if PROTOCOL in row.answers])
    table: list[tuple[Cell, ...]] = []
    for place, makers in places.items():
        everything = {dtype for by_dtype in makers.values() for dtype in by_dtype}
        lines: list[tuple[Maker, tuple[str, tuple[Cell, ...]]]] = []
        members: dict[tuple[Maker, str], list[Record]] = {}
        for maker, by_dtype in makers.items():
            ordered = sorted(by_dtype, key=dtype_order)
            for alike, _ in folded((dtype, _wrongs(by_dtype[dtype])) for dtype in ordered):
                words = dtypes_in_words(alike, everything)
                members[maker, words] = [row for dtype in alike for row in by_dtype[dtype]]
                lines.append((maker, (words, _protocol_cells(members[maker, words]))))
        for found, (words, content) in sorted(folded(lines), key=lambda line: _badness(line[1][1][0])):
            where = f"{place[0]}, {place[1]}" if len(places) > 1 else ""
            asked = _asked([row for maker in found for row in members[maker, words]])
            names = names_in_words([maker.name for maker in found])
            table.append(cells(Cell(names, "", where), words, *content, asked))
    if not table:
        return None
    return Table(
        "Protocol questions: how a loss may be called and used beside the plain call",
        ("implementation", "dtypes", "answered wrong", "refused, as it may", "asked per case"),
        table,
        rights(4),
        "Wrong is what the plain call gets right, or gets wrong in another way; inaccuracy is not counted "
        "again. Refused: raised where raising is allowed. Asked: how many questions apply "
        "to a case, over all cases.",
    )


def invalid(rows: Sequence[Record]) -> Table | None:
    """Returns the table of invalid inputs; None when nobody was given any."""
    places = _by_place([row for row in rows if INVALID in row.answers])
    table: list[tuple[Cell, ...]] = []
    for place, makers in places.items():
        lines = []
        for maker, by_dtype in makers.items():
            for dtype, members in by_dtype.items():
                lines.append((maker.name, (dtype, _invalid_cells(members))))
        for names, (dtype, content) in sorted(folded(lines), key=lambda line: _badness(line[1][1][0])):
            where = f"{place[0]}, {place[1]}" if len(places) > 1 else ""
            table.append(cells(Cell(names_in_words(names), "", where), dtype, *content))
    if not table:
        return None
    return Table(
        "Invalid inputs: what is no input of this family, in a process that may die of it",
        ("implementation", "dtype", "what happens", "refused"),
        table,
        rights(3),
        "Asked with one thread and with several, on few rows and on many. NaN instead of raising is "
        "counted as not refused, but is no finding.",
    )


def _by_place(rows: Sequence[Record]) -> dict[_Place, dict[Maker, dict[str, list[Record]]]]:
    places: dict[_Place, dict[Maker, dict[str, list[Record]]]] = {}
    for row in sorted(rows, key=lambda r: r.maker.place):
        case = row.trial.case
        makers = places.setdefault((case.suite, case.device), {})
        makers.setdefault(row.maker, {}).setdefault(case.dtype, []).append(row)
    return places


def wrong_answers(row: Record, probe: str) -> list[Finding]:
    """Returns what a probe found in a record above a note."""
    return [found for found in row.findings if found.probe == probe and found.severity != "note"]


def _wrong_of(row: Record) -> dict[Wrong, Finding]:
    found: dict[Wrong, Finding] = {}
    for finding in wrong_answers(row, PROTOCOL):
        css = "k" if finding.known or row.maker.known_bad else _MARKS[finding.severity]
        word = cell_word(finding.kind)
        found.setdefault(Wrong(finding.group, word, css, finding.known, finding.severity), finding)
    return found


def _wrongs(rows: Sequence[Record]) -> frozenset[object]:
    """Returns what tells one dtype from another: wrong questions, and failures to answer."""
    failed = {row.answers[PROTOCOL] for row in rows if not row.ran(PROTOCOL)}
    return frozenset([*(wrong[:3] for row in rows for wrong in _wrong_of(row)), *failed])


def _protocol_cells(rows: Sequence[Record]) -> tuple[Cell, ...]:
    answered = [row for row in rows if row.ran(PROTOCOL)]
    if not answered:
        return Cell("not asked", _status_mark(rows), _why(rows, PROTOCOL)), Cell("")
    wrong: dict[Wrong, int] = {}
    refused: dict[str, dict[str, None]] = {}
    for row in answered:
        for item in _wrong_of(row):
            wrong[item] = wrong.get(item, 0) + 1
        for key in row.notes.get(PROTOCOL, {}):
            if key.startswith(REFUSED):
                variants = refused.setdefault(key.removeprefix(REFUSED), {})
                variants[row.trial.case.variant] = None
    listed = sorted(wrong, key=lambda w: (w.css == "k", -SEVERITIES.index(w.severity), w.question))
    alike = folded((item, (item.word, item.known)) for item in listed)
    lines = [_line(word, known, members, wrong, len(answered)) for members, (word, known) in alike]
    failed = len(rows) - len(answered)
    if failed:
        lines.append(f"not asked in {_share(failed, len(rows))}: {_why(rows, PROTOCOL)}")
    names = list(dict.fromkeys(item.question for item in listed))
    head = Cell(
        names_in_words(names) or "nothing",
        listed[0].css if listed else _status_mark(rows) if failed else "fine",
        "\n".join(lines),
    )
    everywhere = len({row.trial.case.variant for row in answered})
    declined = ", ".join(
        f"{question} (only {' and '.join(variants)})" if len(variants) <= 2 < everywhere else question
        for question, variants in sorted(refused.items(), key=lambda item: -len(item[1]))
    )
    return head, Cell(declined or "none", "" if declined else "fine")


def _line(word: str, known: str, alike: Sequence[Wrong], cases: dict[Wrong, int], whole: int) -> str:
    """Returns one line for questions that are wrong in the same way: how many, and in how many cases."""
    questions = len({item.question for item in alike})
    counts = sorted({cases[item] for item in alike})
    share = _share(counts[-1], whole)
    if len(counts) > 1:
        share = f"{units.count(counts[0])} to {share}"
    where = f"{units.count(questions)} questions, each in {share}" if questions > 1 else share
    return f"{word}, {where}{f'; known: {known}' if known else ''}"


def _asked(rows: Sequence[Record]) -> Cell:
    counts = sorted({int(row.numbers["questions"]) for row in rows if "questions" in row.numbers})
    if not counts:
        return Cell("0")
    words = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return Cell(words, "", units.counted(len(rows), "case"))


def _invalid_cells(rows: Sequence[Record]) -> tuple[Cell, ...]:
    answered = [row for row in rows if row.ran(INVALID)]
    if not answered:
        return Cell("not asked", _status_mark(rows), _why(rows, INVALID)), Cell("")
    asked, refused = (
        sum(row.numbers.get(name, 0.0) for row in answered)
        for name in ("invalid_inputs", "invalid_inputs_refused")
    )
    found = [(row, finding) for row in answered for finding in wrong_answers(row, INVALID)]
    share = f"{units.count(refused)} of {units.count(asked)}" if asked else "not counted"
    if not found:
        word, css = ("refuses all", "fine") if refused == asked else ("answers NaN", "")
        return Cell(word if asked else "nothing was asked", css if asked else "n"), Cell(share)
    row, worst = found[0]
    known = bool(worst.known) or bool(row.maker.known_bad)
    says = {
        "accepts_invalid": "accepts",
        "error_parity": "other than uncompiled",
        "kills_process": "ends the process",
    }
    words = dict.fromkeys(f"{says.get(f.kind, cell_word(f.kind))}: {f.group}" for _, f in found)
    messages = dict.fromkeys(f"{f.message}{f'; known: {f.known}' if f.known else ''}" for _, f in found)
    css = "k" if known else _MARKS[worst.severity]
    return Cell(", ".join(words), css, "\n".join(messages)), Cell(share)


def _share(part: int, whole: int) -> str:
    return f"{units.count(part)} of {units.counted(whole, 'case')}"


def _status_mark(rows: Sequence[Record]) -> str:
    return "f" if any(status in INCOMPLETE for row in rows for status in row.answers.values()) else "n"


def _why(rows: Sequence[Record], probe: str) -> str:
    """Returns why a probe has no answer, the first reason of them."""
    for row in rows:
        if probe in row.answers and not row.ran(probe):
            told = [part for part in row.reason.split("; ") if part.startswith(f"{probe}: ")]
            return told[0].removeprefix(f"{probe}: ") if told else row.answers[probe].replace("_", " ")
    return ""


def _badness(head: Cell) -> int:
    """Orders rows: errors, failures to answer, warnings, known ones, the rest."""
    order = {"e": 0, "f": 1, "w": 2, "k": 3, "n": 4}
    return order.get(head.css, 5)
