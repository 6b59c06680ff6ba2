"""How a page is to look: its title, the size it may have, and whether all rows travel inside it.

A page that would be larger loses the rows of its data table first, then the compressed block of all
rows, and says so; figures and findings always stay. The trap: what is left out must be said on the
page itself, because a reader who gets the file alone never saw the terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOST_MB = 5.0
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Look:
    """What a caller may choose: `title` "" is the run's name, `most_mb` is in units of 10^6 bytes."""

    title: str = ""
    most_mb: float = MOST_MB
    block: bool = True


@dataclass(frozen=True)
class Contents:
    """What of the data travels in the page: the rows of its table, and the block of all rows."""

    rows: bool
    block: bool


def fitted(look: Look, write: Callable[[Contents, str], str]) -> tuple[str, str]:
    """Returns the page with as much data as fits, and what its size cost in one sentence, "" for nothing.

    `write` renders the page with the contents and the sentence it is given; it is called again with
    less while the page is too large.
    """
    everything, nothing = Contents(True, look.block), Contents(False, False)
    for contents in dict.fromkeys((everything, Contents(False, look.block), nothing)):
        said = _sentence(contents, look)
        text = write(contents, said)
        if len(text.encode()) <= look.most_mb * MEGABYTE:
            return text, "" if contents == everything else said
    said = f"{_sentence(nothing, look)} The page is larger all the same."
    return write(nothing, said), said


def _sentence(contents: Contents, look: Look) -> str:
    if contents.rows:
        return "" if contents.block else "This page has no block of all rows; results.csv holds every trial."
    gone = "" if contents.block or not look.block else " and the block of all rows"
    where = "JavaScript draws them from the block" if contents.block else "results.csv holds every trial"
    return f"Left out for a page of at most {look.most_mb:g} MB: the rows of the data table{gone}; {where}."
