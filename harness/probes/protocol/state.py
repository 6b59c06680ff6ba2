"""What a call leaves behind: inputs, options, gradients it gave, global state, and results of old content.

Inputs are compared by bits and by version, after forward as well as after backward, since whoever
uses the logits again between the two needs them unchanged. The trap: a version that has moved over
unchanged bits breaks the backward of every other consumer of that tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.calling import gradients_of, leaves
from harness.observation import (
    Observation,
    gradient_array,
    loss_array,
    observe,
    overwritten,
    same_bits,
)
from harness.probes.protocol.interview import NAME, Interview, Question
from harness.probes.settings import settings, stirred
from harness.results import Finding
from harness.witness import plain_finding


def _inputs_kept(interview: Interview) -> list[Finding]:
    """Inputs are the same after forward and after backward: bits, version, `requires_grad` and `grad`."""
    sample = interview.fresh()
    needing = {name: tensor.requires_grad for name, tensor in sample.named.items()}
    versions = {name: tensor._version for name, tensor in sample.named.items()}
    options = _tensors(interview.stand.options)
    found: list[Finding] = []

    def look(moment: str) -> None:
        if changed := overwritten(sample, interview.sample):
            found.append(_overwrites(f"{moment} wrote into {', '.join(changed)}"))
            return
        for name, tensor in sample.named.items():
            if tensor.requires_grad != needing[name]:
                found.append(_overwrites(f"{moment} set requires_grad of {name}"))
            if tensor.grad is not None:
                found.append(_overwrites(f"{moment} filled {name}.grad"))
        moved = [name for name, tensor in sample.named.items() if tensor._version != versions[name]]
        if moved:
            sentence = (
                f"{moment} moved the version of {', '.join(moved)}: their other consumers cannot go backward"
            )
            found.append(Finding("version_moved", "warning", NAME, "inputs", sentence))

    loss = interview.loss(sample.tensors)
    look("forward")
    if loss.requires_grad and not found:
        wanted = [sample[name] for name in sample.gradients]
        interview.gradients(loss, wanted, interview.sent(loss), allow_unused=True)
        look("backward")
    for name, value in _tensors(interview.bound.options).items():
        # A weight normalised in place is changed by the first call and looks at rest ever after.
        if name in options and not same_bits(value.cpu(), options[name]):
            found.append(_overwrites(f"wrote into option {name}"))
    return found


def _overwrites(sentence: str) -> Finding:
    return plain_finding("overwrites", NAME, "inputs", sentence)


def _tensors(options: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in options.items() if isinstance(value, Tensor)}


def _upstream_kept(interview: Interview) -> list[Finding]:
    """The upstream gradient belongs to the caller."""
    sample = interview.fresh()
    loss = interview.loss(sample.tensors)
    if not loss.requires_grad:
        return []
    sent = interview.sent(loss)
    before = sent.clone()
    interview.gradients(loss, [sample[name] for name in sample.gradients], sent, allow_unused=True)
    return [] if same_bits(sent, before) else [_overwrites("wrote into the upstream gradient")]


def _gradients_kept(interview: Interview) -> list[Finding]:
    """A gradient belongs to the caller as well: a later backward, through another graph, leaves it alone."""

    def given(upstream: Tensor) -> dict[str, Tensor | None]:
        sample = interview.fresh()
        loss = interview.loss(sample.tensors)
        with interview.bound.ledger.spending("implementation"):
            return gradients_of(loss, sample, interview.sent(loss, upstream))

    usual = interview.stand.upstream
    first = {name: tensor for name, tensor in given(usual).items() if tensor is not None}
    before = {name: tensor.clone() for name, tensor in first.items()}
    given(3 * usual)
    changed = [name for name, tensor in first.items() if not same_bits(tensor, before[name])]
    if not changed:
        return []
    return [_overwrites(f"a later backward wrote into the gradient of {', '.join(changed)}")]


def _state_kept(interview: Interview) -> list[Finding]:
    """The state of torch, numpy, python and the process is as it was."""
    with stirred():
        before = settings()
        sample = interview.fresh()
        loss = interview.loss(sample.tensors)
        if loss.requires_grad:
            wanted = [sample[name] for name in sample.gradients]
            interview.gradients(loss, wanted, interview.sent(loss), allow_unused=True)
        after = settings()
    changed = [
        f"{name}{_which(value, after[name])}" for name, value in before.items() if after[name] != value
    ]
    if not changed:
        return []
    return [plain_finding("changes_state", NAME, "state", f"changed {', '.join(changed)}")]


def _which(before: object, after: object) -> str:
    """Names what changed in a setting that is made of names, e.g. " (HOME)"; values may be private."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return ""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f" ({', '.join(names)})"


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
    return interview.news(unseen, loss=(again.loss, fresh.loss), gradients=pairs)


def reversed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with the entries of every tensor in reverse order, as new tensors."""
    return {
        name: value.flip(-1) if isinstance(value, Tensor) and value.dim() else value
        for name, value in options.items()
    }


def _has_tensor_options(interview: Interview) -> bool:
    """Tells whether tensors are handed over with every call; a module may copy them when it is built."""
    tensors = [value for value in interview.stand.options.values() if isinstance(value, Tensor)]
    changing = any(not torch.equal(value, value.flip(-1)) for value in tensors if value.dim())
    return changing and not isinstance(interview.bound.call, torch.nn.Module)


def _new_options(interview: Interview) -> list[Finding]:
    """The same option tensors with other content give the answer to that content."""
    case, turned = interview.case, reversed_options(interview.stand.options)
    bound = interview.bound_at(interview.stand.options)
    observe(bound, interview.stand, case.dtype, case.device, NAME, described_defects=False)
    for name, value in bound.options.items():
        if isinstance(value, Tensor):
            value.copy_(turned[name])
    unseen = interview.standard_of("options turned", interview.sample, turned)
    again = interview.answered(observe(bound, unseen, case.dtype, case.device, NAME, described_defects=False))
    # Whoever keeps what he was given first answers it in every call, so the old answer is the reference.
    if not _same_answer(again, interview.plain):
        return []
    wrong = (*again.described(unseen, NAME), *again.findings)
    return [found for found in wrong if found.severity == "error"]


def _same_answer(one: Observation, other: Observation) -> bool:
    """Tells whether two answers agree in every bit but the sign of 0."""
    if one.loss is None or other.loss is None or one.gradients is None or other.gradients is None:
        return False
    pairs = [(one.loss, other.loss), *((got, other.gradients.get(n)) for n, got in one.gradients.items())]
    return all(old is not None and np.array_equal(got, old, equal_nan=True) for got, old in pairs)


def _result_dtype(interview: Interview) -> list[Finding]:
    """The loss has the dtype of its first floating input, or the declared one."""
    declared = interview.block.suite.implementation(interview.name).contract.result_dtype
    first = next(tensor for tensor in interview.sample.tensors if tensor.is_floating_point())
    allowed = declared or str(first.dtype).removeprefix("torch.")
    loss = interview.loss(interview.fresh().tensors)
    got = str(loss.dtype).removeprefix("torch.")
    if got == allowed:
        return []
    sentence = (
        f"returns {got} for {str(first.dtype).removeprefix('torch.')} inputs, the contract says {allowed}"
    )
    return [plain_finding("result_dtype", NAME, "loss", sentence)]


def _alone(interview: Interview) -> list[Finding]:
    """A second call on other inputs while the graph of the first is alive disturbs neither."""
    other = interview.block.standard(interview.name, repeat=1)
    plain = interview.answered(interview.observed(other))
    samples = (interview.fresh(), leaves(other.sample, interview.case.device))
    losses = [interview.loss(sample.tensors) for sample in samples]
    found: list[Finding] = []
    for stand, sample, loss, expected in zip(
        (interview.stand, other), samples, losses, (interview.plain, plain), strict=True
    ):
        assert expected.loss is not None
        assert expected.gradients is not None
        gradients = gradients_of(loss, sample, interview.sent(loss, stand.upstream))
        pairs = {
            name: (gradient_array(gradient, stand), expected.gradients[name])
            for name, gradient in gradients.items()
            if gradient is not None and name in expected.gradients
        }
        found += interview.news(stand, loss=(loss_array(loss, stand), expected.loss), gradients=pairs)
    return found


QUESTIONS = (
    Question("inputs kept", "overwrites", _inputs_kept),
    Question("upstream kept", "overwrites", _upstream_kept),
    Question("gradients kept", "overwrites", _gradients_kept),
    Question("state kept", "changes_state", _state_kept),
    Question("new content in the same storage", "stale_result", _new_content),
    Question(
        "new content in the same options",
        "stale_result",
        _new_options,
        applies=_has_tensor_options,
        recompiles=True,
    ),
    Question("two graphs alive", "stale_result", _alone),
    Question("result dtype", "result_dtype", _result_dtype, recompiles=True),
)
