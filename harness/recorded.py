"""A user's own tensors as a regime: `--inputs FILE.safetensors` replaces a suite's distributions.

The file's tensors must carry the names that the suite's samples use (for cross-entropy: logits and
target); its rows fix batch and classes. A label must name one of the classes or be the suite's ignore
index: an index out of range reads foreign memory in some implementations and kills others, which would
be reported as their fault. The trap: the name of the regime holds a hash of the file's bytes, so that a
resumed run never mixes two versions of one file.
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

IGNORE = "ignore_index"


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
    ignoring = any(
        _has_ignored(call, name, tensors[name], first.shape[1], suite.options.get(IGNORE))
        for name in pattern
        if _holds_labels(pattern, name)
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return Regime(
        partial(_recorded, path=path, names=tuple(pattern)),
        name=f"inputs-{digest}",
        batch=first.shape[0],
        classes=first.shape[1],
        about=f"recorded in {path.name}",
        needs=(IGNORE,) if ignoring else (),
    )


def _holds_labels(pattern: Sample, name: str) -> bool:
    """Tells whether a suite's own samples have one whole number per row there: a class."""
    return not pattern[name].is_floating_point() and pattern[name].dim() == 1


def _has_ignored(call: str, name: str, labels: torch.Tensor, classes: int, ignored: object) -> bool:
    """Tells whether a row is ignored; raises UsageError for a label that is no class and not ignored."""
    if labels.dim() != 1:
        return False  # probabilities, or labels of another form: the suite says what it takes
    if labels.is_floating_point():
        raise UsageError(
            f"{call}: {name} is {labels.dtype}; class labels are whole numbers, save them as int64."
        )
    is_ignored = labels == ignored if isinstance(ignored, int) else torch.zeros_like(labels, dtype=torch.bool)
    wrong = ((labels < 0) | (labels >= classes)) & ~is_ignored
    if wrong.any():
        row = int(wrong.nonzero()[0])
        allowed = f"0 to {classes - 1}" + (f" or {ignored} (ignored)" if isinstance(ignored, int) else "")
        raise UsageError(
            f"{call}: {name} holds {int(labels[row])} in row {row} ({int(wrong.sum())} of {len(labels)} rows "
            f"are out of range); with {classes} classes allowed is {allowed}."
        )
    return bool(is_ignored.any())


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
    return Sample(gradients=None, layout="rows", shared=(), **drawn)
