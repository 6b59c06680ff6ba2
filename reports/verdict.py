"""The first thing a reader sees: one sentence, the counts behind it, and what to distrust.

The sentence says what is wrong before what is fast; of many suites it says where a safe choice exists,
since one case out of hundreds would be no verdict. The trap: a run that stopped half way has fewer
findings, not fewer defects, so incompleteness is part of the sentence and never a footnote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import units
from harness.outcome import KINDS
from harness.results import SEVERITIES, STATUSES
from harness.run import Run
from reports.declared import Declared
from reports.ranking import Group, Standing, defect_words
from reports.records import Record
from reports.speed import Choice


@dataclass(frozen=True)
class Count:
    """One segment of the completeness bar: how many trials share a status or outcome."""

    name: str
    trials: int
    css: str


def sentence(rows: Sequence[Record], ranks: Mapping[Group, Standing], choices: Sequence[Choice]) -> str:
    """Returns the verdict in one or two sentences of plain text."""
    if not rows:
        return "Nothing was planned and nothing was measured, so nothing can be said."
    measured = [row for row in rows if row.status == "ok"]
    if not measured:
        states = ", ".join(f"{units.count(c.trials)} {c.name}" for c in counts(rows))
        return f"Nothing was measured: {states}. Nothing can be recommended."
    incomplete = sum(not row.complete for row in rows)
    of = f"{units.count(incomplete)} of {units.counted(len(rows), 'trial')}"
    head = f"Incomplete, {of} without a full answer. " if incomplete else ""
    if len({choice.suite for choice in choices}) > 1:
        return f"{head}{_across(choices)} {_unsafe(ranks)}."
    return f"{head}{_safety(ranks)}; {_advice(choices)}."


def _across(choices: Sequence[Choice]) -> str:
    """Says of several suites which have a recommendation in every dtype, in some and in none."""
    found: dict[str, list[bool]] = {}
    for choice in choices:
        found.setdefault(choice.suite, []).append(choice.recommended is not None)
    every, some, none = (
        [suite for suite, safe in found.items() if want(safe)]
        for want in (all, lambda safe: any(safe) and not all(safe), lambda safe: not any(safe))
    )
    devices = {choice.device for choice in choices}
    where = "every dtype" if len(devices) == 1 else "every dtype on every device"
    total = units.counted(len(found), "suite")
    if len(every) == len(found):
        return f"A safe implementation is recommended in {where} for all of {total}."
    if not every and not some:
        return f"Nothing can be recommended in any of {total}."
    parts = [f"A safe implementation is recommended in {where} for {units.count(len(every))} of {total}"]
    parts += [f"in some for {_few(some)}"] if some else []
    parts += [f"in none for {_few(none)}"] if none else []
    return f"{', '.join(parts)}."


def _few(names: Sequence[str], most: int = 3) -> str:
    """Returns so many names, only their count where there are more."""
    return (
        _listed(names) if len(names) <= most else f"{units.count(len(names))} ({', '.join(names[:most])}, …)"
    )


def _unsafe(ranks: Mapping[Group, Standing]) -> str:
    """Says how many of the ordinary implementations of all suites have an error somewhere."""
    ordinary = [standing for standing in ranks.values() if standing.maker.recommendable]
    everyone = {(s.group.suite, s.group.implementation) for s in ordinary}
    wrong = {(s.group.suite, s.group.implementation) for s in ordinary if s.rank == "excluded"}
    of = units.counted(len(everyone), "implementation")
    if wrong:
        return f"{units.count(len(wrong))} of {of} {'is' if len(wrong) == 1 else 'are'} wrong somewhere"
    proven = any(standing.rank == "rankable" for standing in ordinary)
    return f"{'No error was found' if proven else 'Nothing is proven'} in {of}"


def _safety(ranks: Mapping[Group, Standing]) -> str:
    ordinary = [standing for standing in ranks.values() if standing.maker.recommendable]
    everyone = {(s.group.suite, s.group.implementation) for s in ordinary}
    wrong: dict[tuple[str, str], list[Standing]] = {}
    for standing in ordinary:
        if standing.rank == "excluded":
            wrong.setdefault((standing.group.suite, standing.group.implementation), []).append(standing)
    if not wrong:
        proven = any(standing.rank == "rankable" for standing in ordinary)
        found = "no error was found" if proven else "nothing is proven"
        return f"{found} in {units.counted(len(everyone), 'implementation')}".capitalize()
    worst = max(
        (standing for found in wrong.values() for standing in found),
        key=lambda s: (s.nonfinite, s.errors[0].cases / max(1, s.cases), s.errors[0].cases),
    )
    places = len({standing.group.dtype for standing in ordinary})
    somewhere = " in some dtype" if places > 1 else ""
    several = len(wrong) > 1
    of = units.counted(len(everyone), "implementation")
    return (
        f"{units.count(len(wrong))} of {of} {'are' if several else 'is'} unsafe{somewhere} "
        f"({'worst: ' if several else ''}{worst.group.implementation} in {worst.group.dtype}: "
        f"{defect_words(worst.errors[:1], worst.cases)})"
    )


def _advice(choices: Sequence[Choice]) -> str:
    chosen = [choice for choice in choices if choice.recommended]
    if not chosen:
        return "nothing can be recommended"
    if len(choices) > 4:
        places = units.counted(len(choices), "combination")
        return f"a safe one is recommended in {units.count(len(chosen))} of {places} of dtype and device"
    by_name: dict[str, list[str]] = {}
    devices = {choice.device for choice in choices}
    for choice in chosen:
        name = choice.recommended.group.implementation if choice.recommended else ""
        where = choice.dtype if len(devices) == 1 else f"{choice.dtype} on {choice.device}"
        by_name.setdefault(name, []).append(where)
    words = "; ".join(f"{name} for {_listed(where)}" for name, where in by_name.items())
    none = [choice.dtype for choice in choices if not choice.recommended]
    return f"take {words}" + (f"; none is safe for {_listed(none)}" if none else "")


def _listed(words: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def counts(rows: Sequence[Record]) -> list[Count]:
    """Returns the trials by outcome where they ran and by status where they did not, good first."""
    by_name: dict[tuple[int, str, str], int] = {}
    for row in rows:
        if row.status != "ok":
            css = "n" if row.status in ("unsupported", "skipped") else "p" if row.status == "not_run" else "f"
            key = (10 + STATUSES.index(row.status), row.status.replace("_", " "), css)
        elif row.outcome == "clean":
            key = (0, "clean", "ok")
        elif row.outcome == "known":
            key = (1, "known", "k")
        elif row.maker.known_bad:
            key = (2, "known to be bad", "k")
        else:
            severity = row.severity or "error"
            word = KINDS[row.outcome].cell if row.outcome in KINDS else row.outcome
            error = severity == "error"
            key = (
                3 + SEVERITIES.index(severity),
                word if error else f"{word} (warning)",
                "e" if error else "w",
            )
        by_name[key] = by_name.get(key, 0) + 1
    return [Count(name, trials, css) for (_, name, css), trials in sorted(by_name.items())]


def alarms(run: Run, rows: Sequence[Record], ranks: Mapping[Group, Standing]) -> list[str]:
    """Returns what a reader must know before believing anything below, one sentence each."""
    declared = Declared(run.manifest)
    found = []
    if "started" in run.manifest and not run.manifest.get("finished"):
        found.append("The run did not finish; the same command resumes it.")
    failed = [row for row in rows if row.status != "ok" and not row.complete]
    if failed:
        by_status: dict[str, int] = {}
        for row in failed:
            word = row.status.replace("_", " ")
            by_status[word] = by_status.get(word, 0) + 1
        words = ", ".join(f"{units.count(n)} {word}" for word, n in by_status.items())
        found.append(
            f"{units.counted(len(failed), 'trial')} of {units.count(len(rows))} have no result: {words}."
        )
    waiting = sum(len(row.unanswered) for row in rows if row.status == "ok")
    if waiting:
        found.append(
            f"{units.counted(waiting, 'planned question')} of measured trials still without an answer."
        )
    if run.torn_lines:
        found.append(f"{units.counted(run.torn_lines, 'torn line')} at the end of the journal dropped.")
    for standing in ranks.values():
        # What a control is known for (an unchecked label that torch does not check) is no reason to doubt.
        open_ones = [d for d in (*standing.errors, *standing.warnings) if not d.known]
        if standing.maker.control and open_ones:
            defects = defect_words(open_ones, standing.cases)
            found.append(
                f"The clean control {standing.group.implementation} has findings in {standing.group.suite} "
                f"{standing.group.dtype} ({defects}): distrust the other findings there."
            )
    found += [f"Left out as broken: {item}" for item in declared.sentences("broken_suites")]
    found += [
        f"Listed as known but no longer occurring: {item}" for item in declared.sentences("stale_known")
    ]
    return found


def facts(run: Run) -> list[tuple[str, str]]:
    """Returns what identifies the run, as (name, text) pairs that are known."""
    declared = Declared(run.manifest)
    seconds = declared.number("wall_seconds")
    pairs = [
        ("run", declared.text("name") or run.path.name),
        ("commit", declared.commit),
        ("device", declared.device),
        ("torch", declared.fact("torch", "torch_version")),
        ("date", (declared.text("finished") or declared.text("started")).replace("T", " ")),
        ("took", units.duration(seconds) if seconds is not None else ""),
        ("profile", declared.text("profile")),
        ("seed", declared.text("seed")),
        ("lossgauge", declared.text("lossgauge")),
    ]
    return [(name, text) for name, text in pairs if text]
