"""What is said of a trial that cannot be asked."""

from __future__ import annotations

import torch

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.calling import admission
from harness.trial import Case


def ascending(shape, dtype):
    return torch.arange(1, shape.classes + 1, dtype=dtype)


def per_row(p, t, weight=None, reduction="none"):
    return (p - t).square().mean(1)


def plain(p, t):
    return (p - t).square().mean()


def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)


def test_an_option_that_is_a_function_is_told_by_its_name():
    """Its address differs from process to process, and a stored refusal would never be found again."""
    suite = Suite(
        "s",
        per_row,
        (Implementation(plain),),
        (Regime(normal),),
        variants=(Variant("mean"), Variant("weighted", weight=ascending)),
        options={"reduction": "mean", "weight": None},
    )
    case = Case("s", "weighted", "normal", "float32", "cpu", 8, 4, 1)
    refused = admission(suite, suite.implementations[0], case)
    assert refused == ("unsupported", "takes no option weight=ascending")
