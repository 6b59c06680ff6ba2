"""A user's own tensors: labels must fit the logits, and ignored rows are for those that can ignore."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from harness.cli import main
from harness.discovery import Selection, discover
from harness.errors import UsageError
from harness.recorded import inputs_regime

LOGITS = torch.linspace(-2.0, 2.0, 12).reshape(4, 3)


@pytest.fixture(scope="module")
def suite():
    return discover(Selection(suites=("cross_entropy",))).suites["cross_entropy"]


def saved(path, target, logits=LOGITS):
    save_file({"logits": logits, "target": torch.as_tensor(target)}, path / "mine.safetensors")
    return path / "mine.safetensors"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([0, 1, 2, 3], "target holds 3 in row 3 (1 of 4 rows are out of range); with 3 classes allowed is "),
        ([0, -1, 2, -1], "target holds -1 in row 1 (2 of 4 rows are out of range)"),
        ([-101, 1, 2, 0], "target holds -101 in row 0 (1 of 4 rows are out of range)"),
        ([0, 1 << 40, 2, 0], f"target holds {1 << 40} in row 1"),
        ([0.0, 1.0, 2.0, 0.0], "target is torch.float32; class labels are whole numbers"),
    ],
)  # fmt: skip
def test_a_label_that_is_no_class_ends_with_2_and_one_sentence(target, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, target)
    assert main(["run", "--suite", "cross_entropy", "--inputs", str(path), "--no-report"]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "--inputs mine.safetensors: " in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_the_first_and_the_last_class_fit(dtype, suite, tmp_path):
    regime = inputs_regime(saved(tmp_path, torch.tensor([0, 2, 1, 0], dtype=dtype)), suite)
    assert (regime.batch, regime.classes, regime.needs) == (4, 3, ())


def test_the_ignore_index_fits_and_is_asked_of_those_who_take_it(suite, tmp_path):
    regime = inputs_regime(saved(tmp_path, [0, -100, 2, -100]), suite)
    assert regime.needs == ("ignore_index",)


def test_without_an_ignore_index_no_negative_label_fits(suite, tmp_path):
    from dataclasses import replace

    options = {name: value for name, value in suite.options.items() if name != "ignore_index"}
    plain = [v for v in suite.variants if set(v.options) <= set(options)]
    bare = replace(
        suite, options=options, variants=tuple(plain),
        regimes=tuple(r for r in suite.regimes if not r.needs),
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"holds -100 in row 1 .* allowed is 0 to 2\.$"):
        inputs_regime(saved(tmp_path, [0, -100, 2, 1]), bare)


def test_labels_that_fit_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, [0, -100, 2, 1])
    flags = [
        "--suite",
        "cross_entropy",
        "--inputs",
        str(path),
        "--impl",
        "native,naive_loop",
        "--variant",
        "mean",
    ]
    flags += ["--dtype", "float32", "--probe", "accuracy", "--workers", "1", "--no-report", "--out", "run"]
    assert main(["-q", "run", *flags]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    found = {(line["implementation"], line["status"]) for line in lines}
    assert ("native", "ok") in found
    capsys.readouterr()
