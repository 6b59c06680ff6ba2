"""The legacy pair (size_average, reduce) of every torch module that takes it, mapped to a reduction.

The table is torch's own: reduce=False wins over size_average, absent means True. The list of modules is
read from torch, so one that a later version adds has to get a row here. The trap: a second
`size_average = True` in an old text means False, which only the sum shows.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.loss import NLLLoss2d

from harness.discovery import Selection, discover
from harness.inputs import draw
from harness.trial import Case

PAIRS = [
    (None, None, "mean"),
    (None, True, "mean"),
    (True, None, "mean"),
    (True, True, "mean"),
    (None, False, "none"),
    (True, False, "none"),
    (False, False, "none"),
    (False, None, "sum"),
    (False, True, "sum"),
]
# The family that asks a module, and the variant whose inputs it takes.
FAMILIES = {
    nn.BCELoss: "binary_cross_entropy",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    nn.CosineEmbeddingLoss: "cosine_embedding",
    nn.CrossEntropyLoss: "cross_entropy",
    nn.HingeEmbeddingLoss: "hinge_embedding",
    nn.KLDivLoss: "kl_div",
    nn.L1Loss: "l1",
    nn.MSELoss: "mse",
    nn.MarginRankingLoss: "margin_ranking",
    nn.MultiLabelMarginLoss: "multilabel_margin",
    nn.MultiLabelSoftMarginLoss: "multilabel_soft_margin",
    nn.MultiMarginLoss: "multi_margin",
    nn.NLLLoss: "nll",
    NLLLoss2d: "nll",
    nn.PoissonNLLLoss: "poisson_nll",
    nn.SmoothL1Loss: "smooth_l1",
    nn.SoftMarginLoss: "soft_margin",
    nn.TripletMarginLoss: "triplet_margin",
}
SUITES = discover(Selection()).suites


def takes_the_pair(module: Any) -> bool:
    return inspect.isclass(module) and "size_average" in inspect.signature(module).parameters


def test_every_module_of_torch_that_takes_the_pair_has_a_family():
    found = {module for name, module in vars(nn).items() if name.endswith("Loss") and takes_the_pair(module)}
    assert found | {NLLLoss2d} == set(FAMILIES)
    assert set(FAMILIES.values()) <= set(SUITES)


@pytest.mark.parametrize(("size_average", "reduce", "reduction"), PAIRS)
@pytest.mark.parametrize("module", FAMILIES, ids=lambda module: module.__name__)
def test_the_pair_is_a_reduction_and_reduce_false_wins(module, size_average, reduce, reduction):
    suite = SUITES[FAMILIES[module]]
    variant = "images" if module is NLLLoss2d else suite.variants[0].name
    case = Case(suite.name, variant, suite.regimes[0].name, "float64", "cpu", 6, 5, 1)
    tensors = draw(case, suite, seed=0)[0].tensors
    with warnings.catch_warnings():
        # Both the pair and KLDivLoss's plain mean are warned of.
        warnings.simplefilter("ignore")
        legacy = module(size_average=size_average, reduce=reduce)(*tensors)
        plain = nn.NLLLoss if module is NLLLoss2d else module
        single, summed, mean = (plain(reduction=name)(*tensors) for name in ("none", "sum", "mean"))
    assert torch.equal(legacy, {"none": single, "sum": summed, "mean": mean}[reduction])
    assert not torch.equal(summed, mean)
    assert legacy.shape == (single.shape if reduction == "none" else ())
