"""A run directory under a full disk, a second run, another command and strangers' files: nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from harness.claim import claimed
from harness.errors import RunError, StorageError, UsageError, writing
from harness.journal import SampleLog
from harness.run import json_lines, load_run, read_results
from harness.tests.forked import lossgauge

SUITE = """\
import torch
from harness import Implementation, Regime, Sample, Suite
def per_row(p, t): return (p - t).abs().mean(1)
def right(p, t): return (p - t).abs().mean()
def again(p, t): return (p - t).abs().mean()
def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)
SUITE = Suite(name="absolute", oracle=per_row, regimes=(Regime(normal),),
              implementations=(Implementation(right), Implementation(again)))
"""
ASKED = ("--suite", "absolute.py", "--probe", "accuracy", "--batch", "4", "--classes", "3", "--workers", "1")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A working directory with a suite file and the finished run `kept`."""
    folder = tmp_path_factory.mktemp("directory")
    (folder / "absolute.py").write_text(SUITE, encoding="utf-8")
    done = run(folder, "--out", "kept")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(measured, tmp_path):
    """A copy of that directory."""
    return shutil.copytree(measured, tmp_path / "here")


def run(folder, *words, verb="run", limit_bytes=None):
    """Runs the command line in a folder; `limit_bytes` is what a file may grow to, as on a full disk."""
    flags = (*ASKED, "--no-report") if verb == "run" else ()
    return lossgauge(folder, verb, *flags, *words, limit_bytes=limit_bytes)


def said(done, code):
    """Returns the one sentence that a command ended with."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lossgauge: ")
    return last


def test_a_disk_that_fills_up_costs_what_was_not_yet_written(here):
    size = (here / "kept" / "results.jsonl").stat().st_size
    manifest = (here / "kept" / "manifest.json").stat().st_size
    # The manifest has to fit and the journal must not: both are files under the same limit.
    asked = ("--out", "full", "--variant", "mean")
    limit = max(manifest + 4096, 16384)
    (here / "full").mkdir()
    lines = (here / "kept" / "results.jsonl").read_bytes()
    (here / "full" / "results.jsonl").write_bytes(lines * (limit // size) + lines[: limit % size - 10])
    kept = (here / "full" / "results.jsonl").read_bytes()
    whole_lines = kept[: kept.rindex(b"\n") + 1]
    sentence = said(run(here, *asked, "--retry", "ok", limit_bytes=limit), 3)
    assert (
        "full/results.jsonl: cannot be written: File too large; what was measured before is kept" in sentence
    )
    after = (here / "full" / "results.jsonl").read_bytes()
    assert after.startswith(whole_lines)
    done = run(here, *asked)
    assert done.returncode == 0, done.stderr
    results, torn = read_results(here / "full" / "results.jsonl")
    assert torn == 0
    assert (here / "full" / "results.jsonl").read_bytes().startswith(whole_lines)
    assert len({(r.trial.id, r.probe) for r in results}) == lines.count(b"\n")


def test_a_line_that_the_disk_takes_in_parts_is_written_whole(tmp_path, monkeypatch):
    log = SampleLog(tmp_path / "samples.jsonl")
    taken = log._lines._file.write

    class InParts:
        def __init__(self, file):
            self._file = file

        def write(self, rest):
            return taken(rest[:7])

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr(log._lines, "_file", InParts(log._lines._file))
    log.append({"trial": "λ" * 20})
    log.flush()
    log.close()
    assert json_lines(tmp_path / "samples.jsonl") == ([{"trial": "λ" * 20}], 0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--seed", "1"), "kept: was measured with seed 0, not 1"),
        (
            ("--dtype", "float32"),
            "kept: holds 6 trials that this command does not ask for, such as absolute/",
        ),
        (("--impl", "right"), "kept: holds 4 trials that this command does not ask for"),
    ],
    ids=["seed", "dtypes", "implementations"],
)
def test_answers_of_another_command_are_not_mixed_in(more, words, here):
    before = {path.name: path.read_bytes() for path in (here / "kept").iterdir()}
    sentence = said(run(here, "--out", "kept", *more), 2)
    assert words in sentence
    assert "use another --out, or --fresh to measure again." in sentence
    assert {path.name: path.read_bytes() for path in (here / "kept").iterdir()} == before
    assert run(here, "--out", "kept", "--fresh", *more).returncode == 0
    manifest = load_run(here / "kept").manifest
    assert manifest["coverage"]["expected"] == len(load_run(here / "kept").results)


def test_a_command_that_asks_for_more_continues(here):
    assert run(here, "--out", "new", "--dtype", "float32").returncode == 0
    done = run(here, "--out", "new")
    assert done.returncode == 0, done.stderr
    assert "2 answers reused from new" in done.stderr


def test_one_run_at_a_time_writes_into_a_folder(here):
    with claimed(here / "new"):
        sentence = said(run(here, "--out", "new"), 2)
        assert "new: another lossgauge run is writing there" in sentence
        assert list((here / "new").iterdir()) == []
    assert run(here, "--out", "new").returncode == 0
    with (
        claimed(here / "kept"),
        pytest.raises(RunError, match="another lossgauge run"),
        claimed(here / "kept"),
    ):
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_called_latest_and_is_no_link_is_left_alone(kind, here):
    theirs = here / "runs" / "latest"
    beside = here / "latest"
    for path in (theirs, beside):
        path.parent.mkdir(exist_ok=True)
        if kind == "file":
            path.write_text("a checkpoint", encoding="utf-8")
        else:
            path.mkdir()
            (path / "weights").write_text("a checkpoint", encoding="utf-8")
    assert run(here, "--impl", "right").returncode == 0
    assert run(here, "--impl", "right", "--out", "mine").returncode == 0
    for path in (theirs, beside):
        held = path if kind == "file" else path / "weights"
        assert held.read_text(encoding="utf-8") == "a checkpoint"


def test_a_run_elsewhere_makes_no_link_beside_it(here):
    assert not (here / "latest").is_symlink()
    assert run(here).returncode == 0
    assert (here / "runs" / "latest").is_symlink()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "holds a list and no manifest"),
        (b"\xff\xfe", "is not text"),
        (b'{"seed": 0', "not JSON (Expecting ',' delimiter at line 1)"),
        (b'{"seed": 0}', "lacks 'environment'"),
    ],
    ids=["list", "bytes", "cut", "empty"],
)
def test_a_damaged_manifest_is_one_sentence_and_removing_it_keeps_the_answers(content, words, here):
    manifest = here / "kept" / "manifest.json"
    manifest.write_bytes(content)
    before = (here / "kept" / "results.jsonl").read_bytes()
    sentence = said(run(here, "--out", "kept"), 2)
    assert f"manifest.json: {words}; restore it, or remove it and give" in sentence
    manifest.unlink()
    done = run(here, "--out", "kept")
    assert done.returncode == 0, done.stderr
    assert (here / "kept" / "results.jsonl").read_bytes() == before


def test_a_moved_folder_keeps_its_answers(here):
    before = (here / "kept" / "results.jsonl").read_bytes()
    done = run(here, "--out", "kept")
    assert done.returncode == 0, done.stderr
    assert f"{len(before.splitlines())} answers reused" in done.stderr
    assert (here / "kept" / "results.jsonl").read_bytes() == before


def test_a_run_of_another_schema_is_not_read_as_one_of_this(here):
    manifest = here / "kept" / "manifest.json"
    form = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**form, "schema": 9, "lossgauge": "7.0"}), encoding="utf-8")
    for verb, words in (("report", ("kept",)), ("show", ("--run", "kept", "--worst", "1"))):
        sentence = said(run(here, *words, verb=verb), 2)
        assert "was written by lossgauge 7.0 in schema 9, this one reads 1" in sentence


def test_a_folder_that_takes_no_files_is_one_sentence(here):
    (here / "file").write_text("", encoding="utf-8")
    sentence = said(run(here, "--out", "file"), 2)
    assert sentence.endswith("file: cannot be written: File exists; give --out a folder that takes files.")
    sentence = said(run(here, "kept", "-o", "absent/page.html", verb="report"), 2)
    assert "absent/page.html: cannot be written: No such file or directory; give -o a file" in sentence
    (here / "kept" / "report.html").unlink()
    (here / "kept" / "report.html").mkdir()
    sentence = said(run(here, "kept", verb="report"), 3)
    assert "kept: cannot be written: Is a directory (kept/report.html)" in sentence


def test_a_run_without_an_answer_is_not_said_to_be_clean(here):
    os.truncate(here / "kept" / "results.jsonl", 0)
    sentence = said(run(here, "--run", "kept", "--worst", "3", verb="show"), 2)
    assert "kept holds no result; nothing has been measured there." in sentence


def test_what_the_system_refuses_names_the_file_and_the_next_step(tmp_path):
    with pytest.raises(StorageError) as raised, writing(tmp_path / "a", "go on"):
        (tmp_path / "absent" / "a").write_text("", encoding="utf-8")
    folder = tmp_path / "absent" / "a"
    assert str(raised.value) == (
        f"{tmp_path / 'a'}: cannot be written: No such file or directory ({folder}); go on."
    )
    with pytest.raises(UsageError), writing(Path("x"), "go on", UsageError):
        raise OSError(28, "No space left on device")


def test_a_manifest_is_never_half_written(here):
    before = json.loads((here / "kept" / "manifest.json").read_text(encoding="utf-8"))
    size = (here / "kept" / "manifest.json").stat().st_size
    sentence = said(run(here, "--out", "kept", limit_bytes=size // 2), 3)
    assert "kept/manifest.json: cannot be written: File too large" in sentence
    assert json.loads((here / "kept" / "manifest.json").read_text(encoding="utf-8")) == before
    assert not (here / "kept" / "manifest.json.new").exists()
