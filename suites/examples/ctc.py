"""Worked alignments, by hand, and identities that every implementation must hold.

With one label and three frames of three equally likely classes there are six alignments of 27 strings
each 1/27: a--, -a-, --a, aa-, -aa, aaa. With the label twice, only a-a. The trap: a loss counts alignments,
not positions, so a longer input is not always a larger loss.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

_THIRD = math.log(1 / 3)


def _even(frames: int, targets: list[int]) -> dict[str, object]:
    return {
        "log_probs": [[[_THIRD] * 3]] * frames,
        "targets": [targets],
        "input_lengths": [frames],
        "target_lengths": [len(targets)],
    }


EXAMPLES = (
    Example("sum", _even(3, [1]), 1.5041, source="by hand: log(27 / 6), six alignments of three frames"),
    Example("sum", _even(3, [1, 1]), 3.2958, source="by hand: log 27, the only alignment is a-a"),
    Example("sum", _even(3, [1, 2]), 1.6864, source="by hand: log(27 / 5): ab-, a-b, -ab, aab, abb"),
    Example(
        "mean", _even(3, [1, 2]), 0.8432, source="by hand: log(27 / 5) / 2, divided by the target length"
    ),
    Example("mean", _even(2, []), 2.1972, source="by hand: log 9, two blanks; an empty target divides by 1"),
    Example(
        "zero_infinity",
        _even(2, [1, 1]),
        0.0,
        source="by hand: two equal labels need three frames; 0 if asked",
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _backward_in_time(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, targets, frames, sizes = sample.tensors
    return evaluate(
        torch.stack([_reversed(x[:, n], int(frames[n])) for n in range(x.shape[1])], 1),
        torch.stack([_reversed(targets[n], int(sizes[n])) for n in range(len(targets))]),
        frames,
        sizes,
        reduction="none",
    )


def _reversed(values: Tensor, count: int) -> Tensor:
    return torch.cat([values[:count].flip(0), values[count:]])


def _relabelled(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, targets, frames, sizes = sample.tensors
    # The blank stays, the other classes change places.
    order = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1, x.shape[2]).flip(0)])
    return evaluate(x[:, :, order], order[targets], frames, sizes, reduction="none")


def _shifted(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, targets, frames, sizes = sample.tensors
    # A power of two is added to every frame: each alignment gains it as often as there are frames.
    return evaluate(x - 2.0, targets, frames, sizes, reduction="none") - 2.0 * frames


def _enumerated(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Adds up every labelling of the frames that collapses to the target."""
    x, targets, frames, sizes = sample.tensors
    losses = []
    for n in range(x.shape[1]):
        wanted = targets[n, : int(sizes[n])].tolist()
        frame = torch.arange(int(frames[n]))
        scores = [x[frame, n, torch.tensor(path)].sum() for path in _paths(len(frame), wanted)]
        losses.append(-torch.stack(scores).logsumexp(0))
    return torch.stack(losses)


def _paths(frames: int, wanted: list[int]) -> list[list[int]]:
    """Returns the labellings of so many frames that are the target without repeats and blanks."""
    labels = [0, *sorted(set(wanted))]
    return [
        list(path) for path in itertools.product(labels, repeat=frames) if collapsed(list(path)) == wanted
    ]


def collapsed(path: list[int]) -> list[int]:
    """Returns a labelling without repetitions and then without blanks (Graves et al. 2006, the map B)."""
    kept = [label for place, label in enumerate(path) if place == 0 or label != path[place - 1]]
    return [label for label in kept if label != 0]


IDENTITIES = (
    Identity(
        "every_labelling_that_collapses_to_the_target",
        _plain,
        _enumerated,
        variant="mean",
        regime="repeated",
        source="Graves et al. 2006, equation 3",
    ),
    Identity(
        "read_backward_it_is_as_likely",
        _plain,
        _backward_in_time,
        variant="mean",
        regime="typical",
        source="an alignment read backward aligns the target read backward",
    ),
    Identity(
        "names_of_labels_do_not_matter",
        _plain,
        _relabelled,
        variant="mean",
        regime="typical",
        source="only the blank is special",
    ),
    Identity(
        "a_shift_is_added_once_a_frame",
        _plain,
        _shifted,
        variant="mean",
        regime="unnormalised",
        source="every alignment has as many scores as there are frames",
    ),
)
