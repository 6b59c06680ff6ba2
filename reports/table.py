"""A table before it is markup: the same value becomes HTML, markdown and nothing else.

Cells carry text and the severity they stand for; the writers choose glyph and colour. The trap: the
text comes from plug-ins, so it is escaped where it is written, never here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

# What a cell stands for, and the glyph that says so without colour.
GLYPHS = {
    "e": "✗",
    "f": "✗",
    "k": "◇",
    "w": "!",
    "ok": "✓",
    "p": "…",
    "n": "",
    "": "",
    "best": "★",
    "fine": "",
    "same": "",
}


class Cell(NamedTuple):
    """Text, what it stands for (a key of GLYPHS), a smaller second line, a tooltip, a framed word, code.

    `more` is a list of smaller lines to fold away, `link` the id of the place in the page that says more.
    """

    text: str
    css: str = ""
    small: str = ""
    title: str = ""
    badge: str = ""
    code: str = ""
    more: tuple[str, ...] = ()
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Caption, column heads and rows; `right` names the columns of numbers, `note` stands below."""

    caption: str
    heads: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    right: frozenset[int] = frozenset()
    note: str = ""

    def emptied(self, caption: str) -> Table:
        """Returns the table without its rows, under a caption that says so."""
        return replace(self, rows=(), caption=caption)


@dataclass(frozen=True)
class Part:
    """What a section says of one suite: a line that stays visible, and the tables behind it."""

    suite: str
    words: str
    tables: tuple[Table, ...]


def cells(*values: str | Cell) -> tuple[Cell, ...]:
    """Returns a row; bare text becomes a cell that stands for nothing."""
    return tuple(value if isinstance(value, Cell) else Cell(value) for value in values)


def rights(*columns: int) -> frozenset[int]:
    """Returns the set of right-aligned columns."""
    return frozenset(columns)
