"""What is put to an implementation: options, distributions, climbs, and what is no input.

Functions here draw in float64 on the CPU from the generator they are given and from nothing else;
the harness rounds to the dtype of the case. The trap: a regime must not look at the dtype except
through `finfo`, else a float32 and a float64 trial of one case see different rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

from harness.declaration import Options, checked_name, first_line, function_name
from harness.errors import SuiteError
from harness.sample import Sample, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class SampleFunction(Protocol):
    """Draws one sample in float64 on the CPU from `generator` alone."""

    def __call__(self, shape: Shape, finfo: torch.finfo, generator: torch.Generator, /) -> Sample:
        """Returns the sample of a shape."""


class Variant:
    """A named set of loss options.

    `adapt(sample, options, generator)` turns a regime's sample into the form that the options ask
    for (probability targets, images, a relabelled ignore index). An option value that is callable
    is called with the case's Shape and dtype when inputs are made.
    """

    __slots__ = ("adapt", "name", "options")
    name: str
    adapt: Callable[[Sample, Options, torch.Generator], Sample] | None
    options: Options

    def __init__(
        self,
        name: str,
        /,
        *,
        adapt: Callable[[Sample, Options, torch.Generator], Sample] | None = None,
        **options: object,
    ) -> None:
        object.__setattr__(self, "name", checked_name(f"Variant({name!r})", name))
        object.__setattr__(self, "adapt", adapt)
        object.__setattr__(self, "options", MappingProxyType(dict(options)))

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __repr__(self) -> str:
        listed = "".join(f", {key}={value!r}" for key, value in self.options.items())
        return f"Variant({self.name!r}{listed})"


@dataclass(frozen=True)
class Regime:
    """A named input distribution; `batch` and `classes` fix an axis (recorded material).

    `needs` names the options without which an implementation cannot be asked these inputs: rows that
    are to be ignored mean nothing to a function that takes no ignore index.
    """

    function: SampleFunction
    name: str = ""
    batch: int | None = None
    classes: int | None = None
    about: str = ""
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SuiteError(
                f"Regime({self.function!r}): the first argument must be a function (shape, finfo, "
                "generator) -> Sample."
            )
        object.__setattr__(self, "name", self.name or function_name(self.function, "Regime"))
        checked_name(f"Regime(name={self.name!r})", self.name)
        if not self.about:
            object.__setattr__(self, "about", first_line(self.function))

    def shape(self, asked: Shape) -> Shape:
        """Returns the asked shape with the axes that this regime fixes."""
        return Shape(
            asked.batch if self.batch is None else min(asked.batch, self.batch),
            asked.classes if self.classes is None else self.classes,
        )


@dataclass(frozen=True)
class Invalid:
    """An input that a family must refuse: `change(sample, options)` makes it out of a valid one."""

    name: str
    change: Callable[[Sample, Options], Sample]
    about: str = ""

    def __post_init__(self) -> None:
        checked_name(f"Invalid({self.name!r})", self.name)
        if not self.about:
            object.__setattr__(self, "about", first_line(self.change))


@dataclass(frozen=True)
class Ladder:
    """A one-parameter family of samples that is climbed until an implementation stops being right.

    `sample(value, shape, finfo, generator)` returns the sample at `value`; `stop(finfo)` is the top.
    Rungs go from `start` by `step`, or double without one (beyond 2^8 the exponent grows by a fifth).
    `question` is "failure" (a finding of severity error) or "dead_gradient"; the first failing pair of
    rungs is bisected until it is closer than `resolution` or than `relative` times the value, unless
    both are 0. `names` is what a value means, with its unit; `batch_is_value` marks a ladder of rows,
    `classes_is_value` one of classes. `variant` names the options under which it is climbed whatever the
    case, beside the ladders of the usual variant; its samples are then what these options take, and nothing
    adapts them (adapted rows would not repeat).
    """

    name: str
    sample: Callable[[float, Shape, torch.finfo, torch.Generator], Sample]
    start: float
    stop: Callable[[torch.finfo], float]
    names: str
    question: Literal["failure", "dead_gradient"] = "failure"
    step: float = 0.0
    resolution: float = 0.0
    relative: float = 0.0
    batch_is_value: bool = False
    classes_is_value: bool = False
    variant: str = ""

    @property
    def counts(self) -> bool:
        """Whether a value is a number of rows or classes."""
        return self.batch_is_value or self.classes_is_value

    def shape(self, value: float, usual: Shape) -> Shape:
        """Returns the shape that a value asks for."""
        return Shape(
            int(value) if self.batch_is_value else usual.batch,
            int(value) if self.classes_is_value else usual.classes,
        )

    def rungs(self, finfo: torch.finfo) -> list[float]:
        """Returns the values to be tried, in climbing order, the top included."""
        top = self.stop(finfo)
        if self.step:
            count = int((top - self.start) / self.step + 1e-9)
            return [self.start + self.step * k for k in range(count + 1)]
        values, exponent = [], 0.0
        while self.start * 2.0**exponent < top:
            values.append(self.start * 2.0**exponent)
            exponent = exponent + 1 if exponent < 17 and self.counts else _higher(exponent)
            if exponent >= 1023:
                break
        return [*values, top]


@dataclass(frozen=True)
class Exhaustive:
    """One scalar of the input through every finite value of a 16-bit dtype: exact counts, no sampling.

    `sample(values)` returns one row per float64 value (K,); it must store the values unchanged.
    `names` is what the scalar means.
    """

    name: str
    sample: Callable[[Tensor], Sample]
    names: str

    def __post_init__(self) -> None:
        checked_name(f"Exhaustive({self.name!r})", self.name)


def _higher(exponent: float) -> float:
    return exponent + 1 if exponent < 8 else float(int(exponent * 1.2))
