"""What every declaration of a plug-in is checked for: names, types and duplicates, at import.

Each check raises SuiteError with the call as the author wrote it. The trap: these run while the
suite file is being imported, so they must touch neither torch nor the file system.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from harness.errors import SuiteError, unknown

Options = Mapping[str, Any]
NAME = re.compile(r"[A-Za-z0-9_.+-]+")


class Named(Protocol):
    """Anything that is looked up by its name."""

    @property
    def name(self) -> str:
        """The name that stands in trial ids."""


N = TypeVar("N", bound=Named)


def checked_name(call: str, name: str) -> str:
    """Returns the name when it can be part of a trial id; raises SuiteError otherwise."""
    if not NAME.fullmatch(name):
        raise SuiteError(
            f"{call}: {name!r} cannot be part of a trial id; use letters, digits, '_', '.', '+' and '-'."
        )
    return name


def patterns(call: str, value: str | Iterable[str]) -> tuple[str, ...]:
    """Returns names or shell-style patterns as a tuple; a single string is one pattern."""
    values = (value,) if isinstance(value, str) else tuple(value)
    for item in values:
        if not isinstance(item, str):
            raise SuiteError(f"{call}: got {item!r}; allowed is a name, a pattern or a tuple of them.")
    return values


def by_name(call: str, what: str, items: Iterable[N], name: str) -> N:
    """Returns the item of that name; raises SuiteError that lists the names there are."""
    listed = list(items)
    for item in listed:
        if item.name == name:
            return item
    raise SuiteError(unknown(call, what, name, [item.name for item in listed]))


def require(call: str, part: str, item: object, kind: type) -> None:
    """Raises SuiteError unless the item is of the kind; a bare function is told how to be wrapped."""
    if isinstance(item, kind):
        return
    if callable(item) and not isinstance(item, type) and kind.__name__ in ("Implementation", "Regime"):
        name = getattr(item, "__name__", repr(item))
        raise SuiteError(f"{call}: {part} holds the function {name}; write {kind.__name__}({name}).")
    raise SuiteError(f"{call}: {part} holds {item!r}; every entry must be a {kind.__name__}.")


def unique(call: str, part: str, names: list[str]) -> None:
    """Raises SuiteError when a name stands twice."""
    for name in names:
        if names.count(name) > 1:
            raise SuiteError(f"{call}: {part} names '{name}' twice; give one of them another name=.")


def function_name(function: object, kind: str) -> str:
    """Returns the name of a function or of the function inside a partial; a lambda has none."""
    inner = function.func if isinstance(function, partial) else function
    name = getattr(inner, "__name__", "")
    if not name or name == "<lambda>":
        raise SuiteError(f"{kind}({function!r}): has no name of its own; write {kind}(..., name='...').")
    return str(name)


def first_line(function: object) -> str:
    """Returns the first line of a docstring, empty where there is none."""
    inner = function.func if isinstance(function, partial) else function
    lines = (inspect.getdoc(inner) or "").strip().splitlines()
    return lines[0] if lines else ""
