"""Which cases a profile asks which probes: the slices of the axes that quick, full and llm take.

quick: all regimes x dtypes at the usual variant, a covering set over variant x regime x dtype x
shape, ladders once per dtype, protocol per variant x dtype, time and memory at real shapes. full: the
whole product. llm: vocabulary-sized classes at batches that fit. An axis value that the user gives
replaces the profile's. The trap: what a profile leaves out is said, never silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from harness.pairs import covering
from harness.regime import Regime
from harness.sample import Shape
from harness.suite import Suite
from harness.trial import DTYPES, Case

TIMED_DTYPES = ("float32", "bfloat16", "float16")
LLM_CLASSES = (32000, 50257, 128256, 256000)
LLM_BATCHES = (16, 1024)


@dataclass(frozen=True)
class Sweep:
    """The axes a user asked for; None leaves an axis to the profile."""

    profile: str = "quick"
    variants: tuple[str, ...] | None = None
    regimes: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    devices: tuple[str, ...] | None = None
    batches: tuple[int, ...] | None = None
    classes: tuple[int, ...] | None = None
    threads: tuple[int, ...] = (1,)
    probes: tuple[str, ...] | None = None
    filters: tuple[str, ...] = ()
    keyword: str = ""
    excludes: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


class Asked:
    """Collects which implementation is asked which probe in which case, in order."""

    def __init__(self) -> None:
        self.cases: dict[Case, dict[str, dict[str, None]]] = {}

    def add(self, case: Case, names: Iterable[str], probes: Iterable[str]) -> None:
        """Adds probes of implementations in a case; asked twice is asked once."""
        for name in names:
            self.cases.setdefault(case, {}).setdefault(name, {}).update(dict.fromkeys(probes))


def _kept(suite: Suite, sweep: Sweep) -> tuple[list[str], list[Regime], list[str]]:
    """Returns variants, regimes and dtypes of a suite that the sweep wants; the first variant is usual."""
    variants = [v.name for v in suite.variants if sweep.variants is None or v.name in sweep.variants]
    regimes = [r for r in suite.regimes if sweep.regimes is None or r.name in sweep.regimes]
    return variants, regimes, list(sweep.dtypes or DTYPES)


def _shapes(declared: Iterable[Shape], sweep: Sweep) -> list[Shape]:
    """Returns shapes with the axes that the user gave put in their place."""
    shapes = [
        Shape(batch, classes)
        for shape in declared
        for batch, classes in product(sweep.batches or (shape.batch,), sweep.classes or (shape.classes,))
    ]
    return list(dict.fromkeys(shapes))


def _names(suite: Suite, *, compiled: bool | None = None) -> list[str]:
    return [i.name for i in suite.implementations if compiled is None or i.compiled is compiled]


def _case(
    suite: Suite, variant: str, regime: Regime, dtype: str, device: str, shape: Shape, threads: int
) -> Case:
    fixed = regime.shape(shape)
    return Case(suite.name, variant, regime.name, dtype, device, fixed.batch, fixed.classes, threads)


def _quick(composed: Asked, suite: Suite, device: str, sweep: Sweep, left_out: list[str]) -> None:
    variants, regimes, dtypes = _kept(suite, sweep)
    if not variants or not regimes:
        return
    usual = _shapes([suite.shapes.usual], sweep)
    timed_dtypes = [d for d in dtypes if d in TIMED_DTYPES] or dtypes
    clocked = [d for d in timed_dtypes if d in suite.shapes.clocked] or timed_dtypes
    home = regimes[0]
    for threads in sweep.threads:
        for shape, dtype in product(usual, dtypes):
            for regime in regimes:
                case = _case(suite, variants[0], regime, dtype, device, shape, threads)
                # A regime that fixes its classes would need an artefact of its own.
                fits = case.shape == shape
                composed.add(case, _names(suite, compiled=None if fits else False), ("accuracy",))
            case = _case(suite, variants[0], home, dtype, device, shape, threads)
            composed.add(case, _names(suite), ("overflow",))
            composed.add(case, _names(suite, compiled=True), ("compilation",))
            for regime in regimes:
                spread = _case(suite, variants[0], regime, dtype, device, shape, threads)
                composed.add(spread, _names(suite, compiled=False), ("spread",))
        _add_protocol(composed, suite, device, sweep, threads)
        for shape, dtype in product(_shapes(suite.shapes.timed, sweep), timed_dtypes):
            case = _case(suite, variants[0], home, dtype, device, shape, threads)
            timing = ("timing",) if dtype in clocked else ()
            composed.add(case, _names(suite), ("accuracy", "memory", *timing))
            composed.add(case, _names(suite, compiled=True), ("compilation",))
        _add_slow_regime(composed, suite, device, sweep, threads)
        shapes = _shapes([suite.shapes.usual, *suite.shapes.covering], sweep)
        rows = _covering_rows(regimes, variants, shapes, dtypes)
        for regime, variant, shape, dtype in rows:
            case = _case(suite, variant, regime, dtype, device, shape, threads)
            composed.add(case, _names(suite, compiled=False), ("accuracy",))
        _add_known_cases(composed, suite, device, sweep, threads)
        for variant in variants[1:]:
            case = _case(suite, variant, home, timed_dtypes[0], device, usual[0], threads)
            composed.add(case, _names(suite, compiled=True), ("accuracy", "compilation"))
    whole = len(variants) * len(regimes) * len(dtypes) * len(shapes)
    left_out.append(
        f"{suite.name} on {device}: quick asks the covering set of {len(rows)} of {whole} combinations of "
        f"variant, regime, dtype and shape; `--profile full` asks all"
    )
    if len(clocked) < len(dtypes):
        untimed = ", ".join(d for d in dtypes if d not in clocked)
        left_out.append(f"{suite.name} on {device}: quick does not time {untimed}; `--profile full` does")


def _add_protocol(composed: Asked, suite: Suite, device: str, sweep: Sweep, threads: int) -> None:
    """Asks protocol per variant x dtype, determinism of the usual and the unreduced variants x dtype.

    Identities are asked per dtype, invalid input once, compiled forms where their artefact exists anyway.
    """
    variants, regimes, dtypes = _kept(suite, sweep)
    home, (shape, *_) = regimes[0], _shapes([suite.shapes.usual], sweep)
    unreduced = [v for v in variants[1:] if suite.variant(v).options.get("reduction") == "none"]
    for dtype, variant in product(dtypes, variants):
        case = _case(suite, variant, home, dtype, device, shape, threads)
        composed.add(case, _names(suite, compiled=None if variant == variants[0] else False), ("protocol",))
        if variant in (variants[0], *unreduced):
            composed.add(
                case, _names(suite, compiled=None if variant == variants[0] else False), ("determinism",)
            )
    # Each identity would be an artefact of its own, so compiled forms are not asked.
    for dtype in dtypes if suite.identities else ():
        case = _case(suite, variants[0], home, dtype, device, shape, threads)
        composed.add(case, _names(suite, compiled=False), ("identity",))
    usual = next((dtype for dtype in dtypes if dtype in TIMED_DTYPES), dtypes[0])
    if suite.invalid:
        case = _case(suite, variants[0], home, usual, device, shape, threads)
        composed.add(case, _names(suite), ("invalid_input",))


def _add_known_cases(composed: Asked, suite: Suite, device: str, sweep: Sweep, threads: int) -> None:
    """Asks the case of every known finding that names a variant, so that a stale one can be told."""
    variants, regimes, dtypes = _kept(suite, sweep)
    shapes = _shapes([suite.shapes.usual, *suite.shapes.covering[-1:]], sweep)
    entries = {entry for item in suite.implementations for entry in item.known if entry.variant}
    for entry in sorted(entries, key=repr):
        named = [r for r in regimes if any(fnmatchcase(r.name, p) for p in entry.regime)] or regimes[:1]
        usual = [d for d in dtypes if d in TIMED_DTYPES] or dtypes
        spelt = [d for d in dtypes if any(fnmatchcase(d, p) for p in entry.dtype)] or usual[:1]
        wanted = [v for v in variants if any(fnmatchcase(v, p) for p in entry.variant)]
        told = shapes if entry.shown_at is None else [entry.shown_at]
        for variant, regime, dtype, shape in product(wanted, named, spelt, told):
            case = _case(suite, variant, regime, dtype, device, shape, threads)
            composed.add(case, _names(suite, compiled=False), ("accuracy",))


def _covering_rows(
    regimes: list[Regime], variants: list[str], shapes: list[Shape], dtypes: list[str]
) -> list[tuple[Regime, str, Shape, str]]:
    """Returns every pair of regime, variant, shape and dtype; a regime that fixes its shape has one.

    The two kinds of regimes are covered apart: a pair of variant and shape that only a fixing regime
    carried would be lost when that regime replaces the shape.
    """
    open_regimes = [r for r in regimes if r.batch is None and r.classes is None]
    fixing = [r for r in regimes if r not in open_regimes]
    wide: list[list[Any]] = [open_regimes, variants, shapes, dtypes]
    batches = list({shape.batch: shape for shape in shapes}.values())
    narrow: list[list[Any]] = [fixing, variants, batches, dtypes]
    return [(row[0], row[1], row[2], row[3]) for factors in (wide, narrow) for row in covering(factors)]


def _add_slow_regime(composed: Asked, suite: Suite, device: str, sweep: Sweep, threads: int) -> None:
    """Times one more regime at the middle shape: the speed of a loss depends on its input values."""
    variants, regimes, dtypes = _kept(suite, sweep)
    shapes = _shapes(suite.shapes.timed, sweep)
    slow = next((r for r in regimes[1:] if r.name == suite.shapes.slow_regime), None)
    if slow is None or "float32" not in dtypes:
        return
    case = _case(suite, variants[0], slow, "float32", device, shapes[len(shapes) // 2], threads)
    composed.add(case, _names(suite), ("accuracy", "timing"))


def _full(composed: Asked, suite: Suite, device: str, sweep: Sweep, left_out: list[str]) -> None:
    variants, regimes, dtypes = _kept(suite, sweep)
    every = _shapes([suite.shapes.usual, *suite.shapes.covering, *suite.shapes.timed], sweep)
    timed = _shapes(suite.shapes.timed, sweep)
    for variant, regime, dtype, shape, threads in product(variants, regimes, dtypes, every, sweep.threads):
        case = _case(suite, variant, regime, dtype, device, shape, threads)
        composed.add(case, _names(suite), ("accuracy",))
        if shape == every[0]:
            composed.add(case, _names(suite), ("spread",))
        if regime is regimes[0] and shape not in timed:
            composed.add(case, _names(suite), ("protocol", "determinism"))
        if shape in timed:
            composed.add(case, _names(suite), ("memory", "timing"))
        if regime is regimes[0]:
            composed.add(case, _names(suite, compiled=True), ("compilation",))
            if shape == every[0]:
                composed.add(case, _names(suite), ("overflow",))
                if suite.identities and variant == variants[0]:
                    composed.add(case, _names(suite, compiled=False), ("identity",))
                if suite.invalid and variant == variants[0]:
                    composed.add(case, _names(suite), ("invalid_input",))


def _llm(composed: Asked, suite: Suite, device: str, sweep: Sweep, left_out: list[str]) -> None:
    variants, regimes, dtypes = _kept(suite, sweep)
    shapes = [Shape(b, c) for b, c in product(sweep.batches or LLM_BATCHES, sweep.classes or LLM_CLASSES)]
    wanted = (
        [r for r in regimes if sweep.regimes or r.classes is None][:3] if sweep.regimes is None else regimes
    )
    for regime, dtype, shape, threads in product(
        wanted, [d for d in dtypes if d in TIMED_DTYPES] or dtypes, shapes, sweep.threads
    ):
        case = _case(suite, variants[0], regime, dtype, device, shape, threads)
        composed.add(
            case, _names(suite), ("accuracy", "memory", "timing") if regime is wanted[0] else ("accuracy",)
        )
        if regime is wanted[0]:
            composed.add(case, _names(suite, compiled=True), ("compilation",))
    left_out.append(
        f"{suite.name} on {device}: llm asks the regimes {', '.join(r.name for r in wanted)} and no ladders; "
        "`--profile quick` has them"
    )


Composer = Callable[[Asked, Suite, str, Sweep, list[str]], None]
COMPOSERS: Mapping[str, Composer] = {"quick": _quick, "full": _full, "llm": _llm}
PROFILES = tuple(COMPOSERS)
