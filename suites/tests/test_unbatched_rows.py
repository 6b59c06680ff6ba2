"""A row without a batch axis, logits (C,) and a label (), costs what the same row costs in a batch.

The harness knows rows of a batch alone (`Sample`: the first axis holds rows), so no variant asks this form;
it is asked here, of every eager form of the class losses that take it, with the truth of the oracle.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness import Suite
from harness.calling import admission, bind
from harness.implementation import Implementation
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.standard import row_oracle
from harness.trial import Case
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.multi_margin import SUITE as MULTI_MARGIN
from suites.nll import SUITE as NLL

ROWS, CLASSES = 4, 5
REDUCTIONS = ("none", "sum", "mean")


def case_of(suite: Suite, variant: str) -> Case:
    return Case(suite.name, variant, suite.regimes[0].name, "float64", "cpu", ROWS, CLASSES, 1)


def asked_of(item: Implementation, suite: Suite) -> list[str]:
    """The variants of rows that a form is asked in float64."""
    return [
        variant.name
        for variant in suite.variants
        if admission(suite, item, case_of(suite, variant.name)) is None
        and draw(case_of(suite, variant.name), suite, seed=0)[0].layout == "rows"
    ]


def departures(item: Implementation, suite: Suite, variant: str) -> list[str]:
    """What is wrong with the rows of a variant, asked one by one without a batch axis."""
    sample, options = draw(case_of(suite, variant), suite, seed=0)
    given = suite.variant(variant).options
    truth = row_oracle(suite).evaluate(sample.in_rows(), {**options, "reduction": "none"}, sample.gradients)
    found = []
    for row in range(ROWS):
        for reduction in REDUCTIONS:
            # The mean of one row divides by its own weight, or is 0/0.
            divisor = float(truth.denominator[row]) if reduction == "mean" else 1.0
            if divisor == 0:
                continue
            asked = {**options, **item.contract.definition, "reduction": reduction}
            bound = bind(item, asked, {**given, "reduction": reduction})
            tensors = [tensor[row].clone() for tensor in sample.tensors]
            first = tensors[0].requires_grad_()
            loss = bound.loss(tuple(tensors))
            if loss.shape:
                found.append(f"{reduction}: shape {tuple(loss.shape)}")
                continue
            if not torch.isclose(loss, torch.tensor(truth.losses[row] / divisor), rtol=1e-12):
                found.append(f"{reduction}: loss")
            (slope,) = torch.autograd.grad(loss, first)
            exact = torch.from_numpy(truth.gradients[next(iter(sample))][row] / divisor)
            if not torch.allclose(slope, exact, rtol=1e-11, atol=1e-15):
                found.append(f"{reduction}: gradient")
    return found


FORMS = [
    pytest.param(suite, item, id=f"{suite.name}/{item.name}")
    for suite in (CROSS_ENTROPY, NLL, MULTI_MARGIN)
    for item in suite.implementations
    if not (item.compiled or item.known_bad or item.contract.definition) and asked_of(item, suite)
]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize(("suite", "item"), FORMS)
def test_a_row_without_a_batch_is_the_row_of_a_batch(suite, item):
    found = {variant: departures(item, suite, variant) for variant in asked_of(item, suite)}
    assert {variant: wrong for variant, wrong in found.items() if wrong} == {}


def keeps_its_batch(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """A batch axis is added and left."""
    rows = logits.unsqueeze(0) if logits.dim() == 1 else logits
    return torch.nn.functional.cross_entropy(rows, target.reshape(-1), reduction=reduction)


def weighs_rows_alone(
    logits: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The class weights are looked up where there is a batch."""
    kept = weight if logits.dim() > 1 else None
    return torch.nn.functional.cross_entropy(logits, target, kept, reduction=reduction)


def test_planted_faults_of_a_row_without_a_batch_are_found():
    kept, light = Implementation(keeps_its_batch), Implementation(weighs_rows_alone)
    assert set(departures(kept, CROSS_ENTROPY, "mean")) == {"none: shape (1,)"}
    assert departures(light, CROSS_ENTROPY, "mean") == []
    assert set(departures(light, CROSS_ENTROPY, "weighted_sum")) >= {"sum: loss", "sum: gradient"}
