"""Tier B1: a closed form in pairs of float64, by a family's own pairs or by its formulas on tensors of pairs.

A family that states `pairs` is written for speed (cross-entropy: `harness.oracle.softmax_pair`); any other
family's `terms`, `rows`, `gradient` and `kinks` run as they are on `harness.oracle.doubled`. Sensitivities
are those of B0: what u multiplies needs no second digit. The trap: formulas that leave the operations of
pairs have no tier B1, and must say so (`ClosedForm.in_pairs`) instead of being judged by half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.errors import SuiteError
from harness.oracle.chunks import Inputs, Options, Products, chunks, in_double, one_thread, room_like
from harness.oracle.doubled import doubled, pair_of
from harness.oracle.pair import Pair, finite_low
from harness.oracle.truth import RowTruth

if TYPE_CHECKING:
    from harness.oracle.closed_form import ClosedForm

# Two MiB a part: at 1024 x 32000 half and twice as many rows a chunk take the same to a fifteenth
# (`nox -s selfbench -- --only oracle` with another number here).
CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class PairTerms:
    """Tier B1 of a chunk: gradients {name: (R, C)} as pairs; `rows`, each (R, 1), stand once in a row."""

    gradients: Mapping[str, Pair]
    rows: tuple[Tensor, ...]


@dataclass(frozen=True)
class StatedPairs:
    """Tier B1 as a family states it, in two steps.

    `chunk(inputs, options, rooms)` answers for private float64 copies of some rows; `rooms` names the wanted
    gradients, which may be built in their room, a pair (R, C), to save a pass. `together(inputs, options,
    rows, gradients)` is asked once, with the stored inputs and the chunks' `rows` one after the other: it
    returns the losses (R,) and may set single entries of the gradients. An operator call takes as long for
    eight numbers as for a thousand, so what stands once in a row belongs there. Both run in inference mode,
    which takes a twentieth off operator calls; autograd would answer 0 there without a word.
    """

    chunk: Callable[[Inputs, Options, Mapping[str, Pair]], PairTerms]
    together: Callable[[Inputs, Options, tuple[Tensor, ...], Mapping[str, Pair]], Pair]


def by_stated_pairs(
    pairs: StatedPairs,
    rows: RowTruth,
    inputs: Inputs,
    options: Options,
    wanted: tuple[str, ...],
    rounding: float,
) -> RowTruth:
    """Returns the truth with losses and gradients by the pairs that a family states."""
    parts: list[tuple[Tensor, ...]] = []
    losses, tails = torch.zeros(2, len(rows.losses), dtype=torch.float64)
    gradients = {name: Pair(room_like(inputs[name]), room_like(inputs[name])) for name in wanted}
    with torch.inference_mode(), one_thread():
        prepared = {name: in_double(value) for name, value in options.items()}
        stored = {name: tensor.detach().cpu() for name, tensor in inputs.items()}
        for part in chunks(inputs, CHUNK_ELEMENTS):
            chunk = {name: in_double(tensor[part]) for name, tensor in stored.items()}
            rooms = {name: Pair(high[part], low[part]) for name, (high, low) in gradients.items()}
            found = pairs.chunk(chunk, prepared, rooms)
            parts.append(found.rows)
            for name, room in rooms.items():
                high, low = found.gradients[name].high, finite_low(found.gradients[name])
                for kept, entries in ((room.high, high), (room.low, low)):
                    if entries is not kept:
                        kept.copy_(entries)
        if parts:
            once = tuple(torch.cat(numbers) for numbers in zip(*parts, strict=True))
            answer = pairs.together(stored, prepared, once, gradients)
            losses, tails = answer.high, finite_low(answer)
    return replace(
        rows,
        losses=losses.numpy(),
        loss_tails=tails.numpy(),
        gradients={name: g.high.numpy() for name, g in gradients.items()},
        gradient_tails={name: g.low.numpy() for name, g in gradients.items()},
        rounding=rounding,
        tier="B1",
    )


def by_formulas(
    form: ClosedForm,
    rows: RowTruth,
    inputs: Inputs,
    options: Options,
    wanted: tuple[str, ...],
    rounding: float,
) -> RowTruth:
    """Returns the truth with losses, gradients and ranges by the formulas on tensors of pairs.

    Raises SuiteError where they need what pairs have not.
    """
    own = [name for name in wanted if name not in form.shared]
    losses = Pair(*torch.zeros(2, len(rows.losses), dtype=torch.float64))
    gradients = {name: Pair(room_like(inputs[name]), room_like(inputs[name])) for name in own}
    known = {name: torch.from_numpy(products.sensitivity) for name, products in rows.shared.items()}
    # None where none was asked for.
    products = {name: Products(sensitivity=[n] if len(n) else []) for name, n in known.items()}
    ranges: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad(), one_thread():
        prepared = {name: in_double(value) for name, value in options.items()}
        stored = {name: _stored_pairs(tensor.detach().cpu()) for name, tensor in inputs.items()}
        for part in chunks(inputs, CHUNK_ELEMENTS):
            chunk = {n: values if n in form.shared else values[part] for n, values in stored.items()}
            of_rows, kinks, slopes = _answers(form, chunk, prepared)
            _put(losses, part, of_rows)
            for name, ends in kinks.items():
                if name in wanted:
                    kept = ranges.setdefault(name, (room_like(inputs[name]), room_like(inputs[name])))
                    kept[0][part], kept[1][part] = (pair_of(end).high for end in ends)
            for name, entries in slopes.items():
                if name in gradients:
                    _put(gradients[name], part, entries)
                elif name in products:
                    left = pair_of(entries[0])
                    products[name].left.append(left.high)
                    products[name].tails.append(finite_low(left))
                    products[name].right.append(pair_of(entries[1]).high)
    return replace(
        rows,
        losses=losses.high.numpy(),
        loss_tails=losses.low.numpy(),
        gradients={name: pair.high.numpy() for name, pair in gradients.items()},
        gradient_tails={name: pair.low.numpy() for name, pair in gradients.items()},
        gradient_ranges={name: (low.numpy(), high.numpy()) for name, (low, high) in ranges.items()},
        shared={name: parts.together(inputs[name]) for name, parts in products.items()},
        rounding=rounding,
        tier="B1",
    )


def _answers(
    form: ClosedForm, chunk: Inputs, options: Options
) -> tuple[Any, Mapping[str, tuple[Any, Any]], Mapping[str, Any]]:
    """Returns losses, ends of the subdifferential and gradients of a chunk, in the order that is promised."""
    try:
        terms = form.terms(chunk, options)
        losses = form.rows(terms)
        return losses, {} if form.kinks is None else form.kinks(terms), form.gradient(terms)
    except SuiteError:
        raise
    except Exception as error:
        # The same formulas have just answered for tensors, so it is the pairs that they do not fit.
        raise SuiteError(
            f"this closed form answers for float64 tensors but not for tensors of pairs, which tier B1 needs "
            f"({type(error).__name__}: {error}); write it with operators and torch functions on whole "
            "tensors, or declare ClosedForm(in_pairs=False), and float64 is judged by float64."
        ) from error


def _stored_pairs(tensor: Tensor) -> Tensor:
    return doubled(tensor.double()) if tensor.is_floating_point() else tensor


def _put(room: Pair, part: slice, entries: Any) -> None:
    """Stores a chunk of numbers, whose low parts are 0 where they are not finite."""
    found = pair_of(entries)
    room.high[part] = found.high
    room.low[part] = finite_low(found)
