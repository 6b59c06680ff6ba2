"""A suite is found wherever it lies, and a broken one is one sentence with its file and line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import discovery
from harness.cli import main
from harness.discovery import Selection, discover, is_reference, load_reference
from harness.errors import SuiteError, UsageError

LOSSGAUGE = Path(sys.executable).with_name("lossgauge")

TEN_LINES = """\
import torch
from harness import Implementation, Regime, Sample, Suite
def per_row(p, t): return (p - t).abs().mean(1)
def right(p, t): return (p - t).abs().mean()
def wrong(p, t): return 0.97 * (p - t).abs().mean()
def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)
SUITE = Suite(name="absolute", oracle=per_row, regimes=(Regime(normal),),
              implementations=(Implementation(right), Implementation(wrong)))
"""
EXTENSION = """\
from harness import Implementation
from suites import cross_entropy
def mine(logits, target): return logits.sum()
SUITE = cross_entropy.SUITE.extended(Implementation(mine))
"""
IMPOSTOR = TEN_LINES.replace('"absolute"', '"cross_entropy"')


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes files into a working directory of their own, which leaves nothing behind on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    yield write
    for name in set(sys.modules) - modules:
        if not name.startswith(("torch", "suites")):
            del sys.modules[name]


def names(selection):
    return list(discover(selection).suites)


def test_the_built_in_suites_are_found_without_asking():
    assert "cross_entropy" in names(Selection())
    assert names(Selection(suites=("cross_entropy",))) == ["cross_entropy"]


@pytest.mark.parametrize(
    ("text", "loads"), [("a.py", True), ("pkg.mod:SUITE", True), ("cross_entropy", False), ("a.pyc", False)]
)
def test_what_loads_and_what_names(text, loads):
    assert is_reference(text) is loads


def test_a_path_alone_selects_a_name_filters_and_both_together_add(written):
    written(absolute=TEN_LINES)
    assert names(Selection(suites=("absolute.py",))) == ["absolute"]
    assert names(Selection(suites=("absolute.py", "cross_entropy"))) == ["absolute", "cross_entropy"]
    assert names(Selection(suites=("absolute.py", "absolute"))) == ["absolute"]
    with pytest.raises(UsageError, match=r"--suite absolut: there is no suite 'absolut'\. Did you mean 'abs"):
        discover(Selection(suites=("absolute.py", "absolut")))


def test_a_module_reference_loads_any_name_from_the_working_directory(written):
    written(family_of_absolutes=TEN_LINES + "OTHER = SUITE\nNUMBER = 3\n")
    assert names(Selection(suites=("family_of_absolutes:OTHER",))) == ["absolute"]
    with pytest.raises(SuiteError, match="module family_of_absolutes has no NONE; write module:SUITE"):
        load_reference("family_of_absolutes:NONE")
    with pytest.raises(SuiteError, match="NUMBER is a int, not a Suite; write SUITE = Suite"):
        load_reference("family_of_absolutes:NUMBER")


def test_loading_a_path_leaves_the_import_path_alone(written):
    folder = written(absolute=TEN_LINES)
    before = list(sys.path)
    (folder / "elsewhere").mkdir()
    (folder / "absolute.py").rename(folder / "elsewhere" / "absolute.py")
    assert load_reference("elsewhere/absolute.py") is load_reference(
        str(folder / "elsewhere" / "absolute.py")
    )
    assert [place for place in sys.path if place not in before] in ([], [str(folder)])
    assert "absolute" not in sys.modules


def test_a_suite_file_imports_from_the_working_directory_which_shadows_nothing(written):
    folder = written(my_losses_beside="def beside(p, t):\n    return p.sum()\n")
    text = "from my_losses_beside import beside\n" + TEN_LINES
    written(imports=text.replace("Implementation(wrong)", "Implementation(beside)"))
    suite = load_reference("imports.py")
    assert suite.implementation("beside").function.__module__ == "my_losses_beside"
    assert sys.path[-1] == str(folder)
    written(lacks="import my_losses_absent\n")
    with pytest.raises(SuiteError, match=r"lacks\.py line 1: import my_losses_absent: ModuleNotFoundError"):
        load_reference("lacks.py")


def test_suites_of_one_oracle_merge_and_another_oracle_is_an_error(written):
    written(mine=EXTENSION, impostor=IMPOSTOR)
    merged = discover(Selection(suites=("mine.py", "cross_entropy"))).suites["cross_entropy"]
    listed = [item.name for item in merged.implementations]
    assert listed.count("mine") == listed.count("native") == 1
    with pytest.raises(SuiteError) as raised:
        discover(Selection(suites=("impostor.py", "cross_entropy")))
    assert "suite 'cross_entropy' has another oracle than the suite of that name in impostor.py" in str(
        raised.value
    )


def test_merging_two_different_implementations_of_one_name_is_an_error(written):
    written(mine=EXTENSION, other=EXTENSION.replace("logits.sum()", "logits.mean()"))
    with pytest.raises(SuiteError, match=r"other\.py: suite 'cross_entropy' names 'mine' twice"):
        discover(Selection(suites=("mine.py", "other.py")))


def test_an_implementation_by_reference_needs_exactly_one_suite(written):
    written(absolute=TEN_LINES, my_losses="def third(p, t): return p.sum()\nclass A:\n    b = third\nx = 3\n")
    asked = ("my_losses:third",)
    (suite,) = discover(Selection(suites=("absolute.py",), implementations=asked)).suites.values()
    assert suite.implementation("third").function.__module__ == "my_losses"
    asked = ("my_losses:A.b", "wrong")
    (suite,) = discover(Selection(suites=("absolute.py",), implementations=asked)).suites.values()
    assert [item.name for item in suite.implementations] == ["wrong", "A_b"]
    with pytest.raises(UsageError) as raised:
        discover(Selection(suites=("absolute.py", "cross_entropy"), implementations=("my_losses:third",)))
    assert str(raised.value) == (
        "--impl my_losses:third: needs exactly one suite, 2 are selected; "
        "add --suite NAME (absolute, cross_entropy)."
    )
    for reference, sentence in (
        ("my_losses:forth", "--impl my_losses:forth: my_losses has no forth; write package.module:function."),
        ("my_losses:x", "--impl my_losses:x: x is a int, which cannot be called."),
        ("wrog", "--impl wrog: there is no implementation 'wrog'. Did you mean 'wrong'? Allowed: right, wr"),
    ):
        with pytest.raises((SuiteError, UsageError)) as raised:
            discover(Selection(suites=("absolute.py",), implementations=(reference,)))
        assert str(raised.value).startswith(sentence)


BROKEN = {
    "syntax": ("x = 1\nSUITE = Suite(name=\n", ["broken.py", "line 2", "SUITE = Suite(name="]),
    "import": ("x = 1\nimport no_such_package\n", ["broken.py", "line 2", "import no_such_package"]),
    "keyword": (
        TEN_LINES.replace("oracle=", "orcale="),
        ["broken.py", "line 9", "orcale", "unexpected keyword argument"],
    ),
    "none": ("x = 1\n", ["broken.py", "declares no SUITE; write SUITE = Suite(name=..., ...) in it."]),
    "type": ("SUITE = {'name': 'x'}\n", ["broken.py", "SUITE is a dict, not a Suite; write SUITE = Suite("]),
    "declaration": (
        TEN_LINES.replace("(Regime(normal),)", "(normal,)"),
        ["broken.py", "regimes holds the function normal; write Regime(normal)."],
    ),
    "lines": ("x = 1\nraise RuntimeError('one\\ntwo')\n", ["broken.py", "line 2", "RuntimeError: one two"]),
    "odd": ("raise BaseException('odd')\n", ["broken.py", "line 1", "BaseException: odd."]),
    "bytes": ("x = '\0'\n", ["broken.py: cannot be loaded: ", "null bytes."]),
    "exits": ("import sys\nsys.exit('no')\n", ["broken.py", "line 2", "sys.exit('no')"]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_one_sentence_with_file_and_line(what, written, capsys):
    text, words = BROKEN[what]
    written(broken=text)
    assert main(["plan", "--suite", "broken.py"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lossgauge: ")
    assert err.count("\n") == 1
    assert err.endswith(".\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_a_file_that_is_not_there_is_one_sentence(written, capsys):
    written()
    assert main(["plan", "--suite", "absent.py"]) == 2
    assert capsys.readouterr().err == (
        "lossgauge: --suite absent.py: there is no such file; give the path of a suite file.\n"
    )


def test_a_syntax_error_one_import_away_names_the_file_that_has_it(written):
    written(helper_that_is_broken="x = 1\ny = (\n", broken="import helper_that_is_broken\n")
    sys.path.append(str(Path.cwd()))
    with pytest.raises(SuiteError) as raised:
        load_reference("broken.py")
    assert "helper_that_is_broken.py" in str(raised.value)
    assert "line 2" in str(raised.value)


class Point(SimpleNamespace):
    """An installed entry point; `load` returns or raises what it was given."""

    def load(self):
        if isinstance(self.loads, BaseException):
            raise self.loads
        return self.loads


@pytest.fixture
def installed(monkeypatch):
    def install(*points):
        monkeypatch.setattr(discovery, "entry_points", lambda group: points if "lossgauge" in group else ())

    return install


def test_an_entry_point_may_name_the_suite_or_its_module(installed, written):
    written(absolute=TEN_LINES)
    suite = load_reference("absolute.py")
    for loads in (suite, SimpleNamespace(SUITE=suite)):
        installed(Point(name="absolute", value="absolute:SUITE", loads=loads))
        assert "absolute" in names(Selection())
        assert names(Selection(suites=("absolute",))) == ["absolute"]
    assert discover(Selection()).broken == ()


@pytest.mark.parametrize(
    ("loads", "words"),
    [
        (ImportError("no module named nowhere"), "ImportError: no module named nowhere"),
        (SuiteError("Suite('x'): regimes is empty"), "Suite('x'): regimes is empty"),
        (SimpleNamespace(), "declares no SUITE"),
        (SystemExit("goodbye"), "goodbye"),
        (BaseException("odd"), "BaseException: odd"),
    ],
    ids=["import", "declaration", "none", "exits", "odd"],
)
def test_a_broken_entry_point_is_skipped_with_its_sentence(installed, loads, words):
    installed(Point(name="ruin", value="ruin:SUITE", loads=loads))
    found = discover(Selection(suites=("cross_entropy",)))
    assert list(found.suites) == ["cross_entropy"]
    (sentence,) = found.broken
    assert words in sentence
    assert sentence.count("entry point ruin = ruin:SUITE") == 1


def test_a_run_beside_a_broken_entry_point_ends_with_3_and_says_so(installed, tmp_path, capsys):
    installed(Point(name="ruin", value="ruin:SUITE", loads=ImportError("nowhere")))
    flags = "--suite cross_entropy --impl log_softmax_gather --probe accuracy --variant mean --dtype float32"
    flags += " --regime unit_normal --batch 4 --classes 3 --device cpu --no-report --workers 1"
    assert main(["run", *flags.split(), "--out", str(tmp_path / "run")]) == 3
    assert "! left out: entry point ruin = ruin:SUITE was skipped" in capsys.readouterr().err
    form = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert "entry point ruin = ruin:SUITE was skipped" in form["broken_suites"][0]
    assert form["coverage"]["ok"] == form["coverage"]["expected"]


def test_ten_lines_outside_are_enough_for_a_family_and_the_wrong_one_is_found(written):
    folder = written(absolute=TEN_LINES)
    (folder / "elsewhere").mkdir()
    assert len(TEN_LINES.splitlines()) == 10
    flags = "--probe accuracy --out found --batch 16 --classes 5 --no-report --workers 1"
    done = subprocess.run(
        [LOSSGAUGE, "run", "--suite", "../absolute.py", *flags.split()],
        cwd=folder / "elsewhere",
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = (folder / "elsewhere" / "found" / "results.jsonl").read_text().splitlines()
    forms = [json.loads(line) for line in lines]
    assert {form["dtype"] for form in forms} == {"float64", "float32", "bfloat16", "float16"}
    for form in forms:
        severities = {finding["severity"] for finding in form["findings"]}
        if form["implementation"] == "right":
            assert severities == set(), form["trial"]
        else:
            assert severities & {"warning", "error"}, form["trial"]
            assert "error" in severities or form["dtype"] in ("bfloat16", "float16"), form["trial"]
    form = json.loads((folder / "elsewhere" / "found" / "manifest.json").read_text())
    assert form["suites"]["absolute"]["oracle"] == "float64 autograd of per_row, uncertified"
