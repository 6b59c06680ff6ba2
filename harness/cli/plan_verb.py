"""`lossgauge plan`: what a run would measure, what it leaves out and why; runs nothing."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from harness.cli.axes import axes_options, settled_plan
from harness.cli.rows import TABLES, table
from harness.units import count


@click.command("plan", short_help="Show what a run would measure.")
@axes_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan and every setting's source as JSON.")
@click.option("--ids", is_flag=True, help="Print one trial id per line with its probes.")
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, ids: bool, **flags: Any) -> None:
    """List blocks, trials, probes, compiled artefacts, refusals and what the profile leaves out."""
    settled, discovered, plan = settled_plan(flags)
    compiled = frozenset(
        (suite.name, item.name)
        for suite in discovered.suites.values()
        for item in suite.implementations
        if item.compiled
    )
    if as_json or ctx.obj["layout"] == "json":
        form = {
            "hash": plan.hash,
            "trials": plan.trials,
            "artefacts": plan.artefacts(compiled),
            "blocks": [block.to_json() for block in plan.blocks],
            "refusals": [
                {"trial": r.trial.id, "status": r.status, "reason": r.reason} for r in plan.refusals
            ],
            "absent": [a.__dict__ for a in plan.absent],
            "left_out": list(plan.left_out),
            "config": settled.sources,
        }
        click.echo(json.dumps(form, indent=1, default=str))
        return
    if ctx.obj["layout"] in TABLES:
        click.echo(table(ctx.obj["layout"], ("trial", "status", "probes", "reason"), _trials(plan)))
        for sentence in _left_out(plan, discovered):
            click.echo(sentence, err=True)
        return
    if ids:
        for block in plan.blocks:
            for name, probes in block.probes.items():
                click.echo(f"{block.case.id}/{name}  {','.join(probes)}")
        for refusal in plan.refusals:
            click.echo(f"{refusal.trial.id}  {refusal.status}: {refusal.reason}")
        return
    probes = Counter(probe for block in plan.blocks for asked in block.probes.values() for probe in asked)
    click.echo(f"plan {plan.hash}: {count(plan.trials)} trials in {count(len(plan.blocks))} blocks")
    click.echo("probes: " + ", ".join(f"{probe} {count(number)}" for probe, number in sorted(probes.items())))
    click.echo(f"compiled artefacts: {plan.artefacts(compiled)}")
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for refusal in plan.refusals:
        reasons.setdefault((refusal.status, refusal.reason), Counter())[refusal.trial.implementation] += 1
    for (status, reason), names in sorted(reasons.items()):
        listed = ", ".join(f"{name} ({count(number)})" for name, number in sorted(names.items()))
        click.echo(f"{status}: {reason}: {listed}")
    for sentence in _left_out(plan, discovered):
        click.echo(sentence)


def _trials(plan: Any) -> list[tuple[str, str, str, str]]:
    """Returns a row per trial: planned ones with their probes, then refused ones with their reason."""
    planned = [
        (f"{block.case.id}/{name}", "planned", " ".join(probes), "")
        for block in plan.blocks
        for name, probes in block.probes.items()
    ]
    return planned + [(r.trial.id, r.status, "", r.reason) for r in plan.refusals]


def _left_out(plan: Any, discovered: Any) -> list[str]:
    """Returns what no trial stands for: absent devices, what the profile leaves out, broken suites."""
    absent = [f"skipped {a.axis} {a.value}: {a.reason}" for a in plan.absent]
    return absent + [f"left out: {sentence}" for sentence in (*plan.left_out, *discovered.broken)]
