"""What a caller may choose of a page: its title, its size, and whether all rows travel in it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from reports.look import MEGABYTE, Contents, Look, fitted
from reports.report import write_report
from reports.tests import synthetic


def written(path, **chosen):
    """Returns the page, and what was told while it was written."""
    told = []
    page = write_report(synthetic.small(path), Look(**chosen), told.append)
    return page.read_text(encoding="utf-8"), told


def data_rows(html):
    table = re.search(r'<table[^>]* id="rows">.*?</table>', html, re.DOTALL)
    return table.group(0).count('<th scope="row">') if table else None


def said(html):
    found = re.search(r'id="left-out">(.*?)</p>', html)
    return found.group(1) if found else ""


def test_a_page_has_all_rows_and_the_runs_name_unless_something_else_is_asked_for(tmp_path):
    html, told = written(tmp_path)
    assert "<title>lossgauge synthetic</title>" in html
    assert '<p class="brand">lossgauge</p>' in html
    assert data_rows(html) == 273
    assert (said(html), told) == ("", [])


def test_a_title_stands_in_the_title_and_the_header_as_text(tmp_path):
    html, _ = written(tmp_path, title="<b>Nightly</b> & co")
    assert "<title>&lt;b&gt;Nightly&lt;/b&gt; &amp; co</title>" in html
    assert '<p class="brand">lossgauge · &lt;b&gt;Nightly&lt;/b&gt; &amp; co</p>' in html


def test_without_the_block_the_page_names_the_file_that_has_every_trial(tmp_path):
    html, told = written(tmp_path, block=False)
    assert 'id="block"' not in html
    assert 'id="filters"' not in html
    assert data_rows(html) == 273
    assert "no block of all rows; results.csv holds every trial" in said(html)
    assert told == []


def test_rows_go_first_then_the_block_and_both_are_told(tmp_path):
    whole = len(written(tmp_path)[0].encode())
    bare = len(written(tmp_path, most_mb=1e-6)[0].encode())
    html, told = written(tmp_path, most_mb=(whole - 1) / MEGABYTE)
    assert data_rows(html) == 0
    assert 'id="block"' in html
    assert told == [said(html).removeprefix("<i>!</i> ")]
    assert "the rows of the data table; JavaScript draws them" in told[0]
    assert len(html.encode()) < whole
    html, told = written(tmp_path, most_mb=(bare + 100) / MEGABYTE)
    assert data_rows(html) is None
    assert 'id="block"' not in html
    assert "and the block of all rows; results.csv holds every trial" in told[0]
    html, told = written(tmp_path, most_mb=1e-6)
    assert told[0].endswith("The page is larger all the same.")
    assert "</html>" in html


@pytest.mark.parametrize(
    ("most", "block", "contents"),
    [
        (300, True, Contents(True, True)),
        (299, True, Contents(False, True)),
        (150, True, Contents(False, True)),
        (149, True, Contents(False, False)),
        (149, False, Contents(False, False)),
        (200, False, Contents(True, False)),
        (10, True, Contents(False, False)),
    ],
)
def test_the_largest_that_fits_is_chosen_and_the_limit_itself_fits(most, block, contents):
    sizes = {(True, True): 300, (True, False): 200, (False, True): 150, (False, False): 100}
    seen = []

    def write(wanted, sentence):
        seen.append(wanted)
        return "x" * sizes[wanted.rows, wanted.block]

    text, _ = fitted(Look(most_mb=most / MEGABYTE, block=block), write)
    assert seen[-1] == contents
    assert len(text) == sizes[contents.rows, contents.block]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_page_that_left_its_rows_out_draws_them_from_the_block(tmp_path):
    whole = len(written(tmp_path)[0].encode())
    written(tmp_path, most_mb=(whole - 1) / MEGABYTE)
    answer = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=4000", "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert data_rows(answer.stdout) == 273
