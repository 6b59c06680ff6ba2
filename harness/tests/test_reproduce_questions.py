"""Every question of a probe in a script of its own: fails on a planted fault, passes with a right loss.

The probes themselves find the faults, in process; scripts run in a child. The trap: a fault of one
question is found by others as well, so each row below names the question whose script is meant.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from harness import Implementation
from harness.block import OpenBlock
from harness.discovery import load_reference
from harness.engines import death
from harness.observation import observe
from harness.oracle.chunks import one_thread
from harness.probes.compilation import compilation
from harness.probes.determinism import determinism
from harness.probes.invalid_input import invalid_input
from harness.probes.protocol.probe import QUESTIONS as PROTOCOL
from harness.probes.protocol.probe import protocol
from harness.probes.recheck import recheck
from harness.reproducer import questions
from harness.reproducer.refusals import _literal
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.running import Ended, ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.results import Finding
from harness.tests.reproducing import IDENTITY, outcomes
from harness.trial import Case, Trial

# Its sources go into scripts, so it is loaded as a suite file of its own.
PLANTED = Path(__file__).with_name("planted_questions.py")

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
    ("some inputs require a gradient", "grad_mode", "asked_for_both", "probability"),
    ("some inputs require a gradient", "no_gradient", "loses_target", "probability"),
    ("eval mode", "grad_mode", "halves_in_eval", "mean"),
    ("transposed inputs", "layout", "reads_dense", "mean"),
    ("inputs with strided entries", "layout", "reads_dense", "mean"),
    ("inputs with strided rows", "layout", "reads_dense", "mean"),
    ("inputs sliced from wider rows", "layout", "reads_dense", "mean"),
    ("inputs at an offset", "layout", "reads_dense", "mean"),
    ("channels_last inputs", "layout", "m2_lost_buffer", "images"),
    ("strided labels", "layout", "reads_dense_labels", "mean"),
    ("labels at an offset", "layout", "m11_aligned_labels", "none"),
    ("transposed labels", "layout", "reads_dense_images_of_labels", "images"),
    ("labels with strided entries", "layout", "reads_dense_images_of_labels", "images"),
    ("strided options", "layout", "reads_dense_weight", "weighted"),
    ("int32 labels", "layout", "wide_labels", "mean"),
    ("int32 labels", "shape", "only_labels", "mean"),
    ("zero rows", "edge_shape", "edges", "mean"),
    ("zero rows", "edge_shape", "naive_loop", "mean"),
    ("one row", "edge_shape", "edges", "mean"),
    ("one class", "edge_shape", "edges", "mean"),
    ("a prime number of classes", "edge_shape", "edges", "mean"),
    ("a prime number of rows", "edge_shape", "edges", "mean"),
    ("inputs kept", "overwrites", "m5_in_place", "weighted"),
    ("inputs kept", "overwrites", "scales_weight", "weighted"),
    ("inputs kept", "version_moved", "moves_version", "mean"),
    ("inputs kept", "overwrites", "fills_grad", "mean"),
    ("upstream kept", "overwrites", "takes_upstream", "none"),
    ("gradients kept", "overwrites", "hands_out_a_workspace", "mean"),
    ("state kept", "changes_state", "draws", "mean"),
    ("new content in the same storage", "stale_result", "c2_by_address", "mean"),
    ("new content in the same options", "stale_result", "keeps_weight", "weighted"),
    ("two graphs alive", "stale_result", "stacked", "mean"),
    ("result dtype", "result_dtype", "widens", "mean"),
    ("autocast", "autocast", "doubled_by_autocast", "mean"),
    ("double backward", "second_order", "half_detached", "mean"),
    ("double backward through upstream", "second_order", "upstream_detached", "mean"),
    ("torch.func.grad", "functional_transform", "transformed", "mean"),
    ("torch.vmap", "functional_transform", "transformed", "mean"),
    ("determinism: repeat", "nondeterministic", "noisy", "mean"),
    ("determinism: threads", "nondeterministic", "lost_in_parallel", "mean"),
    ("determinism: threads", "nondeterministic", "races", "mean"),
    ("determinism: rows", "neighbours", "first_row_more", "none"),
    ("determinism: rows", "neighbours", "alone_more", "none"),
    ("", "accepts_invalid", "clamps_labels", "mean"),
    ("", "accepts_invalid", "naive_loop", "mean"),
    ("", "error_parity", "forgets_its_check", "mean"),
    ("", "graph_break", "breaks", "mean"),
    ("", "recompiles", "steps", "mean"),
]
PROBES = {
    "determinism": determinism,
    "nondeterministic": determinism,
    "neighbours": determinism,
    "accepts_invalid": invalid_input,
    "error_parity": invalid_input,
    "graph_break": compilation,
    "recompiles": compilation,
}


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def suite():
    return load_reference(str(PLANTED))


def case_of(variant, rows=None):
    # Eight rows are one image of one line, whose axes cannot be told apart.
    rows = rows or (64 if variant == "images" else 8)
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
    if kind in ("accepts_invalid", "error_parity", "kills_process"):
        return suite.implementation("exact_gradient")
    return suite.implementation("ground_dense" if case.variant == "probability" else "ground_rowwise")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5, -1, 255])
def test_a_changed_entry_is_written_as_python_reads_it(value):
    assert repr(eval(_literal(value))) == repr(value)


def test_every_question_of_the_protocol_has_lines_and_a_planted_fault():
    names = {question.name for question in PROTOCOL}
    assert names == {question for question, *_ in ASKED if question and ":" not in question}
    assert set(questions.QUESTIONS) == names | {
        f"determinism: {name}" for name in ("repeat", "threads", "rows")
    }


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
        ("inputs kept", "overwrites", "fills_grad"): "forward filled logits.grad",
        ("gradients kept", "overwrites", "hands_out_a_workspace"): "a later backward wrote into",
        ("upstream kept", "overwrites", "takes_upstream"): "wrote into the upstream gradient",
        ("state kept", "changes_state", "draws"): "changed torch's random state",
        ("result dtype", "result_dtype", "widens"): "returns float64 for float32 inputs",
        ("no input requires a gradient", "grad_mode", "always_asked"): "requires a gradient that nobody",
        ("some inputs require a gradient", "no_gradient", "loses_target"): "no gradient reached target",
        ("double backward", "second_order", "half_detached"): "Hessian-vector product wrong by 50 %",
        ("double backward through upstream", "second_order", "upstream_detached"): "wrong by 100 %",
        ("zero rows", "edge_shape", "naive_loop"): "raised on valid input: RuntimeError",
        ("determinism: threads", "nondeterministic", "lost_in_parallel"): "loss is another on 2 threads",
        ("determinism: threads", "nondeterministic", "races"): "loss is another on 2 threads",
        ("determinism: rows", "neighbours", "first_row_more"): "in another order of rows",
        ("determinism: rows", "neighbours", "alone_more"): "in a batch of 1",
        ("transposed inputs", "layout", "reads_dense"): "wrong for the same numbers in another memory layout",
        ("", "accepts_invalid", "naive_loop"): "an invalid input with a number",
        ("", "error_parity", "forgets_its_check"): "answers a number compiled and raises as it is",
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
    message = ended(text).failure
    assert "label_beyond_classes on " in message
    assert "return code -6" in message
    assert ended(right).failure is None


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
    assert words in ended(written(found)).failure
    right = written(found, stand_in=suite.implementation("ground_fused"))
    assert ended(right).failure is None


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


def refuses(logits, target, reduction="mean"):
    raise RuntimeError("no licence\non this machine")


def test_what_stops_a_script_before_it_can_tell_stands_in_its_head(suite, found_by):
    findings = found_by(protocol, "m3_first_upstream", "none")
    finding = next(f for f in findings if f.witness["question"] == "random upstream")
    stopped = suite.extended(Implementation(refuses))
    found = reproduced(stopped, Trial(case_of("none"), "refuses"), finding, 0)
    assert (found.again, found.instead) == (False, "RuntimeError: no licence\non this machine")
    assert ended(written(found)).raised == found.instead
    assert (
        "did not show the finding again; the script ends in RuntimeError: no licence on this machine "
        "before it can tell"
    ) in " ".join(written(found).replace("#", "").split())


def test_an_invalid_input_that_is_no_more_is_refused_in_a_sentence(suite, found_by):
    finding = found_by(invalid_input, "clamps_labels", "mean")[0]
    trial = Trial(case_of("mean"), "clamps_labels")
    with pytest.raises(NoReproducerError, match="has no invalid input label_beside any more"):
        reproduced(suite, trial, replace(finding, group="label_beside"), 0)


TRIPLETS = """
import torch
from torch.autograd.function import Function

from harness import Implementation
from suites.triplet_margin import SUITE as FAMILY


class _Changed(Function):
    @staticmethod
    def forward(ctx, tensor, factor):
        ctx.factor = factor
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        if ctx.factor is None:
            raise RuntimeError("two of three are not supported")
        return gradient * ctx.factor, None


def loss(anchor, positive, negative, factor):
    if anchor.requires_grad and positive.requires_grad and not negative.requires_grad:
        anchor = _Changed.apply(anchor, factor)
    return torch.nn.functional.triplet_margin_loss(anchor, positive, negative)


def wrong_together(anchor, positive, negative):
    return loss(anchor, positive, negative, 1.5)


def raises_together(anchor, positive, negative):
    return loss(anchor, positive, negative, None)


SUITE = FAMILY.extended(Implementation(wrong_together), Implementation(raises_together))
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [("wrong_together", "gradient"), ("raises_together", "two of three are not supported")],
)
def test_a_set_of_needs_is_retold_in_the_script(name, message, tmp_path):
    path = tmp_path / "triplets.py"
    path.write_text(TRIPLETS, encoding="utf-8")
    triplets = load_reference(str(path))
    case = Case("triplet_margin", "mean", "triplet", "float32", "cpu", 8, 10, 1)
    (finding,) = protocol(OpenBlock(triplets, case, 0), name).findings
    found = reproduced(triplets, Trial(case, name), stored(finding), 0)
    assert found.again
    text = written(found)
    assert "needing = ['anchor', 'positive']" in text
    assert message in ended(text).failure
    right = written(found, stand_in=triplets.implementation("exact_gradient"))
    assert ended(right) == Ended()
