"""A user's own tensors as a regime: `--inputs FILE.safetensors` replaces a suite's distributions.

The file's tensors must carry the names that the suite's samples use (for cross-entropy: logits and
target); its rows fix batch and classes. The trap: the name of the regime holds a hash of the file's
bytes, so that a resumed run never mixes two versions of one file.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import torch

from harness.errors import UsageError
from harness.regime import Regime
from harness.sample import Sample, Shape
from harness.suite import Suite


def inputs_regime(path: Path, suite: Suite) -> Regime:
    """Returns the regime of a safetensors file for a suite; raises UsageError with one sentence."""
    call = f"--inputs {path.name}"
    if not path.exists():
        raise UsageError(f"{call}: there is no file {path}; give the path of a .safetensors file.")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(
            f"{call}: is not a safetensors file ({error}); save it with safetensors.torch.save_file."
        ) from None
    pattern = suite.regimes[0].function(Shape(2, 3), torch.finfo(torch.float32), torch.Generator())
    for name in pattern:
        if name not in tensors:
            held, needed = ", ".join(sorted(tensors)), ", ".join(pattern)
            raise UsageError(
                f"{call}: the file holds {held}; suite {suite.name!r} needs {needed}; rename its tensors."
            )
    first = tensors[next(iter(pattern))]
    if first.dim() != 2 or any(tensors[name].shape[0] != first.shape[0] for name in pattern):
        shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in pattern)
        raise UsageError(f"{call}: got {shapes}; allowed is one row per sample, (rows, classes) first.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return Regime(
        partial(_recorded, path=path, names=tuple(pattern)),
        name=f"inputs-{digest}",
        batch=first.shape[0],
        classes=first.shape[1],
        about=f"recorded in {path.name}",
    )


def _recorded(
    shape: Shape, finfo: torch.finfo, generator: torch.Generator, *, path: Path, names: tuple[str, ...]
) -> Sample:
    from safetensors.torch import load_file

    tensors = load_file(path)
    rows = torch.randperm(tensors[names[0]].shape[0], generator=generator)[: shape.batch]
    drawn = {
        n: tensors[n][rows].double() if tensors[n].is_floating_point() else tensors[n][rows].long()
        for n in names
    }
    return Sample(gradients=None, layout="rows", **drawn)
