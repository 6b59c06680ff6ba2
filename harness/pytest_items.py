"""The tests of a suite file in their order, and what they have in common.

Examples and identities, trials, Known entries last. Every test asks in this process and on one
thread. The trap: pytest may turn warnings into errors, which would make a finding out of an
implementation that merely warns, so filters are reset around every call.
"""

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import torch

from harness.discovery import load_reference
from harness.errors import HarnessError
from harness.implementation import Implementation
from harness.pytest_settings import Settings
from harness.suite import Suite

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr, TracebackStyle


def loaded(path: Path, settings: Settings) -> Suite | None:
    """Returns the suite of a file with the implementations that the session asks for, None without any."""
    here = Path.cwd()
    suite = load_reference(str(path.relative_to(here) if path.is_relative_to(here) else path))
    wanted = tuple(
        item
        for item in suite.implementations
        if (settings.known_bad or not item.known_bad) and (settings.compiled or not item.compiled)
    )
    return replace(suite, implementations=wanted) if wanted else None


class SuiteItem(pytest.Item):
    """A test of a suite file; what goes wrong is said in sentences, not in tracebacks."""

    def reportinfo(self) -> tuple[Path, int, str]:
        """Returns the suite file and the test's name; a warning of a test needs a line."""
        return self.path, 0, self.name

    def runtest(self) -> None:
        """Asks on one thread with default warnings; a mistake in the suite is its sentence."""
        try:
            with calm(), one_thread():
                self.ask()
        except HarnessError as error:
            fail(str(error))

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: TracebackStyle | None = None
    ) -> str | TerminalRepr:
        """Returns sentences as they are; a traceback is for faults of the harness."""
        # Formatting the traceback of an xfail that nobody reads took 6 of 7 seconds of a session.
        if isinstance(excinfo.value, pytest.fail.Exception | pytest.xfail.Exception):
            return str(excinfo.value.msg)
        return super().repr_failure(excinfo, style)

    @abstractmethod
    def ask(self) -> None:
        """Asks the question of this test."""

    def marked(self, kind: str, **facts: str) -> None:
        """Puts the marker on it that tests are selected by."""
        self.add_marker(pytest.mark.lossgauge(kind=kind, **facts))


def fail(text: str) -> NoReturn:
    """Fails with sentences and without a traceback."""
    pytest.fail(text, pytrace=False)


def wrong(implementation: Implementation, text: str) -> NoReturn:
    """Fails, or is expected where the implementation is known to be bad."""
    if implementation.known_bad:
        pytest.xfail(f"known bad: {implementation.known_bad}")
    fail(text)


def slug(text: str) -> str:
    """Returns a text in the characters that a test name is safe with."""
    return re.sub(r"[^a-z0-9_.+]+", "-", text.lower()).strip("-")


def numbered(texts: Iterable[str], otherwise: Callable[[int], str]) -> list[str]:
    """Returns slugs that are different from one another; an empty one gets `otherwise(number)`."""
    names: list[str] = []
    for number, text in enumerate(texts, start=1):
        name = slug(text) or otherwise(number)
        names.append(name if name not in names else f"{name}-{number}")
    return names


@contextmanager
def calm() -> Iterator[None]:
    """Shows warnings and raises none of them, whatever the project's filters say."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs torch on one thread and gives the threads back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
