"""The Cauchy loss log(1 + r^2 / 2) of a residual r = x - t, as `docs/write_a_suite.md` builds it up."""

from __future__ import annotations

from functools import partial

import torch

from harness import (
    Contract,
    Example,
    Exhaustive,
    Identity,
    Implementation,
    Known,
    Ladder,
    Regime,
    Sample,
    Shape,
    Shapes,
    Suite,
    Variant,
)
from harness.oracle.closed_form import ClosedForm


def slopes(r):
    """Returns the gradients of the loss of residuals r."""
    g = r / (1 + r**2 / 2)
    return {"prediction": g, "target": -g}


def exact(row, options):
    """Returns loss and gradients of one entry as Arb balls."""
    from flint import arb

    r = arb(row["prediction"]) - arb(row["target"])
    g = r / (1 + r**2 / 2)
    return (1 + r**2 / 2).log(), {"prediction": [g], "target": [-g]}


ORACLE = ClosedForm(
    terms=lambda inputs, options: inputs["prediction"] - inputs["target"],
    rows=lambda r: torch.log1p(r**2 / 2),
    gradient=slopes,
    sensitivity=lambda r: torch.log1p(r**2 / 2) + (r * slopes(r)["prediction"]).abs(),
    gradient_sensitivity=lambda r: {name: 2 * g.abs() for name, g in slopes(r).items()},
    denominator=lambda inputs, options: torch.ones_like(inputs["target"]),
    exact=exact,
)


def pair(x, t):
    """Returns the sample; `layout="elements"` gives every entry a loss of its own."""
    return Sample(layout="elements", prediction=x, target=t)


def normal(shape, finfo, generator, size=1.0):
    """Normal residuals."""
    draw = partial(torch.randn, *shape, generator=generator, dtype=torch.float64)
    return pair(size * draw(), size * draw())


def scaled(value, shape, finfo, generator):
    """One residual of each sign."""
    x = torch.tensor([[value], [-value]], dtype=torch.float64)
    return pair(x, torch.zeros_like(x))


def every(values):
    """Every value as a residual."""
    return pair(values.reshape(-1, 1), torch.zeros_like(values.reshape(-1, 1)))


def reduced(losses, reduction):
    """Returns losses after their reduction."""
    return losses if reduction == "none" else getattr(losses, reduction)()


def with_log1p(prediction, target, reduction="mean"):
    """log1p(r^2 / 2)."""
    return reduced(torch.log1p((prediction - target) ** 2 / 2), reduction)


def textbook(prediction, target, reduction="mean"):
    """log(1 + r^2 / 2), as it is printed."""
    return reduced((1 + (prediction - target) ** 2 / 2).log(), reduction)


def upcast(prediction, target, reduction="mean"):
    """log1p(r^2 / 2) in float64, rounded once."""
    return with_log1p(prediction.double(), target.double(), reduction).to(prediction.dtype)


class Exact(torch.autograd.Function):
    """The closed form with its gradient."""

    @staticmethod
    def forward(ctx, prediction, target):
        """Returns the losses in float64."""
        ctx.save_for_backward(prediction, target)
        return ORACLE.rows(prediction.double() - target.double())

    @staticmethod
    def backward(ctx, upstream):
        """Returns both gradients, rounded once."""
        x, t = ctx.saved_tensors
        g = upstream * slopes(x.double() - t.double())["prediction"]
        return g.to(x.dtype), -g.to(t.dtype)


def exact_gradient(prediction, target, reduction="mean"):
    """The closed form of loss and gradient, rounded once."""
    return reduced(Exact.apply(prediction, target), reduction).to(prediction.dtype)


def log_of_the_mean(prediction, target, reduction="mean"):
    """The logarithm of the mean square."""
    return torch.log1p(reduced((prediction - target) ** 2, reduction) / 2)


def plain(evaluate, sample):
    """The loss as it is."""
    return evaluate(*sample.tensors)


def negated(evaluate, sample):
    """The loss with both inputs negated."""
    return evaluate(*(-tensor for tensor in sample.tensors))


LOST = ("spurious_overflow", "spurious_nan", "dead_gradient", "inaccurate")
SQUARE = Known(
    LOST, "r^2 is infinite in float16 from 256 on, its log is not", regime="wide", dtype="float16", up_to=8
)
EVERY = Known(
    LOST, "r^2 leaves the range and 16 bits round it", probe="overflow", group="exhaustive residual", up_to=8
)
ROUNDED = Known("inaccurate", "r and r^2 are rounded to 16 bits", dtype=("bfloat16", "float16"), up_to=16)
SMALL = Known("inaccurate", "1 + r^2 / 2 rounds a small r^2 away", up_to=16)

SUITE = Suite(
    name="cauchy",
    formula="L = log(1 + (x - t)^2 / 2)",
    oracle=ORACLE,
    options={"reduction": "mean"},
    variants=(Variant("mean"), Variant("sum", reduction="sum"), Variant("none", reduction="none")),
    regimes=(
        Regime(normal, name="unit_normal"),
        Regime(partial(normal, size=300.0), name="wide", about="Residuals of some hundreds."),
        Regime(partial(normal, size=2.0**-10), name="near", about="Residuals next to 0."),
    ),
    ladders=(
        Ladder(
            "scale",
            scaled,
            start=1.0,
            stop=lambda finfo: float(finfo.max) ** 0.5,
            names="size of a residual",
            relative=0.01,
        ),
    ),
    exhaustive=(Exhaustive("residual", every, "the residual r"),),
    shapes=Shapes(covering=(Shape(1, 3), Shape(64, 101)), timed=(Shape(64, 1000),), slow_regime=""),
    implementations=(
        Implementation(with_log1p, baseline=True, known=(SQUARE, EVERY, ROUNDED)),
        Implementation(textbook, known=(SQUARE, EVERY, SMALL)),
        Implementation(upcast, control=True, contract=Contract(dtypes=("float32", "bfloat16", "float16"))),
        Implementation(exact_gradient, control=True),
        Implementation(
            log_of_the_mean, known_bad="log and mean do not commute: take the logarithm of every entry first"
        ),
    ),
    examples=(Example("mean", {"prediction": [[2.0]], "target": [[0.0]]}, 1.0986, source="by hand: log 3"),),
    identities=(Identity("even", plain, negated, "mean", "unit_normal", about="L(-x, -t) = L(x, t)"),),
)
