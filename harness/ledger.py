"""Where a worker's time goes: inside implementations, the compiler, the oracle, the first import.

What is left over is the harness's own overhead, which `nox -s selfbench` states. Of oracle and judging the
driver is told as well, since they must not count against an implementation's time. The trap: the
compiler runs inside the first call of a compiled implementation, so its seconds (as dynamo and
inductor count them) are taken out of the implementation's.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from harness.turns import Turns

# What the harness does for itself in the middle of a question.
OWN = frozenset({"oracle", "judging"})


class Ledger:
    """Seconds by purpose of this process; `turns` is where a driver reads whose turn it is."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns, self._own = turns, False
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = 0.0

    @contextmanager
    def spending(self, purpose: str) -> Iterator[None]:
        """Books the seconds of a block of code; time in the compiler is booked as its own.

        Blocks may nest: what an inner one books is not booked by the outer one again.
        """
        compiler_before = compiler_seconds()
        outer, self._inner = self._inner, 0.0
        own = self._turned(purpose in OWN)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            compiled = 0.0 if self._inner else compiler_seconds() - compiler_before
            self.book(purpose, max(0.0, spent - compiled - self._inner))
            self.book("compiler", compiled)
            self._inner = outer + spent
            self._turned(own)

    def _turned(self, own: bool) -> bool:
        """Notes whose turn it is from now on and returns whether it was the harness's before."""
        before, self._own = self._own, own
        if self._turns is not None and own is not before:
            (self._turns.begin if own else self._turns.end)()
        return before

    def book(self, purpose: str, seconds: float) -> None:
        """Adds seconds to a purpose."""
        self._seconds[purpose] += seconds

    def taken(self) -> dict[str, float]:
        """Returns what was booked since the last call, and starts anew."""
        booked = dict(self._seconds)
        self._seconds.clear()
        return booked


def compiler_seconds() -> float:
    """Returns the seconds that dynamo has counted for whole compilations in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None:
        return 0.0
    metrics = dynamo.compilation_time_metrics
    return sum(
        float(sum(metrics.get(phase, ()))) for phase in ("_compile.compile_inner", "backward._backward_impl")
    )
