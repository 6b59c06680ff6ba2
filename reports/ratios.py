"""How much worse than a reference, in the same case: rho = max(err, 0.5 ulp) / max(err_reference, 0.5 ulp).

References are the suite's baseline and the implementation named "upcast" (computed wide, rounded once).
Reported, never judged: a baseline may be bad itself, and then everything passes (numerics A7). Half
an ulp is what a correctly rounded answer may be off by, so luck below it is no merit. The trap: a
reference without a finite error measures nothing, so its ratios are absent; the ratio of an answer
that is NaN or infinite stays so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.results import Quantity

if TYPE_CHECKING:
    from reports.records import Record

UPCAST = "upcast"
_ERRORS = {"loss_ratio": "loss_ulps", "gradient_ratio": "gradient_ulps"}
_LEAST = 0.5

DERIVED: tuple[Quantity, ...] = tuple(
    Quantity(
        f"{what}_ratio_to_{name}",
        "1",
        "accuracy",
        f"largest {what} error over that of {whose} in the same case, both at least 0.5 ulp (A7)",
    )
    for name, whose in (("baseline", "the baseline"), (UPCAST, f"the implementation {UPCAST!r}"))
    for what in ("loss", "gradient")
)


def ratio(error: float | None, reference: float | None) -> float | None:
    """Returns rho of two errors in ulp; None without both or without a finite reference."""
    if error is None or reference is None or not math.isfinite(reference):
        return None
    return error if math.isnan(error) else max(error, _LEAST) / max(reference, _LEAST)


def add_ratios(rows: Sequence[Record]) -> None:
    """Writes the derived numbers of every record that has both errors in the same case."""
    references: dict[tuple[str, str], Mapping[str, float]] = {}
    for row in rows:
        if row.maker.baseline:
            references.setdefault((row.trial.case.id, "baseline"), row.numbers)
        if row.trial.implementation == UPCAST:
            references.setdefault((row.trial.case.id, UPCAST), row.numbers)
    if not references:
        return
    for row in rows:
        for name in ("baseline", UPCAST):
            numbers = references.get((row.trial.case.id, name))
            for column, error in _ERRORS.items() if numbers is not None else ():
                assert numbers is not None
                value = ratio(row.numbers.get(error), numbers.get(error))
                if value is not None:
                    row.numbers[f"{column}_to_{name}"] = value
