"""What families declare of their implementations alike: dtypes, the compiled form, the float64 control.

A family's file imports what it shares with the others and writes out what is its own. The trap: each shape
and each variant of a compiled form costs an artefact, which is seconds, so it is asked one variant in one
dtype unless a family says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from harness import Contract, Implementation, Known, Shape

BELOW_FLOAT64 = ("float32", "bfloat16", "float16")
# An upcast form has nothing to offer where float64 is given.
UP_TO_FLOAT32 = Contract(dtypes=BELOW_FLOAT64)
# Two compiled artefacts in a quick sweep: the usual shape and the timed one.
COMPILED_FLOAT32 = Contract(dtypes=("float32",), variants=("mean",))


def compiled(
    function: Callable[..., Any],
    *,
    skip: Callable[[Shape], str | None] | None = None,
    known: tuple[Known, ...] = (),
    contract: Contract = COMPILED_FLOAT32,
    name: str = "compiled",
) -> Implementation:
    """Declares a function under torch.compile, each shape compiled by itself."""
    prepare = partial(torch.compile, dynamic=False)
    return Implementation(function, name=name, contract=contract, skip=skip, known=known, prepare=prepare)


def float64_control(
    upcast: Callable[..., Any], contract: Contract = UP_TO_FLOAT32, known: tuple[Known, ...] = ()
) -> Implementation:
    """Declares a clean control: an upcast form taken to float64 and rounded once.

    `contract` leaves out where float64 itself loses what the truth keeps; `known` is what no width mends.
    """
    wide = partial(upcast, wide_dtype=torch.float64)
    return Implementation(wide, name="float64_control", control=True, contract=contract, known=known)
