"""One input with its truth and yardsticks, and what an implementation answered to it.

A `Standard` is made once per (case, definition) and put to every implementation of a block, so that
inputs and truth are never computed twice; truth is computed from a private copy. `observe` calls
one implementation, forward and backward, and judges loss and gradients. The trap: the upstream
gradient of an unreduced loss is made of powers of two, so that it adds no rounding of its own but
differs from row to row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.calling import Bound, NotALossError, failure, gradients_of, leaves
from harness.judge import Defect, Judgement, Yardstick, group_labels, judge, yardstick
from harness.metrics import FORMATS, Format
from harness.oracle.autograd import Reference
from harness.oracle.reduction import Array
from harness.oracle.truth import RowOracle, Truth, reduced
from harness.outcome import KINDS, severity
from harness.results import Finding, Status
from harness.sample import Sample, rows
from harness.suite import Suite

WITNESS_ENTRIES = 16


@dataclass(frozen=True)
class Standard:
    """A stored sample, the options it is asked with, its truth and the bounds around it."""

    sample: Sample
    options: Mapping[str, Any]
    upstream: Tensor
    truth: Truth
    loss: Yardstick
    gradients: Mapping[str, Yardstick]
    input_sensitivity: Array
    row_groups: Mapping[str, Any]


@dataclass(frozen=True)
class Observation:
    """What one call answered: losses and gradients as float64 arrays, and what is wrong with them."""

    status: Status
    reason: str = ""
    loss: Array | None = None
    loss_judgement: Judgement | None = None
    gradients: Mapping[str, Array] | None = None
    gradient_judgements: Mapping[str, Judgement] | None = None
    findings: tuple[Finding, ...] = ()

    def worst_is_error(self) -> bool:
        """Tells whether a finding has severity error."""
        return any(finding.severity == "error" for finding in self.findings)


def row_oracle(suite: Suite) -> RowOracle:
    """Returns the suite's oracle; a plain function becomes an uncertified float64 reference."""
    if hasattr(suite.oracle, "evaluate"):
        oracle: RowOracle = suite.oracle  # type: ignore[assignment]
        return oracle
    return Reference(suite.oracle)  # type: ignore[arg-type]


def upstream_for(sample: Sample, options: Mapping[str, Any]) -> Tensor | None:
    """Returns the upstream gradient of an unreduced loss: 1/2, 1, 2 in a fixed irregular order."""
    if options["reduction"] != "none":
        return None
    first = sample.tensors[0]
    count = rows(first, sample.layout).shape[0]
    powers = torch.tensor([0.5, 1.0, 2.0, 1.0, 0.5, 2.0, 2.0], dtype=first.dtype)
    flat = powers[torch.arange(count) % len(powers)]
    if sample.layout == "nchw":
        return flat.reshape(first.shape[0], *first.shape[2:])
    return flat


def asked_upstream(sample: Sample, options: Mapping[str, Any]) -> Tensor:
    """Returns the upstream gradient that answers are judged under: 2 for a reduced loss.

    A backward that ignores what comes from above is right for 1 alone, which is what every test uses.
    """
    several = upstream_for(sample, options)
    return torch.tensor(2.0, dtype=sample.tensors[0].dtype) if several is None else several


def overwritten(sample: Sample, stored: Sample) -> list[str]:
    """Names the inputs whose bits are no longer those that were stored."""
    return [name for name in stored if not _same_bits(sample[name].detach().cpu(), stored[name])]


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Compares bits, so that NaN equals NaN; a changed dtype or shape is a difference."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}[one.element_size()]
    return torch.equal(one.contiguous().view(whole), other.contiguous().view(whole))


def standard(
    suite: Suite, sample: Sample, options: Mapping[str, Any], dtype: str, definition: Mapping[str, Any]
) -> Standard:
    """Computes truth and yardsticks of a stored sample under an implementation's definition."""
    form = FORMATS[dtype]
    asked = {**options, **definition}
    inputs = {name: tensor.detach().clone() for name, tensor in sample.in_rows().items()}
    upstream = asked_upstream(sample, options)
    row_truth = row_oracle(suite).evaluate(inputs, asked, sample.gradients)
    truth = reduced(row_truth, asked, upstream.reshape(-1).double().numpy())
    first = inputs[next(iter(inputs))]
    classes = first.shape[1] if first.dim() > 1 else 1
    poisoned = any(bool(t.isnan().any()) for t in inputs.values() if t.is_floating_point())
    ignored = None if suite.ignored is None else suite.ignored(inputs, asked).numpy()
    masks = {} if suite.groups is None else {n: m.numpy() for n, m in suite.groups(inputs, asked).items()}
    sticks: dict[str, Yardstick] = {}
    by_input = np.abs(truth.value)
    for name, gradient in truth.gradients.items():
        fitting = [(group, mask) for group, mask in masks.items() if mask.shape == gradient.shape]
        groups, labels = group_labels(gradient, fitting, ignored)
        scale = truth.row_scale.reshape(-1, *([1] * (gradient.ndim - 1)))
        sticks[name] = yardstick(
            gradient,
            truth.gradient_sensitivities[name],
            form,
            classes=classes,
            rows=1,
            rounding=truth.rounding,
            groups=tuple(f"{name}/{group}" for group in groups),
            labels=labels,
            scale=scale,
            is_loss=False,
            poisoned=poisoned,
        )
        by_input = by_input + _input_share(inputs[name], row_truth.gradients[name], truth)
    loss = yardstick(
        truth.value,
        truth.value_sensitivity,
        form,
        classes=classes,
        rows=truth.reduced_rows,
        rounding=truth.rounding,
        groups=("loss",),
        is_loss=True,
        poisoned=poisoned,
    )
    return Standard(sample, options, upstream, truth, loss, sticks, by_input, inputs)


def _input_share(tensor: Tensor, gradient: Array, truth: Truth) -> Array:
    """Returns sum_k |v_k dy/dv_k| of one input, reduced like the value (numerics: A2)."""
    with np.errstate(invalid="ignore", over="ignore"):
        products = np.abs(np.nan_to_num(tensor.double().numpy()) * gradient)
        per_row = products.reshape(len(products), -1).sum(axis=1)
        if truth.value.ndim:
            return np.asarray(per_row)
        factor = 1.0 if truth.reduced_rows == 1 else float(truth.row_scale.max(initial=0.0))
        return np.asarray(per_row.sum() * factor)


def observe(
    bound: Bound, stand: Standard, dtype: str, device: str, probe: str, *, sample: Sample | None = None
) -> Observation:
    """Calls an implementation on a standard, forward and backward, and judges its answers.

    It is called on private copies, or on `sample` where that already holds the same contents.
    Whatever it raises becomes a status or the finding `raises`; no Exception comes out of here.
    """
    sample = sample or leaves(stand.sample, device)
    try:
        with bound.ledger.spending("implementation"):
            loss = bound.loss(sample.tensors)
        expected = tuple(stand.upstream.shape)
        if tuple(loss.shape) != expected:
            sentence = f"loss has shape {tuple(loss.shape)}, the contract says {expected}"
            return Observation("ok", findings=(_plain("shape", probe, "loss", sentence),))
        upstream = stand.upstream.to(device, loss.dtype)
        with bound.ledger.spending("implementation"):
            found = gradients_of(loss, sample, upstream)
    except NotALossError as error:
        return Observation("ok", findings=(_plain("shape", probe, "loss", str(error)),))
    except Exception as error:
        status, reason = failure(error)
        if status is not None:
            return Observation(status, reason)
        return Observation("ok", reason, findings=(_plain("raises", probe, "call", reason),))
    got_loss = loss.detach().cpu().double().reshape(stand.truth.value.shape).numpy()
    judged_loss = judge(stand.loss, got_loss)
    findings = [_described(d, stand.loss, got_loss, stand, probe, None) for d in judged_loss.defects]
    got_gradients: dict[str, Array] = {}
    judged_gradients: dict[str, Judgement] = {}
    for name, gradient in found.items():
        if gradient is None:
            findings.append(_plain("no_gradient", probe, name, f"no gradient reached {name}"))
            continue
        stick = stand.gradients[name]
        flat = rows(gradient.detach(), stand.sample.layout).cpu().double().numpy()
        if flat.shape != stick.truth.shape:
            sentence = f"gradient of {name} has shape {tuple(gradient.shape)}"
            findings.append(_plain("shape", probe, name, sentence))
            continue
        got_gradients[name] = flat
        judged_gradients[name] = judge(stick, flat)
        findings += [_described(d, stick, flat, stand, probe, name) for d in judged_gradients[name].defects]
    if changed := overwritten(sample, stand.sample):
        findings.append(_plain("overwrites", probe, "inputs", f"wrote into {', '.join(changed)}"))
    split = _split_finding(stand, judged_loss, judged_gradients, probe)
    return Observation(
        "ok",
        "",
        got_loss,
        judged_loss,
        got_gradients,
        judged_gradients,
        tuple(findings) + split,
    )


def _split_finding(
    stand: Standard, loss: Judgement, gradients: Mapping[str, Judgement], probe: str
) -> tuple[Finding, ...]:
    sides = {"loss": loss.finite, **{name: judgement.finite for name, judgement in gradients.items()}}
    if len(set(sides.values())) < 2:
        return ()
    good = ", ".join(name for name, finite in sides.items() if finite)
    bad = ", ".join(name for name, finite in sides.items() if not finite)
    return (_plain("loss_gradient_split", probe, "call", f"finite: {good}; not finite: {bad}"),)


def _plain(kind: str, probe: str, group: str, message: str) -> Finding:
    return Finding(kind, severity(kind), probe, group, message)


def _described(
    defect: Defect, stick: Yardstick, got: Array, stand: Standard, probe: str, tensor: str | None
) -> Finding:
    place = np.unravel_index(defect.place, stick.truth.shape) if stick.truth.ndim else ()
    exact, answer, form = float(stick.truth[place]), float(got[place]), stick.form
    size = _size_in_words(exact, answer, float(stick.spacing[place]))
    total = int((stick.labels == stick.groups.index(defect.group)).sum())
    message = f"{defect.count} of {total}: {KINDS[defect.kind].sentence}; worst {size}"
    witness = {
        "tensor": tensor or "loss",
        "place": [int(index) for index in place],
        "truth": exact.hex(),
        "got": answer.hex(),
        "dtype": form.name,
        "inputs": _witness_inputs(stand, place),
    }
    return Finding(defect.kind, defect.severity, probe, defect.group, message, witness)


def _size_in_words(exact: float, answer: float, spacing: float) -> str:
    from harness.units import number

    where = f"{number(answer)} for {number(exact)}"
    if not (math.isfinite(exact) and math.isfinite(answer)):
        return where
    return f"{where} ({number(abs(answer - exact) / spacing)} ulp)"


def _witness_inputs(stand: Standard, place: tuple[Any, ...]) -> dict[str, Any]:
    """Returns the input row of a place in hex floats; long rows by their largest and the entry."""
    row = int(place[0]) if place else 0
    shown: dict[str, Any] = {}
    for name, tensor in stand.row_groups.items():
        entry = tensor[row]
        if entry.dim() == 0:
            shown[name] = _exact_text(entry)
        elif entry.numel() <= WITNESS_ENTRIES:
            shown[name] = [_exact_text(value) for value in entry]
        else:
            columns = {int(entry.double().nan_to_num().argmax())}
            columns |= {int(place[1])} if len(place) > 1 else set()
            shown[name] = {str(c): _exact_text(entry[c]) for c in sorted(columns)}
            shown[f"{name}_entries"] = entry.numel()
    return shown


def _exact_text(value: Tensor) -> str | int:
    return float(value).hex() if value.is_floating_point() else int(value)


def format_of(dtype: str) -> Format:
    """Returns the format of a dtype name."""
    return FORMATS[dtype]
