"""Rows that say the same become one: equal content is grouped, and its names are listed in words.

A table of 13 implementations in 4 dtypes is read in seconds only when those that behave alike share a
row. The trap: two rows are alike when everything shown of them is equal, so folding comes last, on
the finished cells, and never on a summary of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from harness import units
from reports.speed import dtype_order

Key = TypeVar("Key")
Content = TypeVar("Content", bound=Hashable)
_MOST_NAMES = 14


def folded(items: Iterable[tuple[Key, Content]]) -> list[tuple[list[Key], Content]]:
    """Returns each content once with all keys that have it, in the order of first appearance."""
    found: dict[Content, list[Key]] = {}
    for key, content in items:
        found.setdefault(content, []).append(key)
    return [(keys, content) for content, keys in found.items()]


def names_in_words(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Returns names in a line, at most so many, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def dtypes_in_words(dtypes: Iterable[str], everything: Iterable[str]) -> str:
    """Returns dtypes wide before narrow, or "all 4 dtypes" when none of several is left out."""
    ordered, all_of_them = sorted(set(dtypes), key=dtype_order), set(everything)
    if len(ordered) > 1 and set(ordered) == all_of_them:
        return "both dtypes" if len(ordered) == 2 else f"all {units.counted(len(ordered), 'dtype')}"
    return ", ".join(ordered)
