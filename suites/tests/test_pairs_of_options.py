"""Every pair of options that a class loss takes is asked of every form that takes it; what only pairs find.

The level of every option is read off what a variant gives and draws, never off its name: reduction, weight,
ignore_index, smoothing, kind of target, layout and so on. Every new pair has a fault of its own, a form
right but where these options meet; the variant that has them finds it, and no other does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import Suite
from harness.block import OpenBlock
from harness.calling import admission
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.sample import Sample
from harness.sweep import Sweep, planned
from harness.trial import Case
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.linear_cross_entropy import SUITE as LINEAR
from suites.multi_margin import SUITE as MULTI_MARGIN
from suites.nll import SUITE as NLL

SUITES = {suite.name: suite for suite in (CROSS_ENTROPY, NLL, MULTI_MARGIN, LINEAR)}
Level = tuple[str, str]
Pair = frozenset[Level]

# What a factor is, given the options of a variant and the sample that it makes.
FACTORS: Mapping[str, Callable[[Mapping[str, object], Sample], str]] = {
    "reduction": lambda options, sample: str(options["reduction"]),
    "weight": lambda options, sample: "none" if options["weight"] is None else "given",
    "ignore_index": lambda options, sample: "none" if options["ignore_index"] == -100 else "given",
    "label_smoothing": lambda options, sample: "given" if options["label_smoothing"] else "none",
    "target": lambda options, sample: "soft" if sample["target"].is_floating_point() else "label",
    "layout": lambda options, sample: sample.layout,
    "p": lambda options, sample: str(options["p"]),
    "margin": lambda options, sample: str(options["margin"]),
    "bias": lambda options, sample: "given" if "linear_bias" in sample else "none",
}
TAKEN = {
    "cross_entropy": ("reduction", "weight", "ignore_index", "label_smoothing", "target", "layout"),
    "nll": ("reduction", "weight", "ignore_index", "layout"),
    "multi_margin": ("reduction", "weight", "p", "margin"),
    "linear_cross_entropy": ("reduction", "weight", "ignore_index", "label_smoothing", "bias"),
}
# An ignore_index names a label: torch refuses one from 0 on beside probabilities and overlooks any other.
IMPOSSIBLE = {frozenset({("ignore_index", "given"), ("target", "soft")})}


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def case_of(suite: Suite, variant: str) -> Case:
    regime = suite.regimes[0].name
    return Case(suite.name, variant, regime, "float64", "cpu", *suite.shapes.usual, 1)


@cache
def levels(suite_name: str, variant: str) -> frozenset[Level]:
    """The level of every factor under a variant."""
    suite = SUITES[suite_name]
    sample, options = draw(case_of(suite, variant), suite, seed=0)
    return frozenset((name, FACTORS[name](options, sample)) for name in TAKEN[suite_name])


def pairs(of: frozenset[Level]) -> set[Pair]:
    return {frozenset(pair) for pair in combinations(of, 2)}


def every_pair(suite_name: str, variants: set[str]) -> set[Pair]:
    """Every two levels of two factors that these variants know, met or not."""
    known = set().union(*(levels(suite_name, variant) for variant in variants))
    return {frozenset({a, b}) for a, b in combinations(known, 2) if a[0] != b[0]} - IMPOSSIBLE


def missing(suite_name: str, variants: set[str]) -> set[Pair]:
    return every_pair(suite_name, variants) - set().union(*(pairs(levels(suite_name, v)) for v in variants))


@cache
def planned_variants(suite_name: str) -> Mapping[str, set[str]]:
    """The variants of which the quick profile asks each implementation for its accuracy."""
    suite = SUITES[suite_name]
    found: dict[str, set[str]] = {}
    for block in planned(Sweep(devices=("cpu",)), {suite_name: suite}).blocks:
        for name, probes in block.probes.items():
            if "accuracy" in probes:
                found.setdefault(name, set()).add(block.case.variant)
    return found


def written(pair: Pair) -> str:
    return " and ".join(f"{name}={level}" for name, level in sorted(pair))


NAMED = [
    pytest.param(name, pair, id=f"{name}: {written(pair)}")
    for name, suite in SUITES.items()
    for pair in sorted(every_pair(name, {v.name for v in suite.variants}), key=written)
]
FORMS = [
    pytest.param(name, item.name, id=f"{name}/{item.name}")
    for name, suite in SUITES.items()
    for item in suite.implementations
    if not item.known_bad
]


@pytest.mark.parametrize(("suite", "pair"), NAMED)
def test_native_is_asked_this_pair(suite, pair):
    assert any(pair <= levels(suite, variant) for variant in planned_variants(suite)["native"])


@pytest.mark.parametrize(("suite", "form"), FORMS)
def test_a_form_is_asked_every_pair_of_what_it_takes(suite, form):
    asked = planned_variants(suite)[form]
    assert sorted(map(written, missing(suite, asked))) == []


def test_an_ignore_index_beside_probabilities_is_no_pair():
    logits, soft = torch.zeros(2, 3), torch.full((2, 3), 1 / 3)
    with pytest.raises(RuntimeError, match="ignore_index is not supported"):
        F.cross_entropy(logits, soft, ignore_index=0)
    assert torch.equal(F.cross_entropy(logits, soft, ignore_index=-1), F.cross_entropy(logits, soft))


Strike = Callable[..., Tensor]


def counting(function: Strike, first: Tensor, target: Tensor, **options: object) -> Tensor:
    """What is ignored counts as class 0."""
    ignored = options.pop("ignore_index", -100)
    return function(first, torch.where(target == ignored, 0, target), **options)


def without(option: str) -> Strike:
    """One option is forgotten."""

    def struck(function: Strike, *tensors: Tensor, **options: object) -> Tensor:
        return function(*tensors, **{name: value for name, value in options.items() if name != option})

    return struck


def over_images(function: Strike, first: Tensor, target: Tensor, **options: object) -> Tensor:
    """The mean over pixels divides by the images alone."""
    return function(first, target, **{**options, "reduction": "sum"}) / len(first)


def over_all_pixels(function: Strike, first: Tensor, target: Tensor, **options: object) -> Tensor:
    """The sum over the pixels that count, divided by the weights of all."""
    weights = options["weight"][torch.where(target == options["ignore_index"], 0, target)]
    return function(first, target, **{**options, "reduction": "sum"}) / weights.sum()


def over_all_rows(function: Strike, first: Tensor, target: Tensor, **options: object) -> Tensor:
    """The sum over the rows that count, divided by all rows."""
    return function(first, target, **{**options, "reduction": "sum"}) / len(target)


def without_its_bias(function: Strike, *tensors: Tensor, **options: object) -> Tensor:
    """The bias is left out."""
    return function(*tensors[:3], **options)


def counting_projected(
    function: Strike, hidden: Tensor, weights: Tensor, target: Tensor, *bias: Tensor, **options: object
) -> Tensor:
    """What is ignored counts as class 0."""
    ignored = options.pop("ignore_index", -100)
    return function(hidden, weights, torch.where(target == ignored, 0, target), *bias, **options)


@dataclass(frozen=True)
class Fault:
    """A form of a suite that goes wrong only where `met` says so, and the one variant that finds it."""

    suite: str
    variant: str
    met: Mapping[str, str]
    strike: Strike

    @property
    def planted(self) -> Suite:
        """The suite with the faulty form beside its own."""
        suite, factors = SUITES[self.suite], [FACTORS[name] for name in self.met]
        right = suite.implementation("native")
        names = list(draw(case_of(suite, self.variant), suite, seed=0)[0])

        def faulty(*tensors: Tensor, **options: object) -> Tensor:
            given = dict(zip(names, tensors, strict=False))
            layout = "nchw" if tensors[0].dim() == 4 else "rows"
            sample = Sample(layout=layout, gradients=(), **{n: t.detach() for n, t in given.items()})
            found = [factor({**suite.options, **options}, sample) for factor in factors]
            struck = found == list(self.met.values())
            if not struck:
                return right.function(*tensors, **options)
            return self.strike(right.function, *tensors, **options)

        return suite.extended(replace(right, function=faulty, name="planted", baseline=False, known=()))


NOTHING, GIVEN, LABEL, SOFT = "none", "given", "label", "soft"
FAULTS = (
    Fault(
        "cross_entropy",
        "weighted_ignored_sum",
        {"reduction": "sum", "ignore_index": GIVEN, "weight": GIVEN},
        counting,
    ),
    Fault("cross_entropy", "weighted_ignored_none", {"reduction": "none", "ignore_index": GIVEN}, counting),
    Fault("cross_entropy", "images_ignored_sum", {"layout": "nchw", "reduction": "sum"}, counting),
    Fault(
        "cross_entropy",
        "images_weighted_none",
        {"layout": "nchw", "reduction": "none"},
        without("weight"),
    ),
    Fault(
        "cross_entropy",
        "images_weighted_ignored",
        {"layout": "nchw", "reduction": "mean", "ignore_index": GIVEN},
        over_all_pixels,
    ),
    Fault("cross_entropy", "images_smoothed_none", {"layout": "nchw"}, without("label_smoothing")),
    Fault("cross_entropy", "images_weighted_probability", {"layout": "nchw", "target": SOFT}, over_images),
    Fault("cross_entropy", "smoothed_probability_none", {"target": SOFT}, without("label_smoothing")),
    Fault(
        "cross_entropy",
        "weighted_probability_sum",
        {"target": SOFT, "reduction": "sum"},
        without("weight"),
    ),
    Fault(
        "cross_entropy",
        "smoothed_ignored",
        {"label_smoothing": GIVEN, "ignore_index": GIVEN, "weight": NOTHING},
        over_all_rows,
    ),
    Fault("nll", "weighted_ignored", {"reduction": "mean", "weight": GIVEN, "layout": "rows"}, counting),
    Fault("nll", "weighted_ignored_sum", {"reduction": "sum", "layout": "rows"}, counting),
    Fault("nll", "weighted_ignored_none", {"reduction": "none", "layout": "rows"}, counting),
    Fault("nll", "images_ignored_sum", {"reduction": "sum", "layout": "nchw"}, counting),
    Fault("nll", "images_ignored_none", {"reduction": "none", "layout": "nchw"}, counting),
    Fault("nll", "images_weighted_sum", {"reduction": "sum", "layout": "nchw"}, without("weight")),
    Fault("nll", "images_weighted_none", {"reduction": "none", "layout": "nchw"}, without("weight")),
    Fault(
        "nll",
        "images_weighted_ignored",
        {"reduction": "mean", "layout": "nchw", "ignore_index": GIVEN},
        over_all_pixels,
    ),
    Fault("multi_margin", "weighted", {"reduction": "mean", "p": "1"}, without("weight")),
    Fault("multi_margin", "squared_margin_sum", {"reduction": "sum"}, without("margin")),
    Fault("multi_margin", "squared_margin_sum", {"reduction": "sum"}, without("p")),
    Fault("multi_margin", "weighted_squared_margin_none", {"weight": GIVEN}, without("margin")),
    Fault("multi_margin", "weighted_squared_margin_none", {"reduction": "none"}, without("p")),
    Fault("linear_cross_entropy", "ignored_sum", {"reduction": "sum"}, without_its_bias),
    Fault("linear_cross_entropy", "ignored_sum", {"reduction": "sum"}, counting_projected),
    Fault(
        "linear_cross_entropy",
        "weighted_ignored_none",
        {"weight": GIVEN, "reduction": "none"},
        without_its_bias,
    ),
    Fault(
        "linear_cross_entropy",
        "weighted_ignored_none",
        {"reduction": "none", "label_smoothing": NOTHING},
        counting_projected,
    ),
    Fault("linear_cross_entropy", "smoothed_ignored_none", {"reduction": "none"}, without("label_smoothing")),
)


def errors(suite: Suite, variant: str, name: str) -> set[tuple[str, str]]:
    """What is an error in float64 at the usual shape."""
    answer = accuracy(OpenBlock(suite, case_of(suite, variant), 0), name)
    assert answer.status == "ok", answer.reason
    return {(finding.kind, finding.group) for finding in answer.findings if finding.severity == "error"}


def taken(suite: Suite) -> list[str]:
    native = suite.implementation("native")
    return [v.name for v in suite.variants if admission(suite, native, case_of(suite, v.name)) is None]


@pytest.mark.parametrize("name", SUITES)
def test_native_has_no_error_under_any_variant(name):
    suite = SUITES[name]
    accused = {variant: errors(suite, variant, "native") for variant in taken(suite)}
    assert len(accused) >= len(suite.variants) - 1
    assert {variant: found for variant, found in accused.items() if found} == {}


@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: f"{fault.suite}/{fault.variant}: {fault.strike.__name__}"
)
def test_a_fault_where_options_meet_is_found_by_their_variant_and_by_no_other(fault):
    suite = fault.planted
    found = [variant for variant in taken(suite) if errors(suite, variant, "planted")]
    assert found == [fault.variant]


@pytest.mark.parametrize(("suite", "variant"), sorted({(fault.suite, fault.variant) for fault in FAULTS}))
def test_every_variant_that_a_fault_needs_is_one_of_the_plan(suite, variant):
    assert variant in planned_variants(suite)["native"]


@pytest.mark.parametrize(
    ("suite", "variant", "pair"),
    [
        ("cross_entropy", "images_smoothed_none", {("layout", "nchw"), ("label_smoothing", "given")}),
        ("cross_entropy", "images_weighted_probability", {("layout", "nchw"), ("target", "soft")}),
        ("cross_entropy", "smoothed_probability_none", {("label_smoothing", "given"), ("target", "soft")}),
        ("nll", "images_weighted_ignored", {("layout", "nchw"), ("ignore_index", "given")}),
        ("multi_margin", "weighted_squared_margin_none", {("weight", "given"), ("margin", "0.25")}),
        (
            "linear_cross_entropy",
            "smoothed_ignored_none",
            {("label_smoothing", "given"), ("reduction", "none")},
        ),
    ],
)
def test_a_pair_that_nobody_asks_is_missed(suite, variant, pair):
    asked = set(planned_variants(suite)["native"])
    assert missing(suite, asked) == set()
    alike = {other for other in asked if pair <= levels(suite, other)}
    assert variant in alike
    assert frozenset(pair) in missing(suite, asked - alike)
