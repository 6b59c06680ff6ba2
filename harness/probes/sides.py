"""What one side of an identity is worth: its losses, its gradients, and what both may be off by.

A side is plain torch code in float64 around calls (`harness.probes.evaluation`). Per row it is linear in
them, side = sum_k a_k L_k + rest, hence |side error| <= sum_k |a_k| b_k and |gradient error| <=
sum_k |a_k| |J_k|^T b_k, with b_k the bound of a call and J_k the slope of its inputs. The trap: J^T b is
not |J|^T b where an entry of the sample meets several entries of an input (log_softmax), so the slopes of
such inputs are taken column by column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import SuiteError
from harness.judge import Mask
from harness.oracle.reduction import Array
from harness.probes.evaluation import Call, Evaluation
from harness.sample import Sample, rows

# Two sums of the same terms in another order.
SAME = 2.0**-40


@dataclass(frozen=True)
class Side:
    """Losses (R,) and gradients {name: rows} of a side, and what each entry may be off by.

    `stretched` (R,) marks the rows in which a call is granted more than the strict bound.
    """

    losses: Array
    loss_bound: Array
    gradients: Mapping[str, Array]
    gradient_bounds: Mapping[str, Array]
    stretched: Mask


def side_of(
    function: Callable[[Any, Sample], Tensor], evaluation: Evaluation, sample: Sample, called: str
) -> Side:
    """Computes a side on a sample whose differentiated tensors are leaves; `called` names the identity."""
    evaluation.calls = []
    value = function(evaluation, sample)
    count = len(rows(sample.tensors[0], sample.layout))
    if not isinstance(value, Tensor) or value.numel() != count:
        what = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise SuiteError(f"{called}: a side returned {what}; a side returns one number per row ({count}).")
    value = value.reshape(-1).double()
    weights = [slope_of(value, call.anchor, torch.ones_like(value)).abs() for call in evaluation.calls]
    loss_bound = np.zeros(count)
    for call, weight in zip(evaluation.calls, weights, strict=True):
        loss_bound = loss_bound + weight.numpy() * call.answered.loss_bound
    gradients: dict[str, Array] = {}
    bounds: dict[str, Array] = {}
    for name in sample.gradients:
        leaf = sample[name]
        if leaf.requires_grad:
            gradients[name] = rows(slope_of(value, leaf, torch.ones_like(value)), sample.layout).numpy()
            reach = torch.zeros_like(leaf)
            for call, weight in zip(evaluation.calls, weights, strict=True):
                reach = reach + _reach_of(call, weight, leaf)
            bounds[name] = rows(reach, sample.layout).numpy()
    stretched = np.zeros(count, dtype=bool)
    for call in evaluation.calls:
        stretched = stretched | call.answered.stretched
    return Side(value.detach().numpy(), loss_bound, gradients, bounds, stretched)


def _reach_of(call: Call, weight: Tensor, leaf: Tensor) -> Tensor:
    """Returns sum |a| |J|^T b over the inputs of a call: what its gradients' bounds make of a leaf's."""
    reach = torch.zeros_like(leaf)
    for name, bound in call.answered.gradient_bounds.items():
        inputs = call.inputs[name]
        if not inputs.requires_grad:
            continue
        entries = torch.from_numpy(np.array(bound))
        entries = entries * weight.reshape(-1, *([1] * (entries.dim() - 1)))
        together = slope_of(inputs, leaf, entries).abs()
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, entries.shape, generator=generator).double() * 2 - 1
        # Where no entry of the leaf meets two entries of the input, signs change nothing.
        apart = slope_of(inputs, leaf, entries * signs).abs()
        if torch.allclose(together, apart, rtol=SAME, atol=0.0, equal_nan=True):
            reach = reach + together
            continue
        columns = entries.reshape(len(entries), -1)
        for column in range(columns.shape[1]):
            alone = torch.zeros_like(columns)
            alone[:, column] = columns[:, column]
            reach = reach + slope_of(inputs, leaf, alone.reshape(entries.shape)).abs()
    return reach


def slope_of(value: Tensor, leaf: Tensor, upstream: Tensor) -> Tensor:
    """Returns the gradient of a tensor, zeros where it does not depend on the leaf."""
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, upstream, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found
