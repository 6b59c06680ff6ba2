"""`lossgauge report`: HTML, Markdown and CSV again from stored data; needs no torch."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click


@click.command("report", short_help="Write the report again.")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
def command(runs: tuple[Path, ...], open_page: bool) -> None:
    """Write report.html, report.md and results.csv of run directories (default runs/latest)."""
    from harness.run import load_run
    from reports.report import write_report

    for path in runs or (Path("runs/latest"),):
        page = write_report(load_run(path))
        click.echo(f"report {page}")
        if open_page:
            webbrowser.open(page.resolve().as_uri())
