"""Whose turn it is in a worker: the seconds of a question that the harness takes for itself.

A question's time limit is the implementation's. What the oracle takes on the same inputs (at 1024 x 128256
several times as long) is none of its doing, so a worker notes when a turn of the harness begins and ends, and
the driver takes those seconds off before it calls anything late. The notes lie in memory that both share: a
message would cost more than most turns take, and cannot be sent from inside one that never ends. The clock is
`time.monotonic`, which is one for all processes of a machine. The trap: the two numbers are not written at
once, so the driver may see a turn twice or not at all for a moment; it looks again at its next round.
"""

from __future__ import annotations

import mmap
import struct
import time

_FORM = struct.Struct("dd")
SIZE = _FORM.size


class Turns:
    """The harness's seconds since the question began, and since when its present turn lasts (0: none)."""

    def __init__(self, descriptor: int) -> None:
        """Maps the file behind a descriptor, SIZE bytes of zeros that driver and worker have open."""
        self._memory = mmap.mmap(descriptor, SIZE)

    def restart(self) -> None:
        """Forgets what was noted: a question begins, and it is the implementation's turn."""
        _FORM.pack_into(self._memory, 0, 0.0, 0.0)

    def begin(self) -> None:
        """Notes that a turn of the harness begins."""
        taken, _ = _FORM.unpack_from(self._memory)
        _FORM.pack_into(self._memory, 0, taken, time.monotonic())

    def end(self) -> None:
        """Notes that it is the implementation's turn again."""
        taken, since = _FORM.unpack_from(self._memory)
        if since:
            _FORM.pack_into(self._memory, 0, taken + time.monotonic() - since, 0.0)

    def taken(self, now: float) -> tuple[float, float]:
        """Returns the harness's seconds in this question until `now`, and those of its present turn alone."""
        taken, since = _FORM.unpack_from(self._memory)
        present = max(0.0, now - since) if since else 0.0
        return taken + present, present

    def close(self) -> None:
        """Gives the memory back."""
        self._memory.close()
