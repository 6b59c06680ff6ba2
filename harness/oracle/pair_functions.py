"""Torch's functions on tensors of pairs, by name: arithmetic, elementary functions, reductions and moves.

Each takes `Doubled`, tensors or numbers and answers `Doubled`, or a plain tensor where the answer is one of
truth values or places. Arithmetic errs by about 2^-100 of its terms, elementary functions by 2^-66
(`harness.oracle.elementary`). The trap: what is not finite has no error terms, so `mended` puts float64's own
answer there; and order decides nothing, sums of a row have the same bits however it is permuted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from harness.oracle import elementary
from harness.oracle.doubled import Doubled, pair_of
from harness.oracle.elementary import mended
from harness.oracle.pair import Pair, minus, order_free_sum, plus, product, ratio

# A MiB of high parts.
HELD_PRODUCTS = 1 << 17


def _made(plain: Tensor, found: Pair) -> Doubled:
    return Doubled(*mended(plain, found))


def _added(a: Any, b: Any, *, alpha: float = 1) -> Doubled:
    if alpha != 1:
        return _added(a, _multiplied(b, alpha))
    one, other = pair_of(a), pair_of(b)
    return _made(one.high + other.high, plus(one, other))


def _subtracted(a: Any, b: Any) -> Doubled:
    one, other = pair_of(a), pair_of(b)
    return _made(one.high - other.high, minus(one, other))


def _multiplied(a: Any, b: Any) -> Doubled:
    one, other = pair_of(a), pair_of(b)
    return _made(one.high * other.high, product(one, other))


def _divided(a: Any, b: Any) -> Doubled:
    one, other = pair_of(a), pair_of(b)
    return _made(one.high / other.high, ratio(one, other))


def _matrix_product(a: Any, b: Any) -> Doubled:
    """Returns a b of matrices (I, K) and (K, J); products of so many terms are held at once."""
    one, other = Doubled(*pair_of(a)), Doubled(*pair_of(b))
    zeros = torch.zeros(len(one.high), other.high.shape[1], dtype=torch.float64)
    total = Doubled(zeros, torch.zeros_like(zeros))
    step = max(1, HELD_PRODUCTS // max(zeros.numel(), 1))
    for start in range(0, len(other.high), step):
        columns, rows = one[:, start : start + step], other[start : start + step]
        terms = _multiplied(columns[:, :, None], rows[None])
        total = _added(total, _summed(terms, 1))
    return total


def _turned(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: function(b, a)


def _raised(base: Any, exponent: Any) -> Doubled:
    if isinstance(exponent, Doubled):
        several = pair_of(exponent)
        powers = Pair(several.high.expand_as(base.high), several.low.expand_as(base.high))
        return Doubled(*elementary.power(pair_of(base), powers))
    return Doubled(*elementary.power(pair_of(base), float(exponent)))


def _less(a: Any, b: Any) -> Tensor:
    one, other = pair_of(a), pair_of(b)
    return (one.high < other.high) | ((one.high == other.high) & (one.low < other.low))


def _same(a: Any, b: Any) -> Tensor:
    one, other = pair_of(a), pair_of(b)
    return (one.high == other.high) & (one.low == other.low)


def _negative(a: Any) -> Doubled:
    return Doubled(-a.high, -a.low)


def _absolute(a: Any) -> Doubled:
    negative = a.high < 0
    return Doubled(a.high.abs(), torch.where(negative, -a.low, a.low))


def _where(condition: Tensor, a: Any, b: Any) -> Doubled:
    one, other = pair_of(a), pair_of(b)
    return Doubled(torch.where(condition, one.high, other.high), torch.where(condition, one.low, other.low))


def _clamped(a: Any, min: Any = None, max: Any = None) -> Doubled:  # noqa: A002 (torch's own names)
    found = a
    if min is not None:
        found = _where(_less(found, min), min, found)
    return found if max is None else _where(_less(max, found), max, found)


def _smaller(a: Any, b: Any) -> Doubled:
    return _where(_less(a, b) | pair_of(a).high.isnan(), a, b)


def _larger(a: Any, b: Any) -> Doubled:
    return _where(_less(b, a) | pair_of(a).high.isnan(), a, b)


def _summed(a: Any, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Doubled:
    if dim is None:
        return _summed(Doubled(a.high.reshape(1, -1), a.low.reshape(1, -1)), 1)[0]
    if isinstance(dim, tuple):
        for axis in sorted((axis % a.high.dim() for axis in dim), reverse=True):
            a = _summed(a, axis, keepdim)
        return Doubled(*pair_of(a))
    high, low = a.high.movedim(dim, -1), a.low.movedim(dim, -1)
    flat = order_free_sum(high.reshape(-1, high.shape[-1]), low.reshape(-1, high.shape[-1]))
    total = Doubled(*(part.reshape(high.shape[:-1]) for part in mended(flat.high, flat)))
    return Doubled(total.high.unsqueeze(dim), total.low.unsqueeze(dim)) if keepdim else total


def _averaged(a: Any, dim: int | None = None, keepdim: bool = False) -> Doubled:
    count = a.high.numel() if dim is None else a.high.shape[dim]
    return _divided(_summed(a, dim, keepdim), count)


def _hypotenuse(a: Any, b: Any) -> Doubled:
    """Returns sqrt(a^2 + b^2) by way of a power of two: squares leave the range long before it does."""
    one, other = pair_of(a), pair_of(b)
    largest = torch.maximum(one.high.abs(), other.high.abs())
    scale = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent - 1)
    squares = (_multiplied(side, side) for side in (_divided(a, scale), _divided(b, scale)))
    root = Doubled(*elementary.root(pair_of(_added(*squares))))
    usable = largest.isfinite() & (largest > 0)
    return _where(usable, _multiplied(root, scale), torch.hypot(one.high, other.high))


def _logistic(a: Any) -> Doubled:
    """Returns 1 / (1 + e^-a), of the smaller power, so that neither tail is lost."""
    power = Doubled(*elementary.exp(pair_of(_negative(_absolute(a)))))
    share = _divided(1.0, _added(1.0, power))
    return _where(a.high > 0, share, _multiplied(power, share))


def _maximum_of(a: Any, *where: Any, **more: Any) -> Any:
    """Returns the largest number of all, or with an axis what `torch.max` returns there."""
    if where or more:
        return _largest(a, *where, **more)
    flat = Doubled(a.high.reshape(-1), a.low.reshape(-1))
    return _largest(flat, 0)[0]


def _largest(a: Any, dim: int, keepdim: bool = False) -> tuple[Doubled, Tensor]:
    _, place = a.high.max(dim, keepdim=True)
    top = Doubled(a.high.gather(dim, place), a.low.gather(dim, place))
    return (top, place) if keepdim else (top.squeeze(dim), place.squeeze(dim))


def _scattered(a: Any, dim: int, index: Tensor, source: Any) -> Doubled:
    one, other = pair_of(a), pair_of(source)
    if other.high.dim() == 0:
        return Doubled(*(p.scatter(dim, index, float(o)) for p, o in zip(one, other, strict=True)))
    return Doubled(*(p.scatter(dim, index, o) for p, o in zip(one, other, strict=True)))


def _scatter_added(a: Any, dim: int, index: Tensor, source: Any) -> Doubled:
    """Adds entry by entry of the scattered axis, so that no two land in one place at once."""
    found, parts = Doubled(*pair_of(a)), pair_of(source)
    for k in range(index.shape[dim]):
        place = index.narrow(dim, k, 1)
        own = Doubled(found.high.gather(dim, place), found.low.gather(dim, place))
        added = _added(own, Doubled(*(part.narrow(dim, k, 1) for part in parts)))
        found = _scattered(found, dim, place, added)
    return found


def _of_both(function: Callable[..., Tensor]) -> Callable[..., Doubled]:
    """Returns a function that moves numbers without changing them, applied to both parts."""

    def applied(a: Any, *args: Any, **kwargs: Any) -> Doubled:
        one = pair_of(a)
        return Doubled(function(one.high, *args, **kwargs), function(one.low, *args, **kwargs))

    return applied


def _of_high(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that only the high part decides."""
    return lambda a, *args, **kwargs: function(a.high, *args, **kwargs)


def _elementary(function: Callable[[Pair], Pair]) -> Callable[..., Doubled]:
    return lambda a: Doubled(*function(pair_of(a)))


def _unbound(a: Any, dim: int = 0) -> tuple[Doubled, ...]:
    return tuple(Doubled(*parts) for parts in zip(a.high.unbind(dim), a.low.unbind(dim), strict=True))


def _joined(function: Callable[..., Tensor]) -> Callable[..., Doubled]:
    def applied(parts: Iterable[Any], *args: Any, **kwargs: Any) -> Doubled:
        pairs = [pair_of(part) for part in parts]
        return Doubled(
            function([p.high for p in pairs], *args, **kwargs),
            function([p.low for p in pairs], *args, **kwargs),
        )

    return applied


def _filled(value: float) -> Callable[..., Doubled]:
    def applied(a: Any, *args: Any, dtype: torch.dtype | None = None) -> Any:
        if dtype is not None and dtype != torch.float64:
            return torch.full(a.high.shape, value, dtype=dtype)
        high = torch.full_like(a.high, value)
        return Doubled(high, torch.zeros_like(high))

    return applied


def _new_zeros(a: Any, *shape: Any) -> Doubled:
    zeros = a.high.new_zeros(*shape)
    return Doubled(zeros, zeros.clone())


def _masked(a: Any, mask: Tensor, value: float) -> Doubled:
    return _where(mask, value, a)


def _in_place(function: Callable[..., Doubled]) -> Callable[..., Doubled]:
    """Returns a function whose result takes the place of its first argument, which is a tensor of pairs."""

    def applied(a: Any, *args: Any, **kwargs: Any) -> Doubled:
        found = function(a, *args, **kwargs)
        if isinstance(a, Doubled):
            return a.become(found)
        # A plain tensor cannot hold the result; whoever goes on with it and not with the result errs.
        return found

    return applied


_PLAIN: dict[str, Callable[..., Any]] = {
    "add": _added,
    "sub": _subtracted,
    "mul": _multiplied,
    "div": _divided,
    "true_divide": _divided,
    "rsub": _turned(_subtracted),
    "pow": _raised,
    "abs": _absolute,
    "neg": _negative,
    "exp": _elementary(elementary.exp),
    "expm1": _elementary(elementary.expm1),
    "log": _elementary(elementary.logarithm),
    "log1p": _elementary(elementary.log1p),
    "sqrt": _elementary(elementary.root),
    "square": lambda a: _multiplied(a, a),
    "reciprocal": lambda a: _divided(1.0, a),
    "sigmoid": _logistic,
    "hypot": _hypotenuse,
    "relu": lambda a: _clamped(a, min=0.0),
    "clamp": _clamped,
    "minimum": _smaller,
    "maximum": _larger,
    "where": _where,
    "sum": _summed,
    "mean": _averaged,
    "max": _maximum_of,
    "scatter": _scattered,
    "scatter_add": _scatter_added,
    "masked_fill": _masked,
}
OPERATIONS: dict[str, Callable[..., Any]] = {
    **_PLAIN,
    **{f"{name}_": _in_place(function) for name, function in _PLAIN.items()},
    "matmul": _matrix_product,
    "mm": _matrix_product,
    "lt": _less,
    "gt": _turned(_less),
    "le": lambda a, b: _less(a, b) | _same(a, b),
    "ge": lambda a, b: _less(b, a) | _same(a, b),
    "eq": _same,
    "ne": lambda a, b: ~_same(a, b),
    "amin": lambda a, dim, keepdim=False: _negative(_largest(_negative(a), dim, keepdim)[0]),
    "amax": lambda a, dim, keepdim=False: _largest(a, dim, keepdim)[0],
    "sign": _of_high(torch.sign),
    "isnan": _of_high(torch.isnan),
    "isinf": _of_high(torch.isinf),
    "isfinite": _of_high(torch.isfinite),
    "isposinf": _of_high(torch.isposinf),
    "isneginf": _of_high(torch.isneginf),
    "frexp": _of_high(torch.frexp),
    "long": _of_high(Tensor.long),
    "new_zeros": _new_zeros,
    "clone": _of_both(torch.clone),
    "ldexp": _of_both(torch.ldexp),
    "t": _of_both(torch.t),
    "gather": _of_both(torch.gather),
    "unbind": lambda a, dim=0: tuple(
        Doubled(*parts) for parts in zip(*(p.unbind(dim) for p in pair_of(a)), strict=True)
    ),
    "squeeze": _of_both(torch.squeeze),
    "unsqueeze": _of_both(torch.unsqueeze),
    "reshape": _of_both(torch.reshape),
    "flip": _of_both(torch.flip),
    "roll": _of_both(torch.roll),
    "transpose": _of_both(torch.transpose),
    "permute": _of_both(Tensor.permute),
    "flatten": _of_both(torch.flatten),
    "narrow": _of_both(torch.narrow),
    "index_select": _of_both(torch.index_select),
    "contiguous": _of_both(Tensor.contiguous),
    "expand": _of_both(Tensor.expand),
    "expand_as": lambda a, other: a.expand(other.shape),
    "double": lambda a: a,
    "stack": _joined(torch.stack),
    "cat": _joined(torch.cat),
    "zeros_like": _filled(0.0),
    "ones_like": _filled(1.0),
}
# Python's operators are the same functions; reflected ones turn their arguments around.
for _name, _function in (
    ("add", _added),
    ("sub", _subtracted),
    ("mul", _multiplied),
    ("truediv", _divided),
    ("pow", _raised),
    ("matmul", _matrix_product),
):
    OPERATIONS[f"__{_name}__"] = _function
    OPERATIONS[f"__r{_name}__"] = _turned(_function)
    OPERATIONS[f"__i{_name}__"] = _in_place(_function)
OPERATIONS["__rdiv__"] = _turned(_divided)
OPERATIONS |= {f"__{name}__": OPERATIONS[name] for name in ("lt", "gt", "le", "ge", "eq", "ne", "neg", "abs")}
