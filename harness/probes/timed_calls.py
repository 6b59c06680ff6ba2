"""Calls under the clock: one block of a pass on rotating clones, and how many calls last a block.

Everything that is not the pass happens outside the clock: clones, upstream gradients and, for backward
alone, the graphs. The trap: one call is no guide to the next. On a shared machine a single call can
take fifty times as long as usual, and a block calibrated on it would hold one call for the whole run;
so the fastest of several is the guide.
"""

from __future__ import annotations

import resource
import time
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import Bound, gradients_of, leaves
from harness.probes.recheck import TimedAnswer
from harness.sample import Sample
from harness.standard import upstream_for

Pass = Literal["forward", "backward", "both"]
PASSES: tuple[Pass, ...] = get_args(Pass)
POOL = 8
POOL_BYTES = 1 << 28
# Blocks of the passes that are shown beside the ranking pass last so much of its blocks: one pass is part of
# a call, and the graphs for backward are built outside the clock at the price of a forward each.
SIDE_SHARE = 0.5
# Building the graphs of a backward block takes no longer than so many blocks.
GRAPH_BLOCKS = 10
# Single calls that calibrate a block, at least and at most; more are made while they fit into one block.
FEWEST_SINGLE, MOST_SINGLE = 2, 6


def calibrated(block: OpenBlock, bound: Bound, block_seconds: float) -> dict[str, int]:
    """Returns by pass how many calls last about a block; the fastest of several single calls is the guide.

    Forward and backward alone are given blocks of SIDE_SHARE of `block_seconds`.
    """
    single: list[tuple[float, float]] = []
    spent = 0.0
    while len(single) < FEWEST_SINGLE or (len(single) < MOST_SINGLE and spent < block_seconds):
        single.append(_single_call(block, bound))
        spent += sum(single[-1])
    forward, backward = (min(seconds) for seconds in zip(*single, strict=True))
    side = SIDE_SHARE * block_seconds
    wanted = {
        "forward": side / max(forward, 1e-7),
        "backward": side / max(backward, 1e-7),
        "both": block_seconds / max(forward + backward, 1e-7),
    }
    loops = {kind: max(1, round(calls)) for kind, calls in wanted.items()}
    # Every graph of the block is alive at once, and where forward computes the gradients each takes long.
    size = 16 * max(block.drawn()[0].input_bytes, 1)
    graphs = min(POOL_BYTES // size, round(GRAPH_BLOCKS * block_seconds / max(forward, 1e-7)), 512)
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


def timed(
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
