"""`lossgauge list`: what there is to choose from.

Suites stand first, adapters of released packages apart below them, and alone as `list adapters`. The trap:
an adapter cannot be loaded without its package, so all that is told of it is its declaration.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness.cli.list_adapters import HEADING, adapter_forms
from harness.cli.rows import TABLES, table
from harness.errors import UsageError, unknown

WHAT = (
    "suites",
    "implementations",
    "regimes",
    "variants",
    "dtypes",
    "devices",
    "probes",
    "adapters",
    "runs",
)


@click.command("list", short_help="List what there is.")
@click.argument("what", default="suites")
@click.option("--suite", multiple=True, help="Only this suite, file.py or module:SUITE.")
@click.option(
    "--describe", metavar="SUITE", help="Print the page of a suite: a name, file.py or module:SUITE."
)
@click.option("--table", "as_table", is_flag=True, help="Print what every suite declares, counted.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    what: str,
    suite: tuple[str, ...],
    describe: str | None,
    as_table: bool,
    as_json: bool,
) -> None:
    """List suites (default), implementations, regimes, variants, dtypes, devices, probes, adapters or runs.

    Adapters hold released packages against the suites; they stand below the suites and are asked apart.
    """
    if describe is not None:
        click.echo(_page(describe), nl=False)
        return
    if what not in WHAT:
        raise UsageError(unknown(f"list {what}", "list of", what, WHAT))
    layout = "json" if as_json else ctx.obj["layout"]
    if as_table:
        click.echo(_counted(suite, layout))
        return
    # Whoever names suites has said what to list.
    adapters = adapter_forms() if what == "adapters" or (what == "suites" and not suite) else []
    rows: list[tuple[str, str]] = []
    if what == "runs":
        rows = _runs()
    elif what != "adapters":
        rows = _rows(what, suite)
    apart = _named(adapters)
    if layout in TABLES:
        click.echo(table(layout, ("name", "about"), [*rows, *apart]))
        return
    if layout == "json":
        forms = [{"name": name, "about": about} for name, about in rows]
        click.echo(json.dumps([*forms, *adapters], indent=1))
        return
    between = ["", HEADING] if rows and apart else []
    for line in (*_aligned(rows), *between, *_aligned(apart)):
        click.echo(line)


def _named(adapters: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(form["name"], form["about"]) for form in adapters]


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {about}".rstrip() for name, about in rows]


def _page(reference: str) -> str:
    """Returns the page of the one suite that a reference names."""
    from harness.cli.description import described
    from harness.discovery import Selection, discover

    found = discover(Selection(suites=(reference,), known_bad=True))
    return "\n".join(described(suite) for suite in found.suites.values())


def _counted(references: tuple[str, ...], layout: str) -> str:
    """Returns the table of what the suites declare, with a line of sums, in the form that is asked for.

    Without references the adapters follow, uncounted.
    """
    from harness.cli.description import HEADS, counts
    from harness.discovery import Selection, discover

    found = discover(Selection(suites=references, known_bad=True))
    for sentence in found.broken:
        click.echo(sentence, err=True)
    numbers = {name: counts(suite) for name, suite in found.suites.items()}
    adapters = [] if references else adapter_forms()
    if layout == "json":
        forms = [dict(zip(HEADS, (name, *row), strict=True)) for name, row in numbers.items()]
        return json.dumps([*forms, *({HEADS[0]: form.pop("name"), **form} for form in adapters)], indent=1)
    sums = tuple(sum(column) for column in zip(*numbers.values(), strict=True))
    lines = [(name, *map(str, row)) for name, row in [*numbers.items(), (f"{len(numbers)} suites", sums)]]
    if layout in TABLES:
        apart = [(f"{name} ({about})", *[""] * (len(HEADS) - 1)) for name, about in _named(adapters)]
        return table(layout, HEADS, [*lines, *apart])
    widths = [max(len(line[place]) for line in (HEADS, *lines)) for place in range(len(HEADS))]
    counted = [
        "  ".join(
            f"{text:>{width}}" if place else f"{text:<{width}}" for place, (text, width) in cells
        ).rstrip()
        for cells in (list(enumerate(zip(line, widths, strict=True))) for line in (HEADS, *lines))
    ]
    if adapters:
        counted += ["", HEADING, *_aligned(_named(adapters))]
    return "\n".join(counted)


def _rows(what: str, references: tuple[str, ...]) -> list[tuple[str, str]]:
    from harness.plan import PROBES
    from harness.trial import DTYPES

    if what == "dtypes":
        return [(name, "") for name in DTYPES]
    if what == "probes":
        return [(name, "") for name in PROBES]
    if what == "devices":
        from harness.environment import absent_devices
        from harness.trial import DEVICES

        absent = absent_devices()
        return [(name, f"absent: {absent[name]}" if name in absent else "present") for name in DEVICES]
    from harness.discovery import Selection, discover

    found = discover(Selection(suites=references, known_bad=True))
    for sentence in found.broken:
        click.echo(sentence, err=True)
    from harness.cli.description import marked

    rows: list[tuple[str, str]] = []
    for suite in found.suites.values():
        if what == "suites":
            counts = (
                f"{len(suite.implementations)} implementations, {len(suite.variants)} variants, "
                f"{len(suite.regimes)} regimes, {len(suite.examples)} examples"
            )
            rows.append((suite.name, f"{suite.formula}  ({counts})".strip()))
        elif what == "implementations":
            rows += [(f"{suite.name}/{item.name}", marked(item)) for item in suite.implementations]
        elif what == "regimes":
            rows += [(f"{suite.name}/{item.name}", item.about) for item in suite.regimes]
        else:
            rows += [(f"{suite.name}/{item.name}", repr(item)) for item in suite.variants]
    return rows


def _runs() -> list[tuple[str, str]]:
    from harness.errors import RunError
    from harness.results import INCOMPLETE
    from harness.run import read_manifest

    rows = []
    for manifest in sorted(Path("runs").glob("*/manifest.json")):
        if manifest.parent.is_symlink():
            continue
        try:
            form = read_manifest(manifest)
        except RunError as error:
            # One damaged run hides none of the others.
            rows.append((str(manifest.parent), f"damaged: {error}"))
            continue
        state = "finished" if form.get("finished") else "stopped"
        missing = sum(form.get("coverage", {}).get(status, 0) for status in INCOMPLETE)
        state += f", {missing} incomplete" if missing else ""
        rows.append((str(manifest.parent), f"{form.get('started', '')}  {state}  {form.get('command', '')}"))
    return rows
