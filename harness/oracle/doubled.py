"""Tensors in twice the digits of float64: a closed form written for tensors answers in tier B1 as it is.

A `Doubled` holds an unevaluated sum high + low (`harness.oracle.pair`) and takes part in torch's own
operators and functions (`harness.oracle.pair_functions`, by the `__torch_function__` protocol), so `terms`,
`rows`, `gradient` and `kinks` of a family run on it unchanged: comparisons and shapes answer plain tensors,
arithmetic answers `Doubled`. Only what families need exists; anything else raises SuiteError with the
operation's name. The trap: a constant that float64 does not hold (pi, 1/3) is off by 2^-54 unless it is made
here (`pi_like`, `ratio_like`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from harness.errors import SuiteError
from harness.oracle.pair import Pair, lifted

# Arb's pi in two parts.
PI = (3.141592653589793, 1.2246467991473532e-16)


ATTRIBUTES = frozenset(
    {"shape", "dtype", "device", "ndim", "dim", "numel", "size", "is_cpu", "is_floating_point"}
)
# Python's operators; the names of tensors' own methods.
_ARITHMETIC = ("add", "sub", "mul", "truediv", "pow", "matmul")
_PLAIN = ("lt", "gt", "le", "ge", "eq", "ne", "neg", "abs")
OPERATORS = tuple(
    f"__{name}__" for name in (*_PLAIN, *(f"{side}{name}" for name in _ARITHMETIC for side in ("", "r", "i")))
)


class Doubled:
    """Numbers high + low of one shape; in-place methods replace both parts and return the object.

    `low` is 0 where `high` is not finite. Equal numbers compare equal: both parts are normalised.
    """

    __slots__ = ("high", "low")

    def __init__(self, high: Tensor, low: Tensor) -> None:
        self.high = high
        self.low = low

    @property
    def T(self) -> Doubled:  # noqa: N802 (a tensor's own name)
        """Rows as columns."""
        return Doubled(self.high.T, self.low.T)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answers a torch function that was called with at least one `Doubled`."""
        name = getattr(function, "__name__", str(function))
        operations = _operations()
        found = operations.get(name)
        if found is None:
            known = ", ".join(sorted(name for name in operations if "_" not in (name[0], name[-1])))
            raise SuiteError(
                f"torch.{name}(...) has no form in pairs of float64, which tier B1 needs; write the formula "
                f"with {known}, or declare ClosedForm(in_pairs=False), and float64 is judged by float64."
            )
        return found(*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name in ATTRIBUTES:
            return getattr(self.high, name)
        found = _operations().get(name)
        if found is None:
            raise AttributeError(f"a tensor of pairs has no {name!r}")
        return lambda *args, **kwargs: found(self, *args, **kwargs)

    def __float__(self) -> float:
        return float(self.high)

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, place: Any) -> Doubled:
        return Doubled(self.high[place], self.low[place])

    def __setitem__(self, place: Any, values: Any) -> None:
        # Into copies: the parts may be the stored numbers of a sample.
        high, low = self.high.clone(), self.low.clone()
        high[place], low[place] = pair_of(values)
        self.high, self.low = high, low

    def become(self, found: Doubled) -> Doubled:
        """Takes the place of another's numbers and returns itself."""
        self.high, self.low = found.high, found.low
        return self

    __hash__ = None  # type: ignore[assignment]


def _operations() -> Mapping[str, Callable[..., Any]]:
    # The functions make `Doubled` themselves.
    from harness.oracle.pair_functions import OPERATIONS

    return OPERATIONS


def _operator(name: str) -> Callable[..., Any]:
    return lambda *operands: _operations()[name](*operands)


for _name in OPERATORS:
    setattr(Doubled, _name, _operator(_name))


def of_parts(high: Tensor, low: Tensor) -> Tensor:
    """Returns high + low as `Doubled`, typed as the tensor that it stands for."""
    return cast("Tensor", Doubled(high, low))


def doubled(values: Tensor) -> Tensor:
    """Returns stored numbers as `Doubled`, without low parts."""
    return of_parts(values, torch.zeros_like(values))


def pair_of(values: Any) -> Pair:
    """Returns the parts of a `Doubled`, or of a tensor or number that has no low part."""
    if isinstance(values, Doubled):
        return Pair(values.high, values.low)
    high = values if isinstance(values, Tensor) else torch.tensor(float(values), dtype=torch.float64)
    return lifted(high.double())


def leading(values: Tensor) -> Tensor:
    """Returns the float64 next to every number: for a first guess, which has no second digit to lose."""
    return values.high if isinstance(values, Doubled) else values


def pi_like(values: Tensor) -> Any:
    """Returns pi in the digits of `values`: a float for a tensor, a pair for `Doubled`."""
    if not isinstance(values, Doubled):
        return PI[0]
    return Doubled(*(torch.tensor(part, dtype=torch.float64) for part in PI))


def ratio_like(values: Tensor, numerator: float, denominator: float) -> Any:
    """Returns numerator / denominator in the digits of `values`."""
    if not isinstance(values, Doubled):
        return numerator / denominator
    return doubled(torch.tensor(numerator, dtype=torch.float64)) / denominator
