"""What the worked examples of margins between classes share: only differences of scores count.

The sides of an identity ask for one loss per row. The trap: what such a loss makes of labels is not shared,
since a label is one number in one family and a list that -1 ends in another.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Identity, Sample

# The row of torch's documentation.
ROW = [0.1, 0.2, 0.4, 0.8]


def plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Returns the losses as they are."""
    return evaluate(*sample.tensors, reduction="none")


def shifted(evaluate: Evaluate, sample: Sample) -> Tensor:
    """Returns the losses of scores that are all larger by 1."""
    scores, target = sample.tensors
    return evaluate(scores + 1.0, target, reduction="none")


SHIFT_INVARIANCE = Identity(
    "shift_invariance",
    plain,
    shifted,
    variant="mean",
    regime="unit_normal",
    source="only differences of scores count",
)
