"""Every finite value of a 16-bit dtype, one row each: counts that are exact, not the largest *found*.

63,488 values in float16, 65,280 in bfloat16; asked unreduced and under an upstream gradient of 1, so
that a row is a value and an entry is what a value gives. Counted are entries per kind of defect. The
trap: a reduction would hide all but one of them, so who takes no `reduction` is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from harness.block import OpenBlock
from harness.inputs import draw_exhaustive
from harness.metrics import FORMATS
from harness.observation import observe
from harness.regime import Exhaustive
from harness.results import EXHAUSTIVE_PREFIX, Finding, Status
from harness.sample import Shape
from harness.standard import Standard, standard
from harness.units import count, counted

NAME = "overflow"
SIXTEEN_BITS = ("float16", "bfloat16")


def all_values(block: OpenBlock, name: str, exhaustive: Exhaustive) -> Standard | None:
    """Returns the standard of all finite values of the dtype; None where an implementation is not asked."""
    case, implementation = block.case, block.suite.implementation(name)
    if case.dtype not in SIXTEEN_BITS or implementation.compiled or not implementation.accepts("reduction"):
        return None
    if implementation.contract.takes_out(f"exhaustive {exhaustive.name}"):
        return None
    if implementation.skip is not None and implementation.skip(Shape(1 << 16, case.classes)):
        return None
    return block.kept(
        ("exhaustive", exhaustive.name),
        name,
        lambda definition: _standard(block, exhaustive, definition),
    )


def every_value(
    block: OpenBlock, name: str, exhaustive: Exhaustive
) -> tuple[dict[str, float], list[Finding], tuple[Status, str] | None]:
    """Returns counts per kind of defect and one finding per kind above note; nothing where not asked.

    Last come status and reason of an implementation that has no answer.
    """
    case, stand = block.case, all_values(block, name, exhaustive)
    if stand is None:
        return {}, [], None
    seen = observe(block.bound_for(name, stand.options), stand, case.dtype, case.device, NAME)
    if seen.loss_judgement is None or seen.gradient_judgements is None:
        refused = None if seen.status == "ok" else (seen.status, seen.reason)
        return {}, [finding for finding in seen.findings if finding.severity != "note"], refused
    inputs = len(seen.loss) if seen.loss is not None else 0
    prefix = f"{EXHAUSTIVE_PREFIX}{exhaustive.name}_"
    numbers = {f"{prefix}inputs": float(inputs)}
    for judgement in (seen.loss_judgement, *seen.gradient_judgements.values()):
        for defect in judgement.defects:
            column = f"{prefix}{defect.kind}"
            numbers[column] = numbers.get(column, 0.0) + defect.count
    worst: dict[str, Finding] = {}
    for finding in seen.findings:
        if finding.severity != "note" and finding.kind != "overwrites":
            worst[finding.kind] = max(worst.get(finding.kind, finding), finding, key=_size)
    findings = [
        Finding(
            kind,
            finding.severity,
            NAME,
            f"exhaustive {exhaustive.name}",
            f"{counted(int(numbers.get(prefix + kind, 0)), 'entry', 'entries')} over all {count(inputs)} "
            f"finite {FORMATS[case.dtype].name} values of {exhaustive.names}; "
            f"{finding.group}: {finding.message}",
            {**finding.witness, "question": f"exhaustive {exhaustive.name}"},
        )
        for kind, finding in worst.items()
    ]
    return numbers, findings, None


def _size(finding: Finding) -> float:
    return finding.times or 0.0


def _standard(block: OpenBlock, exhaustive: Exhaustive, definition: Mapping[str, Any]) -> Standard:
    """Returns the standard of all values under an upstream gradient of 1."""
    case = block.case
    stand = standard(block.suite, *draw_exhaustive(exhaustive, case, block.suite), case.dtype, definition)
    return stand.under(torch.ones_like(stand.upstream))
