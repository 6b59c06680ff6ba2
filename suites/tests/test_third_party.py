"""Adapters of other packages: what is said where they are absent, what an adapter hands over, what it finds.

No package is needed: absence is made, and liger's place is taken by modules of the same names that carry a
released fault of liger. The packages themselves are asked by `nox -s third_party`.
"""

from __future__ import annotations

import importlib
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

import suites.third_party
from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.discovery import Selection, builtin_suites, discover
from harness.errors import SuiteError
from harness.probes.accuracy import accuracy
from harness.probes.protocol.probe import protocol
from harness.results import Finding, Result
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.third_party import ADAPTERS, TINY, AbsentError, alone, loaded, module, package
from suites.third_party import __main__ as session

FOLDER = Path(suites.third_party.__file__).parent
REFERENCES = [reference for adapter in ADAPTERS for reference in adapter.suites]
ROOTS = ("liger_kernel", "cut_cross_entropy", "kornia", "entmax", "info_nce", "triton")


def forgotten(monkeypatch):
    """Lets the adapters be imported anew, and forgets them again afterwards."""
    for reference in REFERENCES:
        monkeypatch.delitem(sys.modules, reference.partition(":")[0], raising=False)


class Absence:
    """Finds none of the packages, as a machine without them does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ROOTS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def nothing_installed(monkeypatch):
    for root in ROOTS:
        for name in [name for name in sys.modules if name.partition(".")[0] == root]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absence, *sys.meta_path])
    forgotten(monkeypatch)
    yield
    for reference in REFERENCES:
        sys.modules.pop(reference.partition(":")[0], None)


def case_of(suite, variant="mean", regime="unit_normal", dtype="float32", batch=8, classes=10):
    return Case(suite.name, variant, regime, dtype, "cpu", batch, classes, 1)


def groups(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.usefixtures("nothing_installed")
def test_absent_package_is_one_sentence(reference):
    with pytest.raises(AbsentError) as caught:
        loaded(reference)
    sentence = str(caught.value)
    assert "is not installed" in sentence
    assert "pip install --no-deps" in sentence
    assert "\n" not in sentence


@pytest.mark.usefixtures("nothing_installed")
def test_command_line_says_the_sentence_of_an_absent_package():
    with pytest.raises(SuiteError, match="kornia is not installed") as caught:
        discover(Selection(suites=(str(FOLDER / "kornia.py"),)))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nothing_installed")
def test_session_skips_every_absent_package_and_ends_well(monkeypatch):
    monkeypatch.setattr(session.subprocess, "run", lambda *a, **k: pytest.fail("nothing is there to be run"))
    result = CliRunner().invoke(session.main, [])
    assert result.exit_code == 0, result.output
    assert [line.partition(": skipped, ")[0] for line in result.output.splitlines()] == REFERENCES


def test_package_that_breaks_at_import_is_not_absent(monkeypatch, tmp_path):
    (tmp_path / "breaks_at_import.py").write_text("raise RuntimeError('no driver')")
    (tmp_path / "needs_another.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SuiteError, match="breaks cannot be imported: RuntimeError: no driver") as caught:
        package("breaks", "breaks_at_import")
    assert not isinstance(caught.value, AbsentError)
    with pytest.raises(SuiteError, match="without no_such_dependency") as caught:
        package("needs", "needs_another")
    assert not isinstance(caught.value, AbsentError)


def test_every_adapter_is_listed_and_none_is_in_the_default_sweep():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__", "interpreter"}
    listed = {reference.partition(":")[0].rpartition(".")[2] for reference in REFERENCES}
    assert listed == files
    assert not any("third_party" in label for label, _ in builtin_suites())


class Spelt(nn.Module):
    """Cross-entropy under words of its own, with an argument that nobody else has."""

    def __init__(self, reduction="elementwise_mean", scale=2.0):
        super().__init__()
        self.reduction, self.scale = {"elementwise_mean": "mean"}.get(reduction, reduction), scale

    def forward(self, logits, target):
        return self.scale * F.cross_entropy(logits, target, reduction=self.reduction)


@pytest.mark.parametrize(("scale", "found"), [(1.0, False), (1.001, True)])
def test_module_is_built_with_translated_options_and_fixed_arguments(scale, found):
    words = {"mean": "elementwise_mean"}
    suite = alone(CROSS_ENTROPY, module(Spelt, name="spelt", words=words, scale=scale), shapes=TINY)
    assert [item.name for item in suite.implementations] == ["spelt"]
    assert suite.oracle is CROSS_ENTROPY.oracle
    bound = bind(suite.implementation("spelt"), {"reduction": "mean", "weight": None}, {})
    assert (bound.call.reduction, bound.call.scale) == ("mean", scale)
    assert admission(suite, suite.implementation("spelt"), case_of(suite, "weighted"))[0] == "unsupported"
    answer = accuracy(OpenBlock(suite, case_of(suite), 0), "spelt")
    assert bool(groups(answer)) is found


class _GradientInTheLogits(torch.autograd.Function):
    """liger 0.6.3 to 0.8.5: the gradient is written into a contiguous copy, the caller's logits are kept."""

    @staticmethod
    def forward(ctx, logits, target, weight, ignore_index, label_smoothing, reduction):
        gradient = logits if logits.stride(-1) == 1 else logits.contiguous()
        with torch.enable_grad():
            leaf = logits.detach().clone().requires_grad_()
            options = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
            loss = F.cross_entropy(leaf, target, reduction=reduction, **options)
            (slope,) = torch.autograd.grad(loss.sum(), [leaf])
        gradient.detach().copy_(slope)
        ctx.save_for_backward(logits.detach())
        return loss.detach()

    @staticmethod
    def backward(ctx, upstream):
        (stored,) = ctx.saved_tensors
        upstream = upstream.unsqueeze(1) if upstream.dim() else upstream
        return stored * upstream, None, None, None, None, None


class ReleasedCrossEntropy(nn.Module):
    def __init__(self, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
        super().__init__()
        self.options = (weight, ignore_index, label_smoothing, reduction)

    def forward(self, logits, target):
        return _GradientInTheLogits.apply(logits, target, *self.options)


class _Scalar:
    def __init__(self, handle, dtype):
        self.handle, self.dtype = handle, dtype


@pytest.fixture
def liger(monkeypatch):
    """Stands in for liger-kernel and Triton, with the fault of the released versions."""
    language = types.SimpleNamespace(float32="fp32", tensor=_Scalar)
    interpreter = types.ModuleType("triton.runtime.interpreter")
    interpreter.tl = language
    interpreter.TensorHandle = lambda data, dtype: (data, dtype)
    interpreter._implicit_cvt = lambda argument: argument
    transformers = types.ModuleType("liger_kernel.transformers")
    transformers.LigerCrossEntropyLoss = ReleasedCrossEntropy
    transformers.LigerFusedLinearCrossEntropyLoss = transformers.LigerKLDIVLoss = ReleasedCrossEntropy
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for name in ("triton", "triton.runtime", "liger_kernel"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interpreter.__name__, interpreter)
    monkeypatch.setitem(sys.modules, transformers.__name__, transformers)
    forgotten(monkeypatch)
    yield importlib.import_module("suites.third_party.liger")
    sys.modules.pop("suites.third_party.liger", None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="liger is asked on CUDA here")
def test_strided_logits_of_liger_are_found_by_the_usual_questions(liger):
    suite = liger.SUITE
    found = groups(protocol(OpenBlock(suite, case_of(suite), 0), "liger"))
    assert ("layout", "transposed inputs") in found
    assert ("layout", "inputs with strided entries") in found
    # Nothing else: padded rows, offsets and upstream gradients are right, and zero rows are.
    assert {group for kind, group in found if kind == "layout"} == {
        "transposed inputs",
        "inputs with strided entries",
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="liger is asked on CUDA here")
def test_liger_is_tiny_never_timed_and_interpreted(liger, monkeypatch):
    import os

    assert os.environ["TRITON_INTERPRET"] == "1"
    for suite in (liger.SUITE, liger.FUSED_LINEAR, liger.KL_DIV):
        assert suite.shapes.timed == ()
        (only,) = suite.implementations
        assert only.contract.devices == ("cpu",)
        assert "bfloat16" not in only.contract.dtypes
        assert only.skip(replace_batch(65)) is not None
        assert only.skip(replace_batch(16)) is None


def test_where_cuda_is_there_nothing_is_interpreted(monkeypatch):
    import os

    from suites.third_party.interpreter import device

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device() == "cuda"
    assert "TRITON_INTERPRET" not in os.environ


def replace_batch(batch):
    return TINY.usual._replace(batch=batch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is interpreted here")
@pytest.mark.usefixtures("liger")
def test_python_floats_are_float32_scalars_under_the_interpreter():
    from suites.third_party.interpreter import device

    interpreter = sys.modules["triton.runtime.interpreter"]
    before = interpreter._implicit_cvt
    assert device() == "cpu"
    assert interpreter._implicit_cvt is before
    scalar = interpreter._implicit_cvt(0.1)
    assert scalar.dtype == "fp32"
    assert scalar.handle[0].dtype == np.float32
    assert interpreter._implicit_cvt(3) == 3


def test_session_prints_counts_and_first_words(monkeypatch):
    trial = Trial(case_of(CROSS_ENTROPY), "liger")
    bad = Finding("layout", "error", "protocol", "transposed inputs", "the logits came back")
    declared = replace(bad, kind="overwrites", known="by design")
    note = replace(bad, severity="note")
    results = (Result(trial, "protocol", "ok", "", (bad, declared, note), {}, {}),) * 2
    monkeypatch.setattr(session, "load_run", lambda folder: types.SimpleNamespace(results=results))
    lines = list(session._lines("torch", Path("runs/x")))
    assert lines == [
        f"torch {torch.__version__}: 2 answers, 2 findings, 2 known; runs/x",
        "     2 x error layout, protocol: transposed inputs (liger)",
        f"         {trial.id}: the logits came back",
        "     2 x known: by design",
    ]


def test_one_line_adapter_of_the_documentation_is_a_suite():
    suite = CROSS_ENTROPY.extended(module(Spelt, words={"mean": "elementwise_mean"}, scale=1.0))
    assert isinstance(suite.implementation("Spelt"), Implementation)
    assert groups(accuracy(OpenBlock(suite, case_of(suite), 0), "Spelt")) == set()
