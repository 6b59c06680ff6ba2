"""What proves a finding: the place, the truth there, what came back, and the input row, in hex floats.

Decimals round, hex floats do not: a witness can be put to an implementation again, bit for bit. The
trap: a row of 32,000 classes does not belong into a line of a journal, so long rows are shown by
their largest entry and the entry in question; `lossgauge show --repro` draws the rest again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from harness.judge import Defect, Yardstick
from harness.oracle.reduction import Array
from harness.outcome import KINDS, severity
from harness.results import TIMES, Finding
from harness.standard import Standard
from harness.units import number

WITNESS_ENTRIES = 16


def plain_finding(kind: str, probe: str, group: str, message: str) -> Finding:
    """Returns a finding that needs no place: its kind decides the severity."""
    return Finding(kind, severity(kind), probe, group, message)


def described(
    defect: Defect, stick: Yardstick, got: Array, stand: Standard, probe: str, tensor: str | None
) -> Finding:
    """Returns the finding of a defect: its sentence, the worst entry and the inputs behind it."""
    place = np.unravel_index(defect.place, stick.truth.shape) if stick.truth.ndim else ()
    exact, answer, form = float(stick.truth[place]), float(got[place]), stick.form
    size = size_in_words(exact, answer, float(stick.spacing[place]))
    total = int((stick.labels == stick.groups.index(defect.group)).sum())
    message = f"{defect.count} of {total}: {KINDS[defect.kind].sentence}; worst {size}"
    witness: dict[str, Any] = {
        "tensor": tensor or "loss",
        "place": [int(index) for index in place],
        "truth": exact.hex(),
        "got": answer.hex(),
        "dtype": form.name,
        "inputs": _inputs(stand, place, tensor or "loss"),
    }
    if defect.times is not None:
        witness[TIMES] = defect.times
    if tensor in stand.sample.shared:
        # Its place is none of a row.
        witness["shared"] = True
    if defect.severity != "note":
        ball = stand.enclosure(tensor or "loss", tuple(int(index) for index in place))
        witness["ball"] = "uncertified: the suite states no exact form" if ball is None else ball.as_json()
    return Finding(defect.kind, defect.severity, probe, defect.group, message, witness)


def size_in_words(exact: float, answer: float, spacing: float) -> str:
    """Returns "got for truth (error in ulp)"; the error is left out where one is not finite."""
    where = f"{number(answer)} for {number(exact)}"
    if not (math.isfinite(exact) and math.isfinite(answer)):
        return where
    return f"{where} ({number(abs(answer - exact) / spacing)} ulp)"


def _inputs(stand: Standard, place: tuple[Any, ...], about: str) -> dict[str, Any]:
    """Returns the input row of a place in hex floats; long rows by their largest and the entry.

    A place in what all rows share is one of a class, not of a row: that class is shown of all such inputs.
    """
    row, shared = int(place[0]) if place else 0, stand.sample.shared
    shown: dict[str, Any] = {}
    for name, tensor in stand.row_inputs.items():
        if not len(tensor) or (name in shared) is not (about in shared):
            continue
        entry = tensor[row]
        if entry.dim() == 0:
            shown[name] = _exact_text(entry)
        elif entry.numel() <= WITNESS_ENTRIES:
            shown[name] = [_exact_text(value) for value in entry.reshape(-1)]
        else:
            largest = np.unravel_index(int(entry.double().nan_to_num().argmax()), entry.shape)
            columns = {tuple(int(index) for index in largest)}
            columns |= {tuple(int(index) for index in place[1:])} if len(place) == tensor.dim() > 1 else set()
            shown[name] = {", ".join(map(str, c)): _exact_text(entry[c]) for c in sorted(columns)}
            shown[f"{name}_entries"] = entry.numel()
    return shown


def _exact_text(value: Tensor) -> str | int:
    return float(value).hex() if value.is_floating_point() else int(value)
