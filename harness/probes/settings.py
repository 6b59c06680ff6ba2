"""What the whole process holds, and how it is put back after somebody changed it.

A loss must leave each of these as it was: whoever turns deterministic algorithms on, or lets subnormals
be flushed, changes the numbers of everybody who comes after; whoever changes the working directory or the
environment changes which files they find. `harness.calling.torch_state_kept` puts back what anything that
calls an implementation needs; the probes put back everything here. The trap: a setting that the first call
changed and nobody put back looks unchanged to every later look, so it is put back after *each* question.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Setting:
    """One global setting: how it is read and how it is put back."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


SUBNORMAL = 2.0**-1070


def flushes_subnormals() -> bool:
    """Tells whether this thread takes subnormal numbers for 0, which only multiplying one shows.

    Python's own floats are multiplied under the same mode of the processor as torch's are.
    """
    return SUBNORMAL * 0.5 == 0


def put_filters(held: list[Any]) -> None:
    """Puts the warnings filters back; "error" left behind makes an exception of anybody's warning."""
    warnings.filters[:] = held  # type: ignore[index]


def working_directory() -> str:
    """Returns the folder that relative paths start from, "" where it has been removed meanwhile."""
    try:
        return os.getcwd()  # noqa: PTH109 - read twice around every question
    except FileNotFoundError:
        return ""


def put_directory(held: str) -> None:
    """Goes back to a folder; nowhere where it was, or has become, one that is no more."""
    with suppress(OSError):
        os.chdir(held)


def environment() -> Mapping[str, str]:
    """Returns the environment variables, as `os.environ` has them.

    What C code sets behind Python's back (KMP_INIT_AT_FORK of OpenMP) is not among them. `os.environ` decodes
    every name and value at every look, which took a fifth of the protocol's time; so its encoded contents,
    where it has them, are compared with those of the last looks.
    """
    encoded = getattr(os.environ, "_data", None)
    return _decoded(tuple(encoded.items())) if isinstance(encoded, dict) else dict(os.environ)


@lru_cache(maxsize=4)
def _decoded(encoded: tuple[tuple[object, object], ...]) -> Mapping[str, str]:
    """Returns the environment variables, which hold `encoded` now."""
    return MappingProxyType(dict(os.environ))


def put_environment(held: Mapping[str, str]) -> None:
    """Puts the environment variables back, touching only those that differ."""
    for name in set(os.environ) - set(held):
        del os.environ[name]
    for name, value in held.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "the default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
        "the number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
        "the grad mode": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        "deterministic algorithms": Setting(
            torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
        ),
        "the float32 matmul precision": Setting(
            torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
        ),
        "anomaly detection": Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        "autocast on the CPU": Setting(
            lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)
        ),
        "the warnings filters": Setting(lambda: list(warnings.filters), put_filters),
        "the flushing of subnormals": Setting(flushes_subnormals, torch.set_flush_denormal),
        "the working directory": Setting(working_directory, put_directory),
        "the environment variables": Setting(environment, put_environment),
    }
)
RANDOM: Mapping[str, Setting] = MappingProxyType(
    {
        "torch's random state": Setting(torch.random.get_rng_state, torch.random.set_rng_state),
        "numpy's random state": Setting(np.random.get_state, np.random.set_state),
        "python's random state": Setting(random.getstate, random.setstate),
    }
)


def settings() -> dict[str, object]:
    """Returns every setting and random state by name, in a form that compares."""
    held: dict[str, object] = {name: setting.read() for name, setting in SETTINGS.items()}
    return held | {name: _comparable(setting.read()) for name, setting in RANDOM.items()}


def _comparable(state: object) -> object:
    """Returns bytes of arrays: printing numpy's 624 words takes a hundred times as long as copying them."""
    if isinstance(state, torch.Tensor):
        return state.numpy().tobytes()
    if isinstance(state, tuple):
        # Python's own words are a tuple of their own, which compares as it is.
        return tuple(part.tobytes() if isinstance(part, np.ndarray) else part for part in state)
    return state


@contextmanager
def settings_kept() -> Iterator[None]:
    """Puts every setting back, but no random state: a random loss has to go on being random."""
    held = {name: setting.read() for name, setting in SETTINGS.items()}
    try:
        yield
    finally:
        for name, value in held.items():
            if SETTINGS[name].read() != value:
                SETTINGS[name].write(value)


@contextmanager
def stirred() -> Iterator[None]:
    """Draws a number from every random generator, and puts the states back in the end.

    A generator that an earlier call seeded is in the state that the next seeding gives it again.
    """
    held = {name: setting.read() for name, setting in RANDOM.items()}
    torch.rand(())
    np.random.random()  # noqa: NPY002
    random.random()
    try:
        yield
    finally:
        for name, state in held.items():
            RANDOM[name].write(state)
