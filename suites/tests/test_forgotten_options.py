"""Every option of every family is asked: whoever forgets one is found by a variant that gives it.

The fault is planted in a clean control, which takes the option and does not use it. The trap: an option that
no variant gives another value than the neutral one would pass here for want of a question, so it fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness import Implementation, Suite
from harness.block import OpenBlock
from harness.calling import admission
from harness.discovery import Selection, discover
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.trial import Case

CONTROL = "exact_gradient"
SUITES = discover(Selection()).suites
# The same variance in another shape: whoever broadcasts by himself may forget it.
HARMLESS = {("gaussian_nll", "one_variance")}
# What the controls take and the family calls an option; how it is reduced is an option like any other.
OPTIONS = [
    (name, option)
    for name, suite in SUITES.items()
    for option in suite.options
    if option in inspect.signature(suite.implementation(CONTROL).function).parameters
    and (name, option) not in HARMLESS
]


def forgetting(function: Callable[..., Any], option: str, neutral: Any) -> Callable[..., Any]:
    """The function with one option at its neutral value, whatever is asked."""

    def planted(*tensors: torch.Tensor, **options: Any) -> torch.Tensor:
        return function(*tensors, **{**options, option: neutral})

    planted.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return planted


def findings(suite: Suite, variant: str) -> set[str]:
    """The kinds above note of the planted form under a variant, in the regimes until one shows it."""
    for regime in suite.regimes:
        shape = regime.shape(suite.shapes.usual)
        case = Case(suite.name, variant, regime.name, "float32", "cpu", *shape, 1)
        if admission(suite, suite.implementation("planted"), case) is not None:
            continue
        with one_thread():
            found = accuracy(OpenBlock(suite, case, 0), "planted").findings
        if kinds := {f.kind for f in found if f.severity == "error"}:
            return kinds
    return set()


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_whoever_forgets_an_option_is_found(name: str, option: str) -> None:
    suite = SUITES[name]
    control, neutral = suite.implementation(CONTROL), suite.options[option]
    planted = Implementation(
        forgetting(control.function, option, neutral), name="planted", contract=control.contract
    )
    asked = suite.extended(planted)
    giving = [v.name for v in suite.variants if option in v.options]
    assert giving, f"no variant of {name} gives {option}"
    assert any(findings(asked, variant) for variant in giving), f"{giving} do not see that {option} is lost"
