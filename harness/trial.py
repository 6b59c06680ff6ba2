"""One id for one measurement, the same string in filters, pytest, JUnit, journal and reports.

`suite/variant/regime/dtype-device-bB-cC-tT/implementation`. A *case* is everything before the last
slash, a *trial* is a case and an implementation. The trap: names are restricted to characters that
survive shells, file systems and pytest ids, so an id can always be parsed back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.sample import Shape

DTYPES = ("float64", "float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps", "xpu")
AXES = ("suite", "variant", "regime", "dtype", "device", "batch", "classes", "threads")
_ID = re.compile(
    r"(?P<suite>[^/]+)/(?P<variant>[^/]+)/(?P<regime>[^/]+)/"
    r"(?P<dtype>\w+)-(?P<device>\w+)-b(?P<batch>\d+)-c(?P<classes>\d+)-t(?P<threads>\d+)"
    r"/(?P<implementation>[^/]+)"
)


@dataclass(frozen=True, order=True)
class Case:
    """Variant x regime x dtype x device x batch x classes x threads of one suite."""

    suite: str
    variant: str
    regime: str
    dtype: str
    device: str
    batch: int
    classes: int
    threads: int

    @property
    def shape(self) -> Shape:
        """Rows and classes."""
        return Shape(self.batch, self.classes)

    @property
    def id(self) -> str:
        """The part of a trial id before the implementation."""
        return (
            f"{self.suite}/{self.variant}/{self.regime}/"
            f"{self.dtype}-{self.device}-b{self.batch}-c{self.classes}-t{self.threads}"
        )

    @property
    def artefact(self) -> tuple[str, ...]:
        """What a compiled artefact depends on: everything but the regime."""
        return (
            self.suite,
            self.variant,
            self.dtype,
            self.device,
            str(self.batch),
            str(self.classes),
            str(self.threads),
        )

    def axes(self) -> dict[str, str | int]:
        """The axes by name, in the order of AXES."""
        return {name: getattr(self, name) for name in AXES}


@dataclass(frozen=True, order=True)
class Trial:
    """A case and an implementation."""

    case: Case
    implementation: str

    @property
    def id(self) -> str:
        """The trial id."""
        return f"{self.case.id}/{self.implementation}"

    def facts(self) -> dict[str, str]:
        """All axes and the implementation as text, for filters and Known entries."""
        return {
            **{name: str(value) for name, value in self.case.axes().items()},
            "implementation": self.implementation,
            "impl": self.implementation,
            "trial": self.id,
        }


def parse_trial(text: str) -> Trial:
    """Returns the trial of an id; raises UsageError with the form that an id has."""
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a trial id; the form is "
            "suite/variant/regime/dtype-device-bB-cC-tT/implementation; "
            "`lossgauge plan` lists the ids."
        )
    parts = match.groupdict()
    return Trial(case_from(parts), parts["implementation"])


def case_from(parts: Mapping[str, str | int]) -> Case:
    """Returns the case of axes by name; counts may be text."""
    return Case(
        suite=str(parts["suite"]),
        variant=str(parts["variant"]),
        regime=str(parts["regime"]),
        dtype=str(parts["dtype"]),
        device=str(parts["device"]),
        batch=int(parts["batch"]),
        classes=int(parts["classes"]),
        threads=int(parts["threads"]),
    )
