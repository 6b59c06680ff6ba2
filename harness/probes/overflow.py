"""Where does it break? Each ladder of the suite is climbed to its first failing value.

A rung fails when a finding of severity error appears (question "failure") or when a gradient is
returned as 0 that is a normal number (question "dead_gradient"). The first failing pair of rungs is
bisected. The trap: failure need not be monotone, so the number is the first failing value *met on
the way up*, and everything below it on the ladder was seen to be right.
"""

from __future__ import annotations

import torch

from harness.block import Answer, OpenBlock
from harness.calling import Bound, failure
from harness.inputs import dtype_named
from harness.regime import Ladder
from harness.results import Finding
from harness.sample import Shape
from harness.standard import Observation, observe
from harness.units import number

NAME = "overflow"


def overflow(block: OpenBlock, name: str) -> Answer:
    """Climbs every ladder of the suite with one implementation."""
    numbers: dict[str, float] = {}
    findings: list[Finding] = []
    climbed: dict[str, Bound] = {}
    for ladder in block.suite.ladders:
        if ladder.batch_is_value and block.suite.variant(block.case.variant).options.get("reduction") == "none":
            continue
        try:
            met = _climb(block, name, ladder, climbed)
        except Exception as error:
            status, reason = failure(error)
            return Answer(status or "error", reason, tuple(findings), numbers)
        if met is None:
            continue
        value, seen = met
        prefix = "first_failing" if ladder.question == "failure" else "first_dead"
        numbers[f"{prefix}_{ladder.name}"] = value
        worst = _blamed(seen, ladder)
        findings.append(
            Finding(
                worst.kind,
                worst.severity,
                NAME,
                f"ladder {ladder.name}",
                f"from {ladder.names} = {number(value)} on: {worst.group}: {worst.message}",
                {"ladder": ladder.name, "value": float(value).hex(), **worst.witness},
            )
        )
    return Answer("ok", "", tuple(findings), numbers)


def _blamed(seen: Observation, ladder: Ladder) -> Finding:
    if ladder.question == "dead_gradient":
        return next(f for f in seen.findings if f.kind == "dead_gradient")
    return next(f for f in seen.findings if f.severity == "error")


def _fails(seen: Observation, ladder: Ladder) -> bool:
    if ladder.question == "dead_gradient":
        return any(finding.kind == "dead_gradient" for finding in seen.findings)
    return seen.worst_is_error()


def _climb(block: OpenBlock, name: str, ladder: Ladder, climbed: dict[str, Bound]) -> tuple[float, Observation] | None:
    finfo = torch.finfo(dtype_named(block.case.dtype))
    skip = block.suite.implementation(name).skip
    below: float | None = None
    for value in ladder.rungs(finfo):
        if ladder.batch_is_value and skip is not None and skip(Shape(int(value), block.case.classes)):
            return None
        seen = _asked(block, name, ladder, value, climbed)
        if seen.status != "ok":
            return None
        if _fails(seen, ladder):
            return _bisected(block, name, ladder, below, value, seen, climbed)
        below = value
    return None


def _bisected(
    block: OpenBlock,
    name: str,
    ladder: Ladder,
    below: float | None,
    above: float,
    seen: Observation,
    climbed: dict[str, Bound],
) -> tuple[float, Observation]:
    if below is None or (ladder.resolution == 0 and ladder.relative == 0):
        return above, seen
    while above - below > max(ladder.resolution, ladder.relative * above):
        middle = (below * above) ** 0.5 if above > 4 * below > 0 else below + (above - below) / 2
        if ladder.batch_is_value:
            middle = float(int(middle))
        tried = _asked(block, name, ladder, middle, climbed)
        if _fails(tried, ladder):
            above, seen = middle, tried
        else:
            below = middle
    return above, seen


def _asked(block: OpenBlock, name: str, ladder: Ladder, value: float, climbed: dict[str, Bound]) -> Observation:
    stand = block.rung(ladder, value, name)
    # Options hold tensors of the rung's class count; equal options share one callable and artefact.
    key = repr(sorted(stand.options.items(), key=lambda item: item[0]))
    if key not in climbed:
        climbed[key] = block.bound_for(name, stand.options, any_shape=True)
    return observe(climbed[key], stand, block.case.dtype, block.case.device, NAME)
