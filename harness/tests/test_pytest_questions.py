"""The pytest face on a planted suite: what is red and why, what is expected, what is left to others."""

from __future__ import annotations

import json
import platform
from xml.etree import ElementTree

import pytest
import torch

from harness.pytest_items import one_thread
from harness.tests.planted import MEAN, RIGHT, Session, load_everything_once


@pytest.fixture(scope="module", autouse=True)
def everything_loaded_once():
    load_everything_once()


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Session:
    # The run inside is one process, whatever runs this one: pytest-benchmark times nothing in a worker.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return Session(pytester)


def test_a_right_implementation_passes_and_what_its_contract_excludes_is_skipped(session):
    session.plant()
    found = session.outcomes()
    assert found[MEAN + "squared"][0] == "passed"
    outcome, text = found[MEAN.replace("float32", "float16") + "squared"]
    assert outcome == "skipped"
    assert "unsupported: its contract declares dtype in {float32}" in text


def test_a_wrong_implementation_fails_with_sentences_and_exact_numbers(session):
    session.plant("Implementation(too_small, contract=NARROW),")
    outcome, text = session.outcomes()[MEAN + "too_small"]
    assert outcome == "failed"
    assert "error: inaccurate (accuracy, loss)" in text
    assert "error: inaccurate (accuracy, prediction/all)" in text
    assert "got 0x" in text
    assert "Traceback" not in text
    assert ".py:" not in text


def test_a_known_finding_is_an_expected_failure_with_its_reason(session):
    session.plant(
        "Implementation(too_small, contract=NARROW, "
        'known=(Known("inaccurate", "planted", "x#1", up_to=Known.ANY_SIZE),)),'
    )
    found = session.outcomes()
    outcome, text = found[MEAN + "too_small"]
    assert outcome == "xfailed"
    assert "planted (x#1)" in text
    assert found["known/too_small/1"][0] == "passed"
    outcome, text = session.outcomes("--runxfail")[MEAN + "too_small"]
    assert outcome == "failed"
    assert "[known: planted (x#1)]" in text


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="a note elsewhere")
def test_a_known_entry_that_is_not_met_is_stale(session):
    session.plant('Implementation(squared, contract=NARROW, known=(Known("raises", "planted"),)),')
    outcome, text = session.outcomes()["known/squared/1"]
    assert outcome == "failed"
    assert "stale: Known(('raises',), reason='planted') of squared did not occur in 2 trials" in text


def test_a_known_entry_is_not_judged_by_a_filtered_session(session):
    session.plant('Implementation(squared, contract=NARROW, known=(Known("raises", "planted"),)),')
    outcome, text = session.outcomes("-k", "known or mean")["known/squared/1"]
    assert outcome == "skipped"
    assert "1 of 2 trials of squared were not asked" in text


@pytest.mark.parametrize("scope", ["device='cuda'", "probe='compilation'", "torch='<1.0'"])
def test_a_known_entry_is_not_judged_where_nothing_in_its_scope_was_asked(session, scope):
    known = f'Known("raises", "planted", {scope})'
    session.plant(f"Implementation(squared, contract=NARROW, known=({known},)),")
    outcome, text = session.outcomes()["known/squared/1"]
    assert outcome == "skipped"
    assert "nothing in its scope" in text


def test_an_example_fails_with_both_numbers_source_and_note(session):
    session.plant(
        examples='Example("mean", POINT, 5.0), Example("mean", POINT, 4.0, source="B", note="a misprint"),'
    )
    found = session.outcomes("-k", "example")
    # The contract leaves float64, the dtype of the examples, out.
    assert {outcome for outcome, _ in found.values()} == {"skipped"}
    session.plant(
        RIGHT.replace("NARROW", "WIDE"),
        examples='Example("mean", POINT, 5.0), Example("mean", POINT, 4.0, source="B", note="a misprint"),',
    )
    found = session.outcomes("-k", "example")
    assert found["example/1/squared"][0] == "passed"
    outcome, text = found["example/b/squared"]
    assert outcome == "failed"
    for words in ("squared gives 5.0, the text prints 4.0 (to 4 digits)", "source: B", "note: a misprint"):
        assert words in text


def test_an_example_is_skipped_where_an_option_is_lacking_or_defined_differently(session):
    session.plant(
        "Implementation(squared, contract=WIDE), Implementation(takes_a_power, contract=WIDE),"
        'Implementation(squared, name="cubes", contract=Contract(power=3)),',
        examples='Example("mean", POINT, 9.0, options={"power": 3}), Example("mean", POINT, 5.0),',
    )
    found = session.outcomes("-k", "example")
    assert "takes no option power=3" in found["example/1/squared"][1]
    assert found["example/1/takes_a_power"][0] == "passed"
    assert found["example/1/cubes"][0] == "failed"
    assert "its contract declares power=3, 2 is asked" in found["example/2/cubes"][1]


def test_an_identity_holds_fails_or_is_unsupported(session):
    session.plant(
        RIGHT.replace("NARROW", "WIDE"),
        identities='Identity("symmetric", plain, symmetric, "mean", "unit_normal"),'
        'Identity("doubled", plain, doubled, "mean", "unit_normal", source="Text A"),'
        'Identity("cubed", cubed, cubed, "mean", "unit_normal"),',
    )
    found = session.outcomes("-k", "identity")
    assert found["identity/symmetric/squared"][0] == "passed"
    outcome, text = found["identity/doubled/squared"]
    assert outcome == "failed"
    assert "Text A: two ways to say the same number differ by more than both may be off" in text
    assert "(4 of 4)" in text
    outcome, text = found["identity/cubed/squared"]
    assert outcome == "skipped"
    assert "takes no option power=3" in text


def test_known_bad_implementations_are_asked_on_request_and_expected_to_be_caught(session):
    session.plant(
        RIGHT + 'Implementation(too_small, contract=WIDE, known_bad="3 % too small"),',
        examples='Example("mean", POINT, 5.0),',
    )
    assert not [name for name in session.names("suites") if "too_small" in name]
    found = session.outcomes("--lossgauge-include", "known_bad")
    for name in (MEAN + "too_small", "example/1/too_small"):
        outcome, text = found[name]
        assert outcome == "xfailed"
        assert "known bad: 3 % too small" in text


def test_an_implementation_that_merely_warns_is_right(session):
    session.plant("Implementation(warns, contract=NARROW),")
    assert session.outcomes("-W", "error")[MEAN + "warns"][0] == "passed"


def test_an_implementation_that_ends_the_interpreter_costs_itself_only(session):
    session.plant("Implementation(exits, contract=NARROW)," + RIGHT)
    found = session.outcomes()
    outcome, text = found[MEAN + "exits"]
    assert outcome == "failed"
    assert "crashed: exits ended the interpreter by SystemExit(enough)" in text
    assert found[MEAN + "squared"][0] == "passed"


def test_numbers_and_findings_go_to_junit(session):
    session.plant("Implementation(too_small, contract=NARROW),")
    session.outcomes()
    tree = ElementTree.parse(session.pytester.path / "junit.xml")
    case = next(c for c in tree.iter("testcase") if c.get("name") == MEAN + "too_small")
    properties = [(p.get("name"), p.get("value")) for p in case.iter("property")]
    assert ("accuracy_status", "ok") in properties
    assert float(dict(properties)["loss_ulps"]) > 1000
    assert any(name == "finding" and "inaccurate" in value for name, value in properties)


def test_a_regime_that_draws_nonsense_is_one_sentence(session):
    session.plant()
    path = session.pytester.path / "suites/squared.py"
    path.write_text(path.read_text().replace("return Sample(prediction=draw(), target=draw())", "return 3"))
    outcome, text = session.outcomes()[MEAN + "squared"]
    assert outcome == "failed"
    assert "returned int; a regime returns Sample(...)" in text
    assert "Traceback" not in text


def test_timed_cases_run_under_the_benchmark_fixture_on_request(session):
    session.plant(
        RIGHT + "Implementation(too_small, contract=NARROW),", examples='Example("mean", POINT, 5.0),'
    )
    path = session.pytester.path / "times.json"
    result = session.run(
        "suites",
        "--benchmark-only",
        "--benchmark-max-time=0.001",
        "--benchmark-min-rounds=2",
        f"--benchmark-json={path}",
        "-W",
        "error",
    )
    # The wrong one is not timed, and 1024 x 1024 is left to `lossgauge run`.
    result.assert_outcomes(passed=1, failed=1)
    (timed,) = json.loads(path.read_text())["benchmarks"]
    assert timed["name"] == MEAN + "squared"
    assert timed["extra_info"].keys() == {"outcome", "loss_ulps", "gradient_ulps", "peak_bytes"}
    assert timed["extra_info"]["outcome"] == "clean"


def test_timed_cases_leave_fixtures_of_module_scope_alone(session):
    session.plant()
    session.pytester.makeconftest(
        "import pytest\n@pytest.fixture(autouse=True, scope='module')\ndef ready():\n    yield\n"
    )
    arguments = ("--benchmark-only", "--benchmark-max-time=0.001", "--benchmark-min-rounds=1")
    session.run("suites", *arguments).assert_outcomes(passed=1)


def test_threads_are_given_back():
    threads = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads
