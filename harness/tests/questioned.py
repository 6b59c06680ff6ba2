"""Cross-entropies with one planted fault, put to the whole protocol probe: which questions notice it?

`right` is `torch.nn.functional.cross_entropy`, which supports everything that is asked; a fault is
planted into what goes into it (`logits`, `target`) or into the gradient that comes down to it
(`from_above`). The trap: a fault that every question notices proves none of them, so a fault names the
questions that must notice it and all others have to stay silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function

from harness import Implementation
from harness.block import Answer, OpenBlock
from harness.probes.protocol.probe import protocol
from harness.trial import Case
from suites.cross_entropy import SUITE

ROWS, CLASSES = 64, 10
WRONG = 1.5


@dataclass(frozen=True)
class Fault:
    """A planted fault of a question: the function, where it shows, and who else must notice it."""

    question: str
    function: Callable[..., Tensor]
    kind: str
    also: tuple[str, ...] = ()
    variant: str = "mean"
    dtype: str = "float32"

    @property
    def id(self) -> str:
        """The name of the test."""
        return f"{self.question}-{getattr(self.function, '__name__', 'made')}".replace(" ", "_")


def right(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The ground of every fault."""
    return F.cross_entropy(logits, target, reduction=reduction)


class Above(Function):
    """Passes a loss on; what comes down from above is changed on the way."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        return ctx.change(upstream), None


def from_above(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Returns a cross-entropy whose backward sees another upstream gradient than it was given."""

    def planted(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        loss: Tensor = Above.apply(right(logits, target, reduction), change)
        return loss

    planted.__name__ = getattr(change, "__name__", "planted").strip("_")
    return planted


def when(condition: Callable[[Tensor, Tensor], bool], answer: Callable[[Tensor], Tensor]) -> Any:
    """Returns a cross-entropy that answers `answer(the right loss)` where a condition holds."""

    def planted(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        loss = right(logits, target, reduction)
        return answer(loss) if condition(logits, target) else loss

    return planted


def read_as(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """Returns a cross-entropy that reads its inputs otherwise than they lie."""

    def planted(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        return right(*change(logits, target), reduction)

    planted.__name__ = change.__name__
    return planted


def too_large(loss: Tensor) -> Tensor:
    """Returns a loss that is wrong by half, with a gradient that is."""
    return WRONG * loss


def raising(loss: Tensor) -> Tensor:
    """Raises what a cautious implementation raises."""
    raise RuntimeError("this is not supported here")


def questioned(
    function: Callable[..., Any], variant: str = "mean", dtype: str = "float32", **declared: Any
) -> Answer:
    """Returns what the protocol probe says about one implementation of cross-entropy."""
    family = SUITE.extended(Implementation(function, name="planted", **declared))
    case = Case(family.name, variant, "unit_normal", dtype, "cpu", ROWS, CLASSES, 1)
    return protocol(OpenBlock(family, case, 0), "planted")


def caught(fault: Fault) -> dict[str, set[str]]:
    """Returns the questions that notice a fault, each with the kinds of its findings."""
    answer = questioned(fault.function, fault.variant, fault.dtype)
    assert answer.status == "ok", answer.reason
    found: dict[str, set[str]] = {}
    for finding in answer.findings:
        assert finding.severity in ("warning", "error")
        assert finding.probe == "protocol"
        assert finding.witness.get("question", finding.group) == finding.group
        found.setdefault(finding.group, set()).add(finding.kind)
    return found


def assert_caught(fault: Fault) -> None:
    """Holds the probe to noticing a fault by its question, with its kind, and by no other question."""
    found = caught(fault)
    assert set(found) == {fault.question, *fault.also}
    assert found[fault.question] == {fault.kind}


def on_wrapped(tensor: Tensor) -> bool:
    """Tells whether torch.func or vmap is at work."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))
