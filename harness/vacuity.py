"""Would the check have noticed? Null answers are put to every yardstick; one that passes is vacuous.

An answer that nobody computed - zeros, a constant, the sign flipped, 3 % too small, the one-hot part alone,
another row's gradient - has to be rejected by the loss check and by each gradient check of every case, and
of every rung of a ladder that was answered. Three excuses are declared and counted: the null answer is
right (one class, all rows ignored) or within 2 ulp of the truth, the least that any check allows (log C of
an untrained model); zeros stand for what underflows; or it is a zero loss, a note by rule, where the
gradient check of the same case decides. A suite declares further ones (`Blind`), such as p = q. Other
calls, edges of the shape, ladders and exhaustive sweeps ask for errors alone, so what is a matter of size
there (within a quarter of the truth, or wholly below the error bound) is the accuracy check's. The trap: a
check that accepts zeros under one regime looks as green as all others, so the run itself has to say which
checks those are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from harness.garbage import FEW_BOUNDS, FEW_ENTRIES, few, garbage
from harness.inputs import dtype_named
from harness.judge import Yardstick, certain_bound, judge
from harness.oracle.reduction import Array
from harness.standard import Standard
from harness.suite import Blind

# What a question tells beside sizes: errors; garbage in 16 bits as well; both but for a few entries.
Rule = Literal["errors", "garbage", "edge"]

SHRUNK = 0.97
OTHER_ROW = "another row's"
RIGHT = "it is the right answer there"
FAINT = "a loss lost below the error floor is a note; the gradient check decides"
UNDERFLOW = "underflow: every exact entry that it misses is below the smallest normal number"
SIZE = "it is within a quarter of the truth; the accuracy check decides about sizes"
ALIKE = "its rows differ by less than the error bound; the accuracy check decides"
BELOW = "every exact entry is below the error bound; the accuracy check decides"


@dataclass(frozen=True)
class Vacuous:
    """A check ("loss" or a tensor's gradient) that accepts a null answer, and why that is right or not.

    `declared` is empty for a check that is vacuous without excuse.
    """

    check: str
    null: str
    declared: str = ""

    @property
    def sentence(self) -> str:
        """The check and the null answer in words."""
        return f"{self.check} accepts {self.null}"


def vacuous_checks(stand: Standard) -> tuple[Vacuous, ...]:
    """Returns every check of a standard that accepts a null answer."""
    gradients: list[Vacuous] = []
    for name, stick in stand.gradients.items():
        gradients += _accepted(f"gradient of {name}", stick, _gradient_nulls(stick, stand))
    guarded = bool(stand.gradients) and not any(v.null == "zeros" and not v.declared for v in gradients)
    return (*_accepted("loss", stand.loss, _loss_nulls(stand), guarded=guarded), *gradients)


def coarsely_vacuous(stand: Standard, rule: Rule = "errors") -> tuple[Vacuous, ...]:
    """Returns the checks of a standard that accept a null answer where only errors are told.

    On ladders of counts and at an edge of the shape so is garbage in 16 bits (`harness.garbage`).
    """
    found = [*_passed("loss", stand.loss, _loss_nulls(stand), rule)]
    for name, stick in stand.gradients.items():
        found += _passed(f"gradient of {name}", stick, _gradient_nulls(stick, stand), rule)
    return tuple(found)


def _passed(
    check: str, stick: Yardstick, nulls: Iterator[tuple[str, Array]], rule: Rule
) -> Iterator[Vacuous]:
    bound, edge = certain_bound(stick), rule == "edge"
    # At an edge some entries are excused, and more by FEW_BOUNDS, of two kinds in each group.
    bound, excused = (FEW_BOUNDS * bound, 2 * FEW_ENTRIES * len(stick.groups)) if edge else (bound, 0)
    for null, answer in nulls:
        if _errors_beyond(bound, stick, answer) > excused:
            continue
        errors = [defect for defect in judge(stick, answer).defects if defect.severity == "error"]
        # An edge excuses a few entries, and is asked by its own rule.
        if any(not (edge and few(stick, defect)) for defect in errors):
            continue
        if rule != "errors" and garbage(stick, answer):
            continue
        yield Vacuous(check, null, _right(stick, answer) or _small(stick, answer, null))


def _errors_beyond(bound: Array, stick: Yardstick, answer: Array) -> int:
    """Returns how many entries of a null answer are certain errors; nearly all are, and need no judging."""
    off = np.abs(stick.off(answer))
    return int(np.count_nonzero((off > bound) & np.isfinite(answer)))


def _small(stick: Yardstick, answer: Array, null: str) -> str:
    """Returns why a null answer is no error: what it is off by is no matter of its kind but of size."""
    known = np.isfinite(stick.truth) & ~stick.infinite
    truth = np.abs(stick.truth[known])
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(answer - stick.truth)[known]
    if bool((off <= truth / 4).all()):
        return SIZE
    if null == OTHER_ROW and bool((off <= stick.error[known]).all()):
        return ALIKE
    missed = off > stick.strict[known]
    if missed.any() and bool((truth < stick.form.smallest_normal)[missed].all()):
        return UNDERFLOW
    return BELOW if bool((truth <= stick.error[known]).all()) else ""


def declared(found: Iterable[Vacuous], blind: Iterable[Blind], facts: Mapping[str, str]) -> Iterator[Vacuous]:
    """Yields the vacuous checks with the suite's own reasons put where it declares one."""
    entries = tuple(blind)
    for item in found:
        entry = _entry_for(item, entries, facts)
        yield item if entry is None else replace(item, declared=entry.reason)


def covering(found: Iterable[Vacuous], blind: Iterable[Blind], facts: Mapping[str, str]) -> Iterator[Blind]:
    """Yields the entry that excuses a vacuous check, for every check that is excused by no rule."""
    entries = tuple(blind)
    for item in found:
        entry = _entry_for(item, entries, facts)
        if entry is not None:
            yield entry


def reaches(entry: Blind, facts: Mapping[str, str]) -> bool:
    """Tells whether an entry speaks of cases with these facts, of whatever check and null answer."""
    return replace(entry, check=(), null=()).covers({**facts, "check": "", "null": ""})


def of_question(entry: Blind) -> bool:
    """Tells whether an entry speaks of another question than the plain one, such as "one class: loss"."""
    return any(": " in check for check in entry.check)


def _entry_for(item: Vacuous, entries: Sequence[Blind], facts: Mapping[str, str]) -> Blind | None:
    known = {**facts, "check": item.check, "null": item.null}
    return None if item.declared else next((entry for entry in entries if entry.covers(known)), None)


def notes_of(found: Iterable[Vacuous]) -> dict[str, str]:
    """Returns the notes of a Result: undeclared and declared vacuous checks, each only where there is one."""
    notes: dict[str, list[str]] = {}
    for item in found:
        key, reason = ("vacuous_declared", f" ({item.declared})") if item.declared else ("vacuous", "")
        notes.setdefault(key, []).append(f"{item.sentence}{reason}")
    return {key: "; ".join(sentences) for key, sentences in notes.items()}


def _loss_nulls(stand: Standard) -> Iterator[tuple[str, Array]]:
    truth = stand.loss.truth
    classes = stand.sample.shape.classes
    yield "zeros", np.zeros_like(truth)
    yield "the constant log C", np.full_like(truth, math.log(max(classes, 2)))
    yield "the sign flipped", -truth
    yield "0.97 of it", truth * SHRUNK
    if truth.ndim and len(truth) > 1:
        yield OTHER_ROW, np.roll(truth, 1)


def _gradient_nulls(stick: Yardstick, stand: Standard) -> Iterator[tuple[str, Array]]:
    truth = stick.truth
    yield "zeros", np.zeros_like(truth)
    yield "the sign flipped", -truth
    yield "0.97 of it", truth * SHRUNK
    if len(truth) > 1:
        yield OTHER_ROW, np.roll(truth, 1, axis=0)
    target = next((k for k, name in enumerate(stick.groups) if name.endswith("/target")), None)
    if target is not None:
        scale = stand.truth.row_scale.reshape(-1, *([1] * (truth.ndim - 1)))
        yield "the one-hot part alone", np.where(stick.labels == target, -scale, 0.0)


def _accepted(
    check: str, stick: Yardstick, nulls: Iterator[tuple[str, Array]], *, guarded: bool = False
) -> Iterator[Vacuous]:
    bound = certain_bound(stick)
    for null, answer in nulls:
        if _errors_beyond(bound, stick, answer):
            continue
        defects = judge(stick, answer).defects
        if any(defect.severity != "note" for defect in defects):
            continue
        faint = guarded and null == "zeros" and bool(defects)
        under = null == "zeros" and bool((np.abs(stick.truth) < stick.form.smallest_normal).all())
        excuse = UNDERFLOW if under else FAINT if faint else ""
        yield Vacuous(check, null, _right(stick, answer) or excuse)


def _right(stick: Yardstick, answer: Array) -> str:
    """Returns why a null answer is right: as numbers of the dtype it is the truth, or next to it."""
    dtype = dtype_named(stick.form.name)
    with np.errstate(invalid="ignore", over="ignore"):
        one = torch.from_numpy(np.atleast_1d(np.ascontiguousarray(answer))).to(dtype)
        other = torch.from_numpy(np.atleast_1d(np.ascontiguousarray(stick.truth))).to(dtype)
        near = np.abs(answer - stick.truth) <= 2 * stick.spacing
    if bool(((one == other) | other.isnan()).all()):
        return RIGHT
    return "it is within 2 ulp of the truth" if bool((near | ~np.isfinite(stick.truth)).all()) else ""
