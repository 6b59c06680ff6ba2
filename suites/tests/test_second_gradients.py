"""The gradient of a second input is asked under every reduction and with every option that it depends on.

The fault is planted in a clean control and in this gradient alone: the loss and the gradient of the first
input stay right. The trap: a gradient that is asked under the mean alone may be divided by the rows under
the sum as well, and one that is asked without weights may forget them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Implementation, Suite
from harness.block import OpenBlock
from harness.calling import admission
from harness.known import annotated
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.results import Finding, Result
from harness.trial import Case, Trial
from suites.binary_cross_entropy import SUITE as BINARY
from suites.binary_cross_entropy_with_logits import SUITE as BINARY_WITH_LOGITS
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.huber import SUITE as HUBER
from suites.kl_div import SUITE as DIVERGENCE
from suites.l1 import SUITE as L1
from suites.mse import SUITE as MSE
from suites.poisson_nll import SUITE as POISSON
from suites.smooth_l1 import SUITE as SMOOTH_L1

SECOND = "target"
EVERY = ({"reduction": "mean"}, {"reduction": "sum"}, {"reduction": "none"})
# Under which options the slope by the target is shrunk, a fault each: all that decide how it is computed.
SHRUNK_UNDER: dict[str, tuple[Suite, tuple[Mapping[str, Any], ...]]] = {
    "kl_div": (
        DIVERGENCE,
        (
            *({**options, "log_target": False} for options in EVERY),
            *({**options, "log_target": True} for options in EVERY),
            {"reduction": "mean", "mean_over": "elements"},
        ),
    ),
    "binary_cross_entropy": (BINARY, EVERY),
    "binary_cross_entropy_with_logits": (BINARY_WITH_LOGITS, EVERY),
    "poisson_nll": (POISSON, (*EVERY, {"log_input": False})),
    "cross_entropy": (CROSS_ENTROPY, EVERY),
    "l1": (L1, EVERY),
    "mse": (MSE, EVERY),
    "huber": (HUBER, EVERY),
    "smooth_l1": (SMOOTH_L1, EVERY),
}
# Which options it depends on, each forgotten under one reduction.
FORGOTTEN_UNDER = {
    ("binary_cross_entropy", "weight"): ("mean", "sum", "none"),
    ("binary_cross_entropy_with_logits", "weight"): ("mean", "sum", "none"),
    ("binary_cross_entropy_with_logits", "pos_weight"): ("mean", "sum", "none"),
    ("poisson_nll", "full"): ("mean",),
    ("poisson_nll", "eps"): ("mean",),
    ("cross_entropy", "weight"): ("mean", "sum"),
    ("cross_entropy", "label_smoothing"): ("none",),
    ("l1", "weight"): ("mean", "sum", "none"),
    ("mse", "weight"): ("mean", "sum", "none"),
    ("huber", "weight"): ("mean", "sum", "none"),
    ("huber", "delta"): ("mean",),
    ("smooth_l1", "beta"): ("mean",),
}
SHRUNK = [
    pytest.param(suite, options, id="-".join([name, *(f"{key}_{value}" for key, value in options.items())]))
    for name, (suite, questions) in SHRUNK_UNDER.items()
    for options in questions
]
FORGOTTEN = [
    pytest.param(SHRUNK_UNDER[name][0], option, reduction, id=f"{name}-{option}-{reduction}")
    for (name, option), reductions in FORGOTTEN_UNDER.items()
    for reduction in reductions
]
FAMILIES = [pytest.param(suite, id=name) for name, (suite, _) in SHRUNK_UNDER.items()]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread() -> Iterator[None]:
    with one_thread():
        yield


def planted(
    suite: Suite, faulty: Callable[[Callable[..., Tensor], tuple[Tensor, ...], dict[str, Any]], Tensor]
) -> Suite:
    """The suite with a form that is right, whose slope by the last input is that of another function."""
    # The clean controls of cross-entropy take labels alone.
    control = suite.implementation("native" if suite is CROSS_ENTROPY else "exact_gradient")

    def right_but_for_its_last_slope(*tensors: Tensor, **options: Any) -> Tensor:
        *first, second = tensors
        right = control.function(*first, second.detach(), **options)
        slope = faulty(control.function, (*(t.detach() for t in first), second), options)
        return right + (slope - slope.detach())

    signature = inspect.signature(control.function)
    right_but_for_its_last_slope.__signature__ = signature  # type: ignore[attr-defined]
    item = Implementation(right_but_for_its_last_slope, name="planted", contract=control.contract)
    return suite.extended(item)


def found(suite: Suite, name: str, variant: str) -> list[Finding]:
    """What accuracy finds above note in the first regime of a family, without what a Known entry lists."""
    regime = suite.regimes[0]
    case = Case(suite.name, variant, regime.name, "float32", "cpu", *regime.shape(suite.shapes.usual), 1)
    if admission(suite, suite.implementation(name), case) is not None:
        return []
    answer = accuracy(OpenBlock(suite, case, 0), name)
    assert answer.status == "ok", answer.reason
    result = Result(Trial(case, name), "accuracy", answer.status, answer.reason, answer.findings)
    told = annotated(result, suite.implementation(name), torch.__version__)
    return [f for f in told.findings if f.severity != "note" and not f.known]


def blamed(suite: Suite) -> dict[str, set[str]]:
    """The tensors whose gradient the planted form has wrong, of every variant that finds one."""
    wrong = {
        v.name: {f.group.partition("/")[0] for f in found(suite, "planted", v.name) if f.severity == "error"}
        for v in suite.variants
    }
    return {variant: groups for variant, groups in wrong.items() if groups}


@pytest.mark.parametrize(("suite", "broken"), SHRUNK)
def test_a_second_gradient_divided_by_the_rows_under_some_options_is_found(
    suite: Suite, broken: Mapping[str, Any]
) -> None:
    def divided(
        function: Callable[..., Tensor], tensors: tuple[Tensor, ...], options: dict[str, Any]
    ) -> Tensor:
        given = {**suite.options, **options}
        hit = all(given[key] == value for key, value in broken.items())
        return function(*tensors, **options) / (len(tensors[0]) if hit else 1)

    wrong = blamed(planted(suite, divided))
    assert wrong, f"no variant of {suite.name} asks the slope by the target under {broken}"
    assert set().union(*wrong.values()) == {SECOND}
    for variant in wrong:
        given = {**suite.options, **suite.variant(variant).options}
        assert broken.items() <= given.items()


@pytest.mark.parametrize(("suite", "option", "broken"), FORGOTTEN)
def test_a_second_gradient_that_forgets_an_option_under_one_reduction_is_found(
    suite: Suite, option: str, broken: str
) -> None:
    def without(
        function: Callable[..., Tensor], tensors: tuple[Tensor, ...], options: dict[str, Any]
    ) -> Tensor:
        hit = options.get("reduction", "mean") == broken
        return function(*tensors, **{**options, option: suite.options[option]} if hit else options)

    wrong = blamed(planted(suite, without))
    assert wrong, f"no variant of {suite.name} asks the slope by the target with {option} under {broken}"
    assert set().union(*wrong.values()) == {SECOND}


@pytest.mark.parametrize("suite", FAMILIES)
def test_native_and_the_form_without_a_fault_have_no_unlisted_finding(suite: Suite) -> None:
    unchanged = planted(suite, lambda function, tensors, options: function(*tensors, **options))
    for variant in unchanged.variants:
        for name in ("native", "planted"):
            assert found(unchanged, name, variant.name) == [], (variant.name, name)


@pytest.mark.parametrize("suite", [DIVERGENCE, BINARY, BINARY_WITH_LOGITS, POISSON], ids=attrgetter("name"))
def test_some_variants_ask_for_the_gradient_of_the_first_input_alone(suite: Suite) -> None:
    # A form that computes only what is asked for takes another path there.
    regime = suite.regimes[0]
    shape = regime.shape(suite.shapes.usual)
    cases = [Case(suite.name, v.name, regime.name, "float32", "cpu", *shape, 1) for v in suite.variants]
    asked = {OpenBlock(suite, case, 0).drawn()[0].gradients[1:] for case in cases}
    assert asked == {(), (SECOND,)}
