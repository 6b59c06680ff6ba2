"""Runs a reproducer as its reader does: alone, in an interpreter and a folder of its own.

`-I` keeps the current folder, PYTHONPATH and the user's site off the path. The trap: a script that
ends with 1 has not shown its finding yet; whatever stops it ends with 1 as well, so what it says counts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Said:
    """How a script ended alone: whether its assertion failed, and its last words."""

    shows: bool
    words: str


def said_alone(text: str, *, seconds: float = 300.0) -> Said:
    """Runs a script in a child and returns what it said; who takes longer than `seconds` shows nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.py"
        path.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(path)], cwd=folder, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return Said(shows=False, words=f"did not end within {seconds:g} s")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    failed = next((line for line in reversed(lines) if line.startswith("AssertionError")), "")
    if done.returncode == 1 and failed:
        return Said(shows=True, words=failed.removeprefix("AssertionError").removeprefix(": "))
    if done.returncode == 0:
        return Said(shows=False, words="passes")
    return Said(shows=False, words=f"ended with {done.returncode}: {lines[-1] if lines else 'no word'}")
