"""The names that a script works with, and the lines that call, go backward and write tensors.

In every script `inputs` holds the tensors by name, `options` the options, `call` the implementation,
`loss` what it answered and `gradients` what went back, in the order of the sample. The trap: options
are passed on each call or given to a constructor, never both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from harness.reproducer.reproduction import Reproduction
from harness.reproducer.tensors import TensorText, indented, quoted
from harness.sample import Sample


@dataclass(frozen=True)
class Scene:
    """A reproduction with what its script has written so far; all lines stand at depth 0.

    `build` binds `call`, `passes_options` tells whether a call takes the options, `reading` picks the
    loss out of what was answered; `modules` are imported by the head of the script.
    """

    found: Reproduction
    tensors: TensorText
    build: list[str]
    passes_options: bool
    reading: list[str]
    modules: list[str] = field(default_factory=list)

    @property
    def sample(self) -> Sample:
        """The sample that `inputs` holds."""
        return self.found.stand.sample

    def answer(self, values: str = "*inputs.values()") -> str:
        """Returns the expression of a call."""
        return f"call({values}{', **options' if self.passes_options else ''})"

    def called(self, values: str = "*inputs.values()") -> list[str]:
        """Returns the lines that bind `loss`."""
        return [f"loss = {self.answer(values)}", *self.reading]

    def backward(self, upstream: str = "upstream", more: str = "") -> str:
        """Returns the line that binds `gradients`."""
        names = ", ".join(f"inputs[{quoted(name)}]" for name in self.sample.gradients)
        sent = f"{upstream}.to(loss)"
        return f"gradients = torch.autograd.grad(loss, [{names}], {sent}, {more}allow_unused=True)"

    def tensor(self, name: str, value: Tensor) -> list[str]:
        """Returns the lines that bind a name to a tensor."""
        return indented(self.tensors.written(name, value), 0)

    def upstream(self) -> list[str]:
        """Returns the lines that bind `upstream`."""
        return self.tensor("upstream", self.found.stand.upstream)

    def others(self) -> list[str]:
        """Returns the lines that bind `others`, a second sample on the device, needing no gradients."""
        assert self.found.other is not None
        lines = ["others = {}"]
        for name, value in self.found.other.sample.named.items():
            lines += self.tensor(f"others[{quoted(name)}]", value)
        device = self.found.trial.case.device
        moved = f"others = {{name: tensor.to({device!r}) for name, tensor in others.items()}}"
        return lines if device == "cpu" else [*lines, moved]

    def leaves(self, source: str = "inputs", bound: str = "inputs") -> list[str]:
        """Returns the lines that bind fresh copies of tensors, those that need gradients as leaves."""
        return [
            f"{bound} = {{name: tensor.detach().clone() for name, tensor in {source}.items()}}",
            *(f"{bound}[{quoted(name)}].requires_grad_(True)" for name in self.sample.gradients),
        ]

    def answering(self) -> list[str]:
        """Returns the lines of `answered(inputs, upstream)`, which returns loss and gradients by name."""
        names = list(self.sample.gradients)
        body = [
            *self.called(),
            self.backward(),
            f"answers = {{name: part for name, part in zip({names!r}, gradients) if part is not None}}",
            'return {"loss": loss.detach(), **answers}',
        ]
        return ["def answered(inputs, upstream):", *indented(body)]
