"""Every question about other calls and about edges of the shape notices the fault it exists for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import Function

from harness import Implementation
from harness.block import OpenBlock
from harness.probes.protocol import calls, edges
from harness.probes.protocol.probe import protocol
from harness.probes.registry import ask
from harness.tests.questioned import (
    WRONG,
    Above,
    Fault,
    assert_caught,
    caught,
    from_above,
    questioned,
    raising,
    right,
    too_large,
    when,
)
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.triplet_margin import SUITE as TRIPLETS

BLOCK = 512


def _forgets_the_fast_path(upstream):
    """The short cut of an upstream gradient of 1 leaves the scaling out that all others get."""
    return torch.where(upstream == 1, upstream * WRONG, upstream)


def _as_power_of_two(upstream):
    return upstream.sign() * upstream.abs().log2().round().exp2()


def _as_whole_number(upstream):
    return upstream.trunc()


def _without_sign(upstream):
    return upstream.abs()


def _zero_means_none(upstream):
    return torch.where(upstream == 0, torch.ones_like(upstream), upstream)


def raw_memory(upstream):
    """The first entries as they lie in memory; what lies beyond the memory is read as 0."""
    span = 1 + (len(upstream) - 1) * upstream.stride(0)
    memory = upstream.as_strided((span,), (1,))[: len(upstream)]
    return F.pad(memory, (0, len(upstream) - len(memory)))


def _expanded_as_dense(upstream):
    return raw_memory(upstream) if upstream.dim() and upstream.stride(0) == 0 else upstream


def _strided_as_dense(upstream):
    return raw_memory(upstream) if upstream.dim() and upstream.stride(0) > 1 else upstream


def _whole_blocks_of_rows(upstream):
    """Rows behind the last whole block of 64 are left at zero."""
    found = upstream.clone()
    if found.dim() and len(found) > 64:
        found[len(found) // 64 * 64 :] = 0
    return found


class SavedGradient(Function):
    """The gradient is made in the forward pass; `keep` says how backward treats what was saved."""

    @staticmethod
    def forward(ctx, logits, target, reduction, keep):
        x = logits.detach().double()
        share = x.softmax(1)
        share[torch.arange(len(x)), target] -= 1
        ctx.gradient = share.div_(len(x) if reduction == "mean" else 1).to(logits.dtype)
        ctx.keep = keep
        return F.cross_entropy(x, target, reduction=reduction).to(logits.dtype)

    @staticmethod
    def backward(ctx, upstream):
        scale = upstream.reshape(-1, 1) if upstream.dim() else upstream
        if ctx.keep == "scales what was saved":
            return ctx.gradient.mul_(scale), None, None, None
        if ctx.keep == "hands out what was saved":
            ctx.scaled = getattr(ctx, "scaled", None)
            ctx.scaled = ctx.gradient * scale if ctx.scaled is None else ctx.scaled
            return ctx.scaled, None, None, None
        return ctx.gradient * scale, None, None, None


def saved(keep):
    def planted(logits, target, reduction="mean"):
        return SavedGradient.apply(logits, target, reduction, keep)

    planted.__name__ = keep.replace(" ", "_")
    return planted


def _is_no_grad(logits, target):
    return not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def _is_inference(logits, target):
    return torch.is_inference_mode_enabled()


def _needs_nothing(logits, target):
    return torch.is_grad_enabled() and not logits.requires_grad


def answers_a_leaf(logits, target, reduction="mean"):
    """A loss that says it can be differentiated although nothing asked for a gradient."""
    loss = right(logits, target, reduction)
    return loss.requires_grad_() if _needs_nothing(logits, target) else loss


def _one_alone(logits, target):
    return logits.requires_grad != target.requires_grad


def cut_off(logits, target, reduction="mean"):
    """Gradients flow into both inputs or into none."""
    both = logits.requires_grad and target.requires_grad
    return right(logits if both else logits.detach(), target if both else target.detach(), reduction)


class Training(nn.Module):
    """A module that smooths labels in eval mode instead of in training mode."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, logits, target):
        loss = right(logits, target, self.reduction)
        return loss if self.training else too_large(loss)


def guards_the_mean(logits, target, reduction="mean"):
    """max(count, 1): the mean of nothing is 0 where the contract says NaN."""
    return right(logits, target, "sum") / max(len(logits), 1)


def _is_one_row(logits, target):
    return len(logits) == 1


def squeezes(logits, target, reduction="mean"):
    """squeeze() where one axis was meant: a batch of one loses its axis."""
    return right(logits, target, reduction).squeeze()


def is_binary(logits, target, reduction="mean"):
    """One column of logits is taken for a binary problem."""
    if logits.shape[1] > 1:
        return right(logits, target, reduction)
    return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction=reduction)


def drops_the_rest(logits, target, reduction="mean"):
    """A kernel over blocks of 512 classes that never reads the incomplete one, if there is a whole one."""
    whole = logits.shape[1] // BLOCK * BLOCK or logits.shape[1]
    return right(logits[:, :whole], target.clamp(max=whole - 1), reduction)


ROWWISE = {"variant": "none"}
THROUGH_UPSTREAM = "double backward through upstream"
# vmap is asked without gradients, torch.func.grad for the logits alone.
UNDER_VMAP, FOR_LOGITS = ("torch.vmap",), ("torch.func.grad",)
FAULTS = (
    Fault("upstream 1", from_above(_forgets_the_fast_path), "upstream"),
    # second backward asks with 3 as well.
    Fault(
        "upstream 3",
        from_above(_as_power_of_two),
        "upstream",
        ("random upstream", "second backward", THROUGH_UPSTREAM),
    ),
    # What is rounded to a whole number has no derivative.
    Fault("random upstream", from_above(_as_whole_number), "upstream", (THROUGH_UPSTREAM,)),
    Fault("negative upstream", from_above(_without_sign), "upstream"),
    Fault("zero upstream", from_above(_zero_means_none), "upstream"),
    Fault("expanded upstream", from_above(_expanded_as_dense), "upstream", **ROWWISE),
    Fault("strided upstream", from_above(_strided_as_dense), "upstream", **ROWWISE),
    Fault("strided upstream", from_above(_strided_as_dense), "upstream", dtype="bfloat16", **ROWWISE),
    Fault("second backward", saved("scales what was saved"), "second_backward"),
    Fault("second backward", saved("hands out what was saved"), "second_backward"),
    Fault("no_grad", when(_is_no_grad, too_large), "grad_mode", UNDER_VMAP),
    Fault("inference_mode", when(_is_inference, too_large), "grad_mode"),
    Fault("no input requires a gradient", when(_needs_nothing, too_large), "grad_mode"),
    Fault("no input requires a gradient", answers_a_leaf, "grad_mode"),
    Fault(
        "some inputs require a gradient", when(_one_alone, too_large), "grad_mode", FOR_LOGITS, "probability"
    ),
    Fault("some inputs require a gradient", cut_off, "no_gradient", FOR_LOGITS, "probability"),
    Fault("eval mode", Training, "grad_mode"),
    Fault("eval mode", Training, "grad_mode", variant="images", dtype="bfloat16"),
    Fault("zero rows", guards_the_mean, "edge_shape"),
    Fault("one row", when(_is_one_row, too_large), "edge_shape"),
    Fault("one row", squeezes, "shape", **ROWWISE),
    Fault("one class", is_binary, "edge_shape"),
    Fault("a prime number of classes", drops_the_rest, "edge_shape"),
    Fault("a prime number of rows", from_above(_whole_blocks_of_rows), "edge_shape", **ROWWISE),
    Fault(
        "a prime number of rows", from_above(_whole_blocks_of_rows), "edge_shape", dtype="bfloat16", **ROWWISE
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_planted_fault_is_caught_by_its_question_and_by_no_other(fault):
    assert_caught(fault)


@pytest.mark.parametrize("module", [calls, edges])
def test_every_question_has_a_planted_fault(module):
    assert {q.name for q in module.QUESTIONS} <= {fault.question for fault in FAULTS}


def test_the_saved_gradient_without_a_fault_is_silent():
    assert caught(Fault("", saved("nothing"), "")) == {}


@pytest.mark.parametrize("question", ["no_grad", "inference_mode", "no input requires a gradient"])
def test_raising_where_it_may_not_be_refused_is_a_finding(question):
    condition = {
        "no_grad": _is_no_grad,
        "inference_mode": _is_inference,
        "no input requires a gradient": _needs_nothing,
    }[question]
    answer = questioned(when(condition, raising))
    assert {(f.kind, f.group, f.severity) for f in answer.findings} == {("raises", question, "error")}
    assert "this is not supported here" in answer.findings[0].message
    assert f"unsupported: {question}" not in answer.notes


@pytest.mark.parametrize(
    ("question", "condition"),
    [
        ("zero rows", lambda logits, target: len(logits) == 0),
        ("one row", _is_one_row),
        ("one class", lambda logits, target: logits.shape[1] == 1),
        ("a prime number of classes", lambda logits, target: logits.shape[1] == edges.PRIME_CLASSES),
        ("a prime number of rows", lambda logits, target: len(logits) == edges.PRIME_ROWS),
    ],
)
def test_raising_at_an_edge_is_a_finding_of_that_edge(question, condition):
    answer = questioned(when(condition, raising))
    assert {(f.kind, f.group) for f in answer.findings} == {("edge_shape", question)}


def test_who_refuses_a_second_backward_is_noted_and_not_accused():
    def once(logits, target):
        used = []

        def change(upstream):
            if used:
                raise RuntimeError("backward can be called once")
            used.append(upstream)
            return upstream

        return from_above(change)(logits, target)

    answer = questioned(once)
    assert answer.findings == ()
    assert "backward can be called once" in answer.notes["unsupported: second backward"]


def test_a_slip_is_no_refusal():
    def forgets(logits, target):
        saved = [1.0]
        return from_above(lambda upstream: upstream * saved.pop())(logits, target)

    answer = questioned(forgets)
    told = {(f.kind, f.group, f.severity) for f in answer.findings}
    assert ("raises", "second backward", "error") in told
    assert "IndexError: pop from empty list" in answer.findings[0].message
    assert "unsupported: second backward" not in answer.notes


def test_who_writes_into_the_upstream_gradient_spoils_it_for_nobody_else():
    def scales_in_place(upstream):
        return upstream.mul_(WRONG) / WRONG

    family = SUITE.extended(Implementation(from_above(scales_in_place), name="planted"))
    block = OpenBlock(family, Case(family.name, "none", "unit_normal", "float32", "cpu", 64, 10, 1), 0)
    before = block.standard("planted").upstream.clone()
    for probe in ("accuracy", "protocol", "determinism"):
        ask(probe, block, "planted")
    assert torch.equal(block.standard("planted").upstream, before)
    for probe in ("accuracy", "protocol", "determinism"):
        assert ask(probe, block, "native").findings == ()


ANCHOR, POSITIVE, NEGATIVE = VECTORS = ("anchor", "positive", "negative")


def of_triplets(where, change=lambda gradient: gradient * WRONG):
    """Returns what is found about a triplet loss whose gradient of the anchor changes for `where` alone."""

    def planted(anchor, positive, negative, reduction="mean"):
        given = zip(VECTORS, (anchor, positive, negative), strict=True)
        if {name for name, tensor in given if tensor.requires_grad} == set(where):
            anchor = Above.apply(anchor, change)
        return F.triplet_margin_loss(anchor, positive, negative, reduction=reduction)

    family = TRIPLETS.extended(Implementation(planted))
    case = Case(family.name, "mean", "triplet", "float32", "cpu", 8, 10, 1)
    answer = protocol(OpenBlock(family, case, 0), "planted")
    assert answer.status == "ok"
    return answer.findings


@pytest.mark.parametrize("where", calls.subsets(VECTORS), ids=" and ".join)
def test_a_gradient_that_is_wrong_for_one_set_of_needs_is_told_with_that_set(where):
    found = [f for f in of_triplets(where) if f.group == calls.SOME_INPUTS]
    if ANCHOR not in where:
        assert found == []
        return
    (only,) = found
    assert (only.kind, only.severity) == ("grad_mode", "error")
    assert only.witness["tensor"] == ANCHOR
    assert only.witness["needing"] == list(where)
    words = {1: "anchor requires", 2: " and ".join(where) + " require"}[len(where)]
    assert only.message.endswith(f"while only {words} a gradient")


def test_a_gradient_that_is_wrong_for_two_of_three_needs_is_found_by_no_single_one():
    found = of_triplets((ANCHOR, POSITIVE))
    assert [f.group for f in found] == [calls.SOME_INPUTS]
    assert found[0].witness["needing"] == [ANCHOR, POSITIVE]
    assert of_triplets(()) == ()


def test_who_raises_for_two_of_three_needs_is_told_with_them():
    def refuses(gradient):
        raise RuntimeError("two of three are not supported")

    (found,) = of_triplets((ANCHOR, NEGATIVE), refuses)
    assert (found.kind, found.group) == ("raises", calls.SOME_INPUTS)
    assert found.witness["needing"] == [ANCHOR, NEGATIVE]
    assert "two of three are not supported" in found.message
    assert found.message.endswith("while only anchor and negative require a gradient")


def test_every_proper_subset_of_three_inputs_is_asked_and_only_the_ends_of_more():
    assert [len(calls.subsets(tuple("abcd"[:n]))) for n in range(1, 5)] == [0, 2, 6, 8]
    assert calls.subsets(("a", "b", "c"))[3:] == [("a", "b"), ("a", "c"), ("b", "c")]
