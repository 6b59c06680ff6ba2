"""Rows for other programs: Markdown and CSV, the two forms of `--format` that are tables.

The trap: text comes from plug-ins, so a pipe in it would end a Markdown cell and a newline its row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

TABLES = ("md", "csv")


def table(layout: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns rows under their heads as "md" or "csv", without a newline at the end."""
    if layout == "csv":
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([heads, *rows])
        return lines.getvalue().rstrip("\n")
    written = [heads, ["---"] * len(heads), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in written)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
