"""`lossgauge report`: HTML, Markdown and CSV again from stored data; needs no torch."""

from __future__ import annotations

import shutil
import webbrowser
from pathlib import Path

import click

from harness.errors import UsageError, writing


@click.command("report", short_help="Write the report again.")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Copy the page of a single run here.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option("--title", default="", metavar="TEXT", help="Title of the page (default: the run's name).")
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="N",
    help="Leave data out of a page that would be larger.",
)
@click.option("--no-raw", is_flag=True, help="Put no block of all rows into the page.")
def command(
    runs: tuple[Path, ...], output: Path | None, open_page: bool, title: str, max_mb: float, no_raw: bool
) -> None:
    """Write report.html, report.md and results.csv of run directories (default runs/latest)."""
    if output is not None and len(runs) > 1:
        raise UsageError(f"report -o {output}: takes one run, {len(runs)} were given.")
    from harness.run import load_run
    from reports.look import Look
    from reports.report import write_report

    look = Look(title, max_mb, block=not no_raw)
    for path in runs or (Path("runs/latest"),):
        page = write_report(load_run(path), look, lambda sentence: click.echo(sentence, err=True))
        if output is not None:
            with writing(output, "give -o a file in a folder that exists and takes files", UsageError):
                page = Path(shutil.copyfile(page, output))
        click.echo(f"report {page}")
        if open_page:
            webbrowser.open(page.resolve().as_uri())
