"""The Ray engine: the tasks of a run on the nodes of a cluster, with the local engine inside each.

A Ray task is a batch of Tasks, so a block is never split; batches, because a process that imports torch
for every Task took four times as long (162 s against 46 s). On its node a batch is carried out by a
LocalEngine with one worker process, hence a crash costs one Result there as it does here; what is
answered streams to the driver, which owns the journal. A batch for CUDA takes one whole GPU; timing
takes all processors of one node, the same one for the whole run, because times of two machines must
never be pooled. The trap: Ray would repeat a lost generator from its start and skip as many answers as
it had given, whatever they were; so a batch is lost for Ray, and only its open questions are sent again.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.engines import Limits, Task, without
from harness.environment import cpu_name
from harness.errors import UsageError
from harness.ray_node import carry_out
from harness.results import Result, Status
from harness.trial import parse_trial

NODE_LOSSES = 3
# More batches than workers, so that they end together and a lost node costs little.
BATCHES_PER_WORKER = 4
WAIT_SECONDS = 1.0


class Cluster:
    """A connection to Ray; as a context it ends the connection, and a cluster that it started itself.

    Raises UsageError when Ray is not installed or nothing answers at the address. `address` "" is
    Ray's own choice: RAY_ADDRESS, else a cluster on this machine.
    """

    def __init__(self, address: str = "", **given: Any) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError("--engine ray: Ray is not installed here; pip install ray.") from None
        self.ray: Any = ray
        try:
            ray.init(address=address or None, log_to_driver=False, logging_level="error", **given)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
            where = f" --address {address}" if address else ""
            raise UsageError(f"--engine ray{where}: cannot connect ({said}).") from None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ray.shutdown()

    def engine(self, workers: int, limits: Limits, on_message: Callable[[dict[str, Any]], None]) -> RayEngine:
        """Returns an engine on this cluster; it has the signature that `harness.runner.Order` asks for."""
        return RayEngine(self.ray, workers, limits, on_message)


@dataclass
class _Batch:
    """Tasks of equal needs that one Ray task carries out, and how often it was lost."""

    tasks: list[Task]
    losses: int = 0

    @property
    def threads(self) -> int:
        return self.tasks[0].threads

    @property
    def is_timing(self) -> bool:
        return bool(self.tasks[0].message["kind"] == "timing")

    @property
    def gpus(self) -> int:
        return int(_on_cuda(self.tasks[0]))

    def task_of(self, key: tuple[str, str]) -> Task | None:
        return next((task for task in self.tasks if key in task.open), None)


class RayEngine:
    """Runs tasks on a cluster, at most `workers` batches at a time; 0 is as many as the cluster takes."""

    def __init__(
        self, ray: Any, workers: int, limits: Limits, on_message: Callable[[dict[str, Any]], None]
    ) -> None:
        self._ray, self._limits, self._on_message = ray, limits, on_message
        self._workers = workers
        self.spent_seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, tasks: list[Task], *, fresh: bool = False) -> Iterator[Result]:
        """Yields results as they arrive; `fresh` gives every task a process of its own.

        Closing the iterator cancels what is not finished.
        """
        queue = deque(self._batches(tasks, fresh))
        streams: dict[Any, _Batch] = {}
        start = time.monotonic()
        try:
            while queue or streams:
                while queue and len(streams) < (self._workers or len(tasks)):
                    batch = queue.popleft()
                    streams[self._submitted(batch)] = batch
                ready, _ = self._ray.wait(list(streams), num_returns=1, timeout=WAIT_SECONDS)
                for stream in ready:
                    yield from self._listen(stream, streams, queue)
        finally:
            for stream in streams:
                # By force: the batch may hang in a question, and its worker dies with it. A node that is
                # gone has nothing left to be cancelled; anything else is to be seen.
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(stream, force=True)
            self.spent_seconds["wall"] = time.monotonic() - start

    def _batches(self, tasks: list[Task], fresh: bool) -> list[_Batch]:
        """Returns tasks dealt out to batches, some more than the cluster takes at once.

        Tasks come with most questions first, so dealing them out keeps batches alike.
        """
        if fresh:
            return [_Batch([task]) for task in tasks]
        alike: dict[tuple[int, bool], list[Task]] = {}
        for task in tasks:
            alike.setdefault((task.threads, _on_cuda(task)), []).append(task)
        batches = []
        for (threads, cuda), members in alike.items():
            at_once = self._workers or sum(self._room(node, threads, cuda) for node in self._nodes())
            count = min(len(members), BATCHES_PER_WORKER * max(1, at_once))
            batches += [_Batch(members[place::count]) for place in range(count)]
        return batches

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _room(self, node: dict[str, Any], threads: int, cuda: bool) -> int:
        """Returns how many batches a node takes at once."""
        room = int(node["Resources"].get("CPU", 0.0) // threads)
        return min(room, int(node["Resources"].get("GPU", 0.0))) if cuda else room

    def _submitted(self, batch: _Batch) -> Any:
        room, node = max(
            ((self._room(n, batch.threads, bool(batch.gpus)), n) for n in self._nodes()),
            key=lambda found: (found[0], found[1]["NodeID"]),
            default=(0, {}),
        )
        if not room:
            wanted = f"{batch.threads} processors" + (" and a GPU" if batch.gpus else "")
            raise UsageError(f"--engine ray: no node of the cluster has {wanted}.")
        cpus: float = batch.threads
        options: dict[str, Any] = {"num_gpus": batch.gpus, "max_retries": 0}
        if batch.is_timing:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            cpus, room = node["Resources"]["CPU"], 1
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        carried = self._ray.remote(num_returns="streaming", num_cpus=cpus, **options)(carry_out)
        return carried.remote(
            [(task.message, task.threads, list(task.open)) for task in batch.tasks],
            self._limits.timeout_seconds,
            self._limits.memory_bytes,
            room,
            str(Path.cwd()),
            cpu_name(),
        )

    def _listen(self, stream: Any, streams: dict[Any, _Batch], queue: deque[_Batch]) -> Iterator[Result]:
        batch = streams[stream]
        try:
            said = self._ray.get(next(stream))
        except StopIteration:
            del streams[stream]
        except self._ray.exceptions.RayError as error:
            del streams[stream]
            batch.tasks = [rest for task in batch.tasks if (rest := without(task, "")) is not None]
            batch.losses += 1
            if not batch.tasks:
                return
            if self._is_loss(error) and batch.losses <= NODE_LOSSES:
                queue.appendleft(batch)
            else:
                yield from self._given_up(batch, error)
        else:
            yield from self._heard(said, batch)

    def _heard(self, said: dict[str, Any], batch: _Batch) -> Iterator[Result]:
        if "result" in said:
            result = Result.from_json(said["result"])
            key = (result.trial.id, result.probe)
            task = batch.task_of(key)
            if task is not None:
                task.open.pop(key)
            yield result
        elif "spent" in said:
            for purpose, seconds in said["spent"].items():
                self.spent_seconds[purpose] += seconds
        else:
            if "timed" in said:
                for task in batch.tasks:
                    for key in [k for k in task.open if k[0].startswith(said["timed"] + "/")]:
                        task.open.pop(key)
            self._on_message(said)

    def _is_loss(self, error: Exception) -> bool:
        """Tells whether a node or its Ray worker went away, which is nobody's answer."""
        return not isinstance(error, self._ray.exceptions.RayTaskError)

    def _given_up(self, batch: _Batch, error: Exception) -> Iterator[Result]:
        lost = self._is_loss(error)
        status: Status = "not_run" if lost else "error"
        last = next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)
        why = f"its node was lost {batch.losses} times" if lost else f"the engine failed on its node: {last}"
        for trial, probe in [key for task in batch.tasks for key in task.open]:
            yield Result(parse_trial(trial), probe, status, why, notes={"output": str(error)[-2000:]})


def _on_cuda(task: Task) -> bool:
    return any(form["device"] == "cuda" for form in task.message["blocks"])
