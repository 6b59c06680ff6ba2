"""One worker process: started with its environment at exec, in its own session, killed as a group.

Messages are JSON lines on a pipe of their own; stdout and stderr go to a bounded file whose tail is
kept when the worker dies. A small transport of our own instead of execnet: that one speaks over
descriptors 0 and 1, which belong to the implementation here, and starts no session that could be
killed as a group. The trap: a worker that hangs inside C ignores SIGTERM, so the end is SIGKILL
to the whole group.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO, Any

import psutil

from harness.environment import worker_environment
from harness.turns import SIZE, Turns

OUTPUT_BYTES = 1 << 22
TAIL_BYTES = 2000


class WorkerProcess:
    """A child interpreter with its pipes; `fileno()` makes it selectable."""

    def __init__(self, threads: int, memory_bytes: int, *, hash_seed: int = 0) -> None:
        reading, writing = os.pipe()
        self._output: IO[bytes] = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - lives as long as the worker
        # Appended to: a write under way while the file is emptied would land behind a gap and end the tail.
        flags = fcntl.fcntl(self._output, fcntl.F_GETFL)
        fcntl.fcntl(self._output, fcntl.F_SETFL, flags | os.O_APPEND)
        environment = worker_environment(threads, hash_seed=hash_seed)
        environment["LOSSGAUGE_MESSAGES"] = str(writing)
        shared = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed below, what maps it keeps it
        shared.truncate(SIZE)
        environment["LOSSGAUGE_TURNS"] = str(shared.fileno())
        environment["LOSSGAUGE_MEMORY_BYTES"] = str(memory_bytes)
        # -P keeps the working directory from shadowing the three packages.
        command = [sys.executable, "-P", "-c", "from harness.worker import main; main()"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=(writing, shared.fileno()),
            env=_with_packages(environment),
            start_new_session=True,
        )
        os.close(writing)
        self.turns = Turns(shared.fileno())
        shared.close()
        self._reading = reading
        self._pending = b""
        self._closed = False
        self.threads, self.memory_bytes = threads, memory_bytes
        self.started = time.monotonic()
        self.highest_rss = 0

    def fileno(self) -> int:
        """Returns the descriptor that becomes readable when the worker said something or died."""
        return self._reading

    def send(self, task: Mapping[str, Any]) -> None:
        """Sends a task; a worker that is already dead is noticed when its pipe is read."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write((json.dumps(task) + "\n").encode())
            self._process.stdin.flush()

    def messages(self) -> list[dict[str, Any]] | None:
        """Returns the messages that have arrived, None once the worker's end of the pipe is closed."""
        arrived = os.read(self._reading, 1 << 20)
        if not arrived:
            return None
        *lines, self._pending = (self._pending + arrived).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def resident_bytes(self) -> int:
        """Returns the resident memory of the worker and its children, 0 when it is gone."""
        try:
            process = psutil.Process(self._process.pid)
            total = process.memory_info().rss
            total += sum(child.memory_info().rss for child in process.children(recursive=True))
        except psutil.Error:
            return 0
        self.highest_rss = max(self.highest_rss, int(total))
        return int(total)

    def is_dead(self) -> bool:
        """Tells whether the process has ended, whoever may still hold its pipe open."""
        return self._process.poll() is not None

    def bound_output(self) -> None:
        """Empties the output file when an implementation has filled it."""
        if os.fstat(self._output.fileno()).st_size > OUTPUT_BYTES:
            os.ftruncate(self._output.fileno(), 0)

    def end(self) -> tuple[str, int]:
        """Kills the worker's group and returns the tail of its output and its exit status."""
        if not self._closed:
            self._closed = True
            if self._process.poll() is None:
                # Its pipe may close a moment before the process is reaped.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.2)
            own_end = self._process.poll()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._status = own_end if own_end is not None else -signal.SIGKILL
            os.close(self._reading)
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            size = os.fstat(self._output.fileno()).st_size
            self._output.seek(max(0, size - TAIL_BYTES))
            self._tail = self._output.read().decode("utf-8", errors="replace").strip()
            self._output.close()
            self.turns.close()
        return self._tail, self._status


def _with_packages(environment: dict[str, str]) -> dict[str, str]:
    """Puts the folder of this very package on the worker's path when it is not installed."""
    import harness

    folder = os.path.dirname(os.path.dirname(os.path.abspath(harness.__file__)))
    if folder in sys.path and not folder.endswith("site-packages"):
        known = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
        environment["PYTHONPATH"] = os.pathsep.join([folder, *known])
    return environment


def describe_end(status: int) -> str:
    """Returns how a process ended, in words."""
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    return f"exited with status {status}"
