"""Who may be recommended: the standing of each implementation at each suite x dtype x device.

The question is asked of one variant, the one that is climbed and timed: rankable: accuracy and
overflow were run and no finding has severity error, over all its regimes, shapes and ladders;
excluded: an error was found, known or not; unproven: one of the two probes has no answer. Errors in
other variants are named beside the rank. Whose Contract declares another definition than the baseline's
has a rank as well, but answers another question and replaces nothing. The trap: a Known entry makes a
finding expected, not harmless, so it excludes as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness import units
from harness.columns import parted
from harness.outcome import KINDS
from harness.results import INCOMPLETE, LADDER_PREFIXES, SEVERITIES
from reports.conditioning import OVER_INPUTS, conditioned, digitless, inputs_words, told_in_inputs
from reports.declared import Maker
from reports.records import Record

Rank = Literal["rankable", "excluded", "unproven"]
NEEDED = ("accuracy", "protocol", "overflow")
# Compiler findings cost time, which is ranked anyway; they do not make an answer less right.
_NOT_NUMERICAL = frozenset({"graph_break", "recompiles"})
DYING = next(prefix for prefix in LADDER_PREFIXES if "dead" in prefix)
NONFINITE = frozenset({"spurious_nan", "spurious_overflow", "nan_leak"})


class Group(NamedTuple):
    """Where a standing holds."""

    suite: str
    device: str
    dtype: str
    implementation: str


class Defect(NamedTuple):
    """One kind of finding in a group: in how many cases, and whether all of them are known."""

    kind: str
    severity: str
    cases: int
    known: bool


@dataclass(frozen=True)
class Standing:
    """The standing of one implementation; `worst_*` is NaN before infinite before finite, None absent."""

    group: Group
    maker: Maker
    rank: Rank
    cause: str
    defects: tuple[Defect, ...]
    cases: int
    regimes: int
    worst_loss: float | None
    worst_gradient: float | None
    limits: tuple[str, ...] = ()
    variant: str = ""
    elsewhere: tuple[str, ...] = ()
    conditioned_loss: float | None = None
    conditioned_gradient: float | None = None
    definition: str = ""
    # The worst error of the cases with a numerical warning in ulp, and of those without one, in ulp and over
    # max(ulp, u N).
    warned_error: float | None = None
    unwarned_error: float | None = None
    unwarned_conditioned: float | None = None

    @property
    def warnings(self) -> tuple[Defect, ...]:
        """The numerical warnings; those of the compiler are not among them."""
        return tuple(d for d in self.defects if d.severity == "warning" and d.kind not in _NOT_NUMERICAL)

    @property
    def errors(self) -> tuple[Defect, ...]:
        """The errors, worst and most frequent first."""
        return tuple(defect for defect in self.defects if defect.severity == "error")

    @property
    def nonfinite(self) -> bool:
        """Whether NaN or an infinity came back where the exact value is finite and an answer is promised."""
        return any(defect.kind in NONFINITE for defect in self.errors) or any(
            value is not None and not math.isfinite(value) for value in (self.worst_loss, self.worst_gradient)
        )

    @property
    def lost_elsewhere(self) -> bool:
        """Whether NaN or an infinity came back outside of what is promised; a warning names it."""
        return any(defect.kind in NONFINITE for defect in self.defects) and not self.nonfinite

    @property
    def worst_error(self) -> float | None:
        """The larger of the worst loss and gradient errors in ulp."""
        return worst_number((self.worst_loss, self.worst_gradient))

    @property
    def worst_conditioned(self) -> float | None:
        """The larger of the worst loss and gradient errors over max(ulp, u N); candidates go by it."""
        return worst_number((self.conditioned_loss, self.conditioned_gradient))

    @property
    def within_inputs(self) -> bool:
        """Whether its worst error is one that the inputs' conditioning allows: no bound was broken."""
        unbroken = not self.errors and not self.warnings
        return unbroken and told_in_inputs(self.worst_error, self.worst_conditioned)

    @property
    def error_words(self) -> str:
        """The worst error in words: in ulp, in u N where ulp say nothing, "" when none was measured.

        Where a warning stands beside it, that of the cases without one follows.
        """
        worst, other = self.worst_error, self.worst_conditioned
        if worst is None:
            return ""
        if other is not None and self.within_inputs:
            return inputs_words(worst, other, self.group.dtype)
        warned, rest = self.warned_error, self.unwarned_words
        if warned is None or not self.warnings or self.errors:
            return units.ulps(worst)
        said = units.ulps(warned if rest else worst)
        said += " (no digit right)" if digitless(warned if rest else worst, self.group.dtype) else ""
        return f"{said} where it is warned of, {rest} elsewhere" if rest else said

    @property
    def unwarned_words(self) -> str:
        """The worst error of the cases without a warning in words, "" where that is no smaller one."""
        error, other, warned = self.unwarned_error, self.unwarned_conditioned, self.warned_error
        if error is None or warned is None:
            return ""
        if other is not None and told_in_inputs(error, other):
            return f"{units.number(other, 2)} u N"
        return units.ulps(error) if error < warned else ""

    @property
    def replaces(self) -> bool:
        """Whether it answers the baseline's question at all and is there to be used."""
        return self.maker.recommendable and not self.definition

    @property
    def candidate(self) -> bool:
        """Whether it may be recommended here."""
        return self.rank == "rankable" and self.replaces


def group_of(row: Record) -> Group:
    """Returns the group that a record counts in."""
    case = row.trial.case
    return Group(case.suite, case.device, case.dtype, row.trial.implementation)


def worst_number(values: Iterable[float | None]) -> float | None:
    """Returns the worst of measured numbers: NaN, then the largest; None when none was measured."""
    present = [value for value in values if value is not None]
    return max(present, key=lambda value: (math.isnan(value), value)) if present else None


def standings(rows: Sequence[Record]) -> dict[Group, Standing]:
    """Returns the standing of every group, in the order of first appearance."""
    members: dict[Group, list[Record]] = {}
    for row in rows:
        members.setdefault(group_of(row), []).append(row)
    return {group: _standing(group, found) for group, found in members.items()}


def defect_words(defects: Iterable[Defect], cases: int, most: int = 3) -> str:
    """Returns defects in words, e.g. "NaN in 7 of 12 cases, inf in 2"; at most `most` of them."""
    listed = list(defects)
    words = []
    for place, defect in enumerate(listed[:most]):
        total = f" of {units.counted(cases, 'case')}" if place == 0 else ""
        known = " (known)" if defect.known else ""
        words.append(f"{cell_word(defect.kind)} in {units.count(defect.cases)}{total}{known}")
    if len(listed) > most:
        words.append(f"{units.counted(len(listed) - most, 'more kind')}")
    return ", ".join(words)


def cell_word(kind: str) -> str:
    """Returns the short word of a kind of finding; a kind of another version speaks for itself."""
    return KINDS[kind].cell if kind in KINDS else kind.replace("_", " ")


def _home_variant(rows: Sequence[Record]) -> str:
    """Returns the variant that was climbed or timed, the first one where neither was done."""
    asked = next((row for row in rows if row.ran("overflow") or row.ran("timing")), rows[0])
    return asked.trial.case.variant


def _defects(rows: Sequence[Record]) -> list[Defect]:
    counted: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        seen: dict[tuple[str, str], bool] = {}
        for finding in row.findings:
            # Outside of what an implementation promises an error is a warning: shown, no bar.
            grade = "warning" if finding.outside else finding.severity
            key: tuple[str, str] = (finding.kind, grade)
            seen[key] = seen.get(key, False) or not finding.known
        for key, is_open in seen.items():
            total = counted.setdefault(key, [0, 0])
            total[0] += 1
            total[1] += is_open
    return sorted(
        (Defect(kind, severity, total, not opened) for (kind, severity), (total, opened) in counted.items()),
        key=lambda d: (-SEVERITIES.index(d.severity), d.kind not in NONFINITE, -d.cases, d.kind),
    )


def _elsewhere(rows: Sequence[Record]) -> tuple[str, ...]:
    """Names the errors in other variants, e.g. "probability: NaN in 1 of 6 cases (known)"."""
    by_variant: dict[str, list[Record]] = {}
    for row in rows:
        by_variant.setdefault(row.trial.case.variant, []).append(row)
    words = []
    for variant, members in by_variant.items():
        errors = [defect for defect in _defects(members) if defect.severity == "error"]
        if errors:
            judged = [row for row in members if row.status not in ("unsupported", "skipped")]
            words.append(f"{variant}: {defect_words(errors, len(judged), most=1)}")
    return tuple(words)


def _standing(group: Group, everything: Sequence[Record]) -> Standing:
    variant = _home_variant(everything)
    rows = [row for row in everything if row.trial.case.variant == variant]
    defects = _defects(rows)
    judged = [row for row in rows if row.status not in ("unsupported", "skipped")]
    rank, cause = _rank(rows, judged, defects)
    warned = [row for row in rows if _is_warned_of(row)]
    quiet = [row for row in rows if not _is_warned_of(row)]
    return Standing(
        group,
        rows[0].maker,
        rank,
        cause,
        tuple(defects),
        len(judged),
        len({row.trial.case.regime for row in rows if row.ran("accuracy")}),
        worst_number(_promised(row, "loss_ulps") for row in rows),
        worst_number(_promised(row, "gradient_ulps") for row in rows),
        _limits(rows),
        variant,
        _elsewhere([row for row in everything if row.trial.case.variant != variant]),
        _worst_conditioned(rows, "loss_ulps"),
        _worst_conditioned(rows, "gradient_ulps"),
        rows[0].maker.definition(variant),
        worst_number(_promised(row, name) for row in warned for name in OVER_INPUTS),
        worst_number(_promised(row, name) for row in quiet for name in OVER_INPUTS),
        worst_number(_worst_conditioned(quiet, name) for name in OVER_INPUTS),
    )


def _worst_conditioned(rows: Sequence[Record], name: str) -> float | None:
    """Returns the worst over the records of an error over max(ulp, u N)."""
    return worst_number(conditioned(row.numbers, name, _promised(row, name)) for row in rows)


def _is_warned_of(row: Record) -> bool:
    """Tells whether a numerical finding above a note tells of a record."""
    return any(f.severity != "note" and f.kind not in _NOT_NUMERICAL for f in row.findings)


def _promised(row: Record, name: str) -> float | None:
    """Returns a number of a record; None where it is not finite only outside of what is promised."""
    value = row.numbers.get(name)
    if value is None or math.isfinite(value):
        return value
    lost = [finding for finding in row.findings if finding.kind in NONFINITE]
    return None if lost and all(finding.outside for finding in lost) else value


def _limits(rows: Sequence[Record]) -> tuple[str, ...]:
    """Says for each ladder from where on gradients are lost, the lowest over the cases."""
    lowest: dict[str, float] = {}
    for row in rows:
        if row.ran("overflow"):
            for name, value in row.numbers.items():
                ladder, tensor = parted(name.removeprefix(DYING))
                # The plain number is the lowest of those of the gradients.
                if name.startswith(DYING) and not tensor and math.isfinite(value):
                    lowest[ladder] = min(value, lowest.get(ladder, math.inf))
    return tuple(
        f"gradient dead from {ladder} {units.threshold(value)}" for ladder, value in sorted(lowest.items())
    )


def _rank(rows: Sequence[Record], judged: Sequence[Record], defects: list[Defect]) -> tuple[Rank, str]:
    errors = [defect for defect in defects if defect.severity == "error"]
    if errors:
        return "excluded", defect_words(errors, len(judged))
    if not judged:
        return "unproven", next((row.reason for row in rows if row.reason), "unsupported")
    for probe in NEEDED:
        if probe == "overflow" and not rows[0].maker.climbed:
            continue
        if gap := _gap(probe, judged):
            return "unproven", gap
    warnings = [defect for defect in defects if defect.severity == "warning"]
    return "rankable", f"warnings: {defect_words(warnings, len(judged))}" if warnings else ""


def _gap(probe: str, rows: Sequence[Record]) -> str:
    """Says why a probe does not count as run in a group, "" when it does."""
    answers = [row.answers[probe] for row in rows if probe in row.answers]
    missing = sum(probe in row.unanswered for row in rows)
    failed = [status for status in answers if status in INCOMPLETE]
    if failed:
        word = failed[0].replace("_", " ")
        return f"{probe} {word} in {units.count(len(failed))} of {units.counted(len(rows), 'case')}"
    if missing:
        return f"{probe} has no answer in {units.count(missing)} of {units.counted(len(rows), 'case')}"
    if not answers:
        return f"{probe} was not run"
    if "ok" not in answers:
        return f"{probe} was {answers[0].replace('_', ' ')}"
    return ""


def by_place(ranks: Mapping[Group, Standing]) -> dict[tuple[str, str, str], list[Standing]]:
    """Returns the standings of each suite, device and dtype, in the order of first appearance."""
    places: dict[tuple[str, str, str], list[Standing]] = {}
    for group, standing in ranks.items():
        places.setdefault((group.suite, group.device, group.dtype), []).append(standing)
    return places
