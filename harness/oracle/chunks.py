"""How rows are fed to a closed form: chunk by chunk, on one thread, as private float64 copies.

What rows add to the gradient of an input that all share is kept apart, as factors (`Products`), until the
reduction says what each row counts. The trap: a chunk that leaves the cache costs twice as much at
1024x32000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.oracle.contraction import RowProducts

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass
class Products:
    """What the rows of each chunk add to the gradient of an input that all share; `tails` are tier B1's."""

    left: list[Tensor] = field(default_factory=list)
    right: list[Tensor] = field(default_factory=list)
    sensitivity: list[Tensor] = field(default_factory=list)
    tails: list[Tensor] = field(default_factory=list)

    def together(self, shared: Tensor) -> RowProducts:
        """Returns the parts of all rows; no rows add nothing."""
        empty = torch.empty(0, len(shared), dtype=torch.float64)
        left = torch.cat([empty, *self.left])
        right = torch.cat([torch.empty(0, *shared.shape[1:], dtype=torch.float64), *self.right])
        known = torch.cat([empty, *self.sensitivity]) if self.sensitivity else torch.ones_like(left)
        tail = torch.cat(self.tails).numpy() if self.tails else None
        return RowProducts(left.numpy(), right.numpy(), known.numpy(), tail)


def chunks(inputs: Inputs, elements: int) -> Iterator[slice]:
    """Yields slices of rows that hold about so many elements of the first input."""
    first = next(iter(inputs.values()))
    count = first.shape[0]
    step = max(1, elements // max(1, first.numel() // max(count, 1)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


@contextmanager
def one_thread() -> Iterator[None]:
    """Pins torch to one thread: under load, two threads ran oracle-sized operators 100x slower."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_double(value: Any) -> Any:
    """Returns a private float64 copy of a floating-point tensor on the CPU; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    if value.requires_grad or not value.is_cpu:
        value = value.detach().cpu()
    # A copy even of float64: closed forms may overwrite what they are given.
    return value.to(torch.float64, copy=True) if value.is_floating_point() else value


def room_like(tensor: Tensor) -> Tensor:
    """Returns an unwritten float64 tensor of the same shape."""
    return torch.empty(tensor.shape, dtype=torch.float64)
