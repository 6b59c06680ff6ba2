"""The pytest face before anything is asked: what is collected, under which names, with which settings."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import harness
from harness.pytest_items import numbered
from harness.pytest_plugin import PROFILES, is_suite_file
from harness.sweep import PROFILES as SWEEP_PROFILES
from harness.tests.planted import MEAN, NAMES, RIGHT, Session, load_everything_once


@pytest.fixture(scope="module", autouse=True)
def everything_loaded_once():
    load_everything_once()


@pytest.fixture
def session(pytester: pytest.Pytester) -> Session:
    return Session(pytester)


def test_a_suite_becomes_tests_named_by_what_they_ask(session):
    session.plant(
        RIGHT
        + 'Implementation(too_small, contract=NARROW, known=(Known("inaccurate", "planted", up_to=1e9),)),',
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


def test_compiled_implementations_are_asked_on_request(session):
    session.plant(RIGHT + 'Implementation(squared, name="compiled", prepare=torch.compile),')
    assert not [name for name in session.names("suites") if "compiled" in name]
    assert MEAN + "compiled" in session.names("suites", "--lossgauge-compiled")


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


LINE = ("settings", "items", "trials", "examples", "timed", "file", "plugin")


def test_the_modules_of_the_pytest_face_form_a_line():
    folder = Path(harness.__file__).parent
    assert {path.stem for path in folder.glob("pytest_*.py")} == {f"pytest_{name}" for name in LINE}
    for place, name in enumerate(LINE):
        tree = ast.parse((folder / f"pytest_{name}.py").read_text(encoding="utf-8"))
        used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        later = {f"harness.pytest_{other}" for other in LINE[place:]}
        assert not used & later, f"pytest_{name} imports what stands behind it"
