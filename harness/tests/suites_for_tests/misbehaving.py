"""Implementations that hang, die, allocate, shout and lie: each must cost itself only.

Every one says its name on stdout first, so that a test can look for it in the worker's last words.
The trap: `turns_gradients_off` and `empties_environment` stand before `good`, which must not notice.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import warnings

import torch
from torch import Tensor

from harness import Implementation, Regime, Sample, Shape, Suite

SLEEP_SECONDS = "86411"
CALLS = {"tires": 0}


def reference(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of squares of a row."""
    return (prediction - target).square().mean(1)


def good(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of squares."""
    return reference(prediction, target).mean()


def hangs(prediction: Tensor, target: Tensor) -> Tensor:
    """Never comes back."""
    os.write(1, b"hangs: last words\n")
    while True:
        pass


def raises(prediction: Tensor, target: Tensor) -> Tensor:
    """Raises on valid input."""
    raise RuntimeError("a loss that does not want to")


def raises_half_a_character(prediction: Tensor, target: Tensor) -> Tensor:
    """Raises with a text that UTF-8 cannot hold, as file names do."""
    raise RuntimeError("no file \udcff")


def cancels(prediction: Tensor, target: Tensor) -> Tensor:
    """Raises what is no Exception."""
    raise asyncio.CancelledError("cancelled from inside")


def exits(prediction: Tensor, target: Tensor) -> Tensor:
    """Calls sys.exit."""
    sys.exit("exits: enough")


def exits_hard(prediction: Tensor, target: Tensor) -> Tensor:
    """Ends the process without Python noticing."""
    os.write(1, b"exits_hard: last words\n")
    os._exit(3)


def segfaults(prediction: Tensor, target: Tensor) -> Tensor:
    """Reads address 0."""
    os.write(1, b"segfaults: last words\n")
    ctypes.string_at(0)
    return good(prediction, target)


def kills_itself(prediction: Tensor, target: Tensor) -> Tensor:
    """Sends itself SIGKILL."""
    os.write(1, b"kills_itself: last words\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return good(prediction, target)


def greedy(prediction: Tensor, target: Tensor) -> Tensor:
    """Allocates without bound."""
    kept = []
    while True:
        kept.append(torch.ones(1 << 25))


def shouts(prediction: Tensor, target: Tensor) -> Tensor:
    """Prints megabytes to stdout and stderr, and is right."""
    for stream in (sys.stdout, sys.stderr):
        stream.write("shout " * 500_000 + "\n")
    os.write(1, b"raw " * 250_000)
    return good(prediction, target)


def reads_stdin(prediction: Tensor, target: Tensor) -> Tensor:
    """Reads whatever stdin holds; nothing may be there."""
    eaten = os.read(0, 1 << 16) + sys.stdin.read().encode()
    if eaten:
        raise RuntimeError(f"ate {eaten[:100]!r}")
    return good(prediction, target)


def wrong_shape(prediction: Tensor, target: Tensor) -> Tensor:
    """Forgets to reduce."""
    return reference(prediction, target)


def returns_none(prediction: Tensor, target: Tensor) -> None:
    """Forgets to return."""


def leaves_a_child(prediction: Tensor, target: Tensor) -> Tensor:
    """Starts a process that outlives the call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subprocess.Popen(["sleep", SLEEP_SECONDS])
    return good(prediction, target)


def empties_environment(prediction: Tensor, target: Tensor) -> Tensor:
    """Clears os.environ."""
    os.environ.clear()
    os.environ["OMP_NUM_THREADS"] = "64"
    return good(prediction, target)


def turns_gradients_off(prediction: Tensor, target: Tensor) -> Tensor:
    """Leaves the interpreter without gradients and with another default dtype."""
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return good(prediction, target)


def tires(prediction: Tensor, target: Tensor) -> Tensor:
    """Is right while it is judged and dies while it is timed."""
    CALLS["tires"] += 1
    if CALLS["tires"] > 2:
        os.write(1, b"tires: last words\n")
        os._exit(7)
    return good(prediction, target)


def few_rows(shape: Shape, finfo: torch.finfo, generator: torch.Generator) -> Sample:
    """Standard normal predictions and targets."""
    prediction, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(prediction=prediction, target=target)


SUITE = Suite(
    name="misbehaving",
    oracle=reference,
    implementations=(
        Implementation(hangs),
        Implementation(raises),
        Implementation(raises_half_a_character),
        Implementation(cancels),
        Implementation(exits),
        Implementation(exits_hard),
        Implementation(segfaults),
        Implementation(kills_itself),
        Implementation(greedy),
        Implementation(shouts),
        Implementation(reads_stdin),
        Implementation(wrong_shape),
        Implementation(returns_none),
        Implementation(leaves_a_child),
        Implementation(empties_environment),
        Implementation(turns_gradients_off),
        Implementation(tires),
        Implementation(good, baseline=True),
    ),
    regimes=(Regime(few_rows),),
)
