"""What a call leaves behind: its inputs, its options, the state of torch, and results of old content.

Inputs are compared by bits and by version, after forward as well as after backward, since whoever
uses the logits again between the two needs them unchanged. The trap: a version that has moved over
unchanged bits breaks the backward of every other consumer of that tensor.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.calling import leaves
from harness.observation import gradient_array, news, observe, overwritten, same_bits
from harness.probes.protocol.interview import NAME, Interview, Question
from harness.results import Finding
from harness.witness import plain_finding


def _inputs_kept(interview: Interview) -> list[Finding]:
    """Inputs are the same after forward and after backward, in bits and in version."""
    sample = interview.fresh()
    versions = {name: tensor._version for name, tensor in sample.named.items()}
    options = {name: value.clone() for name, value in _tensors(interview.stand.options).items()}
    found: list[Finding] = []

    def look(moment: str) -> None:
        if changed := overwritten(sample, interview.sample):
            found.append(_overwrites(f"{moment} wrote into {', '.join(changed)}"))
            return
        moved = [name for name, tensor in sample.named.items() if tensor._version != versions[name]]
        if moved:
            sentence = (
                f"{moment} moved the version of {', '.join(moved)}: their other consumers cannot go backward"
            )
            found.append(Finding("version_moved", "warning", NAME, "inputs", sentence))

    loss = interview.bound.loss(sample.tensors)
    look("forward")
    if loss.requires_grad and not found:
        wanted = [sample[name] for name in sample.gradients]
        sent = interview.stand.upstream.to(interview.case.device, loss.dtype)
        torch.autograd.grad(loss, wanted, sent, allow_unused=True)
        look("backward")
    for name, value in _tensors(interview.stand.options).items():
        if not same_bits(value, options[name]):
            found.append(_overwrites(f"wrote into option {name}"))
    return found


def _overwrites(sentence: str) -> Finding:
    return plain_finding("overwrites", NAME, "inputs", sentence)


def _tensors(options: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in options.items() if isinstance(value, Tensor)}


def _upstream_kept(interview: Interview) -> list[Finding]:
    """The upstream gradient belongs to the caller."""
    sample = interview.fresh()
    loss = interview.bound.loss(sample.tensors)
    if not loss.requires_grad:
        return []
    sent = interview.stand.upstream.to(interview.case.device, loss.dtype).clone()
    before = sent.clone()
    torch.autograd.grad(loss, [sample[name] for name in sample.gradients], sent, allow_unused=True)
    return [] if same_bits(sent, before) else [_overwrites("wrote into the upstream gradient")]


def torch_state() -> dict[str, object]:
    """Returns what a loss must leave as it was, by name."""
    return {
        "the default dtype": torch.get_default_dtype(),
        "the number of threads": torch.get_num_threads(),
        "the grad mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the float32 matmul precision": torch.get_float32_matmul_precision(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "autocast on the CPU": torch.is_autocast_enabled("cpu"),
        "torch's random state": torch.random.get_rng_state().numpy().tobytes(),
        "numpy's random state": repr(np.random.get_state()),  # noqa: NPY002 - the global one is meant
        "python's random state": random.getstate(),
    }


def _state_kept(interview: Interview) -> list[Finding]:
    """The state of torch, numpy and python is as it was."""
    before = torch_state()
    sample = interview.fresh()
    loss = interview.bound.loss(sample.tensors)
    if loss.requires_grad:
        sent = interview.stand.upstream.to(interview.case.device, loss.dtype)
        torch.autograd.grad(loss, [sample[name] for name in sample.gradients], sent, allow_unused=True)
    after = torch_state()
    changed = [name for name, value in before.items() if after[name] != value]
    if not changed:
        return []
    return [plain_finding("changes_state", NAME, "state", f"changed {', '.join(changed)}")]


def _new_content(interview: Interview) -> list[Finding]:
    """The same storage with other content gives the answer to that content."""
    used = interview.fresh()
    interview.observed(interview.stand, used)
    unseen = interview.block.standard(interview.name, repeat=1)
    fresh = interview.answered(interview.observed(unseen))
    with torch.no_grad():
        for name, tensor in unseen.sample.named.items():
            used[name].copy_(tensor)
    again = interview.answered(interview.observed(unseen, used))
    assert fresh.loss is not None
    assert again.loss is not None
    pairs = {
        name: (got, (fresh.gradients or {})[name])
        for name, got in (again.gradients or {}).items()
        if name in (fresh.gradients or {})
    }
    return news(unseen, NAME, loss=(again.loss, fresh.loss), gradients=pairs)


def _result_dtype(interview: Interview) -> list[Finding]:
    """The loss has the dtype of its first floating input, or the declared one."""
    declared = interview.block.suite.implementation(interview.name).contract.result_dtype
    first = next(tensor for tensor in interview.sample.tensors if tensor.is_floating_point())
    allowed = declared or str(first.dtype).removeprefix("torch.")
    with torch.no_grad():
        loss = interview.bound.loss(leaves(interview.sample, interview.case.device).tensors)
    got = str(loss.dtype).removeprefix("torch.")
    if got == allowed:
        return []
    sentence = (
        f"returns {got} for {str(first.dtype).removeprefix('torch.')} inputs, the contract says {allowed}"
    )
    return [plain_finding("result_dtype", NAME, "loss", sentence)]


def _alone(interview: Interview) -> list[Finding]:
    """A second call while the graph of the first is alive disturbs neither."""
    first, second = interview.fresh(), interview.fresh()
    loss = interview.bound.loss(first.tensors)
    other = interview.block.standard(interview.name, repeat=1)
    observe(interview.bound, other, interview.case.dtype, interview.case.device, NAME)
    interview.bound.loss(second.tensors)
    if not loss.requires_grad:
        return []
    sent = interview.stand.upstream.to(interview.case.device, loss.dtype)
    names = first.gradients
    gradients = torch.autograd.grad(loss, [first[name] for name in names], sent, allow_unused=True)
    pairs = {
        name: (gradient_array(gradient, interview.stand), interview.plain_gradients()[name])
        for name, gradient in zip(names, gradients, strict=True)
        if gradient is not None and name in interview.plain_gradients()
    }
    return news(interview.stand, NAME, gradients=pairs)


QUESTIONS = (
    Question("inputs kept", "overwrites", _inputs_kept),
    Question("upstream kept", "overwrites", _upstream_kept),
    Question("state kept", "changes_state", _state_kept),
    Question("new content in the same storage", "stale_result", _new_content),
    Question("two graphs alive", "stale_result", _alone),
    Question("result dtype", "result_dtype", _result_dtype, recompiles=True),
)
