"""The certified truth of a witness in words: "0x1.8p-3 ± 2^-118 (Arb, 128 bit)".

A ball is stored as middle + tail ± radius in hex text (`Ball.as_json`). The radius is shown as the
next power of two above, so what is shown encloses at least as much as what was proved. The trap: an
older run has no ball and a suite without an exact form has none either; silence would look like a
proof, so both are called uncertified.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_UNENCLOSED = {
    "zero": "0",
    "beyond_float64": "finite, above the largest float64",
    "undefined": "undefined",
}


def exact_words(witness: Mapping[str, Any]) -> str:
    """Returns "exact ... ± ... (who says so)", "" for a witness that has no truth."""
    ball, truth = witness.get("ball"), witness.get("truth", witness.get("exact"))
    if isinstance(ball, Mapping):
        return f"exact {_enclosed(ball)} ({_source(ball)})"
    if truth is None:
        return ""
    why = str(ball) if ball else "uncertified"
    return f"exact {short_hex(str(truth))} ({why})"


def got_words(witness: Mapping[str, Any]) -> str:
    """Returns what came back and where, "got 0x1.f8p-9 at logits[19, 4]", "" without an answer."""
    got = witness.get("got")
    if got is None:
        return ""
    place = ", ".join(map(str, witness.get("place") or ()))
    where = f"{witness.get('tensor', '')}{f'[{place}]' if place else ''}"
    return f"got {short_hex(str(got))}{f' at {where}' if where else ''}"


def short_hex(text: str) -> str:
    """Returns a hex float without the zeros that end its digits; other text as it is."""
    digits, mark, exponent = text.partition("p")
    if not mark or "." not in digits:
        return text
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}"


def _enclosed(ball: Mapping[str, Any]) -> str:
    kind, middle = str(ball.get("kind")), str(ball.get("middle"))
    if kind != "enclosed":
        return _UNENCLOSED.get(kind, middle.replace("inf", "infinite"))
    tail, radius = (_number(ball.get(name)) for name in ("tail", "radius"))
    parts = [short_hex(middle)]
    if tail:
        parts += ["-" if tail < 0 else "+", short_hex(abs(tail).hex())]
    return " ".join([*parts, *(("±", _power_above(radius)) if radius else ())])


def _source(ball: Mapping[str, Any]) -> str:
    tier = str(ball.get("tier"))
    return f"Arb, {ball.get('precision')} bit" if tier == "B2" else f"{tier}, not certified by Arb"


def _number(text: object) -> float:
    try:
        return float.fromhex(str(text))
    except (ValueError, OverflowError):
        return math.nan


def _power_above(radius: float) -> str:
    """Returns the smallest power of two that is not below a radius."""
    if not math.isfinite(radius):
        return "an unknown radius"
    mantissa, exponent = math.frexp(radius)
    return f"2^{exponent - 1 if mantissa == 0.5 else exponent}"
