"""What a pytest session asks of suite files; every module of the pytest face may look at it.

The modules form a line: settings, items, trials, examples and timed, file, plugin. The trap: this one
is loaded by every pytest start in the environment, so it imports nothing of weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Settings:
    """What a session asks of suite files."""

    seed: int = 0
    profile: str = "quick"
    known_bad: bool = False
    compiled: bool = False
    timed: bool = False


SETTINGS = pytest.StashKey[Settings]()
