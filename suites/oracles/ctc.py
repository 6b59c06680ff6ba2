"""The truth about connectionist temporal classification (Graves et al. 2006) on stored numbers.

L = -log sum over alignments of exp(sum_t x[t, label at t]), the alignments of a target y_1 .. y_S being the
paths of T steps through the states blank y_1 blank y_2 .. blank that stay, go one on, or skip a blank between
unequal labels. x are log-probabilities as they stand, normalised or not. With a_t(s) the log-sum over
beginnings that are in state s at t, b_t(s) over what may follow, gamma = exp(a + b + L) is the probability
of being there, and `derivative` says which gradient is meant:

    "partial"              dL/dx[t, c] = -sum of gamma_t(s) over the states of label c
    "through_log_softmax"  exp(x[t, c]) + that sum: what reaches the logits when x is their log_softmax,
                           Graves' equation 16, and what torch answers (pytorch#52241)

Each sum of three is a maximum plus log1p of the other two, and is added to a pair of float64 (high + low), so
that only the logarithms round: by at most u times the entropy of the choice, which summed along the paths
is the entropy of the alignment <= |L| + E|score|, however long the sequence. N of the loss is
|L| + E|score|, E|score| = E sum_t |x at t|; N of an occupancy is gamma (1 + |L| + E|score| + E(|score| given
it)), what rounding the scores of paths once can do. The mean divides each loss by its target length (1 for an
empty one) first. The trap: no alignment (or only forbidden ones) is an infinite loss, whose gradient is
undefined; `zero_infinity` makes both 0. Frames beyond an input's length and labels beyond a target's are
never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from harness.oracle.closed_form import ClosedForm
from harness.oracle.doubled import Doubled, of_parts, pair_of
from harness.oracle.pair import Pair, lifted, plus

Inputs = Mapping[str, Tensor]
Options = Mapping[str, Any]
PARTIAL, FUSED = "partial", "through_log_softmax"


@dataclass(frozen=True)
class Lattice:
    """The states 0 .. 2S of a chunk: labels (R, L), which may be skipped to, scores (R, T, L).

    Scores are -inf in states behind the target's last, `last` (R, 1), and in frames that do not count; `seen`
    says where they do. `frames` (R, 1) is the input length.
    """

    labels: Tensor
    skips: Tensor
    scores: Tensor
    seen: Tensor
    frames: Tensor
    last: Tensor

    def reversed(self) -> Lattice:
        """Returns the same paths read from their end: its beginnings are what follows in this one."""
        labels = self.labels.gather(1, _from_end(self.last, self.labels.shape[1]))
        return Lattice(
            labels, _skips(labels), self.turned(self.scores), self.turned(self.seen), self.frames, self.last
        )

    def turned(self, values: Tensor) -> Tensor:
        """Returns values (R, T, L) with the counted frames and states in reverse order."""
        frames, states = values.shape[1:]
        over_time = _from_end(self.frames - 1, frames)[:, :, None].expand_as(values)
        over_states = _from_end(self.last, states)[:, None, :].expand_as(values)
        return values.gather(1, over_time).gather(2, over_states)


def _from_end(last: Tensor, size: int) -> Tensor:
    """Returns the places (R, size) last, last - 1 .. 0; whoever is beyond stays where it is."""
    places = torch.arange(size)
    return torch.where(places <= last, last - places, places)


def _skips(labels: Tensor) -> Tensor:
    """Returns the states (R, L) that may be reached from two before: labels, other than the one before."""
    skips = torch.zeros_like(labels, dtype=torch.bool)
    skips[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    return skips


def lattice(inputs: Inputs, blank: int) -> Lattice:
    """Returns the states of every row."""
    x, targets, lengths = inputs["log_probs"], inputs["targets"].long(), inputs["target_lengths"].long()
    count, width = targets.shape
    labels = torch.full((count, 2 * width + 1), blank)
    # Whatever stands behind a target's end names no class.
    labels[:, 1::2] = torch.where(torch.arange(width) < lengths[:, None], targets, blank)
    last, frames = 2 * lengths[:, None], inputs["input_lengths"].long()[:, None]
    exists = torch.arange(2 * width + 1) <= last
    seen = (torch.arange(x.shape[1]) < frames)[:, :, None] & exists[:, None, :]
    scores = x.gather(2, labels[:, None, :].expand_as(seen))
    return Lattice(labels, _skips(labels), torch.where(seen, scores, -math.inf), seen, frames, last)


@dataclass(frozen=True)
class Flow:
    """Log-sums over parts of paths as pairs, and the mean |score| of a part; -inf where there is none."""

    sums: Pair
    size: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """High, low and size."""
        return (*self.sums, self.size)


def merged(high: Tensor, low: Tensor, size: Tensor, finer: bool) -> Flow:
    """Returns log sum exp over axis 0 of pairs: the largest plus log1p of the others, nothing cancels.

    With `finer` the others are pairs as well, which is tier B1.
    """
    top, place = high.max(0, keepdim=True)
    alive = top > -math.inf
    bottom, top = low.gather(0, place), torch.where(alive, top, 0.0)
    if finer:
        powers = (of_parts(high, low) - of_parts(top, bottom)).exp().scatter(0, place, 0.0)
        rest = powers.sum(0)
        found = plus(Pair(top[0], bottom[0]), pair_of(rest.log1p()))
        shares, others = pair_of(powers).high, pair_of(rest).high
    else:
        shares = (high - top + (low - bottom)).exp().scatter(0, place, 0.0)
        others = shares.sum(0)
        found = plus(Pair(top[0], bottom[0]), lifted(others.log1p()))
    shares = shares.scatter(0, place, 1.0) / (1 + others)
    return _where(alive[0], Flow(found, (shares * size).sum(0)))


def stepped(flow: Flow, scores: Tensor) -> Flow:
    """Returns a flow after one more frame: x is added exactly, |x| to the size."""
    alive = (flow.sums.high > -math.inf) & (scores > -math.inf)
    safe = torch.where(alive, scores, 0.0)
    sums = plus(Pair(torch.where(alive, flow.sums.high, 0.0), flow.sums.low), lifted(safe))
    return _where(alive, Flow(sums, flow.size + safe.abs()))


def _where(alive: Tensor, flow: Flow) -> Flow:
    high, low, size = (
        torch.where(alive, part, empty) for part, empty in zip(flow.parts, (-math.inf, 0.0, 0.0), strict=True)
    )
    return Flow(Pair(high, low), size)


def _arrivals(flow: Flow, skips: Tensor, finer: bool) -> Flow:
    """Merges staying, one step and, where allowed, a skip."""
    high, low, size = (
        torch.stack([part, _later(part, 1, empty), _later(part, 2, empty)])
        for part, empty in zip(flow.parts, (-math.inf, 0.0, 0.0), strict=True)
    )
    high[2] = torch.where(skips, high[2], -math.inf)
    return merged(high, low, size, finer)


def _later(values: Tensor, by: int, empty: float) -> Tensor:
    """Returns the values of so many states before (R, L); `empty` where there is none."""
    return torch.nn.functional.pad(values, (by, 0), value=empty)[:, : values.shape[1]]


def _start(where: Tensor) -> Flow:
    """Returns the flow of nothing yet: sum 0 in some states, none elsewhere."""
    zeros = torch.zeros(where.shape, dtype=torch.float64)
    return Flow(Pair(zeros.masked_fill(~where, -math.inf), zeros), zeros)


def beginnings(net: Lattice, finer: bool) -> Flow:
    """Returns the log-sums over all beginnings of paths, this frame included (R, T, L)."""
    flow = _start((torch.arange(net.labels.shape[1]) < 2).expand_as(net.labels))
    flows = []
    for t in range(net.scores.shape[1]):
        flow = stepped(_arrivals(flow, net.skips, finer) if t else flow, net.scores[:, t])
        flows.append(flow)
    if not flows:
        return Flow(Pair(net.scores, net.scores), net.scores)
    high, low, size = (torch.stack(parts, 1) for parts in zip(*(f.parts for f in flows), strict=True))
    return Flow(Pair(high, low), size)


@dataclass(frozen=True)
class Terms:
    """What the answers of a chunk share.

    `loss` (R,); `size` E|score|; `occupancy` and `bound` (R, T, C): gamma by class and its N.
    `impossible` marks rows without an alignment, `undefined` those with NaN or +inf among their scores.
    """

    inputs: Inputs
    options: Options
    loss: Tensor
    size: Tensor
    occupancy: Tensor
    bound: Tensor
    impossible: Tensor
    undefined: Tensor
    counted: Tensor
    divisor: Tensor


def terms(inputs: Inputs, options: Options) -> Terms:
    """Runs forward and backward over a chunk of float64 rows (R, T, C), both at once."""
    finer = isinstance(inputs["log_probs"], Doubled)
    # Stored numbers have no low part; pairs begin where they are added.
    x = pair_of(inputs["log_probs"]).high
    net = lattice({**inputs, "log_probs": x}, int(options["blank"]))
    undefined = (net.scores.isnan() | (net.scores == math.inf)).any(2).any(1)
    net = replace(net, scores=torch.where(undefined[:, None, None], -math.inf, net.scores))
    back = net.reversed()
    names = (field.name for field in fields(Lattice))
    both = Lattice(**{name: torch.cat([getattr(net, name), getattr(back, name)]) for name in names})
    flow = beginnings(both, finer)
    count = len(x)
    before = Flow(Pair(flow.sums.high[:count], flow.sums.low[:count]), flow.size[:count])
    high, low, size = (net.turned(part[count:]) for part in flow.parts)
    # The frame itself is in both.
    own = torch.where(net.scores > -math.inf, net.scores, 0.0)
    after = Flow(plus(Pair(torch.where(high > -math.inf, high, 0.0), low), lifted(-own)), size - own.abs())
    alive = net.seen & (before.sums.high > -math.inf) & (high > -math.inf)
    total = _total(before, net, finer)
    loss = Pair(-total.sums.high, -total.sums.low)
    here = Pair(torch.where(alive, before.sums.high, 0.0), before.sums.low)
    finite = torch.where(loss.high.isfinite(), loss.high, 0.0)
    whole = Pair(*(part[:, None, None].expand_as(own) for part in (finite, loss.low)))
    power = plus(plus(here, after.sums), whole)
    gamma = of_parts(*power).exp() if finer else power.high.exp() * (1 + power.low)
    gamma = torch.where(alive, gamma, 0.0)
    given = 1 + (finite.abs() + total.size)[:, None, None] + before.size + after.size
    places = net.labels[:, None, :].expand_as(alive)
    mean = options["reduction"] == "mean"
    return Terms(
        inputs,
        options,
        of_parts(*loss) if finer else loss.high,
        total.size,
        occupancy=torch.zeros_like(inputs["log_probs"]).scatter_add_(2, places, gamma),
        bound=torch.zeros_like(x).scatter_add_(2, places, pair_of(gamma).high * given),
        impossible=~undefined & (loss.high == math.inf),
        undefined=undefined,
        counted=torch.arange(x.shape[1]) < net.frames,
        divisor=(net.last[:, 0] // 2).clamp(min=1).double() if mean else torch.ones_like(loss.high),
    )


def _total(before: Flow, net: Lattice, finer: bool) -> Flow:
    """Returns the log-sum over all paths (R,): at the last frame of each row, in one of its last states."""
    states = torch.arange(net.labels.shape[1])
    ends = (states == net.last) | ((states == net.last - 1) & (net.last > 0))
    nothing = _start(states == net.last)
    if before.size.shape[1]:
        at = net.frames.clamp(min=1)[:, :, None].expand(-1, 1, len(states)) - 1
        reached = (part.gather(1, at)[:, 0] for part in before.parts)
        # Without a frame one is where one begins, in the first state, and that has to be the last as well.
        chosen = zip(reached, nothing.parts, strict=True)
        high, low, size = (torch.where(net.frames > 0, some, none) for some, none in chosen)
    else:
        high, low, size = nothing.parts
    high = torch.where(ends & ((net.frames > 0) | (net.last == 0)), high, -math.inf)
    return merged(high.T, low.T, size.T, finer)


def row_losses(t: Terms) -> Tensor:
    """Returns L (R,), divided by the target length for the mean; inf without alignment, or 0 if asked."""
    losses = t.loss / t.divisor
    losses = torch.where(t.impossible, 0.0 if t.options["zero_infinity"] else math.inf, losses)
    return torch.where(t.undefined, math.nan, losses)


def gradients(t: Terms) -> dict[str, Tensor]:
    """Returns dL/dx (R, T, C): 0 behind the last frame, NaN where the loss is infinite or undefined."""
    slope = -t.occupancy
    if t.options["derivative"] == FUSED:
        slope = torch.where(t.counted[:, :, None], t.inputs["log_probs"].exp(), 0.0) - t.occupancy
    slope = slope / t.divisor[:, None, None]
    impossible = 0.0 if t.options["zero_infinity"] else math.nan
    slope = torch.where(t.impossible[:, None, None], impossible, slope)
    return {"log_probs": torch.where(t.undefined[:, None, None], math.nan, slope)}


def sensitivity(t: Terms) -> Tensor:
    """Returns N = |L| + E|score| (R,); 0 where the loss is not finite."""
    settled = t.impossible | t.undefined
    return torch.where(settled, 0.0, (t.loss.abs() + t.size) / t.divisor)


def gradient_sensitivity(t: Terms) -> dict[str, Tensor]:
    """Returns N of every entry (R, T, C); the fused derivative adds exp(x) (1 + |x|)."""
    bound = t.bound
    if t.options["derivative"] == FUSED:
        x = t.inputs["log_probs"]
        share = torch.where(x > -math.inf, x.exp() * (1 + x.abs()), 0.0)
        bound = bound + torch.where(t.counted[:, :, None], share, 0.0)
    settled = (t.impossible | t.undefined)[:, None, None]
    return {"log_probs": torch.where(settled, 0.0, bound / t.divisor[:, None, None])}


def denominator(inputs: Inputs, options: Options) -> Tensor:
    """Returns one for each sequence: the mean over the batch comes after the division by lengths."""
    return torch.ones(len(inputs["target_lengths"]), dtype=torch.float64)


def exact(row: Mapping[str, Any], options: Options) -> tuple[Any, Mapping[str, list[Any]]]:
    """Returns loss and gradient of one sequence as Arb balls: probabilities, multiplied and added.

    `row` holds "log_probs" as T lists of C floats, "targets", "input_lengths" and "target_lengths". The
    exponent of a ball does not underflow, so nothing needs a logarithm before the last line.
    """
    from flint import arb

    scores, frames, size = row["log_probs"], row["input_lengths"], row["target_lengths"]
    blank, width = int(options["blank"]), len(scores[0]) if scores else 0
    labels = [blank] + [label for y in row["targets"][:size] for label in (y, blank)]
    states = range(len(labels))
    p = [[arb(0) if v == -math.inf else arb(v).exp() for v in frame] for frame in scores[:frames]]
    sources = [_sources(labels, s, blank) for s in states]
    forward = [[frame[labels[s]] for s in states] for frame in p]
    for t in range(frames):
        for s in states:
            came = [forward[t - 1][r] for r in sources[s]] if t else [arb(1 if s < 2 else 0)]
            forward[t][s] *= sum(came, arb(0))
    backward = [[arb(0)] * len(labels) for _ in range(frames)]
    for t in reversed(range(frames)):
        for s in states:
            if t == frames - 1:
                backward[t][s] = arb(1 if s >= len(labels) - 2 else 0)
            else:
                backward[t][s] = sum(
                    (p[t + 1][labels[r]] * backward[t + 1][r] for r in states if s in sources[r]), arb(0)
                )
    total = sum(forward[-1][-2:], arb(0)) if frames else arb(1 if size == 0 else 0)
    if total.is_zero():
        zero = bool(options["zero_infinity"])
        undefined = [arb(0) if zero else arb("nan")] * (len(scores) * width)
        return (arb(0) if zero else arb("+inf")), {"log_probs": undefined}
    divisor = arb(max(size, 1) if options["reduction"] == "mean" else 1)
    slopes = []
    for t in range(len(scores)):
        occupancy = [arb(0)] * width
        for s in states if t < frames else ():
            occupancy[labels[s]] += forward[t][s] * backward[t][s] / total
        fused = options["derivative"] == FUSED and t < frames
        slopes += [((p[t][c] if fused else 0) - occupancy[c]) / divisor for c in range(width)]
    return -total.log() / divisor, {"log_probs": slopes}


def _sources(labels: list[int], state: int, blank: int) -> list[int]:
    """Returns the states from which one may come."""
    found: list[int] = [state, state - 1] if state else [state]
    if state > 2 and labels[state] != blank and labels[state] != labels[state - 2]:
        found.append(state - 2)
    return found


ORACLE = ClosedForm(
    terms=terms,
    rows=row_losses,
    gradient=gradients,
    sensitivity=sensitivity,
    gradient_sensitivity=gradient_sensitivity,
    denominator=denominator,
    exact=exact,
    roundoffs=8.0,
)
