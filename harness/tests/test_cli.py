"""What a person types and reads: help without torch, mistakes in one sentence, settings with sources."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from harness.cli import VERBS, main
from harness.cli.axes import DEFAULTS
from harness.cli.rows import table
from harness.trial import parse_trial

SUITE = """\
import torch
from harness import Implementation, Regime, Sample, Suite
def per_row(p, t): return (p - t).abs().mean(1)
def right(p, t):
    "The mean of distances."
    return (p - t).abs().mean()
def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)
SUITE = Suite(name="absolute", oracle=per_row, regimes=(Regime(normal),), formula="|p - t|",
              implementations=(Implementation(right),))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for key in DEFAULTS:
        monkeypatch.delenv(f"LOSSGAUGE_{key.upper()}", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A working directory with a suite file and one finished run of it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "absolute.py").write_text(SUITE, encoding="utf-8")
    code = "import sys; from harness.cli import main; sys.exit(main())"
    flags = "run --suite absolute.py --probe accuracy --dtype float32 --batch 4 --classes 3 --no-report"
    done = subprocess.run(
        [sys.executable, "-c", code, *flags.split()], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_says_what_a_verb_does_and_ends_with_0(verb, here, capsys):
    assert main([*([verb] if verb else []), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Usage:" in out
    if verb:
        assert f" {verb} " in out.splitlines()[0]
        assert main([verb, "-h"]) == 0
        assert capsys.readouterr().out == out
    else:
        listed = [name for line in out.splitlines() for name in VERBS if line.startswith(f"  {name} ")]
        assert listed == list(VERBS)
        assert "Exit codes" in out


HEAVY = ("torch", "pandas", "scipy", "matplotlib", "pydantic", "numpy", "jinja2", "psutil")


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], HEAVY),
        (["--version"], HEAVY),
        (["run", "--help"], HEAVY),
        (["plan", "--help"], HEAVY),
        (["report", "--help"], HEAVY),
        (["init", "--force"], HEAVY),
        (["list", "probes"], HEAVY),
        (["list", "runs"], HEAVY),
        (["show", "a/b/c/float32-cpu-b1-c1-t1/d"], ("torch", "pandas", "matplotlib", "pydantic")),
        (["report"], ("torch", "pydantic")),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_commands_that_need_no_torch_import_none(arguments, forbidden, measured):
    code = (
        "import sys; from harness.cli import main; code = main(); sys.stdout.flush()\n"
        "print(code, sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=measured, capture_output=True, text=True, timeout=240
    )
    code, _, listed = done.stderr.splitlines()[-1].partition(" ")
    assert code == ("2" if arguments[0] == "show" else "0"), done.stderr
    assert "click" in listed
    assert [name for name in forbidden if f"'{name}'" in listed] == []


def test_a_report_is_written_beside_the_run_and_its_path_is_printed(measured):
    code = "import sys; from harness.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "report"], cwd=measured, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report runs/latest/report.html\n"
    for name in ("report.html", "report.md", "results.csv"):
        assert (measured / "runs" / "latest" / name).stat().st_size > 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "There is no verb 'rnu'. Did you mean 'run'?"),
        (["run", "--dtpye", "float32"], "Did you mean '--dtype'?"),
        (["run", "-q"], "It stands before the verb: lossgauge -q run ..."),
        (
            ["plan", "--dtype", "flot32"],
            "--dtype flot32: there is no dtype 'flot32'. Did you mean 'float32'?",
        ),
        (["plan", "--probe", "acuracy"], "there is no probe 'acuracy'. Did you mean 'accuracy'?"),
        (["plan", "--suite", "cros_entropy"], "there is no suite 'cros_entropy'. Did you mean 'cross_entrop"),
        (["plan", "--impl", "natve"], "there is no implementation 'natve'. Did you mean 'native'?"),
        (["plan", "-f", "dtyp=float32"], "there is no key 'dtyp'. Did you mean 'dtype'?"),
        (["plan", "-k", "a and"], "-k 'a and': ends where a word was expected"),
        (["plan", "--batch", "many"], "'many' is not a list of whole numbers."),
        (
            ["plan", "--config", "absent.toml"],
            "--config absent.toml: there is no such file; `lossgauge init`",
        ),
        (["run", "--min-time", "soon"], "'soon' is not a duration; write 0.2s, 90s or 10m"),
        (["run", "--max-noise", "little"], "'little' is not a share; write 2% or 0.02"),
        (
            ["run", "--direction", "up", "--suite", "cross_entropy"],
            "--direction up: allowed: fwd, bwd, both.",
        ),
        (["list", "regims"], "there is no list of 'regims'. Did you mean 'regimes'?"),
        (["report", "nowhere"], "nowhere: no manifest.json there, so this is not a run directory"),
        (["run", "-f", "dtype=float8"], "nothing is left to measure"),
        (
            ["run", "--retry", "everything", "--suite", "cross_entropy"],
            "--retry everything: allowed: failed,",
        ),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else "",
)
def test_a_mistake_ends_with_2_one_answer_and_no_traceback(arguments, words, here, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    # click 8.2 writes the option without quotes, 8.5 with them.
    assert words.replace("'", "") in err.replace("'", "")
    assert "Traceback" not in err
    assert out == ""
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("flag", ["--rounds=0", "--processes=0", "--workers=-1", "--timeout=0"])
def test_a_count_below_one_is_refused_by_the_flag_as_by_the_file(flag, measured, tmp_path):
    code = "import sys; from harness.cli import main; sys.exit(main())"
    flags = "run --suite absolute.py --probe accuracy --dtype float32 --batch 4 --classes 3 --no-report"
    done = subprocess.run(
        [sys.executable, "-c", code, *flags.split(), "--out", tmp_path / "run", flag],
        cwd=measured,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2, done.stderr
    assert flag.partition("=")[0] in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["suites", "implementations", "regimes", "variants", "dtypes", "devices"])
def test_lists_are_json_with_names(what, here, capsys):
    assert main(["list", what, "--suite", "cross_entropy", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(set(row) == {"name", "about"} for row in rows)
    assert main(["list", what, "--suite", "cross_entropy"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row["name"] for row in rows]


def test_show_prints_one_trial_and_suggests_for_a_missing_one(measured, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    wanted = "absolute/mean/normal/float32-cpu-b4-c3-t1/right"
    assert main(["show", wanted, "--json"]) == 0
    (form,) = json.loads(capsys.readouterr().out)
    assert (form["trial"], form["probe"], form["status"]) == (wanted, "accuracy", "ok")
    assert main(["show", wanted]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{wanted}\n\naccuracy: ok\n")
    assert "  loss_ulps " in out
    assert main(["show", "nonsense"]) == 2
    assert "'nonsense' is not a trial id; the form is suite/variant/regime/" in capsys.readouterr().err
    assert main(["show", wanted.replace("right", "rigt")]) == 2
    assert f"Did you mean '{wanted}'?" in capsys.readouterr().err


def test_runs_are_listed_with_their_command(measured, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    assert main(["list", "runs", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == f"runs/{(measured / 'runs' / 'latest').resolve().name}"
    assert "finished" in row["about"]
    assert "run --suite absolute.py --probe accuracy" in row["about"]


def test_a_plan_is_json_with_every_settings_source(measured, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    flags = ["plan", "--suite", "absolute.py", "--dtype", "float32"]
    assert main([*flags, "--json"]) == 0
    form = json.loads(capsys.readouterr().out)
    assert form["config"]["dtype"] == {"value": ["float32"], "source": "--dtype"}
    assert set(form["config"]) == set(DEFAULTS)
    assert form["trials"] == sum(len(block["probes"]) for block in form["blocks"])
    assert main([*flags, "--ids"]) == 0
    ids = [parse_trial(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(ids) == form["trials"] + len(form["refusals"])


def inputs(path, **tensors):
    save_file(tensors, path)
    return ["--suite", "absolute.py", "--dtype", "float32", "--inputs", str(path)]


def test_inputs_of_a_file_become_the_only_regime(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    flags = inputs(tmp_path / "mine.safetensors", p=torch.ones(5, 7), t=torch.zeros(5, 7))
    assert main(["plan", *flags, "--json"]) == 0
    cells = {(b["regime"], b["batch"], b["classes"]) for b in json.loads(capsys.readouterr().out)["blocks"]}
    assert {classes for _, _, classes in cells} == {7}
    assert max(batch for _, batch, _ in cells) == 5
    ((name,),) = {(regime,) for regime, _, _ in cells}
    flags = inputs(tmp_path / "mine.safetensors", p=torch.ones(5, 7), t=torch.ones(5, 7))
    assert main(["plan", *flags, "--json"]) == 0
    other = {block["regime"] for block in json.loads(capsys.readouterr().out)["blocks"]}
    assert name.startswith("inputs-")
    assert len(other | {name}) == 2, "the bytes of the file are part of the regime's name"
    run = ["run", *flags, "--probe", "accuracy", "--no-report", "--out", str(tmp_path / "run")]
    assert main(["-q", *run]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {(line["regime"], line["status"]) for line in lines} == {(*other, "ok")}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {"q": (5, 7), "t": (5, 7)},
            "--inputs mine.safetensors: the file holds q, t; suite 'absolute' needs p, t; rename ",
        ),
        ({"p": (5, 7), "t": (4, 7)}, "got p (5, 7), t (4, 7); allowed is one row per sample"),
        ({"p": (5,), "t": (5,)}, "allowed is one row per sample, (rows, classes) first."),
        (None, "--inputs mine.safetensors: is not a safetensors file ("),
        ("absent", "there is no file"),
    ],
    ids=["misnamed", "rows", "flat", "damaged", "absent"],
)
def test_inputs_that_do_not_fit_are_one_sentence(tensors, words, measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    path = tmp_path / "mine.safetensors"
    named = tensors if isinstance(tensors, dict) else {"p": (5, 7), "t": (5, 7)}
    flags = inputs(path, **{name: torch.zeros(shape) for name, shape in named.items()})
    if tensors is None:
        path.write_bytes(path.read_bytes()[:40])
    elif tensors == "absent":
        path.unlink()
    assert main(["plan", *flags]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_list_prints_its_rows_in_the_form_that_is_asked_for(capsys):
    forms = {}
    for layout in ("text", "json", "md", "csv"):
        assert main(["--format", layout, "list", "probes"]) == 0
        forms[layout] = capsys.readouterr().out.splitlines()
    names = [line.strip() for line in forms["text"]]
    assert "accuracy" in names
    assert [row["name"] for row in json.loads("\n".join(forms["json"]))] == names
    assert forms["csv"] == ["name,about", *(f"{name}," for name in names)]
    assert forms["md"][2:] == [f"| {name} |  |" for name in names]


def test_report_copies_the_page_of_one_run_and_refuses_two(measured, tmp_path, capsys):
    (run, *_) = [path.parent for path in measured.rglob("manifest.json")]
    assert main(["report", str(run), "-o", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text(encoding="utf-8").lstrip().startswith("<!")
    assert main(["report", str(run), str(run), "-o", "page.html"]) == 2
    assert "takes one run, 2 were given" in capsys.readouterr().err


def test_a_plan_is_a_table_with_a_row_per_trial_refused_ones_included(measured, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    flags = ["plan", "--suite", "cross_entropy", "--dtype", "float32", "--impl", "native,float64_control"]
    flags += ["--regime", "unit_normal,confident", "--classes", "10"]
    assert main(["--format", "json", *flags]) == 0
    form = json.loads(capsys.readouterr().out)
    wanted = {
        (f"{b['case']}/{n}", "planned", " ".join(p), "")
        for b in form["blocks"]
        for n, p in b["probes"].items()
    }
    wanted |= {(r["trial"], r["status"], "", r["reason"]) for r in form["refusals"]}
    assert form["refusals"]
    assert main(["--format", "csv", *flags]) == 0
    out, err = capsys.readouterr()
    head, *rows = csv.reader(out.splitlines())
    assert head == ["trial", "status", "probes", "reason"]
    assert {tuple(row) for row in rows} == wanted
    assert len(rows) == form["trials"] + len(form["refusals"])
    assert "skipped device cuda: " in err or "cuda" not in {a["value"] for a in form["absent"]}
    assert main(["--format", "md", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| trial | status | probes | reason |", "| --- | --- | --- | --- |"]
    cells = {tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines[2:]}
    assert {row[:2] for row in cells} == {row[:2] for row in wanted}
    assert main(["--format", "text", *flags]) == 0
    assert capsys.readouterr().out.startswith(f"plan {form['hash']}: ")


@pytest.mark.parametrize(
    ("layout", "line"),
    [("md", "| a\\|b | two lines |"), ("csv", '"a,b","two\nlines"')],
)
def test_text_cannot_end_a_cell_or_a_row(layout, line):
    text = ("a|b", "two\nlines") if layout == "md" else ("a,b", "two\nlines")
    assert table(layout, ("x", "y"), [text]).split("\n", 2 if layout == "md" else 1)[-1] == line


def test_report_takes_a_title_a_size_and_leaves_the_block_out(measured, monkeypatch, capsys):
    monkeypatch.chdir(measured)
    page = measured / "runs" / "latest" / "report.html"
    assert main(["report", "--title", "Nightly <1>"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("report runs/latest/report.html\n", "")
    html = page.read_text(encoding="utf-8")
    assert "<title>Nightly &lt;1&gt;</title>" in html
    assert "lossgauge · Nightly &lt;1&gt;</p>" in html
    assert 'id="block"' in html
    assert main(["report", "--no-raw"]) == 0
    assert 'id="block"' not in page.read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""
    assert main(["report", "--max-mb", "0.001"]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(
        "Left out for a page of at most 0.001 MB: the rows of the data table and the block"
    )
    assert said in page.read_text(encoding="utf-8")
    assert main(["report", "--max-mb", "0"]) == 2
    assert "--max-mb" in capsys.readouterr().err


def test_a_known_entry_is_stale_under_the_usual_seed_alone(here):
    listed = SUITE.replace(
        "Implementation(right)", 'Implementation(right, known=(Known("raises", "never"),))'
    ).replace("import Implementation,", "import Implementation, Known,")
    (here / "absolute.py").write_text(listed, encoding="utf-8")
    told = {}
    for seed in (0, 1):
        flags = "run --suite absolute.py --batch 4 --classes 3 --processes 1 --rounds 2"
        flags += f" --seed {seed} --out s{seed}"
        code = "import sys; from harness.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *flags.split(), "--no-report"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        manifest = json.loads((here / f"s{seed}" / "manifest.json").read_text(encoding="utf-8"))
        told[seed] = [sentence.partition(":")[0] for sentence in manifest.get("stale_known") or []]
    assert told == {0: ["absolute/right"], 1: []}
