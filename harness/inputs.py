"""Inputs as a pure function of (seed, suite, variant, regime, dtype, batch, classes, repeat).

SHA-256 of those words seeds a CPU generator; a regime draws in float64, the variant adapts, the
result is rounded once to the dtype and moved. Never a function of plan order, device, threads,
filter, shard or worker. The trap: the dtype is part of the seed because `finfo` shapes the draw;
two dtypes see different rows, two devices see the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from harness.errors import SuiteError
from harness.regime import Exhaustive, Ladder, Regime, Variant
from harness.sample import Sample, Shape
from harness.suite import Suite
from harness.trial import Case


def dtype_named(name: str) -> torch.dtype:
    """Returns the torch dtype of a name of `harness.trial.DTYPES`."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def generator_for(*words: object) -> torch.Generator:
    """Returns a CPU generator seeded by the SHA-256 of the words."""
    digest = hashlib.sha256("\x1f".join(str(word) for word in words).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def resolved_options(suite: Suite, variant: Variant, shape: Shape, dtype: torch.dtype) -> dict[str, Any]:
    """Returns every option of the suite with the variant's values; callable values are called."""
    options = {**suite.options, **variant.options}
    return {name: value(shape, dtype) if callable(value) else value for name, value in options.items()}


def on_device(options: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Returns options with private copies of their tensors on a device."""
    return {
        name: value.detach().clone().to(device) if isinstance(value, torch.Tensor) else value
        for name, value in options.items()
    }


def element_options(sample: Sample, options: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Returns the tensors among the options of an element-wise loss as one entry per element.

    A weight (C,) or (N, C) is broadcast to the elements, so that the oracle finds each entry's own.
    """
    if sample.layout != "elements":
        return {}
    shape = sample.tensors[0].shape
    return {
        name: value.detach().broadcast_to(shape).reshape(-1).clone()
        for name, value in options.items()
        if isinstance(value, torch.Tensor)
    }


def rounded(sample: Sample, dtype: torch.dtype) -> Sample:
    """Returns the sample with floating tensors rounded once to the dtype; integers stay."""
    return sample.mapped(lambda t: t.to(dtype) if t.is_floating_point() else t)


def draw(case: Case, suite: Suite, *, seed: int, repeat: int = 0) -> tuple[Sample, dict[str, Any]]:
    """Returns the rounded CPU sample of a case and its options.

    Raises SuiteError when the regime does not return a Sample of the asked shape.
    """
    dtype = dtype_named(case.dtype)
    variant, regime = suite.variant(case.variant), suite.regime(case.regime)
    options = resolved_options(suite, variant, case.shape, dtype)
    generator = generator_for(
        seed, case.suite, case.variant, case.regime, case.dtype, case.batch, case.classes, repeat
    )
    drawn = regime.function(case.shape, torch.finfo(dtype), generator)
    checked = check_sample(drawn, regime, case.shape)
    if variant.adapt is not None:
        checked = variant.adapt(checked, options, generator)
    return rounded(checked, dtype), options


def draw_rung(
    ladder: Ladder, value: float, case: Case, suite: Suite, *, seed: int
) -> tuple[Sample, dict[str, Any]]:
    """Returns the rounded CPU sample of a ladder at `value` and the options of its variant or the case's."""
    dtype = dtype_named(case.dtype)
    variant = suite.variant(ladder.variant or case.variant)
    generator = generator_for(seed, case.suite, variant.name, ladder.name, case.dtype, case.classes)
    drawn = ladder.sample(value, ladder.shape(value, case.shape), torch.finfo(dtype), generator)
    options = resolved_options(suite, variant, drawn.shape, dtype)
    if variant.adapt is not None and not ladder.variant:
        drawn = variant.adapt(drawn, options, generator)
    return rounded(drawn, dtype), options


def draw_exhaustive(exhaustive: Exhaustive, case: Case, suite: Suite) -> tuple[Sample, dict[str, Any]]:
    """Returns one row per finite value of the case's 16-bit dtype, and the options without reduction."""
    dtype = dtype_named(case.dtype)
    patterns = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    values = patterns.view(dtype).double()
    drawn = exhaustive.sample(values[values.isfinite()])
    options = resolved_options(suite, suite.variant(case.variant), drawn.shape, dtype)
    return rounded(drawn, dtype), {**options, "reduction": "none"}


def check_sample(drawn: object, regime: Regime, shape: Shape) -> Sample:
    """Returns what a regime drew; raises SuiteError unless it is a float64 CPU sample of the shape."""
    call = f"Regime({regime.name!r}) at batch={shape.batch}, classes={shape.classes}"
    if not isinstance(drawn, Sample):
        raise SuiteError(f"{call}: returned {type(drawn).__name__}; a regime returns Sample(...).")
    elements = drawn.layout == "elements"
    for name, tensor in (drawn.named if elements else drawn.in_rows()).items():
        if tensor.device.type != "cpu":
            raise SuiteError(f"{call}: tensor {name!r} is on {tensor.device}; draw on the CPU.")
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            raise SuiteError(
                f"{call}: tensor {name!r} is {tensor.dtype}; draw in torch.float64, the harness rounds."
            )
        if name in drawn.shared:
            continue
        if tensor.dim() == 0 or tensor.shape[0] != shape.batch:
            raise SuiteError(
                f"{call}: tensor {name!r} has shape {tuple(tensor.shape)}; the first axis must be the "
                f"{shape.batch} rows asked for."
            )
        # Beside frames (N, T, C), padded labels (N, S) have an axis of their own, and so have features.
        if drawn.shared and name == next(iter(drawn)):
            continue
        if tensor.dim() == (3 if drawn.layout == "sequences" else 2) and tensor.shape[-1] != shape.classes:
            raise SuiteError(
                f"{call}: tensor {name!r} has shape {tuple(tensor.shape)}; the last axis must be the "
                f"{shape.classes} classes asked for."
            )
    if drawn.shape.classes != shape.classes and drawn.shared:
        raise SuiteError(
            f"{call}: tensor {drawn.shared[0]!r} has {drawn.shape.classes} rows; as the first of what all "
            f"rows share it must have the {shape.classes} classes asked for."
        )
    return drawn
