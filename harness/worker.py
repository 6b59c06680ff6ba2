"""A child interpreter that answers questions: JSON lines in on stdin, JSON lines out on a pipe of its own.

Nothing of an implementation crosses the pipe but numbers and text: every exception becomes text
here, SystemExit and KeyboardInterrupt included, and each finished Result is sent at once, so a
death costs only what had begun. The trap: file descriptors 1 and 2 belong to the implementation, so
messages travel on a descriptor that was opened for them before torch was imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from harness.ledger import Ledger
from harness.turns import Turns


class Channel:
    """The message pipe to the driver."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends one message as a line of strict JSON."""
        from harness.results import dumps

        self._file.write(dumps(message) + "\n")
        self._file.flush()


def main() -> None:
    """Runs tasks from stdin until it closes; started by `harness.transport`."""
    channel = Channel(int(os.environ.pop("LOSSGAUGE_MESSAGES")))
    shared = int(os.environ.pop("LOSSGAUGE_TURNS"))
    turns = Turns(shared)
    os.close(shared)
    _die_with_parent()
    _limit_memory(int(os.environ.pop("LOSSGAUGE_MEMORY_BYTES", "0")))
    tasks = os.fdopen(os.dup(0), "r", encoding="utf-8")
    # An implementation that reads stdin must not eat the tasks.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    _sleep_while_waiting()
    start = time.perf_counter()
    import torch

    session = _Session(channel, turns)
    session.book_import(time.perf_counter() - start)
    channel.send({"ready": os.getpid()})
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for line in tasks:
        session.answer(json.loads(line))


class _Session:
    """State between tasks: the discovered suites, and what was compiled last."""

    def __init__(self, channel: Channel, turns: Turns) -> None:
        self._channel, self._turns = channel, turns
        self._suites: dict[str, Any] = {}
        self._selection: str = ""
        self._warm: set[str] = set()
        self._ledger = Ledger(turns)

    def book_import(self, seconds: float) -> None:
        """Books what importing torch took."""
        self._ledger.book("import", seconds)

    def answer(self, task: Mapping[str, Any]) -> None:
        """Answers one task and says that it is done; a broken harness is text, too."""
        try:
            self._discover(task["selection"])
            if task["kind"] == "timing":
                self._time(task)
            else:
                self._ask(task)
        except BaseException as error:
            import traceback

            self._channel.send({"broken": "".join(traceback.format_exception(error))[-4000:]})
        self._channel.send({"done": task["id"], "spent_seconds": self._ledger.taken()})

    def _discover(self, selection: Mapping[str, Any]) -> None:
        from harness.discovery import Selection, discover

        text = json.dumps(selection, sort_keys=True)
        if text != self._selection:
            self._suites = dict(discover(Selection.from_json(selection)).suites)
            self._selection = text

    def _ask(self, task: Mapping[str, Any]) -> None:
        from harness.block import OpenBlock, reset_compiler
        from harness.plan import Block

        reset_compiler()
        before: OpenBlock | None = None
        for form in task["blocks"]:
            block = Block.from_json(form)
            opened = OpenBlock(self._suites[block.case.suite], block.case, task["seed"], self._ledger)
            if before is not None:
                opened.adopt(before)
            before = opened
            for probe, name in block.questions():
                self._one(opened, probe, name)

    def _one(self, opened: Any, probe: str, name: str) -> None:
        from harness.probes.registry import ask
        from harness.results import Result
        from harness.trial import Trial

        self._warm_up(probe)
        trial = Trial(opened.case, name)
        self._begin(trial.id, probe)
        start = time.perf_counter()
        answer = ask(probe, opened, name)
        result = Result(
            trial,
            probe,
            answer.status,
            answer.reason,
            answer.findings,
            answer.numbers,
            answer.notes,
            spent_seconds=time.perf_counter() - start,
        )
        self._channel.send({"result": result.to_json()})

    def _begin(self, trial: str, probe: str) -> None:
        """Says which question begins; from now on it is the implementation's time."""
        self._turns.restart()
        self._channel.send({"begin": {"trial": trial, "probe": probe}})

    def _warm_up(self, probe: str) -> None:
        """Pays the first use of profiler and compiler outside any trial."""
        if probe in self._warm:
            return
        self._warm.add(probe)
        if probe == "memory":
            from harness.probes.memory import warm_up_profiler

            warm_up_profiler()
        elif probe == "protocol":
            from harness.probes.protocol.transforms import warm_up_transforms

            with self._ledger.spending("import"):
                warm_up_transforms()
        elif probe == "compilation":
            from harness.probes.compilation import warm_up_compiler

            with self._ledger.spending("compiler"):
                warm_up_compiler()

    def _time(self, task: Mapping[str, Any]) -> None:
        from harness.block import OpenBlock, reset_compiler
        from harness.plan import Block
        from harness.probes.clocks import copy_bandwidth, timer_seconds
        from harness.probes.timing import Measure, time_block
        from harness.trial import Trial

        if any(self._suites[suite].implementation(name).compiled for suite, name in _timed_names(task)):
            self._warm_up("compilation")
        bandwidth = copy_bandwidth()
        self._channel.send({"machine": {"copy_bandwidth": bandwidth, "timer_seconds": timer_seconds()}})
        for form in task["blocks"]:
            block = Block.from_json(form)
            reset_compiler()
            self._channel.send({"opening": block.case.id})
            opened = OpenBlock(self._suites[block.case.suite], block.case, task["seed"], self._ledger)

            def begin(name: str, case: Any = block.case) -> None:
                self._begin(Trial(case, name).id, "timing")

            def emit(message: dict[str, Any], case: Any = block.case) -> None:
                self._channel.send({**message, "case": case.id})

            measure = Measure.from_json(task["measure"])
            time_block(opened, block.timed(), task["process"], measure, emit, begin)
            self._channel.send({"timed": block.case.id})


def _timed_names(task: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Returns suite and name of every implementation that a task times."""
    from harness.plan import Block

    blocks = [Block.from_json(form) for form in task["blocks"]]
    return {(block.case.suite, name) for block in blocks for name in block.timed()}


def _sleep_while_waiting() -> None:
    """Makes the threads of a one-thread worker sleep at barriers; to be called before torch is imported.

    Determinism asks for several threads beside other workers, where threads that spin at a barrier hold
    the very core that the one they wait for needs. Workers that measure several threads keep the default.
    """
    if os.environ.get("OMP_NUM_THREADS") == "1":
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _die_with_parent() -> None:
    """Asks Linux to kill this worker when the driver dies; elsewhere a closed stdin ends it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _limit_memory(limit_bytes: int) -> None:
    """Limits the data segment, so that torch's allocator raises instead of the machine swapping."""
    if limit_bytes and sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
