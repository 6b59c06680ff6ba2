"""Every question about what a call leaves behind notices the fault it exists for."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd.function import Function

from harness import Contract, Implementation
from harness.block import OpenBlock
from harness.probes.protocol import state
from harness.probes.registry import ask
from harness.probes.settings import SETTINGS, settings_kept
from harness.reproducer.running import ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.tests.questioned import (
    WRONG,
    Fault,
    assert_caught,
    from_above,
    questioned,
    right,
)
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE
from suites.kl_div import SUITE as DIVERGENCE


def writes_forward(logits, target):
    """The softmax is written over the logits."""
    loss = right(logits, target)
    logits.data.copy_(logits.detach().softmax(1))
    return loss


def writes_labels(logits, target):
    """Labels are clamped in place."""
    loss = right(logits, target.clone())
    target.clamp_(max=1)
    return loss


def writes_backward(logits, target):
    """The logits are written over when the gradient is asked."""

    def change(upstream):
        logits.data.mul_(0.5)
        return upstream

    return from_above(change)(logits, target)


def touches(logits, target):
    """The maximum is subtracted and added again: the bits stay, the version moves."""
    loss = right(logits, target)
    logits.detach().add_(0.0)
    return loss


def touches_backward(logits, target):
    """The same in the backward pass."""

    def change(upstream):
        logits.detach().mul_(1.0)
        return upstream

    return from_above(change)(logits, target)


def _scales_in_place(upstream):
    return upstream.mul_(WRONG) / WRONG


def leaving(change):
    """Returns a cross-entropy that changes something for good in its forward pass."""

    def planted(logits, target):
        change()
        return right(logits, target)

    return planted


def leaving_backward(change):
    def down(upstream):
        change()
        return upstream

    return from_above(down)


def by_shape_of_weight():
    """Returns a cross-entropy that keeps class weights by their shape."""
    kept = {}

    def planted(logits, target, weight=None):
        wide = kept.setdefault(tuple(weight.shape), weight.double().clone())
        return F.cross_entropy(logits.double(), target, wide).to(logits.dtype)

    return planted


def by_address():
    """Returns a cross-entropy that keeps its answers by the address of the logits."""
    kept = {}

    class Kept(Function):
        @staticmethod
        def forward(ctx, logits, target):
            if logits.data_ptr() not in kept:
                x = logits.double()
                share = x.softmax(1)
                share[torch.arange(len(x)), target] -= 1
                # The logits are kept alive, so that no other tensor gets their address.
                answer = F.cross_entropy(x, target).to(logits.dtype), share.div(len(x)).to(logits.dtype)
                kept[logits.data_ptr()] = logits.detach(), answer
            loss, ctx.gradient = kept[logits.data_ptr()][1]
            return loss.clone()

        @staticmethod
        def backward(ctx, upstream):
            return ctx.gradient * upstream, None

    return lambda logits, target: Kept.apply(logits, target)


def fills_grad(logits, target):
    """An inner backward leaves its gradient with the caller."""
    if logits.requires_grad:
        right(logits, target).backward()
    return right(logits, target)


def hands_out_a_workspace():
    """Returns a cross-entropy whose gradients all lie in the same memory."""
    workspace = {}

    class OneWorkspace(Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.clone()

        @staticmethod
        def backward(ctx, upstream):
            memory = workspace.setdefault((upstream.dtype, upstream.shape), torch.empty_like(upstream))
            return memory.copy_(upstream)

    return lambda logits, target: right(OneWorkspace.apply(logits), target)


def in_one_buffer():
    """Returns a cross-entropy whose calls all keep their gradient in one buffer."""
    buffer = {}

    class Shared(Function):
        @staticmethod
        def forward(ctx, logits, target):
            x = logits.double()
            share = x.softmax(1)
            share[torch.arange(len(x)), target] -= 1
            buffer["gradient"] = share.div(len(x)).to(logits.dtype)
            return F.cross_entropy(x, target).to(logits.dtype)

        @staticmethod
        def backward(ctx, upstream):
            return buffer["gradient"] * upstream, None

    return lambda logits, target: Shared.apply(logits, target)


def in_one_loss():
    """Returns a cross-entropy whose calls all return their loss in the same memory, as replayed graphs do."""
    place = {}

    class Static(Function):
        @staticmethod
        def forward(ctx, loss):
            memory = place.setdefault(loss.dtype, torch.empty_like(loss).detach())
            return memory.data.copy_(loss.detach()).view_as(memory)

        @staticmethod
        def backward(ctx, upstream):
            return upstream

    return lambda logits, target: Static.apply(right(logits, target))


def wide(logits, target, reduction="mean"):
    """The loss comes back in float32, whatever the logits are in."""
    return right(logits.float(), target, reduction)


def wider(logits, target, reduction="mean"):
    """The loss comes back in float64."""
    return right(logits.double(), target, reduction)


def goes_elsewhere(logits, target, reduction="mean"):
    """The working directory is another one afterwards."""
    os.chdir(os.sep)
    return F.cross_entropy(logits, target, reduction=reduction)


def leaves_a_variable(logits, target, reduction="mean"):
    """An environment variable is left behind."""
    os.environ["PLANTED_BY_A_LOSS"] = "1"
    return F.cross_entropy(logits, target, reduction=reduction)


CHANGES = {
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    # Neither one nor all cores, whoever ran before in this process.
    "the number of threads": lambda: torch.set_num_threads((os.cpu_count() or 1) + 1),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "the float32 matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "autocast on the CPU": lambda: torch.set_autocast_enabled("cpu", True),
    "the flushing of subnormals": lambda: torch.set_flush_denormal(True),
    "the working directory": lambda: os.chdir(os.sep),
    "the environment variables": lambda: os.environ.update(PLANTED_BY_A_LOSS="1"),
    "torch's random state": lambda: torch.manual_seed(0),
    "numpy's random state": lambda: np.random.seed(0),  # noqa: NPY002
    "python's random state": lambda: random.seed(0),
}
KEPT, UPSTREAM_KEPT, STATE = "inputs kept", "upstream kept", "state kept"
GIVEN = "gradients kept"
STORAGE, ALIVE = "new content in the same storage", "two graphs alive"
OPTIONS = "new content in the same options"
FAULTS = (
    Fault(KEPT, writes_forward, "overwrites"),
    Fault(KEPT, writes_labels, "overwrites"),
    Fault(KEPT, writes_backward, "overwrites", dtype="bfloat16"),
    Fault(KEPT, touches, "version_moved"),
    Fault(KEPT, touches_backward, "version_moved"),
    Fault(UPSTREAM_KEPT, from_above(_scales_in_place), "overwrites"),
    # Memory of stride 0 cannot be written to, so that an expanded upstream gradient makes it raise.
    Fault(UPSTREAM_KEPT, from_above(_scales_in_place), "overwrites", ("expanded upstream",), "none"),
    Fault(KEPT, fills_grad, "overwrites"),
    # A copy into memory of its own leads back to nothing but that memory.
    Fault(GIVEN, hands_out_a_workspace(), "overwrites", ("double backward through upstream",)),
    Fault(STATE, leaving(lambda: torch.rand(3)), "changes_state"),
    Fault(STORAGE, by_address(), "stale_result"),
    Fault(OPTIONS, by_shape_of_weight(), "stale_result", variant="weighted"),
    Fault(ALIVE, in_one_buffer(), "stale_result"),
    Fault(ALIVE, in_one_loss(), "stale_result"),
    Fault("result dtype", wide, "result_dtype", dtype="bfloat16"),
    Fault("result dtype", wider, "result_dtype", variant="none"),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_planted_fault_is_caught_by_its_question_and_by_no_other(fault):
    assert_caught(fault)


def test_every_question_has_a_planted_fault():
    assert {q.name for q in state.QUESTIONS} == {fault.question for fault in FAULTS}


@pytest.fixture
def unchanged():
    """Fails where something of the process is not put back."""

    def held():
        found = {name: setting.read() for name, setting in SETTINGS.items()}
        # pytest itself says there which part of a test is running.
        variables = dict(found["the environment variables"])
        variables.pop("PYTEST_CURRENT_TEST", None)
        found["the environment variables"] = variables
        return found

    before = held()
    yield
    after = held()
    with ExitStack() as stack:
        for name, value in before.items():
            if after[name] != value:
                stack.callback(SETTINGS[name].write, value)
    assert after == before


# Autograd itself puts back what a backward does to autocast. A loss that turns gradients off fails its
# plain call, see test_engine.
BACKWARD = [name for name in CHANGES if name != "autocast on the CPU"]


@pytest.mark.parametrize(
    ("way", "changed"),
    [(leaving, name) for name in CHANGES] + [(leaving_backward, name) for name in BACKWARD],
)
def test_whatever_is_changed_is_named_and_put_back(way, changed, unchanged):
    if changed == "the flushing of subnormals" and not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush subnormals")
    family = SUITE.extended(Implementation(way(CHANGES[changed]), name="planted"))
    block = OpenBlock(family, Case(family.name, "mean", "unit_normal", "float32", "cpu", 64, 10, 1), 0)
    # As in a run: another probe has called it before.
    assert ask("accuracy", block, "planted").findings == ()
    found = ask("protocol", block, "planted").findings
    assert [(f.kind, f.group) for f in found] == [("changes_state", STATE)]
    assert changed in found[0].message
    assert ("(PLANTED_BY_A_LOSS)" in found[0].message) is (changed == "the environment variables")
    assert ask("protocol", block, "native").findings == ()


def test_a_folder_that_is_no_more_cannot_be_gone_back_to_and_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held = SETTINGS["the working directory"].read()
    assert held == str(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert SETTINGS["the working directory"].read() == ""
    with settings_kept():
        os.chdir(os.sep)
    assert SETTINGS["the working directory"].read() == os.sep
    SETTINGS["the working directory"].write(held)
    assert SETTINGS["the working directory"].read() == held


@pytest.mark.parametrize("changed", ["the working directory", "the environment variables"])
def test_the_script_of_a_changed_process_fails_and_changes_nothing_here(changed, unchanged):
    function = {"the working directory": goes_elsewhere, "the environment variables": leaves_a_variable}[
        changed
    ]
    family = SUITE.extended(Implementation(function, name="planted"))
    case = Case(family.name, "mean", "unit_normal", "float32", "cpu", 8, 10, 1)
    (finding,) = ask("protocol", OpenBlock(family, case, 0), "planted").findings
    found = reproduced(family, Trial(case, "planted"), finding, 0)
    assert found.again
    text = script(found, identity={}, command="")
    assert f"changed {changed}" in ended(text).failure
    assert ended(script(found, identity={}, command="", stand_in=family.baseline)).failure is None


def test_who_asks_a_gradient_of_an_input_for_the_caller_is_told():
    def asks_for_more(log_probabilities, target, reduction="mean", mean_over="rows"):
        target.requires_grad_(True)
        return native(log_probabilities, target.detach(), reduction, mean_over=mean_over)

    native = DIVERGENCE.baseline.function
    family = DIVERGENCE.extended(Implementation(asks_for_more, name="planted"))
    case = Case(family.name, "batchmean", "independent", "float32", "cpu", 64, 10, 1)
    block = OpenBlock(family, case, 0)
    told = [f for f in ask("protocol", block, "planted").findings if f.group == KEPT]
    assert [(f.kind, f.message) for f in told] == [
        ("overwrites", "inputs: forward set requires_grad of target")
    ]
    assert ask("protocol", block, "native").findings == ()


def test_a_declared_result_dtype_is_held_to_the_declaration():
    declared = Contract(result_dtype="float32")
    assert questioned(wide, dtype="bfloat16", contract=declared).findings == ()
    (found,) = questioned(right, dtype="bfloat16", contract=declared).findings
    assert (found.kind, found.severity) == ("result_dtype", "warning")


def test_a_weight_that_is_normalised_in_place_is_noticed_and_spoils_nothing():
    def normalises(logits, target, reduction="mean", weight=None):
        if weight is not None:
            weight.div_(weight.sum())
        return F.cross_entropy(logits, target, weight, reduction=reduction)

    family = SUITE.extended(Implementation(normalises, name="planted"))
    block = OpenBlock(family, Case(family.name, "weighted", "unit_normal", "float32", "cpu", 64, 10, 1), 0)
    before = block.standard("planted").options["weight"].clone()
    ask("accuracy", block, "planted")
    found = {(f.kind, f.group) for f in ask("protocol", block, "planted").findings}
    assert ("overwrites", KEPT) in found
    assert torch.equal(block.standard("native").options["weight"], before)
