"""What a person sees while it runs: one line that is redrawn on a terminal, heartbeats elsewhere.

Remaining time comes from the pace so far within the phase. The trap: off a terminal a redrawn line
is noise in a log, so there a line is printed every `heartbeat` seconds and at the end of a phase.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import click

from harness.outcome import outcome
from harness.results import INCOMPLETE, Result
from harness.units import duration

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
