"""Which timed trials may be set side by side, and who is recommended where.

Times are compared within one case only: the largest shape that at least half of the implementations
timed at that suite x device x dtype. Without times the most accurate is recommended, by its error over
max(ulp, u N) and then in ulp. The trap: the fastest overall may be wrong or answer another question; only
rankable implementations of the baseline's definition are candidates, and among them those without a
numerical warning come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import units
from harness.trial import DTYPES, Case
from reports.ranking import Group, Standing, by_place, defect_words
from reports.records import Record

FUSED = (
    "Marked fused: forward already computes the gradient (backward alone takes under a fifth of forward), "
    "so the two cannot be told apart and only their sum compares."
)


@dataclass(frozen=True)
class Race:
    """The timed records of one case by implementation; `case` is None when nothing was timed."""

    case: Case | None
    records: Mapping[str, Record]

    def seconds(self, name: str) -> float | None:
        """Returns the measured time of an implementation, None when it has no finite one here."""
        record = self.records.get(name)
        value = record.numbers.get("seconds") if record else None
        return value if value is not None and math.isfinite(value) else None

    def words(self, name: str) -> str:
        """Returns the time with its noise, e.g. "410 µs ±2 %", "" when it was not timed here."""
        value = self.seconds(name)
        if value is None:
            return ""
        numbers = self.records[name].numbers
        return units.interval(value, numbers.get("seconds_low"), numbers.get("seconds_high"))

    def badge(self, name: str) -> str:
        """Returns "fused" where the gradient is computed in forward, else ""."""
        return "fused" if is_fused(self.records.get(name)) else ""


def is_fused(record: Record | None) -> bool:
    """Tells whether timing found that forward already computes the gradient."""
    return record is not None and bool(record.note("timing", "fused"))


@dataclass(frozen=True)
class Choice:
    """The answer to "which one?" at one suite, device and dtype."""

    suite: str
    device: str
    dtype: str
    standings: tuple[Standing, ...]
    race: Race
    recommended: Standing | None
    reason: str
    runner_up: Standing | None
    runner_up_words: str

    @property
    def nearest(self) -> str:
        """Says why nobody is recommended, and who was wrong in the smallest share of cases."""
        wrong = [s for s in self.standings if s.errors and s.replaces]
        right = [s.group.implementation for s in self.apart if s.rank == "rankable"]
        other = f"; free of errors under another definition: {', '.join(right)}" if right else ""
        if not wrong:
            return f"nobody is proven here{other}"
        best = min(wrong, key=lambda s: (s.errors[0].cases / max(1, s.cases), sum(e.cases for e in s.errors)))
        return f"nobody is free of errors; nearest is {best.group.implementation}: {best.cause}{other}"

    @property
    def rejected(self) -> list[Standing]:
        """The ordinary implementations that are excluded or unproven."""
        return [s for s in self.standings if s.rank != "rankable" and s.replaces]

    @property
    def apart(self) -> list[Standing]:
        """The ordinary implementations that answer another definition than the baseline's."""
        return [s for s in self.standings if s.definition and s.maker.recommendable]


def shape_words(case: Case) -> str:
    """Returns the shape of a case in words, e.g. "64 x 32,000"."""
    return f"{units.count(case.batch)} × {units.count(case.classes)}"


def races(rows: Sequence[Record]) -> dict[tuple[str, str, str], Race]:
    """Returns the race of every suite, device and dtype that has a finite time."""
    timed: dict[tuple[str, str, str], dict[Case, dict[str, Record]]] = {}
    for row in rows:
        if math.isfinite(row.numbers.get("seconds", math.nan)):
            case = row.trial.case
            place = timed.setdefault((case.suite, case.device, case.dtype), {})
            place.setdefault(case, {})[row.trial.implementation] = row
    return {place: _race(cases) for place, cases in timed.items()}


def _race(cases: Mapping[Case, Mapping[str, Record]]) -> Race:
    everyone = {name for found in cases.values() for name in found}
    eligible = [case for case, found in cases.items() if 2 * len(found) >= len(everyone)] or list(cases)
    case = max(eligible, key=lambda c: (c.batch * c.classes, len(cases[c]), -c.threads))
    return Race(case, cases[case])


def choices(rows: Sequence[Record], ranks: Mapping[Group, Standing]) -> list[Choice]:
    """Returns one choice per suite, device and dtype; suites in plan order, wide dtypes first."""
    found = races(rows)
    suites = list(dict.fromkeys(row.trial.case.suite for row in rows))
    places = sorted(
        by_place(ranks).items(),
        key=lambda item: (suites.index(item[0][0]), item[0][1], dtype_order(item[0][2])),
    )
    return [_choice(place, standings, found.get(place, Race(None, {}))) for place, standings in places]


def dtype_order(dtype: str) -> int:
    """Returns the place of a dtype in tables, wide before narrow; unknown ones come last."""
    return DTYPES.index(dtype) if dtype in DTYPES else len(DTYPES)


def _choice(place: tuple[str, str, str], standings: Sequence[Standing], race: Race) -> Choice:
    candidates = [standing for standing in standings if standing.candidate]
    quiet = [standing for standing in candidates if not standing.warnings]
    field = quiet or candidates
    timed = [s for s in field if race.seconds(s.group.implementation) is not None]
    best = _fastest(timed, race) if timed else min(field, key=_error_key, default=None)
    second = _runner_up(best, candidates, race)
    return Choice(
        *place,
        tuple(standings),
        race,
        best,
        _reason(best, field, bool(quiet), bool(timed), race) if best else "",
        second,
        _runner_up_words(second, best, race) if second and best else "",
    )


def _fastest(timed: Sequence[Standing], race: Race) -> Standing:
    """Returns the fastest, or the baseline where the two are not shown to differ.

    Nobody should change their code for a difference that the measurement does not show.
    """
    first = min(timed, key=lambda s: race.seconds(s.group.implementation) or math.inf)
    tied = _tied(first, timed, race)
    return next((s for s in timed if s.maker.baseline and s.group.implementation in tied), first)


def _error_key(standing: Standing) -> tuple[bool, float, float]:
    worst, ulps = standing.worst_conditioned, standing.worst_error
    return (worst is None or math.isnan(worst), worst or 0.0, ulps or 0.0)


def _reason(best: Standing, field: Sequence[Standing], quiet: bool, timed: bool, race: Race) -> str:
    bar = "without a numerical warning" if quiet else "without an error"
    tied = _tied(best, field, race) if timed else []
    if len(field) == 1:
        lead = f"the only one {bar}"
    else:
        first = "among the fastest" if tied else "fastest"
        lead = f"{first if timed else 'most accurate'} of the {len(field)} {bar}"
    parts = [lead]
    if best.regimes and not best.nonfinite and not best.lost_elsewhere:
        all_of = f"all {units.count(best.regimes)} regimes" if best.regimes > 1 else "the one regime"
        parts[0] += f", finite on {all_of} of variant {best.variant}"
    if best.error_words:
        parts.append(f"worst error {best.error_words}")
    baseline = against_baseline(race, best.group.implementation) if timed else "not timed"
    if not (tied and baseline.startswith("not shown")):
        parts.append(baseline)
    if tied:
        more = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
        parts.append(f"time not shown to differ from {', '.join(tied[:3])}{more}")
    if best.rank == "rankable" and best.cause:
        parts.append(best.cause)
    if best.limits:
        parts.append(f"limits: {', '.join(best.limits)}")
    if best.elsewhere:
        parts.append(f"errors in other variants: {'; '.join(best.elsewhere)}")
    return "; ".join(part for part in parts if part)


def against_baseline(race: Race, name: str) -> str:
    """Says how an implementation's time compares with the baseline's, from the same rounds."""
    record = race.records.get(name)
    if record is None:
        return ""
    if record.maker.baseline:
        return "it is the baseline"
    baseline = next((n for n, r in race.records.items() if r.maker.baseline), "the baseline")
    ratio, low, high = (record.numbers.get(key) for key in ("ratio", "ratio_low", "ratio_high"))
    if ratio is None or not math.isfinite(ratio) or ratio <= 0:
        return ""
    if low is not None and high is not None and low <= 1 <= high:
        return f"not shown to differ from {baseline} in time"
    faster = ratio < 1
    return (
        f"{units.multiple(1 / ratio if faster else ratio)} {'faster' if faster else 'slower'} than {baseline}"
    )


def _tied(best: Standing, field: Sequence[Standing], race: Race) -> list[str]:
    """Names the others whose interval overlaps this one's: their order is not shown."""
    names = [s.group.implementation for s in field if s is not best]
    return [name for name in names if _overlap(best.group.implementation, name, race)]


def _overlap(one: str, other: str, race: Race) -> bool:
    ends = []
    for name in (one, other):
        numbers = race.records[name].numbers if name in race.records else {}
        low, high = numbers.get("seconds_low"), numbers.get("seconds_high")
        if low is None or high is None:
            return False
        ends.append((low, high))
    return ends[0][0] <= ends[1][1] and ends[1][0] <= ends[0][1]


def _runner_up(best: Standing | None, candidates: Sequence[Standing], race: Race) -> Standing | None:
    rest = [standing for standing in candidates if standing is not best]
    timed = [s for s in rest if race.seconds(s.group.implementation) is not None]
    if timed:
        return min(timed, key=lambda s: race.seconds(s.group.implementation) or math.inf)
    return min(rest, key=_error_key) if rest else None


def _runner_up_words(second: Standing, best: Standing, race: Race) -> str:
    mine, theirs = (race.seconds(s.group.implementation) for s in (second, best))
    words = []
    if _overlap(second.group.implementation, best.group.implementation, race):
        words.append("time not shown to differ")
    elif mine and theirs:
        faster = mine < theirs
        times = units.multiple(theirs / mine if faster else mine / theirs)
        words.append(f"{times} {'faster' if faster else 'slower'}")
    if second.error_words:
        words.append(f"worst error {second.error_words}")
    if second.warnings:
        words.append(f"but warnings: {defect_words(second.warnings, second.cases)}")
    return ", ".join(words)
