"""Every question about torch's transforms notices a wrong answer and takes a refusal for what it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.function import Function, once_differentiable

from harness import Implementation
from harness.block import OpenBlock
from harness.probes.protocol import transforms
from harness.probes.protocol.probe import protocol
from harness.reproducer.running import Ended, ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.tests.questioned import (
    WRONG,
    Fault,
    assert_caught,
    from_above,
    on_wrapped,
    questioned,
    raising,
    right,
    too_large,
    when,
)
from harness.tests.reproducing import IDENTITY
from harness.trial import Case, Trial
from suites.cosine_embedding import SUITE as COSINE
from suites.implementations.cosine_embedding import stable_guarded


def _under_autocast(logits, target):
    return torch.is_autocast_enabled("cpu")


def narrow_inside(logits, target):
    """Under autocast the logits are rounded to bfloat16, and the answer claims to be float32."""
    return right(logits.bfloat16().float() if _under_autocast(logits, target) else logits, target)


def narrow_and_wrong(logits, target):
    """Under autocast the loss comes back in bfloat16, and wrong."""
    loss = right(logits, target)
    return loss.mul(WRONG).bfloat16() if _under_autocast(logits, target) else loss


def narrow_and_wrong_below(logits, target):
    """Under autocast the loss comes back in bfloat16 and right, its gradient wrong."""
    if not _under_autocast(logits, target):
        return right(logits, target)
    return from_above(lambda upstream: upstream * WRONG)(logits, target).bfloat16()


def narrow_and_right(logits, target):
    """Under autocast the loss comes back in bfloat16, as good as that is."""
    loss = right(logits, target)
    return loss.bfloat16() if _under_autocast(logits, target) else loss


class HalfDetached(Function):
    """The gradient is right; its own derivative forgets that the normaliser depends on the logits."""

    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return right(logits, target)

    @staticmethod
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        powers = (logits - logits.detach().max(1, keepdim=True).values).exp()
        share = powers / powers.detach().sum(1, keepdim=True)
        return (share - F.one_hot(target, logits.shape[1])) / len(logits) * upstream, None


class UpstreamDetached(Function):
    """The gradient is right and can be differentiated; that it depends on what comes from above is lost."""

    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return right(logits, target)

    @staticmethod
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        share = logits.softmax(1) - F.one_hot(target, logits.shape[1])
        return share / len(logits) * upstream.detach(), None


class Once(Function):
    """A gradient that cannot be differentiated, and says so."""

    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return right(logits, target)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        return (logits.softmax(1) - F.one_hot(target, logits.shape[1])) / len(logits) * upstream, None


class MixedUp(Function):
    """Its vmap rule takes the batches for one."""

    @staticmethod
    def forward(logits, target):
        return right(logits, target)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        return (logits.softmax(1) - F.one_hot(target, logits.shape[1])) / len(logits) * upstream, None

    @staticmethod
    def vmap(info, in_dims, logits, target):
        return right(logits.flatten(0, 1), target.flatten(0, 1)).expand(info.batch_size), 0


def _differentiated(logits, target):
    return bool(torch._C._functorch.is_gradtrackingtensor(logits))


def applying(function):
    def planted(logits, target):
        return function.apply(logits, target)

    planted.__name__ = function.__name__
    return planted


FAULTS = (
    Fault("autocast", narrow_inside, "autocast"),
    Fault("autocast", narrow_and_wrong, "autocast"),
    Fault("autocast", narrow_and_wrong_below, "autocast"),
    Fault("double backward", applying(HalfDetached), "second_order"),
    Fault("double backward through upstream", applying(UpstreamDetached), "second_order"),
    Fault("torch.func.grad", when(_differentiated, too_large), "functional_transform"),
    Fault("torch.vmap", applying(MixedUp), "functional_transform"),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_planted_fault_is_caught_by_its_question_and_by_no_other(fault):
    assert_caught(fault)


def test_every_question_has_a_planted_fault():
    assert {q.name for q in transforms.QUESTIONS} == {fault.question for fault in FAULTS}


def half_of_the_second(first, second, target, reduction="mean", margin=0.0):
    """The second vector's gradient has half its slope, the first vector's all of it."""

    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, upstream):
            return HalfSlope.apply(upstream)

    return stable_guarded(first, Half.apply(second), target, reduction, margin)


class HalfSlope(torch.autograd.Function):
    """Passes a gradient on; of its own gradient only half."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return upstream / 2


def test_the_second_derivative_is_asked_of_every_input():
    family = COSINE.extended(Implementation(half_of_the_second, name="planted"))
    case = Case(COSINE.name, "mean", COSINE.regimes[0].name, "float32", "cpu", 64, 10, 1)
    assert not protocol(OpenBlock(family, case, 0), "stable_guarded").findings
    found, linear = protocol(OpenBlock(family, case, 0), "planted").findings
    for one in (found, linear):
        assert (one.kind, one.witness["input"]) == ("second_order", "second")
    assert "by the upstream gradient wrong by 50 %" in linear.message
    assert "Hessian-vector product of second wrong by" in found.message
    again = reproduced(family, Trial(case, "planted"), found, 0)
    text = script(again, identity=IDENTITY, command="lossgauge show x --repro")
    assert ended(text).failure.startswith("Hessian-vector product wrong by")
    right = script(again, identity=IDENTITY, command="", stand_in=family.implementation("stable_guarded"))
    assert ended(right) == Ended()


def test_torch_func_grad_is_asked_of_every_input():
    def planted(first, second, target, reduction="mean", margin=0.0):
        loss = stable_guarded(first, second, target, reduction, margin)
        return 1.5 * loss if _differentiated(second, None) else loss

    family = COSINE.extended(Implementation(planted))
    case = Case(COSINE.name, "mean", COSINE.regimes[0].name, "float32", "cpu", 64, 10, 1)
    (found,) = protocol(OpenBlock(family, case, 0), "planted").findings
    assert (found.kind, found.witness["tensor"]) == ("functional_transform", "second")


@pytest.mark.parametrize(
    ("question", "function"),
    [
        ("double backward", applying(Once)),
        ("autocast", when(_under_autocast, raising)),
        ("torch.func.grad", when(_differentiated, raising)),
        (
            "torch.vmap",
            when(lambda logits, target: on_wrapped(logits) and not _differentiated(logits, target), raising),
        ),
    ],
)
def test_who_refuses_what_may_be_refused_is_noted_and_not_accused(question, function):
    answer = questioned(function)
    assert answer.findings == ()
    assert answer.notes[f"unsupported: {question}"]


def test_a_narrow_and_right_answer_under_autocast_is_silent():
    assert questioned(narrow_and_right).findings == ()
