"""A run as a tidy frame: one row per trial; the only place with column names.

Axes, status and outcome, then every quantity with its companion `<name>_class` (finite, nan, inf,
-inf, absent). The trap: pandas calls "measured as NaN" and "never measured" the same, so the class
is decided on the Python value, before the number enters an array.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.columns import parted
from harness.results import LADDER_PREFIXES, QUANTITIES, NumberClass, number_class
from harness.run import Run
from harness.trial import AXES
from reports.ranking import Group, Standing, group_of, standings
from reports.ratios import DERIVED
from reports.records import (
    Record,
    exhaustive_names,
    gradient_names,
    ladder_names,
    records,
    unlisted_names,
)

if TYPE_CHECKING:
    import pandas as pd

LABELS = (
    "trial", *AXES, "implementation", "baseline", "control", "known_bad", "status", "outcome",
    "severity", "findings", "reason", "rankable", "rank_reason",
)  # fmt: skip
_CATEGORIES = frozenset(
    {"suite", "variant", "regime", "dtype", "device", "implementation", "status", "outcome", "severity",
     "rankable"}
)  # fmt: skip
UNLISTED = "from a probe that this version of the report has no words for"
_RUNGS = {
    "first_failing_": "first value with a wrong or missing answer on",
    "first_nonfinite_": "first value with a spurious NaN or infinity on",
    "loss_fails_": "first value with a wrong loss on",
    "gradient_fails_": "first value with a wrong gradient on",
    "first_dead_": "first value with a gradient of 0 that should not be on",
}
_CLASSES: tuple[str, ...] = get_args(NumberClass)
_CODES: Mapping[str, int] = {name: code for code, name in enumerate(_CLASSES)}


def number_columns(rows: Sequence[Record]) -> list[str]:
    """Returns the names of the number columns, in the order of `meanings`."""
    return [name for name, _ in meanings(rows)]


def meanings(rows: Sequence[Record]) -> list[tuple[str, str]]:
    """Returns name and meaning of the number columns: quantities, ratios, ladders, counts, unlisted ones.

    The quantities of one gradient among several come after all quantities.
    """
    told = {each.name: f"{each.about} [{each.unit}]" for each in (*QUANTITIES, *DERIVED)}
    return [
        *told.items(),
        *((name, f"{told[parted(name)[0]]}, {_alone(name)}") for name in gradient_names(rows)),
        *((name, _of_ladder(name)) for name in ladder_names(rows)),
        *((name, _of_count(name)) for name in sorted(exhaustive_names(rows))),
        *((name, UNLISTED) for name in unlisted_names(rows)),
    ]


def _of_ladder(name: str) -> str:
    prefix = next(prefix for prefix in LADDER_PREFIXES if name.startswith(prefix))
    ladder, tensor = parted(name.removeprefix(prefix))
    told = f"{_RUNGS[prefix]} ladder {ladder!r}{f', {_alone(name)}' if tensor else ''}"
    return f"{told}; absent: none, or not climbed [as the ladder]"


def _alone(name: str) -> str:
    return f"of the gradient of {parted(name)[1]!r} alone"


def _of_count(name: str) -> str:
    if name.endswith("_inputs"):
        return "finite values of the 16-bit dtype that were asked, all there are [count]"
    return "losses and gradient entries of this kind over all finite values of the dtype, exact [count]"


# What stands in both columns of a number that a row does not have.
ABSENT = ",absent"


def class_column(name: str) -> str:
    """Returns the name of a number column's companion."""
    return f"{name}_class"


def frame(run: Run) -> pd.DataFrame:
    """Returns the frame of a run, one row per trial."""
    rows = records(run)
    return frame_of(rows, standings(rows))


def frame_of(rows: Sequence[Record], ranks: Mapping[Group, Standing]) -> pd.DataFrame:
    """Returns the frame of records; number columns are float64, NaN where the class is not finite."""
    import numpy as np
    import pandas as pd  # here, not above: results.csv is written without it, and it costs 0.3 s

    classes = pd.CategoricalDtype(list(_CLASSES))
    columns: dict[str, object] = {}
    for name, values in zip(LABELS, _labels(rows, ranks), strict=True):
        columns[name] = pd.Categorical(values) if name in _CATEGORIES else list(values)
    for name in number_columns(rows):
        numbers = [row.numbers.get(name) for row in rows]
        codes = [_CODES[number_class(value)] for value in numbers]
        columns[name] = np.array(numbers, dtype=np.float64)  # None becomes NaN, after its class is known
        columns[class_column(name)] = pd.Categorical.from_codes(codes, dtype=classes)
    return pd.DataFrame(columns)


def write_csv(rows: Sequence[Record], ranks: Mapping[Group, Standing], path: Path) -> None:
    """Writes the frame's columns as CSV: "nan", "inf" and "-inf" are words, an empty field is absent.

    Written from the records, because DataFrame.to_csv takes 8 s for 24,000 rows of this width and
    spells NaN and absent alike.
    """
    names = number_columns(rows)
    lines = _Lines()
    csv.writer(lines, lineterminator="").writerows(zip(*_labels(rows, ranks), strict=True))
    # Numbers and their classes hold nothing to quote. A row has few of the columns of a whole sweep.
    places = {name: place for place, name in enumerate(names)}
    header = [*LABELS, *(column for name in names for column in (name, class_column(name)))]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(header) + "\n")
        for line, row in zip(lines, rows, strict=True):
            fields = [ABSENT] * len(names)
            for name, value in row.numbers.items():
                if name in places:
                    fields[places[name]] = f"{float(value)!r},{number_class(value)}"
            file.write(f"{','.join((line, *fields))}\n")


class _Lines(list[str]):
    """Takes what a csv.writer writes, one row at a time."""

    def write(self, line: str) -> None:
        self.append(line)


def read_csv(path: Path) -> pd.DataFrame:
    """Reads a results.csv back; an empty text field stays "", an absent number is NaN with its class."""
    import pandas as pd

    header = pd.read_csv(path, nrows=0).columns
    numbers = {name for name in header if class_column(name) in header}
    texts = {name: str for name in header if name not in numbers}
    for name in ("batch", "classes", "threads", "baseline", "control", "known_bad"):
        texts.pop(name, None)  # left to pandas: whole numbers and booleans
    converted = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={n: [""] for n in numbers})
    return converted.astype(dict.fromkeys(numbers, "float64"))


def _labels(rows: Sequence[Record], ranks: Mapping[Group, Standing]) -> list[list[object]]:
    labels: list[list[object]] = []
    for row in rows:
        case, maker = row.trial.case, row.maker
        standing = ranks[group_of(row)]
        labels.append(
            [
                row.trial.id, case.suite, case.variant, case.regime, case.dtype, case.device, case.batch,
                case.classes, case.threads, row.trial.implementation, maker.baseline, maker.control,
                bool(maker.known_bad), row.status, row.outcome, row.severity,
                ";".join(dict.fromkeys(f"{found.kind}:{found.group}" for found in row.findings)),
                row.reason, standing.rank, standing.cause,
            ]
        )  # fmt: skip
    return [list(column) for column in zip(*labels, strict=True)] if labels else [[] for _ in LABELS]
