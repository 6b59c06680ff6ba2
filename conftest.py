"""The root of every test run: plugins for a checkout that is not installed, and Hypothesis profiles.

Where lossgauge is installed its entry point carries the same name, so nothing is registered twice.
The trap: `pytest_plugins` is honoured in the root conftest only, which is why pytester is asked for
here.
"""

from __future__ import annotations

import gc
import os

from hypothesis import settings

pytest_plugins = ["harness.pytest_plugin", "pytester"]

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=200, database=None)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_collection_finish() -> None:
    """Leaves what was collected out of the garbage collector's rounds: it stays until the end."""
    gc.freeze()
