"""`lossgauge run`: the composition root of a measurement, from flags to report.

The trap: the exit code says whether the run is complete, never what it found; findings are the
business of the report.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from harness import __version__
from harness.claim import claimed
from harness.cli.axes import DEFAULTS, Settled, axes_options, settled_plan
from harness.cli.progress import Progress, headline, plan_line
from harness.cli.run_options import engine_of, fitting_workers, measure, retried, run_options, shard
from harness.errors import UsageError
from harness.results import INCOMPLETE, Result
from harness.units import count, duration


@click.command("run", short_help="Measure, journal, report.")
@axes_options
@run_options
@click.argument("config_file", required=False, type=click.Path(path_type=Path))
@click.pass_context
def command(ctx: click.Context, /, config_file: Path | None, **flags: Any) -> None:
    """Sweep the axes, journal every result and write the report.

    Measured results are never lost: the same command continues where it stopped.
    """
    flags["config"] = flags.get("config") or config_file
    start = time.monotonic()
    settled, discovered, plan = settled_plan(flags)
    whole = plan.hash
    if flags["shard"]:
        plan = plan.shard(*shard(flags["shard"]))
    if not plan.blocks and not plan.refusals:
        asked = [f"-f {text!r}" for text in flags["filters"]]
        asked += [f"-k {flags['keyword']!r}"] if flags["keyword"] else []
        wanted = settled.values["device"] or ()
        asked += [f"--device {a.value}: {a.reason}" for a in plan.absent if a.value in wanted]
        why = f" ({'; '.join(asked)})" if asked else ""
        raise UsageError(f"run: nothing is left to measure{why}; `lossgauge plan --ids` lists what there is.")
    seed = settled.values["seed"]
    suffix = (f"-s{seed}" if seed else "") + (
        f"-{flags['shard'].replace('/', 'of')}" if flags["shard"] else ""
    )
    folder = flags["out"] or Path("runs") / (whole + suffix)
    retry = retried(flags["retry"])
    progress = Progress(
        quiet=ctx.obj["quiet"], verbose=ctx.obj["verbose"], heartbeat_seconds=flags["heartbeat"]
    )
    # The engine first: one that is not there leaves no folder behind.
    with engine_of(flags["engine"], flags["address"]) as engine, claimed(folder):
        form = _begin(folder, flags, settled, discovered, plan)
        progress.say(headline(form, folder))
        progress.say(plan_line(plan))
        for sentence in discovered.broken:
            progress.say(f"! left out: {sentence}")
        results, interrupted, runner = _measured(
            folder, flags, settled, discovered, plan, retry, engine, progress
        )
        _finish(
            folder, form, plan, discovered, settled, results, runner, interrupted, time.monotonic() - start
        )
        if runner.reused:
            progress.say(f"{count(runner.reused)} answers reused from {folder}")
        page = None if flags["no_report"] else _report(folder, progress)
    if interrupted:
        progress.say(
            f"interrupted: everything measured is in {folder}; continue with: {shlex.join(_command())}"
        )
        ctx.exit(130)
    progress.say(f"done in {duration(time.monotonic() - start)}")
    if page is not None:
        click.echo(f"report {page}")
    else:
        click.echo(f"results {folder}")
    incomplete = any(result.status in INCOMPLETE for result in results)
    ctx.exit(3 if incomplete or discovered.broken else 0)


def _begin(
    folder: Path, flags: dict[str, Any], settled: Settled, discovered: Any, plan: Any
) -> dict[str, Any]:
    from harness.environment import context, identity
    from harness.manifest import (
        manifest_form,
        refuse_other_machine,
        refuse_other_plan,
        stored_manifest,
        suite_forms,
        write_manifest,
    )

    environment = {"identity": identity(), "context": context()}
    if not flags["resume"] and folder.exists():
        _empty(folder)
    before = stored_manifest(folder)
    if before is not None:
        refuse_other_plan(folder, before, plan, settled.values["seed"])
        if not flags["allow_different"]:
            refuse_other_machine(folder, before, environment)
    form = manifest_form(
        plan,
        discovered,
        name=flags["name"] or folder.name,
        version=__version__,
        command=shlex.join(_command()),
        profile=settled.values["profile"],
        seed=settled.values["seed"],
        environment=environment,
        config=settled.sources,
        suites=suite_forms(discovered.suites),
        selection=settled.selection.to_json(),
    )
    if before is not None:
        # A continued run took what its parts took.
        for key in ("copy_bandwidth_bytes_per_second", "wall_seconds", "spent_seconds"):
            form[key] = before.get(key)
    write_manifest(folder, form)
    _point_latest(folder)
    return form


def _empty(folder: Path) -> None:
    """Removes the files of an earlier run; anything else in the folder stays."""
    from harness.run import MANIFEST, RESULTS, SAMPLES

    for name in (MANIFEST, RESULTS, SAMPLES, "results.csv", "report.html", "report.md"):
        (folder / name).unlink(missing_ok=True)


def _point_latest(folder: Path) -> None:
    """Lets runs/latest name the newest run of the folder `runs`.

    Anywhere else, and where `latest` is no link, the name is the user's and is left alone.
    """
    latest = folder.parent / "latest"
    theirs = latest.exists() and not latest.is_symlink()
    if theirs or folder.parent.name != "runs" or folder.name == "latest":
        return
    with suppress(OSError):  # a file system without links has no latest
        latest.unlink(missing_ok=True)
        latest.symlink_to(folder.name, target_is_directory=True)


def _measured(
    folder: Path,
    flags: dict[str, Any],
    settled: Settled,
    discovered: Any,
    plan: Any,
    retry: tuple[str, ...],
    engine: Any,
    progress: Progress,
) -> tuple[list[Result], bool, Any]:
    import torch

    from harness.engines import Limits
    from harness.runner import Order, Runner

    values = settled.values
    order = Order(
        folder=folder,
        selection=settled.selection,
        seed=values["seed"],
        workers=values["workers"] or (fitting_workers(plan) if flags["engine"] == "local" else 0),
        limits=Limits(timeout_seconds=values["timeout"]),
        measure=measure(values, plan),
        retry=retry,
        engine=engine,
    )
    runner = Runner(plan, discovered, order, torch.__version__, progress.tell)
    results: list[Result] = []
    interrupted = False
    previous = signal.signal(signal.SIGTERM, _interrupt)
    stream = runner.results()
    try:
        for result in stream:
            results.append(result)
            progress.saw(result)
            if flags["exitfirst"] and result.status in INCOMPLETE:
                progress.say(f"stopped by -x: {result.trial.id} {result.status}: {result.reason}")
                break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        stream.close()  # type: ignore[attr-defined]
        signal.signal(signal.SIGTERM, previous)
        progress.end()
    return results, interrupted, runner


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _finish(
    folder: Path,
    form: dict[str, Any],
    plan: Any,
    discovered: Any,
    settled: Settled,
    results: list[Result],
    runner: Any,
    interrupted: bool,
    wall_seconds: float,
) -> None:
    import torch

    from harness.known import stale
    from harness.manifest import coverage, write_manifest

    form["coverage"] = coverage(plan, results)
    form["wall_seconds"] = (form["wall_seconds"] or 0.0) + wall_seconds
    worked = {phase: spent for phase, spent in runner.spent_seconds.items() if spent.get("worker_lifetime")}
    form["spent_seconds"] = {**(form.get("spent_seconds") or {}), **worked}
    if runner.stopwatch.copy_bandwidth:
        form["copy_bandwidth_bytes_per_second"] = runner.stopwatch.copy_bandwidth
    if not interrupted:
        form["finished"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        sweep = settled.sweep
        narrowed = (sweep.variants, sweep.regimes, sweep.dtypes, sweep.probes, sweep.filters, sweep.keyword)
        # Entries are listed from the draws of the usual seed; others show some and miss some.
        usual = settled.values["seed"] == DEFAULTS["seed"]
        if usual and not any(narrowed) and not settled.selection.inputs and sweep.profile != "llm":
            form["stale_known"] = stale(discovered.suites, results, torch.__version__)
    write_manifest(folder, form)


def _report(folder: Path, progress: Progress) -> Path:
    from harness.run import load_run
    from reports.report import write_report
    from reports.summary import summary_lines

    run = load_run(folder)
    page = write_report(run, tell=progress.say)
    for line in summary_lines(run):
        progress.say(line)
    return page


def _command() -> list[str]:
    return ["lossgauge", *sys.argv[1:]]
