"""`lossgauge show`: what is stored about one trial, its reproducer, or the worst findings of a run.

The trap: a reproducer is drawn and asked again, so it needs the suite; everything else here reads
files only and imports no torch.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.rows import TABLES, table
from harness.errors import UsageError, suggestion, unknown

if TYPE_CHECKING:
    from harness.results import Finding, Result
    from harness.run import Run

PARTS = ("probe", "part", "name", "value")
WORST = ("severity", "kind", "implementation", "group", "probe", "trials", "trial", "message")


@click.command("show", short_help="Show one trial.")
@click.argument("trial", required=False)
@click.option(
    "--run", "run_path", type=click.Path(path_type=Path), default=Path("runs/latest"), help="Run directory."
)
@click.option("--json", "as_json", is_flag=True, help="Print the stored lines as JSON.")
@click.option("--repro", is_flag=True, help="Print a script that fails because of the worst finding.")
@click.option("--finding", metavar="KIND", default="", help="With --repro: the worst finding of this kind.")
@click.option(
    "--stand-in", metavar="NAME", default="", help="With --repro: another implementation in its place."
)
@click.option("--suite", "suites", multiple=True, help="With --repro: load this suite, as the run did.")
@click.option("--impl", "implementations", multiple=True, help="With --repro: load this module:function.")
@click.option("--worst", metavar="N", type=click.IntRange(min=1), help="List the N worst findings instead.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    trial: str | None,
    run_path: Path,
    as_json: bool,
    repro: bool,
    finding: str,
    stand_in: str,
    suites: tuple[str, ...],
    implementations: tuple[str, ...],
    worst: int | None,
) -> None:
    """Print status, numbers, findings and witnesses of TRIAL (an id as in `lossgauge plan --ids`).

    With --repro: a Python script that needs torch only, fails because of the trial's worst finding and
    exits 0 once the implementation is right. With --worst N: distinct findings, each with a trial.
    """
    from harness.run import load_run
    from harness.trial import parse_trial

    layout = "json" if as_json else ctx.obj["layout"]
    if (trial is None) == (worst is None):
        raise UsageError("show: give one trial id, or --worst N to list the worst findings of the run.")
    if not repro and (finding or stand_in or suites or implementations):
        raise UsageError(
            "show: --finding, --stand-in, --suite and --impl choose what --repro prints; add --repro."
        )
    run = load_run(run_path)
    if trial is None:
        if not run.results:
            raise UsageError(f"show --worst: {run_path} holds no result; nothing has been measured there.")
        click.echo(_listed(_worst(run, worst or 0), layout))
        return
    wanted = parse_trial(trial).id
    results = [result for result in run.results if result.trial.id == wanted]
    if not results:
        known = sorted({result.trial.id for result in run.results})
        raise UsageError(f"show {wanted}: {run_path} has no such trial.{suggestion(wanted, known)}")
    if repro:
        click.echo(_script(run, results, finding, stand_in, suites, implementations), nl=False)
    elif layout == "json":
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
    elif layout in TABLES:
        click.echo(table(layout, PARTS, [row for result in results for row in _parts(result)]))
    else:
        click.echo("\n".join([wanted, *(line for result in results for line in _text(result))]))


def _script(
    run: Run,
    results: Sequence[Result],
    kind: str,
    stand_in: str,
    suites: tuple[str, ...],
    implementations: tuple[str, ...],
) -> str:
    from harness.reproducer.reproduction import suite_of, trusted
    from harness.reproducer.script import script
    from harness.reproducer.search import reproduced

    trial = results[0].trial
    seed, identity = run.stated("seed"), run.stated("environment", "identity")
    selection = trusted(_selecting(run), suites, implementations)
    suite = suite_of(trial.case.suite, selection)
    finding = _chosen(results, kind)
    found = reproduced(suite, trial, finding, seed, selection)
    return script(
        found,
        identity=identity,
        command=shlex.join(["lossgauge", *sys.argv[1:]]),
        stand_in=suite.implementation(stand_in) if stand_in else None,
    )


def _selecting(run: Run) -> Mapping[str, Any]:
    """Returns the manifest, after making sure that it says what the run had selected."""
    if run.manifest.get("selection") is None:
        run.stated("config")
    else:
        for key in ("suites", "implementations", "inputs", "known_bad"):
            run.stated("selection", key)
    return run.manifest


def _chosen(results: Sequence[Result], kind: str) -> Finding:
    """Returns the worst finding of a trial, or its worst of a kind; raises UsageError without one."""
    from harness.distinct import by_severity

    findings = by_severity(finding for result in results for finding in result.findings)
    if not findings:
        raise UsageError(f"show {results[0].trial.id} --repro: nothing was found there; it is clean.")
    found = next((f for f in findings if not kind or f.kind == kind), None)
    if found is None:
        kinds = list(dict.fromkeys(f.kind for f in findings))
        raise UsageError(unknown(f"show --finding {kind}", "finding of the kind", kind, kinds))
    return found


def _parts(result: Result) -> Iterable[Sequence[str]]:
    """Yields what is stored about one probe as (probe, part, name, value)."""
    yield result.probe, "status", result.status, result.reason
    for name, text in _numbers(result):
        yield result.probe, "number", name, text
    for key, note in result.notes.items():
        yield result.probe, "note", key, str(note)
    for finding in result.findings:
        yield result.probe, finding.severity, finding.kind, f"[{finding.group}] {_said(finding)}"
        for part, value in finding.witness.items():
            yield result.probe, "witness", part, _witnessed(part, value)


def _text(result: Result) -> Iterable[str]:
    yield ""
    yield f"{result.probe}: {result.status} {result.reason}".rstrip()
    for name, text in _numbers(result):
        yield f"  {name:<28} {text}"
    for key, note in result.notes.items():
        yield f"  {key}: {note}"
    for finding in result.findings:
        yield f"  {finding.severity} {finding.kind} [{finding.group}] {_said(finding)}"
        for part, value in finding.witness.items():
            yield f"      {part}: {_witnessed(part, value)}"


def _numbers(result: Result) -> Iterable[tuple[str, str]]:
    from harness.columns import parted
    from harness.results import LADDER_PREFIXES, QUANTITIES
    from harness.units import number, threshold

    units = {quantity.name: quantity.unit for quantity in QUANTITIES}
    for name, measured in result.numbers.items():
        text = threshold(measured) if name.startswith(LADDER_PREFIXES) else number(measured)
        yield name, f"{text} {units.get(parted(name)[0], '')}".rstrip()


def _said(finding: Finding) -> str:
    return f"{finding.message}  known: {finding.known}" if finding.known else finding.message


def _witnessed(part: str, value: Any) -> str:
    """Returns a part of a witness as text; the certified ball in words."""
    if part != "ball" or not isinstance(value, Mapping):
        return str(value)
    kind, tier, middle, tail, radius, bits = (
        value.get(name, "not stated") for name in ("kind", "tier", "middle", "tail", "radius", "precision")
    )
    if kind != "enclosed":
        return f"{kind.replace('_', ' ')} ({tier}, {bits} bits)"
    return f"|exact - ({middle} + {tail})| <= {radius} ({tier}, {bits} bits)"


def _worst(run: Run, count: int) -> list[dict[str, Any]]:
    """Returns the worst distinct findings as rows."""
    from harness.distinct import distinct

    return [
        {
            "severity": one.finding.severity,
            "kind": one.finding.kind,
            "implementation": one.trial.implementation,
            "group": one.finding.group,
            "probe": one.finding.probe,
            "trials": one.trials,
            "trial": one.trial.id,
            "message": _said(one.finding),
        }
        for one in distinct(run.results)[:count]
    ]


def _listed(rows: list[dict[str, Any]], layout: str) -> str:
    if layout == "json":
        return json.dumps(rows, indent=1)
    if layout in TABLES:
        return table(layout, WORST, [[str(row[name]) for name in WORST] for row in rows])
    return (
        "\n".join(
            f"{row['severity']:<7} {row['kind']:<18} {row['implementation']} [{row['group']}] "
            f"x{row['trials']}  {row['trial']}\n        {row['message']}"
            for row in rows
        )
        or "nothing was found"
    )
