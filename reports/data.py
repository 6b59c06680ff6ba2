"""All rows for the page's own table: at most 500 as HTML, every row in one compressed block.

The block is gzip + base64 of columnar JSON, read by the page's script for filter, sort and download;
24,000 rows as HTML would be 8 MB. The trap: JSON has no NaN, so non-finite numbers travel as their
words and absent ones as null, which is why the script must never treat null as zero.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence

from harness import units
from harness.results import to_json_number
from harness.trial import AXES
from reports.ratios import DERIVED
from reports.records import Record
from reports.table import Cell, Table, cells, rights

MOST_ROWS = 500
_TEXTS = (*AXES, "implementation", "status", "outcome", "findings", "reason")
_NUMBERS = ("loss_ulps", "gradient_ulps", "norm_error_median", "seconds", "ratio", "peak_multiple")
# In the block alone: for the search and for the rows that are downloaded.
_DOWNLOADED = (
    "norm_error_low", "norm_error_high", "bias_ulps", "bias_standard_error_ulps",
    *(quantity.name for quantity in DERIVED),
)  # fmt: skip
_SHOWN = ("suite", "variant", "regime", "dtype", "device", "shape", "implementation", "status", "outcome")


def block(rows: Sequence[Record]) -> str:
    """Returns every row as text for the page's script; numbers keep four significant digits."""
    texts: dict[str, object] = {}
    for name, values in zip(_TEXTS, zip(*map(_labels, rows), strict=True) if rows else (), strict=False):
        words = list(dict.fromkeys(values))
        codes = {word: code for code, word in enumerate(words)}
        texts[name] = {"words": words, "codes": [codes[value] for value in values]}
    numbers = {name: [_rounded(row.numbers.get(name)) for row in rows] for name in (*_NUMBERS, *_DOWNLOADED)}
    form = {"rows": len(rows), "texts": texts, "numbers": numbers}
    packed = gzip.compress(json.dumps(form, separators=(",", ":"), allow_nan=False).encode(), 7, mtime=0)
    text = base64.b64encode(packed).decode()
    # Base64 may spell it by chance, and whoever greps the page for URLs should not stumble over that.
    return text.replace("http", "ht\ntp")


def _rounded(value: float | None) -> float | str | None:
    if value is None:
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else to_json_number(value)


def _labels(row: Record) -> tuple[str | int, ...]:
    case = row.trial.case
    return (
        case.suite, case.variant, case.regime, case.dtype, case.device, case.batch, case.classes,
        case.threads, row.trial.implementation, row.status, row.outcome, _found(row), row.reason,
    )  # fmt: skip


def _found(row: Record) -> str:
    return ";".join(dict.fromkeys(f"{finding.kind}:{finding.group}" for finding in row.findings))


def representative(rows: Sequence[Record], most: int = MOST_ROWS) -> list[Record]:
    """Returns at most so many rows: the worst first, then evenly spread over what remains.

    At most half of the places go to bad rows, so that a run with many of one defect still shows
    what the rest looks like.
    """
    if len(rows) <= most:
        return sorted(rows, key=_badness)
    bad = sorted((row for row in rows if _badness(row) < 0), key=_badness)[: most // 2]
    kept = set(map(id, bad))
    rest = [row for row in rows if id(row) not in kept]
    step = len(rest) / (most - len(bad))
    return bad + [rest[int(place * step)] for place in range(most - len(bad))]


def _badness(row: Record) -> int:
    if row.maker.known_bad:
        return -1 if row.findings else 0
    severity = {"error": -4, "warning": -2}.get(row.severity, 0)
    status = 0 if row.status in ("ok", "unsupported", "skipped") else -3
    return min(severity, status, -1 if row.outcome == "known" else 0)


def count_of(rows: Sequence[Record]) -> str:
    """Returns the caption of a table that had to leave all of these rows out."""
    return f"Trials: 0 of {units.count(len(rows))}, the rows were left out for the page's size"


def sample(rows: Sequence[Record]) -> Table:
    """Returns the rows that the page holds as HTML."""
    shown = representative(rows)
    table = []
    for row in shown:
        case, numbers = row.trial.case, row.numbers
        shape = f"b{case.batch} c{case.classes} t{case.threads}"
        marks = {"error": "e", "warning": "w", "note": "n"}
        css = "k" if row.outcome == "known" else marks.get(row.severity, "") if row.outcome != "clean" else ""
        table.append(
            cells(
                case.suite, case.variant, case.regime, case.dtype, case.device, shape,
                row.trial.implementation, row.status.replace("_", " "),
                Cell(row.outcome.replace("_", " "), css),
                *(_word(name, numbers.get(name)) for name in _NUMBERS),
                "; ".join(part for part in (_found(row), row.reason) if part),
            )
        )  # fmt: skip
    count = units.count
    caption = f"Trials: {count(len(shown))} of {count(len(rows))}" + (
        ", worst first, then spread evenly" if len(shown) < len(rows) else ""
    )
    heads = (
        *_SHOWN,
        "loss, ulp",
        "gradient, ulp",
        "usual error",
        "time",
        "over baseline",
        "peak, × logits",
        "remarks",
    )
    return Table(caption, heads, table, rights(9, 10, 11, 12, 13, 14))


def _word(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name == "seconds":
        return units.seconds(value)
    if name == "norm_error_median":
        return units.number(value, 2)
    return units.ulp_number(value) if name.endswith("ulps") else units.multiple(value)
