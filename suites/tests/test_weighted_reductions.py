"""Weights are asked under every reduction: one that is lost under a single reduction is found there.

The fault is planted in a clean control, which forgets its weight under one reduction and is right under the
others; only the weighted variant of that reduction can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import Tensor

from harness import Implementation, Suite
from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.trial import Case
from suites.huber import SUITE as HUBER
from suites.l1 import SUITE as L1
from suites.mse import SUITE as MSE
from suites.multi_margin import SUITE as MULTI_MARGIN
from suites.multilabel_soft_margin import SUITE as MULTILABEL_SOFT_MARGIN
from suites.nll import SUITE as NLL

SUITES = (MULTI_MARGIN, MULTILABEL_SOFT_MARGIN, L1, MSE, HUBER, NLL)
REDUCTIONS = ("mean", "sum", "none")


def weighted_variants(suite: Suite) -> dict[str, str]:
    """The first weighted variant of each reduction."""
    return {
        v.options.get("reduction", "mean"): v.name
        for v in reversed(suite.variants)
        if v.options.get("weight") is not None
    }


def forgetting(function: Callable[..., Tensor], broken: str) -> Callable[..., Tensor]:
    """The function without its weight under one reduction."""

    def planted(
        *tensors: Tensor, reduction: str = "mean", weight: Tensor | None = None, **rest: object
    ) -> Tensor:
        kept = None if reduction == broken else weight
        return function(*tensors, reduction=reduction, weight=kept, **rest)

    return planted


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("broken", REDUCTIONS)
def test_a_weight_that_one_reduction_forgets_is_found_by_its_variant_alone(suite: Suite, broken: str) -> None:
    control = suite.implementation("exact_gradient")
    planted = Implementation(
        forgetting(control.function, broken), name="planted", contract=control.contract, control=True
    )
    asked = replace(suite, implementations=(control, planted))
    variants = weighted_variants(suite)
    assert set(variants) == set(REDUCTIONS)
    for reduction, variant in variants.items():
        block = OpenBlock(asked, Case(suite.name, variant, "unit_normal", "float32", "cpu", 64, 10, 1), 0)
        found = {
            name: {(f.kind, f.group) for f in accuracy(block, name).findings if f.severity == "error"}
            for name in ("exact_gradient", "planted")
        }
        assert found["exact_gradient"] == set()
        assert (("inaccurate", "loss") in found["planted"]) == (reduction == broken), (variant, found)
