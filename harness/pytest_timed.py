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
from harness.outcome import outcome
from harness.probes.memory import warm_up_profiler
from harness.probes.timed_calls import POOL
from harness.pytest_items import calm, one_thread
from harness.pytest_settings import Settings
from harness.pytest_trials import Desk, asked, conclude, properties_of, trial_facts
from harness.results import Result, to_json_number
from harness.standard import upstream_for
from harness.suite import Suite
from harness.sweep import Sweep, planned
from harness.trial import Trial

# Larger ones take a minute each under pytest-benchmark's rules; `lossgauge run` times them.
MOST_ENTRIES = 256 * 1000
JUDGED = pytest.StashKey[Result]()
SHOWN = ("loss_ulps", "gradient_ulps", "peak_bytes")


class TimedFunction(pytest.Function):
    """A generated test function that times one trial; its place is the suite file.

    The answer is judged in setup, before fixtures are made: pytest-benchmark minds a fixture that
    goes unused. What it says against timing is raised in the call, so that it is a failure there.
    """

    def __init__(self, *, desk: Desk, trial: Trial, **given: Any) -> None:
        super().__init__(**given)
        self._desk, self._trial = desk, trial
        self._stop: BaseException | None = None
        self.add_marker(pytest.mark.lossgauge(kind="timing", **trial_facts(trial)))

    def setup(self) -> None:
        """Asks the accuracy probe, then makes the fixtures if the answer may be timed."""
        try:
            with calm(), one_thread():
                self._judge()
        except HarnessError as error:
            self._stop = pytest.fail.Exception(str(error), pytrace=False)
        except (pytest.fail.Exception, pytest.skip.Exception, pytest.xfail.Exception) as stop:
            self._stop = stop
        else:
            super().setup()

    def runtest(self) -> None:
        """Times it, or says why not."""
        if self._stop is not None:
            raise self._stop
        with calm(), one_thread():
            super().runtest()

    def reportinfo(self) -> tuple[Path, int, str]:
        """Returns the suite file and the test's name."""
        return self.path, 0, self.name

    def _judge(self) -> None:
        block, name = self._desk.opened(self._trial.case), self._trial.implementation
        result = self._desk.heard(asked("accuracy", block, name))
        # A known finding is timed and named; an unlisted error never reaches the table.
        if result.status != "ok" or any(f.severity == "error" and not f.known for f in result.findings):
            conclude(self._desk.suite.implementation(name), [result])
        self.user_properties += properties_of(result)
        self.stash[JUDGED] = result


def timed_cases_of(parent: pytest.Module, suite: Suite, settings: Settings) -> Iterator[pytest.Item]:
    """Yields one function per timed trial of the plan."""
    desk = Desk(suite, settings)
    for block in planned(Sweep(profile=settings.profile), {suite.name: suite}).blocks:
        case = block.case
        if settings.profile == "quick" and case.batch * case.classes > MOST_ENTRIES:
            continue
        for name in block.timed():
            trial = Trial(case, name)
            yield TimedFunction.from_parent(
                parent, name=trial.id, callobj=_measurement(desk, trial), desk=desk, trial=trial
            )


def _measurement(desk: Desk, trial: Trial) -> Callable[..., None]:
    def measure(benchmark: Any, request: pytest.FixtureRequest) -> None:
        block, name = desk.opened(trial.case), trial.implementation
        result = request.node.stash[JUDGED]
        numbers = {**result.numbers, **_footprint(block, name)}
        benchmark.group = trial.case.id
        benchmark.extra_info["outcome"] = outcome(result.findings)
        benchmark.extra_info.update({key: to_json_number(numbers[key]) for key in SHOWN if key in numbers})
        benchmark(_both_passes(block, name))

    return measure


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
