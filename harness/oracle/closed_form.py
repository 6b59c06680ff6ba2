"""Oracle tiers B0 and B1: closed forms of value and gradient, no autograd, no cancellation.

A family states its formulas as functions of one chunk of rows; this module feeds them the stored
inputs in float64, chunk by chunk so that the working set stays in the cache (whole-matrix torch
costs twice as much at 1024x32000). B0 answers in float64; B1, for families that have it, in pairs of
float64 (`harness.oracle.pair`), which is what a float64 implementation is judged by. The trap:
formulas that subtract nearly equal positive numbers are not allowed here; each family is certified
against Arb (`exact`; `harness.oracle.certification`), and what it promises there is what the judge grants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from harness.errors import SuiteError
from harness.oracle.contraction import RowProducts
from harness.oracle.pair import Pair, finite_low, log1p, plus, product
from harness.oracle.truth import FLOAT64_ROUNDOFF, RowTruth, Tier

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
# One MiB of float64 per array, so that a pass reads from the second-level cache: at 1024 x 32000 a
# quarter of this pays more for operator calls, twice this more for memory (`nox -s selfbench`).
CHUNK_ELEMENTS = 1 << 17
# Pairs take 0.4 ms a chunk in operator calls for the numbers that stand once in a row, whatever its size;
# at 1024 x 32000 two, three and four rows a chunk cost the same within 3 %.
PAIR_CHUNK_ELEMENTS = 1 << 17
# Results below the normal range are off by a few of the smallest number instead of a share of themselves.
FLOOR = 16 * 2.0**-1074


@dataclass(frozen=True)
class PairTerms:
    """Tier B1 of a chunk of rows: losses (R,) and gradients {name: (R, C)} as pairs.

    With `logarithms` (Q, S), pairs (R,), the losses are `losses` + Q log1p(S): a logarithm of pairs takes
    150 operator calls, so it is taken once for all rows and not once a chunk. Where `losses` is an
    infinity already, it stays one unless S is NaN.
    """

    losses: Pair
    gradients: Mapping[str, Pair]
    logarithms: tuple[Pair, Pair] | None = None


class _Losses:
    """Per-row pairs as they come in from chunks, and the losses that they make."""

    def __init__(self, count: int) -> None:
        self.parts = torch.zeros(6, count, dtype=torch.float64)
        self.logarithmic = False

    def put(self, rows: slice, found: PairTerms) -> None:
        """Takes the parts of a chunk."""
        pairs = [found.losses, *(found.logarithms or ())]
        self.logarithmic = found.logarithms is not None
        for place, part in enumerate(part for pair in pairs for part in pair):
            self.parts[place, rows] = part

    def together(self) -> Pair:
        """Returns the losses of all rows (R,)."""
        rest, mass, others = Pair(*self.parts[0:2]), Pair(*self.parts[2:4]), Pair(*self.parts[4:6])
        if not self.logarithmic:
            return Pair(rest.high, finite_low(rest))
        losses = plus(rest, product(mass, log1p(others)))
        # An error term of an infinity is NaN.
        infinite = rest.high.isinf() & ~others.high.isnan()
        losses = Pair(torch.where(infinite, rest.high, losses.high), losses.low)
        return Pair(losses.high, finite_low(losses))


@dataclass(frozen=True)
class ClosedForm:
    """Per-row formulas of a loss family, before reduction.

    `terms(inputs, options)` computes once what the others share (default: the pair itself); it may
    overwrite the inputs, which are private copies. Then `rows` (R,), `sensitivity` (R,),
    `gradient_sensitivity` {name: (R, C)} and `gradient` {name: (R, C)} are functions of the terms, asked
    in this order; the last may overwrite them. `denominator(inputs, options)` is what each row adds
    to the mean's denominator (R,). `exact(row, options)` is the same loss on python-flint Arb
    scalars, returning (loss, {name: [entries]}), NaN where it is undefined. `pairs(inputs, options,
    rooms)` is tier B1 of a chunk of private float64 copies; `rooms` names the wanted gradients, which may be
    built in their room, a pair (R, C), to save a pass. `roundoffs` bounds the error of B0 in units
    of 2^-53 times the sensitivity, `pair_rounding` that of B1 in units of the sensitivity: both are
    stated by the family, granted by the judge, and put to the test by `nox -s certify`. `kinks(terms)` gives
    the lowest and highest element of the subdifferential, {name: (low, high)}, equal off the kinks; any
    element between them is a right gradient. `shared` names the inputs that all rows share
    (`Sample.shared`): `terms` is given them whole, `gradient` returns (left (R, C), right (R, H) or (R,)) for
    each, the outer product of which every row adds (`RowProducts`), `gradient_sensitivity` what u multiplies
    in left, and `exact` the same two lists of one row. `staged` says that an implementation may store
    numbers between the inputs and the loss, such as projected logits, in the dtype: that is a warning where
    it shows, and an error only beyond u N, what rounding the inputs once may do.
    """

    rows: Callable[[Any], Tensor]
    gradient: Callable[[Any], Mapping[str, Any]]
    sensitivity: Callable[[Any], Tensor]
    gradient_sensitivity: Callable[[Any], Mapping[str, Tensor]]
    denominator: Callable[[Inputs, Options], Tensor]
    exact: Callable[[Mapping[str, Any], Options], tuple[Any, Mapping[str, list[Any]]]] | None = None
    terms: Callable[[Inputs, Options], Any] = lambda inputs, options: (inputs, options)
    roundoffs: float = 4.0
    pairs: Callable[[Inputs, Options, Mapping[str, Pair]], PairTerms] | None = None
    pair_rounding: float = 2.0**-60
    kinks: Callable[[Any], Mapping[str, tuple[Tensor, Tensor]]] | None = None
    shared: tuple[str, ...] = ()
    staged: bool = False

    def __post_init__(self) -> None:
        if self.shared and self.pairs is not None:
            raise SuiteError(
                "ClosedForm(shared=..., pairs=...): tier B1 has no sums over rows; leave one out."
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
        return ("B0",) if self.pairs is None else ("B0", "B1")

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
        A family without pairs answers tier "B1" with B0.
        """
        if tier == "B1" and self.pairs is not None:
            return self.evaluate_pairs(inputs, options, wanted, sensitivities=sensitivities)
        return self._in_float64(inputs, options, wanted, values=True, sensitivities=sensitivities)

    def evaluate_pairs(
        self, inputs: Inputs, options: Options, wanted: tuple[str, ...], *, sensitivities: bool = True
    ) -> RowTruth:
        """Evaluates all rows in tier B1: highs as losses and gradients, lows as their tails.

        Raises TypeError for a family without pairs; `evaluate(tier="B1")` falls back to B0.
        """
        if self.pairs is None:
            raise TypeError("evaluate_pairs(): this closed form declares no pairs; ask tier='B0'.")
        rows = self._in_float64(inputs, options, wanted, values=False, sensitivities=sensitivities)
        parts = _Losses(len(rows.losses))
        gradients = {name: _like(inputs[name]) for name in wanted}
        tails = {name: _like(inputs[name]) for name in wanted}
        with torch.no_grad(), one_thread():
            prepared = {name: _double(value) for name, value in options.items()}
            stored = {name: tensor.detach().cpu() for name, tensor in inputs.items()}
            for part in chunks(inputs, PAIR_CHUNK_ELEMENTS):
                chunk = {name: _double(tensor[part]) for name, tensor in stored.items()}
                rooms = {name: Pair(gradients[name][part], tails[name][part]) for name in wanted}
                found = self.pairs(chunk, prepared, rooms)
                parts.put(part, found)
                for name, room in rooms.items():
                    high, low = found.gradients[name].high, finite_low(found.gradients[name])
                    for kept, entries in ((room.high, high), (room.low, low)):
                        if entries is not kept:
                            kept.copy_(entries)
            losses = parts.together()
        return replace(
            rows,
            losses=losses.high.numpy(),
            loss_tails=losses.low.numpy(),
            gradients={name: g.numpy() for name, g in gradients.items()},
            gradient_tails={name: g.numpy() for name, g in tails.items()},
            rounding=self.rounding("B1"),
            tier="B1",
        )

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
        gradients = {name: _like(inputs[name]) for name in own} if values else {}
        gradient_sensitivities = {name: _like(inputs[name]) for name in own} if sensitivities else {}
        products = {name: _Products() for name in wanted if name in self.shared}
        ranges: dict[str, tuple[Tensor, Tensor]] = {}
        with torch.no_grad(), one_thread():
            prepared = {name: _double(value) for name, value in options.items()}
            stored = {name: tensor.detach().cpu() for name, tensor in inputs.items()}
            whole = {name: _double(stored.pop(name)) for name in self.shared if name in stored}
            for rows in chunks(inputs, CHUNK_ELEMENTS) if values or sensitivities else ():
                chunk = {name: _double(tensor[rows]) for name, tensor in stored.items()} | whole
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
                for name, ends in self.kinks(terms).items() if self.kinks is not None else ():
                    if name in wanted:
                        kept = ranges.setdefault(name, (_like(inputs[name]), _like(inputs[name])))
                        kept[0][rows], kept[1][rows] = ends
                for name, entries in self.gradient(terms).items() if values else ():
                    if name in gradients:
                        gradients[name][rows] = entries
                    elif name in products:
                        products[name].left.append(entries[0])
                        products[name].right.append(entries[1])
            denominator = self.denominator(
                {name: _double(t) if t.dim() == 1 else t for name, t in inputs.items()}, prepared
            )
        return RowTruth(
            losses=losses.numpy(),
            sensitivities=loss_sensitivities.numpy(),
            gradients={name: g.numpy() for name, g in gradients.items()},
            gradient_sensitivities={name: n.numpy() for name, n in gradient_sensitivities.items()},
            denominator=denominator.double().expand(count).numpy(),
            rounding=self.rounding("B0"),
            floor=FLOOR,
            gradient_ranges={name: (low.numpy(), high.numpy()) for name, (low, high) in ranges.items()},
            shared={name: parts.together(inputs[name]) for name, parts in products.items()} if values else {},
        )


@dataclass
class _Products:
    """What the rows of each chunk add to the gradient of an input that all rows share."""

    left: list[Tensor] = field(default_factory=list)
    right: list[Tensor] = field(default_factory=list)
    sensitivity: list[Tensor] = field(default_factory=list)

    def together(self, shared: Tensor) -> RowProducts:
        """Returns the parts of all rows; no rows add nothing."""
        empty = torch.empty(0, len(shared), dtype=torch.float64)
        left = torch.cat([empty, *self.left])
        right = torch.cat([torch.empty(0, *shared.shape[1:], dtype=torch.float64), *self.right])
        known = torch.cat([empty, *self.sensitivity]) if self.sensitivity else torch.ones_like(left)
        return RowProducts(left.numpy(), right.numpy(), known.numpy())


def chunks(inputs: Inputs, elements: int) -> Iterator[slice]:
    """Yields slices of rows that hold about so many elements of the first input."""
    first = next(iter(inputs.values()))
    count = first.shape[0]
    step = max(1, elements // max(1, first.numel() // max(count, 1)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


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
    if not isinstance(value, Tensor):
        return value
    if value.requires_grad or not value.is_cpu:
        value = value.detach().cpu()
    # A copy even of float64: closed forms may overwrite what they are given.
    return value.to(torch.float64, copy=True) if value.is_floating_point() else value


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=torch.float64)
