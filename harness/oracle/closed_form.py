"""Oracle tier B0: float64 closed forms of value and gradient, no autograd, no cancellation.

A family states its formulas as functions of one chunk of rows; this module feeds them the stored
inputs in float64, chunk by chunk so that the working set stays in the cache (whole-matrix torch
costs twice as much at 1024x32000). The trap: formulas that subtract nearly equal positive numbers
are not allowed here; each family is tested against Arb (`exact`, python-flint) at 128 bit and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.oracle.truth import RowTruth

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
# One MiB of float64 per array, so that a pass reads from the second-level cache: at 1024 x 32000 a
# quarter of this pays more for operator calls, twice this more for memory (`nox -s selfbench`).
CHUNK_ELEMENTS = 1 << 17
FLOAT64_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class ClosedForm:
    """Per-row formulas of a loss family, before reduction.

    `terms(inputs, options)` computes once what the others share (default: the pair itself); it may
    overwrite the inputs, which are private copies. Then `rows` (R,), `sensitivity` (R,),
    `gradient_sensitivity` {name: (R, C)} and `gradient` {name: (R, C)} are functions of the terms, asked
    in this order; the last may overwrite them. `denominator(inputs, options)` is what each row adds
    to the mean's denominator (R,). `exact(row, options)` is the same loss on python-flint Arb
    scalars, returning (loss, {name: [entries]}). `roundoffs` bounds this oracle's own error in
    units of 2^-53 times the sensitivity.
    """

    rows: Callable[[Any], Tensor]
    gradient: Callable[[Any], Mapping[str, Tensor]]
    sensitivity: Callable[[Any], Tensor]
    gradient_sensitivity: Callable[[Any], Mapping[str, Tensor]]
    denominator: Callable[[Inputs, Options], Tensor]
    exact: Callable[[Mapping[str, Any], Options], tuple[Any, Mapping[str, list[Any]]]] | None = None
    terms: Callable[[Inputs, Options], Any] = lambda inputs, options: (inputs, options)
    roundoffs: float = 4.0

    @property
    def label(self) -> str:
        """How verdicts name this oracle."""
        return "float64 closed form, no autograd"

    def evaluate(
        self, inputs: Inputs, options: Options, wanted: tuple[str, ...], *, sensitivities: bool = True
    ) -> RowTruth:
        """Evaluates all rows; `wanted` names the inputs whose gradients are kept.

        NaN rows mean that the loss is undefined there. Sensitivities are ones when not asked for.
        """
        first = next(iter(inputs.values()))
        count = first.shape[0]
        losses = torch.empty(count, dtype=torch.float64)
        loss_sensitivities = torch.ones(count, dtype=torch.float64)
        gradients = {name: _like(inputs[name]) for name in wanted}
        gradient_sensitivities = {name: _like(inputs[name]) for name in wanted} if sensitivities else {}
        per_row = max(1, first.numel() // max(count, 1))
        step = max(1, CHUNK_ELEMENTS // per_row)
        with torch.no_grad(), one_thread():
            prepared = {name: _double(value) for name, value in options.items()}
            for start in range(0, count, step):
                rows = slice(start, min(start + step, count))
                chunk = {name: _double(tensor[rows]) for name, tensor in inputs.items()}
                terms = self.terms(chunk, prepared)
                losses[rows] = self.rows(terms)
                if sensitivities:
                    loss_sensitivities[rows] = self.sensitivity(terms)
                    for name, entries in self.gradient_sensitivity(terms).items():
                        if name in gradient_sensitivities:
                            gradient_sensitivities[name][rows] = entries
                for name, entries in self.gradient(terms).items():
                    if name in gradients:
                        gradients[name][rows] = entries
            denominator = self.denominator(
                {name: _double(t) if t.dim() == 1 else t for name, t in inputs.items()}, prepared
            )
        return RowTruth(
            losses=losses.numpy(),
            sensitivities=loss_sensitivities.numpy(),
            gradients={name: g.numpy() for name, g in gradients.items()},
            gradient_sensitivities={name: n.numpy() for name, n in gradient_sensitivities.items()},
            denominator=denominator.double().expand(count).numpy(),
            rounding=self.roundoffs * FLOAT64_ROUNDOFF,
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Pins torch to one thread: under load, two threads ran oracle-sized operators 100x slower."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _double(value: Any) -> Any:
    if isinstance(value, Tensor):
        # A copy even of float64: closed forms may overwrite what they are given.
        return (
            value.detach().cpu().to(torch.float64, copy=True)
            if value.is_floating_point()
            else value.detach().cpu()
        )
    return value


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=torch.float64)
