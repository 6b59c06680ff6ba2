"""How far a result is from the truth, in numpy, and where the strict rule is broken.

With y the truth, u the unit roundoff of the dtype, u_a = 2^-24 for 16-bit dtypes (their stored inputs
are exact, so arithmetic may run in float32) and u otherwise, N the sensitivity:
strict: |y^ - y| <= 2 ulp(y) + (4 + log2 C) u_a N;
error:  |y^ - y| >  s (4 + log2 C) u max(1, |y|), s = 8 for 32 and 64 bit, 1 for 16 bit.
ulp(y) = 2^(max(floor(log2|y|), e_min) - p + 1) of the *real* y (rounding y first would add half an
ulp of noise). The trap: statistics are taken over entries where truth and result are both finite;
everything else is decided by classes before any arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from harness.oracle.reduction import Array

ArrayLike = Array


@dataclass(frozen=True)
class Format:
    """A binary floating format: precision p in bits and smallest normal exponent e_min."""

    name: str
    precision: int
    smallest_exponent: int
    largest: float

    @property
    def roundoff(self) -> float:
        """Unit roundoff u = 2^-p."""
        return 2.0**-self.precision

    @property
    def arithmetic_roundoff(self) -> float:
        """u_a: 2^-24 for 16-bit formats, else u."""
        return 2.0**-24 if self.precision < 24 else self.roundoff

    @property
    def smallest_normal(self) -> float:
        """Smallest positive normal number."""
        return 2.0**self.smallest_exponent

    @property
    def smallest_subnormal(self) -> float:
        """Smallest positive number w."""
        return math.ldexp(1.0, self.smallest_exponent - self.precision + 1)

    @property
    def error_factor(self) -> float:
        """s of the error rule: 8 for 32 and 64 bit, 1 for 16 bit."""
        return 1.0 if self.precision < 24 else 8.0


FORMATS: MappingProxyType[str, Format] = MappingProxyType(
    {
        "float64": Format("float64", 53, -1022, float(np.finfo(np.float64).max)),
        "float32": Format("float32", 24, -126, float(np.finfo(np.float32).max)),
        "bfloat16": Format("bfloat16", 8, -126, (2 - 2.0**-7) * 2.0**127),
        "float16": Format("float16", 11, -14, 65504.0),
    }
)


def ulp(values: Array, form: Format) -> Array:
    """Returns the spacing of the format at real values; at 0 and below e_min it is w, NaN gives NaN."""
    _, exponents = np.frexp(np.abs(values))
    # frexp scales to [1/2, 1): floor(log2|y|) is one less; it answers exponent 0 for 0, inf and NaN.
    floor = np.where(values == 0, form.smallest_exponent, exponents - 1)
    spacing = np.ldexp(1.0, np.maximum(floor, form.smallest_exponent) - form.precision + 1)
    return np.asarray(np.where(np.isfinite(values), spacing, np.nan), dtype=np.float64)


def bits(ulps: Array) -> Array:
    """Returns log2(1 + ulps): at most 0.59 for a correctly rounded result."""
    return np.asarray(np.log2(1 + ulps), dtype=np.float64)


def rounds_to_infinity(values: Array, form: Format) -> NDArray[np.bool_]:
    """Tells where a real value rounds to an infinity of the format."""
    half_step = math.ldexp(1.0, math.frexp(form.largest)[1] - form.precision - 1)
    if form.precision == 53:
        return np.asarray(np.isinf(values))
    return np.asarray(np.abs(values) >= form.largest + half_step)


# A matrix product adds blocks of its terms, one block after another, of some hundreds.
PRODUCT_BLOCK = 128


@dataclass(frozen=True)
class Terms:
    """What is added up to one entry: `classes` entries of a row, and so many `rows` where it is reduced.

    Where a matrix product adds the rows (`by_product`), block after block, rounding errors of a sum that
    grows add up (Blanchard, Higham and Mary 2020: b + n / b for blocks of b; torch 2.13.0 is off by up to
    455 u N at 131,072 rows on one thread, on one CPU of two).
    """

    classes: int
    rows: int = 1
    by_product: bool = False

    @property
    def depth(self) -> float:
        """The roundings that a sensible evaluation pays: 4 + log2 C, and 2 + log2 rows to reduce."""
        reduction = 2 + math.log2(self.rows) if self.rows > 1 else 0
        return 4 + math.log2(max(self.classes, 1)) + reduction

    @property
    def roundings(self) -> float:
        """The depth, and rows / PRODUCT_BLOCK more where a matrix product adds the rows."""
        return self.depth + (self.rows / PRODUCT_BLOCK if self.by_product else 0)


def strict_bound(
    truth: Array, sensitivity: Array, form: Format, terms: Terms, rounding: float = 0.0
) -> Array:
    """Returns the strict bound of entries of these terms.

    `rounding` is the oracle's own error in units of N; it matters for float64 alone. NaN where the truth is
    not finite.
    """
    units = terms.roundings * form.arithmetic_roundoff + rounding
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(2 * ulp(truth, form) + units * sensitivity)


def error_bound(truth: Array, form: Format, terms: Terms, scale: Array | float = 1.0) -> Array:
    """Returns the bound beyond which a broken strict rule is an error; `scale` undoes a reduction."""
    units = form.error_factor * terms.depth * form.roundoff
    return np.asarray(units * np.maximum(scale, np.abs(truth)))


@dataclass(frozen=True)
class Spread:
    """Largest, 99th percentile and median of non-negative numbers; NaN when there are none."""

    largest: float
    p99: float
    median: float


def spread(values: Array) -> Spread:
    """Returns the spread of an array by partition, not by sorting."""
    count = values.size
    if count == 0:
        return Spread(math.nan, math.nan, math.nan)
    if count == 1:
        only = float(values.reshape(()) if values.ndim == 0 else values.reshape(-1)[0])
        return Spread(only, only, only)
    middle, high = (count - 1) // 2, min(count - 1, math.ceil(0.99 * count) - 1)
    ordered = np.partition(values, sorted({middle, high, count - 1}))
    return Spread(float(ordered[-1]), float(ordered[high]), float(ordered[middle]))
