"""What four hinge families find: silent controls, mistakes seen, examples, legacy reductions.

Blocks are opened in process, without workers. For every check the fault that it exists for is planted.
"""

from __future__ import annotations

import math
import warnings
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.pytest_examples import example_call
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites.cosine_embedding import SUITE as COSINE
from suites.hinge_embedding import SUITE as HINGE
from suites.margin_ranking import SUITE as RANKING
from suites.triplet_margin import SUITE as TRIPLET

SUITES = {suite.name: suite for suite in (COSINE, TRIPLET, RANKING, HINGE)}
FAMILIES = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def case_of(suite, variant=None, regime=None, dtype="float32", batch=64, classes=10):
    regime = regime or suite.regimes[0].name
    shape = suite.regime(regime).shape(Shape(batch, classes))
    return Case(suite.name, variant or suite.variants[0].name, regime, dtype, "cpu", *shape, 1)


def found(suite, name, **axes):
    answer = accuracy(OpenBlock(suite, case_of(suite, **axes), 0), name)
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group.split("/")[0]) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
@FAMILIES
def test_clean_controls_have_no_finding_above_note(suite, seed):
    accused, asked = [], 0
    regimes, variants = ([item.name for item in items] for items in (suite.regimes, suite.variants))
    # Every second cell: two seeds ask all of them.
    for variant, dtype, regime in list(product(variants, DTYPES, regimes))[seed % 2 :: 2]:
        case = case_of(suite, variant, regime, dtype, 7, 5)
        block = OpenBlock(suite, case, seed)
        for control in (item for item in suite.implementations if item.control):
            if admission(suite, control, case) is None:
                answer, asked = accuracy(block, control.name), asked + 1
                if any(f.severity != "note" for f in answer.findings):
                    accused.append((case.id, control.name))
    assert accused == []
    assert asked > 60


@FAMILIES
def test_every_mistake_is_an_error_somewhere_and_says_what_to_write(suite):
    for mistake in (item for item in suite.implementations if item.known_bad):
        kinds = set()
        for variant in mistake.contract.variants:
            for regime in suite.regimes:
                if not kinds and not mistake.contract.takes_out(regime.name):
                    case = case_of(suite, variant, regime.name, "float64")
                    # The metrics of a wild answer may overflow; what is judged does not.
                    with np.errstate(all="ignore"):
                        answer = accuracy(OpenBlock(suite, case, 0), mistake.name)
                    kinds |= {f.kind for f in answer.findings if f.severity == "error"}
        assert kinds, mistake.name
        assert len(mistake.known_bad) > 40


@FAMILIES
def test_every_example_holds_for_the_implementations_that_promise_it(suite):
    for example in suite.examples:
        tensors, options = example_call(example, suite)
        given = {**suite.variant(example.variant).options, **example.options}
        definition = {n: v for n, v in example.options.items() if n not in ("reduction",)}
        held = 0
        for item in suite.implementations:
            if item.compiled or item.known_bad or item.name in example.divergent:
                continue
            if any(item.contract.definition.get(n, suite.options[n]) != v for n, v in definition.items()):
                continue
            if item.contract.variants is not None and example.variant not in item.contract.variants:
                continue
            if not definition and item.contract.definition.get("squared"):
                continue
            if not all(item.accepts(n) for n in suite.variant(example.variant).options):
                continue
            got = float(bind(item, options, given).loss(tensors))
            assert example.holds(got), (example.source, item.name, got)
            assert not example.holds(got + 1e-3)
            held += 1
        assert held, example.source


LEGACY = {
    "cosine_embedding": F.cosine_embedding_loss,
    "triplet_margin": F.triplet_margin_loss,
    "margin_ranking": F.margin_ranking_loss,
    "hinge_embedding": F.hinge_embedding_loss,
}


@pytest.mark.parametrize(
    ("size_average", "reduce", "reduction"),
    [
        (None, True, "mean"),
        (True, None, "mean"),
        (True, True, "mean"),
        (None, False, "none"),
        (True, False, "none"),
        (False, False, "none"),
        (False, None, "sum"),
        (False, True, "sum"),
    ],
)
@FAMILIES
def test_the_legacy_pair_is_a_reduction_and_reduce_false_wins(suite, size_average, reduce, reduction):
    sample, _ = draw(case_of(suite, dtype="float64"), suite, seed=0)
    function = LEGACY[suite.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        old = function(*sample.tensors, size_average=size_average, reduce=reduce)
    assert torch.equal(old, function(*sample.tensors, reduction=reduction))


def test_native_without_its_declared_guard_is_wrong_by_most_of_the_loss_on_short_vectors():
    # Catalogue row 43: identical vectors with entries of 1e-7.
    vectors = torch.full((1, 8), 1e-7)
    got = float(F.cosine_embedding_loss(vectors, vectors, torch.tensor([1])))
    options = {**COSINE.options, "added": 0.0}
    inputs = {"first": vectors, "second": vectors, "target": torch.tensor([1])}
    exact, declared = (
        float(COSINE.oracle.evaluate(inputs, asked, ()).losses[0]) for asked in (options, COSINE.options)
    )
    assert abs(exact) < 1e-15
    assert got == pytest.approx(0.926, abs=1e-3)
    assert got == pytest.approx(declared, rel=1e-6)
    assert ("inaccurate", "first") in found(COSINE, "guard_forgotten", regime="small")


def test_the_guard_of_torch_is_1e_12_rounded_to_float32_even_in_float64():
    inputs = {"first": torch.tensor([[1e-6]]).double(), "second": torch.ones(1, 1).double()}
    got = float(F.cosine_embedding_loss(*inputs.values(), torch.tensor([1])))
    as_float, as_double = (
        float(
            COSINE.oracle.evaluate(
                {**inputs, "target": torch.tensor([1])}, {**COSINE.options, "added": added}, ()
            ).losses[0]
        )
        for added in (COSINE.options["added"], 1e-12)
    )
    assert got == pytest.approx(as_float, rel=1e-14)
    assert abs(got - as_double) > 1e-10


@pytest.mark.parametrize(("dtype", "value"), [("float16", 1e-4), ("float16", 91.0), ("float32", 1e20)])
def test_squares_of_native_leave_the_range_and_those_of_the_stable_form_do_not(dtype, value):
    # Catalogue rows 44 and 45, mutant m24.
    vectors = torch.full((1, 8), value, dtype=getattr(torch, dtype))
    target = torch.tensor([1])
    assert not math.isfinite(float(F.cosine_embedding_loss(vectors, vectors, target)))
    stable = COSINE.implementation("stable").function
    assert abs(float(stable(vectors, vectors, target))) < 1e-3


def test_a_root_of_zero_has_no_slope_and_the_sweep_says_so():
    # Mutant m25 and catalogue row 47.
    seen = found(TRIPLET, "root_of_squares", regime="equal_positive")
    assert seen == {("spurious_nan", "anchor"), ("spurious_nan", "positive")}
    assert found(TRIPLET, "native", regime="equal_positive") == set()


def test_the_distance_of_native_overflows_and_that_of_the_stable_form_does_not():
    # Catalogue row 48.
    assert ("spurious_nan", "loss") in found(TRIPLET, "native", regime="huge_triplet")
    assert found(TRIPLET, "stable", regime="huge_triplet") == set()


def half_active(first, second, target, reduction="mean", margin=0.0):
    return F.margin_ranking_loss(first, second, target, margin=margin * 0.99, reduction=reduction)


def test_a_margin_that_is_one_per_cent_short_is_found():
    suite = RANKING.extended(Implementation(half_active))
    assert ("inaccurate", "loss") in found(suite, "half_active", variant="margin")
    assert found(suite, "half_active", variant="mean") == set()
