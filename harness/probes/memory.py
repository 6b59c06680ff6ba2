"""What does it cost in bytes? Peak in forward and in backward, and what stays alive between.

On the CPU the profiler's allocator events are replayed in time order: byte-exact, the same over runs
and thread counts; on CUDA the allocator's own statistics answer. Inputs are allocated before the
first event, so they are excluded. The trap: the first call of a process or of compiled code
allocates more, so one call goes before the measured one; the events carry no phase, so forward and
backward are told apart by their record_function spans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from harness.block import Answer, OpenBlock
from harness.calling import Bound, failure, gradients_of, leaves
from harness.standard import upstream_for

NAME = "memory"
FORWARD, BACKWARD = "lossgauge forward", "lossgauge backward"


@dataclass(frozen=True)
class Footprint:
    """Bytes above the resident inputs."""

    forward_peak: int
    live_between: int
    backward_peak: int


def memory(block: OpenBlock, name: str) -> Answer:
    """Measures the footprint of one implementation on the case's sample."""
    sample, options = block.drawn()
    device = block.case.device
    try:
        bound = block.bound(name)
        upstream = upstream_for(sample, options)
        upstream = None if upstream is None else upstream.to(device)
        with block.ledger.spending("implementation"):
            _call(bound, block, upstream)
            footprint = (_on_cuda if device == "cuda" else _on_cpu)(bound, block, upstream)
    except Exception as error:
        status, reason = failure(error)
        return Answer(status or "skipped", reason or "raises; see accuracy")
    # Of the logits, which need not be an input: a projection may do without them.
    first = sample.tensors[0]
    logits_bytes = (math.prod(sample.shape) if sample.shared else first.numel()) * first.element_size()
    peak = max(footprint.forward_peak, footprint.backward_peak)
    return Answer(
        numbers={
            "input_bytes": float(sample.input_bytes),
            "forward_peak_bytes": float(footprint.forward_peak),
            "backward_peak_bytes": float(footprint.backward_peak),
            "live_between_bytes": float(footprint.live_between),
            "peak_bytes": float(peak),
            "forward_peak_multiple": footprint.forward_peak / logits_bytes,
            "backward_peak_multiple": footprint.backward_peak / logits_bytes,
            "live_between_multiple": footprint.live_between / logits_bytes,
            "peak_multiple": peak / logits_bytes,
        }
    )


def _call(bound: Bound, block: OpenBlock, upstream: torch.Tensor | None) -> None:
    sample = leaves(block.drawn()[0], block.case.device)
    with record_function(FORWARD):
        loss = bound.loss(sample.tensors)
    with record_function(BACKWARD):
        gradients_of(loss, sample, upstream)


def _on_cpu(bound: Bound, block: OpenBlock, upstream: torch.Tensor | None) -> Footprint:
    sample = leaves(block.drawn()[0], block.case.device)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as session:
        with record_function(FORWARD):
            loss = bound.loss(sample.tensors)
        with record_function(BACKWARD):
            found = gradients_of(loss, sample, upstream)
        # Freed after the last span: results stay alive until here, as they do for a user.
        del loss, found
    return replay(session)


def replay(session: profile) -> Footprint:
    """Replays allocator events in time order against the two spans of a profile."""
    assert session.profiler is not None
    assert session.profiler.kineto_results is not None
    # The stubs of torch leave nbytes out.
    events: list[Any] = session.profiler.kineto_results.events()
    spans = {e.name(): (e.start_ns(), e.end_ns()) for e in events if e.name() in (FORWARD, BACKWARD)}
    forward_end, backward_start = spans[FORWARD][1], spans[BACKWARD][0]
    moves = sorted(
        (e.start_ns(), e.nbytes())
        for e in events
        if e.name() == "[memory]" and spans[FORWARD][0] <= e.start_ns() <= spans[BACKWARD][1]
    )
    live = forward_peak = backward_peak = between = 0
    for start, size in moves:
        live += size
        if start <= forward_end:
            forward_peak = max(forward_peak, live)
        if start < backward_start:
            between = live
        else:
            backward_peak = max(backward_peak, live)
    return Footprint(forward_peak, between, max(backward_peak, between))


def _on_cuda(bound: Bound, block: OpenBlock, upstream: torch.Tensor | None) -> Footprint:
    sample = leaves(block.drawn()[0], block.case.device)
    torch.cuda.synchronize()
    resident = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    loss = bound.loss(sample.tensors)
    forward_peak = torch.cuda.max_memory_allocated() - resident
    between = torch.cuda.memory_allocated() - resident
    torch.cuda.reset_peak_memory_stats()
    found = gradients_of(loss, sample, upstream)
    backward_peak = torch.cuda.max_memory_allocated() - resident
    del found
    return Footprint(forward_peak, between, backward_peak)


def warm_up_profiler() -> None:
    """Starts the profiler once: its first use costs seconds in a process."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False):
        torch.empty(1)
