"""The variants that families have alike: one set of options under every reduction.

The trap: none, sum and mean hand a loss different upstream gradients and other sums to round, so an option
that is asked under the mean alone has not been asked under the other two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Generator

from harness import Sample, Variant

Adapt = Callable[[Sample, Any, Generator], Sample]


def reductions(adapt: Adapt | None = None) -> tuple[Variant, ...]:
    """Returns the variants mean, sum and none, each with the same change of the sample."""
    return (
        Variant("mean", adapt=adapt),
        Variant("sum", reduction="sum", adapt=adapt),
        Variant("none", reduction="none", adapt=adapt),
    )


def under_reductions(name: str, adapt: Adapt | None = None, **options: object) -> tuple[Variant, ...]:
    """Returns the variants NAME, NAME_sum and NAME_none: the same options under each reduction."""
    return (
        Variant(name, adapt=adapt, **options),
        Variant(f"{name}_sum", adapt=adapt, **options, reduction="sum"),
        Variant(f"{name}_none", adapt=adapt, **options, reduction="none"),
    )
