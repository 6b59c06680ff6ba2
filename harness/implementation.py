"""A callable under test and what its author declares of it: contract, known findings, skips.

`function(*sample.tensors, **options)` is the whole calling convention. The trap: whether an
implementation is compiled is read from `prepare` without importing torch, because suites are
declared in files that torch-free commands list.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from harness.declaration import (
    Options,
    checked_name,
    first_line,
    function_name,
    patterns,
    require,
)
from harness.errors import SuiteError
from harness.sample import Shape

if TYPE_CHECKING:
    from torch import Tensor


# What is fixed by the question that is asked, before anything is found.
QUESTIONED = ("variant", "regime", "dtype", "device", "probe")


@dataclass(frozen=True)
class Known:
    """A true finding of a released implementation, listed with its reason and upstream issue.

    `kind`, `variant`, `regime`, `dtype`, `device`, `group` and `probe` are names or shell-style
    patterns (or tuples of them); an empty one matches everything. `torch` is a version specifier.
    `outside` says that the finding lies outside of what the implementation promises: it is shown and
    counted as known, and an error there does not bar the implementation from being ranked. `shown_at` is a
    shape at which it shows for every seed, asked by the quick profile so that a stale entry can be told.

    `up_to` is how large an error it covers, in units of the bound beyond which an inaccuracy is an error
    (`Finding.times`): a new fault beside an old one in the same place is mostly larger than the old one. Say
    `Known.ANY_SIZE` where the cause has no bound (cancellation, overflow, a slope that is lost) and nothing
    smaller is true. What has no size, a NaN or an exception, is covered whatever `up_to` says.
    """

    ANY_SIZE: ClassVar[float] = math.inf
    # A rounding or two beyond what the bound grants. In 32 and 64 bits a loss that is 1 % too large is
    # thousands of bounds off, in float16 one that is half too large 66 and in bfloat16 8.
    USUAL_SIZE: ClassVar[float] = 4.0

    kind: str | tuple[str, ...]
    reason: str
    upstream: str = ""
    variant: str | tuple[str, ...] = ()
    regime: str | tuple[str, ...] = ()
    dtype: str | tuple[str, ...] = ()
    device: str | tuple[str, ...] = ()
    group: str | tuple[str, ...] = ()
    probe: str | tuple[str, ...] = ()
    torch: str = ""
    outside: bool = False
    shown_at: Shape | None = None
    up_to: float = USUAL_SIZE

    def __post_init__(self) -> None:
        if not self.reason:
            raise SuiteError(f"Known({self.kind!r}): says no reason; a known finding needs one.")
        call = f"Known({self.kind!r}"
        size: object = self.up_to
        # A NaN would cover nothing, in silence.
        if isinstance(size, bool) or not isinstance(size, int | float) or not size > 0:
            raise SuiteError(
                f"{call}, up_to={size!r}): allowed is a number above 0, the largest error that it covers in "
                "units of the error bound; write up_to=Known.ANY_SIZE where there is no largest."
            )
        for name in (*QUESTIONED, "kind", "group"):
            value = getattr(self, name)
            object.__setattr__(self, name, patterns(f"{call}, {name}={value!r})", value))

    def covers(self, facts: Mapping[str, str], torch_version: str, times: float | None = None) -> bool:
        """Tells whether a finding with these facts (kind, regime, dtype, ...) is this one.

        `times` is its size in units of the error bound; one without a size is of any.
        """
        if times is not None and times > self.up_to:
            return False
        return self._fits(facts, (*QUESTIONED, "kind", "group"), torch_version)

    def reaches(self, facts: Mapping[str, str], torch_version: str) -> bool:
        """Tells whether an answer with these facts (probe, regime, dtype, ...) could hold such a finding."""
        return self._fits(facts, QUESTIONED, torch_version)

    def _fits(self, facts: Mapping[str, str], names: tuple[str, ...], torch_version: str) -> bool:
        for name in names:
            allowed = getattr(self, name)
            if allowed and not any(fnmatchcase(facts[name], pattern) for pattern in allowed):
                return False
        if self.torch:
            from packaging.specifiers import SpecifierSet
            from packaging.version import Version

            public = Version(torch_version).public
            return SpecifierSet(self.torch).contains(public, prereleases=True)
        return True


class Contract:
    """Legitimate differences of definition that an implementation declares.

    `dtypes`, `variants` and `devices` limit the declared domain (None: everything) and
    `except_regimes` takes regimes (and ladders, as "ladder NAME") out of it; trials outside are
    `unsupported`. `result_dtype` names the dtype of the loss where it is not that of the inputs. Further
    keywords are options of the suite that this implementation defines
    differently, e.g. `Contract(mean_denominator="rows")`: the oracle is asked with them.
    """

    __slots__ = ("definition", "devices", "dtypes", "except_regimes", "result_dtype", "variants")
    dtypes: tuple[str, ...] | None
    variants: tuple[str, ...] | None
    devices: tuple[str, ...] | None
    except_regimes: tuple[str, ...]
    result_dtype: str | None
    definition: Options

    def __init__(
        self,
        *,
        dtypes: tuple[str, ...] | None = None,
        variants: tuple[str, ...] | None = None,
        devices: tuple[str, ...] | None = None,
        except_regimes: tuple[str, ...] = (),
        result_dtype: str | None = None,
        **definition: object,
    ) -> None:
        for name, value in (
            ("dtypes", dtypes),
            ("variants", variants),
            ("devices", devices),
            ("except_regimes", except_regimes),
            ("result_dtype", result_dtype),
            ("definition", MappingProxyType(dict(definition))),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def excludes(self, variant: str, regime: str, dtype: str, device: str) -> str | None:
        """Returns the reason why a case is outside the declared domain, or None."""
        for axis, value, allowed in (
            ("variant", variant, self.variants),
            ("dtype", dtype, self.dtypes),
            ("device", device, self.devices),
        ):
            if allowed is not None and value not in allowed:
                return f"its contract declares {axis} in {{{', '.join(allowed)}}}"
        if self.takes_out(regime):
            return f"its contract takes regime {regime} out of its domain"
        return None

    def takes_out(self, regime: str) -> bool:
        """Tells whether a regime, or a ladder as "ladder NAME", is outside the declared domain."""
        return any(fnmatchcase(regime, pattern) for pattern in self.except_regimes)


@dataclass(frozen=True)
class Above:
    """A declared skip: rows or classes beyond which an implementation is not asked."""

    batch: int | None = None
    classes: int | None = None

    def __call__(self, shape: Shape) -> str | None:
        """Returns the reason of the skip, None where the shape is asked."""
        if self.batch is not None and shape.batch > self.batch:
            return f"declared skip above batch={self.batch}"
        if self.classes is not None and shape.classes > self.classes:
            return f"declared skip above classes={self.classes}"
        return None


def above(*, batch: int | None = None, classes: int | None = None) -> Above:
    """Returns a skip for shapes with more rows or classes than stated."""
    return Above(batch, classes)


@dataclass(frozen=True)
class Implementation:
    """A callable under test, called as `function(*sample.tensors, **options)`.

    `prepare(function)` or `prepare(function, options)` builds modules and compiled forms, untimed;
    a prepare that takes options has consumed them. An `nn.Module` class is constructed with the
    options by itself. `reads` picks the loss out of a tuple (index) or dict (key) or by a function.
    `known_bad` is the sentence that tells a learner what is wrong and what to write instead; such
    an implementation runs only on request. `control` marks a clean control.
    """

    function: Callable[..., Any]
    name: str = ""
    baseline: bool = False
    prepare: Callable[..., Any] | None = None
    reads: int | str | Callable[[Any], Tensor] | None = None
    contract: Contract = field(default_factory=Contract)
    known: tuple[Known, ...] = ()
    skip: Callable[[Shape], str | None] | None = None
    known_bad: str = ""
    control: bool = False
    about: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise SuiteError(
                f"Implementation({self.function!r}): the first argument must be callable; write "
                "Implementation(my_loss)."
            )
        object.__setattr__(self, "name", self.name or function_name(self.function, "Implementation"))
        call = f"Implementation(name={self.name!r})"
        checked_name(call, self.name)
        if isinstance(self.known, Known):
            raise SuiteError(f"{call}: known={self.known!r} is not a tuple; add a comma after Known(...).")
        for item in self.known:
            require(call, "known", item, Known)
        require(call, "contract", self.contract, Contract)
        if not self.about:
            object.__setattr__(self, "about", first_line(self.function))

    @property
    def compiled(self) -> bool:
        """Whether `prepare` is torch.compile, so that each shape costs a compiled artefact."""
        return self.prepare is not None and _is_torch_compile(self.prepare)

    def accepts(self, option: str) -> bool:
        """Tells whether the callable takes an option of this name."""
        return accepts(self.function, option)


def accepts(function: Callable[..., Any], option: str) -> bool:
    """Tells whether a callable takes a keyword; callables without a signature take everything."""
    try:
        named = _keywords(function)
    except TypeError:  # a callable without a hash
        named = _keywords.__wrapped__(function)
    return named is None or option in named


@lru_cache(maxsize=4096)
def _keywords(function: Callable[..., Any]) -> frozenset[str] | None:
    """Returns the names of a callable's parameters, None where it takes any; a plan asks again and again."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters)


def _is_torch_compile(prepare: object) -> bool:
    torch_module = sys.modules.get("torch")
    inner = prepare.func if isinstance(prepare, partial) else prepare
    return torch_module is not None and inner is torch_module.compile
