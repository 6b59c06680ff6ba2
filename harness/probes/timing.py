"""What does it cost in time? Interleaved blocks in a fresh random order per round, never alone.

One block calls an implementation until about `block_seconds` have passed, on a rotating pool of fresh
clones made outside the clock, so that results cached by pointer and in-place writers flatter
nobody. Passes: forward, backward alone (graphs built outside the clock), both (the ranking pass). Wall
and process time, involuntary switches and minor faults are kept per block. The trap: correctness is
looked at once more after timing on unseen inputs, because an implementation may be right only while
it is watched.
"""

from __future__ import annotations

import gc
import math
import random
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import Bound, failure, gradients_of, leaves, torch_state_kept
from harness.observation import Observation, answered, judged, private_upstream
from harness.probes.recheck import TimedAnswer, recheck, wrong_under_the_clock
from harness.results import Status
from harness.sample import Sample
from harness.standard import asked_upstream, upstream_for
from harness.stats import half_width

NAME = "timing"
Pass = Literal["forward", "backward", "both"]
PASSES: tuple[Pass, ...] = get_args(Pass)
POOL = 8
POOL_BYTES = 1 << 28
# Building the graphs of a backward block takes no longer than so many blocks.
GRAPH_BLOCKS = 10
# Forward and backward alone are shown beside the ranking pass and timed in every fourth round.
SIDE_ROUNDS = 4


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
            runner = Runner(name, bound, seen, _calibrated(block, bound, measure))
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


def _calibrated(block: OpenBlock, bound: Bound, measure: Measure) -> dict[str, int]:
    """Returns by pass how many calls last about a block; the second of two single calls is the guide."""
    for _ in range(2):
        forward, backward = _single_call(block, bound)
    seconds = {"forward": forward, "backward": backward, "both": forward + backward}
    loops = {kind: max(1, round(measure.block_seconds / max(t, 1e-7))) for kind, t in seconds.items()}
    # Every graph of the block is alive at once, and where forward computes the gradients each takes long.
    size = 16 * max(block.drawn()[0].input_bytes, 1)
    graphs = min(POOL_BYTES // size, round(GRAPH_BLOCKS * measure.block_seconds / max(forward, 1e-7)), 512)
    loops["backward"] = max(1, min(loops["backward"], graphs))
    return loops


def _single_call(block: OpenBlock, bound: Bound) -> tuple[float, float]:
    """Returns the seconds of one forward and of the backward behind it."""
    (stored, options), device = block.drawn(), block.case.device
    sample, upstream = leaves(stored, device), upstream_for(stored, options)
    upstream = None if upstream is None else upstream.to(device)
    _synchronise(device)
    start = time.perf_counter()
    loss = bound.loss(sample.tensors)
    _synchronise(device)
    between = time.perf_counter()
    gradients_of(loss, sample, upstream)
    _synchronise(device)
    end = time.perf_counter()
    block.ledger.book("implementation", end - start)
    return between - start, end - between


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
                sample, runner.timed_sample, last = _timed(block, runner.bound, kind, runner.loops[kind])
                runner.last = last or runner.last
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


def _timed(
    block: OpenBlock, bound: Bound, kind: Pass, loops: int
) -> tuple[dict[str, Any], Sample, TimedAnswer | None]:
    """Times `loops` calls of one pass and returns what was measured and a sample that was used.

    Everything that is not the pass happens outside the clock. The last answer of the pass "both" is
    kept, since nobody else has seen an answer that was given under the clock.
    """
    stored, options = block.drawn()
    device = block.case.device
    pool = [leaves(stored, device) for _ in range(_pool_size(stored, loops))]
    upstream = upstream_for(stored, options)
    upstream = None if upstream is None else upstream.to(device)
    graphs: list[tuple[Tensor, Sample]] = []
    answer: TimedAnswer | None = None
    if kind == "backward":
        with block.ledger.spending("implementation"):
            graphs = [(bound.loss(s.tensors), s) for s in (pool[i % len(pool)] for i in range(loops))]
    _synchronise(device)
    before = resource.getrusage(resource.RUSAGE_SELF)
    cpu, wall = time.process_time(), time.perf_counter()
    if kind == "forward":
        for index in range(loops):
            bound.loss(pool[index % len(pool)].tensors)
    elif kind == "backward":
        for loss, sample in graphs:
            gradients_of(loss, sample, upstream)
    else:
        for index in range(loops):
            sample = pool[index % len(pool)]
            loss = bound.loss(sample.tensors)
            found = gradients_of(loss, sample, upstream)
    _synchronise(device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF)
    block.ledger.book("implementation", wall)
    if kind == "both":
        answer = TimedAnswer(loss.detach(), found, sample)
    measured = {
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "involuntary_switches": after.ru_nivcsw - before.ru_nivcsw,
        "minor_faults": after.ru_minflt - before.ru_minflt,
    }
    return measured, pool[0], answer


def _pool_size(stored: Sample, loops: int) -> int:
    return max(1, min(loops, POOL, POOL_BYTES // max(stored.input_bytes, 1)))


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
    elif device == "xpu":
        torch.xpu.synchronize()


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
    found = None
    if runner.last is not None:
        found = wrong_under_the_clock(block, runner.name, runner.bound, runner.last, NAME)
    found = found or recheck(block, runner.name, runner.bound, runner.before, runner.timed_sample, NAME)
    if found is not None:
        emit({"finding": {"name": runner.name, "finding": found.to_json()}})


def copy_bandwidth(size_bytes: int = 1 << 26, repeats: int = 9) -> float:
    """Returns this machine's copy bandwidth in bytes per second: read plus write of a large tensor."""
    source = torch.ones(size_bytes // 4)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    return 2 * size_bytes / sorted(seconds)[len(seconds) // 2]


def timer_seconds() -> float:
    """Returns the cost of one reading of both clocks, as spent inside a timed block."""
    count = 1000
    start = time.perf_counter()
    for _ in range(count):
        time.process_time()
        time.perf_counter()
    return (time.perf_counter() - start) / count


def is_fused(forward_seconds: float, backward_seconds: float) -> bool:
    """Tells whether forward already computes the gradients: backward takes under a fifth of it."""
    return math.isfinite(backward_seconds) and backward_seconds < 0.2 * forward_seconds
