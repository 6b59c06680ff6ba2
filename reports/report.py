"""The files that a run leaves for people: results.csv, report.html, report.md.

Records are joined and ranked once and handed to every writer, so the three cannot disagree. The
trap: a report is written into the run directory, which a run that died early may not have made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.errors import writing
from harness.run import Run
from reports.frame import write_csv
from reports.look import Look
from reports.markdown import markdown
from reports.page import page
from reports.ranking import standings
from reports.records import records
from reports.speed import choices

HTML, MARKDOWN, CSV = "report.html", "report.md", "results.csv"
NEXT = "make room, or copy the run to a folder that takes files, and use `lossgauge report RUN`"


def write_report(run: Run, look: Look = Look(), tell: Callable[[str], None] | None = None) -> Path:  # noqa: B008 - frozen
    """Writes results.csv, report.html and report.md into the run's directory; returns the HTML path.

    `tell` hears what the page had to leave out to keep to its size. Raises StorageError where the
    folder takes no files.
    """
    rows = records(run)
    ranks = standings(rows)
    found = choices(rows, ranks)
    html = run.path / HTML
    text, left_out = page(run, rows, ranks, found, look)
    with writing(run.path, NEXT):
        run.path.mkdir(parents=True, exist_ok=True)
        write_csv(rows, ranks, run.path / CSV)
        html.write_text(text, encoding="utf-8")
        (run.path / MARKDOWN).write_text(markdown(run, rows, ranks, found), encoding="utf-8")
    if left_out and tell is not None:
        tell(left_out)
    return html
