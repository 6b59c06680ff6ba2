"""What will be measured, as frozen values: blocks of one case with the probes of each implementation.

A block is the unit of work and is never split; blocks of one artefact (everything but the regime)
form a group that stays in one worker, so that a compiled form is made once. The trap: the plan's
hash names the run directory, so the plan must be a pure function of what the user asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.results import Result, Status
from harness.trial import Case, Trial, case_from

# The order in which a block is asked; timing has a phase of its own.
# invalid_input comes last of a block, since a worker may die of it.
PROBES = (
    "compilation",
    "accuracy",
    "protocol",
    "overflow",
    "determinism",
    "spread",
    "identity",
    "memory",
    "invalid_input",
    "timing",
)
ADMISSION = "admission"
INVALID_INPUT = "invalid_input"


@dataclass(frozen=True)
class Block:
    """One case and, per implementation, the probes that it is asked."""

    case: Case
    probes: Mapping[str, tuple[str, ...]]

    def questions(self) -> Iterator[tuple[str, str]]:
        """Yields (probe, implementation) of phase one in the order of PROBES."""
        for probe in PROBES:
            if probe != "timing":
                for name, probes in self.probes.items():
                    if probe in probes:
                        yield probe, name

    def timed(self) -> tuple[str, ...]:
        """Returns the implementations that are timed."""
        return tuple(name for name, probes in self.probes.items() if "timing" in probes)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that goes to a worker and into the manifest."""
        return {
            "case": self.case.id,
            **self.case.axes(),
            "probes": {n: list(p) for n, p in self.probes.items()},
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Block:
        """Returns the block of a JSON form."""
        return cls(case_from(form), {name: tuple(probes) for name, probes in form["probes"].items()})


@dataclass(frozen=True)
class Refusal:
    """A trial that cannot be asked, with its status and reason."""

    trial: Trial
    status: Status
    reason: str

    def result(self) -> Result:
        """Returns the Result that stands for the refusal."""
        return Result(self.trial, ADMISSION, self.status, self.reason)


@dataclass(frozen=True)
class Absent:
    """A value of an axis that this machine does not have."""

    axis: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All blocks, what is refused beforehand, and sentences on what was left out."""

    blocks: tuple[Block, ...]
    refusals: tuple[Refusal, ...] = ()
    absent: tuple[Absent, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def trials(self) -> int:
        """Trials that will be asked."""
        return sum(len(block.probes) for block in self.blocks)

    @property
    def expected(self) -> int:
        """All trials, refused ones included."""
        return self.trials + len(self.refusals)

    def artefacts(self, compiled: frozenset[tuple[str, str]]) -> int:
        """Returns how many compiled artefacts the plan needs; `compiled` holds (suite, implementation)."""
        return len(
            {
                (*block.case.artefact, name)
                for block in self.blocks
                for name in block.probes
                if (block.case.suite, name) in compiled
            }
        )

    def groups(self) -> list[tuple[Block, ...]]:
        """Returns blocks grouped by artefact, most questions first, so that workers end together."""
        by_artefact: dict[tuple[str, ...], list[Block]] = {}
        for block in self.blocks:
            if any(True for _ in block.questions()):
                by_artefact.setdefault(block.case.artefact, []).append(block)
        return sorted(
            (tuple(blocks) for blocks in by_artefact.values()),
            key=lambda blocks: (
                -sum(len(p) + 20 * ("compilation" in p) for b in blocks for p in b.probes.values())
            ),
        )

    def shard(self, number: int, count: int) -> Plan:
        """Returns the part `number` (from 1) of `count`; blocks of one artefact stay together."""
        artefacts = sorted({block.case.artefact for block in self.blocks})
        mine = set(artefacts[number - 1 :: count])
        return replace(
            self,
            blocks=tuple(block for block in self.blocks if block.case.artefact in mine),
            refusals=tuple(r for k, r in enumerate(self.refusals) if k % count == number - 1),
            left_out=(*self.left_out, f"shard {number} of {count}: the other shards hold the rest"),
        )

    @property
    def hash(self) -> str:
        """SHA-256 of the trials and probes asked for, eight hexadecimal digits.

        Refused trials count as well: what fits in memory today must not rename the run.
        """
        trials = {f"{block.case.id}/{name}" for block in self.blocks for name in block.probes}
        trials |= {refusal.trial.id for refusal in self.refusals}
        probes = {probe for block in self.blocks for asked in block.probes.values() for probe in asked}
        text = json.dumps([sorted(trials), sorted(probes)])
        return hashlib.sha256(text.encode()).hexdigest()[:8]
