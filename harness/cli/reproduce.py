"""Runs the reproducer of every distinct finding of a run, each alone: `nox -s reproducers`.

Writes a page with one line per finding and what its script said. By default that is torch's own losses,
`docs/native_findings.md`. The trap: a finding whose script does not fail is no finding that can be shown,
so it is told as such and the command ends with 1.
"""

from __future__ import annotations

import fnmatch
import functools
import multiprocessing
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from harness.distinct import Distinct
    from harness.suite import Suite

Verdict = Literal["fails", "shows nothing", "no script"]
COLUMNS = (
    "implementation",
    "severity",
    "kind",
    "where",
    "by",
    "trials",
    "dtypes",
    "its script says",
    "cause",
)
TOLD_EVERY = 25


@dataclass(frozen=True)
class Shown:
    """A finding, and how its script ended alone; `words` are the script's, or why there is none."""

    one: Distinct
    verdict: Verdict
    words: str


@click.command()
@click.argument("run_path", type=click.Path(path_type=Path), default=Path("runs/latest"))
@click.option("--impl", "patterns", multiple=True, default=("native",), help="Names; * stands for any.")
@click.option("--suite", "suites", multiple=True, help="Only these suites; default all of the run.")
@click.option("--kind", "kinds", multiple=True, help="Only findings of these kinds.")
@click.option("--workers", default=2, show_default=True, help="Scripts that run at a time.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the page here; default stdout.")
def main(
    run_path: Path,
    patterns: tuple[str, ...],
    suites: tuple[str, ...],
    kinds: tuple[str, ...],
    workers: int,
    output: Path | None,
) -> None:
    """Runs the reproducers of RUN_PATH and exits 1 if one of them does not fail."""
    from harness.distinct import distinct
    from harness.errors import HarnessError
    from harness.run import load_run

    try:
        run = load_run(run_path)
        found = [
            one
            for one in distinct(run.results)
            if any(fnmatch.fnmatchcase(one.trial.implementation, pattern) for pattern in patterns)
            and (not suites or one.trial.case.suite in suites)
            and (not kinds or one.finding.kind in kinds)
        ]
        if not found:
            names = ", ".join(sorted({r.trial.implementation for r in run.results})) or "nothing"
            raise HarnessError(
                f"reproduce {run_path}: no finding of {' or '.join(patterns)} there; it holds {names}. "
                "Name others with --impl, or take --suite and --kind away."
            )
        run.stated("seed")
        identity = run.stated("environment", "identity")
        shown = asked(found, run.manifest, workers)
    except HarnessError as error:
        raise click.UsageError(str(error)) from None
    text = page(shown, identity, patterns)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
    silent = [s for s in shown if s.verdict != "fails"]
    for one in silent:
        click.echo(f"{one.one.trial.id} {one.one.finding.kind}: {one.verdict}: {one.words}", err=True)
    click.echo(f"{len(shown) - len(silent)} of {len(shown)} scripts fail on their own", err=True)
    sys.exit(1 if silent else 0)


def asked(found: Sequence[Distinct], manifest: Mapping[str, Any], workers: int) -> list[Shown]:
    """Returns how the script of every finding ended, in their order; each is looked for anew."""
    fresh = multiprocessing.get_context("spawn")
    ask = functools.partial(_shown, manifest=manifest)
    with ProcessPoolExecutor(workers, mp_context=fresh) as pool:
        shown: list[Shown] = []
        for one in pool.map(ask, found):
            shown.append(one)
            if len(shown) % TOLD_EVERY == 0:
                click.echo(f"{len(shown)}/{len(found)} scripts", err=True)
    return shown


def _shown(one: Distinct, manifest: Mapping[str, Any]) -> Shown:
    from harness.reproducer.child import said_alone
    from harness.reproducer.reproduction import NoReproducerError
    from harness.reproducer.script import script
    from harness.reproducer.search import reproduced

    try:
        suite = _suite(one.trial.case.suite)
        again = reproduced(suite, one.trial, one.finding, int(manifest["seed"]))
        command = f"lossgauge show {one.trial.id} --repro --finding {one.finding.kind}"
        text = script(again, identity=manifest["environment"]["identity"], command=command)
    except NoReproducerError as error:
        return Shown(one, "no script", str(error))
    said = said_alone(text)
    return Shown(one, "fails" if said.shows else "shows nothing", said.words)


@functools.cache
def _suite(name: str) -> Suite:
    from harness.discovery import Selection
    from harness.reproducer.reproduction import suite_of

    return suite_of(name, Selection(known_bad=True))


def page(shown: Sequence[Shown], identity: Mapping[str, str], patterns: Sequence[str]) -> str:
    """Returns the findings as Markdown, by suite, with what their scripts said."""
    fails = sum(s.verdict == "fails" for s in shown)
    severities = Counter(s.one.finding.severity for s in shown)
    counted = ", ".join(f"{severities[s]} {s}" for s in ("error", "warning", "note") if severities[s])
    lines = [
        "<!-- Generated by `nox -s reproducers`; do not edit. -->",
        f"# What was found on {' and '.join(patterns)}",
        "",
        f"{len(shown)} distinct findings ({counted}) of the quick sweep on torch {identity['torch']}, CPU",
        f"capability {identity['aten_capability']}, each in the trial that shows it worst. Each script",
        f"(`lossgauge show TRIAL --repro --finding KIND`) was run alone: {fails} of {len(shown)} fail.",
        "The last column is the reason and the upstream issue of those that the suite lists as known.",
    ]
    for suite in sorted({s.one.trial.case.suite for s in shown}):
        lines += ["", f"## {suite}", "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
        lines += [_row(s) for s in shown if s.one.trial.case.suite == suite]
    return "\n".join([*lines, ""])


def _row(shown: Shown) -> str:
    one, finding = shown.one, shown.one.finding
    where = f"{finding.group}, `{one.trial.case.id.partition('/')[2]}`"
    words = shown.words if shown.verdict == "fails" else f"**{shown.verdict}**: {shown.words}"
    cells = [one.trial.implementation, finding.severity, finding.kind, where, finding.probe]
    cells += [str(one.trials), ", ".join(one.dtypes), words, finding.known or "unlisted"]
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |"


if __name__ == "__main__":
    main()
