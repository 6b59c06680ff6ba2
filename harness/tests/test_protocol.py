"""The protocol probe as a whole: silent about the right and the inaccurate, blind in no question."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from harness.block import OpenBlock
from harness.oracle.closed_form import ClosedForm
from harness.probes.accuracy import accuracy
from harness.probes.protocol import calls, edges, layouts, state, transforms
from harness.probes.protocol.probe import QUESTIONS, protocol
from harness.tests import (
    test_protocol_calls,
    test_protocol_layouts,
    test_protocol_state,
    test_protocol_transforms,
)
from harness.tests.questioned import on_wrapped, questioned, right, when
from harness.trial import Case
from suites.cross_entropy import SUITE

THEMES = (calls, state, layouts, edges, transforms)
TESTED = (test_protocol_calls, test_protocol_layouts, test_protocol_state, test_protocol_transforms)
VARIANTS = ("mean", "none", "images", "probability")
CORRECT = ("native", "native_module", "exact_gradient", "float64_control")


def opened(variant, dtype, regime="unit_normal", seed=0):
    return OpenBlock(SUITE, Case(SUITE.name, variant, regime, dtype, "cpu", 64, 10, 1), seed)


def admitted(names, variants, dtypes=("float32", "bfloat16")):
    return [
        (name, variant, dtype)
        for name in names
        for variant in variants
        for dtype in dtypes
        if not SUITE.implementation(name).contract.excludes(variant, "unit_normal", dtype, "cpu")
    ]


def test_every_question_is_asked_once_and_has_a_planted_fault():
    names = [question.name for question in QUESTIONS]
    assert len(set(names)) == len(names)
    assert set(names) == {question.name for theme in THEMES for question in theme.QUESTIONS}
    assert set(names) == {fault.question for module in TESTED for fault in module.FAULTS}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "variant", "dtype"), admitted(CORRECT, VARIANTS))
def test_the_whole_probe_is_silent_about_a_correct_implementation(name, variant, dtype, seed):
    answer = protocol(opened(variant, dtype, seed=seed), name)
    assert (answer.status, answer.findings) == ("ok", ())
    assert answer.numbers["questions"] >= 27


@pytest.mark.parametrize(("name", "variant", "dtype"), admitted(["native", "exact_gradient"], ["mean"]))
@pytest.mark.parametrize(
    "regime", ["masked", "offset", "near_overflow", "ignored_half", "confident", "tiny", "nan_logit"]
)
def test_no_regime_makes_it_accuse_a_correct_implementation(name, variant, dtype, regime):
    assert protocol(opened(variant, dtype, regime), name).findings == ()


INACCURATE = ["logsumexp_gather", "softmax_log", "log_softmax_gather"]


@pytest.mark.parametrize(("name", "variant", "dtype"), admitted(INACCURATE, ["mean", "none", "images"]))
def test_the_inaccurate_but_consistent_keep_the_protocol(name, variant, dtype):
    assert protocol(opened(variant, dtype), name).findings == ()


@pytest.mark.parametrize(
    ("name", "regime"), [("logsumexp_gather", "offset"), ("softmax_log", "near_overflow")]
)
def test_what_accuracy_calls_wrong_is_not_said_again_under_every_question(name, regime):
    block = opened("none", "float32", regime)
    assert any(f.severity != "note" for f in accuracy(block, name).findings)
    assert protocol(block, name).findings == ()


def test_who_fails_the_plain_call_is_asked_nothing():
    def raises(logits, target):
        raise RuntimeError("no")

    def unreduced(logits, target):
        return right(logits, target, "none")

    for function, kind in ((raises, "raises"), (unreduced, "shape")):
        answer = questioned(function)
        assert (answer.status, answer.findings, dict(answer.numbers)) == ("skipped", (), {})
        assert f"the plain call fails ({kind})" in answer.reason


def no_memory(*_):
    """Raises what torch raises where the system gives no more memory."""
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: 12 GB"
    )


def without_a_loop(*_):
    """Raises what python and numpy raise there."""
    raise MemoryError("Unable to allocate 12. GiB for an array")


@pytest.mark.parametrize("raised", [no_memory, without_a_loop])
@pytest.mark.parametrize(
    ("condition", "question"),
    [
        (lambda logits, target: logits.stride(-1) != 1, "transposed inputs"),
        (lambda logits, target: not torch.is_grad_enabled(), "no_grad"),
        (lambda logits, target: on_wrapped(logits), "torch.func.grad"),
        (lambda logits, target: len(logits) == 0, "zero rows"),
        (lambda logits, target: torch.is_autocast_enabled("cpu"), "autocast"),
    ],
    ids=["layout", "no_grad", "transform", "edge", "autocast"],
)
def test_want_of_memory_in_a_question_is_out_of_memory_and_not_unsupported(raised, condition, question):
    answer = questioned(when(condition, raised))
    assert answer.status == "out_of_memory"
    assert answer.reason.startswith(f"in the question {question}")
    assert "llocate" in answer.reason
    assert not any(key.startswith("unsupported") and "llocate" in note for key, note in answer.notes.items())
    assert "llocate" in answer.notes[f"out of memory: {question}"]
    assert answer.findings == ()


def test_what_was_found_beside_a_want_of_memory_is_kept():
    def both(logits, target):
        if logits.stride(-1) != 1:
            no_memory()
        return right(logits, target) * (1.5 if not torch.is_grad_enabled() else 1.0)

    answer = questioned(both)
    assert answer.status == "out_of_memory"
    assert {(f.kind, f.group) for f in answer.findings} >= {("grad_mode", "no_grad")}


def test_want_of_memory_in_the_plain_call_is_out_of_memory():
    answer = questioned(when(lambda logits, target: True, no_memory))
    assert (answer.status, answer.findings) == ("out_of_memory", ())
    assert "can't allocate memory" in answer.reason


def test_an_oracle_without_memory_at_an_edge_says_nothing_of_support():
    class NoRoom(ClosedForm):
        def evaluate(self, inputs, options, wanted, **asked):
            if not len(inputs["logits"]):
                raise MemoryError("12 GiB")
            return super().evaluate(inputs, options, wanted, **asked)

    oracle = NoRoom(**{field.name: getattr(SUITE.oracle, field.name) for field in fields(SUITE.oracle)})
    case = Case(SUITE.name, "mean", "unit_normal", "float32", "cpu", 64, 10, 1)
    answer = protocol(OpenBlock(replace(SUITE, oracle=oracle), case, 0), "native")
    words = "in the question zero rows: the oracle fails there: MemoryError: 12 GiB"
    assert (answer.status, answer.reason, answer.findings) == ("out_of_memory", words, ())


def test_questions_that_do_not_apply_are_not_counted():
    asked = {
        variant: questioned(right, variant).numbers["questions"] for variant in ("mean", "none", "images")
    }
    # Expanded and strided upstream gradients need an unreduced loss, channels_last needs images, and labels
    # need a second axis to be transposed or strided in their entries.
    assert asked["none"] == asked["mean"] + 2
    assert asked["images"] == asked["mean"] + 3
    double = asked["mean"] - questioned(right, dtype="bfloat16").numbers["questions"]
    assert double == 3  # autocast and two kinds of double backward


def test_an_oracle_that_fails_at_an_edge_accuses_nobody():
    class NoRows(ClosedForm):
        def evaluate(self, inputs, options, wanted, **asked):
            if not len(inputs["logits"]):
                raise ValueError("cannot reshape array of size 0")
            return super().evaluate(inputs, options, wanted, **asked)

    oracle = NoRows(**{field.name: getattr(SUITE.oracle, field.name) for field in fields(SUITE.oracle)})
    block = OpenBlock(
        replace(SUITE, oracle=oracle), Case(SUITE.name, "mean", "unit_normal", "float32", "cpu", 64, 10, 1), 0
    )
    answer = protocol(block, "native")
    assert answer.findings == ()
    assert answer.notes["unsupported: zero rows"].startswith("the oracle fails there: ValueError: cannot")
