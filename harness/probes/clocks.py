"""What this machine can do at best: its copy bandwidth, and what reading its clocks costs.

Both are measured in the run that they explain. The trap: a copy that fits the cache says nothing about
memory, so the tensor is larger than any.
"""

from __future__ import annotations

import time

import torch


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
