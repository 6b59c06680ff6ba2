"""The local engine: tasks to worker processes, messages back, and a death that costs one Result.

Each task is a list of questions; whatever a worker has answered when it dies, hangs past its limit or
outgrows its memory stays answered, the question that had begun gets a status, and the rest goes to a
fresh worker without the implementation that died. The time limit is the implementation's: what the oracle
takes is taken off, and has a limit of its own, which costs the question of the whole case and is nobody's
hang. The trap: a worker's last messages may still be in the pipe when it is dead, so the pipe is drained
before anybody is blamed.
"""

from __future__ import annotations

import select
import selectors
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.environment import available_bytes
from harness.outcome import KINDS, severity
from harness.plan import INVALID_INPUT, Block
from harness.results import Finding, Result, Status
from harness.transport import WorkerProcess, describe_end
from harness.trial import Trial, parse_trial

POLL_SECONDS = 0.25
STARTUP_SECONDS = 180.0
# The first compile of a process takes tens of seconds where the cache is empty.
COMPILATION_FACTOR = 5.0
# Oracle and judging work on whole matrices in float64: at 1024 x 32000 they took 9 and 30 times as long as
# torch. Their limit is there to end what never ends.
ORACLE_FACTOR = 10.0
# Near its limit a SIGKILL is the kernel's answer to memory, not a crash.
NEAR_LIMIT = 0.8
# Whoever hangs on so many questions is not asked the others: a hundred time limits are hours.
MOST_HANGS = 3


@dataclass
class Task:
    """A message to a worker and which questions of it are still open."""

    message: dict[str, Any]
    threads: int
    open: dict[tuple[str, str], None] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What a question may cost: seconds, and bytes per worker.

    `timeout_seconds` are the implementation's; oracle and judging have ORACLE_FACTOR times as many for each
    thing they do, and at least `oracle_seconds`.
    """

    timeout_seconds: float = 60.0
    memory_bytes: int = 0
    oracle_seconds: float = 600.0

    @property
    def longest_turn(self) -> float:
        """Seconds that oracle or judging may take at a time."""
        return max(self.oracle_seconds, ORACLE_FACTOR * self.timeout_seconds)


class Engine(Protocol):
    """Something that carries tasks out; `spent_seconds` says by purpose where the time went."""

    spent_seconds: defaultdict[str, float]

    def run(self, tasks: list[Task], *, fresh: bool = False) -> Iterator[Result]:
        """Yields results as they arrive; closing the iterator ends what is not finished."""


# (workers at a time, limits of a question, who hears the messages that are no results)
EngineFactory = Callable[[int, Limits, Callable[[dict[str, Any]], None]], Engine]


@dataclass
class _Busy:
    worker: WorkerProcess
    task: Task | None = None
    begun: tuple[str, str] | None = None
    deadline: float = 0.0
    # Seconds that the deadline leaves to what has begun.
    allowed: float = STARTUP_SECONDS


class LocalEngine:
    """Runs tasks on this machine in `workers` processes at a time."""

    def __init__(self, workers: int, limits: Limits, on_message: Callable[[dict[str, Any]], None]) -> None:
        self._workers, self._limits, self._on_message = workers, limits, on_message
        share = limits.memory_bytes or available_bytes() // max(workers, 1)
        self._memory_bytes = share
        self.spent_seconds: defaultdict[str, float] = defaultdict(float)
        # How often each (suite, implementation) gave no answer within its time.
        self._hangs: Counter[tuple[str, str]] = Counter()

    def run(self, tasks: list[Task], *, fresh: bool = False) -> Iterator[Result]:
        """Yields results as they arrive; `fresh` gives every task a process of its own.

        Closing the iterator kills the workers.
        """
        queue = deque(tasks)
        pool: list[_Busy] = []
        selector = selectors.DefaultSelector()
        start = policed = time.monotonic()
        try:
            while queue or any(busy.task for busy in pool):
                yield from self._given_up(queue)
                self._hand_out(queue, pool, selector, fresh)
                for key, _ in selector.select(POLL_SECONDS):
                    yield from self._listen(key.data, queue, pool, selector)
                # Looking through all processes of the machine for each of many messages costs workers theirs.
                if time.monotonic() - policed >= POLL_SECONDS:
                    yield from self._police(queue, pool, selector)
                    policed = time.monotonic()
        finally:
            for busy in pool:
                self._end(busy)
            selector.close()
            self.spent_seconds["wall"] = time.monotonic() - start

    def _given_up(self, queue: deque[Task]) -> Iterator[Result]:
        """Answers what is left of those who hang again and again, and takes it out of the queue."""
        hopeless = {key for key, times in self._hangs.items() if times >= MOST_HANGS}
        if not hopeless:
            return
        for _ in range(len(queue)):
            rest: Task | None = queue.popleft()
            assert rest is not None
            left = [(trial, probe) for trial, probe in rest.open if _maker(trial) in hopeless]
            for trial, probe in left:
                reason = f"gave no answer within its time on {MOST_HANGS} other questions; see there"
                yield Result(parse_trial(trial), probe, "skipped", reason)
                rest = without(rest, trial) if rest is not None else None
            if rest is not None:
                queue.append(rest)

    def _hand_out(
        self, queue: deque[Task], pool: list[_Busy], selector: selectors.BaseSelector, fresh: bool
    ) -> None:
        for busy in [b for b in pool if b.task is None]:
            if fresh or (queue and queue[0].threads != busy.worker.threads):
                self._retire(busy, pool, selector)
            elif queue:
                self._give(busy, queue.popleft())
        while queue and len(pool) < self._workers:
            task = queue.popleft()
            worker = WorkerProcess(task.threads, self._memory_bytes, hash_seed=task.message.get("process", 0))
            busy = _Busy(worker)
            selector.register(worker, selectors.EVENT_READ, busy)
            pool.append(busy)
            self._give(busy, task)
            busy.deadline = time.monotonic() + busy.allowed

    def _give(self, busy: _Busy, task: Task) -> None:
        busy.task, busy.begun = task, None
        # Discovery and inputs happen before the first question begins.
        busy.allowed = STARTUP_SECONDS
        busy.deadline = time.monotonic() + busy.allowed
        busy.worker.send(task.message)

    def _retire(self, busy: _Busy, pool: list[_Busy], selector: selectors.BaseSelector) -> None:
        selector.unregister(busy.worker)
        pool.remove(busy)
        self._end(busy)

    def _end(self, busy: _Busy) -> None:
        self.spent_seconds["worker_lifetime"] += time.monotonic() - busy.worker.started
        busy.worker.end()

    def _listen(
        self, busy: _Busy, queue: deque[Task], pool: list[_Busy], selector: selectors.BaseSelector
    ) -> Iterator[Result]:
        messages = busy.worker.messages()
        if messages is None:
            yield from self._bury(busy, queue, pool, selector, None, "")
            return
        for message in messages:
            if "begin" in message:
                begun = message["begin"]
                busy.begun = (begun["trial"], begun["probe"])
                factor = COMPILATION_FACTOR if begun["probe"] in ("compilation", "timing") else 1.0
                busy.allowed = factor * self._limits.timeout_seconds
                busy.deadline = time.monotonic() + busy.allowed
            elif "result" in message:
                result = Result.from_json(message["result"])
                if busy.task is not None:
                    busy.task.open.pop((result.trial.id, result.probe), None)
                busy.begun = None
                yield result
            elif "done" in message:
                for purpose, seconds in message["spent_seconds"].items():
                    self.spent_seconds[purpose] += seconds
                busy.task, busy.begun = None, None
            elif "broken" in message:
                yield from self._broken(busy, message["broken"])
            elif "ready" not in message:
                if "timed" in message and busy.task is not None:
                    for key in [k for k in busy.task.open if k[0].startswith(message["timed"] + "/")]:
                        busy.task.open.pop(key)
                self._on_message(
                    {**message, "process": busy.task.message.get("process", 0) if busy.task else 0}
                )

    def _broken(self, busy: _Busy, text: str) -> Iterator[Result]:
        """The harness itself failed inside a task: every open question says so."""
        assert busy.task is not None
        last = text.strip().splitlines()[-1] if text.strip() else "unknown"
        for trial, probe in list(busy.task.open):
            yield Result(
                parse_trial(trial), probe, "error", f"the worker failed: {last}", notes={"output": text}
            )
        busy.task.open.clear()

    def _police(
        self, queue: deque[Task], pool: list[_Busy], selector: selectors.BaseSelector
    ) -> Iterator[Result]:
        now = time.monotonic()
        for busy in [b for b in pool if b.task is not None]:
            busy.worker.bound_output()
            resident = busy.worker.resident_bytes()
            if busy.worker.is_dead() and not _readable(busy.worker):
                # A grandchild may hold the pipe open, so its end never comes.
                yield from self._bury(busy, queue, pool, selector, None, "")
            elif (late := self._late(busy, now)) is not None:
                reason, oracle = late
                yield from self._bury(busy, queue, pool, selector, "timed_out", reason, oracle=oracle)
            elif resident > 1.1 * self._memory_bytes:
                yield from self._bury(
                    busy,
                    queue,
                    pool,
                    selector,
                    "out_of_memory",
                    f"{resident} bytes resident, limit {self._memory_bytes}",
                )

    def _late(self, busy: _Busy, now: float) -> tuple[str, bool] | None:
        """Returns whose time is over, in words, and whether it is the oracle's; None while nobody is late."""
        if now <= busy.deadline:
            return None
        own, present = busy.worker.turns.taken(now) if busy.begun is not None else (0.0, 0.0)
        limit = self._limits.longest_turn
        if present > limit:
            least = f"{ORACLE_FACTOR:.0f} x --timeout, at least {self._limits.oracle_seconds:.0f} s"
            return f"oracle or judging took more than their {limit:.0f} s ({least})", True
        if now - own > busy.deadline:
            return f"no answer within {busy.allowed:.0f} s", False
        return None

    def _bury(
        self,
        busy: _Busy,
        queue: deque[Task],
        pool: list[_Busy],
        selector: selectors.BaseSelector,
        status: Status | None,
        reason: str,
        *,
        oracle: bool = False,
    ) -> Iterator[Result]:
        """Blames the question that had begun and queues the others without that implementation.

        Where the `oracle` is late, no implementation of the case can be asked that question.
        """
        self._retire(busy, pool, selector)
        tail, end = busy.worker.end()
        task = busy.task
        if task is None:
            return
        if status is None:
            near = busy.worker.highest_rss > NEAR_LIMIT * self._memory_bytes
            status = "out_of_memory" if end == -9 and near else "crashed"
            reason = describe_end(end)
        if busy.begun is None:
            # It died before any question: the machine or the suite's import is at fault, not a trial.
            for trial, probe in list(task.open):
                yield Result(
                    parse_trial(trial),
                    probe,
                    status,
                    f"the worker {reason} before it began",
                    notes={"output": tail},
                )
            return
        trial, probe = busy.begun
        if oracle:
            for other in [key for key in task.open if key[1] == probe and _case(key[0]) == _case(trial)]:
                task.open.pop(other)
                yield death(parse_trial(other[0]), probe, "timed_out", reason, tail)
            if (rest := without(task, "")) is not None:
                queue.appendleft(rest)
            return
        self._hangs[_maker(trial)] += status == "timed_out"
        yield death(parse_trial(trial), probe, status, reason, tail)
        rest = without(task, trial)
        if rest is not None:
            queue.appendleft(rest)


def _maker(trial: str) -> tuple[str, str]:
    parsed = parse_trial(trial)
    return parsed.case.suite, parsed.implementation


def _case(trial: str) -> str:
    return trial.rpartition("/")[0]


def death(trial: Trial, probe: str, status: Status, reason: str, tail: str) -> Result:
    """Returns the Result of a question during which its worker died.

    Where invalid input was asked, the death is the answer: the finding `kills_process`.
    """
    if probe == INVALID_INPUT and status == "crashed":
        sentence = f"{KINDS['kills_process'].sentence}: the process {reason}"
        finding = Finding("kills_process", severity("kills_process"), probe, "labels", sentence)
        return Result(trial, probe, "ok", "", (finding,), notes={"output": tail})
    return Result(trial, probe, status, f"{reason} during {probe}", notes={"output": tail})


def _readable(worker: WorkerProcess) -> bool:
    return bool(select.select([worker], [], [], 0)[0])


def without(task: Task, dead_trial: str) -> Task | None:
    """Returns the task with what is still open and without one trial, None when nothing is left."""
    still_open = {key: None for key in task.open if key[0] != dead_trial}
    blocks = []
    for form in task.message["blocks"]:
        block = Block.from_json(form)
        probes = {}
        for name, asked in block.probes.items():
            left = tuple(p for p in asked if (f"{block.case.id}/{name}", p) in still_open)
            if left:
                probes[name] = left
        if probes:
            blocks.append(Block(block.case, probes).to_json())
    if not blocks:
        return None
    return Task({**task.message, "blocks": blocks}, task.threads, still_open)
