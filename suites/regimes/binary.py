"""Input distributions for losses of yes-or-no questions: logits or probabilities, labels 0, 1 or soft.

Every entry of (N, C) is a question of its own. Each function draws in float64 from the generator alone.
The trap: the two labels are not mirror images in floating point (1 - p has no bits left where p has
plenty), so every regime draws both. What several families ask of them in the same words stands at the end.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Exhaustive, Regime, Sample, Shape, Shapes, Variant
from suites.regimes.climbs import lead_ladder, scale_ladder
from suites.regimes.recorded import recorded
from suites.regimes.repeated import PERIOD, places, rows_ladder

Options = Any


def _normal(shape: Shape, generator: Generator) -> Tensor:
    return torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)


def _uniform(shape: Shape, generator: Generator) -> Tensor:
    return torch.rand(shape.batch, shape.classes, generator=generator, dtype=torch.float64)


def _labels(shape: Shape, generator: Generator) -> Tensor:
    return torch.randint(0, 2, tuple(shape), generator=generator).double()


def _log_uniform(shape: Shape, low: float, high: float, generator: Generator) -> Tensor:
    share = _uniform(shape, generator)
    return (math.log(low) + (math.log(high) - math.log(low)) * share).exp()


def _smallest(finfo: finfo) -> float:
    return max(finfo.smallest_normal * finfo.eps, 5e-324)


def _bits(finfo: finfo) -> float:
    return 1 - math.log2(finfo.eps)


def _asked(logits: Tensor, target: Tensor) -> Sample:
    return Sample(logits=logits, target=target, layout="elements")


def unit_normal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Standard normal logits, random labels: a network at its start."""
    return _asked(_normal(shape, generator), _labels(shape, generator))


def wide(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits of standard deviation 10, random labels: half of the answers are wrong and sure."""
    return _asked(10 * _normal(shape, generator), _labels(shape, generator))


def _sure(shape: Shape, finfo: finfo, generator: Generator) -> Tensor:
    return 1.5 * _bits(finfo) * math.log(2) * _uniform(shape, generator)


def confident(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Right and sure, up to and past the logit at which its probability rounds to 1."""
    target = _labels(shape, generator)
    return _asked((2 * target - 1) * _sure(shape, finfo, generator), target)


def confident_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Wrong and sure, up to and past the logit at which its probability rounds to 0."""
    target = _labels(shape, generator)
    return _asked((1 - 2 * target) * _sure(shape, finfo, generator), target)


def soft_targets(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits of standard deviation 3, targets anywhere between 0 and 1."""
    return _asked(3 * _normal(shape, generator), _uniform(shape, generator))


def distilled(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Targets next to the logistic function of the logits: the gradient almost vanishes."""
    logits = 3 * _normal(shape, generator)
    return _asked(logits, (logits + 0.1 * _normal(shape, generator)).sigmoid())


def near_overflow(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Both signs up to a size at which the exact sum stays finite (float16: up to 256 at least)."""
    top = max(finfo.max / (16 * max(shape.batch * shape.classes, 1)), 256.0)
    signs = 2 * _labels(shape, generator) - 1
    return _asked(signs * _log_uniform(shape, top / 64, top, generator), _labels(shape, generator))


def tiny(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Logits from the dtype's smallest subnormal number up to 1e-3, of both signs."""
    signs = 2 * _labels(shape, generator) - 1
    sizes = _log_uniform(shape, _smallest(finfo), 1e-3, generator)
    return _asked(signs * sizes, _labels(shape, generator))


def at_zero(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every logit is 0, of either sign: the loss is log 2."""
    signs = 2 * _labels(shape, generator) - 1
    return _asked(0.0 * signs, _labels(shape, generator))


def infinite(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About half of the logits are infinite on the side of their label and cost nothing."""
    sample = unit_normal(shape, finfo, generator)
    side = (2 * sample["target"] - 1) * math.inf
    chosen = _uniform(shape, generator) < 0.5
    return sample.replaced(logits=torch.where(chosen, side, sample["logits"]))


def infinite_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """The logits of the second column are infinite on the wrong side; its weight may be 0."""
    sample = unit_normal(shape, finfo, generator)
    logits, target = sample["logits"].clone(), sample["target"]
    logits[:, 1:2] = (1 - 2 * target[:, 1:2]) * math.inf
    return sample.replaced(logits=logits)


def poisoned(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One logit is NaN: no other element's gradient may know of it."""
    sample = unit_normal(shape, finfo, generator)
    logits = sample["logits"].clone()
    logits[0, 0] = math.nan
    return sample.replaced(logits=logits)


def recorded_questions(shape: Shape, finfo: finfo, generator: Generator, *, stage: str) -> Sample:
    """Logits of a digits classifier, asked one digit at a time."""
    sample = recorded(shape, finfo, generator, file=f"digits_{stage}.safetensors")
    logits = sample["logits"]
    target = torch.nn.functional.one_hot(sample["target"], logits.shape[1]).double()
    return _asked(logits, target)


def recorded_regimes() -> tuple[Regime, ...]:
    """Returns the recorded logits, half-way and late in training."""
    return tuple(
        Regime(
            partial(recorded_questions, stage=stage),
            name=f"recorded_digits_{stage}",
            batch=256,
            classes=10,
            about=f"Logits of a digits classifier, one digit at a time, {stage} in training",
        )
        for stage in ("halfway", "late")
    )


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Four logits of size `value`: both signs against both labels."""
    logits = torch.tensor([[value], [value], [-value], [-value]], dtype=torch.float64)
    return _asked(logits, torch.tensor([[1.0], [0.0], [1.0], [0.0]], dtype=torch.float64))


def lead(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Two logits that are right by `value`, one of each label."""
    logits = torch.tensor([[value], [-value]], dtype=torch.float64)
    return _asked(logits, torch.tensor([[1.0], [0.0]], dtype=torch.float64))


def many_rows(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of one question from a cycle, losses about 0.8."""
    cycle = places(value)
    return unit_normal(Shape(PERIOD, 1), finfo, generator).mapped(lambda tensor: tensor[cycle])


def every_logit(values: Tensor, *, label: float) -> Sample:
    """One row per value of the logit, all of the same label."""
    logits = values.unsqueeze(1)
    return _asked(logits, torch.full_like(logits, label))


def both_gradients(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Asks for the gradient with respect to the target as well."""
    return sample.replaced(gradients=(*sample.gradients, "target"))


def hard_labels(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Rounds the targets to labels, which pick a class weight; a NaN, which picks none, becomes 0."""
    return sample.replaced(target=sample["target"].round().nan_to_num(0.0))


def class_weight(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Returns a weight per column from 1 to 3, and 0 for the second."""
    weight = torch.linspace(1.0, 3.0, shape.classes, dtype=torch.float64)
    weight[1:2] = 0.0
    return weight.to(dtype)


def entry_weight(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Returns a weight (N, C) of the entries: a cycle of seven from 0 to 2 that each row enters elsewhere."""
    cycle = torch.tensor([1.0, 0.5, 1.5, 0.75, 2.0, 1.25, 0.0], dtype=torch.float64)
    place = 3 * torch.arange(shape.batch).unsqueeze(1) + torch.arange(shape.classes)
    return cycle[place % 7].to(dtype)


def pos_weight(shape: Shape, dtype: torch.dtype) -> Tensor:
    """Returns a weight of the positive answers per column, in turn 2, 1/2 and 4."""
    cycle = torch.tensor([2.0, 0.5, 4.0], dtype=torch.float64)
    return cycle[torch.arange(shape.classes) % 3].to(dtype)


def _probability(probabilities: Tensor, target: Tensor) -> Sample:
    return Sample(probabilities=probabilities, target=target, layout="elements")


def _inside(shape: Shape, generator: Generator) -> Tensor:
    return 0.02 + 0.96 * _uniform(shape, generator)


def uniform(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Probabilities from 0.02 to 0.98, random labels: no format rounds them to 0 or 1."""
    return _probability(_inside(shape, generator), _labels(shape, generator))


def uniform_soft(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Probabilities from 0.02 to 0.98, targets anywhere between 0 and 1."""
    return _probability(_inside(shape, generator), _uniform(shape, generator))


def calibrated(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Targets next to the probabilities: the gradient almost vanishes."""
    p = _inside(shape, generator)
    return _probability(p, (p + 0.02 * _normal(shape, generator)).clamp(0, 1))


def halves(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every probability is 1/2: the loss is log 2."""
    return _probability(torch.full(tuple(shape), 0.5, dtype=torch.float64), _labels(shape, generator))


def _distance(shape: Shape, finfo: finfo, generator: Generator) -> Tensor:
    return _log_uniform(shape, finfo.eps / 4, 0.5, generator)


def sure(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Right by all but a share down to a quarter of the dtype's spacing at 1; some round to exactly 1."""
    target, rest = _labels(shape, generator), _distance(shape, finfo, generator)
    return _probability((target - rest).abs(), target)


def sure_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Wrong by all but the same share; probabilities that round to 1 cost infinity."""
    target, rest = _labels(shape, generator), _distance(shape, finfo, generator)
    return _probability((1 - target - rest).abs().clamp(max=1 - finfo.eps), target)


def underflowing(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Probabilities from the dtype's smallest subnormal number to 1e-3 where 1 is right (float64: normal)."""
    p = _log_uniform(shape, max(_smallest(finfo), 2.0**-1022), 1e-3, generator)
    return _probability(p, torch.ones_like(p))


def certain(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Probabilities of exactly 0 and 1, all of them right: nothing to pay."""
    target = _labels(shape, generator)
    return _probability(target.clone(), target)


def certain_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One column of exactly 0 and 1 is wrong and costs infinity; the others are uniform."""
    sample = uniform(shape, finfo, generator)
    p, target = sample["probabilities"].clone(), sample["target"]
    p[:, 0] = 1 - target[:, 0]
    return sample.replaced(probabilities=p)


def nan_probability(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One probability is NaN: its loss is NaN, and a sum that is a number has swallowed it."""
    sample = uniform(shape, finfo, generator)
    return sample.replaced(probabilities=first_nan(sample["probabilities"]))


def nan_target(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One target is NaN: so are its loss and the slope of its probability; under class weights it is 0."""
    sample = uniform(shape, finfo, generator)
    return sample.replaced(target=first_nan(sample["target"]))


def first_nan(tensor: Tensor) -> Tensor:
    """Returns a copy whose first entry is NaN, where it has one."""
    copy = tensor.clone()
    copy.view(-1)[:1] = math.nan
    return copy


def recorded_probabilities(shape: Shape, finfo: finfo, generator: Generator, *, stage: str) -> Sample:
    """Sigmoids of the logits of a digits classifier, asked one digit at a time."""
    sample = recorded_questions(shape, finfo, generator, stage=stage)
    return _probability(sample["logits"].sigmoid(), sample["target"])


def small_probability(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One probability 2^-value where 1 is right."""
    p = torch.tensor([[2.0**-value]], dtype=torch.float64)
    return _probability(p, torch.ones_like(p))


def many_probabilities(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of one question from a cycle, losses about 0.8."""
    sample = many_rows(value, shape, finfo, generator)
    return _probability(sample["logits"].sigmoid(), sample["target"])


def every_probability(values: Tensor, *, label: float) -> Sample:
    """One row per value from 0 to 1, both zeros included, all of the same label."""
    p = values[(values >= 0) & (values <= 1)].unsqueeze(1)
    return _probability(p, torch.full_like(p, label))


def signed(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Turns labels 0 and 1 into -1 and 1, for losses of the margin y x."""
    return Sample(x=sample["logits"], y=2 * sample["target"].round() - 1, layout="elements")


def every_margin(values: Tensor, *, label: float) -> Sample:
    """One row per value of x, all of the same signed label."""
    x = values.unsqueeze(1)
    return Sample(x=x, y=torch.full_like(x, label), layout="elements")


def every_logit_in_rows(values: Tensor, *, label: float) -> Sample:
    """One row of one question per value of the logit, all of the same label."""
    return every_logit(values, label=label).replaced(layout="rows")


def in_rows(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Gives the same questions to a loss of one number per row."""
    return sample.replaced(layout="rows")


def both_gradients_in_rows(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Gives the questions in rows and asks for the gradient with respect to the target as well."""
    return both_gradients(in_rows(sample, options, generator), options, generator)


def many_columns(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One row of as many questions, each wrong by 3: about 3.05 apiece."""
    logits = torch.full((1, int(value)), 3.0, dtype=torch.float64)
    return _asked(logits, torch.zeros_like(logits))


ORDINARY = (Regime(unit_normal), Regime(wide), Regime(confident), Regime(confident_wrong))
# Both ends of the range of a logit, and 0 itself.
EXTREMES = (Regime(near_overflow), Regime(tiny), Regime(at_zero))
NOT_FINITE = (Regime(infinite), Regime(infinite_wrong), Regime(poisoned))
# A weight for each of the two answers, which the label picks.
CLASS_WEIGHTS = (
    Variant("class_weights", class_weights=(0.5, 3.0), adapt=hard_labels),
    Variant("class_weights_sum", reduction="sum", class_weights=(0.5, 3.0), adapt=hard_labels),
    Variant("class_weights_none", reduction="none", class_weights=(0.5, 3.0), adapt=hard_labels),
)
# Every entry is a question of its own: one shape is timed, in one regime.
SHAPES = Shapes(
    covering=(Shape(1, 3), Shape(7, 10), Shape(64, 101)),
    timed=(Shape(64, 1000),),
    slow_regime="",
    clocked=("float32", "bfloat16"),
)
# Two of the four logits are wrong: their losses sum to twice the value, four fifths of the range.
SCALE = scale_ladder(scaled, "size of four logits, two of them wrong", share=0.4)
LEAD = lead_ladder(lead, "size of two logits, both right")
ROWS = rows_ladder(many_rows, "rows of one question, losses about 0.8")
EXHAUSTIVE = (
    Exhaustive("positive", partial(every_logit, label=1.0), "the logit z at label 1"),
    Exhaustive("negative", partial(every_logit, label=0.0), "the logit z at label 0"),
)
