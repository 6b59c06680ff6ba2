"""Timed cases under pytest-benchmark: forward and backward, after the answer was found to be right.

Real Function items, because the `benchmark` fixture is given to functions only; one group per
case, so that its implementations stand in one table. The trap: these seconds come from one process
and one order, so they inform and never judge; `lossgauge ab` judges.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.block import OpenBlock
from harness.calling import gradients_of, leaves
from harness.errors import HarnessError
from harness.implementation import Implementation
from harness.outcome import outcome
from harness.probes.memory import warm_up_profiler
from harness.probes.timing import POOL
from harness.pytest_items import calm, fail, one_thread
from harness.pytest_plugin import Settings, SuiteFile
from harness.pytest_trials import Desk, asked, conclude, trial_facts
from harness.results import Result, to_json_number
from harness.standard import upstream_for
from harness.suite import Suite
from harness.sweep import Sweep, planned
from harness.trial import Trial

# Larger ones take a minute each under pytest-benchmark's rules; `lossgauge run` times them.
MOST_ENTRIES = 256 * 1000
SHOWN = ("loss_ulps", "gradient_ulps", "peak_bytes")


class TimedFunction(pytest.Function):
    """A generated test function whose place is the suite file."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Returns the suite file and the test's name."""
        return self.path, None, self.name


def timed_cases_of(parent: SuiteFile, suite: Suite, settings: Settings) -> Iterator[pytest.Item]:
    """Yields one function per timed trial of the plan."""
    desk = Desk(suite, settings)
    for block in planned(Sweep(profile=settings.profile), {suite.name: suite}).blocks:
        case = block.case
        if settings.profile == "quick" and case.batch * case.classes > MOST_ENTRIES:
            continue
        for name in block.timed():
            trial = Trial(case, name)
            function = TimedFunction.from_parent(parent, name=trial.id, callobj=_timed(desk, trial))
            function.add_marker(pytest.mark.lossgauge(kind="timing", **trial_facts(trial)))
            yield function


def _timed(desk: Desk, trial: Trial) -> Callable[..., None]:
    def measure(benchmark: Any) -> None:
        try:
            with calm(), one_thread():
                _measure(benchmark, desk, trial)
        except HarnessError as error:
            fail(str(error))

    return measure


def _measure(benchmark: Any, desk: Desk, trial: Trial) -> None:
    block, name = desk.opened(trial.case), trial.implementation
    result = desk.heard(asked("accuracy", block, name))
    implementation = desk.suite.implementation(name)
    _pass_or_stop(implementation, result)
    numbers = {**result.numbers, **_footprint(block, name)}
    benchmark.group = trial.case.id
    benchmark.extra_info["outcome"] = outcome(result.findings)
    benchmark.extra_info.update({key: to_json_number(numbers[key]) for key in SHOWN if key in numbers})
    benchmark(_both_passes(block, name))


def _pass_or_stop(implementation: Implementation, result: Result) -> None:
    """Lets a right answer or a known finding through; an unlisted error never reaches the table."""
    if any(f.severity == "error" and not f.known for f in result.findings) or result.status != "ok":
        conclude(implementation, [result])


@dataclass
class _Profiler:
    warm: bool = False


_PROFILER = _Profiler()


def _footprint(block: OpenBlock, name: str) -> dict[str, float]:
    if not _PROFILER.warm:
        warm_up_profiler()
        _PROFILER.warm = True
    return dict(asked("memory", block, name).numbers)


def _both_passes(block: OpenBlock, name: str) -> Callable[[], None]:
    """Returns forward and backward on a rotating pool of clones, as the timing probe has it."""
    sample, options = block.drawn()
    device = block.case.device
    pool = itertools.cycle([leaves(sample, device) for _ in range(POOL)])
    bound, upstream = block.bound(name), upstream_for(sample, options)
    upstream = None if upstream is None else upstream.to(device)

    def both_passes() -> None:
        inputs = next(pool)
        gradients_of(bound.loss(inputs.tensors), inputs, upstream)
        if device != "cpu":
            torch.accelerator.synchronize()

    return both_passes
