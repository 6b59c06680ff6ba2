"""Input distributions for losses between distributions: log-probabilities x (N, C), targets t (N, C).

Each function draws in float64 from the generator alone; targets are probabilities, a variant may
take their logarithm. Rounding to the dtype comes afterwards, so rows sum to one in float64 and only
nearly so where they are used. The trap: in 16 bits the distance between p and q that a regime asks for
is smaller than what rounding does to both; the truth is about the rounded numbers.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Regime, Sample, Shape
from suites.regimes.recorded import FOLDER
from suites.regimes.repeated import PERIOD, places

Options = Any


def _normal(shape: Shape, generator: Generator) -> Tensor:
    return torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)


def _labels(shape: Shape, generator: Generator) -> Tensor:
    return torch.randint(0, shape.classes, (shape.batch, 1), generator=generator)


def _log_uniform(size: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    share = torch.rand(size, generator=generator, dtype=torch.float64)
    return (math.log(low) + (math.log(high) - math.log(low)) * share).exp()


def _pair(logits: Tensor, others: Tensor) -> Sample:
    """Returns x = log_softmax(logits) against t = softmax(others)."""
    return Sample(log_probabilities=logits.log_softmax(1), target=others.softmax(1))


def independent(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two distributions that know nothing of each other: softmax of standard normal scores."""
    return _pair(_normal(shape, generator), _normal(shape, generator))


def wide(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores of standard deviation 10: most probabilities are tiny, some vanish in float16."""
    return _pair(10 * _normal(shape, generator), 10 * _normal(shape, generator))


def near(shape: Shape, finfo: finfo, generator: Generator, *, noise: float) -> Sample:
    """The target is x with its scores moved a little: a student close to its teacher."""
    logits = _normal(shape, generator)
    return _pair(logits, logits + noise * _normal(shape, generator))


def near_logits(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores that every dtype holds exactly; the target is their softmax, moved by 0.01 alone."""
    # Steps of 1/16 up to 4: eight bits, what bfloat16 has.
    logits = (16 * _normal(shape, generator)).round().clamp(-64, 64) / 16
    moved = logits + 1e-2 * _normal(shape, generator)
    return Sample(log_probabilities=logits, target=moved.softmax(1))


def equal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The same distribution twice; only rounding keeps the divergence from being 0."""
    logits = _normal(shape, generator)
    return _pair(logits, logits)


def _some_classes(shape: Shape, generator: Generator) -> Tensor:
    """Returns about half of the classes, one at least and never all where there are two."""
    chosen = torch.rand(shape.batch, shape.classes, generator=generator) < 0.5
    kept = _labels(shape, generator)
    chosen.scatter_(1, (kept + 1) % shape.classes, True)
    return chosen.scatter_(1, kept, False)


def zeros(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About half of the targets are exactly 0, x is finite everywhere."""
    sample = independent(shape, finfo, generator)
    target = sample["target"].masked_fill(_some_classes(shape, generator), 0.0)
    return sample.replaced(target=target / target.sum(1, keepdim=True))


def masked(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About half of the classes are forbidden in both: x = -inf where t = 0."""
    logits, others = _normal(shape, generator), _normal(shape, generator)
    forbidden = _some_classes(shape, generator)
    return _pair(logits.masked_fill(forbidden, -math.inf), others.masked_fill(forbidden, -math.inf))


def excluded(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every third row excludes a class that has mass, x = -inf with t > 0: an infinite divergence."""
    logits, others = _normal(shape, generator), _normal(shape, generator)
    row = torch.arange(shape.batch).unsqueeze(1)
    # A row of one class would have no class left.
    if shape.classes > 1:
        place = _labels(shape, generator)
        logits = logits.scatter(1, place, torch.where(row % 3 == 0, -math.inf, logits.gather(1, place)))
    return _pair(logits, others)


def _first_nan(tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.view(-1)[:1] = math.nan
    return copy


def nan_input(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One entry of x is NaN against mass: its row is NaN, and a sum that is a number has swallowed it."""
    sample = independent(shape, finfo, generator)
    return sample.replaced(log_probabilities=_first_nan(sample["log_probabilities"]))


def nan_target(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One entry of the target is NaN: its row is NaN, and no form may take it for a class without mass."""
    sample = independent(shape, finfo, generator)
    return sample.replaced(target=_first_nan(sample["target"]))


def one_hot(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Targets that are labels: one class has all of the mass."""
    target = torch.zeros(shape.batch, shape.classes, dtype=torch.float64)
    target.scatter_(1, _labels(shape, generator), 1.0)
    return Sample(log_probabilities=_normal(shape, generator).log_softmax(1), target=target)


def tiny_targets(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """All targets but one between the dtype's smallest subnormal number and 1e-3."""
    low = max(finfo.smallest_normal * finfo.eps, 5e-324)
    target = _log_uniform(tuple(shape), low, 1e-3 / shape.classes, generator)
    place = _labels(shape, generator)
    rest = 1 - target.scatter(1, place, 0.0).sum(1, keepdim=True)
    return Sample(
        log_probabilities=_normal(shape, generator).log_softmax(1), target=target.scatter_(1, place, rest)
    )


def unnormalised(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores taken for log-probabilities, targets of mass 1/2 to 3/2: the divergence may be negative."""
    mass = 0.5 + torch.rand(shape.batch, 1, generator=generator, dtype=torch.float64)
    logits, others = _normal(shape, generator), _normal(shape, generator)
    return Sample(log_probabilities=logits, target=mass * others.softmax(1))


def _peaked(shape: Shape, finfo: finfo, place: Tensor, generator: Generator) -> Tensor:
    """Returns scores whose class at `place` leads by a gap up to 1.5 p ln 2 (p bits of the dtype)."""
    logits = _normal(shape, generator)
    bits = 1 - math.log2(finfo.eps)
    gap = 1.5 * bits * math.log(2) * torch.rand(shape.batch, 1, generator=generator, dtype=torch.float64)
    return logits.scatter_(1, place, logits.max(1, keepdim=True).values + gap)


def confident(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Both are sure of the same class, up to and past the point where its probability rounds to 1."""
    place = _labels(shape, generator)
    return _pair(_peaked(shape, finfo, place, generator), _peaked(shape, finfo, place, generator))


def saturated(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Each is sure of another class: the divergence is about the gap."""
    place = _labels(shape, generator)
    other = (place + 1) % shape.classes
    return _pair(_peaked(shape, finfo, other, generator), _peaked(shape, finfo, place, generator))


def near_overflow(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Unnormalised x of both signs up to a size at which the exact sum over the batch stays finite."""
    top = finfo.max / (16 * max(shape.batch, 1))
    sizes = _log_uniform((shape.batch, 1), top / 64, top, generator)
    signs = torch.randint(0, 2, tuple(shape), generator=generator) * 2 - 1
    spread = 0.5 + 0.5 * torch.rand(tuple(shape), generator=generator, dtype=torch.float64)
    return Sample(log_probabilities=sizes * signs * spread, target=_normal(shape, generator).softmax(1))


def distilled(shape: Shape, finfo: finfo, generator: Generator, *, model: str) -> Sample:
    """The same rows of one training run: x half-way through, the target late."""
    from safetensors.torch import load_file

    student, teacher = (
        load_file(FOLDER / f"{model}_{stage}.safetensors")["logits"].double() for stage in ("halfway", "late")
    )
    rows = torch.randperm(len(student), generator=generator)[: shape.batch]
    return _pair(student[rows], teacher[rows])


def distilled_regimes() -> tuple[Regime, ...]:
    """Returns the recorded pairs; classes are fixed, the batch is at most what the files hold."""
    return tuple(
        Regime(
            partial(distilled, model=model),
            name=f"recorded_{model}_distilled",
            batch=rows,
            classes=classes,
            about=f"Log-probabilities half-way in training against those late, of {about}",
        )
        for model, classes, rows, about in (
            ("digits", 10, 256, "a digits classifier"),
            ("bytes", 256, 128, "a byte-level language model"),
        )
    )


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two rows of x in [-value, 0] whose largest magnitude is `value`, against the uniform distribution.

    Their losses sum to at most twice the value.
    """
    classes = max(shape.classes, 2)
    x = -torch.rand(2, classes, generator=generator, dtype=torch.float64)
    x *= value / x.abs().max(1, keepdim=True).values
    target = torch.full((2, classes), 1.0 / classes, dtype=torch.float64)
    return Sample(log_probabilities=x, target=target)


def closeness(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four rows whose target is x with its scores moved by 2^-value: see `near`."""
    return near(Shape(4, max(shape.classes, 2)), finfo, generator, noise=2.0**-value)


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of three classes from a cycle, each with a divergence of about 1."""
    logits, others = (torch.randn(PERIOD, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    cycle = places(value)
    return _pair(logits[cycle], others[cycle])


def many_classes(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two rows of so many classes: what reads a block of them alone misses the rest."""
    logits, others = (torch.randn(2, int(value), generator=generator, dtype=torch.float64) for _ in range(2))
    return _pair(logits, others)


def every_value(values: Tensor) -> Sample:
    """Rows of one class that has all of the mass: the exact loss is -x."""
    x = values.unsqueeze(1)
    return Sample(log_probabilities=x, target=torch.ones_like(x))


def every_mass(values: Tensor) -> Sample:
    """Rows of one class of mass 0 to 1 under x = -1: the loss is t (log t + 1), its slope by t log t + 2."""
    mass = values[(values >= 0) & (values <= 1)].unsqueeze(1)
    x = torch.full_like(mass, -1.0)
    return Sample(log_probabilities=x, target=mass, gradients=("log_probabilities", "target"))


def both_gradients(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Asks for the gradient with respect to the target as well."""
    return sample.replaced(gradients=("log_probabilities", "target"))


def logarithms(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Gives the target as logarithms, 0 as -inf, and no gradient by it."""
    return sample.replaced(target=sample["target"].log())


def both_gradients_of_logarithms(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Gives the target as logarithms, 0 as -inf, and asks for its gradient as well."""
    return both_gradients(logarithms(sample, options, generator), options, generator)
