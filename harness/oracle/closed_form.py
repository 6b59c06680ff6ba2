"""Oracle tiers B0 and B1: closed forms of value and gradient, no autograd, no cancellation.

A family states its formulas as functions of one chunk of rows; this module feeds them the stored
inputs in float64, chunk by chunk so that the working set stays in the cache (whole-matrix torch
costs twice as much at 1024x32000). B0 answers in float64; B1, for families that have it, in pairs of
float64 (`harness.oracle.pair`), which is what a float64 implementation is judged by. The trap:
formulas that subtract nearly equal positive numbers are not allowed here; each family is certified
against Arb (`exact`; `harness.oracle.certification`), and what it promises there is what the judge grants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.errors import SuiteError
from harness.oracle.chunks import Inputs, Options, Products, chunks, in_double, one_thread, room_like
from harness.oracle.in_pairs import StatedPairs, by_formulas, by_stated_pairs
from harness.oracle.truth import FLOAT64_ROUNDOFF, RowTruth, Tier

# Two MiB of float64 per array: at 1024 x 32000 half of this pays a fifth more for operator calls, 0.1 ms a
# chunk, and twice this a twentieth more for memory where three arrays are at work
# (`nox -s selfbench -- --only oracle` with another number here).
CHUNK_ELEMENTS = 1 << 18
# Results below the normal range are off by a few of the smallest number instead of a share of themselves.
FLOOR = 16 * 2.0**-1074


@dataclass(frozen=True)
class ClosedForm:
    """Per-row formulas of a loss family, before reduction.

    `terms(inputs, options)` computes once what the others share (default: the pair itself); it may
    overwrite the inputs, which are private copies. Then `rows` (R,), `sensitivity` (R,),
    `gradient_sensitivity` {name: (R, C)} and `gradient` {name: (R, C)} are functions of the terms, asked
    in this order; the last may overwrite them. `denominator(inputs, options)` is what each row adds
    to the mean's denominator (R,). `exact(row, options)` is the same loss on python-flint Arb
    scalars, returning (loss, {name: [entries]}), NaN where it is undefined. `pairs` is tier B1
    stated by the family itself (`in_pairs.StatedPairs`). `roundoffs` bounds the error of B0 in units
    of 2^-53 times the sensitivity, `pair_rounding` that of B1 in units of the sensitivity: both are
    stated by the family, granted by the judge, and put to the test by `nox -s certify`. `kinks(terms)` gives
    the lowest and highest element of the subdifferential, {name: (low, high)}, equal off the kinks; any
    element between them is a right gradient. `shared` names the inputs that all rows share
    (`Sample.shared`): `terms` is given them whole, `gradient` returns (left (R, C), right (R, H) or (R,)) for
    each, the outer product of which every row adds (`RowProducts`), `gradient_sensitivity` what u multiplies
    in left, and `exact` the same two lists of one row. `in_pairs` says that the formulas run on tensors of
    pairs as well (`harness.oracle.doubled`), which is tier B1 of a family without `pairs`. `staged` says that
    an implementation may store numbers between the inputs and the loss, such as projected logits, in the
    dtype: that is a warning where it shows, and an error only beyond u N, what rounding the inputs once may
    do.
    """

    rows: Callable[[Any], Tensor]
    gradient: Callable[[Any], Mapping[str, Any]]
    sensitivity: Callable[[Any], Tensor]
    gradient_sensitivity: Callable[[Any], Mapping[str, Tensor]]
    denominator: Callable[[Inputs, Options], Tensor]
    exact: Callable[[Mapping[str, Any], Options], tuple[Any, Mapping[str, list[Any]]]] | None = None
    terms: Callable[[Inputs, Options], Any] = lambda inputs, options: (inputs, options)
    roundoffs: float = 4.0
    pairs: StatedPairs | None = None
    pair_rounding: float = 2.0**-60
    kinks: Callable[[Any], Mapping[str, tuple[Tensor, Tensor]]] | None = None
    shared: tuple[str, ...] = ()
    staged: bool = False
    in_pairs: bool = True

    def __post_init__(self) -> None:
        if self.shared and self.pairs is not None:
            raise SuiteError(
                "ClosedForm(shared=..., pairs=...): `pairs` has no sums over rows; leave it out, and the "
                "formulas themselves are evaluated in pairs."
            )

    @property
    def label(self) -> str:
        """How verdicts name this oracle."""
        return "float64 closed form, no autograd"

    def rounding(self, tier: Tier) -> float:
        """Returns the stated bound of a tier: |oracle - exact| <= rounding * N + FLOOR."""
        return self.pair_rounding if tier == "B1" else self.roundoffs * FLOAT64_ROUNDOFF

    def tiers(self) -> tuple[Tier, ...]:
        """Returns the tiers that this family has."""
        return ("B0", "B1") if self.in_pairs or self.pairs is not None else ("B0",)

    def evaluate(
        self,
        inputs: Inputs,
        options: Options,
        wanted: tuple[str, ...],
        *,
        sensitivities: bool = True,
        tier: Tier = "B0",
    ) -> RowTruth:
        """Evaluates all rows; `wanted` names the inputs whose gradients are kept.

        NaN rows mean that the loss is undefined there. Sensitivities are ones when not asked for.
        A family that has no tier "B1" answers with B0.
        """
        if tier == "B1" and "B1" in self.tiers():
            return self.evaluate_pairs(inputs, options, wanted, sensitivities=sensitivities)
        return self._in_float64(inputs, options, wanted, values=True, sensitivities=sensitivities)

    def evaluate_pairs(
        self, inputs: Inputs, options: Options, wanted: tuple[str, ...], *, sensitivities: bool = True
    ) -> RowTruth:
        """Evaluates all rows in tier B1: highs as losses and gradients, lows as their tails.

        By `pairs` where the family has them, else by its formulas (`harness.oracle.doubled`).
        """
        rows = self._in_float64(inputs, options, wanted, values=False, sensitivities=sensitivities)
        if self.pairs is not None:
            return by_stated_pairs(self.pairs, rows, inputs, options, wanted, self.rounding("B1"))
        return by_formulas(self, rows, inputs, options, wanted, self.rounding("B1"))

    def _in_float64(
        self,
        inputs: Inputs,
        options: Options,
        wanted: tuple[str, ...],
        *,
        values: bool,
        sensitivities: bool,
    ) -> RowTruth:
        """Evaluates tier B0; without `values` the losses and gradients are left out."""
        first = next(iter(inputs.values()))
        count = first.shape[0]
        losses = torch.empty(count, dtype=torch.float64)
        loss_sensitivities = torch.ones(count, dtype=torch.float64)
        own = [name for name in wanted if name not in self.shared]
        gradients = {name: room_like(inputs[name]) for name in own} if values else {}
        gradient_sensitivities = {name: room_like(inputs[name]) for name in own} if sensitivities else {}
        products = {name: Products() for name in wanted if name in self.shared}
        ranges: dict[str, tuple[Tensor, Tensor]] = {}
        with torch.no_grad(), one_thread():
            prepared = {name: in_double(value) for name, value in options.items()}
            stored = {name: tensor.detach().cpu() for name, tensor in inputs.items()}
            whole = {name: in_double(stored.pop(name)) for name in self.shared if name in stored}
            for rows in chunks(inputs, CHUNK_ELEMENTS) if values or sensitivities else ():
                chunk = {name: in_double(tensor[rows]) for name, tensor in stored.items()} | whole
                terms = self.terms(chunk, prepared)
                if values:
                    losses[rows] = self.rows(terms)
                if sensitivities:
                    loss_sensitivities[rows] = self.sensitivity(terms)
                    for name, entries in self.gradient_sensitivity(terms).items():
                        if name in gradient_sensitivities:
                            gradient_sensitivities[name][rows] = entries
                        elif name in products:
                            products[name].sensitivity.append(entries)
                for name, ends in self.kinks(terms).items() if values and self.kinks is not None else ():
                    if name in wanted:
                        kept = ranges.setdefault(name, (room_like(inputs[name]), room_like(inputs[name])))
                        kept[0][rows], kept[1][rows] = ends
                for name, entries in self.gradient(terms).items() if values else ():
                    if name in gradients:
                        gradients[name][rows] = entries
                    elif name in products:
                        products[name].left.append(entries[0])
                        products[name].right.append(entries[1])
            denominator = self.denominator(
                {name: in_double(t) if t.dim() == 1 else t for name, t in inputs.items()}, prepared
            ).double()
        return RowTruth(
            losses=losses.numpy(),
            sensitivities=loss_sensitivities.numpy(),
            gradients={name: g.numpy() for name, g in gradients.items()},
            gradient_sensitivities={name: n.numpy() for name, n in gradient_sensitivities.items()},
            denominator=denominator.expand(count).numpy(),
            rounding=self.rounding("B0"),
            floor=FLOOR,
            gradient_ranges={name: (low.numpy(), high.numpy()) for name, (low, high) in ranges.items()},
            shared={name: parts.together(inputs[name]) for name, parts in products.items()},
        )
