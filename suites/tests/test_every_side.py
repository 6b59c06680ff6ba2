"""One wrong answer out of 65,000, planted at one label: the sweep over that side finds it, no other does.

So are batches that lose their last rows, on the ladders of rows. Blocks are opened in process.
"""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

from harness import Implementation
from harness.block import OpenBlock
from harness.oracle.chunks import one_thread
from harness.probes.overflow import overflow
from harness.trial import Case
from suites.ctc import SUITE as SEQUENCES
from suites.gaussian_nll import SUITE as GAUSSIAN
from suites.hinge_embedding import SUITE as HINGE
from suites.kl_div import SUITE as DIVERGENCE
from suites.margin_ranking import SUITE as RANKING
from suites.multilabel_margin import SUITE as LISTS
from suites.multilabel_soft_margin import SUITE as MULTILABEL
from suites.poisson_nll import SUITE as POISSON


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def opened(suite, dtype):
    shape = suite.shapes.usual
    return OpenBlock(
        suite, Case(suite.name, suite.variants[0].name, suite.regimes[0].name, dtype, "cpu", *shape, 1), 0
    )


def wrong_sides(suite, index, value, label=None):
    """The sweeps that find a loss too large by 1 where a tensor is `value` and the last one is `label`."""
    exact = suite.implementation("exact_gradient").function

    def planted(*tensors, reduction="mean"):
        hit = tensors[index] == value
        if label is not None:
            hit = hit & (tensors[-1] == label)
        losses = exact(*tensors, reduction=reduction)
        return losses + (hit.reshape(losses.shape).to(losses.dtype) if reduction == "none" else hit.sum())

    family = suite.extended(Implementation(planted))
    numbers = overflow(opened(family, "bfloat16"), "planted").numbers
    found = {
        column.removeprefix("exhaustive_").removesuffix("_inaccurate"): count
        for column, count in numbers.items()
        if column.startswith("exhaustive_") and column.endswith("_inaccurate")
    }
    assert len([column for column in numbers if column.endswith("_inputs")]) == len(suite.exhaustive)
    return found


@pytest.mark.parametrize(
    ("suite", "index", "value", "label", "side"),
    [
        (HINGE, 0, 3.0, 1, "positive"),
        (HINGE, 0, 0.25, -1, "negative"),
        (RANKING, 0, -3.0, 1, "positive"),
        (RANKING, 0, 3.0, -1, "negative"),
        (MULTILABEL, 0, 0.75, 1.0, "positive"),
        (MULTILABEL, 0, 0.75, 0.0, "negative"),
        (GAUSSIAN, 0, 3.0, None, "prediction"),
        (GAUSSIAN, 2, 3.0, None, "variance"),
        (POISSON, 0, 1.5, 1.0, "prediction"),
        (POISSON, 0, 1.5, 0.0, "empty"),
        (DIVERGENCE, 0, -3.0, 1.0, "value"),
        (DIVERGENCE, 1, 0.75, None, "mass"),
    ],
    ids=lambda item: getattr(item, "name", None),
)
def test_one_wrong_value_is_counted_on_its_side_and_on_no_other(suite, index, value, label, side):
    # Negative variances are asked by their magnitude, so each is asked twice.
    assert wrong_sides(suite, index, value, label) == {side: 2.0 if side == "variance" else 1.0}


@pytest.mark.parametrize(
    "suite", [HINGE, RANKING, MULTILABEL, GAUSSIAN, POISSON, DIVERGENCE], ids=attrgetter("name")
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_closed_form_is_right_on_every_side(suite, dtype):
    answer = overflow(opened(suite, dtype), "exact_gradient")
    assert {finding.kind for finding in answer.findings} == set()
    counted = {column for column in answer.numbers if column.startswith("exhaustive_")}
    assert {f"exhaustive_{each.name}_inputs" for each in suite.exhaustive} <= counted


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_no_mass_has_no_slope_in_torch_and_neither_of_both_zeros_is_forgotten(dtype):
    numbers = overflow(opened(DIVERGENCE, dtype), "native").numbers
    assert numbers["exhaustive_mass_spurious_nan"] == 2
    assert "exhaustive_mass_spurious_nan" not in overflow(opened(DIVERGENCE, dtype), "exact_gradient").numbers


def first_rows(suite, most):
    """A form that adds up so many rows and divides by all of them."""
    exact = suite.implementation("exact_gradient").function

    def planted(*tensors):
        count = tensors[-1].shape[0]
        return exact(*tensors) * min(1.0, most / count)

    return suite.extended(Implementation(planted))


@pytest.mark.parametrize(("suite", "most"), [(LISTS, 5000), (SEQUENCES, 900)], ids=["lists", "sequences"])
def test_rows_that_are_forgotten_end_the_ladder_of_rows(suite, most):
    family = first_rows(suite, most)
    answer = overflow(opened(family, "float32"), "planted")
    groups = {f.group for f in answer.findings if f.severity == "error"}
    assert groups == {"ladder rows"}
    assert most < answer.numbers["first_failing_rows"] < 1.1 * most
    clean = overflow(opened(suite, "float32"), "exact_gradient")
    assert "first_failing_rows" not in clean.numbers


def test_native_adds_the_rows_of_lists_one_by_one():
    numbers = overflow(opened(LISTS, "float64"), "native").numbers
    assert 500 < numbers["first_failing_rows"] < 5000
    scores = torch.tensor([[0.1, 0.3, 0.7]], dtype=torch.float64).repeat(1 << 17, 1)
    labels = torch.tensor([[0, -1, -1]]).repeat(1 << 17, 1)
    mean = torch.nn.functional.multilabel_margin_loss(scores, labels)
    assert abs(float(mean) - 2.8 / 3) > 50 * 2.0**-53
