"""The flags of `lossgauge run` besides the axes, and what they stand for.

The trap: a flag is text until it is read here, so each reader raises one sentence that quotes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.cli.axes import Duration, Several, Share
from harness.errors import UsageError
from harness.results import STATUSES

F = TypeVar("F", bound=Callable[..., Any])
RETRY_WORDS = {
    "failed": ("crashed", "timed_out", "error", "not_run"),
    "oom": ("out_of_memory",),
    "nonfinite": ("spurious_nan", "spurious_overflow", "nan_leak"),
}


def run_options(command: F) -> F:
    """Adds the flags that say where to, how long, what again, and where workers run."""
    options = [
        click.option(
            "--out", type=click.Path(path_type=Path), help="Run directory (default runs/<plan hash>)."
        ),
        click.option("--name", default="", help="Name shown in reports (default: the directory's)."),
        click.option("--direction", help="fwd, bwd or both (default): which passes are timed."),
        click.option("--min-time", type=Duration(), help="Length of one timed block (default 10ms)."),
        click.option(
            "--max-noise", type=Share(), help="Half-width at which timing a block stops (default 2%)."
        ),
        click.option("--budget-time", type=Duration(), help="Time that all timing may take, e.g. 10m."),
        click.option(
            "--timeout",
            type=Duration(),
            help="Time that an implementation may take for one question (default 60s).",
        ),
        click.option(
            "--rounds", type=click.IntRange(min=1), help="Interleaved rounds per process (default 16)."
        ),
        click.option(
            "--processes",
            type=click.IntRange(min=1),
            help="Fresh processes that each time every block (default 3).",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Parallel workers of the correctness phase (default: cores).",
        ),
        click.option(
            "--resume/--fresh", default=True, help="Reuse what is on disk (default), or start anew."
        ),
        click.option(
            "--retry",
            type=Several(),
            multiple=True,
            help="Measure again: failed, oom, nonfinite, error, or a status.",
        ),
        click.option("--shard", metavar="I/N", help="Measure part I of N; blocks are never split."),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            help="Where workers run: here (default), or on a Ray cluster.",
        ),
        click.option(
            "--address",
            default="",
            metavar="ADDR",
            help="Address of the Ray cluster (default: RAY_ADDRESS, else one on this machine).",
        ),
        click.option(
            "-x/--keep-going",
            "exitfirst",
            default=False,
            help="Stop at the first trial that does not complete, or go on.",
        ),
        click.option("--allow-different", is_flag=True, help="Continue a run of another machine or torch."),
        click.option("--no-report", is_flag=True, help="Write no report."),
        click.option(
            "--heartbeat", type=Duration(), default=30.0, help="Seconds between lines off a terminal."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def shard(text: str) -> tuple[int, int]:
    """Returns the part and the number of parts of I/N; raises UsageError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text}: write I/N with I from 1 to N, e.g. 1/4.")
    return int(match[1]), int(match[2])


def retried(words: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Returns the statuses and kinds of findings that --retry asks for; raises UsageError for other words."""
    statuses: list[str] = []
    for word in (word for group in words for word in group):
        if word not in RETRY_WORDS and word not in STATUSES:
            raise UsageError(f"--retry {word}: allowed: {', '.join([*RETRY_WORDS, *STATUSES])}.")
        statuses += RETRY_WORDS.get(word, (word,))
    return tuple(statuses)


def fitting_workers(plan: Any) -> int:
    """Returns one worker per core, fewer where the largest blocks would not fit side by side."""
    from harness.environment import available_bytes
    from harness.sweep import needed_bytes

    largest = max((needed_bytes(block.case) for block in plan.blocks), default=1)
    return max(1, min(os.cpu_count() or 1, available_bytes() // max(largest, 1)))


@contextmanager
def engine_of(name: str, address: str) -> Iterator[Any]:
    """Gives the maker of engines that --engine names; a Ray connection lasts as long as the context.

    Raises UsageError when Ray is asked for and absent, or nothing answers at the address.
    """
    if name == "ray":
        from harness.ray_engine import Cluster

        with Cluster(address) as cluster:
            yield cluster.engine
        return
    if address:
        raise UsageError(f"--address {address}: is for --engine ray; the local engine has none.")
    from harness.engines import LocalEngine

    yield LocalEngine


def measure(values: Any, plan: Any) -> Any:
    """Returns how long to time: the settings, and each timed block's part of the whole budget."""
    from harness.probes.timing import Measure

    passes = {"fwd": ("forward",), "bwd": ("backward",), "both": ("forward", "backward", "both")}
    timed = sum(1 for block in plan.blocks if block.timed())
    budget = Measure.budget_seconds
    if values["budget_time"] is not None:
        budget = values["budget_time"] / max(1, timed * values["processes"])
    return Measure(
        block_seconds=values["min_time"],
        rounds=values["rounds"],
        most_rounds=max(
            values["rounds"], Measure.most_rounds if values["profile"] != "quick" else values["rounds"]
        ),
        processes=values["processes"],
        narrow=values["max_noise"],
        budget_seconds=budget,
        passes=passes[values["direction"]],
    )
