"""Do two ways to say the same number agree? The identities of a suite, put to one implementation.

Each side is computed with its losses, its gradients and what both may be off by (`harness.probes.sides`):
|left - right| <= bound(left) + bound(right) for every row and gradient entry, the bounds being what the
strict rule grants those very calls in the dtype of the case. The other side is the same implementation
called differently, or the truth of another family, never another implementation: two that share a
mistake would agree. A broken identity is an error of its own kind, named by the identity. The trap: the
sample must hold numbers that the dtype stores, so float64 is asked at float32 numbers, which shifts and
halves leave exact; what rounding a side's inputs changes is granted to that side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from harness.block import Answer, OpenBlock
from harness.calling import torch_state_kept
from harness.inputs import draw
from harness.judge import Mask
from harness.oracle.reduction import Array
from harness.outcome import KINDS, severity
from harness.probes.evaluation import Answered, Evaluation, NotTakenError, WrongAnswerError
from harness.probes.sides import Side, side_of
from harness.results import TIMES, Finding
from harness.sample import Sample, Shape, rows
from harness.suite import Identity
from harness.units import number
from harness.vacuity import RIGHT, SHRUNK, SIZE, Vacuous, notes_of

NAME = "identity"
# Loops over rows are implementations too, and an identity shows in few rows.
ROWS = 16
# What a side computes around its calls is float64 as well: a few roundings of its size.
AROUND = 2.0**-50
INEQUALITY = "an inequality leaves room; the accuracy check decides about sizes"
NOTHING_LEFT = "the other side is 0, and what is left of this one is rounding"


@dataclass(frozen=True)
class Holding:
    """Whether an identity holds: the reason where it was not taken, a finding where it is broken.

    `share` is the largest difference over what is allowed, over the rows in which every call keeps the
    strict rule; NaN where there is none. `vacuous` are the comparisons that a left side out of thin air
    would pass.
    """

    unsupported: str = ""
    finding: Finding | None = None
    share: float = math.nan
    vacuous: tuple[Vacuous, ...] = ()


def identity(block: OpenBlock, name: str) -> Answer:
    """Asks one implementation every identity of its suite in the dtype of the case."""
    answers: dict[tuple[object, ...], Answered] = {}
    findings: list[Finding] = []
    notes: dict[str, str] = {}
    shares: list[float] = []
    vacuous: list[Vacuous] = []
    for one in block.suite.identities:
        found = holding(block, name, one, answers)
        if found.unsupported:
            notes[f"unsupported: {one.name}"] = found.unsupported
        if found.finding is not None:
            findings.append(found.finding)
        if not math.isnan(found.share):
            shares.append(found.share)
        vacuous += found.vacuous
    asked = len(block.suite.identities) - len(notes)
    if not asked:
        return Answer("unsupported", next(iter(notes.values()), "its suite declares no identity"))
    numbers = {"identities": float(asked), "identities_unsupported": float(len(notes))}
    if shares:
        numbers["identity_share"] = max(shares)
    return Answer("ok", "", tuple(findings), numbers, notes | notes_of(vacuous))


def holding(
    block: OpenBlock, name: str, one: Identity, answers: dict[tuple[object, ...], Answered] | None = None
) -> Holding:
    """Asks one implementation one identity; `answers` keeps its calls for the next one."""
    item, case = block.suite.implementation(name), block.case
    excluded = item.contract.excludes(one.variant, one.regime, case.dtype, case.device)
    if excluded is not None:
        return Holding(excluded)
    for option in block.suite.regime(one.regime).needs:
        if not item.accepts(option) and option not in item.contract.definition:
            return Holding(f"takes no option {option}, which regime {one.regime} needs")
    sample, options = drawn_for(block, one)
    evaluation = Evaluation(
        block, name, one.variant, one.regime, sample, options, {} if answers is None else answers
    )
    called = f"suite {block.suite.name!r}: identity {one.name!r}"
    try:
        with torch_state_kept():
            left, right = (side_of(side, evaluation, sample, called) for side in (one.left, one.right))
    except NotTakenError as refused:
        return Holding(str(refused))
    except WrongAnswerError as wrong:
        return Holding(finding=Finding(wrong.kind, severity(wrong.kind), NAME, one.name, str(wrong)))
    return _compared(block, one, sample, left, right, evaluation.differentiable)


def drawn_for(block: OpenBlock, one: Identity) -> tuple[Sample, dict[str, Any]]:
    """Returns the stored numbers of a sample, widened to float64, and the options of the identity."""
    suite, case = block.suite, block.case
    few = Shape(min(ROWS, suite.shapes.usual.batch), suite.shapes.usual.classes)
    shape = suite.regime(one.regime).shape(few)
    narrow = "float32" if case.dtype == "float64" else case.dtype
    drawn = replace(
        case, variant=one.variant, regime=one.regime, dtype=narrow, batch=shape.batch, classes=shape.classes
    )
    sample, options = draw(drawn, suite, seed=block.seed)
    if case.dtype == "float64":
        options = {name: _widened(value) for name, value in options.items()}
    wide = sample.mapped(_widened)
    leaves = {name: wide[name].requires_grad_() for name in wide.gradients if name not in wide.shared}
    return wide.replaced(gradients=None, layout=None, **leaves), options


def _widened(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _compared(
    block: OpenBlock, one: Identity, sample: Sample, left: Side, right: Side, differentiable: bool
) -> Holding:
    """Compares the sides entry by entry; entries whose bound is not finite are left out."""
    parts = [_part("loss", left.losses, right.losses, left.loss_bound, right.loss_bound)]
    if one.relation == "equal" and differentiable:
        parts += [
            _part(
                f"gradient of {name}",
                left.gradients[name],
                right.gradients[name],
                left.gradient_bounds[name],
                right.gradient_bounds[name],
            )
            for name in left.gradients
        ]
    share, finding, compared = math.nan, None, False
    kept = ~(left.stretched | right.stretched)
    for part in parts:
        apart, broken = part.judged(at_least=one.relation == "at_least")
        if not part.comparable.any():
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(part.comparable, np.where(apart == 0, 0.0, apart / part.allowed), 0.0)
        shares = np.where(np.isnan(shares), np.inf, shares)
        compared = True
        if kept.any() or broken.any():
            share = float(np.fmax(share, shares.max() if broken.any() else shares[kept].max()))
        if finding is None and broken.any():
            finding = _finding(block, one, sample, part, apart, broken, shares)
    if not compared:
        return Holding("nothing to compare: no row has a finite truth, or every answer is listed as known")
    return Holding("", finding, share, tuple(v for part in parts for v in _accepted(one, part)))


@dataclass(frozen=True)
class _Part:
    """The losses or one gradient of both sides, and what they may be apart."""

    tensor: str
    left: Array
    right: Array
    allowed: Array

    @property
    def comparable(self) -> Mask:
        return np.asarray(np.isfinite(self.allowed))

    def judged(self, *, at_least: bool) -> tuple[Array, Mask]:
        """Returns how far apart the sides are and which entries are broken; a NaN breaks its entry.

        Two NaN, and two equal infinities, are equal: what is wrong with them is no matter of an identity.
        """
        same = (self.left == self.right) | (np.isnan(self.left) & np.isnan(self.right))
        with np.errstate(invalid="ignore"):
            apart = self.right - self.left if at_least else np.abs(self.left - self.right)
        apart = np.where(same, 0.0, np.maximum(apart, 0.0))
        return apart, np.asarray(self.comparable & ~(apart <= self.allowed))


def _accepted(one: Identity, part: _Part) -> Iterator[Vacuous]:
    """Yields the null answers that a comparison accepts in place of its left side."""
    kept = part.comparable
    nulls = (("zeros", 0.0), ("the sign flipped", -1.0), (f"{SHRUNK} of it", SHRUNK))
    for null, factor in nulls if kept.any() else ():
        with np.errstate(invalid="ignore"):
            left = part.left * factor
        _, broken = replace(part, left=left).judged(at_least=one.relation == "at_least")
        if broken.any():
            continue
        excuse = ""
        if one.relation == "at_least":
            excuse = INEQUALITY
        elif not part.right[kept].any():
            excuse = NOTHING_LEFT
        elif bool((left == part.left)[kept].all()):
            excuse = RIGHT
        elif factor == SHRUNK:
            excuse = SIZE
        yield Vacuous(f"{one.name}: {part.tensor}", null, excuse)


def _part(tensor: str, left: Array, right: Array, left_bound: Array, right_bound: Array) -> _Part:
    sizes = [np.where(np.isfinite(side), np.abs(side), 0.0) for side in (left, right)]
    with np.errstate(over="ignore"):
        return _Part(tensor, left, right, left_bound + right_bound + AROUND * (sizes[0] + sizes[1]))


def _finding(
    block: OpenBlock, one: Identity, sample: Sample, part: _Part, apart: Array, broken: Mask, shares: Array
) -> Finding:
    worst = int(np.argmax(np.where(broken, shares, -1.0)))
    place = tuple(int(index) for index in np.unravel_index(worst, part.left.shape))
    left, right, allowed = (float(array[place]) for array in (part.left, part.right, part.allowed))
    sign = "at least" if one.relation == "at_least" else "equal to"
    equation = one.about or one.source or one.name.replace("_", " ")
    distance = f", {number(float(apart[place]))} apart" if np.isfinite(apart[place]) else ""
    message = (
        f"{equation}: {KINDS[NAME].sentence}; {part.tensor} {number(left)} should be {sign} {number(right)}"
        f"{distance} where {number(allowed)} is allowed "
        f"({int(broken.sum())} of {int(part.comparable.sum())})"
    )
    witness = {
        "identity": one.name,
        "tensor": part.tensor,
        "place": list(place),
        "left": left.hex(),
        "right": right.hex(),
        "allowed": allowed.hex(),
        **({TIMES: float(shares[place])} if np.isfinite(shares[place]) else {}),
        "dtype": block.case.dtype,
        "variant": one.variant,
        "regime": one.regime,
        "inputs": _row(sample, place[0]),
    }
    return Finding(NAME, severity(NAME), NAME, one.name, message, witness)


def _row(sample: Sample, row: int) -> Mapping[str, Any]:
    """Returns the inputs of a row in hex floats; of long rows the first entries."""
    shown: dict[str, Any] = {}
    for name, tensor in sample.named.items():
        if name in sample.shared:
            continue
        entries = rows(tensor.detach(), sample.layout)[row].reshape(-1)
        texts = [float(v).hex() if tensor.is_floating_point() else int(v) for v in entries[:ROWS]]
        shown[name] = texts if entries.numel() > 1 else texts[0]
        if entries.numel() > ROWS:
            shown[f"{name}_entries"] = int(entries.numel())
    return shown
