"""One implementation under questioning: its plain answer, and how another answer is held against it.

The plain answer (contiguous private copies, first backward, the usual upstream gradient) is what the
accuracy probe judges. A protocol question changes how the same thing is asked; a finding is an entry
that the oracle calls wrong *and* that differs from the plain answer, so that inaccuracy is not reported
once more under every question. The trap: for another upstream gradient the plain gradient has to be
scaled first, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.calling import Bound, failure, leaves
from harness.observation import Observation, answered, judged, news, private_upstream
from harness.oracle.reduction import Array
from harness.probes.settings import settings_kept
from harness.results import Finding
from harness.sample import Sample, Shape
from harness.standard import Standard, standard
from harness.vacuity import Rule

NAME = "protocol"
Asking = Callable[["Interview"], list[Finding]]


class UnsupportedError(Exception):
    """The question has no answer to be judged: refused, or the suite itself fails; becomes a note."""


class ExhaustedError(Exception):
    """Memory did not suffice for the question, so nothing can be said of it; the message says where."""


@dataclass(frozen=True)
class Question:
    """One thing that a caller may do; findings get its kind and its name as their group.

    `refusable`: raising is `unsupported`, as the documentation of torch has it. `recompiles`: asking it
    makes a compiled form compile again, so compiled forms are asked it by the full profile only.
    """

    name: str
    kind: str
    ask: Asking
    applies: Callable[[Interview], bool] = lambda interview: True
    refusable: bool = False
    recompiles: bool = False


class Interview:
    """An implementation with its plain answer to a standard."""

    def __init__(self, block: OpenBlock, name: str, bound: Bound) -> None:
        self.block, self.name, self.bound = block, name, bound
        self.case = block.case
        self.stand = block.standard(name)
        self.question = ""
        # What answers were held against, and what was told there: (question, standard, rule).
        self.held: dict[tuple[int, Rule], tuple[str, Standard, Rule]] = {}
        # What the first call changes for good would look unchanged to every later look.
        with settings_kept():
            self.plain = judged(self.observed(self.stand), self.stand, NAME)

    @property
    def sample(self) -> Sample:
        """The stored sample of the case."""
        return self.stand.sample

    @property
    def reduced(self) -> bool:
        """Whether the loss is a scalar."""
        return self.stand.upstream.dim() == 0

    def fresh(self) -> Sample:
        """Returns private copies of the sample on the device."""
        return leaves(self.sample, self.case.device)

    def loss(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Calls the implementation; its seconds are its own, those of judging are not."""
        with self.bound.ledger.spending("implementation"):
            return self.bound.loss(tensors)

    def gradients(
        self, loss: Tensor, wanted: list[Tensor], sent: Tensor | None = None, **modes: bool
    ) -> tuple[Tensor, ...]:
        """Goes backward through the implementation; `modes`, and None for an unused input, as in torch."""
        with self.bound.ledger.spending("implementation"):
            return torch.autograd.grad(loss, wanted, sent, **modes)

    def observed(self, stand: Standard, sample: Sample | None = None) -> Observation:
        """Calls the implementation on a standard; its answer is not judged but held against the plain one.

        Raises ExhaustedError where memory did not suffice.
        """
        return _within_memory(answered(self.bound, stand, self.case.device, NAME, sample=sample))

    def sent(self, loss: Tensor, upstream: Tensor | None = None) -> Tensor:
        """Returns a private copy of the usual or another upstream gradient for a loss."""
        asked = self.stand.upstream if upstream is None else upstream
        return private_upstream(asked, self.case.device, loss.dtype)

    def answered(self, seen: Observation) -> Observation:
        """Returns an observation that has numbers; raises RefusedError for any other.

        Where it has none for want of memory ExhaustedError is raised, UnsupportedError for another status.
        """
        if _within_memory(seen).status != "ok":
            raise UnsupportedError(seen.reason)
        for finding in seen.findings:
            if finding.kind in ("raises", "shape", "no_gradient"):
                raise RefusedError(finding)
        return seen

    def compared(
        self, seen: Observation, stand: Standard | None = None, upstream: Tensor | None = None
    ) -> list[Finding]:
        """Returns what is wrong with an observation and was right, or otherwise wrong, in the plain one."""
        self.answered(seen)
        assert seen.loss is not None
        assert seen.gradients is not None
        assert self.plain.loss is not None
        expected = self.plain_gradients(upstream)
        pairs = {name: (got, expected[name]) for name, got in seen.gradients.items()}
        return self.news(stand or self.stand, loss=(seen.loss, self.plain.loss), gradients=pairs)

    def news(
        self,
        stand: Standard,
        *,
        loss: tuple[Array, Array] | None = None,
        gradients: Mapping[str, tuple[Array, Array]] | None = None,
    ) -> list[Finding]:
        """Returns what is wrong with answers, each beside its reference, and not with the reference."""
        self.holds(stand)
        return news(stand, NAME, loss=loss, gradients=gradients)

    def holds(self, stand: Standard, rule: Rule = "errors") -> None:
        """Notes that an answer to the present question is held against a standard."""
        self.held.setdefault((id(stand), rule), (self.question, stand, rule))

    def plain_gradients(self, upstream: Tensor | None = None) -> Mapping[str, Array]:
        """Returns the plain gradients, scaled to another upstream gradient where one is given.

        The exact ones stand for the gradients that rows of an unreduced loss add up to.
        """
        assert self.plain.gradients is not None
        if upstream is None:
            return self.plain.gradients
        ratio = upstream.reshape(-1).double().numpy() / self.stand.upstream.reshape(-1).double().numpy()
        mixed = () if self.reduced else self.sample.shared
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = {
                name: np.asarray(gradient * ratio.reshape(-1, *([1] * (gradient.ndim - 1))))
                for name, gradient in self.plain.gradients.items()
                if name not in mixed
            }
        # Rows with factors of their own add up to a sum that the plain one does not tell.
        exact = self.block.under(upstream, self.name).truth.gradients if mixed else {}
        return scaled | {name: exact[name] for name in mixed if name in self.plain.gradients}

    def standard_of(self, question: object, sample: Sample, options: Mapping[str, Any]) -> Standard:
        """Returns the standard of a changed sample under the implementation's definition.

        `question` names the change, which must be the same for all implementations of the block.
        """
        suite, dtype = self.block.suite, self.case.dtype
        with _blaming_the_suite("the oracle fails there"):
            return self.block.kept(
                (NAME, question),
                self.name,
                lambda definition: standard(suite, sample, options, dtype, definition),
            )

    def drawn_at(self, shape: Shape) -> tuple[Sample, dict[str, Any]] | None:
        """Returns sample and options of the case at another shape; None where it is not asked."""
        implementation = self.block.suite.implementation(self.name)
        if implementation.skip is not None and implementation.skip(shape):
            return None
        with _blaming_the_suite("the regime fails there"):
            return self.block.drawn_at(shape)

    def bound_at(self, options: Mapping[str, Any]) -> Bound:
        """Returns the implementation with other options."""
        return self.block.bound_for(self.name, options)


def _within_memory(seen: Observation) -> Observation:
    if seen.status == "out_of_memory":
        raise ExhaustedError(seen.reason)
    return seen


@contextmanager
def _blaming_the_suite(words: str) -> Iterator[None]:
    """Turns what the suite's own functions raise into a note: it is no fault of an implementation.

    Want of memory is nobody's fault and says nothing about what is supported.
    """
    try:
        yield
    except Exception as error:
        if failure(error)[0] == "out_of_memory":
            raise ExhaustedError(f"{words}: {type(error).__name__}: {error}") from error
        raise UnsupportedError(f"{words}: {type(error).__name__}: {error}") from error


class RefusedError(Exception):
    """The implementation raised, or returned something without numbers; carries the finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding
