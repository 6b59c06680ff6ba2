"""One input with its truth and yardsticks: what every answer of a block is judged by.

A `Standard` is made once per (case, definition) and put to every implementation of a block, so that
inputs and truth are never computed twice; truth is computed from a private copy. `under` gives the
same inputs under another upstream gradient: the truth of a row is linear in it, so the rows are
evaluated once. The trap: the upstream gradient of an unreduced loss is made of powers of two, so
that it adds no rounding of its own but differs from row to row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.inputs import element_options
from harness.judge import Yardstick, group_labels, yardstick
from harness.ledger import Ledger
from harness.metrics import FORMATS, Format, Terms
from harness.oracle import cycle
from harness.oracle.autograd import Reference
from harness.oracle.ball import Ball, enclosure
from harness.oracle.closed_form import ClosedForm
from harness.oracle.reduction import Array
from harness.oracle.truth import RowOracle, RowTruth, Tier, Truth, reduced
from harness.sample import Sample, rows
from harness.suite import Suite


@dataclass(frozen=True)
class Grouping:
    """Group names and the group of every entry of a gradient."""

    names: tuple[str, ...]
    labels: NDArray[np.int8]


@dataclass(frozen=True)
class Standard:
    """A stored sample, the options it is asked with, its truth and the bounds around it.

    `options` are those of the call, `asked` those of the oracle (the implementation's definition
    merged in); `row_inputs` holds the tensors unfolded into rows, by name, and whole what all rows share.
    """

    suite: Suite
    sample: Sample
    options: Mapping[str, Any]
    asked: Mapping[str, Any]
    upstream: Tensor
    row_truth: RowTruth
    truth: Truth
    loss: Yardstick
    gradients: Mapping[str, Yardstick]
    grouping: Mapping[str, Grouping]
    input_sensitivity: Array
    row_inputs: Mapping[str, Tensor]
    # Where the seconds of proofs are booked: as the oracle's.
    ledger: Ledger = field(default_factory=Ledger, repr=False, compare=False)
    # What `enclosure` has proved, so that a place is proved once however many answers are wrong there.
    proved: dict[tuple[str, tuple[int, ...]], Ball] = field(default_factory=dict, repr=False, compare=False)

    def enclosure(self, tensor: str, place: tuple[int, ...]) -> Ball | None:
        """Returns the ball of one number of the truth; None where the family states no `exact`."""
        form = self.suite.oracle
        if not isinstance(form, ClosedForm) or form.exact is None:
            return None
        if (tensor, place) not in self.proved:
            upstream = self.upstream.reshape(-1).double().numpy()
            with self.ledger.spending("oracle"):
                self.proved[tensor, place] = enclosure(
                    form, self.row_inputs, self.asked, upstream, tensor, place, truth=self.truth
                )
        return self.proved[tensor, place]

    def under(self, upstream: Tensor) -> Standard:
        """Returns the same inputs judged under another upstream gradient (shape of the loss)."""
        truth = reduced(self.row_truth, self.asked, upstream.reshape(-1).double().numpy())
        sticks = _gradient_sticks(self, truth)
        return replace(self, upstream=upstream, truth=truth, gradients=sticks, proved={})


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
    return flat.reshape(first.shape) if sample.layout == "elements" else flat


def asked_upstream(sample: Sample, options: Mapping[str, Any]) -> Tensor:
    """Returns the upstream gradient that answers are judged under: 2 for a reduced loss.

    A backward that ignores what comes from above is right for 1 alone, which is what every test uses.
    """
    several = upstream_for(sample, options)
    return torch.tensor(2.0, dtype=sample.tensors[0].dtype) if several is None else several


def standard(
    suite: Suite, sample: Sample, options: Mapping[str, Any], dtype: str, definition: Mapping[str, Any]
) -> Standard:
    """Computes truth and yardsticks of a stored sample under an implementation's definition."""
    form = FORMATS[dtype]
    asked = {**options, **definition}
    inputs = {name: tensor.detach().clone() for name, tensor in sample.in_rows().items()}
    inputs |= element_options(sample, asked)
    upstream = asked_upstream(sample, options)
    # float64 answers are judged by pairs of float64; anything narrower by float64.
    tier: Tier = "B1" if dtype == "float64" else "B0"
    row_truth = cycle.evaluated(row_oracle(suite), inputs, asked, sample.gradients, tier=tier)
    truth = reduced(row_truth, asked, upstream.reshape(-1).double().numpy())
    loss = yardstick(
        truth.value,
        truth.value_sensitivity,
        form,
        Terms(entries_per_row(sample, inputs), truth.reduced_rows),
        rounding=truth.rounding,
        groups=("loss",),
        is_loss=True,
        poisoned=_poisoned(inputs),
        tail=truth.value_tail,
        floor=truth.floor,
        forgiven=_forgiven(suite, form),
    )
    by_input = np.abs(truth.value)
    with np.errstate(over="ignore"):
        for name in truth.gradients:
            by_input = by_input + _input_share(inputs[name], row_truth, name, truth)
    stand = Standard(
        suite=suite,
        sample=sample,
        options=options,
        asked=asked,
        upstream=upstream,
        row_truth=row_truth,
        truth=truth,
        loss=loss,
        gradients={},
        grouping=_groupings(suite, inputs, asked, truth),
        input_sensitivity=by_input,
        row_inputs=inputs,
    )
    return replace(stand, gradients=_gradient_sticks(stand, truth))


def _gradient_sticks(stand: Standard, truth: Truth) -> dict[str, Yardstick]:
    sticks = {}
    # Where no row counts, the gradients are undefined by 0/0, whatever NaN an input holds besides.
    poisoned = stand.loss.poisoned and bool(np.isfinite(truth.row_scale).all())
    for name, gradient in truth.gradients.items():
        grouping, shared = stand.grouping[name], name in truth.shared
        if shared:
            # A row adds its features times a gradient of this scale.
            scale = stand.row_truth.shared[name].largest(truth.row_scale)
        else:
            scale = truth.row_scale.reshape(-1, *([1] * (gradient.ndim - 1)))
        sticks[name] = yardstick(
            gradient,
            truth.gradient_sensitivities[name],
            stand.loss.form,
            Terms(
                entries_per_row(stand.sample, stand.row_inputs),
                len(truth.row_losses) if shared else 1,
                by_product=name in stand.sample.products,
            ),
            rounding=truth.rounding_of(name),
            groups=grouping.names,
            labels=grouping.labels,
            scale=scale,
            is_loss=False,
            poisoned=poisoned,
            tail=truth.gradient_tails.get(name),
            reach=truth.gradient_ranges.get(name),
            floor=truth.floor,
            forgiven=_forgiven(stand.suite, stand.loss.form),
        )
    return sticks


def staged(suite: Suite) -> bool:
    """Tells whether numbers between inputs and loss may be stored in the dtype (`ClosedForm.staged`)."""
    return bool(getattr(suite.oracle, "staged", False))


def _forgiven(suite: Suite, form: Format) -> float:
    """Returns what severity error forgives in units of N: one rounding where a family has stages."""
    return form.roundoff if staged(suite) else 0.0


def _groupings(
    suite: Suite, inputs: Mapping[str, Tensor], asked: Mapping[str, Any], truth: Truth
) -> dict[str, Grouping]:
    ignored = None if suite.ignored is None else suite.ignored(inputs, asked).numpy()
    masks = {} if suite.groups is None else {n: m.numpy() for n, m in suite.groups(inputs, asked).items()}
    found = {}
    for name, gradient in truth.gradients.items():
        fitting = [(group, mask) for group, mask in masks.items() if mask.shape == gradient.shape]
        groups, labels = group_labels(gradient, fitting, None if name in truth.shared else ignored)
        found[name] = Grouping(tuple(f"{name}/{group}" for group in groups), labels)
    return found


def entries_per_row(sample: Sample, inputs: Mapping[str, Tensor]) -> int:
    """Returns how many entries of unfolded inputs make up a row: what a bound grows with.

    Where a row is projected by what all rows share, these are its classes.
    """
    return sample.shape.classes if sample.shared else math.prod(inputs[next(iter(inputs))].shape[1:])


def _poisoned(inputs: Mapping[str, Tensor]) -> bool:
    return any(bool(t.isnan().any()) for t in inputs.values() if t.is_floating_point())


def _input_share(tensor: Tensor, row_truth: RowTruth, name: str, truth: Truth) -> Array:
    """Returns sum_k |v_k dy/dv_k| of one input, reduced like the value (numerics: A2)."""
    values = np.nan_to_num(tensor.double().numpy())
    with np.errstate(invalid="ignore", over="ignore"):
        if name in row_truth.shared:
            per_row = row_truth.shared[name].shares(values)
        else:
            products = np.abs(values * row_truth.gradients[name])
            per_row = products.reshape(len(products), -1).sum(axis=1) if len(products) else np.zeros(0)
        if truth.value.ndim:
            return np.asarray(per_row)
        factor = 1.0 if truth.reduced_rows == 1 else float(truth.row_scale.max(initial=0.0))
        return np.asarray(per_row.sum() * factor)
