"""`lossgauge show`: everything that is stored about one trial, newest attempt of every probe."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.errors import UsageError, suggestion


@click.command("show", short_help="Show one trial.")
@click.argument("trial")
@click.option(
    "--run", "run_path", type=click.Path(path_type=Path), default=Path("runs/latest"), help="Run directory."
)
@click.option("--json", "as_json", is_flag=True, help="Print the stored lines as JSON.")
@click.pass_context
def command(ctx: click.Context, /, trial: str, run_path: Path, as_json: bool) -> None:
    """Print status, numbers, findings and witnesses of TRIAL (an id as in `lossgauge plan --ids`)."""
    from harness.results import LADDER_PREFIXES, QUANTITIES
    from harness.run import load_run
    from harness.trial import parse_trial
    from harness.units import number, threshold

    wanted = parse_trial(trial).id
    run = load_run(run_path)
    results = [result for result in run.results if result.trial.id == wanted]
    if not results:
        known = sorted({result.trial.id for result in run.results})
        raise UsageError(f"show {wanted}: {run_path} has no such trial.{suggestion(wanted, known)}")
    if as_json or ctx.obj["layout"] == "json":
        click.echo(json.dumps([result.to_json() for result in results], indent=1))
        return
    units = {quantity.name: quantity.unit for quantity in QUANTITIES}
    click.echo(wanted)
    for result in results:
        click.echo(f"\n{result.probe}: {result.status} {result.reason}".rstrip())
        for quantity_name, measured in result.numbers.items():
            unit = units.get(quantity_name, "")
            text = threshold(measured) if quantity_name.startswith(LADDER_PREFIXES) else number(measured)
            click.echo(f"  {quantity_name:<28} {text} {unit}".rstrip())
        for key, note in result.notes.items():
            click.echo(f"  {key}: {note}")
        for finding in result.findings:
            reason = f"  known: {finding.known}" if finding.known else ""
            click.echo(f"  {finding.severity} {finding.kind} [{finding.group}] {finding.message}{reason}")
            for part, value in finding.witness.items():
                click.echo(f"      {part}: {value}")
