"""Unevaluated sums high + low of two float64: error-free transformations, sums and exp of pairs.

two_sum and two_product (Dekker 1971; Knuth) return the rounding error of an operation as a number, so a
pair carries about 106 bits. `exponential` leaves high and low unnormalised: 2^k (T_hi + [T_lo + T_hi p3(r)])
with a table of 2^14 entries made by Arb, whose error of 2^-66.6 is the largest in this module.
`order_free_sum` adds by error-free extraction (Rump, Ogita, Oishi 2008): the same bits in any order. The
traps: a compiler that contracts or reassociates destroys all of this, so it runs eagerly, one kernel an
operation, on one thread; and an extraction anchored above the largest remaining term loses as many bits as it
is above it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

TABLE_BITS = 14
SPLITTER = 2.0**27 + 1
# exp(-746) rounds to 0 in float64.
DEEPEST = -746.0
# Below this an exponential is subnormal and takes two steps of scaling.
FIRST_SUBNORMAL = -708.0


class Pair(NamedTuple):
    """An unevaluated sum of two float64 tensors of one shape (or shapes that broadcast)."""

    high: Tensor
    low: Tensor

    def negated(self) -> Pair:
        """Returns -(high + low)."""
        return Pair(-self.high, -self.low)

    def gathered(self, column: Tensor) -> Pair:
        """Returns the entries at one column per row (R, 1)."""
        return Pair(self.high.gather(1, column), self.low.gather(1, column))


def lifted(high: Tensor) -> Pair:
    """Returns a pair whose low part is 0."""
    return Pair(high, torch.zeros_like(high))


def two_sum(a: Tensor, b: Tensor) -> Pair:
    """Returns a + b exactly, whatever their sizes; high is the rounded sum."""
    total = a + b
    of_b = total - a
    return Pair(total, (b - of_b).add_(a - (total - of_b)))


def quick_two_sum(a: Tensor, b: Tensor) -> Pair:
    """Returns a + b exactly when |a| >= |b| or a = 0."""
    total = a + b
    return Pair(total, (a - total).add_(b))


@lru_cache(maxsize=1)
def addcmul_is_fused() -> bool:
    """Tells whether addcmul rounds once here; undocumented, so it is tried on every length of tail."""
    generator = torch.Generator().manual_seed(0)
    for length in (*range(1, 70), 4096):
        a, b = torch.randn(2, length, generator=generator, dtype=torch.float64)
        high = a * b
        error = _dekker_error(a, b, high)
        if not torch.equal(torch.addcmul(-high, a, b), error):
            return False
        if not torch.equal(torch.addcmul(high, a, b, value=-1), -error):
            return False
    return True


def two_product(a: Tensor, b: Tensor) -> Pair:
    """Returns a b exactly, unless the error is below the smallest number; high is the rounded product."""
    high = a * b
    if addcmul_is_fused():
        return Pair(high, torch.addcmul(-high, a, b))
    return Pair(high, _dekker_error(a, b, high))


def _dekker_error(a: Tensor, b: Tensor, high: Tensor) -> Tensor:
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return a2 * b2 - (((high - a1 * b1) - a2 * b1) - a1 * b2)


def _halves(a: Tensor) -> tuple[Tensor, Tensor]:
    """Splits into 26 + 26 bits (Veltkamp 1968); large numbers are halved on the way so as not to overflow."""
    large = a.abs() > 2.0**990
    scaled = torch.where(large, a * 2.0**-30, a)
    spread = scaled * SPLITTER
    upper = spread - (spread - scaled)
    upper = torch.where(large, upper * 2.0**30, upper)
    return upper, a - upper


def plus(a: Pair, b: Pair) -> Pair:
    """Returns a + b with an error of 2^-104 of |a| + |b| (of |a + b| for equal signs)."""
    high = two_sum(a.high, b.high)
    low = two_sum(a.low, b.low)
    first = quick_two_sum(high.high, high.low + low.high)
    return quick_two_sum(first.high, first.low + low.low)


def minus(a: Pair, b: Pair) -> Pair:
    """Returns a - b; see `plus`."""
    return plus(a, b.negated())


def product(a: Pair, b: Pair) -> Pair:
    """Returns a b with a relative error of 2^-102 (2^-83 for unnormalised factors of `exponential`)."""
    high, error = two_product(a.high, b.high)
    error = error + (a.high * b.low + a.low * b.high) + a.low * b.low
    return quick_two_sum(high, error)


def ratio(a: Pair, b: Pair) -> Pair:
    """Returns a / b with a relative error of 2^-100."""
    first = a.high / b.high
    back = two_product(first, b.high)
    rest = ((a.high - back.high).sub_(back.low).add_(a.low)).sub_(first * b.low)
    return quick_two_sum(first, rest.div_(b.high))


def finite_low(a: Pair) -> Tensor:
    """Returns the low part, 0 where the pair is not finite: there error terms are inf - inf."""
    # Two sums cost a tenth of a mask, and a non-finite term cannot hide in them.
    if math.isfinite(float(a.low.sum())) and math.isfinite(float(a.high.sum())):
        return a.low
    return torch.where(a.high.isfinite() & a.low.isfinite(), a.low, 0.0)


class Table(NamedTuple):
    """2^(j / 2^14) as pairs, and ln 2 / 2^14 in parts of 27 and 53 bits."""

    high: Tensor
    low: Tensor
    steps: tuple[float, float]
    per_unit: float


@lru_cache(maxsize=1)
def table() -> Table:
    """Returns the table of powers, made by Arb at 200 bits (17 ms)."""
    import flint
    from flint import arb

    with flint.ctx.workprec(200):
        step = arb(2).log() / 2**TABLE_BITS
        highs, lows = [], []
        for j in range(2**TABLE_BITS):
            power = (step * j).exp()
            high = float(power.mid())
            highs.append(high)
            lows.append(float((power - high).mid()))
        exponent = math.frexp(float(step.mid()))[1] - 27
        first = math.ldexp(int((step * arb(2) ** -exponent).floor().unique_fmpz()), exponent)
        steps = (first, float((step - first).mid()))
    return Table(
        torch.tensor(highs, dtype=torch.float64),
        torch.tensor(lows, dtype=torch.float64),
        steps,
        1 / sum(steps),
    )


# Adding 3/2 2^52 rounds to whole numbers and leaves them in the low bits; the bias makes the bits above
# the place in the table an exponent field.
BIAS = 1023
MAGIC = 1.5 * 2.0**52 + BIAS * 2.0**TABLE_BITS
PLACE = 2**TABLE_BITS - 1
# exp(r) - 1 = r + r^2 (1/2 + e) + r^3 / 6: with h = ln 2 / 2^15 the largest |r|, e = 0.828 h^2 / 24 takes
# r^4 / 24 from 2^-66.7 down to its sixth part.
HALF = 0.5 + 0.8284 * (math.log(2) / 2 ** (TABLE_BITS + 1)) ** 2 / 24


def exponential(a: Pair, *, exact: bool = False, least: float | None = None) -> Pair:
    """Returns exp(a) (R, C) for a <= 709 to 2^-66.6 of itself or 2^-1074; |low| is up to 2^-15 high.

    Below -746 it is 0; subnormal results are right to their last two bits. -inf gives 0, NaN gives NaN.
    `exact` says that the low parts are all 0; `least`, if known, is below all highs (NaN for none).
    """
    if least is None:
        least = float(a.high.amin()) if a.high.numel() else 0.0
    if least > FIRST_SUBNORMAL:
        high, low, bits = _unscaled(a, exact)
        scale = bits.bitwise_right_shift_(TABLE_BITS).bitwise_left_shift_(52).view(torch.float64)
        return Pair(high.mul_(scale), low.mul_(scale))
    beyond, undefined = a.high < DEEPEST, a.high.isnan()
    outside = beyond | undefined
    inside = Pair(a.high.masked_fill(outside, 0.0), a.low.masked_fill(outside, 0.0))
    high, low, bits = _unscaled(inside, exact)
    exponents = ((bits >> TABLE_BITS) & 4095) - BIAS
    # The power may be subnormal, so half of the way is gone at a time: the low part first, for one rounding.
    half = exponents >> 1
    for step in (half, exponents - half):
        scale = (step + BIAS).bitwise_left_shift_(52).view(torch.float64)
        high.mul_(scale)
        low.mul_(scale)
    for part in (high, low):
        part.masked_fill_(beyond, 0.0)
    return Pair(high.masked_fill_(undefined, torch.nan), low)


def _unscaled(a: Pair, exact: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns exp(a) 2^-k as high and low, and bits whose part above the place is k + BIAS modulo 2^12."""
    powers = table()
    counts = torch.add(a.high.new_tensor(MAGIC), a.high, alpha=powers.per_unit)
    bits = counts.view(torch.int64)
    place = (bits & PLACE).reshape(-1)
    counts = counts - MAGIC
    # Cody and Waite: the first product and the first difference are exact, the second is off by 2^-69.
    rest = torch.add(a.high, counts, alpha=-powers.steps[0])
    rest.add_(counts, alpha=-powers.steps[1])
    if not exact:
        rest.add_(a.low)
    high = powers.high.index_select(0, place).view_as(rest)
    low = powers.low.index_select(0, place).view_as(rest)
    series = torch.add(rest.new_tensor(HALF), rest, alpha=1 / 6).mul_(rest)
    torch.addcmul(rest, series, rest, out=series)
    return high, low.addcmul_(high, series), bits


def order_free_sum(values: Tensor, tails: Tensor | None = None, *, positive: bool = False) -> Pair:
    """Returns the sum of each row (R, C) of values and tails as a pair (R, 1), equal bits in any order.

    Error below 2^-70 of the largest magnitude of the row for up to 2^15 columns when |tails| <= 2^-14
    |values|, and 2^-100 of the sum typically. A row with a term that is not finite gives IEEE's sum, low 0.
    `positive` says that no value is below 0.
    """
    count = values.shape[1]
    if not count:
        return lifted(values.new_zeros(values.shape[0], 1))
    largest = values.amax(1, keepdim=True)
    if not positive:
        largest = torch.maximum(largest, -values.amin(1, keepdim=True))
    spare = math.ceil(math.log2(max(count, 2))) + 1
    ceiling = float(largest.amax()) if len(largest) else 0.0
    if not math.isfinite(ceiling):
        finite = largest.isfinite()
        plain = values.sum(1, keepdim=True)
        mended = order_free_sum(
            torch.where(finite, values, 0.0), None if tails is None else torch.where(finite, tails, 0.0)
        )
        return Pair(torch.where(finite, mended.high, plain), torch.where(finite, mended.low, 0.0))
    if ceiling > 2.0 ** (1020 - spare):
        down = 2.0 ** -(spare + 4)
        part = order_free_sum(values * down, None if tails is None else tails * down)
        return Pair(part.high / down, part.low / down)
    # All terms are below 2^e: 2^(e + spare) is above the sum of all magnitudes.
    anchor = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent + spare)
    first, rest = _extracted(values, anchor)
    if tails is not None:
        rest.add_(tails)
        anchor = anchor * 2.0**-13
    else:
        anchor = anchor * 2.0 ** (spare - 53)
    second, rest = _extracted(rest, anchor)
    third, _ = _extracted(rest, anchor * 2.0 ** (spare - 52), last=True)
    head = two_sum(first, second)
    middle = two_sum(head.low, third)
    top = quick_two_sum(head.high, middle.high)
    return quick_two_sum(top.high, top.low + middle.low)


def _extracted(values: Tensor, anchor: Tensor, *, last: bool = False) -> tuple[Tensor, Tensor]:
    """Returns the exact sum of the leading parts (R, 1) and what is left of each value, exactly.

    Leading parts are multiples of 2^-53 anchor, and their sum is below it: no addition rounds.
    """
    leading = (values + anchor).sub_(anchor)
    total = leading.sum(1, keepdim=True)
    return total, leading if last else torch.sub(values, leading, out=leading)
