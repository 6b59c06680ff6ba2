"""A run as markdown for a pull request or a job summary: verdict first, at most 60 kB, no images.

GitHub cuts a job summary off at a size, and it cuts the end: so tables are limited and the whole
is shortened here, with a sentence, never by somebody else in the middle of a row. The trap: text from
plug-ins may hold pipes, newlines and tags, all of which break a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

from harness import units
from harness.run import Run
from reports import costs, findings, identities, sections, verdict
from reports.declared import Declared
from reports.folding import names_in_words
from reports.manners import sentences
from reports.questions import protocol
from reports.ranking import Group, Standing
from reports.records import Record
from reports.speed import Choice
from reports.table import GLYPHS, Cell, Table

MOST_BYTES = 60_000
_MOST_FINDINGS = 20
# Of the reasons suite by suite, so that findings and speed are not cut off behind them.
_MOST_REASONS = 24_000
_MOST_TIMED = 40
_MOST_FAILING = 20
_MOST_CELL = 300


def markdown(
    run: Run, rows: Sequence[Record], ranks: Mapping[Group, Standing], found: Sequence[Choice]
) -> str:
    """Returns the report of a run as markdown of at most 60 kB."""
    counts = " · ".join(f"{c.name} {units.count(c.trials)}" for c in verdict.counts(rows)) or "no trials"
    parts = [
        _text(verdict.sentence(rows, ranks, found)),
        f"{counts} (of {units.counted(len(rows), 'trial')})",
    ]
    parts += [f"- **{_text(alarm)}**" for alarm in verdict.alarms(run, rows, ranks)[:20]]
    if found:
        parts.append(_which_one(found))
    members = _members(rows)
    parts.append(_protocol(members, Declared(run.manifest)))
    parts.append(_identities(members, Declared(run.manifest)))
    listed = findings.findings_table(findings.distinct(rows), _MOST_FINDINGS, short=True)
    if listed:
        parts.append(f"## Findings\n\n{_table(listed)}\n\n{_text(listed.note)}".rstrip())
    parts.append(_speed(found))
    parts.append(_environment(run))
    return _shortened("\n\n".join(part for part in parts if part) + "\n")


def _members(rows: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for row in rows:
        found.setdefault(row.trial.case.suite, []).append(row)
    return found


def _which_one(found: Sequence[Choice]) -> str:
    """Returns who is recommended: for many suites a row each, then the reasons of each, folded away."""
    overview = sections.overview(found)
    reasons, left = [], _MOST_REASONS
    parts = sections.which_one(found)
    for part, choices in zip(parts, sections.by_suite(found).values(), strict=True):
        text = _table(_with_rejected(part.tables[0], choices))
        left -= len(text.encode())
        if left < 0:
            break
        folded = f"<details><summary>{_text(part.suite)}: {part.words}</summary>\n\n{text}\n\n</details>"
        reasons.append(f"### {_text(part.suite)}\n\n{text}" if overview is None else folded)
    missing = len(parts) - len(reasons)
    if missing:
        reasons.append(f"The reasons of {units.counted(missing, 'further suite')} stand in report.html.")
    lead = ["## Which one?", *([_table(overview)] if overview is not None else [])]
    return "\n\n".join([*lead, *reasons, _text(sections.meaning(found))])


def _with_rejected(table: Table, choices: Sequence[Choice]) -> Table:
    """Returns the table with everybody who is not to be taken by name: the causes are on the page."""
    rows = [
        (*row[:-1], Cell("; ".join(_rejected(choice))))
        for row, choice in zip(table.rows, choices, strict=True)
    ]
    return replace(table, rows=rows)


def _rejected(choice: Choice) -> list[str]:
    by_rank: dict[str, list[str]] = {}
    for standing in sorted(choice.rejected, key=lambda s: s.rank):
        by_rank.setdefault(standing.rank, []).append(standing.group.implementation)
    words = [f"{rank}: {', '.join(names)}" for rank, names in by_rank.items()]
    apart = sections.apart_words(choice)
    return [*([apart] if apart else []), *words]


def _protocol(members: Mapping[str, Sequence[Record]], declared: Declared) -> str:
    """Returns who fails which protocol question, in sentences; who fails as tables of at most so many."""
    if not members:
        return ""
    said = sentences(members, everything=len(members) > 1)
    parts = ["## Does it keep the protocol?", " ".join(map(_text, said))]
    left = _MOST_FAILING
    for suite, rows in members.items():
        table = protocol(rows, declared)
        if table is None or left <= 0:
            continue
        failing = [row[:3] for row in table.rows if row[2].css != "fine"][:left]
        left -= len(failing)
        if failing:
            shown = replace(table, heads=table.heads[:3], rows=failing, right=frozenset())
            parts += [f"{_text(suite)}:"] if len(members) > 1 else []
            parts.append(_table(shown))
    return "\n\n".join(parts)


def _identities(members: Mapping[str, Sequence[Record]], declared: Declared) -> str:
    """Returns which identities are broken, nothing where none was asked."""
    asked = identities.identities(members, declared)
    if asked is None:
        return ""
    table = identities.broken(members, declared)
    if table is None:
        count = names_in_words([row[0].text for row in asked.rows])
        return f"## Do identities hold?\n\nNone that was asked is broken, in {_text(count)}."
    return f"## Do identities hold?\n\n{_table(replace(table, rows=table.rows[:_MOST_FAILING]))}"


def _speed(found: Sequence[Choice]) -> str:
    """Returns the timed implementations, folded away; at most so many, fastest first per dtype."""
    parts = []
    left = _MOST_TIMED
    for suite in dict.fromkeys(choice.suite for choice in found):
        table = costs.speed(found, suite)
        if table is None or left <= 0:
            continue
        more = len(table.rows) - left
        rest = f"\n\n{units.counted(more, 'further row')} in report.html." if more > 0 else ""
        shown = replace(table, rows=table.rows[:left])
        left -= len(shown.rows)
        parts.append(f"{_text(table.caption)}:\n\n{_table(shown)}{rest}\n\n{_text(table.note)}")
    if not parts:
        return ""
    return "<details><summary>Speed</summary>\n\n" + "\n\n".join(parts) + "\n\n</details>"


def _environment(run: Run) -> str:
    declared = Declared(run.manifest)
    pairs = verdict.facts(run)
    pairs += [(name, str(value)) for form in declared.environment.values() for name, value in form.items()]
    if not pairs:
        return ""
    lines = "\n".join(f"- {_text(name)}: {_text(value)[:_MOST_CELL]}" for name, value in pairs[:80])
    return (
        f"<details><summary>Environment</summary>\n\n{lines}\n\n</details>\n\n"
        "Everything: report.html, results.csv."
    )


def _table(table: Table) -> str:
    rule = ["--:" if place in table.right else ":--" for place in range(len(table.heads))]
    lines = [list(table.heads), rule, *([_cell(cell) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    glyph = GLYPHS[cell.css]
    text = " ".join(part for part in (glyph, cell.text, cell.badge) if part)
    small = cell.small if len(cell.small) <= _MOST_CELL else f"{cell.small[:_MOST_CELL]}…"
    return _text(f"{text} ({small})" if text and small else text or small)


def _text(text: str) -> str:
    """Returns text that cannot end a table cell, open a tag or mention anybody."""
    flat = escape(" ".join(text.split()), quote=False)
    return flat.replace("|", "\\|").replace("`", "'").replace("@", "@\u200b")


def _shortened(text: str) -> str:
    if len(text.encode()) <= MOST_BYTES:
        return text
    note = "\n\nCut off here at 60 kB; report.html holds everything.\n"
    lines: list[str] = []
    left = MOST_BYTES - len(note.encode())
    for line in text.split("\n"):
        left -= len(line.encode()) + 1
        if left < 0:
            break
        lines.append(line)
    return "\n".join(lines) + note
