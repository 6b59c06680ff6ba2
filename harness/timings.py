"""From timed blocks to one timing Result per trial: seconds, ratio to the baseline, rates, shares.

Samples are grouped by process (the unit of replication); ratios are formed round by round inside a
process, against the baseline's block of the same round, so that drift of the machine cancels. The
trap: a timing is complete only when every planned process has measured its block; incomplete ones
stay in `samples.jsonl` and are continued, not reported.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.plan import Block
from harness.probes.timing import NAME
from harness.results import Finding, Result, Status
from harness.stats import Estimate, estimate
from harness.trial import Trial

Samples = Sequence[Mapping[str, Any]]


@dataclass
class TimedBlock:
    """What one process measured in one block."""

    samples: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, tuple[Status, str]] = field(default_factory=dict)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    stopped: dict[str, Any] = field(default_factory=dict)


def timing_results(
    block: Block, by_process: Sequence[TimedBlock], baseline: str, copy_bandwidth: float
) -> list[Result]:
    """Returns the timing Results of a block whose processes are all measured."""
    results = []
    for name in block.timed():
        trial = Trial(block.case, name)
        failures = [timed.failed[name] for timed in by_process if name in timed.failed]
        if failures:
            results.append(Result(trial, NAME, failures[0][0], failures[0][1]))
            continue
        numbers = _numbers(trial, by_process, f"{block.case.id}/{baseline}", copy_bandwidth)
        if not numbers:
            results.append(Result(trial, NAME, "not_run", "no process timed it"))
            continue
        findings = tuple(f for timed in by_process for f in timed.findings.get(name, []))
        notes = {"stopped": "; ".join(str(t.stopped.get("reason", "")) for t in by_process)}
        # Forward already computes the gradients where backward takes under a fifth of it.
        if numbers.get("backward_seconds", math.inf) < 0.2 * numbers.get("forward_seconds", 0.0):
            notes["fused"] = "forward computes the gradients"
        results.append(Result(trial, NAME, "ok", "", findings, numbers, notes))
    return results


def _numbers(
    trial: Trial, by_process: Sequence[TimedBlock], baseline_id: str, bandwidth: float
) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for kind, prefix in (("both", ""), ("forward", "forward_"), ("backward", "backward_")):
        groups = [list(_per_call(timed.samples, trial.id, kind).values()) for timed in by_process]
        if not any(groups):
            continue
        found = estimate(groups)
        numbers[f"{prefix}seconds"] = found.value
        numbers[f"{prefix}seconds_low"] = found.low
        numbers[f"{prefix}seconds_high"] = found.high
        if kind == "both":
            numbers |= {"samples": float(found.samples), "processes": float(found.processes)}
            numbers |= _rates(found, trial, by_process, bandwidth)
    ratio = _ratio(trial.id, by_process, baseline_id)
    if ratio is not None and "seconds" in numbers:
        numbers |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
    return numbers


def _per_call(samples: Samples, trial_id: str, kind: str) -> dict[int, float]:
    """Returns seconds per call by round."""
    return {
        sample["round"]: sample["wall_seconds"] / sample["loops"]
        for sample in samples
        if sample["trial"] == trial_id and sample["pass"] == kind
    }


def _ratio(trial_id: str, by_process: Sequence[TimedBlock], baseline_id: str) -> Estimate | None:
    groups = []
    for timed in by_process:
        own = _per_call(timed.samples, trial_id, "both")
        base = _per_call(timed.samples, baseline_id, "both")
        groups.append([own[r] / base[r] for r in own if r in base])
    return estimate(groups) if any(groups) else None


def _rates(
    found: Estimate, trial: Trial, by_process: Sequence[TimedBlock], bandwidth: float
) -> dict[str, float]:
    numbers = {"elements_per_second": trial.case.batch * trial.case.classes / found.value}
    traffic = next((t.stopped["traffic_bytes"] for t in by_process if t.stopped), None)
    if traffic:
        numbers["bytes_per_second"] = traffic / found.value
        if bandwidth > 0:
            numbers["copy_bandwidth_share"] = numbers["bytes_per_second"] / bandwidth
    return numbers


class Stopwatch:
    """Collects the messages of timing workers by (process, case); complete blocks are kept."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], TimedBlock] = {}
        self.complete: dict[str, dict[int, TimedBlock]] = defaultdict(dict)
        self.copy_bandwidths: list[float] = []
        self.timer_seconds: list[float] = []

    def hear(self, message: Mapping[str, Any]) -> tuple[str, int] | None:
        """Takes one message; returns (case, process) when that block has become complete."""
        process = int(message.get("process", 0))
        if "machine" in message:
            self.copy_bandwidths.append(message["machine"]["copy_bandwidth"])
            self.timer_seconds.append(message["machine"]["timer_seconds"])
            return None
        if "opening" in message:
            self._open[process, message["opening"]] = TimedBlock()
            return None
        if "timed" in message:
            case = message["timed"]
            self.complete[case][process] = self._open.pop((process, case))
            return case, process
        timed = self._open.get((process, str(message.get("case", ""))))
        if timed is None:
            return None
        if "sample" in message:
            timed.samples.append({**message["sample"], "process": process})
        elif "failed" in message:
            failed = message["failed"]
            timed.failed[failed["name"]] = (failed["status"], failed["reason"])
        elif "finding" in message:
            found = message["finding"]
            timed.findings.setdefault(found["name"], []).append(Finding.from_json(found["finding"]))
        elif "stopped" in message:
            timed.stopped = dict(message["stopped"])
        return None

    @property
    def copy_bandwidth(self) -> float:
        """Median copy bandwidth of this machine in bytes per second, 0 when none was measured."""
        ordered = sorted(self.copy_bandwidths)
        return ordered[len(ordered) // 2] if ordered else 0.0
