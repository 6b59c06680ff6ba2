"""One file that loads nothing, trusts nobody's text, fits, and is the same bytes twice."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from reports.page import _breakable
from reports.report import write_report
from reports.tests import synthetic

VOID = {"meta", "input", "br", "use", "link", "wbr"}


class Reader(HTMLParser):
    """Collects tags and ids, and notes any end tag that closes another element than the open one."""

    # HTML lets these stay open: the matrix leaves out </td> to stay small.
    optional = frozenset({"td", "th", "li", "tr", "option"})

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.open, self.wrong = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in self.optional:
            self.open.pop()
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_report(synthetic.small(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def html(written):
    return written.read_text(encoding="utf-8")


def sections(html):
    return re.findall(r'<section id="([\w-]+)">', html)


def test_names_may_break_after_underscores_and_text_is_still_escaped(html):
    assert "<wbr>" in html
    assert {html[found.start() - 1] for found in re.finditer("<wbr>", html)} == {"_"}
    assert _breakable("a_b<script>_") == "a_<wbr>b&lt;script&gt;_<wbr>"


def test_three_files_are_written(written):
    assert {path.name for path in written.parent.iterdir()} == {"report.html", "report.md", "results.csv"}


def test_nothing_is_loaded(html):
    assert not re.findall(r"https?:", html)
    assert not re.findall(r"@import|url\((?!#)", html)
    for tag, attributes in Reader(html).tags:
        assert tag not in {"img", "link", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]


def test_hostile_text_stays_text(html):
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    scripts = [attributes for tag, attributes in Reader(html).tags if tag == "script"]
    assert scripts == [{"type": "text/plain", "id": "block"}, {}]


def test_only_our_script_may_run(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]{44}';", policy)


def test_markup_is_balanced_and_ids_are_unique(html):
    reader = Reader(html)
    assert reader.wrong == []
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    targets = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert targets <= set(reader.ids)


def test_sections_stand_in_the_order_of_decisions(html):
    assert sections(html) == [
        "which-one", "picture", "safe", "protocol", "identities", "bits", "breaks", "usual", "speed",
        "memory", "compilation", "findings", "method", "data",
    ]  # fmt: skip


def test_header_says_the_verdict_and_that_the_run_is_partial(html):
    sentence = re.search(r"<h1>(.*?)</h1>", html).group(1)
    assert sentence.startswith("Incomplete, 5 of 273 trials without a full answer.")
    assert "take compiled for float32 and bfloat16; logsumexp for float16" in sentence
    alarm = re.search(r'<div class="alarm".*?</div>', html, re.DOTALL).group(0)
    for words in ("did not finish", "2 crashed", "2 not run", "suite &#39;mine&#39;", "no longer occurs"):
        assert words in alarm


def test_figures_are_described_and_follow_the_page(html):
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(figures) == 3
    for figure in figures:
        assert 'role="img"' in figure
        assert re.search(r"<title id=[^>]*>[^<]+</title><desc id=[^>]*>[^<]+</desc>", figure)
        colours = set(re.findall(r"#[0-9a-f]{6}\b", figure))
        assert colours <= {"#000000", "#ffffff"}, "a sentinel colour was not replaced"
    assert "naive 11.2 ms, NaN or inf" in figures[0]


def test_tables_are_accessible(html):
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert "<caption" in table
        assert 'scope="col"' in table


def test_matrix_words(html):
    matrix = re.search(r'<table class="matrix">.*?</table>', html, re.DOTALL).group(0)
    for words in (">NaN", ">inf", ">known grad 0", ">n/a", ">crash", ">0.5"):
        assert words in matrix


def test_fused_is_a_badge_beside_the_implementation_and_is_explained(html):
    speed = re.search(r'<section id="speed">.*?</section>', html, re.DOTALL).group(0)
    badged = re.findall(r'<th scope="row"[^>]*>(\w+) <span class="badge">fused</span>', speed)
    assert badged == ["compiled", "compiled"]
    assert "fused: forward already computes the gradient" in speed
    memory = re.search(r'<section id="memory">.*?</section>', html, re.DOTALL).group(0)
    assert "badge" not in memory


def test_findings_show_witness_reason_and_upstream(html):
    table = html[html.index('<section id="findings">') :]
    assert "0x1.8p+6" in table
    assert "known: the target&#39;s gradient is p - 1" in table
    assert "github.com/pytorch/pytorch/issues/1" in table


def test_block_holds_every_row_and_keeps_nan(html):
    text = re.search(r'id="block">(.*?)</script>', html, re.DOTALL).group(1)
    data = json.loads(gzip.decompress(base64.b64decode(text)))
    assert data["rows"] == 273
    assert all(len(column["codes"]) == 273 for column in data["texts"].values())
    assert "nan" in data["numbers"]["loss_ulps"]
    assert None in data["numbers"]["seconds"]


def test_the_same_run_gives_the_same_bytes(tmp_path, html):
    again = write_report(synthetic.small(tmp_path / "again")).read_text(encoding="utf-8")
    assert again == html


@pytest.mark.parametrize(
    ("probes", "absent"),
    [
        (("timing",), ("Nothing was timed",)),
        (("memory",), ("Memory was not measured",)),
        (("timing", "memory", "compilation", "overflow"), ("Nothing was compiled", "No ladder was climbed")),
    ],
)
def test_a_run_without_some_probes_says_so(tmp_path, probes, absent):
    html = write_report(synthetic.without(synthetic.small(tmp_path), *probes)).read_text(encoding="utf-8")
    for words in absent:
        assert words in html


def test_a_run_without_any_result_recommends_nothing(tmp_path):
    run = synthetic.small(tmp_path)
    html = write_report(type(run)(run.path, run.manifest, ())).read_text(encoding="utf-8")
    assert "Nothing was measured: 273 not run. Nothing can be recommended." in html


def test_a_run_of_only_unsupported_trials_recommends_nothing(tmp_path):
    run = synthetic.small(tmp_path)
    refused = tuple(r for r in run.results if r.status == "unsupported")
    case = refused[0].trial.case.id
    blocks = [{"case": case, "probes": {"compiled": ["admission"]}}]
    only = tuple(r for r in refused if r.trial.case.id == case)
    html = write_report(type(run)(run.path, {**run.manifest, "plan": {"blocks": blocks}}, only)).read_text(
        "utf-8"
    )
    assert "Nothing was measured: 1 unsupported." in html


def test_a_manifest_with_nothing_but_schema_and_plan_is_enough(tmp_path):
    html = write_report(synthetic.empty(tmp_path)).read_text(encoding="utf-8")
    assert "nothing can be said" in html
    run = synthetic.small(tmp_path)
    bare = type(run)(tmp_path, {"schema": 1, "plan": run.manifest["plan"]}, run.results)
    assert len(sections(write_report(bare).read_text(encoding="utf-8"))) == 14


@pytest.mark.parametrize(("count", "folded"), [(5, False), (12, True)])
def test_a_long_list_of_what_was_left_out_is_folded_and_complete(tmp_path, count, folded):
    run = synthetic.small(tmp_path)
    left = [f"question {n} is for another profile" for n in range(count)]
    html = write_report(type(run)(tmp_path, {**run.manifest, "left_out": left}, run.results)).read_text(
        "utf-8"
    )
    assert (f"<summary><b>Left out of the run</b>: {count + 1} sentences" in html) is folded
    assert all(f"<li>Left out: {item}</li>" in html for item in left)
    assert "<li>Skipped device cuda" in html


def test_a_control_with_findings_is_an_alarm(tmp_path):
    run = synthetic.small(tmp_path)
    facts = run.manifest["suites"]["cross_entropy"]
    facts["implementations"]["naive"] = {**facts["implementations"]["naive"], "control": True}
    html = write_report(run).read_text(encoding="utf-8")
    assert "The clean control naive has findings in cross_entropy float32" in html


def test_24_000_trials_fit_into_3_mb(tmp_path):
    run = synthetic.large(tmp_path, 24_000)
    started = time.process_time()
    html = write_report(run)
    sys.stdout.write(f"{time.process_time() - started:.2f} s of CPU, {html.stat().st_size:,} bytes\n")
    assert html.stat().st_size < 3_000_000
    assert (tmp_path / "report.md").stat().st_size <= 60_000
    assert html.read_text(encoding="utf-8").count('<th scope="row">') < 4_000


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize(("width", "cued"), [(500, True), (1600, False)])
def test_a_matrix_that_is_wider_than_the_window_says_so(written, tmp_path, width, cued):
    answer = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},900", "--virtual-time-budget=3000", "--dump-dom", written.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    css = re.search(r'<div class="(scroll[^"]*)"[^>]*aria-label="Outcomes of', answer.stdout).group(1).split()
    assert ({"wide", "after"} <= set(css)) is cued


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_script_runs_in_a_browser_without_network(written, tmp_path):
    # The page itself is left as it is; the test script is appended to a copy whose policy allows it.
    html = written.read_text(encoding="utf-8")
    html = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html)
    page = tmp_path / "page.html"
    page.write_text(html + _CLICKS, encoding="utf-8")
    answer = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--proxy-server=127.0.0.1:9", "--virtual-time-budget=4000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = re.search(r"<title>(.*?)</title>", answer.stdout).group(1)
    assert told == "3 of 273 trials match|naive naive naive|NaN|descending"


_CLICKS = """<script>
addEventListener("load", async () => {
  const form = document.getElementById("filters");
  form.elements.search.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
  await new Promise((done) => setTimeout(done, 300));
  form.elements.implementation.value = "naive";
  form.elements.search.value = "near_overflow spurious";
  form.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => setTimeout(done, 300));
  const table = document.getElementById("rows");
  table.tHead.rows[0].cells[9].firstChild.click();
  await new Promise((done) => setTimeout(done, 300));
  const rows = [...table.tBodies[0].rows];
  document.title = [
    document.getElementById("shown").value,
    rows.map((row) => row.cells[6].textContent).join(" "),
    rows[0].cells[9].textContent,
    table.tHead.rows[0].cells[9].getAttribute("aria-sort"),
  ].join("|");
});
</script>"""
