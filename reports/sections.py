"""The tables of decisions: which one, for every suite at a glance, and why, for each suite apart.

The trap: what is excluded, unproven or of another definition is named with its cause beside what is
recommended, all of it, because an implementation that is merely absent from a list looks as if nobody
had asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import units
from reports.conditioning import MEANING
from reports.costs import legend
from reports.speed import FUSED, Choice, against_baseline, dtype_order
from reports.table import Cell, Part, Table, cells

# A section with more suites than these folds them; fewer stay open.
FEW = 3
_SEEN = 3
_RANKABLE = (
    "Rankable is what answered accuracy, protocol and overflow without an error on any regime, shape and "
    "rung of the timed variant; known errors exclude too, errors in other variants are named. Clean "
    "controls, implementations that are known to be bad and those that answer another definition than the "
    "baseline's are never recommended. A time is forward + backward at the largest shape that at least half "
    "of the implementations timed."
)


def anchor(place: int) -> str:
    """Returns the id of the recommendations of the suite at a place of the page."""
    return f"which-{place}"


def by_suite(choices: Sequence[Choice]) -> dict[str, list[Choice]]:
    """Returns the choices of each suite, in the order of the plan."""
    found: dict[str, list[Choice]] = {}
    for choice in choices:
        found.setdefault(choice.suite, []).append(choice)
    return found


def overview(choices: Sequence[Choice]) -> Table | None:
    """Returns who is recommended, a row per suite and a column per dtype; None for few suites."""
    suites = by_suite(choices)
    if len(suites) <= FEW:
        return None
    places = sorted({(c.dtype, c.device) for c in choices}, key=lambda p: (dtype_order(p[0]), p[1]))
    devices = {device for _, device in places}
    rows = []
    for number, (suite, members) in enumerate(suites.items()):
        found = {(c.dtype, c.device): c for c in members}
        glances = [_glance(found[place]) if place in found else Cell("not asked", "n") for place in places]
        rows.append((Cell(suite, link=anchor(number)), *glances))
    return Table(
        "Recommended implementation of every suite; the reasons stand below, suite by suite",
        ("suite", *(dtype if len(devices) == 1 else f"{dtype}, {device}" for dtype, device in places)),
        rows,
        note="★ recommended, with its time against the baseline's where it was timed; ✗ nobody can be."
        + (f" {FUSED}" if any(cell.badge for row in rows for cell in row) else ""),
    )


def _glance(choice: Choice) -> Cell:
    best = choice.recommended
    if best is None:
        counts = [
            f"{units.count(count)} {word}"
            for word in ("excluded", "unproven")
            if (count := sum(standing.rank == word for standing in choice.rejected))
        ]
        counts += [
            f"{s.group.implementation} by another definition" for s in choice.apart if s.rank == "rankable"
        ]
        return Cell("none", "e", ", ".join(counts))
    name = best.group.implementation
    words = [_against(choice, name), "with warnings" if best.warnings else ""]
    return Cell(name, "best", ", ".join(filter(None, words)), badge=choice.race.badge(name))


def _against(choice: Choice, name: str) -> str:
    """Returns the time against the baseline's in two words, "" where either was not timed."""
    if choice.race.seconds(name) is None:
        return ""
    if choice.race.records[name].maker.baseline:
        return "the baseline"
    words = against_baseline(choice.race, name)
    return "≈ baseline in time" if words.startswith("not shown") else words.partition(" than ")[0]


def which_one(choices: Sequence[Choice]) -> list[Part]:
    """Returns for each suite its recommendations with their reasons, one row per dtype and device."""
    return [_part(suite, members) for suite, members in by_suite(choices).items()]


def _part(suite: str, choices: Sequence[Choice]) -> Part:
    devices = len({choice.device for choice in choices})
    rows = []
    for choice in choices:
        best = choice.recommended
        chosen = Cell("none", "e")
        if best:
            name = best.group.implementation
            chosen = Cell(name, "best", choice.race.words(name), badge=choice.race.badge(name))
        rows.append(
            cells(
                Cell(choice.dtype, "", choice.device if devices > 1 else ""),
                chosen,
                choice.reason or choice.nearest,
                _runner_up(choice),
                rejected(choice),
            )
        )
    table = Table(
        f"{suite}: recommended implementation per dtype{' and device' if devices > 1 else ''}",
        ("dtype", "recommended", "because", "runner-up", "not recommended"),
        rows,
    )
    safe = sum(choice.recommended is not None for choice in choices)
    places = units.counted(len(choices), "combination" if devices > 1 else "dtype")
    return Part(suite, f"recommended in {units.count(safe)} of {places}", (table,))


def meaning(choices: Sequence[Choice]) -> str:
    """Returns the words below the recommendations: who is rankable, and what the words above mean."""
    named = [(choice, s) for choice in choices for s in (choice.recommended, choice.runner_up) if s]
    badges = [(Cell("", badge=choice.race.badge(s.group.implementation)),) for choice, s in named]
    said = f"{_RANKABLE} {MEANING}" if any(s.within_inputs for _, s in named) else _RANKABLE
    return legend(badges, said)


def _runner_up(choice: Choice) -> Cell | str:
    if choice.runner_up is None:
        return ""
    name = choice.runner_up.group.implementation
    return Cell(name, "", choice.runner_up_words, badge=choice.race.badge(name))


def rejected(choice: Choice) -> Cell:
    """Returns everybody who is not to be taken, with the cause: the first few seen, the others folded."""
    words = [
        f"{standing.group.implementation}: {_shortened(standing.cause)}"
        for standing in sorted(choice.rejected, key=lambda s: s.rank)
    ]
    apart = apart_words(choice)
    seen = len(words) if len(words) <= _SEEN + 1 else _SEEN
    return Cell("", "", "\n".join([*([apart] if apart else []), *words[:seen]]), more=tuple(words[seen:]))


def apart_words(choice: Choice) -> str:
    """Says who answers another definition than the baseline's, and how it differs; "" for nobody."""
    words = [
        f"{s.group.implementation} ({s.definition}{'' if s.rank == 'rankable' else f'; {s.rank}'})"
        for s in choice.apart
    ]
    return f"answers another definition: {', '.join(words)}" if words else ""


def _shortened(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
