"""Adapters for released loss packages: each holds a package against the families that it belongs to.

They are not part of the default sweep (discovery reads the modules of `suites`, not its packages) and none
of their packages is a dependency: `nox -s third_party` installs them without theirs and asks every adapter,
and `lossgauge run --suite suites/third_party/kornia.py` (or `--suite suites.third_party.kornia:SUITE`) asks
one. An adapter whose package is absent answers with one sentence.

Any `nn.Module` loss is an adapter in one line; its constructor is given the options that it names:

    from suites.cross_entropy import SUITE as FAMILY
    from suites.third_party import module

    SUITE = FAMILY.extended(module(TheirLoss))

What a package spells otherwise is stated, not wrapped: option values are translated, arguments of the
constructor fixed, the loss taken out of a tuple, differences of definition declared:

    module(TheirLoss, words={"mean": "elementwise_mean"}, gamma=0.0, reads=0, contract=Contract(...))

The trap: a finding is an accusation of somebody else's work, so what a package documents is declared, and
nothing is repaired on its behalf.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from harness import Contract, Implementation, Known, Suite
from harness.errors import SuiteError
from harness.sample import Shape
from harness.suite import Shapes

NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Adapter:
    """An adapter: the package as pip names it, the modules it imports, its suites as `--suite` references."""

    package: str
    modules: tuple[str, ...]
    suites: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of its modules that are not installed; they are looked for and not imported."""
        return tuple(name for name in self.modules if not _is_found(name))

    @property
    def session(self) -> str:
        """The command that installs the package and asks its suites."""
        return f"nox -s third_party -- {self.package}"


def _is_found(module: str) -> bool:
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


ADAPTERS = (
    Adapter(
        "liger-kernel",
        ("liger_kernel", "triton"),
        (
            "suites.third_party.liger:SUITE",
            "suites.third_party.liger:FUSED_LINEAR",
            "suites.third_party.liger:KL_DIV",
        ),
    ),
    Adapter("cut-cross-entropy", ("cut_cross_entropy",), ("suites.third_party.cut_cross_entropy:SUITE",)),
    Adapter(
        "kornia",
        ("kornia",),
        (
            "suites.third_party.kornia:SUITE",
            "suites.third_party.kornia:FOCAL",
            "suites.third_party.kornia:BINARY_FOCAL",
        ),
    ),
    Adapter("entmax", ("entmax",), ("suites.third_party.entmax:SUITE",)),
    Adapter("info-nce-pytorch", ("info_nce",), ("suites.third_party.info_nce:SUITE",)),
)


class AbsentError(SuiteError):
    """The package of an adapter is not installed; the message is the sentence that stands for its results."""


def package(name: str, module: str) -> Any:
    """Returns a module of the package that pip calls `name`; raises AbsentError where it is not installed.

    A package that is there and fails to import is a SuiteError with the reason: that is no absence.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing == module.partition(".")[0]:
            raise AbsentError(f"{name} is not installed; pip install --no-deps {name}.") from None
        raise SuiteError(f"{name} cannot be imported without {missing}; install that too.") from None
    except Exception as error:
        raise SuiteError(f"{name} cannot be imported: {type(error).__name__}: {error}.") from None


def loaded(reference: str) -> Suite:
    """Returns the suite of a `module:NAME` reference; raises AbsentError or SuiteError with one sentence."""
    name, _, attribute = reference.partition(":")
    suite: Suite = getattr(importlib.import_module(name), attribute)
    return suite


def module(
    loss: type,
    /,
    *,
    name: str = "",
    words: Mapping[str, str] = NOTHING,
    contract: Contract | None = None,
    known: tuple[Known, ...] = (),
    skip: Callable[[Shape], str | None] | None = None,
    reads: int | str | Callable[[Any], Any] | None = None,
    **arguments: object,
) -> Implementation:
    """Returns a loss module as an implementation.

    It is built with the options of a variant whose names its constructor takes, values translated by `words`,
    and with the fixed `arguments`.
    """
    return Implementation(
        loss,
        name=name,
        prepare=partial(_built, words=words, arguments=arguments),
        contract=contract or Contract(),
        known=known,
        skip=skip,
        reads=reads,
    )


def _built(
    loss: type, options: Mapping[str, Any], *, words: Mapping[str, str], arguments: Mapping[str, object]
) -> Any:
    translated = {
        name: words.get(value, value) if isinstance(value, str) else value for name, value in options.items()
    }
    return loss(**{**translated, **arguments})


def alone(family: Suite, *implementations: Implementation, shapes: Shapes | None = None) -> Suite:
    """Returns a family with these implementations instead of its own: oracle, variants and regimes stay.

    Named beside the family, `--suite suites/third_party/kornia.py,robust`, both are asked together.
    """
    extended = family.extended(*implementations)
    return replace(extended, implementations=implementations, shapes=shapes or family.shapes)


# Under an interpreter a kernel answers as on the device, a thousand times slower: its cost says nothing.
TINY = Shapes(
    usual=Shape(8, 10),
    covering=(Shape(1, 3), Shape(7, 10), Shape(16, 1), Shape(5, 130)),
    timed=(),
    slow_regime="",
)
# A loss that takes a projection is given the identity, whose product with an infinity or a NaN is NaN in
# every other class as well: such logits come out of no projection.
LOST_IN_THE_PROJECTION = ("masked", "poisoned", "nan_logit", "infinite_logit")
MULTIPLIED = Known(
    "autocast",
    "a product of matrices is part of the loss, and autocast multiplies in bfloat16",
    dtype="float32",
    outside=True,
    up_to=Known.ANY_SIZE,
)
