"""The same numbers in other memory: transposed, strided, at an offset, labels of another width.

Gaps between the entries are filled with NaN in floating tensors and with the labels of other rows in
index tensors, so that whoever reads past a stride is wrong visibly. The trap: a leaf has to be made
with the strides wanted, since `requires_grad_` on a view of another tensor is no leaf of that layout,
and `clone` makes memory dense again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from harness.observation import answered
from harness.probes.protocol.interview import NAME, Interview, Question
from harness.results import Finding
from harness.sample import Sample

Layout = Callable[[Tensor], Tensor]


def transposed(tensor: Tensor) -> Tensor:
    """Returns the same numbers with the axes stored in reverse order: the class stride is not 1."""
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)


def strided_entries(tensor: Tensor) -> Tensor:
    """Returns every second entry of rows twice as wide."""
    wide = _filler(tensor, (*tensor.shape[:-1], 2 * tensor.shape[-1]))
    view = wide[..., ::2]
    return view.copy_(tensor)


def strided_rows(tensor: Tensor) -> Tensor:
    """Returns every second row of a tensor with twice the rows."""
    wide = _filler(tensor, (2 * tensor.shape[0], *tensor.shape[1:]))
    view = wide[::2]
    return view.copy_(tensor)


def padded_rows(tensor: Tensor) -> Tensor:
    """Returns rows whose stride is wider than the row: a slice of a wider matrix."""
    wide = _filler(tensor, (*tensor.shape[:-1], tensor.shape[-1] + 3))
    view = wide[..., : tensor.shape[-1]]
    return view.copy_(tensor)


def shifted(tensor: Tensor) -> Tensor:
    """Returns dense memory that starts one entry behind an allocation: aligned to the entry alone."""
    flat = _filler(tensor, (tensor.numel() + 1,))
    view = flat[1:].view(tensor.shape)
    return view.copy_(tensor)


def _filler(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.is_floating_point():
        return torch.full(shape, math.nan, dtype=tensor.dtype, device=tensor.device)
    count = math.prod(shape)
    source = tensor.reshape(-1).roll(1)
    return source.repeat(-(-count // max(source.numel(), 1)))[:count].reshape(shape).clone()


def in_layout(interview: Interview, layout: Layout, *, floating: bool) -> Sample:
    """Returns private copies of the sample, its floating or its index tensors in another layout."""
    device, needing = interview.case.device, interview.sample.gradients
    made: dict[str, Any] = {}
    for name, tensor in interview.sample.named.items():
        copy = tensor.detach().clone().to(device)
        made[name] = layout(copy) if tensor.is_floating_point() is floating and tensor.dim() else copy
    for name in needing:
        made[name].requires_grad_(True)
    return interview.sample.replaced(**made)


def _asked_in(layout: Layout, *, floating: bool) -> Callable[[Interview], list[Finding]]:
    def ask(interview: Interview) -> list[Finding]:
        sample = in_layout(interview, layout, floating=floating)
        return interview.compared(interview.observed(interview.stand, sample))

    return ask


def _narrow(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_floating_point() else tensor.to(torch.int32)


def _narrow_labels(interview: Interview) -> list[Finding]:
    stand = replace(interview.stand, sample=interview.sample.mapped(_narrow))
    return interview.compared(interview.observed(stand))


def _has_labels(interview: Interview) -> bool:
    return any(not tensor.is_floating_point() and tensor.dim() for tensor in interview.sample.tensors)


def _strided_options(interview: Interview) -> list[Finding]:
    """The tensors among the options are the caller's: class weights may be a column of a table."""
    bound = interview.bound_at(interview.stand.options)
    for value in bound.options.values():
        if isinstance(value, Tensor) and value.dim():
            # The very tensors that the callable holds get other memory.
            wide = strided_entries(value)
            value.set_(wide.untyped_storage(), wide.storage_offset(), wide.shape, wide.stride())
    case = interview.case
    return interview.compared(answered(bound, interview.stand, case.device, NAME))


def _has_option_rows(interview: Interview) -> bool:
    return any(isinstance(value, Tensor) and value.dim() for value in interview.stand.options.values())


def _has_label_rows(interview: Interview) -> bool:
    """Tells whether labels have a stride within the row: several of a row, or those of images."""
    return any(not tensor.is_floating_point() and tensor.dim() > 1 for tensor in interview.sample.tensors)


def _has_rows(interview: Interview) -> bool:
    return all(len(tensor) > 0 for tensor in interview.sample.tensors if tensor.dim())


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


QUESTIONS = (
    *(
        Question(
            name,
            "layout",
            _asked_in(layout, floating=True),
            applies=_has_rows,
            recompiles=name != "transposed inputs",
        )
        for name, layout in (
            ("transposed inputs", transposed),
            ("inputs with strided entries", strided_entries),
            ("inputs with strided rows", strided_rows),
            ("inputs sliced from wider rows", padded_rows),
            ("inputs at an offset", shifted),
        )
    ),
    Question(
        "channels_last inputs",
        "layout",
        _asked_in(_channels_last, floating=True),
        applies=lambda interview: interview.sample.layout == "nchw",
        recompiles=True,
    ),
    *(
        Question(name, "layout", _asked_in(layout, floating=False), applies=applies, recompiles=True)
        for name, layout, applies in (
            ("strided labels", strided_rows, _has_labels),
            ("labels at an offset", shifted, _has_labels),
            ("transposed labels", transposed, _has_label_rows),
            ("labels with strided entries", strided_entries, _has_label_rows),
        )
    ),
    Question("strided options", "layout", _strided_options, applies=_has_option_rows, recompiles=True),
    Question("int32 labels", "layout", _narrow_labels, applies=_has_labels, refusable=True, recompiles=True),
)
