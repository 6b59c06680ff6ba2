"""Every number that the source texts print is an example of a suite, or is computed here.

An example is a loss; the probabilities and logarithms on the way to it are read off losses and gradients
instead: -log p_c is the loss of label c, and p is the gradient of the logits, less 1 at the label. The trap:
a number that no test holds is missed by nobody when a refactoring loses it, so the list of them stands here.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from harness import Suite
from harness.block import OpenBlock
from harness.calling import bind
from harness.discovery import Selection, discover
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.trial import Case
from suites.binary_cross_entropy_with_logits import SUITE as WITH_LOGITS
from suites.cross_entropy import SUITE as CROSS_ENTROPY

SUITES = discover(Selection(known_bad=True)).suites

# Family, variant and number as the text prints it, by the text.
PRINTED = (
    ("cross_entropy", "mean", "1.9606", "A: the row loop"),
    (
        "cross_entropy",
        "smoothed_other",
        "1.9955",
        "A: smoothing over the other classes; its comment says 2.2265",
    ),
    ("cross_entropy", "smoothed", "1.9885", "A: torch's smoothing"),
    ("cross_entropy", "weighted", "7.5456825", "A: the weighted loop, over rows"),
    ("cross_entropy", "weighted", "1.7413114", "A: the same by torch, over weights"),
    ("kl_div", "sum", "-1.4436297", "A: divergence, sum"),
    ("kl_div", "mean", "-0.0962420", "A: divergence, over all elements"),
    ("kl_div", "batchmean", "-0.4812099", "A: divergence, over rows"),
    ("kl_div", "sum", "-1.4434798", "A: 1e-5 inside of the logarithm"),
    ("kl_div", "sum", "-1.2000000", "A: divergence of one-hot rows"),
    ("kl_div", "sum", "-1.1999700", "A: the same with 1e-5 inside of the logarithm"),
    ("multilabel_margin", "mean", "0.8500", "B: labels 3 and 0"),
    ("cross_entropy", "mean", "0.1291", "C: -log softmax, class 0"),
    ("cross_entropy", "mean", "2.1291", "C: cross-entropy of one row"),
    ("cross_entropy", "mean", "6.1291", "C: -log softmax, class 2"),
    ("nll", "mean", "2.1291", "C: nll_loss of log_softmax"),
    ("cross_entropy", "mean", "1.2223", "C: five rows"),
    ("nll", "mean", "1.2223", "C: five rows by nll_loss"),
    ("cross_entropy", "probability", "1.7736", "D: cross-entropy, first pair"),
    ("kl_div", "batchmean", "0.1108", "D: divergence, first pair"),
    ("cross_entropy", "probability", "1.6628", "D: entropy, first pair"),
    ("cross_entropy", "probability", "2.5585", "D: cross-entropy, second pair"),
    ("kl_div", "batchmean", "1.1138", "D: divergence, second pair"),
    ("cross_entropy", "probability", "1.4447", "D: entropy, second pair"),
)
# Tutorial C: softmax of [3, 1, -3], and its logarithm.
ROW, LABEL = [3.0, 1.0, -3.0], 1
PROBABILITIES, LOGARITHMS = (0.8789, 0.1189, 0.0022), (-0.1291, -2.1291, -6.1291)
EAGER = [item.name for item in CROSS_ENTROPY.implementations if not (item.compiled or item.known_bad)]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def holders(suite: Suite, variant: str, printed: str):
    """The sources of the examples that hold a printed number, to all digits that the text prints."""
    digits = len(printed.split(".")[1])
    return [
        example.source
        for example in suite.examples
        if example.variant == variant
        and example.digits >= digits
        and round(example.value, digits) == float(printed)
    ]


@pytest.mark.parametrize(("family", "variant", "printed", "text"), PRINTED, ids=[row[3] for row in PRINTED])
def test_a_printed_number_is_an_example_of_its_family(family, variant, printed, text):
    sources = holders(SUITES[family], variant, printed)
    assert any(source.startswith(f"tutorial {text[0]}") for source in sources)


def test_an_example_that_is_lost_is_missed():
    for family, variant, printed, _ in PRINTED:
        suite = SUITES[family]
        lost = holders(suite, variant, printed)
        kept = tuple(example for example in suite.examples if example.source not in lost)
        assert len(kept) < len(suite.examples)
        assert holders(replace(suite, examples=kept), variant, printed) == []


def rounded(values):
    return tuple(round(value, 4) for value in torch.as_tensor(values).tolist())


def test_the_walk_of_tutorial_c_prints_its_own_numbers():
    probabilities = torch.softmax(torch.tensor(ROW), 0)
    assert rounded(probabilities) == PROBABILITIES
    assert rounded(probabilities.log()) == LOGARITHMS
    one_hot = [0.0, 1.0, 0.0]
    dot = -sum(picked * log for picked, log in zip(one_hot, probabilities.log().tolist(), strict=True))
    assert round(dot, 4) == -LOGARITHMS[LABEL]
    assert math.isclose(sum(PROBABILITIES), 1.0)


def slopes(name: str, label: int):
    """The gradient of the one row in float32, to four digits."""
    logits = torch.tensor([ROW], requires_grad=True)
    bound = bind(CROSS_ENTROPY.implementation(name), {}, {})
    bound.loss((logits, torch.tensor([label]))).backward()
    return rounded(logits.grad[0])


@pytest.mark.parametrize("label", range(3))
@pytest.mark.parametrize("name", EAGER)
def test_the_printed_probabilities_are_the_gradient_of_every_form(name, label):
    expected = [p - (c == label) for c, p in enumerate(PROBABILITIES)]
    # 1 - .8789 and 1 - .1189, of printed digits, are half a step off at the most.
    assert slopes(name, label) == pytest.approx(expected, abs=1.01e-4)


def test_probabilities_that_went_through_softmax_twice_have_other_gradients():
    expected = [p - (c == LABEL) for c, p in enumerate(PROBABILITIES)]
    assert slopes("double_softmax", LABEL) != pytest.approx(expected, abs=1e-2)


# Tutorial E: ways to compute the same number, and the shapes in which it does.
WAYS = ("native_module", "native", "log_softmax_gather", "log_softmax_nll")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("batch", "classes"), [(100, 10), (64, 10)])
@pytest.mark.parametrize("way", WAYS)
def test_the_ways_of_tutorial_e_are_right_in_its_shapes(way, batch, classes, dtype):
    assert errors(CROSS_ENTROPY, way, batch, classes, dtype) == []


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("way", ["native_module", "native"])
def test_the_binary_loss_of_tutorial_e_is_right_in_a_column(way, dtype):
    assert errors(WITH_LOGITS, way, 100, 1, dtype) == []


def errors(suite: Suite, name: str, batch: int, classes: int, dtype: str):
    """What an implementation gets wrong in the first regime at a shape."""
    case = Case(suite.name, "mean", suite.regimes[0].name, dtype, "cpu", batch, classes, 1)
    answer = accuracy(OpenBlock(suite, case, 0), name)
    assert answer.status == "ok", answer.reason
    return [finding.message for finding in answer.findings if finding.severity != "note"]


def test_a_way_that_is_wrong_is_told_in_the_shapes_of_tutorial_e():
    assert errors(CROSS_ENTROPY, "double_softmax", 100, 10, "float64") != []
    assert errors(WITH_LOGITS, "double_sigmoid", 100, 1, "float64") != []
