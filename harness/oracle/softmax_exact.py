"""The softmax family on Arb balls: class losses, probabilities and complements of one stored row.

The same quantities as `harness.oracle.softmax`, by the same rules for infinite logits
(`softmax.limits`), at the working precision of the caller: l_c = log1p(S1) + (x_a - x_c),
p_c = e_c / (1 + S1), 1 - p_c from the sum of the others at the maximum. A ball proves itself, so
these forms are chosen for narrow balls and not for trust: by the plain definition a row with logits of
1e308 takes more than 2000 bits (both are compared in the tests).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flint import arb


@dataclass(frozen=True)
class ExactRow:
    """Shared balls of one row: powers e_c, their sum S1 without the maximum's, and the maximum's place."""

    logits: Sequence[float]
    powers: Sequence[Any]
    others: Any
    top: int

    def loss(self, column: int) -> Any:
        """Returns l_c; +inf for a masked class, NaN in an undefined row."""
        top, own = self.logits[self.top], self.logits[column]
        if column == self.top or (math.isinf(top) and top == own):
            return self.others.log1p()
        if math.isinf(top) or math.isinf(own):
            # One +inf logit leaves every other class behind by inf; an undefined row stays NaN.
            return self.others + arb("+inf")
        return self.others.log1p() + (arb(top) - arb(own))

    def probability(self, column: int) -> Any:
        """Returns p_c."""
        return self.powers[column] / (1 + self.others)

    def complement(self, column: int) -> Any:
        """Returns 1 - p_c without cancellation at the maximum."""
        without = self.others if column == self.top else 1 + self.others - self.powers[column]
        return without / (1 + self.others)


def exact_row(logits: Sequence[float]) -> ExactRow:
    """Returns the balls of one row of stored logits; all NaN where the row is undefined."""
    top = max(range(len(logits)), key=lambda c: logits[c])
    largest = logits[top]
    infinite = sum(value == math.inf for value in logits)
    if any(math.isnan(value) for value in logits) or largest == -math.inf or infinite > 1:
        undefined = arb("nan")
        return ExactRow(logits, [undefined] * len(logits), undefined, top)
    if infinite:
        return ExactRow(logits, [arb(int(c == top)) for c in range(len(logits))], arb(0), top)
    anchor = arb(largest)
    powers = [arb(0) if value == -math.inf else (arb(value) - anchor).exp() for value in logits]
    return ExactRow(logits, powers, sum((e for c, e in enumerate(powers) if c != top), arb(0)), top)
