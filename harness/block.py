"""One block opened in a worker: a case with all its implementations, inputs and truth made once.

Truth depends on the definition that an implementation declares, so it is cached per definition;
compiled forms are cached per (implementation, artefact) for as long as the artefact stays the
same. The trap: dynamo keeps every compiled form of a code object, so it is reset when the artefact
changes; otherwise its recompile limit turns later cases silently into eager ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from harness.calling import Bound, bind
from harness.garbage import coarse_loss
from harness.inputs import draw, draw_rung, on_device
from harness.ledger import Ledger
from harness.regime import Ladder
from harness.results import Finding, Status
from harness.sample import Sample, Shape
from harness.standard import Standard, standard
from harness.suite import Blind, Suite
from harness.trial import Case
from harness.vacuity import Rule, Vacuous, coarsely_vacuous, covering, declared, notes_of, vacuous_checks

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a probe found out about one implementation; becomes a Result."""

    status: Status = "ok"
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


class OpenBlock:
    """Inputs, truth and callables of one case, made on first use."""

    def __init__(self, suite: Suite, case: Case, seed: int, ledger: Ledger | None = None) -> None:
        self.suite, self.case, self.seed = suite, case, seed
        self.ledger = ledger or Ledger()
        self._drawn: dict[int, tuple[Sample, dict[str, Any]]] = {}
        self._drawn_at: dict[Shape, tuple[Sample, dict[str, Any]]] = {}
        self._once: dict[object, Any] = {}
        self._bound: dict[str, Bound] = {}
        self._vacuity: dict[int, dict[str, str]] = {}
        # The declared entries that have excused a check of another question.
        self.excusing: set[Blind] = set()
        self._coarse: dict[tuple[str, int, Rule], tuple[Standard, tuple[Vacuous, ...]]] = {}

    def drawn(self, repeat: int = 0) -> tuple[Sample, dict[str, Any]]:
        """Returns sample and options of a repeat."""
        if repeat not in self._drawn:
            self._drawn[repeat] = draw(self.case, self.suite, seed=self.seed, repeat=repeat)
        return self._drawn[repeat]

    def drawn_at(self, shape: Shape) -> tuple[Sample, dict[str, Any]] | None:
        """Returns sample and options of the case at another shape; None where the regime fixes it."""
        if self.suite.regime(self.case.regime).shape(shape) != shape:
            return None
        if shape not in self._drawn_at:
            case = replace(self.case, batch=shape.batch, classes=shape.classes)
            self._drawn_at[shape] = draw(case, self.suite, seed=self.seed)
        return self._drawn_at[shape]

    def standard(self, name: str, repeat: int = 0) -> Standard:
        """Returns sample, truth and yardsticks under the definition of an implementation."""
        return self.kept(
            repeat,
            name,
            lambda definition: standard(self.suite, *self.drawn(repeat), self.case.dtype, definition),
        )

    def under(self, upstream: Tensor, name: str) -> Standard:
        """Returns the standard of the case under another upstream gradient; one for equal memory.

        Equal numbers in other strides are another one, since an answer is asked with these very strides.
        """
        numbers = upstream.double().contiguous().numpy().tobytes()
        question = ("upstream", upstream.dtype, upstream.shape, upstream.stride(), numbers)
        stand = self.standard(name)
        return self.kept(question, name, lambda definition: stand.under(upstream))

    def rung(self, ladder: Ladder, value: float, name: str) -> Standard:
        """Returns the standard of a ladder at a value; all implementations climb the same one."""

        def made(definition: Mapping[str, Any]) -> Standard:
            drawn = draw_rung(ladder, value, self.case, self.suite, seed=self.seed)
            stand = standard(self.suite, *drawn, self.case.dtype, definition)
            return replace(stand, loss=coarse_loss(stand.loss)) if ladder.counts else stand

        return self.kept((ladder.name, value), name, made)

    def kept(self, question: object, name: str, make: Callable[[Mapping[str, Any]], Standard]) -> Standard:
        """Returns the standard of a question under an implementation's definition, made once."""
        return self.once(question, name, lambda definition: replace(make(definition), ledger=self.ledger))

    def once(self, question: object, name: str, make: Callable[[Mapping[str, Any]], T]) -> T:
        """Returns what the oracle makes of a question under an implementation's definition, made once."""
        definition = self.suite.implementation(name).contract.definition
        key = (question, tuple(sorted((k, repr(v)) for k, v in definition.items())))
        if key not in self._once:
            with self.ledger.spending("oracle"):
                self._once[key] = make(definition)
        found: T = self._once[key]
        return found

    def vacuity(self, name: str) -> Mapping[str, str]:
        """Returns the notes on checks of this case that accept a null answer; judged once per truth."""
        stand = self.standard(name)
        if id(stand) not in self._vacuity:
            facts = {"variant": self.case.variant, "regime": self.case.regime, "dtype": self.case.dtype}
            found = declared(vacuous_checks(stand), self.suite.blind, facts)
            self._vacuity[id(stand)] = notes_of(found)
        return self._vacuity[id(stand)]

    def coarse_vacuity(self, asked: Iterable[tuple[str, Standard, Rule]]) -> dict[str, str]:
        """Returns the notes on checks that accept a null answer where only errors are told.

        `asked` are (question, standard, what is told there); a standard is looked at once, for all.
        """
        found: dict[Vacuous, None] = {}
        for question, stand, rule in asked:
            key = question, id(stand), rule
            if key not in self._coarse:
                # With the standard, whose id another one would take over.
                self._coarse[key] = stand, self._accepted(question, stand, rule)
            found |= dict.fromkeys(self._coarse[key][1])
        return notes_of(found)

    def _accepted(self, question: str, stand: Standard, rule: Rule) -> tuple[Vacuous, ...]:
        """Returns what the checks of a question accept; of what is declared the reason alone.

        Twenty questions have the same excuse, such as a gradient of zeros for one class.
        """
        facts = {"variant": self.case.variant, "regime": self.case.regime, "dtype": self.case.dtype}
        accepted = [replace(one, check=f"{question}: {one.check}") for one in coarsely_vacuous(stand, rule)]
        self.excusing |= set(covering(accepted, self.suite.blind, facts))
        return tuple(
            replace(one, check="another question", null="a null answer") if one.declared else one
            for one in declared(accepted, self.suite.blind, facts)
        )

    def bound(self, name: str) -> Bound:
        """Returns the callable of an implementation; what building it raises goes through."""
        if name not in self._bound:
            _, options = self.drawn()
            self._bound[name] = self.bound_for(name, options)
        return self._bound[name]

    def bound_for(
        self, name: str, options: Mapping[str, Any], *, any_shape: bool = False, variant: str = ""
    ) -> Bound:
        """Returns the callable of an implementation for other options (another class count or variant).

        `any_shape` asks for one artefact over all shapes where the implementation is compiled; a
        ladder of rows would otherwise compile on every rung.
        """
        given = self.suite.variant(variant or self.case.variant).options
        implementation = self.suite.implementation(name)
        if any_shape and implementation.compiled:
            implementation = replace(implementation, prepare=partial(torch.compile, dynamic=True))
        return bind(implementation, on_device(options, self.case.device), given, self.ledger)

    def forget(self, name: str) -> None:
        """Drops the callable of an implementation, so that the next use builds it anew."""
        self._bound.pop(name, None)

    def adopt(self, other: OpenBlock) -> None:
        """Takes over the callables of a block with the same artefact, options included."""
        self._bound = other._bound


def reset_compiler() -> None:
    """Forgets every compiled form of this process; the files of the compiler's cache stay."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:  # importing it for nothing would cost a second of every worker
        dynamo.reset()
        dynamo.config.fail_on_recompile_limit_hit = True
