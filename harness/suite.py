"""A loss family under one name: the constant `SUITE` that a plug-in file declares.

Frozen values and plain functions, nothing that runs at import; misspelt names fail here, with the
call quoted, so that a broken suite never reaches a worker. The trap: this module must not import
torch, because `lossgauge --help` and every pytest start would pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from harness.declaration import Options, by_name, checked_name, patterns, require, unique
from harness.errors import SuiteError, unknown
from harness.implementation import Implementation
from harness.regime import Exhaustive, Invalid, Ladder, Regime, Variant
from harness.sample import Layout, Sample, Shape

if TYPE_CHECKING:
    from torch import Tensor


class Oracle(Protocol):
    """Something that knows the truth; see `harness.oracle`."""

    @property
    def label(self) -> str:
        """How verdicts name this oracle."""


@dataclass(frozen=True)
class Example:
    """A worked number from a text: passes when the result rounds to the printed digits.

    `inputs` are nested lists by tensor name; `options` go on top of the variant's. `tolerance`
    replaces the digits rule where the text printed its inputs rounded. `note` is shown with it.
    `divergent` names implementations that do not give this number, each with its reason; one that
    gives it after all is stale.
    """

    variant: str
    inputs: Mapping[str, Any]
    value: float
    digits: int = 4
    source: str = ""
    dtype: str = "float64"
    options: Options = field(default_factory=dict)
    tolerance: float | None = None
    note: str = ""
    divergent: Mapping[str, str] = field(default_factory=dict)

    def holds(self, got: float) -> bool:
        """Tells whether a result agrees with the printed value; False for NaN."""
        allowed = 0.5 * 10.0**-self.digits if self.tolerance is None else self.tolerance
        return abs(got - self.value) <= allowed * (1 + 1e-9)


class Evaluate(Protocol):
    """What the sides of an identity call; both answers are float64 and differentiable."""

    def __call__(self, *tensors: Tensor, **options: Any) -> Tensor:
        """Returns the unreduced loss that the implementation gives these tensors under these options."""

    def truth(self, family: Suite, layout: Layout = "rows", **given: Any) -> Tensor:
        """Returns the true loss per row of a family; keywords are its tensors and options by name."""


Relation = Literal["equal", "at_least"]


@dataclass(frozen=True)
class Identity:
    """Two ways to say the same number, held by every implementation within its error bound.

    `left(evaluate, sample)` and `right(evaluate, sample)` return one float64 number per row, linear in
    what `evaluate` (the implementation) and `evaluate.truth` (the oracle of a family) return; row i of a
    side depends on row i of its calls. `sample` holds the stored numbers in float64; its gradients are
    compared as well. With `relation="at_least"` the left side may be larger, and losses alone are
    compared. `about` is the equation in words. A side that needs an option which the implementation
    lacks makes the identity `unsupported` there. Raises SuiteError for an unknown relation.
    """

    name: str
    left: Callable[[Evaluate, Sample], Tensor]
    right: Callable[[Evaluate, Sample], Tensor]
    variant: str
    regime: str
    source: str = ""
    about: str = ""
    relation: Relation = "equal"

    def __post_init__(self) -> None:
        checked_name(f"Identity({self.name!r})", self.name)
        if self.relation not in get_args(Relation):
            call = f"Identity({self.name!r}, relation={self.relation!r})"
            raise SuiteError(unknown(call, "relation", self.relation, get_args(Relation)))


@dataclass(frozen=True)
class Blind:
    """A check that cannot tell a null answer from the truth, declared with its reason.

    `check` is "loss" or "gradient of NAME", with the question before if it is another one ("one class:
    gradient of NAME"); `null` is the null answer in words (`harness.vacuity`). These and `variant`, `regime`
    and `dtype` are shell-style patterns or tuples of them; empty matches everything.
    """

    reason: str
    check: str | tuple[str, ...] = ()
    null: str | tuple[str, ...] = ()
    variant: str | tuple[str, ...] = ()
    regime: str | tuple[str, ...] = ()
    dtype: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.reason:
            raise SuiteError("Blind(...): says no reason; a check that sees nothing needs one.")
        for name in ("check", "null", "variant", "regime", "dtype"):
            value = getattr(self, name)
            object.__setattr__(self, name, patterns(f"Blind({name}={value!r})", value))

    def covers(self, facts: Mapping[str, str]) -> bool:
        """Tells whether a vacuous check with these facts is this one."""
        return all(
            not (allowed := getattr(self, name)) or any(fnmatchcase(facts[name], p) for p in allowed)
            for name in ("check", "null", "variant", "regime", "dtype")
        )


USUAL = Shape(64, 10)


@dataclass(frozen=True)
class Shapes:
    """The shapes at which a suite is asked: the usual one, a covering set, and real timed ones.

    `slow_regime` names a regime that is timed besides the first, because the speed of a loss depends
    on its input values. `clocked` names the dtypes whose time the quick profile takes.
    """

    usual: Shape = USUAL
    covering: tuple[Shape, ...] = (Shape(1, 3), Shape(7, 10), Shape(64, 1), Shape(64, 1001))
    timed: tuple[Shape, ...] = (Shape(256, 10), Shape(256, 1000), Shape(64, 32000))
    slow_regime: str = "confident"
    clocked: tuple[str, ...] = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Suite:
    """A loss family: oracle, variants, regimes and implementations under one name.

    `options` maps every option that the definition depends on to its neutral value; an
    implementation that lacks an option whose value is not neutral is `unsupported` there.
    `groups(inputs, options)` returns boolean (rows, classes) masks by name for the gradient
    entries to be judged apart; `ignored(inputs, options)` the rows that do not count.
    Raises SuiteError for empty parts, duplicate names, wrong types and unknown options.
    """

    name: str
    oracle: Oracle | Callable[..., Any]
    implementations: tuple[Implementation, ...]
    regimes: tuple[Regime, ...]
    variants: tuple[Variant, ...] = (Variant("mean"),)
    options: Options = field(default_factory=dict)
    groups: Callable[[Mapping[str, Tensor], Options], Mapping[str, Tensor]] | None = None
    ignored: Callable[[Mapping[str, Tensor], Options], Tensor] | None = None
    ladders: tuple[Ladder, ...] = ()
    exhaustive: tuple[Exhaustive, ...] = ()
    invalid: tuple[Invalid, ...] = ()
    examples: tuple[Example, ...] = ()
    identities: tuple[Identity, ...] = ()
    blind: tuple[Blind, ...] = ()
    shapes: Shapes = Shapes()
    formula: str = ""

    def __post_init__(self) -> None:
        call = f"Suite({self.name!r})"
        checked_name(call, self.name)
        for part, kind in (
            ("implementations", Implementation),
            ("regimes", Regime),
            ("variants", Variant),
            ("ladders", Ladder),
            ("exhaustive", Exhaustive),
            ("invalid", Invalid),
            ("examples", Example),
            ("identities", Identity),
            ("blind", Blind),
        ):
            items = getattr(self, part)
            if isinstance(items, kind):
                raise SuiteError(f"{call}: {part} is one {kind.__name__}, not a tuple; add a comma.")
            if not isinstance(items, tuple | list):
                raise SuiteError(
                    f"{call}: {part}={items!r} must be a tuple of {kind.__name__}, got "
                    f"{type(items).__name__}."
                )
            object.__setattr__(self, part, tuple(items))
            for item in items:
                require(call, part, item, kind)
            if part in ("implementations", "regimes", "variants"):
                if not items:
                    raise SuiteError(f"{call}: {part} is empty; declare at least one {kind.__name__}.")
                unique(call, part, [item.name for item in items])
        if not callable(self.oracle) and not hasattr(self.oracle, "label"):
            raise SuiteError(
                f"{call}: oracle={self.oracle!r} must be a ClosedForm or a function that computes the "
                "per-row loss with torch operations."
            )
        baselines = [item.name for item in self.implementations if item.baseline]
        if len(baselines) > 1:
            raise SuiteError(f"{call}: baseline=True stands on {', '.join(baselines)}; allowed is one.")
        object.__setattr__(self, "options", MappingProxyType({"reduction": "mean", **self.options}))
        for variant in self.variants:
            self._check_options(f"{call}: {variant!r}", variant.options)
        for item in self.implementations:
            self._check_options(f"{call}: the Contract of {item.name!r}", item.contract.definition)
        for example in self.examples:
            if example.variant not in {v.name for v in self.variants}:
                raise SuiteError(
                    unknown(
                        f"{call}: Example(variant={example.variant!r})",
                        "variant",
                        example.variant,
                        [v.name for v in self.variants],
                    )
                )

        for ladder in self.ladders:
            if ladder.variant:
                call_of_it = f"{call}: Ladder({ladder.name!r}, variant={ladder.variant!r})"
                by_name(call_of_it, "variant", self.variants, ladder.variant)
        for identity in self.identities:
            call_of_it = f"{call}: Identity({identity.name!r}, variant={identity.variant!r})"
            by_name(call_of_it, "variant", self.variants, identity.variant)

    def _check_options(self, call: str, options: Options) -> None:
        # A suite that declares no options of its own takes whatever its variants name.
        if set(self.options) == {"reduction"}:
            return
        for option in options:
            if option not in self.options:
                raise SuiteError(unknown(call, "option", option, self.options))

    def extended(self, *implementations: Implementation) -> Suite:
        """Returns this family with further implementations; the oracle object stays the same."""
        for item in implementations:
            require(f"{self.name}.SUITE.extended(...)", "implementations", item, Implementation)
        return replace(self, implementations=(*self.implementations, *implementations))

    def implementation(self, name: str) -> Implementation:
        """Returns the implementation of that name; raises SuiteError with a suggestion."""
        return by_name(f"suite {self.name!r}", "implementation", self.implementations, name)

    def variant(self, name: str) -> Variant:
        """Returns the variant of that name; raises SuiteError with a suggestion."""
        return by_name(f"suite {self.name!r}", "variant", self.variants, name)

    def regime(self, name: str) -> Regime:
        """Returns the regime of that name; raises SuiteError with a suggestion."""
        return by_name(f"suite {self.name!r}", "regime", self.regimes, name)

    @property
    def baseline(self) -> Implementation:
        """The implementation that ratios are taken against; the first one when none is marked."""
        return next((i for i in self.implementations if i.baseline), self.implementations[0])
