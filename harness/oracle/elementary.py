"""Elementary functions of pairs of float64: log, log1p, exp, expm1, square root and powers to about 2^-66.

log m = 2 atanh((m - 1) / (m + 1)) with m in [0.7, 1.42]; exp by the table of `harness.oracle.pair`, expm1
near 0 by its series; a root is mended once by Newton's step. All take any number and answer what is not
ordinary (0, negative, infinite, NaN) as float64 does. The trap: error terms underflow before their numbers
do, so a root scales its argument up first, and a constant such as 1/3 has to be a pair itself.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from harness.oracle.pair import (
    Pair,
    exponential,
    lifted,
    plus,
    product,
    quick_two_sum,
    ratio,
    two_product,
    two_sum,
)

# 2 atanh(z) = 2 z (1 + w / 3 + w^2 / 5 + ...), w = z^2 <= 0.0296: after 16 terms 2^-84 is left. The first
# four are pairs; from w^4 <= 2^-20 on float64 loses nothing.
ATANH_TERMS = 16
ATANH_PAIRS = 4
# (e^a - 1) / a = 1 + a / 2 + a^2 / 6 + ... for |a| <= 1/2: after 19 terms 2^-75 is left; from a^7 / 8! on
# float64 loses 2^-53 2^-22.
EXPM1_TERMS = 19
EXPM1_PAIRS = 7
NEAR = 0.5
# exp(709) is finite and its exponent fits the field that `exponential` writes to; exp(1416) is infinite, and
# half of it fits.
STEEPEST, BEYOND = 709.0, 1416.0
# Below this the error term of a square is lost.
SMALL, UP = 2.0**-900, 2.0**200
# Powers up to this are products.
LARGEST_PRODUCT = 8


def parts_of(value: Any) -> tuple[float, float]:
    """Returns an Arb ball as high and low."""
    from flint import arb

    high = float(arb(value).mid())
    return high, float((arb(value) - high).mid())


@lru_cache(maxsize=1)
def _odd_reciprocals() -> tuple[tuple[float, float], ...]:
    """Returns 1 / (2 i + 1) as pairs."""
    import flint
    from flint import arb

    with flint.ctx.workprec(200):
        return tuple(parts_of(arb(1) / (2 * i + 1)) for i in range(ATANH_TERMS))


@lru_cache(maxsize=1)
def _factorials() -> tuple[tuple[float, float], ...]:
    """Returns 1 / (i + 1)! as pairs."""
    import flint
    from flint import arb

    with flint.ctx.workprec(200):
        return tuple(parts_of(arb(1) / math.factorial(i + 1)) for i in range(EXPM1_TERMS))


@lru_cache(maxsize=1)
def _ln2() -> tuple[float, float]:
    import flint
    from flint import arb

    with flint.ctx.workprec(200):
        return parts_of(arb(2).log())


def log1p(a: Pair) -> Pair:
    """Returns log(1 + a) for a > -1 with a relative error of 2^-72, also where a is tiny.

    1 + a = 2^k m; for k = 0 the numerator m - 1 is a itself, so that nothing cancels. inf gives inf, -1
    gives -inf, less and NaN give NaN.
    """
    ordinary = a.high.isfinite() & (a.high > -1)
    whole = bool(ordinary.all())
    inside = a if whole else _kept(ordinary, a, 0.0)
    total = two_sum(inside.high, torch.ones_like(inside.high))
    total = quick_two_sum(total.high, total.low + inside.low)
    found = _logarithm(total, inside)
    return found if whole else _kept(ordinary, found, torch.log1p(a.high))


def logarithm(a: Pair) -> Pair:
    """Returns log(a) for a > 0 with a relative error of 2^-72; 0 gives -inf, less and NaN give NaN."""
    ordinary = a.high.isfinite() & (a.high > 0)
    whole = bool(ordinary.all())
    found = _logarithm(a if whole else _kept(ordinary, a, 1.0), None)
    return found if whole else _kept(ordinary, found, torch.log(a.high))


def _logarithm(a: Pair, beyond_one: Pair | None) -> Pair:
    """Returns log(a) of normalised a > 0; `beyond_one` is a - 1 where that is known better than a."""
    one = torch.ones_like(a.high)
    mantissa, exponent = torch.frexp(a.high)
    exponent = exponent - (mantissa < math.sqrt(0.5)).int()
    # In halves: 2^-k alone underflows next to the largest number.
    half, rest = torch.ldexp(one, -(exponent // 2)), torch.ldexp(one, exponent // 2 - exponent)
    high, low = a.high * half * rest, a.low * half * rest
    # m - 1 is exact for m in [0.7, 1.42].
    less = Pair(high - 1, low)
    if beyond_one is not None:
        near = exponent == 0
        less = Pair(torch.where(near, beyond_one.high, less.high), torch.where(near, beyond_one.low, low))
    more = two_sum(high, one)
    z = ratio(quick_two_sum(*less), Pair(more.high, more.low + low))
    square = product(z, z)
    series = _horner(square, _odd_reciprocals(), ATANH_PAIRS)
    fraction = product(z, series)
    ln2 = _ln2()
    of_powers = product(lifted(exponent.double()), Pair(one * ln2[0], one * ln2[1]))
    return plus(of_powers, Pair(2 * fraction.high, 2 * fraction.low))


def _horner(x: Pair, coefficients: tuple[tuple[float, float], ...], pairs: int) -> Pair:
    """Returns sum c_i x^i, whose first terms are pairs; each c_i has to be larger than what follows it."""
    tail = torch.full_like(x.high, coefficients[-1][0])
    for coefficient, _ in reversed(coefficients[pairs:-1]):
        tail.mul_(x.high).add_(coefficient)
    series = lifted(tail)
    for high, low in reversed(coefficients[:pairs]):
        series = product(series, x)
        top = quick_two_sum(torch.full_like(tail, high), series.high)
        series = Pair(top.high, top.low + (series.low + low))
    return series


def exp(a: Pair) -> Pair:
    """Returns exp(a), normalised, to 2^-66 of itself or 2^-1074; beyond float64 it is inf, NaN gives NaN."""
    steep = a.high > STEEPEST
    if not bool(steep.any()):
        found = _normalised(exponential(a))
        return mended(found.high, found)
    inside = Pair(torch.where(steep, a.high.clamp(max=BEYOND) / 2, a.high), torch.where(steep, 0.0, a.low))
    rest = torch.where(steep & a.high.isfinite() & (a.high < BEYOND), a.low, 0.0)
    root = _normalised(exponential(inside))
    square = mended(root.high * root.high, product(root, root))
    # e^low is 1 + low: low is below 2^-43 here.
    square = mended(square.high, product(square, two_sum(torch.ones_like(rest), rest)))
    found = Pair(torch.where(steep, square.high, root.high), torch.where(steep, square.low, root.low))
    return mended(found.high, found)


def _normalised(a: Pair) -> Pair:
    return quick_two_sum(a.high, a.low)


def expm1(a: Pair) -> Pair:
    """Returns exp(a) - 1 to 2^-65 of itself, also where a is tiny; -inf gives -1, NaN gives NaN."""
    close = a.high.abs() <= NEAR
    inside = _kept(close, a, 0.0)
    near = product(inside, _horner(inside, _factorials(), EXPM1_PAIRS))
    power = exp(_kept(~close, a, 0.0))
    far = mended(power.high - 1, plus(power, lifted(torch.full_like(power.high, -1.0))))
    return Pair(torch.where(close, near.high, far.high), torch.where(close, near.low, far.low))


def root(a: Pair) -> Pair:
    """Returns the square root to 2^-100 of itself; 0 gives 0, inf gives inf, less and NaN give NaN."""
    small = a.high < SMALL
    up = torch.ones_like(a.high).masked_fill(small, UP)
    high, low = a.high * up, a.low * up
    first = high.sqrt()
    back = two_product(first, first)
    rest = ((high - back.high) - back.low + low) / (2 * first)
    down = torch.ones_like(a.high).masked_fill(small, 1 / math.sqrt(UP))
    found = quick_two_sum(first, rest)
    return mended(first * down, Pair(found.high * down, found.low * down))


def power(base: Pair, exponent: Pair | float) -> Pair:
    """Returns base^exponent for base >= 0 to about 2^-66 (1 + |exponent log base|) of itself.

    Whole exponents up to 8 are products, 1/2 is a root. Base 0 and infinities are answered as float64 does.
    """
    if isinstance(exponent, float):
        if exponent == 0.5:
            return root(base)
        if exponent == int(exponent) and 0 <= exponent <= LARGEST_PRODUCT:
            return _product_of(base, int(exponent))
    several = exponent if isinstance(exponent, Pair) else lifted(torch.full_like(base.high, exponent))
    with_float64 = base.high**several.high
    ordinary = base.high.isfinite() & (base.high > 0)
    by_logarithm = exp(product(several, logarithm(_kept(ordinary, base, 1.0))))
    return _kept(ordinary, by_logarithm, with_float64)


def _product_of(base: Pair, count: int) -> Pair:
    found = lifted(torch.ones_like(base.high))
    for _ in range(count):
        found = mended(found.high * base.high, product(found, base))
    return found


def _kept(condition: Tensor, a: Pair, otherwise: Tensor | float) -> Pair:
    """Returns a where the condition holds, elsewhere a number without a low part."""
    return Pair(torch.where(condition, a.high, otherwise), torch.where(condition, a.low, 0.0))


def mended(plain: Tensor, a: Pair) -> Pair:
    """Returns a with `plain`, the operation in float64, wherever an infinity left no error terms.

    An error term of an infinity is inf - inf; a quotient by an infinity is 0 in float64 and NaN in pairs.
    """
    if math.isfinite(float(a.high.sum() + a.low.sum())):
        return a
    usable = plain.isfinite() & a.high.isfinite() & a.low.isfinite()
    return Pair(torch.where(usable, a.high, plain), torch.where(usable, a.low, 0.0))
