"""Every question of a probe in a script of its own: fails on a planted fault, passes with a right loss.

The probes themselves find the faults, in process; scripts run in a child. The trap: a fault of one
question is found by others as well, so each row below names the question whose script is meant.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache

import pytest

from harness.block import OpenBlock
from harness.discovery import load_reference
from harness.engines import death
from harness.observation import observe
from harness.oracle.closed_form import one_thread
from harness.probes.compilation import compilation
from harness.probes.determinism import determinism
from harness.probes.invalid_input import invalid_input
from harness.probes.protocol.probe import QUESTIONS as PROTOCOL
from harness.probes.protocol.probe import protocol
from harness.probes.recheck import recheck
from harness.reproducer import questions
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.running import failure_of
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.results import Finding
from harness.tests.test_reproduce import IDENTITY, outcomes
from harness.trial import Case, Trial

PLANTED = '''
import os
from functools import partial

import torch
from torch import nn
from torch.autograd.function import Function
from harness import Contract, Implementation
from harness.tests.mutants.correct import closed_form, dense_cross_entropy, rowwise_cross_entropy
from harness.tests.mutants.suite import SUITE as FAMILY

STACK = []
STEP = {"calls": 0}

class _Passed(Function):
    """The identity whose backward is a rule."""
    @staticmethod
    def forward(ctx, loss, rule):
        ctx.rule = rule
        return loss.clone()

    @staticmethod
    def backward(ctx, upstream):
        return ctx.rule(upstream), None

def _no_one(upstream):
    return torch.where(upstream == 1, 0.0, upstream)

def _clipped(upstream):
    return upstream.clamp(0.4, 2.5)

def _taken(upstream):
    kept = upstream.clone()
    upstream.zero_()
    return kept

def ignores_one(logits, target, reduction="mean"):
    return _Passed.apply(rowwise_cross_entropy(logits, target, reduction), _no_one)

def clips_upstream(logits, target, reduction="mean"):
    return _Passed.apply(rowwise_cross_entropy(logits, target, reduction), _clipped)

def takes_upstream(logits, target, reduction="mean"):
    return _Passed.apply(rowwise_cross_entropy(logits, target, reduction), _taken)

def unasked(logits, target, reduction="mean"):
    loss = rowwise_cross_entropy(logits, target, reduction)
    return loss if torch.is_grad_enabled() and logits.requires_grad else loss / 2

def always_asked(logits, target, reduction="mean"):
    return rowwise_cross_entropy(logits, target, reduction) + 0 * torch.zeros((), requires_grad=True)

def asked_for_both(logits, target):
    loss = dense_cross_entropy(logits, target)
    return loss if logits.requires_grad == target.requires_grad else loss / 2

def loses_target(logits, target):
    loss = dense_cross_entropy(logits, target)
    return loss if logits.requires_grad else loss.detach() + torch.zeros((), requires_grad=True)

class HalvesInEval(nn.Module):
    def forward(self, logits, target):
        loss = rowwise_cross_entropy(logits, target)
        return loss if self.training else loss / 2

def reads_dense(logits, target):
    dense = logits.shape[1] if logits.dim() == 2 else 1
    read = torch.as_strided(logits, logits.shape, (dense, 1), 0)
    return rowwise_cross_entropy(read, target)

def reads_dense_labels(logits, target):
    return rowwise_cross_entropy(logits, torch.as_strided(target, target.shape, (1,), 0))

def wide_labels(logits, target):
    return rowwise_cross_entropy(logits, target if target.dtype == torch.int64 else target.roll(1).long())

def only_labels(logits, target):
    loss = rowwise_cross_entropy(logits, target)
    return loss if target.dtype == torch.int64 else loss[None]

def edges(logits, target):
    if len(logits) == 0:
        return logits.sum() + 1
    loss = rowwise_cross_entropy(logits, target)
    return loss / 2 if len(logits) == 1 or logits.shape[1] == 1031 else loss + (logits.shape[1] == 1)

def moves_version(logits, target):
    logits.detach().add_(0.0)
    return rowwise_cross_entropy(logits, target)

KEPT_WEIGHTS = {}


def keeps_weight(logits, target, weight=None):
    """The class weights are kept by their shape."""
    kept = KEPT_WEIGHTS.setdefault(tuple(weight.shape), weight.double().clone())
    return nn.functional.cross_entropy(logits.double(), target, kept).to(logits.dtype)


def scales_weight(logits, target, weight=None):
    loss = rowwise_cross_entropy(logits, target, weight=weight)
    if weight is not None:
        weight.mul_(2)
    return loss

def draws(logits, target):
    torch.rand(1)
    return rowwise_cross_entropy(logits, target)

def widens(logits, target):
    return rowwise_cross_entropy(logits, target).double()

class _Stacked(Function):
    @staticmethod
    def forward(ctx, logits, target):
        losses, gradient = closed_form(logits, target)
        STACK.append((gradient / len(logits)).to(logits.dtype))
        return losses.mean().to(logits.dtype)

    @staticmethod
    def backward(ctx, upstream):
        return STACK.pop() * upstream, None

def stacked(logits, target):
    if not (torch.is_grad_enabled() and logits.requires_grad):
        return rowwise_cross_entropy(logits, target)
    return _Stacked.apply(logits, target)

def doubled_by_autocast(logits, target):
    return rowwise_cross_entropy(logits, target) * (2 if torch.is_autocast_enabled("cpu") else 1)

class _HalfDetached(Function):
    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return closed_form(logits, target)[0].mean().to(logits.dtype)

    @staticmethod
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        p = torch.softmax(logits, 1)
        p = (p + p.detach()) / 2
        hot = torch.zeros_like(p).scatter(1, target.unsqueeze(1), 1.0)
        return (p - hot) / len(logits) * upstream, None

def half_detached(logits, target):
    return _HalfDetached.apply(logits, target)

def transformed(logits, target):
    inside = torch._C._functorch.peek_interpreter_stack() is not None
    return rowwise_cross_entropy(logits, target) * (2 if inside else 1)

def _graded(logits, target, reduction, grades):
    losses = rowwise_cross_entropy(logits, target, "none") * grades.to(logits.dtype)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()

def first_row_more(logits, target, reduction="mean"):
    return _graded(logits, target, reduction, 1 + 0.1 * (torch.arange(len(logits)) == 0))

def alone_more(logits, target, reduction="mean"):
    return _graded(logits, target, reduction, torch.full((len(logits),), 1.1 if len(logits) == 1 else 1.0))

def noisy(logits, target):
    return rowwise_cross_entropy(logits, target) * (1 + 1e-3 * torch.rand(()))

def clamps_labels(logits, target):
    return rowwise_cross_entropy(logits, target.clamp(0, logits.shape[1] - 1))

def aborts(logits, target):
    if target.max() >= logits.shape[1]:
        os.abort()
    return rowwise_cross_entropy(logits, target)

def breaks(logits, target):
    doubled = 2 * logits
    torch._dynamo.graph_break()
    return nn.functional.cross_entropy(doubled / 2, target)

def steps(logits, target):
    STEP["calls"] += 1
    return nn.functional.cross_entropy(logits, target) * (STEP["calls"] / STEP["calls"])

PLAIN = (
    ignores_one, clips_upstream, takes_upstream, unasked, always_asked, asked_for_both, loses_target,
    reads_dense, reads_dense_labels, wide_labels, only_labels, edges, moves_version, scales_weight, draws,
    keeps_weight, widens, stacked, doubled_by_autocast, half_detached, transformed, first_row_more,
    alone_more, noisy, clamps_labels, aborts,
)
SUITE = FAMILY.extended(
    *(Implementation(function) for function in PLAIN),
    Implementation(HalvesInEval, name="halves_in_eval"),
    Implementation(breaks, prepare=partial(torch.compile, backend="eager")),
    Implementation(steps, prepare=partial(torch.compile, backend="eager")),
)
'''

# question, kind, implementation, variant: float32, 8 rows, 10 classes.
ASKED = [
    ("upstream 1", "upstream", "ignores_one", "mean"),
    ("upstream 3", "upstream", "clips_upstream", "sum"),
    ("random upstream", "upstream", "m3_first_upstream", "none"),
    ("negative upstream", "upstream", "clips_upstream", "mean"),
    ("zero upstream", "upstream", "clips_upstream", "none"),
    ("expanded upstream", "upstream", "m8_dense_upstream", "none"),
    ("strided upstream", "upstream", "m8_dense_upstream", "none"),
    ("second backward", "second_backward", "m6_scaled_twice", "none"),
    ("no_grad", "grad_mode", "unasked", "none"),
    ("inference_mode", "grad_mode", "unasked", "mean"),
    ("no input requires a gradient", "grad_mode", "always_asked", "mean"),
    ("no input requires a gradient", "grad_mode", "unasked", "mean"),
    ("one input at a time", "grad_mode", "asked_for_both", "probability"),
    ("one input at a time", "no_gradient", "loses_target", "probability"),
    ("eval mode", "grad_mode", "halves_in_eval", "mean"),
    ("transposed inputs", "layout", "reads_dense", "mean"),
    ("inputs with strided entries", "layout", "reads_dense", "mean"),
    ("inputs with strided rows", "layout", "reads_dense", "mean"),
    ("inputs sliced from wider rows", "layout", "reads_dense", "mean"),
    ("inputs at an offset", "layout", "reads_dense", "mean"),
    ("channels_last inputs", "layout", "m2_lost_buffer", "images"),
    ("strided labels", "layout", "reads_dense_labels", "mean"),
    ("labels at an offset", "layout", "m11_aligned_labels", "none"),
    ("int32 labels", "layout", "wide_labels", "mean"),
    ("int32 labels", "shape", "only_labels", "mean"),
    ("zero rows", "edge_shape", "edges", "mean"),
    ("zero rows", "edge_shape", "naive_loop", "mean"),
    ("one row", "edge_shape", "edges", "mean"),
    ("one class", "edge_shape", "edges", "mean"),
    ("a prime number of classes", "edge_shape", "edges", "mean"),
    ("inputs kept", "overwrites", "m5_in_place", "weighted"),
    ("inputs kept", "overwrites", "scales_weight", "weighted"),
    ("inputs kept", "version_moved", "moves_version", "mean"),
    ("upstream kept", "overwrites", "takes_upstream", "none"),
    ("state kept", "changes_state", "draws", "mean"),
    ("new content in the same storage", "stale_result", "c2_by_address", "mean"),
    ("new content in the same options", "stale_result", "keeps_weight", "weighted"),
    ("two graphs alive", "stale_result", "stacked", "mean"),
    ("result dtype", "result_dtype", "widens", "mean"),
    ("autocast", "autocast", "doubled_by_autocast", "mean"),
    ("double backward", "second_order", "half_detached", "mean"),
    ("torch.func.grad", "functional_transform", "transformed", "mean"),
    ("torch.vmap", "functional_transform", "transformed", "mean"),
    ("determinism: repeat", "nondeterministic", "noisy", "mean"),
    ("determinism: rows", "neighbours", "first_row_more", "none"),
    ("determinism: rows", "neighbours", "alone_more", "none"),
    ("", "accepts_invalid", "clamps_labels", "mean"),
    ("", "accepts_invalid", "naive_loop", "mean"),
    ("", "graph_break", "breaks", "mean"),
    ("", "recompiles", "steps", "mean"),
]
PROBES = {
    "determinism": determinism,
    "nondeterministic": determinism,
    "neighbours": determinism,
    "accepts_invalid": invalid_input,
    "graph_break": compilation,
    "recompiles": compilation,
}


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted") / "planted_questions.py"
    path.write_text(PLANTED, encoding="utf-8")
    return load_reference(str(path))


def case_of(variant, rows=8):
    return Case("cross_entropy", variant, "unit_normal", "float32", "cpu", rows, 10, 1)


def stored(finding):
    return Finding.from_json(json.loads(json.dumps(finding.to_json())))


@pytest.fixture(scope="module")
def found_by(suite):
    """Asks a probe once per (implementation, variant) and returns its findings as a run stores them."""

    @cache
    def found(probe, name, variant):
        with warnings.catch_warnings():
            # The compiler imports what warns; in a worker that is no error.
            warnings.simplefilter("ignore")
            return tuple(map(stored, probe(OpenBlock(suite, case_of(variant), 0), name).findings))

    return found


def written(found, **given):
    return script(found, identity=IDENTITY, command="lossgauge show x --repro", **given)


def right_one(suite, case, kind=""):
    """Returns a clean control of a case; the mutants' ground looks at no label, so it accepts all."""
    if kind in ("accepts_invalid", "kills_process"):
        return suite.implementation("exact_gradient")
    return suite.implementation("ground_dense" if case.variant == "probability" else "ground_rowwise")


def test_every_question_of_the_protocol_has_lines_and_a_planted_fault():
    names = {question.name for question in PROTOCOL}
    assert names == {question for question, *_ in ASKED if question and ":" not in question}
    assert set(questions.QUESTIONS) == names | {"determinism: repeat", "determinism: rows"}


def test_the_script_of_every_question_fails_on_its_fault_and_passes_with_a_right_loss(
    suite, found_by, tmp_path
):
    failing, passing, messages = [], [], {}
    for question, kind, name, variant in ASKED:
        findings = found_by(PROBES.get(kind, protocol), name, variant)
        finding = next(
            (f for f in findings if f.kind == kind and f.witness.get("question", "") == question), None
        )
        asked = (question, kind, name)
        assert finding is not None, (asked, [(f.kind, f.group, f.message) for f in findings])
        found = reproduced(suite, Trial(case_of(variant), name), finding, 0)
        assert found.again, asked
        failing.append(written(found))
        passing.append(written(found, stand_in=right_one(suite, found.trial.case, kind)))
        for package in ("harness", "suites", "flint", "numpy"):
            assert f"import {package}" not in failing[-1], asked
            assert f"from {package}" not in failing[-1], asked
    said = outcomes(tmp_path, failing)
    for asked, (error, message) in zip(ASKED, said, strict=True):
        assert error == "AssertionError", (asked, error, message)
        messages[asked[0], asked[1], asked[2]] = message
    right = outcomes(tmp_path, passing)
    assert [(asked, error) for asked, error in zip(ASKED, right, strict=True) if error != ("", "")] == []
    for (question, kind, name), words in {
        ("inputs kept", "overwrites", "scales_weight"): "forward wrote into weight",
        ("inputs kept", "version_moved", "moves_version"): "forward moved the version of logits",
        ("upstream kept", "overwrites", "takes_upstream"): "wrote into the upstream gradient",
        ("state kept", "changes_state", "draws"): "changed torch's random state",
        ("result dtype", "result_dtype", "widens"): "returns float64 for float32 inputs",
        ("no input requires a gradient", "grad_mode", "always_asked"): "requires a gradient that nobody",
        ("one input at a time", "no_gradient", "loses_target"): "no gradient reached target",
        ("double backward", "second_order", "half_detached"): "Hessian-vector product wrong by 50 %",
        ("zero rows", "edge_shape", "naive_loop"): "raised on valid input: RuntimeError",
        ("determinism: rows", "neighbours", "first_row_more"): "in another order of rows",
        ("determinism: rows", "neighbours", "alone_more"): "in a batch of 1",
        ("transposed inputs", "layout", "reads_dense"): "wrong for the same numbers in another memory layout",
        ("", "accepts_invalid", "naive_loop"): "an invalid input with a number",
        ("", "graph_break", "breaks"): "compiled with graph breaks: 1",
        ("", "recompiles", "steps"): "recompiled for an unchanged shape",
    }.items():
        assert words in messages[question, kind, name]


def test_a_call_that_ends_the_process_is_made_in_a_child_of_the_script(suite):
    trial = Trial(case_of("mean"), "aborts")
    (finding,) = death(trial, "invalid_input", "crashed", "killed by SIGABRT", "").findings
    found = reproduced(suite, trial, stored(finding), 0)
    assert found.again
    assert len(found.stand.sample["logits"]) == 20480
    text = written(found)
    assert len(text) < 20_000
    right = written(found, stand_in=suite.implementation("exact_gradient"))
    message = failure_of(text)
    assert "label_beyond_classes on " in message
    assert "return code -6" in message
    assert failure_of(right) is None


@pytest.mark.parametrize(
    ("name", "calls", "words"),
    [
        ("c4_tires_of_it", 300, "than 512 calls before on the same inputs"),
        ("c2_by_address", 1, "of unseen inputs differs in storage that was used"),
        ("c2_by_shape", 1, "right before timing, wrong after it on unseen inputs"),
    ],
)
def test_what_is_wrong_after_timing_is_called_as_often_and_asked_again(name, calls, words, suite):
    case = case_of("mean", rows=256)
    block = OpenBlock(suite, case, 0)
    bound, stand = block.bound(name), block.standard(name)
    before = observe(bound, stand, "float32", "cpu", "timing")
    used = stand.sample.mapped(lambda tensor: tensor.clone())
    used["logits"].requires_grad_(True)
    for _ in range(calls):
        bound.loss(used.tensors)
    finding = recheck(block, name, bound, before, used, "timing")
    assert finding is not None
    found = reproduced(suite, Trial(case, name), stored(finding), 0)
    assert found.again
    assert words in failure_of(written(found))
    right = written(found, stand_in=suite.implementation("ground_fused"))
    assert failure_of(right) is None


def test_rows_are_left_out_of_a_question_and_its_place_moves_with_them(suite, found_by):
    findings = found_by(protocol, "m3_first_upstream", "none")
    finding = next(f for f in findings if f.witness["question"] == "random upstream")
    row, column = finding.witness["place"]
    found = reproduced(suite, Trial(case_of("none"), "m3_first_upstream"), finding, 0)
    assert 1 < len(found.kept) < 8
    assert found.place == (found.kept.index(row), column)
    whole = OpenBlock(suite, case_of("none"), 0).standard("m3_first_upstream").sample["logits"]
    assert found.stand.sample["logits"].equal(whole[list(found.kept)])


def test_an_answer_that_depends_on_earlier_calls_is_said_to_do_so(suite, found_by):
    findings = found_by(protocol, "m3_first_upstream", "none")
    finding = next(f for f in findings if f.witness["question"] == "random upstream")
    found = reproduced(suite, Trial(case_of("none"), "ground_rowwise"), finding, 0)
    assert not found.again
    assert "did not show the finding again; it may depend on the calls before it" in " ".join(
        written(found).replace("#", "").split()
    )


def test_an_invalid_input_that_is_no_more_is_refused_in_a_sentence(suite, found_by):
    finding = found_by(invalid_input, "clamps_labels", "mean")[0]
    trial = Trial(case_of("mean"), "clamps_labels")
    with pytest.raises(NoReproducerError, match="has no invalid input label_beside any more"):
        reproduced(suite, trial, replace(finding, group="label_beside"), 0)
