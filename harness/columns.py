"""What a number about one of several gradients is called: `gradient_ulps/variance` beside `gradient_ulps`.

A plain column is about all gradients of a loss, the worst of them; where a loss has several, a column of
each stands beside it, its input behind a "/". The trap: "_" would not part them, since ladders are called
`rows` and `rows_untrained` and a quantity `gradient_ulps_median`; no name may hold a "/".
"""

from __future__ import annotations

_BETWEEN = "/"


def of_gradient(column: str, tensor: str) -> str:
    """Returns the name of a column about the gradient of one input."""
    return f"{column}{_BETWEEN}{tensor}"


def parted(column: str) -> tuple[str, str]:
    """Returns the plain column and the input of a name; the input is "" for a plain column."""
    plain, _, tensor = column.partition(_BETWEEN)
    return plain, tensor


def gradient_in(group: str) -> str:
    """Returns the input whose gradient a group of entries ("variance/off_target") belongs to."""
    return group.partition(_BETWEEN)[0]
