"""Input distributions for losses of sequences: log-probabilities (T, N, C), labels (N, S) and both lengths.

Each function draws in float64 from the generator alone; class 0 is the blank, and a variant may move it.
Input lengths differ from row to row, and so do target lengths; what stands beyond them is drawn like the
rest unless a regime says otherwise. The trap: a target needs as many frames as labels, and one more for each
label that equals its predecessor, so an input length drawn without regard to the labels is impossible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, finfo

from harness import Invalid, Sample, Shape

Options = Any
FRAMES = 8
LABELS = 3
LONG_FRAMES = 64
LONG_LABELS = 6


@dataclass(frozen=True)
class Strings:
    """Labels (N, S), how many of them count (N,), how many frames they need and get (N,), out of `frames`."""

    labels: Tensor
    sizes: Tensor
    needed: Tensor
    lengths: Tensor
    frames: int

    def alignment(self) -> Tensor:
        """Returns one possible alignment (T, N), stretched evenly over the input length; 0 is the blank."""
        count, width = self.labels.shape
        places = torch.arange(width) + _repeats(self.labels).cumsum(1)
        # Labels that do not count go to a last column, which nobody reads.
        places = torch.where(torch.arange(width) < self.sizes[:, None], places, 2 * width)
        path = torch.zeros(count, 2 * width + 1, dtype=torch.long).scatter(1, places, self.labels)
        steps = torch.arange(self.frames) * self.needed.clamp(min=1)[:, None]
        at = (steps // self.lengths.clamp(min=1)[:, None]).clamp(max=2 * width - 1)
        return path.gather(1, at).T


def _repeats(labels: Tensor) -> Tensor:
    found = torch.zeros_like(labels)
    found[:, 1:] = labels[:, 1:] == labels[:, :-1]
    return found


def _needed(labels: Tensor, sizes: Tensor) -> Tensor:
    """Returns the least number of frames of each target."""
    counted = torch.arange(labels.shape[1]) < sizes[:, None]
    return sizes + (_repeats(labels) * counted).sum(1)


def _between(low: Tensor, high: Tensor | int, generator: Generator) -> Tensor:
    """Returns whole numbers from `low` to `high`, both included."""
    share = torch.rand(low.shape, generator=generator, dtype=torch.float64)
    return low + (share * (high - low + 1)).long()


def _strings(
    shape: Shape,
    generator: Generator,
    *,
    frames: int = FRAMES,
    width: int = LABELS,
    repeated: bool = False,
) -> Strings:
    """Returns targets of 1 to `width` labels (0 where there is only the blank) and inputs long enough."""
    labels = torch.randint(
        min(1, shape.classes - 1), shape.classes, (shape.batch, width), generator=generator
    )
    if repeated:
        labels = labels[:, :1].expand(-1, width).clone()
    sizes = _between(torch.ones(shape.batch, dtype=torch.long), width, generator)
    sizes = sizes if shape.classes > 1 else torch.zeros_like(sizes)
    needed = _needed(labels, sizes)
    lengths = _between(needed.clamp(min=1), frames, generator)
    # One input at least uses every frame, as a batch that was padded does.
    lengths[:1] = frames
    return Strings(labels, sizes, needed, lengths, frames)


def _normal(shape: Shape, generator: Generator, frames: int = FRAMES) -> Tensor:
    return torch.randn(frames, shape.batch, shape.classes, generator=generator, dtype=torch.float64)


def _sample(log_probs: Tensor, strings: Strings) -> Sample:
    return Sample(
        log_probs=log_probs,
        targets=strings.labels,
        input_lengths=strings.lengths,
        target_lengths=strings.sizes,
        layout="sequences",
    )


def _towards(labels: Tensor, height: float, shape: Shape, generator: Generator) -> Tensor:
    """Returns normal scores with one label per frame (T, N) raised by so much."""
    raised = torch.nn.functional.one_hot(labels, shape.classes).double()
    return _normal(shape, generator, len(labels)) + height * raised


def typical(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Log-softmax of standard normal scores against targets that know nothing of them."""
    return _sample(_normal(shape, generator).log_softmax(2), _strings(shape, generator))


def confident(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One alignment of the target stands out by 6: losses of a trained network."""
    strings = _strings(shape, generator)
    return _sample(_towards(strings.alignment(), 6.0, shape, generator).log_softmax(2), strings)


def saturated(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One alignment stands out by 30: the loss is about e^-30, log-probabilities on the path are as small."""
    strings = _strings(shape, generator)
    return _sample(_towards(strings.alignment(), 30.0, shape, generator).log_softmax(2), strings)


def confident_wrong(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every frame is sure of a label that the target does not ask for there: losses of about 10 a frame."""
    strings = _strings(shape, generator)
    wrong = (strings.alignment() + 1) % shape.classes
    return _sample(_towards(wrong, 12.0, shape, generator).log_softmax(2), strings)


def repeated(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Targets of one label over and over: each repetition needs a blank between."""
    return _sample(_normal(shape, generator).log_softmax(2), _strings(shape, generator, repeated=True))


def minimal(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """As many frames as the target needs and no more: a single alignment, its slopes are -1."""
    strings = _strings(shape, generator)
    exact = Strings(
        strings.labels, strings.sizes, strings.needed, strings.needed.clamp(min=1), strings.frames
    )
    return _sample(_normal(shape, generator).log_softmax(2), exact)


def one_frame(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """One frame and one label: the loss is one log-probability."""
    strings = _strings(shape, generator, frames=1, width=1)
    return _sample(_normal(shape, generator, 1).log_softmax(2), strings)


def empty_targets(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every second target is empty: the only alignment is blank all along; one input is empty as well."""
    strings = _strings(shape, generator)
    strings.sizes[::2] = 0
    if shape.batch > 2:
        strings.lengths[2] = 0
    return _sample(_normal(shape, generator).log_softmax(2), strings)


def impossible(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Every second input is one frame too short for its target, every fourth lacks a label: losses of inf."""
    strings = _strings(shape, generator)
    scores = _normal(shape, generator)
    strings.lengths[::4] = (strings.needed[::4] - 1).clamp(min=0)
    rows = torch.arange(shape.batch)[2::4]
    scores[:, rows, strings.labels[rows, 0]] = -math.inf
    alone = shape.classes == 1
    return _sample((_normal(shape, generator) if alone else scores).log_softmax(2), strings)


def masked(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """About a third of all classes are forbidden, x = -inf, but one alignment is not: losses are finite."""
    strings = _strings(shape, generator)
    scores = _normal(shape, generator)
    forbidden = torch.rand(scores.shape, generator=generator) < 1 / 3
    forbidden.scatter_(2, strings.alignment()[:, :, None], False)
    return _sample(scores.masked_fill(forbidden, -math.inf).log_softmax(2), strings)


def padded(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """NaN and infinities behind the last frame, -1 and C + 7 behind the last label: none of it may matter."""
    strings = _strings(shape, generator)
    scores = _normal(shape, generator).log_softmax(2)
    beyond = torch.arange(FRAMES)[:, None] >= strings.lengths
    waste = torch.tensor([math.nan, math.inf, -math.inf], dtype=torch.float64)
    garbage = waste[torch.randint(0, 3, scores.shape, generator=generator)]
    behind = torch.arange(LABELS) >= strings.sizes[:, None]
    no_class = torch.tensor([-1, shape.classes + 7])[torch.arange(LABELS) % 2].expand_as(behind)
    labels = torch.where(behind, no_class, strings.labels)
    sample = _sample(torch.where(beyond[:, :, None], garbage, scores), strings)
    return sample.replaced(targets=labels)


def long(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """64 frames of scores of standard deviation 2: a product of so many probabilities is no float32."""
    strings = _strings(shape, generator, frames=LONG_FRAMES, width=LONG_LABELS)
    return _sample((2 * _normal(shape, generator, LONG_FRAMES)).log_softmax(2), strings)


def unnormalised(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Scores that nobody normalised: the sum over alignments may exceed 1, its loss is negative then."""
    return _sample(1 + _normal(shape, generator), _strings(shape, generator))


def many_frames(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Typical inputs of so many frames, all of which count."""
    frames = int(value)
    strings = _strings(shape, generator, frames=frames)
    strings.lengths[:] = frames
    return _sample(_normal(shape, generator, frames).log_softmax(2), strings)


def scaled(value: float, shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Log-probabilities between half of -value and -value: every loss is a sum of FRAMES such numbers."""
    size = torch.rand(FRAMES, shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    strings = _strings(shape, generator)
    strings.lengths[:] = FRAMES
    return _sample(-value * (0.5 + 0.5 * size), strings)


def blank_last(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Moves the blank from class 0 to class C - 1, and every label one down."""
    labels = torch.where(sample["targets"] > 0, sample["targets"] - 1, sample["targets"])
    return sample.replaced(log_probs=sample["log_probs"].roll(-1, 2), targets=labels)


def last_class(shape: Shape, dtype: torch.dtype) -> int:
    """Returns the class that is the blank where it comes last."""
    return shape.classes - 1


def _with_last(lengths: Tensor, value: int) -> Tensor:
    changed = lengths.clone()
    changed[-1] = value
    return changed


def input_beyond_frames(sample: Sample, options: Options) -> Sample:
    """The last input is one frame longer than the batch."""
    longer = _with_last(sample["input_lengths"], len(sample["log_probs"]) + 1)
    return sample.replaced(input_lengths=longer)


def target_beyond_labels(sample: Sample, options: Options) -> Sample:
    """The last target is one label longer than the padded labels."""
    longer = _with_last(sample["target_lengths"], sample["targets"].shape[1] + 1)
    return sample.replaced(target_lengths=longer)


def negative_length(sample: Sample, options: Options) -> Sample:
    """The last input has -1 frames."""
    return sample.replaced(input_lengths=_with_last(sample["input_lengths"], -1))


def label_beyond_classes(sample: Sample, options: Options) -> Sample:
    """The first label of the last target is C, one beyond the last class."""
    changed = sample["targets"].clone()
    changed[-1, 0] = sample["log_probs"].shape[2]
    return sample.replaced(targets=changed)


INVALID_SEQUENCES = (
    Invalid("input_beyond_frames", input_beyond_frames),
    Invalid("target_beyond_labels", target_beyond_labels),
    Invalid("negative_length", negative_length),
    Invalid("label_beyond_classes", label_beyond_classes),
)
