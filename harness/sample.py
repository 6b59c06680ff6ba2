"""What one input to a loss is: named tensors, which of them need gradients, and their layout.

A sample is made in float64 on the CPU by a regime, rounded once to the dtype of the case and then
handed to oracle and implementation alike, so that both see the *stored* numbers. The oracle and
the metrics look at rows: `rows()` is the one place that knows how a layout unfolds into
(rows, classes), `folded()` takes it back. The trap: a gradient comes back in the layout of its input, so
it has to go through the same unfolding before it is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from harness.errors import SuiteError, unknown

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["rows", "nchw", "elements", "sequences"]


class Shape(NamedTuple):
    """Rows and classes of a case; for losses without classes, `classes` is the entries per row."""

    batch: int
    classes: int


class Sample:
    """Named input tensors of a loss, in calling order.

    `gradients` names the tensors whose gradient is asked for (default: the first floating one);
    `layout` is "rows" for (N, C), "nchw" for (N, C, H, W) with targets (N, H, W), "elements" for (N, C)
    of which every entry has a loss of its own, or "sequences" for (T, N, C), T frames of N sequences with a
    loss each, beside tensors (N, ...) such as lengths and padded labels. `shared` names parameters, which
    all rows share: they have no axis of rows and are never cut to some, and their gradient is a sum over
    rows. The first one has an entry per class; the first tensor then holds features instead of classes.
    Raises SuiteError when a name in `gradients` or `shared` is not one of the tensors.
    """

    __slots__ = ("_tensors", "gradients", "layout", "shared")

    def __init__(
        self,
        *,
        gradients: tuple[str, ...] | None = None,
        layout: Layout = "rows",
        shared: tuple[str, ...] = (),
        **tensors: Tensor,
    ) -> None:
        if layout not in get_args(Layout):
            raise SuiteError(unknown(f"Sample(layout={layout!r})", "layout", str(layout), get_args(Layout)))
        if not tensors:
            raise SuiteError("Sample(): names no tensor; write Sample(logits=..., target=...).")
        floating = tuple(
            name for name, tensor in tensors.items() if getattr(tensor, "is_floating_point", bool)()
        )
        wanted = floating[:1] if gradients is None else gradients
        for name in wanted:
            if name not in floating:
                raise SuiteError(unknown(f"Sample(gradients={wanted!r})", "floating tensor", name, floating))
        for name in shared:
            if name not in list(tensors)[1:]:
                raise SuiteError(
                    unknown(f"Sample(shared={shared!r})", "tensor beside the first", name, list(tensors)[1:])
                )
        if shared and layout != "rows":
            raise SuiteError(f"Sample(shared={shared!r}, layout={layout!r}): parameters go with rows alone.")
        self._tensors: dict[str, Tensor] = dict(tensors)
        self.gradients: tuple[str, ...] = wanted
        self.layout: Layout = layout
        self.shared: tuple[str, ...] = shared

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors in calling order."""
        return tuple(self._tensors.values())

    @property
    def named(self) -> Mapping[str, Tensor]:
        """The tensors by name, in calling order."""
        return dict(self._tensors)

    def replaced(
        self,
        *,
        gradients: tuple[str, ...] | None = None,
        layout: Layout | None = None,
        **tensors: Tensor,
    ) -> Sample:
        """Returns a sample with some tensors, the gradient names or the layout exchanged."""
        return Sample(
            gradients=self.gradients if gradients is None else gradients,
            layout=layout or self.layout,
            shared=self.shared,
            **{**self._tensors, **tensors},
        )

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """Returns a sample with `change` applied to each tensor."""
        return Sample(
            gradients=self.gradients,
            layout=self.layout,
            shared=self.shared,
            **{name: change(tensor) for name, tensor in self._tensors.items()},
        )

    def in_rows(self) -> dict[str, Tensor]:
        """Returns every tensor unfolded into rows, by name."""
        return {name: rows(tensor, self.layout) for name, tensor in self._tensors.items()}

    def taken(self, index: Tensor) -> Sample:
        """Returns the sample with these entries of its batch (whole images, all frames of a sequence)."""

        whole = {id(self[name]) for name in self.shared}

        def some(tensor: Tensor) -> Tensor:
            if not tensor.dim() or id(tensor) in whole:
                return tensor
            return tensor.index_select(batch_axis(tensor, self.layout), index.to(tensor.device))

        return self.mapped(some)

    @property
    def products(self) -> tuple[str, ...]:
        """Shared matrices: a matrix product sums their gradients over the rows, one of a vector is a sum."""
        return tuple(name for name in self.shared if self[name].dim() > 1)

    @property
    def shape(self) -> Shape:
        """Rows and classes; an element-wise loss has as many rows and entries as its first tensor."""
        first = self.tensors[0]
        if self.shared:
            return Shape(first.shape[0], self[self.shared[0]].shape[0])
        unfolded = first if self.layout == "elements" else rows(first, self.layout)
        return Shape(unfolded.shape[0], unfolded.shape[-1] if unfolded.dim() > 1 else 1)

    @property
    def input_bytes(self) -> int:
        """Bytes of all input tensors, counted dense."""
        return sum(t.numel() * t.element_size() for t in self.tensors)

    @property
    def gradient_bytes(self) -> int:
        """Bytes of all gradients that the loss has to write."""
        return sum(self[name].numel() * self[name].element_size() for name in self.gradients)


def rows(tensor: Tensor, layout: Layout) -> Tensor:
    """Unfolds a tensor into (rows, classes) or (rows,); the class axis of "nchw" is axis 1.

    In the layout "elements" every entry is a row of its own; in "sequences" a row is (frames, classes).
    """
    if layout == "rows":
        return tensor
    if layout == "sequences":
        return tensor.transpose(0, batch_axis(tensor, layout)) if tensor.dim() else tensor
    if layout == "elements":
        return tensor.reshape(-1)
    if tensor.dim() == 4:
        return tensor.permute(0, 2, 3, 1).reshape(-1, tensor.shape[1])
    return tensor.reshape(-1)


def folded(unfolded: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Returns what `rows` unfolded in the layout and shape that it had."""
    if layout == "sequences" and len(shape) == 3:
        return unfolded.transpose(0, 1).reshape(shape)
    if layout == "nchw" and len(shape) == 4:
        images, classes, height, width = shape
        return unfolded.reshape(images, height, width, classes).permute(0, 3, 1, 2)
    return unfolded.reshape(shape)


def batch_axis(tensor: Tensor, layout: Layout) -> int:
    """Returns the axis along which a tensor holds the batch: 1 for the frames (T, N, C) of sequences."""
    return 1 if layout == "sequences" and tensor.dim() == 3 else 0


def batch_of(sample: Sample) -> int:
    """Returns the number of entries of a sample's batch: rows, whole images, or sequences."""
    first = sample.tensors[0]
    return first.shape[batch_axis(first, sample.layout)]
