"""One writer per run directory, for as long as it writes.

Two runs in one folder would cut each other's last line off as torn and measure everything twice. The
trap: a lock file outlives a killed run; a lock on the folder itself ends with the process that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import RunError, UsageError, writing


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes a run directory and holds it; raises RunError while another process writes there.

    A folder that cannot be made is a UsageError. Where the file system knows no locks nothing is held.
    """
    with writing(folder, "give --out a folder that takes files", UsageError):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no POSIX
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(
            f"{folder}: another lossgauge run is writing there; wait until it is done, or use another --out."
        ) from None
    except OSError:  # some network file systems
        return
