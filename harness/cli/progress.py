"""What a person sees while it runs: one line that is redrawn on a terminal, heartbeats elsewhere.

Remaining time comes from the pace so far within the phase. The trap: off a terminal a redrawn line
is noise in a log, so there a line is printed every `heartbeat` seconds and at the end of a phase.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from harness import __version__
from harness.outcome import outcome
from harness.results import INCOMPLETE, Result
from harness.units import count, duration

PHASES = {"answers": "questions", "timing": "timed blocks"}


class Progress:
    """Counts results and prints how far the run is; everything goes to stderr."""

    def __init__(self, *, quiet: bool, verbose: bool, heartbeat_seconds: float) -> None:
        self._quiet, self._verbose = quiet, verbose
        self._heartbeat = heartbeat_seconds
        self._terminal = sys.stderr.isatty()
        self._counted: Counter[str] = Counter()
        self._phase, self._phase_start = "", time.monotonic()
        self._last_line = time.monotonic()
        self._drawn = False

    def saw(self, result: Result) -> None:
        """Counts a result and shows the first of each bad kind, or every one with --verbose."""
        word = result.status if result.status != "ok" else outcome(result.findings)
        self._counted[word] += 1
        first_bad = word in INCOMPLETE and self._counted[word] == 1
        if self._verbose or (first_bad and not self._quiet):
            mark = "!" if word in INCOMPLETE else " "
            self._line(f"{mark} {word:<12} {result.trial.id} {result.probe} {result.reason}")

    def tell(self, phase: str, done: int, total: int) -> None:
        """Shows how far a phase is."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._phase_start = phase, now
        if self._quiet:
            return
        spent = now - self._phase_start
        left = spent / done * (total - done) if done else 0.0
        bad = ", ".join(
            f"{word} {self._counted[word]}" for word in sorted(self._counted) if word in INCOMPLETE
        )
        line = (
            f"{done}/{total} {PHASES[phase]}  {duration(spent)}, about {duration(left)} left  {bad}".rstrip()
        )
        if self._terminal:
            click.echo("\r\x1b[K" + line, err=True, nl=False)
            self._drawn = True
        elif now - self._last_line >= self._heartbeat or done == total:
            click.echo(line, err=True)
            self._last_line = now

    def _line(self, text: str) -> None:
        self.end()
        click.echo(text.rstrip(), err=True)

    def say(self, text: str) -> None:
        """Prints a line to stderr unless quiet."""
        if not self._quiet:
            self._line(text)

    def end(self) -> None:
        """Ends a redrawn line."""
        if self._drawn:
            click.echo("", err=True)
            self._drawn = False


def headline(form: Mapping[str, Any], folder: Path) -> str:
    """Returns the first line of a run: versions, machine, revision, seed and where the results go."""
    identity, context = form["environment"]["identity"], form["environment"]["context"]
    git = f"  git {context['git']}" if context["git"] else ""
    return (
        f"lossgauge {__version__}  torch {identity['torch']}  {identity['cpu']} x{identity['cores']} "
        f"{identity['aten_capability']}{git}  seed {form['seed']}  -> {folder}"
    )


def plan_line(plan: Any) -> str:
    """Returns the second line of a run: how much is planned, what is refused, what is absent."""
    absent = ", ".join(f"{a.value} ({a.reason})" for a in plan.absent)
    refused = f", {count(len(plan.refusals))} unsupported or skipped" if plan.refusals else ""
    skipped = f"; absent: {absent}" if absent else ""
    return f"plan   {count(plan.expected)} trials in {count(len(plan.blocks))} blocks{refused}{skipped}"
