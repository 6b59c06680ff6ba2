"""How wrong is it usually? The norm-wise gradient error over seeds, its bias, and both beside a reference.

Per implementation and dtype the regime with the highest median is shown, every regime is in results.csv.
The trap: a regime in which an answer is NaN has no error to rank, so such regimes are named apart and
the worst is taken over the others, never over all with the NaN skipped in silence. Of several gradients
the error is the worst one's, and a bias of any of them is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness import units
from harness.columns import of_gradient, parted
from reports.folding import folded, names_in_words
from reports.records import Record
from reports.speed import dtype_order
from reports.table import Cell, Table, cells, rights

PROBE = "spread"
# A mean this many standard errors from 0, and this many ulp, is called a bias.
SURE, LEAST_ULPS = 3.0, 0.5
_MEDIAN = "norm_error_median"
_BIAS, _BIAS_ERROR = "bias_ulps", "bias_standard_error_ulps"


def usual_error(rows: Sequence[Record]) -> Table | None:
    """Returns the table, worst median first within a dtype; None when the spread probe has no answer."""
    found: dict[tuple[str, str, str], dict[str, list[Record]]] = {}
    for row in rows:
        if row.ran(PROBE) and _MEDIAN in row.numbers:
            case = row.trial.case
            by_name = found.setdefault((case.suite, case.device, case.dtype), {})
            by_name.setdefault(row.trial.implementation, []).append(row)
    if not found:
        return None
    table = []
    for place, makers in sorted(found.items(), key=lambda item: (*item[0][:2], dtype_order(item[0][2]))):
        lines = [(name, _line(members)) for name, members in makers.items()]
        where = Cell(place[2], "", place[1])
        for names, (_, content) in sorted(folded(lines), key=lambda item: -item[1][0]):
            table.append(cells(where, names_in_words(names), *content))
            where = Cell("")
    seeds = max(int(row.numbers.get("seeds", 0)) for row in rows if row.ran(PROBE))
    return Table(
        f"Norm-wise gradient error |g^ - g|₂ / |g|₂ over {units.counted(seeds, 'seed')}, in the regime "
        "with the highest median",
        (
            "dtype", "implementation", "worst regime", "median (lowest to highest)", "bias ± s.e., ulp",
            "over baseline", "over upcast", "biased in", "NaN or inf in",
        ),
        table,
        rights(3, 4, 5, 6),
        f"Reported, never judged. Bias is the mean signed error of the gradient entries; “biased” is a "
        f"mean beyond {SURE:g} standard errors and {LEAST_ULPS:g} ulp, which noise does not explain. Of a "
        "loss with several gradients the worst one is told, and the bias that stands out most. Over "
        "baseline and over upcast: the largest gradient error over that of the baseline, or of the "
        "implementation upcast, in the same case, both at least 0.5 ulp. Every regime is in results.csv.",
    )  # fmt: skip


def words(rows: Sequence[Record]) -> str:
    """Returns who is biased somewhere, in a line, "" when the probe has no answer."""
    asked = [row for row in rows if row.ran(PROBE) and _MEDIAN in row.numbers]
    biased = dict.fromkeys(row.trial.implementation for row in asked if _biased(row))
    if not asked:
        return ""
    of = units.counted(len({row.trial.implementation for row in asked}), "implementation")
    return f"{len(biased)} of {of} biased somewhere" if biased else f"none of {of} biased"


def _line(rows: Sequence[Record]) -> tuple[float, tuple[Cell, ...]]:
    finite = [row for row in rows if math.isfinite(row.numbers[_MEDIAN])]
    lost = [row for row in rows if not math.isfinite(row.numbers[_MEDIAN])]
    biased = [row for row in rows if _biased(row)]
    last = (_regimes(biased, len(rows)), _regimes(lost, len(rows), "w"))
    if not finite:
        return math.inf, (*map(Cell, ("every regime lost", "", "", "", "")), *last)
    worst = max(finite, key=lambda row: row.numbers[_MEDIAN])
    numbers, case = worst.numbers, worst.trial.case
    return numbers[_MEDIAN], (
        Cell(case.regime, "", f"{case.variant}, {units.count(case.batch)} × {units.count(case.classes)}"),
        Cell(units.number(numbers[_MEDIAN], 2), "", _span(worst), _medians(worst)),
        _bias(worst),
        *(
            Cell(_times(numbers.get(f"gradient_ratio_to_{name}")))
            for name in ("baseline", "upcast")
        ),
        *last,
    )  # fmt: skip


def _biased(row: Record) -> bool:
    for column in (_BIAS, *(of_gradient(_BIAS, tensor) for tensor in _tensors(row, _BIAS))):
        mean, error = _bias_of(row, column)
        if math.isfinite(mean) and math.isfinite(error) and abs(mean) > max(SURE * error, LEAST_ULPS):
            return True
    return False


def _bias_of(row: Record, column: str) -> tuple[float, float]:
    """Returns mean and standard error, NaN where there is none."""
    tensor = parted(column)[1]
    other = of_gradient(_BIAS_ERROR, tensor) if tensor else _BIAS_ERROR
    return row.numbers.get(column, math.nan), row.numbers.get(other, math.nan)


def _tensors(row: Record, column: str) -> list[str]:
    """Returns the inputs whose gradients have a column of their own."""
    return [parted(name)[1] for name in row.numbers if parted(name)[0] == column and parted(name)[1]]


def _bias(row: Record) -> Cell:
    """Returns the bias that stands out most; those of the gradients one by one are its tooltip."""
    if _BIAS not in row.numbers or _BIAS_ERROR not in row.numbers:
        return Cell("")
    each = [
        f"{tensor}: {_plus_minus(*_bias_of(row, of_gradient(_BIAS, tensor)))}"
        for tensor in _tensors(row, _BIAS)
    ]
    return Cell(_plus_minus(*_bias_of(row, _BIAS)), title="\n".join(each))


def _plus_minus(mean: float, error: float) -> str:
    return f"{units.number(mean, 2)} ± {units.number(error, 2)}"


def _span(row: Record) -> str:
    low, high = (row.numbers.get(f"norm_error_{name}") for name in ("low", "high"))
    return "" if low is None or high is None else f"{units.number(low, 2)} to {units.number(high, 2)}"


def _medians(row: Record) -> str:
    """Returns the median of each gradient where there are several, a line each."""
    return "\n".join(
        f"{tensor}: {units.number(row.numbers[of_gradient(_MEDIAN, tensor)], 2)}"
        for tensor in _tensors(row, _MEDIAN)
    )


def _times(value: float | None) -> str:
    """Returns a ratio, "3.00x", and as a power of ten where that would be 0.00x or hide its size."""
    if value is None or not math.isfinite(value) or 0.01 <= value < 1000:
        return "" if value is None else units.multiple(value)
    return f"{units.number(value, 2)}x"


def _regimes(rows: Sequence[Record], total: int, css: str = "") -> Cell:
    if not rows:
        return Cell("none", "fine")
    names = list(dict.fromkeys(row.trial.case.regime for row in rows))
    return Cell(f"{len(rows)} of {total}", css, names_in_words(names, 2))
