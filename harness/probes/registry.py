"""Which function answers which probe, and what happens when one fails to.

Exceptions of an implementation are sorted inside the probes; what arrives here is SystemExit, a
KeyboardInterrupt raised by an implementation, or a fault of the harness: each becomes a Result with
text, never an exception out of a run.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.block import Answer, OpenBlock
from harness.probes.accuracy import accuracy
from harness.probes.compilation import compilation
from harness.probes.determinism import determinism
from harness.probes.identity import identity
from harness.probes.invalid_input import invalid_input
from harness.probes.memory import memory
from harness.probes.overflow import overflow
from harness.probes.protocol.probe import protocol
from harness.probes.settings import settings_kept
from harness.probes.spread import spread_over_seeds

Probe = Callable[[OpenBlock, str], Answer]
PROBE_FUNCTIONS: Mapping[str, Probe] = MappingProxyType(
    {
        "accuracy": accuracy,
        "protocol": protocol,
        "overflow": overflow,
        "determinism": determinism,
        "spread": spread_over_seeds,
        "identity": identity,
        "memory": memory,
        "compilation": compilation,
        "invalid_input": invalid_input,
    }
)


def ask(probe: str, block: OpenBlock, name: str) -> Answer:
    """Returns the answer of a probe; whatever escapes it becomes status crashed or error."""
    try:
        with settings_kept():
            return PROBE_FUNCTIONS[probe](block, name)
    except BaseException as error:
        if not isinstance(error, Exception):
            return Answer("crashed", f"{name} ended the interpreter by {type(error).__name__}({error})")
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{f.name}:{f.lineno}" for f in reversed(frames))
        return Answer("error", f"{type(error).__name__}: {error} ({where})")
