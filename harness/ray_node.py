"""What happens on a node of a Ray cluster: a batch of tasks goes through a local engine with one worker.

Imported there by name, so lossgauge must be installed on every node; it imports no Ray itself. The
trap: a generator that is cancelled must end its worker process, so nothing here runs in a thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.engines import Limits, LocalEngine, Task
from harness.environment import available_bytes, cpu_name
from harness.results import Result


class _Streaming(LocalEngine):
    """A local engine whose stream holds the other messages of its worker, too, where they arrived."""

    def __init__(self, limits: Limits) -> None:
        self._said: deque[dict[str, Any]] = deque()
        super().__init__(1, limits, self._said.append)

    def _listen(self, *given: Any) -> Iterator[Any]:
        yield from super()._listen(*given)
        while self._said:
            yield self._said.popleft()


def carry_out(
    batch: list[tuple[dict[str, Any], int, list[tuple[str, str]]]],
    timeout_seconds: float,
    memory_bytes: int,
    room: int,
    folder: str,
    driver_cpu: str,
) -> Iterator[dict[str, Any]]:
    """Carries a batch out on a node and yields what is said as JSON forms; runs inside a Ray task.

    `batch` holds message, threads and open questions per task; `room` is how many batches share the
    node's memory. A Result from a machine with another processor than the driver's names it, since
    the manifest describes the driver's.
    """
    if Path(folder).is_dir():
        os.chdir(folder)  # suites are named by paths relative to where the command was typed
    here = cpu_name()
    elsewhere = {} if here == driver_cpu else {"node": here}
    engine = _Streaming(Limits(timeout_seconds, memory_bytes or available_bytes() // room))
    tasks = [Task(message, threads, dict.fromkeys(questions)) for message, threads, questions in batch]
    stream = engine.run(tasks)
    try:
        for said in stream:
            if isinstance(said, Result):
                form = said.to_json()
                yield {"result": {**form, "notes": {**form["notes"], **elsewhere}}}
            else:
                yield said
    finally:
        stream.close()  # type: ignore[attr-defined]
    yield {"spent": {purpose: s for purpose, s in engine.spent_seconds.items() if purpose != "wall"}}
