"""The append-only record of a run: one fsynced line per (trial, probe, attempt).

A line that is on disk is never measured again: the key of a question is the trial id, probe, seed, the
hash of the sources that decide its answer and the protocol version. The trap: a torn last line is
what a power cut or a full disk leaves behind, so it is cut off before anything is appended to it, and
files are written without a buffer: one that a full disk refused would be written again at closing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import writing
from harness.results import Result, dumps
from harness.run import read_results

# Raise when a probe's question or a number's meaning changes: older lines are then measured anew.
PROTOCOL = 1
KEPT = "what was measured before is kept: make room and give the same command again"


def journal_key(trial: str, probe: str, seed: int, source_hash: str) -> str:
    """Returns the key under which an answer may be reused."""
    words = "\x1f".join((trial, probe, str(seed), source_hash, str(PROTOCOL)))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


class Journal:
    """The results file of a run, open for appending."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.torn_lines = 0
        self._attempts: dict[tuple[str, str], int] = {}
        self.stored: dict[tuple[str, str], Result] = {}
        if path.exists():
            results, self.torn_lines = read_results(path)
            for result in results:
                self._remember(result)
            if self.torn_lines:
                cut_torn_line(path)
        self._lines = _Lines(path)

    def _remember(self, result: Result) -> None:
        question = (result.trial.id, result.probe)
        self.stored[question] = result
        self._attempts[question] = max(result.attempt, self._attempts.get(question, 0))

    def reusable(self, trial: str, probe: str, key: str) -> Result | None:
        """Returns the stored answer of a question when it was given to the same sources."""
        result = self.stored.get((trial, probe))
        return result if result is not None and result.key == key else None

    def append(self, result: Result, key: str) -> Result:
        """Writes one line through to the disk and returns the result as stored."""
        question = (result.trial.id, result.probe)
        stored = result.keyed(key, self._attempts.get(question, 0) + 1)
        self._lines.write(stored.to_json())
        self._lines.sync()
        self._remember(stored)
        return stored

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


class SampleLog:
    """The timed blocks of a run, one JSON line each; flushed per trial, not synced per sample."""

    def __init__(self, path: Path) -> None:
        self._lines = _Lines(path)

    def append(self, sample: Mapping[str, Any]) -> None:
        """Writes one timed block."""
        self._lines.write(sample)

    def flush(self) -> None:
        """Writes through what was appended."""
        self._lines.sync()

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


class _Lines:
    """A file of JSON lines open for appending; raises StorageError when the disk takes no more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path, KEPT):
            self._file = path.open("ab", buffering=0)

    def write(self, form: Mapping[str, Any]) -> None:
        rest = memoryview(f"{dumps(form)}\n".encode())
        with writing(self._path, KEPT):
            while rest:
                # Near the end of a disk less is written than was asked for, and only the next call fails.
                rest = rest[self._file.write(rest) or 0 :]

    def sync(self) -> None:
        with writing(self._path, KEPT):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def cut_torn_line(path: Path) -> None:
    """Removes what stands behind the last newline of a file."""
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(content.rfind(b"\n") + 1)
