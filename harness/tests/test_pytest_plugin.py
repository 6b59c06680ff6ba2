"""The pytest face on a planted suite: what is collected, what is red and why, what is left to others."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from xml.etree import ElementTree

import pytest

# Imported here, because pytester forgets what a session inside this process imports, and neither
# torch nor scipy's extension modules can be imported twice.
import scipy.stats  # noqa: F401
import torch
from hypothesis import settings

import harness.pytest_examples
import harness.pytest_timed  # noqa: F401
from harness.probes.memory import warm_up_profiler
from harness.pytest_items import numbered, one_thread
from harness.pytest_plugin import PROFILES, is_suite_file
from harness.sweep import PROFILES as SWEEP_PROFILES


@pytest.fixture(scope="module", autouse=True)
def everything_loaded_once():
    """Loads what the profiler imports on first use, before pytester can forget it again."""
    warm_up_profiler()


PLANTED = """
import sys
import warnings

import torch

from harness import Contract, Example, Identity, Implementation, Known, Regime, Sample, Shape, Shapes
from harness import Suite, Variant


def truth(prediction, target, reduction="none", power=2):
    return ((prediction - target).abs() ** power).sum(1)


def squared(prediction, target, reduction="mean"):
    rows = ((prediction.double() - target.double()) ** 2).sum(1)
    return {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction].to(prediction.dtype)


def too_small(prediction, target, reduction="mean"):
    return 0.97 * squared(prediction, target, reduction)


def takes_a_power(prediction, target, reduction="mean", power=2):
    rows = ((prediction.double() - target.double()).abs() ** power).sum(1)
    return {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction].to(prediction.dtype)


def warns(prediction, target, reduction="mean"):
    warnings.warn("about something", UserWarning)
    return squared(prediction, target, reduction)


def exits(prediction, target, reduction="mean"):
    sys.exit("enough")


def unit_normal(shape, finfo, generator):
    draw = lambda: torch.randn(shape, generator=generator, dtype=torch.float64)
    return Sample(prediction=draw(), target=draw())


def symmetric(evaluate, sample):
    return evaluate(*reversed(sample.tensors), reduction="none")


def plain(evaluate, sample):
    return evaluate(*sample.tensors, reduction="none")


def doubled(evaluate, sample):
    return 2 * plain(evaluate, sample)


def cubed(evaluate, sample):
    return evaluate(*sample.tensors, reduction="none", power=3)


POINT = {"prediction": [[1.0, 2.0]], "target": [[0.0, 0.0]]}
WIDE = Contract(dtypes=("float32", "float64"))
NARROW = Contract(dtypes=("float32",))

SUITE = Suite(
    name="squared",
    oracle=truth,
    options={"reduction": "mean", "power": 2},
    variants=(Variant("mean"), Variant("none", reduction="none")),
    regimes=(Regime(unit_normal),),
    implementations=(IMPLEMENTATIONS),
    examples=(EXAMPLES),
    identities=(IDENTITIES),
    shapes=Shapes(usual=Shape(4, 3), covering=(), timed=(Shape(4, 3), Shape(1024, 1024))),
)
"""
RIGHT = "Implementation(squared, contract=NARROW),"
NAMES = "squared/{variant}/unit_normal/{dtype}-cpu-b4-c3-t1/{implementation}"
MEAN = "squared/mean/unit_normal/float32-cpu-b4-c3-t1/"


class Session:
    """A pytest session inside this process, on a planted suite."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def plant(self, implementations: str = RIGHT, *, examples: str = "", identities: str = "") -> None:
        text = PLANTED.replace("IMPLEMENTATIONS", implementations)
        text = text.replace("EXAMPLES", examples).replace("IDENTITIES", identities)
        self.write("suites/squared.py", text)

    def write(self, path: str, text: str) -> None:
        place = self.pytester.path / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> pytest.RunResult:
        # Named twice, by -p and by its entry point: it must be registered once.
        return self.pytester.runpytest_inprocess("-p", "harness.pytest_plugin", *arguments)

    def names(self, *arguments: str) -> list[str]:
        lines = self.run("--collect-only", "-q", *arguments).outlines
        return [line.partition("::")[2] for line in lines if "::" in line]

    def outcomes(self, *arguments: str) -> dict[str, tuple[str, str]]:
        """Returns (outcome, text) by test name; an xfail says so."""
        path = self.pytester.path / "junit.xml"
        self.run("suites", f"--junitxml={path}", *arguments)
        found = {}
        for case in ElementTree.parse(path).iter("testcase"):
            outcome = next((child for child in case if child.tag != "properties"), None)
            if outcome is None:
                found[case.get("name")] = ("passed", "")
                continue
            word = {"failure": "failed", "error": "error", "skipped": "skipped"}[outcome.tag]
            word = "xfailed" if outcome.get("type") == "pytest.xfail" else word
            found[case.get("name")] = (word, f"{outcome.get('message')}\n{outcome.text}")
        return found


@pytest.fixture
def session(pytester: pytest.Pytester) -> Session:
    return Session(pytester)


def test_a_suite_becomes_tests_named_by_what_they_ask(session):
    session.plant(
        RIGHT + 'Implementation(too_small, contract=NARROW, known=(Known("inaccurate", "planted"),)),',
        examples='Example("mean", POINT, 5.0, source="Text A, p. 3"), Example("mean", POINT, 5.0),',
        identities='Identity("symmetric", plain, symmetric, "mean", "unit_normal"),',
    )
    trials = {
        NAMES.format(variant=variant, dtype=dtype, implementation=implementation)
        for variant in ("mean", "none")
        for dtype in ("float64", "float32", "bfloat16", "float16")
        for implementation in ("squared", "too_small")
    }
    names = session.names("suites")
    assert names[:6] == [
        "example/text-a-p.-3/squared",
        "example/text-a-p.-3/too_small",
        "example/2/squared",
        "example/2/too_small",
        "identity/symmetric/squared",
        "identity/symmetric/too_small",
    ]
    assert set(names[6:-1]) == trials
    assert names[-1] == "known/too_small/1"
    assert session.names("suites/squared.py") == names


def test_one_trial_is_run_by_its_id(session):
    session.plant()
    session.run(f"suites/squared.py::{MEAN}squared").assert_outcomes(passed=1)


def test_trials_are_selected_by_keyword_and_by_marker(session):
    session.plant()
    half = MEAN.replace("float32", "float16") + "squared"
    assert session.names("suites", "-k", "mean and float16 and not bfloat16") == [half]
    assert session.names("suites", "-m", "lossgauge(dtype='float16', variant='mean')") == [half]
    assert session.names("suites", "-m", "lossgauge(kind='example')") == []


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
        'Implementation(too_small, contract=NARROW, known=(Known("inaccurate", "planted", "x#1"),)),'
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
    assert "(4 of 4 rows)" in text
    assert "source: Text A" in text
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


def test_compiled_implementations_are_asked_on_request(session):
    session.plant(RIGHT + 'Implementation(squared, name="compiled", prepare=torch.compile),')
    assert not [name for name in session.names("suites") if "compiled" in name]
    assert MEAN + "compiled" in session.names("suites", "--lossgauge-compiled")


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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("from harness import Suite\nSUITE = Suite(nam='x')\n", "line 2: SUITE = Suite(nam='x'): TypeError"),
        ("from harness import Suite\nSUITE = Suite(\n", "line 2: SUITE = Suite("),
        ("import harness\nSUITE = 3\n", "SUITE is a int, not a Suite"),
    ],
)
def test_a_broken_suite_is_one_sentence(session, text, sentence):
    session.write("suites/broken.py", text)
    result = session.run("suites")
    result.assert_outcomes(errors=1)
    output = result.stdout.str()
    assert sentence in output
    assert "Traceback" not in output
    assert "conftest" not in output
    said = output.partition("ERROR collecting suites/broken.py")[2].splitlines()
    assert (
        len([line for line in said[1:] if line and not line.startswith(("=", "ERROR", "!", "1 error"))]) == 1
    )


def test_a_regime_that_draws_nonsense_is_one_sentence(session):
    session.plant()
    path = session.pytester.path / "suites/squared.py"
    path.write_text(path.read_text().replace("return Sample(prediction=draw(), target=draw())", "return 3"))
    outcome, text = session.outcomes()[MEAN + "squared"]
    assert outcome == "failed"
    assert "returned int; a regime returns Sample(...)" in text
    assert "Traceback" not in text


def test_a_suite_outside_a_suites_folder_is_collected_when_it_is_named(session):
    session.plant()
    (session.pytester.path / "suites/squared.py").rename(session.pytester.path / "mine.py")
    assert session.names() == []
    assert MEAN + "squared" in session.names("mine.py")


@pytest.mark.parametrize(
    ("name", "text", "explicit", "collected"),
    [
        ("suites/a.py", "from harness import Suite\nSUITE = Suite()\n", False, True),
        ("suites/a.py", "from suites.b import SUITE as B\nSUITE: object = B.extended()\n", False, True),
        ("suites/a.py", "import unittest\nSUITE = unittest.TestSuite()\n", False, False),
        ("suites/a.py", "from harness import Suite\nOTHER = Suite()\n", False, False),
        ("suites/a.py", "import harness\nTEXT = '''\nSUITE = 1\n'''\n", False, False),
        ("elsewhere/a.py", "from harness import Suite\nSUITE = Suite()\n", False, False),
        ("elsewhere/a.py", "from harness import Suite\nSUITE = Suite()\n", True, True),
        ("suites/test_a.py", "from harness import Suite\nSUITE = Suite()\n", True, False),
        ("suites/a.txt", "from harness import Suite\nSUITE = Suite()\n", True, False),
    ],
)
def test_whether_a_file_is_a_suite_is_read_from_its_source(tmp_path, name, text, explicit, collected):
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(text)
    assert is_suite_file(path, explicit=explicit, test_names=["test_*.py"]) is collected


def test_the_seed_comes_from_the_command_line_or_the_ini_file(session):
    session.plant("Implementation(too_small, contract=NARROW),")
    session.pytester.makeini("[pytest]\nlossgauge_seed = 7\n")
    session.run("suites", "-k", "mean").stdout.fnmatch_lines(["lossgauge: *, seed 7, profile quick"])
    by_ini = session.outcomes()[MEAN + "too_small"]
    assert session.outcomes("--lossgauge-seed", "7")[MEAN + "too_small"] == by_ini
    assert session.outcomes("--lossgauge-seed", "8")[MEAN + "too_small"] != by_ini
    session.pytester.makeini("[pytest]\nlossgauge_seed = seven\n")
    session.run("suites").stderr.fnmatch_lines(["*lossgauge_seed = seven: must be a whole number.*"])


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


def test_names_are_told_apart():
    assert numbered(["A b", "a, b", "", "π"], str) == ["a-b", "a-b-2", "3", "4"]


def test_profiles_are_those_of_the_sweep():
    assert PROFILES == SWEEP_PROFILES


def test_a_pytest_start_imports_neither_torch_nor_pandas(session):
    session.pytester.makepyfile(
        "import sys\n"
        "def test_start():\n"
        "    assert 'harness.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'pandas', 'numpy', 'scipy'} & sys.modules.keys()\n"
    )
    session.pytester.runpytest_subprocess(
        "-p", "harness.pytest_plugin", "-p", "no:hypothesispytest"
    ).assert_outcomes(passed=1)


def test_the_plugin_is_registered_once_where_it_is_installed(session):
    session.pytester.makepyfile("def test_nothing():\n    pass\n")
    session.pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]\n')
    command = [sys.executable, "-m", "pytest", "-q", str(session.pytester.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hypothesis_profiles_are_registered():
    assert [settings.get_profile(name).max_examples for name in ("dev", "ci", "nightly")] == [50, 200, 2000]
    assert settings.get_profile("ci").database is None
    assert settings.get_profile("dev").deadline is None
