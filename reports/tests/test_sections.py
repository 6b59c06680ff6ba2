"""Which one, for many suites at a glance; who is left out, all of them; who answers another question."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from harness.discovery import Selection, discover
from harness.manifest import suite_forms
from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports import sections
from reports.declared import Declared
from reports.markdown import MOST_BYTES
from reports.ranking import standings
from reports.records import records
from reports.report import write_report
from reports.speed import choices
from reports.tests import synthetic
from reports.verdict import sentence

PROBES = ("accuracy", "protocol", "overflow", "timing")
WRONG = Finding("spurious_nan", "error", "accuracy", "loss", "NaN")


def answers(suite, name, seconds, *findings, dtype="float32"):
    trial = Trial(Case(suite, "mean", "unit_normal", dtype, "cpu", 64, 10, 1), name)
    numbers = {
        "accuracy": {"loss_ulps": 0.5, "gradient_ulps": 1.0},
        "timing": {"seconds": seconds, "seconds_low": seconds * 0.99, "seconds_high": seconds * 1.01,
                   "ratio": seconds / 1e-3, "ratio_low": seconds / 1.01e-3, "ratio_high": seconds / 0.99e-3},
    }  # fmt: skip
    return [
        Result(trial, probe, "ok", "", findings if probe == "accuracy" else (), numbers.get(probe, {}))
        for probe in PROBES
    ]


def run_of(path, results, suites):
    return Run(path, {"schema": 1, "plan": {"blocks": []}, "suites": suites}, tuple(results))


def form(*wrong, **definitions):
    """Returns the declaration of one suite: native, mine and as many wrong ones, with their definitions."""
    names = ("native", "mine", *wrong)
    return {
        "options": {"reduction": "'mean'", "epsilon": "1e-06", "log_floor": "-inf"},
        "variants": {"mean": "every option neutral", "total": "reduction='sum', epsilon=0.5"},
        "implementations": {
            name: {"baseline": name == "native", "definition": definitions.get(name, {})} for name in names
        },
    }


def many(path, suites=4):
    """Returns a run of some suites: mine is 2x faster than native, in the second all are wrong."""
    results, forms = [], {}
    for place in range(suites):
        suite, bad = f"suite_{place}", (WRONG,) if place == 1 else ()
        forms[suite] = form(*(f"wrong_{n}" for n in range(8)))
        for dtype in ("float64", "float32"):
            results += answers(suite, "native", 1e-3, *bad, dtype=dtype)
            results += answers(suite, "mine", 5e-4, *bad, dtype=dtype)
        for n in range(8):
            results += answers(suite, f"wrong_{n}", 1e-4, WRONG)
    return run_of(path, results, forms)


def decided(run):
    rows = records(run)
    ranks = standings(rows)
    return rows, ranks, choices(rows, ranks)


def test_many_suites_have_a_row_each_with_a_column_per_dtype(tmp_path):
    _, _, found = decided(many(tmp_path))
    table = sections.overview(found)
    assert table.heads == ("suite", "float64", "float32")
    first, second = table.rows[:2]
    assert [cell.text for cell in first] == ["suite_0", "mine", "mine"]
    assert first[1][1:3] == ("best", "2.00x faster")
    assert (second[2].text, second[2].css, second[2].small) == ("none", "e", "10 excluded")


def test_the_baseline_and_a_tie_are_said_in_the_overview(tmp_path):
    results = [r for n in range(4) for r in answers(f"suite_{n}", "native", 1e-3)]
    results += [r for n in range(4) for r in answers(f"suite_{n}", "mine", 1e-3 if n else 2e-3)]
    _, _, found = decided(run_of(tmp_path, results, {f"suite_{n}": form() for n in range(4)}))
    assert {row[1].small for row in sections.overview(found).rows} == {"the baseline"}


def test_devices_have_columns_of_their_own(tmp_path):
    run = many(tmp_path)
    moved = tuple(
        replace(r, trial=replace(r.trial, case=replace(r.trial.case, device="cuda"))) for r in run.results
    )
    _, _, found = decided(Run(tmp_path, run.manifest, (*run.results, *moved)))
    assert sections.overview(found).heads == (
        "suite", "float64, cpu", "float64, cuda", "float32, cpu", "float32, cuda",
    )  # fmt: skip
    part = sections.which_one(found)[0]
    assert part.words == "recommended in 4 of 4 combinations"
    assert {row[0].small for row in part.tables[0].rows} == {"cpu", "cuda"}


def test_few_suites_need_no_overview_and_stay_open(tmp_path):
    _, _, found = decided(many(tmp_path, 3))
    assert sections.overview(found) is None
    html = write_report(many(tmp_path, 3)).read_text(encoding="utf-8")
    folds = re.findall(r'<details class="fold"( open)?><summary><b>suite_', html)
    assert folds
    assert all(folds)


def test_with_many_suites_every_section_is_folded_by_suite_and_linked(tmp_path):
    html = write_report(many(tmp_path)).read_text(encoding="utf-8")
    folds = re.findall(r'<details class="fold"( open)?><summary><b>suite_', html)
    assert len(folds) >= 4 * 4  # which one, picture, safe, speed, findings
    assert not any(folds)
    for place in range(4):
        assert f'href="#{sections.anchor(place)}"' in html
        assert f'<div id="{sections.anchor(place)}">' in html
    assert "Why, suite by suite" in html


def test_everybody_who_is_left_out_is_there_behind_the_first_few(tmp_path):
    _, _, found = decided(many(tmp_path))
    cell = sections.rejected(next(c for c in found if c.dtype == "float32"))
    assert len(cell.small.splitlines()) == 3
    assert [line.partition(":")[0] for line in (*cell.small.splitlines(), *cell.more)] == [
        f"wrong_{n}" for n in range(8)
    ]
    html = write_report(many(tmp_path)).read_text(encoding="utf-8")
    (first, *_) = re.findall(r'<details class="more"><summary>and 5 more</summary><small>(.*?)</small>', html,
                             re.DOTALL)  # fmt: skip
    assert len(first.splitlines()) == 5
    assert "wrong_7: NaN in 1 of 1 case" in first


def test_one_more_than_the_first_few_is_not_folded(tmp_path):
    results = [
        *answers("s", "mine", 1e-3),
        *(r for n in range(4) for r in answers("s", f"w{n}", 1e-3, WRONG)),
    ]
    _, _, found = decided(run_of(tmp_path, results, {}))
    cell = sections.rejected(found[0])
    assert (len(cell.small.splitlines()), cell.more) == (4, ())


def test_the_markdown_has_the_overview_and_the_reasons_behind_it(tmp_path):
    write_report(many(tmp_path))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| suite | float64 | float32 |" in text
    assert "| suite_0 | ★ mine (2.00x faster) | ★ mine (2.00x faster) |" in text
    assert text.count("<details><summary>suite_") == 4
    assert "excluded: wrong_0, wrong_1, wrong_2, wrong_3, wrong_4, wrong_5, wrong_6, wrong_7" in text


def test_the_markdown_of_60_suites_keeps_to_its_size_and_says_what_it_left_out(tmp_path):
    write_report(many(tmp_path, 60))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    assert "| suite_59 |" in text
    assert re.search(r"The reasons of \d+ further suites stand in report.html", text)
    assert "## Findings" in text


def test_what_answers_another_definition_is_neither_recommended_nor_runner_up(tmp_path):
    results = [*answers("s", "native", 1e-3), *answers("s", "mine", 1e-4), *answers("s", "slow", 2e-3)]
    suites = {"s": form("slow", mine={"reduction": "'sum'"})}
    _, ranks, (choice,) = decided(run_of(tmp_path, results, suites))
    assert choice.recommended.group.implementation == "native"
    assert choice.runner_up.group.implementation == "slow"
    assert choice.reason.startswith("fastest of the 2")
    assert sections.rejected(choice).small == "answers another definition: mine (reduction sum, not mean)"
    assert [s.rank for g, s in ranks.items() if g.implementation == "mine"] == ["rankable"]
    old = run_of(tmp_path, results, {"s": form("slow")})
    for facts in old.manifest["suites"]["s"]["implementations"].values():
        del facts["definition"]
    _, _, (choice,) = decided(old)
    assert choice.recommended.group.implementation == "mine"


def test_where_only_another_definition_is_right_it_is_said_and_nobody_is_recommended(tmp_path):
    results = [*answers("s", "native", 1e-3, WRONG), *answers("s", "mine", 1e-4)]
    _, _, (choice,) = decided(run_of(tmp_path, results, {"s": form(mine={"reduction": "'sum'"})}))
    assert choice.recommended is None
    assert choice.nearest == (
        "nobody is free of errors; nearest is native: NaN in 1 of 1 case; free of errors under another "
        "definition: mine"
    )


@pytest.mark.parametrize(
    ("mine", "native", "variant", "words"),
    [
        ({"reduction": "'sum'"}, {}, "mean", "reduction sum, not mean"),
        ({"reduction": "'sum'"}, {}, "total", ""),
        ({"epsilon": "0.0"}, {}, "mean", "epsilon 0, not 1e-06"),
        ({"epsilon": "0.0"}, {}, "total", "epsilon 0, not 0.5"),
        ({"epsilon": "1e-06"}, {}, "mean", ""),
        ({}, {"log_floor": "-100.0"}, "mean", "log floor -inf, not -100"),
        ({"log_floor": "-100.0"}, {"log_floor": "-100.0"}, "mean", ""),
        ({"log_floor": "-50.0"}, {"log_floor": "-100.0"}, "never declared", "log floor -50, not -100"),
    ],
)
def test_a_definition_is_compared_with_the_baselines_in_the_variant(mine, native, variant, words):
    declared = Declared({"suites": {"s": form(mine=mine, native=native)}})
    assert declared.maker("s", "mine").definition(variant) == words


def test_a_manifest_says_what_a_contract_declares():
    # By name, at run time: reports know nothing of suites.
    facts = suite_forms(discover(Selection(("soft_margin",))).suites)
    declared = Declared({"suites": facts})
    assert declared.maker("soft_margin", "text_sum").definition("mean") == "reduction sum, not mean"
    assert declared.maker("soft_margin", "native").definition("mean") == ""
    assert declared.families["soft_margin"].identities


def test_the_sentence_on_many_suites_says_where_a_safe_choice_exists(tmp_path):
    assert sentence(*decided(many(tmp_path))) == (
        "A safe implementation is recommended in every dtype for 3 of 4 suites, in none for suite_1. "
        "34 of 40 implementations are wrong somewhere."
    )
    kept = [r for r in many(tmp_path).results if r.trial.case.suite != "suite_1"]
    run = run_of(tmp_path, kept, many(tmp_path).manifest["suites"])
    assert sentence(*decided(run)).startswith(
        "A safe implementation is recommended in every dtype for all of 3 suites. "
    )
    some = [r for r in kept if r.trial.case.dtype == "float64" or r.trial.implementation.startswith("wrong")]
    assert "for 0 of 3 suites, in some for suite_0, suite_2 and suite_3. 24 of 30" in sentence(
        *decided(run_of(tmp_path, some, many(tmp_path).manifest["suites"]))
    )
    bad = [r for r in many(tmp_path).results if r.trial.implementation.startswith("wrong")]
    assert sentence(*decided(run_of(tmp_path, bad, {}))).startswith("Nothing can be recommended in any of 4")


def test_findings_are_grouped_by_suite_and_each_suite_keeps_some(tmp_path):
    html = write_report(many(tmp_path)).read_text(encoding="utf-8")
    part = re.search(r'<section id="findings">.*?</section>', html, re.DOTALL)[0].replace("<wbr>", "")
    assert re.findall(r"<summary><b>(suite_\d)</b>: (\d+ errors)", part) == [
        ("suite_0", "8 errors"), ("suite_1", "12 errors"), ("suite_2", "8 errors"), ("suite_3", "8 errors"),
    ]  # fmt: skip
    assert part.count("<table") == 4


# Of every name that takes several lines: the letter that each line but the last one ends in.
_ENDS = """<script>addEventListener("load", () => {
  const ends = [];
  for (const cell of document.querySelectorAll(".glance tbody th, .glance tbody td a, .glance tbody td")) {
    const letters = [];
    const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) for (let i = 0; i < walk.currentNode.length; i++) {
      const range = document.createRange();
      range.setStart(walk.currentNode, i); range.setEnd(walk.currentNode, i + 1);
      const box = range.getClientRects()[0];
      if (box) letters.push([walk.currentNode.data[i], box.top, walk.currentNode.parentNode]);
    }
    letters.forEach(([letter, top, node], i) => {
      const next = letters[i + 1];
      if (next && next[2] === node && next[1] > top + 3) ends.push(letter);
    });
  }
  document.title = "ends " + ends.join("");
});</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("joints", [True, False])
def test_a_name_breaks_at_its_joints_on_a_phone(joints, tmp_path):
    run = many(tmp_path)
    long = ("binary_cross_entropy_with_logits", "multilabel_soft_margin", "cosine_embedding", "kl_div")
    names = {f"suite_{number}": name for number, name in enumerate(long)}
    results = [
        replace(r, trial=replace(r.trial, case=replace(r.trial.case, suite=names[r.trial.case.suite])))
        for r in run.results
    ]
    run = replace(run, manifest={**run.manifest, "plan": {}}, results=tuple(results))
    html = write_report(run).read_text(encoding="utf-8")
    html = (
        html
        if joints
        else html.replace("<wbr>", "").replace("overflow-wrap: break-word", "overflow-wrap: anywhere")
    )
    page = tmp_path / "page.html"
    page.write_text(
        re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html) + _ENDS, encoding="utf-8"
    )
    answer = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=400,900", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    ends = re.search(r"<title>ends (.*)</title>", answer.stdout)[1]
    assert len(ends) >= 2
    # Without joints a browser breaks inside of words, which is what this test is there to see.
    assert (set(ends) <= {"_", " "}) is joints, ends


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_which_one_needs_no_sideways_scrolling_at_1280(tmp_path):
    run = synthetic.large(tmp_path, 600, 8)
    for name in ("naive", "logsumexp"):  # long names and long causes
        run.manifest["suites"]["family_0"]["implementations"][name]["definition"] = {"reduction": "'sum'"}
    html = write_report(run).read_text(encoding="utf-8").replace("<details", "<details open")
    page = tmp_path / "page.html"
    page.write_text(
        re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html) + _WIDTHS, encoding="utf-8"
    )
    answer = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1280,900", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    tables, over, wide = re.search(r"<title>(\d+) (\d+) (\d+)</title>", answer.stdout).groups()
    assert int(tables) == 1 + 8
    assert int(over) == 0
    assert int(wide) <= 1280


_WIDTHS = """<script>
addEventListener("load", () => {
  const places = [...document.querySelectorAll("#which-one .scroll")];
  const over = places.filter((place) => place.scrollWidth > place.clientWidth + 1);
  document.title = `${places.length} ${over.length} ${document.documentElement.scrollWidth}`;
});
</script>"""


def test_the_sentence_on_one_suite_counts_who_is_unsafe_and_names_the_worst(tmp_path):
    results = [r for r in many(tmp_path).results if r.trial.case.suite == "suite_0"]
    wrong = sorted({r.trial.implementation for r in results if r.trial.implementation.startswith("wrong")})
    manifest = many(tmp_path).manifest["suites"]
    text = sentence(*decided(run_of(tmp_path, results, manifest)))
    assert text.startswith(f"{len(wrong)} of 10 implementations are unsafe in some dtype (worst: wrong")
    one = [r for r in results if r.trial.implementation not in wrong[1:]]
    text = sentence(*decided(run_of(tmp_path, one, manifest)))
    assert text.startswith(f"1 of {11 - len(wrong)} implementations is unsafe in some dtype ({wrong[0]} in ")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_caption_is_read_whole_on_a_narrow_screen(tmp_path):
    html = write_report(synthetic.small(tmp_path)).read_text(encoding="utf-8")
    page, frame = tmp_path / "page.html", tmp_path / "frame.html"
    page.write_text(
        re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html) + _CAPTIONS, encoding="utf-8"
    )
    # A window of the browser is at least 500 wide, a frame is as narrow as a telephone.
    frame.write_text(
        f'<iframe src="{page.name}" style="width:400px;height:9000px"></iframe><script>'
        'addEventListener("message", (event) => { document.title = event.data; });</script>',
        encoding="utf-8",
    )
    answer = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=600,900", "--virtual-time-budget=3000", "--dump-dom", frame.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    captions, over = re.search(r"<title>(\d+) (\d+)</title>", answer.stdout).groups()
    assert int(captions) > 3
    assert int(over) == 0


_CAPTIONS = """<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
  const captions = [...document.querySelectorAll("caption:not(.unseen)")];
  const over = captions.filter((each) => each.getBoundingClientRect().right > innerWidth + 1);
  parent.postMessage(`${captions.length} ${over.length}`, "*");
});
</script>"""
