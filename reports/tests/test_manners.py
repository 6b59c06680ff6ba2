"""Who fails what is read in seconds: protocol, invalid input, same bits; alike is folded, unasked is said."""

from __future__ import annotations

import re

import pytest

from harness.results import Finding, Result
from harness.run import Run
from harness.trial import Case, Trial
from reports.bits import same_bits
from reports.declared import Declared
from reports.folding import dtypes_in_words, folded, names_in_words
from reports.manners import manners, sentences
from reports.markdown import markdown
from reports.matrix import matrices
from reports.questions import invalid, protocol
from reports.ranking import standings
from reports.records import records
from reports.report import write_report
from reports.speed import choices
from reports.tests import synthetic


def lines(table, *columns):
    return [tuple(row[place].text for place in columns) for row in table.rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return synthetic.questioned(tmp_path_factory.mktemp("questioned"))


@pytest.fixture(scope="module")
def html(run):
    return write_report(run).read_text(encoding="utf-8")


def section(html, name):
    return re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)[0]


def test_the_worst_stand_first_and_who_behaves_alike_shares_a_row(run):
    table = protocol(records(run), Declared(run.manifest))
    assert lines(table, 0, 1, 2)[:2] == [
        ("softmax_log", "all 3 dtypes", "strided inputs, two graphs alive"),
        ("naive", "all 3 dtypes", "zero rows"),
    ]
    assert ("logsumexp, native", "all 3 dtypes", "nothing") in {
        (", ".join(n for n in row[0].split(", ") if n in ("logsumexp", "native")), *row[1:])
        for row in lines(table, 0, 1, 2)
    }
    marks = {row[0].text: row[2].css for row in table.rows}
    assert (marks["softmax_log"], marks["naive"]) == ("e", "k")


def test_a_refusal_is_named_and_is_no_failure(run):
    table = protocol(records(run), Declared(run.manifest))
    (row,) = [row for row in table.rows if row[0].text == "compiled"]
    assert (row[2].text, row[3].text, row[4].text) == ("nothing", "second backward", "29 to 31")


def test_who_was_asked_nothing_has_no_clean_sheet(run):
    table = protocol(records(run), Declared(run.manifest))
    (row,) = [row for row in table.rows if "not asked in 1 of " in row[2].small]
    assert (row[0].text, row[1].text) == ("upcast", "float16")
    assert "the plain call fails" in row[2].small
    alone = [r for r in records(run) if r.status == "ok" and r.answers.get("protocol") == "skipped"]
    (row,) = protocol(alone, Declared(run.manifest)).rows
    assert row[2].text == "not asked"


def test_dtypes_that_differ_have_rows_of_their_own(tmp_path):
    wrong = Finding("layout", "error", "protocol", "strided inputs", "x")
    results = [
        Result(Trial(Case("s", "mean", "r", dtype, "cpu", 4, 3, 1), "one"), "protocol", "ok",
               findings=(wrong,) if dtype == "float16" else (), numbers={"questions": 5.0})
        for dtype in ("float64", "float32", "float16")
    ]  # fmt: skip
    table = protocol(records(Run(tmp_path, {"schema": 1, "plan": {}}, tuple(results))), Declared({}))
    assert lines(table, 1, 2) == [("float16", "strided inputs"), ("float64, float32", "nothing")]


def test_invalid_input_says_who_accepts_and_who_dies(run):
    table = invalid(records(run))
    found = lines(table, 0, 2, 3)
    assert found[0] == ("naive", "accepts: label_negative", "10 of 12")
    assert found[1] == ("compiled", "ends the process: labels", "not counted")
    assert found[2][1:] == ("refuses all", "12 of 12")
    assert "softmax_log" in found[2][0]


def test_the_sentences_name_who_fails(run):
    assert sentences({"s": records(run)}) == [
        "2 of 7 implementations answer a protocol question wrong: naive (zero rows); softmax_log "
        "(strided inputs, two graphs alive).",
        "Invalid input: answered with a number: naive; ended the process: compiled.",
    ]


def suites_of(tmp_path, *asked):
    """Returns the records by suite; (suite, status, findings, notes) each, of two implementations."""
    results = [
        Result(Trial(Case(suite, "mean", "r", "float32", "cpu", 4, 3, 1), name), "protocol", status,
               findings=findings, numbers={"questions": 5.0}, notes=notes)
        for suite, status, findings, notes in asked for name in ("one", "two")
    ]  # fmt: skip
    rows = records(Run(tmp_path, {"schema": 1, "plan": {}}, tuple(results)))
    return {name: [row for row in rows if row.trial.case.suite == name] for name, *_ in asked}


def test_suites_in_which_nobody_fails_share_a_sentence_and_the_others_have_a_part(tmp_path):
    wrong = Finding("layout", "error", "protocol", "strided inputs", "x")
    refusal = {"unsupported: zero rows": "IndexError"}
    suites = suites_of(
        tmp_path, ("a", "ok", (), refusal), ("b", "ok", (wrong,), {}), ("c", "ok", (), {}),
        ("d", "skipped", (), {}),
    )  # fmt: skip
    found = manners(suites, Declared({}))
    assert found.said == (
        "No protocol question was answered wrong by any implementation of a, c.",
        "The protocol probe was not run in d.",
        "The invalid-input probe was not run.",
    )
    assert [part.suite for part in found.parts] == ["b", "d"]
    assert "2 of 2 implementations answer a protocol question wrong: one, two (strided inputs)." in (
        found.parts[0].words
    )
    assert lines(found.refusals, 0, 1, 2) == [("a", "one, two", "zero rows")]
    assert any(said.startswith("b: 2 of 2") for said in sentences(suites, everything=True))


def test_a_known_wrong_answer_is_no_clean_sheet(tmp_path):
    known = Finding("layout", "error", "protocol", "strided inputs", "x", {}, "listed")
    found = manners(suites_of(tmp_path, ("a", "ok", (known,), {}), ("b", "ok", (), {})), Declared({}))
    assert [part.suite for part in found.parts] == ["a"]
    assert found.said[0].endswith("implementation of b.")


def test_what_is_wrong_alike_shares_a_line_with_the_range_of_its_counts(tmp_path):
    reason = "every step is rounded"
    often = [Finding("upstream", "warning", "protocol", f"upstream {n}", "x", {}, reason) for n in range(3)]
    apart = Finding("upstream", "warning", "protocol", "upstream 9", "x", {}, "another reason")
    results = [
        Result(Trial(Case("s", "mean", "r", "float32", "cpu", batch, 3, 1), "one"), "protocol", "ok",
               findings=(*often[: 3 if batch == 1 else 1], apart), numbers={"questions": 5.0})
        for batch in (1, 2, 3)
    ]  # fmt: skip
    table = protocol(records(Run(tmp_path, {"schema": 1, "plan": {}}, tuple(results))), Declared({}))
    (row,) = table.rows
    assert row[2].text == "upstream 0, upstream 1, upstream 2, upstream 9"
    assert row[2].small.split("\n") == [
        f"upstream, 3 questions, each in 1 to 3 of 3 cases; known: {reason}",
        "upstream, 3 of 3 cases; known: another reason",
    ]


def test_bits_are_the_same_or_a_number_or_not_asked(run):
    table = same_bits(records(run), Declared(run.manifest))
    found = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    same, unasked = "same bits", "not asked"
    assert table.rows[0][0].text == "softmax_log"  # the finding leads
    assert found["softmax_log"] == ["mean", "all 3 dtypes", "3.0 ulp", same, unasked, same, same]
    assert found["naive"] == ["mean", "all 3 dtypes", same, "1.0 ulp", unasked, "NaN or inf", same]
    assert found["compiled"][2:] == [same, same, unasked, unasked, unasked]
    assert table.rows[0][3].css == "e"
    assert all(cell.css != "e" for row in table.rows[1:] for cell in row)


def test_the_page_holds_the_tables_and_trusts_nobody(html):
    for name, words in (("protocol", "two graphs alive"), ("bits", "3.0 ulp")):
        text = section(html, name)
        assert words in text
        assert "was not run" not in text
    assert "<script>alert" not in section(html, "protocol")
    assert "ends the process" in section(html, "protocol")


def test_questions_do_not_colour_the_regime_that_they_were_asked_in(run):
    (matrix,) = matrices(records(run), Declared(run.manifest))
    cells = {
        maker.name: row[0] for band in matrix.bands if band.dtype == "float32" for maker, row in band.rows
    }
    assert cells["softmax_log"].css == ""
    assert cells["compiled"].css == ""


def test_markdown_names_who_fails_in_short(run):
    rows = records(run)
    ranks = standings(rows)
    text = markdown(run, rows, ranks, choices(rows, ranks))
    part = text[text.index("## Does it keep the protocol?") : text.index("## Findings")]
    assert "2 of 7 implementations" in part
    assert "softmax_log" in part
    assert "second backward" not in part


def test_an_old_run_says_that_it_was_not_asked(tmp_path):
    html = write_report(synthetic.without(synthetic.small(tmp_path), "protocol")).read_text(encoding="utf-8")
    assert "The protocol probe was not run." in section(html, "protocol")
    assert "The invalid-input probe was not run." in section(html, "protocol")
    assert "The determinism probe was not run." in section(html, "bits")
    assert "The spread probe was not run." in section(html, "usual")
    assert "No 16-bit dtype was asked every value." in section(html, "breaks")


def test_only_equal_content_is_folded():
    assert folded([("a", (1, 2)), ("b", (1, 3)), ("c", (1, 2))]) == [(["a", "c"], (1, 2)), (["b"], (1, 3))]
    assert dtypes_in_words(["float16", "float64"], ["float64", "float16"]) == "both dtypes"
    assert dtypes_in_words(["float16", "float64"], ["float64", "float16", "float32"]) == "float64, float16"
    assert names_in_words(["a", "b", "c"], 2) == "a, b and 1 more"
