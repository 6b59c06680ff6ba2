"""Divergences that tutorial A prints beside its cross-entropies, held by torch's own kl_div.

They belong to the family of divergences; until it has a suite with an oracle of its own, these
numbers are kept from getting lost here.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from suites.examples.cross_entropy import EXAMPLES

HANDWRITTEN = EXAMPLES[0].inputs


def smoothed_distribution(smoothing=0.1):
    logits = torch.tensor(HANDWRITTEN["logits"], dtype=torch.float64)
    target = torch.tensor(HANDWRITTEN["target"])
    spread = torch.full_like(logits, smoothing / (logits.shape[1] - 1))
    return logits, spread.scatter_(1, target.unsqueeze(1), 1 - smoothing)


@pytest.mark.parametrize(
    ("reduction", "printed"), [("sum", -1.4436297), ("mean", -0.0962420), ("batchmean", -0.4812099)]
)
# torch warns that mean divides by all elements; that is the very number of the text.
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")
def test_the_divergence_of_unnormalised_scores_is_the_printed_one(reduction, printed):
    scores, distribution = smoothed_distribution()
    assert F.kl_div(scores, distribution, reduction=reduction).item() == pytest.approx(printed, abs=5e-8)


def test_the_epsilon_form_is_biased_as_printed():
    scores, distribution = smoothed_distribution()
    biased = (distribution * (torch.log(distribution + 1e-5) - scores)).sum().item()
    assert biased == pytest.approx(-1.4434798, abs=5e-8)
    assert abs(biased - F.kl_div(scores, distribution, reduction="sum").item()) > 1e-4


def test_the_float32_example_differs_between_the_two_forms_as_printed():
    scores = torch.tensor([[0, 0.1, 0.3], [0.1, 0.9, 0.3], [0, 0.1, 0]])
    target = torch.tensor([[0, 0, 1.0], [0, 1, 0], [1, 0, 0]])
    assert F.kl_div(scores, target, reduction="sum").item() == pytest.approx(-1.2000000, abs=5e-7)
    epsilon_form = (target * (torch.log(target + 1e-5) - scores)).sum().item()
    assert epsilon_form == pytest.approx(-1.1999700, abs=5e-7)
