"""Cross-entropy in pairs of float64 (tier B1): what a float64 implementation is judged by.

The formulas of `suites/oracles/cross_entropy.py` with every constant that float64 rounds (1 - eps,
eps / C) as a pair, since an implementation is judged by the option as it was given:
L = Q log1p(S1) + sum_c q_c (x_a - x_c), gradient p_c sum_{k!=c} q_k - q_c sum_{k!=c} p_k. The trap: an
infinite term must be taken out before it reaches an error-free transformation, whose low part would
be inf - inf.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.oracle.elementary import log1p
from harness.oracle.in_pairs import PairTerms, StatedPairs
from harness.oracle.pair import Pair, finite_low, lifted, minus, order_free_sum, plus, product, ratio
from harness.oracle.softmax_pair import PairsAtColumn, SoftmaxPairs, chosen, softmax_pairs

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
# `pair.exponential` is right to 2^-66.6, so e and S1 together to 2^-65.6. Labels add three roundings of 2^-69
# in `times_probabilities`: 2^-65.2. The two terms of a dense gradient add up to at most |g| + 2 q <= 2 N,
# hence 2^-64.6; products and sums of pairs are 2^-70 and below.
PAIR_ROUNDING = 2.0**-64


def _is_dense(inputs: Inputs, options: Options) -> bool:
    return inputs["target"].is_floating_point() or float(options["label_smoothing"]) != 0


def _chunk(inputs: Inputs, options: Options, rooms: Mapping[str, Pair]) -> PairTerms:
    """Returns wanted gradients of a chunk of float64 rows as pairs, but for what stands at a label."""
    if _is_dense(inputs, options):
        return _dense(inputs, options, rooms)
    column, factor = _labels(inputs, options)
    rows = softmax_pairs(inputs["logits"])
    gradients = {}
    if "logits" in rooms:
        entries = rows.times_probabilities(factor, rooms["logits"])
        gradients["logits"] = _without(factor.high == 0, entries)
    return PairTerms(gradients, rows.at(column).parts)


def _together(
    inputs: Inputs, options: Options, rows: tuple[Tensor, ...], gradients: Mapping[str, Pair]
) -> Pair:
    """Returns the losses of all rows (R,); sets what stands at the labels."""
    if _is_dense(inputs, options):
        carrying, mass, others = (Pair(*rows[place : place + 2]) for place in (0, 2, 4))
        return _losses(carrying, mass, others)
    column, factor = _labels(inputs, options)
    own, dropped = PairsAtColumn.of_parts(rows), factor.high == 0
    if "logits" in gradients:
        at_label = _without(dropped, product(factor, own.complement()).negated())
        gradients["logits"].high.scatter_(1, column, at_label.high)
        gradients["logits"].low.scatter_(1, column, finite_low(at_label))
    lag = _without(dropped, finite_product(factor, own.shifted.negated()))
    return _losses(lag, factor, _without(dropped, own.others))


def _labels(inputs: Inputs, options: Options) -> tuple[Tensor, Pair]:
    """Returns where q stands and q, both (R, 1), for index targets without smoothing."""
    target, weight = inputs["target"], options["weight"]
    kept = target != options["ignore_index"]
    column = torch.where(kept, target, 0).unsqueeze(1)
    coefficient = kept.double().unsqueeze(1)
    if weight is not None:
        coefficient = torch.where(kept.unsqueeze(1), weight[column], 0.0)
    return column, lifted(coefficient)


def _losses(rest: Pair, mass: Pair, others: Pair) -> Pair:
    """Returns rest + Q log1p(S) (R,) of (R, 1); an infinite rest stays one unless S is NaN."""
    losses = plus(rest, product(mass, log1p(others)))
    # An error term of an infinity is NaN.
    infinite = rest.high.isinf() & ~others.high.isnan()
    losses = Pair(torch.where(infinite, rest.high, losses.high), losses.low)
    return Pair(losses.high.squeeze(1), losses.low.squeeze(1))


def _dense(inputs: Inputs, options: Options, rooms: Mapping[str, Pair]) -> PairTerms:
    """Probability targets and smoothing: q is a pair for every class."""
    logits, target = inputs["logits"], inputs["target"]
    classes = logits.shape[1]
    weights = torch.ones(classes, dtype=torch.float64) if options["weight"] is None else options["weight"]
    constant = _constants(float(options["label_smoothing"]), classes, options["smoothing_over"])
    if target.is_floating_point():
        shares, kept = target, torch.ones(len(target), 1, dtype=torch.bool)
    else:
        kept = (target != options["ignore_index"]).unsqueeze(1)
        column = torch.where(kept.squeeze(1), target, 0).unsqueeze(1)
        shares = torch.zeros_like(logits).scatter_(1, column, 1.0)
    per_share, base = constant
    q = product(plus(product(lifted(shares), per_share), base), lifted(weights.expand_as(shares)))
    q = _without(~kept, q)
    zero = q.high == 0
    rows = softmax_pairs(logits)
    mass = order_free_sum(*q)
    lag = _without(zero, rows.shifted.negated())
    carried = (torch.isposinf(lag.high) & ~zero).any(1, keepdim=True)
    lag = Pair(lag.high.masked_fill(carried, 0.0), lag.low.masked_fill(carried, 0.0))
    carrying = order_free_sum(*product(q, lag))
    carrying = Pair(carrying.high.masked_fill(carried, torch.inf), torch.where(carried, 0.0, carrying.low))
    # Without a share anywhere the row does not count.
    dropped = zero.all(1, keepdim=True)
    gradients = {}
    if "logits" in rooms:
        gradients["logits"] = _without(dropped, _dense_gradient(rows, q, mass))
    if "target" in rooms:
        slope = product(lifted(weights), Pair(*(part.expand_as(weights) for part in _keeping(options))))
        slope = Pair(slope.high.expand_as(logits), slope.low.expand_as(logits))
        gradients["target"] = _without(slope.high == 0, finite_product(slope, rows.class_losses()))
    kept_parts = (_without(dropped, part) for part in (carrying, mass, rows.others))
    return PairTerms(gradients, tuple(half for part in kept_parts for half in part))


def _dense_gradient(rows: SoftmaxPairs, q: Pair, mass: Pair) -> Pair:
    """Returns p_c sum_{k!=c} q_k - q_c (1 - p_c) (R, C)."""
    place = q.high.argmax(1, keepdim=True)
    below = order_free_sum(q.high.scatter(1, place, 0.0), q.low.scatter(1, place, 0.0))
    at_most = torch.zeros_like(q.high, dtype=torch.bool).scatter_(1, place, True)
    remaining = chosen(at_most, below, minus(mass, q))
    probabilities = product(rows.exponentials, rows.share)
    return minus(product(probabilities, remaining), product(q, rows.complements()))


def _keeping(options: Options) -> Pair:
    """Returns 1 - eps as a pair of scalars."""
    smoothing = torch.tensor(float(options["label_smoothing"]), dtype=torch.float64)
    return minus(lifted(torch.ones_like(smoothing)), lifted(smoothing))


def _constants(smoothing: float, classes: int, over: str) -> tuple[Pair, Pair]:
    """Returns what multiplies a share and what is added to it: q = share * first + second, before weights."""
    eps = lifted(torch.tensor(smoothing, dtype=torch.float64))
    keep = minus(lifted(torch.ones_like(eps.high)), eps)
    count = max(classes - 1, 1) if over == "others" else classes
    base = ratio(eps, lifted(torch.tensor(float(count), dtype=torch.float64)))
    return (minus(keep, base), base) if over == "others" else (keep, base)


def finite_product(a: Pair, b: Pair) -> Pair:
    """Returns a b where b may be +inf; its sign is that of a."""
    found = product(a, b)
    infinite = torch.isinf(b.high)
    if not bool(infinite.any()):
        return found
    return Pair(torch.where(infinite, a.high * b.high, found.high), torch.where(infinite, 0.0, found.low))


def _without(dropped: Tensor, a: Pair) -> Pair:
    """Returns the pair with exact zeros where dropped, whatever stands there."""
    if not bool(dropped.any()):
        return a
    return Pair(a.high.masked_fill(dropped, 0.0), a.low.masked_fill(dropped, 0.0))


PAIRS = StatedPairs(_chunk, _together)
