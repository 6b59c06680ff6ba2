"""The flags that all verbs share: axes, filters, configuration; and from flags to plan.

Plural axes accept commas or repeats. The trap: a value may come from five places (flag, environment,
file, project file, default), so every verb goes through `settle`, and the manifest says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
DEFAULTS: Mapping[str, Any] = {
    "profile": "quick",
    "suite": None,
    "impl": None,
    "variant": None,
    "regime": None,
    "dtype": None,
    "device": None,
    "batch": None,
    "classes": None,
    "threads": (1,),
    "probe": None,
    "exclude": (),
    "direction": "both",
    "min_time": 0.01,
    "max_noise": 0.02,
    "budget_time": None,
    "timeout": 60.0,
    "rounds": 16,
    "processes": 3,
    "workers": None,
    "seed": 0,
}


class Several(click.ParamType[Any]):
    """A list of words or numbers: commas and repeats mean the same."""

    def __init__(self, kind: type = str) -> None:
        self._kind = kind
        self.name = "list" if kind is str else "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Returns the parts of one occurrence of the flag."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(part.strip()) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers.", param, ctx)


class Duration(click.ParamType[Any]):
    """A time such as 0.2s, 90s, 10m."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns seconds."""
        from harness.config import duration_seconds, positive

        try:
            return positive(duration_seconds(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Share(click.ParamType[Any]):
    """A share such as 2% or 0.02."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the share as a number, 1 being everything."""
        from harness.config import share

        try:
            return share(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _flattened(ctx: click.Context, param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
    return tuple(part for parts in value for part in parts) or None


def axes_options(command: F) -> F:
    """Adds the axes, filters and configuration flags to a command."""
    words, numbers = Several(), Several(int)
    options = [
        click.option("--profile", metavar="NAME", help="quick (default), full or llm."),
        click.option(
            "--suite", type=words, multiple=True, callback=_flattened, help="Name, file.py or module:SUITE."
        ),
        click.option(
            "--impl", type=words, multiple=True, callback=_flattened, help="Name or package.module:function."
        ),
        click.option(
            "--variant", type=words, multiple=True, callback=_flattened, help="Sets of loss options."
        ),
        click.option("--regime", type=words, multiple=True, callback=_flattened, help="Input distributions."),
        click.option(
            "--dtype",
            type=words,
            multiple=True,
            callback=_flattened,
            help="float64, float32, bfloat16, float16.",
        ),
        click.option("--device", type=words, multiple=True, callback=_flattened, help="cpu, cuda, mps, xpu."),
        click.option("--batch", type=numbers, multiple=True, callback=_flattened, help="Rows."),
        click.option("--classes", type=numbers, multiple=True, callback=_flattened, help="Classes."),
        click.option(
            "--threads",
            type=numbers,
            multiple=True,
            callback=_flattened,
            help="Threads of an implementation.",
        ),
        click.option(
            "--probe",
            type=words,
            multiple=True,
            callback=_flattened,
            help="Only these, e.g. accuracy,protocol; `lossgauge list probes` names them.",
        ),
        click.option(
            "-f", "--filter", "filters", multiple=True, metavar="TERMS", help='"impl=native dtype!=float16".'
        ),
        click.option(
            "-k", "--keyword", default="", metavar="EXPR", help='Trial ids, e.g. "native and not float16".'
        ),
        click.option(
            "--include", type=click.Choice(["known_bad"]), multiple=True, help="Also run the known-bad ones."
        ),
        click.option(
            "--inputs", default="", metavar="FILE", help="Sweep the tensors of a .safetensors file."
        ),
        click.option("--seed", type=int, help="Seed of all inputs (default 0)."),
        click.option(
            "--config", type=click.Path(path_type=Path), help="Configuration file (default lossgauge.toml)."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class Settled:
    """Flags, environment and files resolved: selection, sweep, the values and where they came from."""

    selection: Any
    sweep: Any
    values: Mapping[str, Any]
    sources: Mapping[str, Any]


def settle(flags: Mapping[str, Any]) -> Settled:
    """Returns what the user asked for; raises UsageError with one sentence."""
    from harness.config import effective, load_layers
    from harness.discovery import Selection
    from harness.sweep import Sweep

    values, sources = effective(flags, load_layers(flags.get("config")), DEFAULTS)
    if values["direction"] not in ("fwd", "bwd", "both"):
        raise UsageError(f"--direction {values['direction']}: allowed: fwd, bwd, both.")
    inputs = str(flags.get("inputs") or "")
    selection = Selection(
        suites=tuple(values["suite"] or ()),
        implementations=tuple(values["impl"] or ()),
        inputs=inputs,
        known_bad="known_bad" in (flags.get("include") or ()),
    )
    sweep = Sweep(
        profile=values["profile"],
        variants=values["variant"],
        regimes=values["regime"],
        dtypes=values["dtype"],
        devices=values["device"],
        batches=values["batch"],
        classes=values["classes"],
        threads=tuple(values["threads"]),
        probes=values["probe"],
        filters=tuple(flags.get("filters") or ()),
        keyword=flags.get("keyword") or "",
        excludes=tuple(values["exclude"]),
    )
    return Settled(selection, sweep, values, sources)


def settled_plan(flags: Mapping[str, Any]) -> tuple[Settled, Any, Any]:
    """Returns settings, discovered suites and plan; raises HarnessError with one sentence."""
    settled = settle(flags)
    from harness.discovery import discover
    from harness.sweep import planned

    discovered = discover(settled.selection)
    return settled, discovered, planned(settled.sweep, discovered.suites)
