"""Identities: each is broken by the fault that it exists for, in every dtype; who is right breaks none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Identity, Implementation, Known, Regime, Sample, Suite
from harness.block import Answer, OpenBlock
from harness.calling import admission
from harness.errors import SuiteError
from harness.probes.evaluation import Evaluation
from harness.probes.identity import identity
from harness.probes.sides import side_of
from harness.sweep import Sweep, planned
from harness.trial import DTYPES, Case
from suites.binary_cross_entropy_with_logits import SUITE as BINARY
from suites.cross_entropy import SUITE as CROSS
from suites.kl_div import SUITE as DIVERGENCE
from suites.l1 import SUITE as ABSOLUTE
from suites.soft_margin import SUITE as MARGIN

FAMILIES = (CROSS, DIVERGENCE, BINARY, MARGIN, ABSOLUTE)


def block_of(suite: Suite, dtype: str = "float32") -> OpenBlock:
    home = suite.regimes[0]
    shape = home.shape(suite.shapes.usual)
    return OpenBlock(suite, Case(suite.name, suite.variants[0].name, home.name, dtype, "cpu", *shape, 1), 0)


def asked(
    suite: Suite, function: Callable[..., Tensor], dtype: str = "float32", **declared: object
) -> Answer:
    family = suite.extended(Implementation(function, name="planted", **declared))
    return identity(block_of(family, dtype), "planted")


def broken(answer: Answer) -> dict[str, str]:
    """Returns the tensor in which each broken identity shows."""
    assert answer.status == "ok", answer.reason
    for finding in answer.findings:
        assert (finding.kind, finding.severity, finding.probe) == ("identity", "error", "identity")
        assert finding.witness["identity"] == finding.group
        assert "differ by more than both may be off" in finding.message
    return {finding.group: finding.witness["tensor"] for finding in answer.findings}


class Tilted(torch.autograd.Function):
    """The right loss with a gradient that is 3 % too small."""

    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, upstream):
        return 0.97 * upstream


def to_base_2(logits, target, reduction="mean"):
    return F.cross_entropy(logits, target, reduction=reduction) / math.log(2)


def moved_by_the_logits(logits, target, reduction="mean"):
    rows = F.cross_entropy(logits, target, reduction="none") + 0.01 * logits.detach().mean(1)
    return rows if reduction == "none" else rows.mean()


def without_the_entropy(logits, target, reduction="mean"):
    if not target.is_floating_point():
        return F.cross_entropy(logits, target, reduction=reduction)
    rows = F.kl_div(logits.log_softmax(1), target, reduction="none").sum(1)
    return rows if reduction == "none" else rows.mean()


def tilted(logits, target, reduction="mean"):
    return Tilted.apply(F.cross_entropy(logits, target, reduction=reduction))


def divided_by_classes(logits, target, reduction="mean"):
    loss = F.cross_entropy(logits, target, reduction=reduction)
    return loss / logits.shape[1] if target.is_floating_point() else loss


def smoothed_over_the_others(logits, target, reduction="mean", label_smoothing=0.0):
    classes = logits.shape[1]
    return F.cross_entropy(
        logits, target, reduction=reduction, label_smoothing=label_smoothing * classes / (classes - 1)
    )


def turned_for_two(logits, target, reduction="mean"):
    return F.cross_entropy(-logits if logits.shape[1] == 2 else logits, target, reduction=reduction)


def divergence(x, target, reduction="mean", log_target=False, from_logits=False):
    x = x.log_softmax(1) if from_logits else x
    rows = F.kl_div(x, target, reduction="none", log_target=log_target).sum(1)
    return {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction]


def turned_around(x, target, reduction="mean"):
    return -divergence(x, target, reduction)


def never_nothing(x, target, reduction="mean"):
    return divergence(x, target, reduction) + 0.05


def always_nothing(x, target, reduction="mean"):
    return 0.0 * divergence(x, target, reduction)


def cross_entropy_instead(x, target, reduction="mean"):
    rows = -(target * x).sum(1)
    return rows if reduction == "none" else rows.mean()


def logarithms_unread(x, target, reduction="mean", log_target=False):
    return divergence(x, target, reduction)


def logits_unread(x, target, reduction="mean", from_logits=False):
    return divergence(x, target, reduction)


def sigmoid_twice(logits, target, reduction="mean"):
    return F.binary_cross_entropy_with_logits(logits.sigmoid(), target, reduction=reduction)


def heavier_ones(logits, target, reduction="mean"):
    one = torch.tensor(1.05, dtype=logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=one, reduction=reduction)


def labels_of_zero_and_one(x, y, reduction="mean"):
    return F.soft_margin_loss(x, y.clamp(min=0), reduction=reduction)


FAULTS = [
    (CROSS, to_base_2, "logarithm_to_base_e", "loss"),
    (CROSS, to_base_2, "negative_log_likelihood", "loss"),
    (CROSS, to_base_2, "two_classes_are_a_binary_cross_entropy", "loss"),
    (CROSS, moved_by_the_logits, "shift_invariance", "loss"),
    (CROSS, without_the_entropy, "cross_entropy_is_entropy_plus_divergence", "loss"),
    (CROSS, tilted, "cross_entropy_is_entropy_plus_divergence", "gradient of logits"),
    (CROSS, tilted, "negative_log_likelihood", "gradient of logits"),
    (CROSS, divided_by_classes, "one_hot_probabilities_are_indices", "loss"),
    (CROSS, smoothed_over_the_others, "smoothing_over_all_is_a_rescaled_smoothing_over_others", "loss"),
    (CROSS, turned_for_two, "two_classes_are_a_binary_cross_entropy", "loss"),
    (DIVERGENCE, turned_around, "never_negative", "loss"),
    (DIVERGENCE, never_nothing, "nothing_from_itself", "loss"),
    (DIVERGENCE, always_nothing, "something_from_another", "loss"),
    (DIVERGENCE, cross_entropy_instead, "divergence_is_cross_entropy_minus_entropy", "loss"),
    (DIVERGENCE, logarithms_unread, "logarithms_are_probabilities", "loss"),
    (DIVERGENCE, logits_unread, "shift_invariance_of_logits", "loss"),
    (BINARY, sigmoid_twice, "binary_cross_entropy_of_the_sigmoid", "loss"),
    (BINARY, sigmoid_twice, "two_class_negative_log_likelihood", "loss"),
    (BINARY, sigmoid_twice, "two_class_cross_entropy", "loss"),
    (BINARY, heavier_ones, "label_and_sign_mirrored", "loss"),
    (MARGIN, labels_of_zero_and_one, "binary_cross_entropy_with_labels_of_zero_and_one", "loss"),
]


# In 16 bits the rounding of what goes in is as large as these differences, or 3 % of a gradient.
FINE = ("smoothing_over_all_is_a_rescaled_smoothing_over_others", "never_negative")


@pytest.mark.parametrize(
    ("suite", "fault", "name", "tensor"), FAULTS, ids=[f"{f[2]}-{f[1].__name__}" for f in FAULTS]
)
def test_every_identity_is_broken_by_the_fault_that_it_exists_for(suite, fault, name, tensor):
    for dtype in ("float64", "float32") if (name in FINE or tensor != "loss") else DTYPES:
        assert broken(asked(suite, fault, dtype)).get(name) == tensor, dtype


@pytest.mark.parametrize("suite", FAMILIES, ids=lambda suite: suite.name)
def test_whoever_is_right_holds_every_identity_in_every_dtype(suite):
    held = set()
    for dtype in DTYPES:
        block = block_of(suite, dtype)
        for item in suite.implementations:
            if item.known_bad or item.compiled or admission(suite, item, block.case) is not None:
                continue
            answer = identity(block, item.name)
            assert answer.findings == (), (item.name, dtype, answer.findings)
            taken = {one.name for one in suite.identities} - {
                note.removeprefix("unsupported: ") for note in answer.notes
            }
            held |= {(dtype, name) for name in taken}
    assert held == {(dtype, one.name) for dtype in DTYPES for one in suite.identities}


def test_the_default_sweep_asks_identities_of_every_eager_implementation():
    plan = planned(Sweep(devices=("cpu",)), {CROSS.name: CROSS})
    reached = {
        (block.case.dtype, name)
        for block in plan.blocks
        for probe, name in block.questions()
        if probe == "identity"
    }
    eager = {item.name for item in CROSS.implementations if not item.compiled}
    assert {name for dtype, name in reached if dtype == "float32"} == eager
    assert {dtype for dtype, _ in reached} == set(DTYPES)


def test_an_oracle_that_is_wrong_in_the_same_way_does_not_hide_a_wrong_definition():
    wrong = replace(CROSS.oracle, rows=lambda terms: CROSS.oracle.rows(terms) / math.log(2))
    family = replace(CROSS, oracle=wrong, implementations=(Implementation(to_base_2),))
    found = broken(identity(block_of(family), "to_base_2"))
    assert found["logarithm_to_base_e"] == "loss"
    assert found["negative_log_likelihood"] == "loss"


def planted(relation: str, left, right) -> Suite:
    one = Identity("planted", left, right, "mean", "unit_normal", about="left = right", relation=relation)
    return replace(ABSOLUTE, identities=(one,))


def plain(evaluate, sample):
    return evaluate(*sample.tensors)


def half_ulp_more(evaluate, sample):
    return evaluate(*sample.tensors) * (1 + 2.0**-25)


def doubled(evaluate, sample):
    return 2 * evaluate(*sample.tensors)


def l1(prediction, target, reduction="mean"):
    return F.l1_loss(prediction, target, reduction=reduction)


def test_what_both_sides_may_be_off_is_no_finding_and_what_is_beyond_it_is_one():
    assert not broken(asked(planted("equal", plain, half_ulp_more), l1))
    answer = asked(planted("equal", plain, doubled), l1)
    assert broken(answer) == {"planted": "loss"}
    (finding,) = answer.findings
    left, right, allowed = (float.fromhex(finding.witness[key]) for key in ("left", "right", "allowed"))
    assert right == 2 * left
    # Two ulp of the one side, two of the double of the other, and the roundings of float32 beside.
    assert 6 * np.spacing(np.float32(left)) <= allowed < 40 * np.spacing(np.float32(left))
    assert set(finding.witness["inputs"]) == {"prediction", "target"}
    assert answer.numbers["identities"] == 1
    assert answer.numbers["identity_share"] > 1e4


def test_a_side_that_may_be_larger_is_wrong_only_where_it_is_smaller():
    assert not broken(asked(planted("at_least", doubled, plain), l1))
    assert broken(asked(planted("at_least", plain, doubled), l1)) == {"planted": "loss"}


def test_a_nan_on_one_side_breaks_the_identity_and_the_same_nan_on_both_does_not():
    def not_there(prediction, target, reduction="mean"):
        return l1(prediction, target, reduction) / (
            0 if prediction.detach().sum() < target.detach().sum() else 1
        )

    def exchanged(evaluate, sample):
        return evaluate(*reversed(sample.tensors))

    assert broken(asked(planted("equal", plain, exchanged), not_there)) == {"planted": "loss"}
    assert not broken(asked(planted("equal", plain, plain), not_there))


def test_what_is_listed_as_known_where_the_identity_is_asked_is_not_found_twice():
    def too_large(prediction, target, reduction="mean"):
        # Wrong for the prediction as it is, right for the negated one.
        return l1(prediction, target, reduction) * (1.5 if prediction.detach().flatten()[0] > 0 else 1.0)

    def negated(evaluate, sample):
        return evaluate(*(-tensor for tensor in sample.tensors))

    suite = planted("equal", plain, negated)
    assert broken(asked(suite, too_large)) == {"planted": "loss"}
    half_too_large = partial(Known, "inaccurate", "half too large", up_to=Known.ANY_SIZE)
    assert not broken(asked(suite, too_large, known=(half_too_large(regime="unit_normal"),)))
    assert broken(asked(suite, too_large, known=(half_too_large(regime="wide"),)))
    # An entry for a smaller error excuses no larger one.
    assert broken(asked(suite, too_large, known=(half_too_large(regime="unit_normal", up_to=4),)))


def test_an_input_without_a_promised_gradient_leaves_the_gradient_out():
    def exchanged(evaluate, sample):
        return evaluate(*reversed(sample.tensors))

    def one_gradient(prediction, target, reduction="mean"):
        return l1(prediction, target.detach(), reduction)

    def one_sided(shape, finfo, generator):
        draw = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
        return Sample(layout="elements", prediction=draw[0], target=draw[1])

    suite = planted("equal", plain, exchanged)
    # The gradient through the second input is 0; only where it is promised is that wrong.
    assert broken(asked(suite, one_gradient)) == {"planted": "gradient of prediction"}
    one_promised = replace(suite, regimes=(Regime(one_sided, name="unit_normal"),))
    assert not broken(asked(one_promised, one_gradient))


def test_raising_is_a_finding_on_inputs_of_the_declared_form_alone():
    def careful(logits, target, reduction="mean"):
        if target.is_floating_point() or logits.shape[1] == 2:
            raise ValueError("not that")
        return F.cross_entropy(logits, target, reduction=reduction)

    answer = asked(CROSS, careful)
    assert {(f.kind, f.group) for f in answer.findings} == {
        ("raises", "two_classes_are_a_binary_cross_entropy"),
        ("raises", "cross_entropy_is_entropy_plus_divergence"),
    }
    assert "not that" in answer.notes["unsupported: one_hot_probabilities_are_indices"]


def test_an_implementation_that_takes_no_identity_is_unsupported():
    suite = replace(CROSS, identities=CROSS.identities[-1:])
    answer = asked(suite, to_base_2)
    assert answer.status == "unsupported"
    assert "takes no option label_smoothing" in answer.reason


@pytest.mark.parametrize("side", [lambda evaluate, sample: evaluate(*sample.tensors).sum(), lambda *_: 1.0])
def test_a_side_that_is_not_one_number_per_row_is_a_mistake_of_the_suite(side):
    with pytest.raises(SuiteError, match="a side returns one number per row"):
        asked(planted("equal", plain, side), l1)


def test_an_unknown_relation_or_variant_is_said_at_import():
    with pytest.raises(SuiteError, match=r"there is no relation 'at least'\. Did you mean 'at_least'"):
        planted("at least", plain, plain)
    lost = replace(ABSOLUTE.identities[0], variant="meen")
    with pytest.raises(SuiteError, match=r"there is no variant 'meen'\. Did you mean 'mean'"):
        replace(ABSOLUTE, identities=(lost,))


def test_the_bound_of_a_gradient_covers_what_a_mixing_transformation_makes_of_wrong_entries():
    family = CROSS.extended(Implementation(to_base_2, name="planted"))
    block = block_of(family, "float64")
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(16, 10, generator=generator, dtype=torch.float64).requires_grad_()
    sample = Sample(logits=logits, target=torch.arange(16) % 10)
    evaluation = Evaluation(block, "planted", "mean", "unit_normal", sample, dict(CROSS.options))

    def mixed(evaluate, sample):
        return 3 * evaluate(sample["logits"].log_softmax(1), sample["target"])

    side = side_of(mixed, evaluation, sample, "planted")
    (call,) = evaluation.calls
    bound = torch.from_numpy(call.answered.gradient_bounds["logits"])
    jacobian = torch.autograd.functional.jacobian(lambda x: x.log_softmax(1)[3], logits.detach())[:, 3, :]
    expected = 3 * (jacobian.abs().T @ bound[3])
    np.testing.assert_allclose(side.gradient_bounds["logits"][3], expected, rtol=1e-12)
    np.testing.assert_allclose(side.loss_bound, 3 * call.answered.loss_bound, rtol=1e-12)
