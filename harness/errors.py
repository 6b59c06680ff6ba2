"""What a user can do wrong, as exceptions whose message is the whole answer.

Every message is one sentence with the call as the user wrote it, what was got, what is allowed and
the next step; the command line prints it without a traceback. The trap: an exception of an
*implementation* is never one of these, it is a Result (`harness.results`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class HarnessError(Exception):
    """A mistake that the person who typed the command or wrote the plug-in can mend."""

    exit_code = 2


class UsageError(HarnessError):
    """A command-line value, a configuration key or a filter that cannot be used."""


class SuiteError(HarnessError):
    """A plug-in declaration that cannot be used; raised at import of the suite file."""


class RunError(HarnessError):
    """A run directory that is missing, damaged or made by another plan or machine."""


class StorageError(HarnessError):
    """A disk that takes no more; what was written before stays, so the run is incomplete and no worse."""

    exit_code = 3


@contextmanager
def writing(path: Path, next_step: str, kind: type[HarnessError] = StorageError) -> Iterator[None]:
    """Turns what the system says about writing `path` into one sentence with the next step."""
    try:
        yield
    except OSError as error:
        # A folder above the file can be at fault, and the system names it.
        culprit = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise kind(f"{path}: cannot be written: {error.strerror or error}{culprit}; {next_step}.") from None


def suggestion(got: str, allowed: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest allowed word, or an empty string."""
    close = difflib.get_close_matches(got, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def unknown(call: str, what: str, got: str, allowed: Iterable[str]) -> str:
    """Returns the sentence for a value outside a closed set; `allowed` is listed, never retyped."""
    words = list(allowed)
    listed = ", ".join(words) if words else "none are declared"
    return f"{call}: there is no {what} '{got}'.{suggestion(got, words)} Allowed: {listed}."
