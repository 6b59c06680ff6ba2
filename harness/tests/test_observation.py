"""What one call answered: the four ways in which one side of an answer is finite and another is not."""

from __future__ import annotations

import math

import pytest
import torch

from harness import Implementation, Regime, Sample, Suite
from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.trial import Case


def per_row(p, t):
    return (p - t).square().mean(1)


def honest(p, t):
    return per_row(p, t).mean()


def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)


class Spoilt(torch.autograd.Function):
    """Adds one number to a loss and another to one entry of its gradient."""

    @staticmethod
    def forward(ctx, p, t, loss, gradient):
        ctx.save_for_backward(p, t)
        ctx.spoil = gradient
        return honest(p, t) + loss

    @staticmethod
    def backward(ctx, upstream):
        p, t = ctx.saved_tensors
        gradient = 2 * (p - t) / p.numel()
        gradient[1, 2] += ctx.spoil
        return upstream * gradient, None, None, None


def splits(loss, gradient):
    def spoilt(p, t):
        return Spoilt.apply(p, t, loss, gradient)

    suite = Suite("s", per_row, (Implementation(honest), Implementation(spoilt)), (Regime(normal),))
    block = OpenBlock(suite, Case("s", "mean", "normal", "float32", "cpu", 4, 8, 1), 0)
    assert not any(f.kind == "loss_gradient_split" for f in accuracy(block, "honest").findings)
    return [f for f in accuracy(block, "spoilt").findings if f.kind == "loss_gradient_split"]


@pytest.mark.parametrize(
    ("loss", "gradient", "group", "sentence"),
    [
        (math.nan, 0.0, "loss NaN", "finite: p; not finite: loss"),
        (math.inf, 0.0, "loss inf", "finite: p; not finite: loss"),
        (0.0, math.nan, "gradient NaN", "finite: loss; not finite: p"),
        (0.0, -math.inf, "gradient inf", "finite: loss; not finite: p"),
    ],
)
def test_a_split_says_which_side_is_not_finite_and_how(loss, gradient, group, sentence):
    (found,) = splits(loss, gradient)
    assert (found.severity, found.group, found.message) == ("note", group, sentence)


@pytest.mark.parametrize("both", [0.0, math.nan, math.inf])
def test_sides_that_are_finite_or_not_together_are_no_split(both):
    assert splits(both, both) == []
