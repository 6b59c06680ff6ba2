"""What a planted fault is, and the kinds of findings that say what is wrong with one.

Rows m1 to m27 are faults of released code, c1 to c4 ways to cheat, f1 and on further faults of the same
kinds in other families; a row may be planted more than once. The trap: `kinds` are those that say what is
wrong; that an implementation is also found inaccurate somewhere does not count as having understood it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness import Contract, Implementation

UP_TO_FLOAT32 = ("float32", "bfloat16", "float16")
HALF = ("bfloat16", "float16")


class Expected(NamedTuple):
    """The kinds of findings that name a fault, and the probes that have to see it."""

    kinds: tuple[str, ...]
    probes: tuple[str, ...] = ("accuracy",)

    def by(self, *probes: str) -> Expected:
        """Returns the same kinds from other probes."""
        return Expected(self.kinds, probes)


INACCURATE = Expected(("inaccurate",))
WRONG = Expected(("inaccurate", "dead_gradient"))
NAN = Expected(("spurious_nan",))
SPURIOUS = Expected(("spurious_nan", "spurious_overflow"))
LEAK = Expected(("nan_leak", "spurious_nan"))
LAYOUT = Expected(("layout",), ("protocol",))
UPSTREAM = Expected(("upstream", "inaccurate"), ("protocol", "accuracy"))
STRIDED_UPSTREAM = Expected(("upstream", "layout"), ("protocol",))
OVERWRITES = Expected(("overwrites",), ("accuracy", "protocol"))
SECOND_BACKWARD = Expected(("second_backward",), ("protocol",))
WHILE_TIMED = Expected(("wrong_while_timed",), ("timing",))


@dataclass(frozen=True)
class Mutant:
    """One planted fault: expected is a kind of `kinds` by a probe of `probes`.

    `row` is its row in the list of real bugs, `family` the suite that it is planted into, `source` where it
    happened, `fault` one sentence, `right` where the implementation is right all the same; `right_at` is
    such a place, as variant/regime/dtype of its suite, empty where there is none. `unseen` names the question
    that the default sweep lacks to find it, empty where it is found.
    """

    row: str
    family: str
    name: str
    function: Callable[..., Any]
    contract: Contract
    source: str
    kinds: tuple[str, ...]
    probes: tuple[str, ...]
    fault: str
    right: str
    right_at: str = ""
    unseen: str = ""

    @property
    def implementation(self) -> Implementation:
        """The plug-in, named by row and fault."""
        return Implementation(self.function, name=self.name, contract=self.contract)


def planted(
    family: str,
    row: str,
    function: Callable[..., Any],
    expected: Expected,
    *,
    source: str,
    fault: str,
    right: str,
    right_at: str = "",
    unseen: str = "",
    name: str = "",
    variants: tuple[str, ...] | None = None,
    dtypes: tuple[str, ...] | None = None,
    **definition: object,
) -> Mutant:
    """Returns a mutant that is named after its function; further keywords are options that it declares."""
    contract = Contract(variants=variants, dtypes=dtypes, **definition)  # type: ignore[arg-type]
    named = f"{row}_{name or function.__name__}"
    return Mutant(row, family, named, function, contract, source, *expected, fault, right, right_at, unseen)
