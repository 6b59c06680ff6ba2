"""The only place where numbers become text: one spelling per quantity, whoever prints it.

Significant digits follow the noise: a number known to ±2 % gets as many digits as ±2 % carries. The
trap: NaN and infinities are results here, so every function takes them and says them in words;
none of them may reach a format string that would print "nan µs" or raise. No torch, no pandas.
"""

from __future__ import annotations

import math

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# 4.00 µs printed with three digits claims 0.1 %; without an interval nobody has shown that much.
_DIGITS = 3


def word(value: float) -> str:
    """Returns "NaN", "+inf" or "-inf" for a non-finite number and "" for a finite one."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+inf" if value > 0 else "-inf"
    return ""


def digits_for(value: float, half_width: float | None) -> int:
    """Returns how many significant digits a half width leaves to a value: 1 to 4, 3 without one."""
    if half_width is None or not math.isfinite(half_width) or not math.isfinite(value) or value == 0:
        return _DIGITS
    if half_width == 0:
        return 4
    kept = math.floor(math.log10(abs(value))) - math.floor(math.log10(abs(half_width))) + 1
    return max(1, min(4, kept))


def significant(value: float, digits: int = _DIGITS) -> str:
    """Returns a number in plain decimals with so many significant digits, as a word if non-finite."""
    if special := word(value):
        return special
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(0, decimals)}f}"


def number(value: float, digits: int = _DIGITS) -> str:
    """Returns a bare number: plain decimals from 0.001 to 100,000, else a power of ten (4.1×10⁷)."""
    if special := word(value):
        return special
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        text = significant(value, digits)
        return text.rstrip("0").rstrip(".") if "." in text else text
    return power_of_ten(value, max(1, digits - 1))


def power_of_ten(value: float, digits: int = 2) -> str:
    """Returns a number as mantissa and power of ten, e.g. "4.1×10⁷", as a word if non-finite."""
    if special := word(value):
        return special
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def seconds(value: float, half_width: float | None = None) -> str:
    """Returns a time with its SI prefix, e.g. "410 µs"; digits follow `half_width` (seconds)."""
    if special := word(value):
        return special
    if value == 0:
        return "0 s"
    digits = digits_for(value, half_width)
    # Rounded before the prefix is chosen: 999.7 µs with three digits is 1.00 ms, not 1000 µs.
    rounded = float(f"{value:.{digits - 1}e}")
    scale, unit = next((step for step in _SECONDS if abs(rounded) >= step[0]), _SECONDS[-1])
    return f"{significant(rounded / scale, digits)} {unit}"


def noise(value: float, low: float | None, high: float | None) -> str:
    """Returns the wider half of an interval as "±2 %", "" when either end is absent or not finite."""
    if low is None or high is None or not all(map(math.isfinite, (value, low, high))) or value == 0:
        return ""
    share = 100 * max(high - value, value - low) / abs(value)
    return f"±{share:.0f} %" if share >= 1 else f"±{max(share, 0.1):.1f} %"


def interval(value: float, low: float | None, high: float | None) -> str:
    """Returns a time with its noise, "410 µs ±2 %"; the time alone when the interval is absent."""
    tail = noise(value, low, high)
    if not tail or low is None or high is None:
        return seconds(value)
    return f"{seconds(value, max(high - value, value - low))} {tail}"


def byte_count(value: float) -> str:
    """Returns bytes with a binary prefix, e.g. "1.50 MiB"; whole bytes below 1 KiB."""
    if special := word(value):
        return special
    if abs(value) < 1024:
        return f"{value:.0f} B"
    # 1023.99 KiB would print as 1024 KiB with three digits, hence the half-step.
    scale, unit = next(step for step in _BYTES if abs(value) >= step[0] * (1 - 5e-4))
    scaled = value / scale
    return f"{scaled:.0f} {unit}" if abs(scaled) >= 100 else f"{significant(scaled)} {unit}"


def multiple(value: float) -> str:
    """Returns how many times, e.g. "3.00x"."""
    if special := word(value):
        return special
    return f"{value:.2f}x" if abs(value) < 100 else f"{value:,.0f}x"


def ulp_number(value: float) -> str:
    """Returns an error in ulp without its unit: "0.5", "12", "3.1×10⁴"."""
    if special := word(value):
        return special
    if 0 < value < 0.05:
        return "<0.1"
    if value < 9.95:
        return f"{value:.1f}"
    return f"{value:.0f}" if value < 9999.5 else power_of_ten(value)


def ulps(value: float) -> str:
    """Returns an error with its unit, e.g. "0.5 ulp"; a non-finite error is its word alone."""
    return word(value) or f"{ulp_number(value)} ulp"


def count(value: float) -> str:
    """Returns a count with thousands separators, e.g. "24,000"."""
    return word(value) or f"{value:,.0f}"


def counted(value: int, noun: str, plural: str = "") -> str:
    """Returns a count with its noun in the right number, e.g. "1 case", "12 cases"."""
    return f"{count(value)} {noun if value == 1 else plural or noun + 's'}"


def percentage(share: float) -> str:
    """Returns a share (1 is everything) in percent, e.g. "12 %"; a small one keeps a digit."""
    if special := word(share):
        return special
    percent = 100 * share
    return f"{percent:.1f} %" if 0 < abs(percent) < 9.95 else f"{percent:.0f} %"


def rate(value: float, unit: str = "elements/s") -> str:
    """Returns a rate with its SI prefix, e.g. "1.20 G elements/s"."""
    if special := word(value):
        return special
    rounded = float(f"{value:.{_DIGITS - 1}e}")
    scale, prefix = next((step for step in _RATES if abs(rounded) >= step[0]), _RATES[-1])
    return " ".join(part for part in (significant(rounded / scale), prefix, unit) if part)


def bandwidth(value: float) -> str:
    """Returns bytes per second with a binary prefix, e.g. "9.30 GiB/s"."""
    return word(value) or f"{byte_count(value)}/s"


def duration(value: float) -> str:
    """Returns a wall-clock span as mm:ss, h:mm:ss from an hour on."""
    if special := word(value):
        return special
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def threshold(value: float) -> str:
    """Returns the value at which something begins, to the quarter below 1,000 and whole to a million."""
    if 1000 <= value < 1e6:
        return count(value)
    return number(value, 5) if abs(value) < 1000 else number(value)


def tick(value: float) -> str:
    """Returns a positive axis label: "0.1" to "500" in full, then "10³", "2×10³"."""
    if 0.1 <= value < 1000:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return power if mantissa == "1" else f"{mantissa}×{power}"
