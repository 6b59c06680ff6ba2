"""The truth about the soft margin loss, element by element, on stored numbers.

L = sp(-y x) = max(-y x, 0) + log1p(e^-|x|) for y = 1 or -1; dx = -y s(-y x) with s the logistic function.
N = L + |x| s(-y x). An infinite x of the right sign costs 0, one of the wrong sign infinity. The trap:
e^(-y x) as printed overflows at a ninth of what the loss itself may reach in float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from suites.oracles.binary_cross_entropy_with_logits import Logistic, exact_softplus, logistic

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Terms:
    """Shared terms of a chunk of elements (R,): those of the margin -y x, and the labels y."""

    wrong: Logistic
    label: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Returns the shared terms of a chunk of float64 elements."""
    return Terms(logistic(-inputs["y"] * inputs["x"]), inputs["y"])


def sensitivity(t: Terms) -> Tensor:
    """Returns N = L + |x| s(-y x) (R,)."""
    return t.wrong.softplus() + t.wrong.reach()


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns s (1 + |x| (1 - s)) of the wrong side (R,)."""
    return {"x": t.wrong.share + t.wrong.bend()}


def ones(inputs: Inputs, options: Options) -> Tensor:
    """Returns what each element adds to the mean's denominator: one."""
    return torch.ones(len(inputs["y"]), dtype=torch.float64)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one stored element as Arb balls."""
    from flint import arb

    loss, share = exact_softplus(-row["y"] * row["x"])
    return loss, {"x": [-arb(row["y"]) * share]}


ORACLE = ClosedForm(
    terms=terms,
    rows=lambda t: t.wrong.softplus(),
    gradient=lambda t: {"x": -t.label * t.wrong.share},
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=ones,
    exact=exact,
    roundoffs=8.0,
)
