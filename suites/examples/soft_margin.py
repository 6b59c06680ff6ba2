"""Worked values of the soft margin loss, and identities that every implementation must hold.

The trap: 100 is where the printed form is infinite in float32; a text that shows it shows 100.
"""

from __future__ import annotations

from torch import Tensor

from harness import Evaluate, Example, Identity, Sample

OVERFLOWS = "e^100 overflows float32"
NO_OPTION = {"text_sum": "the text's definition is a sum"}

EXAMPLES = (
    Example("mean", {"x": [[0.0]], "y": [[-1.0]]}, 0.6931, source="log 2, an answer that knows nothing"),
    Example(
        "mean",
        {"x": [[2.0, -1.0, 0.5]], "y": [[1.0, -1.0, 1.0]]},
        0.3048,
        source="(log(1 + e^-2) + log(1 + e^-1) + log(1 + e^-0.5)) / 3",
        divergent=NO_OPTION,
    ),
    Example(
        "mean",
        {"x": [[-100.0]], "y": [[1.0]]},
        100.0,
        source="catalogue row 30",
        dtype="float32",
        divergent=dict.fromkeys(("native", "native_module", "textbook", "naive_loop", "upcast"), OVERFLOWS),
    ),
)


def _plain(evaluate: Evaluate, sample: Sample) -> Tensor:
    return evaluate(*sample.tensors, reduction="none")


def _with_logits(evaluate: Evaluate, sample: Sample) -> Tensor:
    from suites.binary_cross_entropy_with_logits import SUITE as BINARY

    x, y = sample.tensors
    return evaluate.truth(BINARY, layout="elements", logits=x, target=(y + 1) / 2)


def _mirrored(evaluate: Evaluate, sample: Sample) -> Tensor:
    x, y = sample.tensors
    return evaluate(-x, -y, reduction="none")


IDENTITIES = (
    Identity(
        "binary_cross_entropy_with_labels_of_zero_and_one",
        _plain,
        _with_logits,
        variant="mean",
        regime="unit_normal",
        source="log(1 + e^(-y x)) with t = (y + 1) / 2",
    ),
    Identity(
        "both_signs_turned",
        _plain,
        _mirrored,
        variant="mean",
        regime="unit_normal",
        source="the loss knows y x alone",
    ),
)
