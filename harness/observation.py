"""What an implementation answered to a standard, forward and backward, and what is wrong with it.

`answered` makes one call on private copies and compares the inputs' bits afterwards; whatever is raised
becomes a status or the finding `raises`. `judged` puts its numbers to the truth; `observe` does both.
`news` keeps of an answer's defects those that a reference answer on the same inputs does not have: a
probe that asks about memory layouts must not repeat what the accuracy probe says about the numbers. The
trap: an entry that is wrong in both answers is no news, an entry that is wrong in another way is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from harness.calling import Bound, NotALossError, failure, gradients_of, leaves
from harness.garbage import rounded
from harness.judge import Defect, Judgement, Yardstick, judge
from harness.oracle.reduction import Array
from harness.results import Finding, Status
from harness.sample import Sample, rows
from harness.standard import Standard
from harness.witness import described, plain_finding

# Of bfloat16 at ten classes a quarter: an upstream gradient of 3 that is taken for 2 is further off.
MOST_BOUNDS = 8.0


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

    @property
    def defects(self) -> tuple[Defect, ...]:
        """The defects of the judgements, the loss's first; `described` makes findings of them."""
        judgements = (self.loss_judgement, *(self.gradient_judgements or {}).values())
        return tuple(d for judgement in judgements if judgement is not None for d in judgement.defects)

    def worst_is_error(self) -> bool:
        """Tells whether a finding or a defect has severity error."""
        severities = [*(defect.severity for defect in self.defects), *(f.severity for f in self.findings)]
        return "error" in severities

    def described(self, stand: Standard, probe: str) -> tuple[Finding, ...]:
        """Returns a finding with its witness for every defect of the judgements, in their order."""
        if self.loss is None or self.loss_judgement is None:
            return ()
        findings = [
            described(d, stand.loss, self.loss, stand, probe, None) for d in self.loss_judgement.defects
        ]
        gradients = self.gradients or {}
        for name, judgement in (self.gradient_judgements or {}).items():
            stick = stand.gradients[name]
            findings += [described(d, stick, gradients[name], stand, probe, name) for d in judgement.defects]
        return tuple(findings)


def compared_with(stand: Standard, seen: Observation) -> list[tuple[str | None, Yardstick, Array]]:
    """Returns (input or None for the loss, yardstick, numbers) of what came back."""
    parts: list[tuple[str | None, Yardstick, Array]] = []
    if seen.loss is not None:
        parts.append((None, stand.loss, seen.loss))
    return parts + [(name, stand.gradients[name], got) for name, got in (seen.gradients or {}).items()]


def overwritten(sample: Sample, stored: Sample) -> list[str]:
    """Names the inputs whose bits are no longer those that were stored."""
    return [name for name in stored if not same_bits(sample[name].detach().cpu(), stored[name])]


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Compares bits, so that NaN equals NaN; a changed dtype or shape is a difference."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return bool((one == other).all())
    if one.is_contiguous() and other.is_contiguous():
        whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}[one.element_size()]
        return torch.equal(one.view(whole), other.view(whole))
    # Strided memory has no view as whole numbers; equal values with equal signs will do.
    same = (one == other) & (one.signbit() == other.signbit())
    return bool((same | (one.isnan() & other.isnan())).all())


def observe(
    bound: Bound,
    stand: Standard,
    dtype: str,
    device: str,
    probe: str,
    *,
    sample: Sample | None = None,
    described_defects: bool = True,
) -> Observation:
    """Calls an implementation on a standard, forward and backward, and judges its answers.

    Without `described_defects` the judgements come without findings for them: a witness costs a proof.
    It is called as by `answered`.
    """
    seen = judged(answered(bound, stand, device, probe, sample=sample), stand, probe)
    if not described_defects:
        return seen
    return replace(seen, findings=(*seen.described(stand, probe), *seen.findings))


def answered(
    bound: Bound, stand: Standard, device: str, probe: str, *, sample: Sample | None = None
) -> Observation:
    """Calls an implementation on a standard, forward and backward, and leaves its numbers unjudged.

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
            return Observation("ok", findings=(plain_finding("shape", probe, "loss", sentence),))
        upstream = private_upstream(stand.upstream, device, loss.dtype)
        with bound.ledger.spending("implementation"):
            found = gradients_of(loss, sample, upstream)
    except NotALossError as error:
        return Observation("ok", findings=(plain_finding("shape", probe, "loss", str(error)),))
    except Exception as error:
        status, reason = failure(error)
        if status is not None:
            return Observation(status, reason)
        return Observation("ok", reason, findings=(plain_finding("raises", probe, "call", reason),))
    findings: list[Finding] = []
    gradients: dict[str, Array] = {}
    for name, gradient in found.items():
        if gradient is None:
            findings.append(plain_finding("no_gradient", probe, name, f"no gradient reached {name}"))
            continue
        flat = gradient_array(gradient, stand)
        if flat.shape != stand.gradients[name].truth.shape:
            sentence = f"gradient of {name} has shape {tuple(gradient.shape)}"
            findings.append(plain_finding("shape", probe, name, sentence))
            continue
        gradients[name] = flat
    if changed := overwritten(sample, stand.sample):
        findings.append(plain_finding("overwrites", probe, "inputs", f"wrote into {', '.join(changed)}"))
    return Observation("ok", loss=loss_array(loss, stand), gradients=gradients, findings=tuple(findings))


def judged(seen: Observation, stand: Standard, probe: str) -> Observation:
    """Returns an answer with its judgements, and a finding where only one side of it is finite."""
    if seen.loss is None or seen.gradients is None:
        return seen
    with stand.ledger.spending("judging"):
        of_loss = judge(stand.loss, seen.loss)
        of_gradients = {name: judge(stand.gradients[name], got) for name, got in seen.gradients.items()}
    split = _split_finding(seen, of_loss, of_gradients, stand, probe)
    return replace(
        seen,
        loss_judgement=of_loss,
        gradient_judgements=of_gradients,
        findings=(*seen.findings, *split),
    )


def private_upstream(upstream: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    """Returns a copy of an upstream gradient with its strides and the contents of its gaps.

    It is the caller's and judges whoever comes next, so a backward that writes into it gets its own.
    """
    if not upstream.numel():
        return upstream.to(device, dtype, copy=True)
    span = 1 + sum((size - 1) * step for size, step in zip(upstream.shape, upstream.stride(), strict=True))
    memory = upstream.as_strided((span,), (1,)).to(device, dtype, copy=True)
    return memory.as_strided(upstream.shape, upstream.stride())


def loss_array(loss: Tensor, stand: Standard) -> Array:
    """Returns a loss as float64 in the shape of the truth."""
    return np.asarray(loss.detach().cpu().double().reshape(stand.truth.value.shape).numpy())


def gradient_array(gradient: Tensor, stand: Standard) -> Array:
    """Returns a gradient as float64 rows."""
    return np.asarray(rows(gradient.detach(), stand.sample.layout).cpu().double().numpy())


def news(
    stand: Standard,
    probe: str,
    *,
    loss: tuple[Array, Array] | None = None,
    gradients: Mapping[str, tuple[Array, Array]] | None = None,
) -> list[Finding]:
    """Returns the defects of answers that their reference answers do not have.

    Each pair is (answer, reference), both for the truth of `stand`; an entry that agrees with its
    reference within the bound beyond which an inaccuracy is an error is no news, whether it is right or
    wrong: rounding elsewhere (16-bit gradients scaled by 3 before instead of after) explains that much. A
    reference that is off by several of these bounds itself has so much rounding to place elsewhere, up to
    MOST_BOUNDS; and single 16-bit entries are rounding as well (`harness.garbage`).
    """
    with stand.ledger.spending("judging"):
        return _news(stand, probe, loss, gradients or {})


def _news(
    stand: Standard,
    probe: str,
    loss: tuple[Array, Array] | None,
    gradients: Mapping[str, tuple[Array, Array]],
) -> list[Finding]:
    findings: list[Finding] = []
    if loss is not None and not _equal(*loss):
        got = _unlike(stand.loss, *loss)
        findings += [
            described(d, stand.loss, got, stand, probe, None)
            for d in judge(stand.loss, got).defects
            if not rounded(stand.loss, d)
        ]
    apart = {name: pair for name, pair in gradients.items() if not _equal(*pair)}
    # The gradients of several inputs are made of the same rounded numbers.
    leeway = max(
        (_bounds_off(stand.gradients[n], reference) for n, (_, reference) in apart.items()), default=1
    )
    for name, pair in apart.items():
        stick = stand.gradients[name]
        got = _unlike(stick, *pair, leeway)
        findings += [
            described(d, stick, got, stand, probe, name)
            for d in judge(stick, got).defects
            if not rounded(stick, d)
        ]
    return [finding for finding in findings if finding.severity != "note"]


def _equal(got: Array, reference: Array) -> bool:
    """Tells whether an answer is its reference number by number, which is what most answers are."""
    return bool(((got == reference) | ((got != got) & (reference != reference))).all())


def _bounds_off(stick: Yardstick, reference: Array) -> float:
    """Returns by how many bounds a reference is off at its worst finite entry, from 1 to MOST_BOUNDS."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        off = np.abs(stick.off(reference)) / np.fmax(stick.strict, stick.error)
    return min(MOST_BOUNDS, float(np.max(off, initial=1.0, where=np.isfinite(off))))


def _unlike(stick: Yardstick, got: Array, reference: Array, leeway: float = 1.0) -> Array:
    """Returns the answer with the truth put where it agrees with its reference."""
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(got - reference) <= leeway * np.fmax(stick.strict, stick.error)
        same = near | (got == reference) | (np.isnan(got) & np.isnan(reference))
    return np.where(same, stick.truth, got)


def _split_finding(
    seen: Observation,
    of_loss: Judgement,
    of_gradients: Mapping[str, Judgement],
    stand: Standard,
    probe: str,
) -> tuple[Finding, ...]:
    """Returns the finding that one side is finite and another is not; its group says which and how.

    The groups are "loss NaN", "loss inf", "gradient NaN" and "gradient inf".
    """
    finite = {"loss": of_loss.finite, **{name: one.finite for name, one in of_gradients.items()}}
    if len(set(finite.values())) < 2:
        return ()
    answers = {"loss": (stand.loss, seen.loss)}
    answers |= {name: (stand.gradients[name], got) for name, got in (seen.gradients or {}).items()}
    good = ", ".join(name for name, well in finite.items() if well)
    bad = [name for name, well in finite.items() if not well]
    side = bad[:1] if not of_loss.finite else bad
    how = "NaN" if any(_holds_nan(*answers[name]) for name in side) else "inf"
    group = f"{'gradient' if of_loss.finite else 'loss'} {how}"
    sentence = f"finite: {good}; not finite: {', '.join(bad)}"
    return (plain_finding("loss_gradient_split", probe, group, sentence),)


def _holds_nan(stick: Yardstick, got: Array | None) -> bool:
    """Tells whether an answer is NaN where its truth is a finite number."""
    return got is not None and bool((np.isnan(got) & stick.defined & ~stick.infinite).any())
