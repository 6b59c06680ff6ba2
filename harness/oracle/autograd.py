"""The fallback oracle: a named reference function in float64 under autograd, uncertified.

Used when a suite declares no closed form. Sensitivities come from the reference itself: the loss
by N = |L| + sum|x_k g_k|, gradients by the largest change over K jittered inputs x(1 + delta), an
estimate of conditioning. The trap: autograd in float64 has the dead gradients of float64, so every
verdict says "uncertified".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import SuiteError
from harness.implementation import accepts
from harness.oracle.chunks import one_thread
from harness.oracle.reduction import Array
from harness.oracle.truth import FLOAT64_ROUNDOFF, RowTruth, Tier

JITTERS = 8
JITTER = 2.0**-20


@dataclass(frozen=True)
class Reference:
    """A function `(*tensors, **options)` that returns one loss per row (asked with reduction="none").

    Rows must not depend on one another. Raises SuiteError when it returns another shape.
    """

    function: Callable[..., Tensor]

    @property
    def label(self) -> str:
        """How verdicts name this oracle."""
        return f"float64 autograd of {getattr(self.function, '__name__', 'reference')}, uncertified"

    def evaluate(
        self,
        inputs: Mapping[str, Tensor],
        options: Mapping[str, Any],
        wanted: tuple[str, ...],
        *,
        sensitivities: bool = True,
        tier: Tier = "B0",
    ) -> RowTruth:
        """Evaluates rows and gradients in float64 whatever the tier; NaN rows mean undefined."""
        with one_thread():
            stored = {
                n: t.detach().cpu().double() if t.is_floating_point() else t.cpu() for n, t in inputs.items()
            }
            losses, gradients = self._differentiated(stored, options, wanted)
            spread = {name: np.abs(gradient) for name, gradient in gradients.items()}
            if sensitivities:
                generator = torch.Generator().manual_seed(0)
                for _ in range(JITTERS):
                    jittered = {
                        n: t * (1 + JITTER * (torch.randint(0, 2, t.shape, generator=generator) * 2 - 1))
                        if n in wanted
                        else t
                        for n, t in stored.items()
                    }
                    _, moved = self._differentiated(jittered, options, wanted)
                    for name in wanted:
                        change = np.abs(moved[name] - gradients[name]) / JITTER
                        spread[name] = np.maximum(spread[name], np.abs(gradients[name]) + change)
        by_input = np.abs(losses)
        for name in wanted:
            product = np.abs(np.nan_to_num(stored[name].numpy()) * gradients[name])
            by_input = by_input + (product.reshape(len(losses), -1).sum(axis=1) if len(losses) else 0.0)
        return RowTruth(
            losses=losses,
            sensitivities=by_input,
            gradients=gradients,
            gradient_sensitivities=spread,
            denominator=np.ones(len(losses)),
            rounding=64 * FLOAT64_ROUNDOFF,
        )

    def _differentiated(
        self, inputs: Mapping[str, Tensor], options: Mapping[str, Any], wanted: tuple[str, ...]
    ) -> tuple[Array, dict[str, Array]]:
        leaves = {n: t.detach().requires_grad_(n in wanted) for n, t in inputs.items()}
        asked = {
            name: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
            for name, value in {**options, "reduction": "none"}.items()
            if accepts(self.function, name)
        }
        losses = self.function(*leaves.values(), **asked)
        count = next(iter(leaves.values())).shape[0]
        if tuple(losses.shape) != (count,):
            raise SuiteError(
                f"oracle={getattr(self.function, '__name__', self.function)!r}: returned shape "
                f"{tuple(losses.shape)}; a reference returns one loss per row, shape ({count},); take a "
                "`reduction` argument or leave the reduction to the harness."
            )
        gradients = torch.autograd.grad(losses.sum(), [leaves[n] for n in wanted], allow_unused=True)
        return losses.detach().numpy(), {
            name: _entries(g, leaves[name]) for name, g in zip(wanted, gradients, strict=True)
        }


def _entries(gradient: Tensor | None, leaf: Tensor) -> Array:
    """Returns a gradient as an array; an input that the loss does not depend on has gradient 0."""
    return np.zeros(tuple(leaf.shape)) if gradient is None else gradient.numpy()
