"""Logits and labels recorded from real training, shipped with the package.

A digits classifier (10 classes) and a byte-level language model (256 classes), each at
initialisation, half-way and late; `suites/data/record.py` made the files. The trap: recordings fix
the class axis, and batches larger than the file do not exist.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Generator, finfo

from harness import Regime, Sample, Shape

FOLDER = Path(__file__).resolve().parent.parent / "data"
STAGES = ("initial", "halfway", "late")


def recorded(shape: Shape, finfo: finfo, generator: Generator, *, file: str) -> Sample:
    """Rows drawn without replacement from a recording."""
    from safetensors.torch import load_file

    tensors = load_file(FOLDER / file)
    rows = torch.randperm(tensors["logits"].shape[0], generator=generator)[: shape.batch]
    return Sample(logits=tensors["logits"][rows].double(), target=tensors["target"][rows])


def recorded_regimes() -> tuple[Regime, ...]:
    """Returns the six recorded regimes; classes are fixed, batch is at most what the file holds."""
    return tuple(
        Regime(
            partial(recorded, file=f"{model}_{stage}.safetensors"),
            name=f"recorded_{model}_{stage}",
            batch=rows,
            classes=classes,
            about=f"{about}, {stage} in training",
        )
        for model, classes, rows, about in (
            ("digits", 10, 256, "Logits of a digits classifier"),
            ("bytes", 256, 128, "Logits of a byte-level language model"),
        )
        for stage in STAGES
    )
