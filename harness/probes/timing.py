"""What does it cost in time? Interleaved blocks in a fresh random order per round, never alone.

One block calls an implementation until about `block_seconds` have passed, on a rotating pool of fresh
clones made outside the clock, so that results cached by pointer and in-place writers flatter
nobody. Passes: both (the ranking pass), and in shorter blocks forward and backward alone (graphs built
outside the clock). Wall and process time, involuntary switches and minor faults are kept per block. The
trap: correctness is looked at once more after timing on unseen inputs, because an implementation may be
right only while it is watched.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.block import OpenBlock
from harness.calling import Bound, failure, gradients_of, leaves, torch_state_kept
from harness.observation import Observation, answered, judged, private_upstream
from harness.probes.recheck import TimedAnswer, recheck, wrong_under_the_clock
from harness.probes.timed_calls import PASSES, Pass, calibrated, timed
from harness.results import Status
from harness.sample import Sample
from harness.standard import asked_upstream
from harness.stats import half_width

NAME = "timing"
# Forward and backward alone are shown beside the ranking pass and timed in every sixth round, three of the
# sixteen: a median of three is not moved by one block that was disturbed.
SIDE_ROUNDS = 6
# The second look is taken after so many calls, unless those that are missing take longer than this.
WATCHED_CALLS, WATCHED_SECONDS = 320, 0.2


@dataclass(frozen=True)
class Measure:
    """How long to time: seconds per block, rounds per process, and when the interval is narrow enough."""

    block_seconds: float = 0.01
    rounds: int = 16
    most_rounds: int = 32
    processes: int = 3
    narrow: float = 0.02
    budget_seconds: float = 20.0
    passes: tuple[str, ...] = PASSES

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form that goes to a worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Measure:
        """Returns the measure of a JSON form."""
        return cls(**{**form, "passes": tuple(form["passes"])})


@dataclass
class Runner:
    """One implementation while it is timed: its callable, loops per pass, and its seconds so far."""

    name: str
    bound: Bound
    # What it answered before timing; with numbers in the first process alone, which looks again.
    before: Observation
    # Calls per block, by pass.
    loops: dict[str, int]
    seconds: list[float] = field(default_factory=list)
    # Calls under the clock so far, of every pass.
    calls: int = 0
    timed_sample: Sample | None = None
    last: TimedAnswer | None = None


Emit = Callable[[dict[str, Any]], None]


def time_block(
    block: OpenBlock,
    names: tuple[str, ...],
    process: int,
    measure: Measure,
    emit: Emit,
    begin: Callable[[str], None],
) -> None:
    """Times the implementations of a block in this process; emits samples, failures, the stop reason."""
    runners = _ready(block, names, process == 0, measure, emit, begin)
    if not runners:
        return
    order = random.Random(f"{block.seed}/{process}/{block.case.id}")
    baseline = block.suite.baseline.name
    start, done, reason = time.perf_counter(), 0, "rounds spent"
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        while done < measure.most_rounds:
            side = done % SIDE_ROUNDS == 0
            for name in PASSES:
                if name in measure.passes and (name == "both" or side):
                    _round(block, runners, name, done, order, measure, emit, begin)
            done += 1
            if done >= measure.rounds and _narrow(runners, baseline, measure):
                reason = f"interval within {measure.narrow:.0%}"
                break
            if time.perf_counter() - start > measure.budget_seconds:
                reason = "budget spent"
                break
        # Looked at again while everything is still as it was under the clock.
        if process == 0:
            for runner in runners:
                _checked_again(block, runner, emit, begin)
    finally:
        gc.enable()
        gc.unfreeze()
    stored = block.drawn()[0]
    emit(
        {
            "stopped": {
                "rounds": done,
                "reason": reason,
                "traffic_bytes": stored.input_bytes + stored.gradient_bytes,
            }
        }
    )


def _ready(
    block: OpenBlock,
    names: tuple[str, ...],
    looks_again: bool,
    measure: Measure,
    emit: Emit,
    begin: Callable[[str], None],
) -> list[Runner]:
    runners = []
    for name in names:
        begin(name)
        try:
            bound = block.bound(name)
            seen = _seen_before(block, name, bound, judge_it=looks_again)
            if seen.status != "ok" or any(
                f.kind in ("raises", "shape", "no_gradient") for f in seen.findings
            ):
                status: Status = seen.status if seen.status != "ok" else "skipped"
                emit(
                    {
                        "failed": {
                            "name": name,
                            "status": status,
                            "reason": seen.reason or "does not answer; see accuracy",
                        }
                    }
                )
                continue
            runner = Runner(name, bound, seen, calibrated(block, bound, measure.block_seconds))
        except BaseException as error:  # an implementation that calls sys.exit costs itself only
            _failed(name, error, emit)
            continue
        runners.append(runner)
    return runners


def _seen_before(block: OpenBlock, name: str, bound: Bound, *, judge_it: bool) -> Observation:
    """Returns what an implementation answers before it is timed.

    Who does not look again needs no truth of it, only that there is a loss of its shape and gradients.
    """
    device = block.case.device
    if judge_it:
        stand = block.standard(name)
        return judged(answered(bound, stand, device, NAME), stand, NAME)
    stored, options = block.drawn()
    upstream, sample = asked_upstream(stored, options), leaves(stored, device)
    with block.ledger.spending("implementation"):
        loss = bound.loss(sample.tensors)
        if loss.shape != upstream.shape:
            return Observation("skipped", "does not answer; see accuracy")
        found = gradients_of(loss, sample, private_upstream(upstream, device, loss.dtype))
    missing = any(gradient is None for gradient in found.values())
    return Observation("skipped", "does not answer; see accuracy") if missing else Observation("ok")


def _failed(name: str, error: BaseException, emit: Emit) -> None:
    status, reason = failure(error)
    if not isinstance(error, Exception):
        status, reason = "crashed", f"ended the interpreter by {reason}"
    emit({"failed": {"name": name, "status": status or "skipped", "reason": reason}})


def _round(
    block: OpenBlock,
    runners: list[Runner],
    kind: Pass,
    number: int,
    order: random.Random,
    measure: Measure,
    emit: Emit,
    begin: Callable[[str], None],
) -> None:
    for place, runner in enumerate(order.sample(runners, len(runners))):
        begin(runner.name)
        try:
            with torch_state_kept():
                sample, runner.timed_sample, last = timed(block, runner.bound, kind, runner.loops[kind])
                runner.last = last or runner.last
                runner.calls += runner.loops[kind]
        except BaseException as error:
            _failed(runner.name, error, emit)
            runners.remove(runner)
            continue
        if kind == "both":
            runner.seconds.append(sample["wall_seconds"] / runner.loops[kind])
        emit(
            {
                "sample": {
                    "trial": f"{block.case.id}/{runner.name}",
                    "round": number,
                    "place": place,
                    "pass": kind,
                    "loops": runner.loops[kind],
                    **sample,
                }
            }
        )


def _narrow(runners: list[Runner], baseline: str, measure: Measure) -> bool:
    base = next((r for r in runners if r.name == baseline), runners[0])
    for runner in runners:
        if runner is not base:
            ratios = [a / b for a, b in zip(runner.seconds, base.seconds, strict=False)]
            if half_width(ratios) > measure.narrow:
                return False
    return True


def _checked_again(block: OpenBlock, runner: Runner, emit: Emit, begin: Callable[[str], None]) -> None:
    begin(runner.name)
    try:
        _call_what_is_missing(block, runner)
    except BaseException as error:
        _failed(runner.name, error, emit)
        return
    found = None
    if runner.last is not None:
        found = wrong_under_the_clock(block, runner.name, runner.bound, runner.last, NAME)
    found = found or recheck(block, runner.name, runner.bound, runner.before, runner.timed_sample, NAME)
    if found is not None:
        emit({"finding": {"name": runner.name, "finding": found.to_json()}})


def _call_what_is_missing(block: OpenBlock, runner: Runner) -> None:
    """Makes the calls that are missing before the second look, where blocks were few and calls are cheap.

    How many calls the blocks held depends on how busy the machine was; what is found should not.
    """
    missing = WATCHED_CALLS - runner.calls
    if missing > 0 and runner.seconds and missing * min(runner.seconds) <= WATCHED_SECONDS:
        with torch_state_kept():
            _, runner.timed_sample, last = timed(block, runner.bound, "both", missing)
            runner.last = last or runner.last
