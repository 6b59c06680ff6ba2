"""What the sides of an identity call: an implementation or the truth of a family, with what it may be off.

`evaluate(*tensors, **options)` takes float64 tensors, rounds them to the dtype of the case, calls the
implementation and returns a float64 tensor whose slope is the gradient that came back, so that autograd
carries both through whatever a side does before and after. The bound of a call is what the strict rule
grants its losses and gradients, and what rounding its inputs changes in the truth. The trap: one cause is
to be found once. An answer that breaks the strict rule without being an error, or that a Known entry
lists, has its finding in the accuracy probe; it is granted what it is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import Function

from harness.block import OpenBlock
from harness.calling import NotALossError, bind, failure, gradients_of, is_neutral, leaves, missing_option
from harness.errors import SuiteError
from harness.implementation import Implementation
from harness.inputs import dtype_named, element_options, on_device
from harness.judge import Mask, Yardstick, judge
from harness.observation import gradient_array, loss_array, private_upstream
from harness.oracle.reduction import Array
from harness.sample import Layout, Sample, rows
from harness.standard import Standard, row_oracle, standard
from harness.suite import Suite

TRUTH, TRUTH_DTYPE = "truth", "float64"
NOTHING: Mapping[str, Any] = MappingProxyType({})


class NotTakenError(Exception):
    """The implementation does not take what a side asks for; the identity is unsupported there."""


class WrongAnswerError(Exception):
    """The implementation raised, or answered something else than a loss, on inputs of a declared form."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Answered:
    """Losses (R,) and gradients {name: rows} of one call, each with the bound of every entry.

    `stretched` (R,) marks the rows in which an answer is granted more than the strict bound.
    """

    losses: Array
    loss_bound: Array
    gradients: Mapping[str, Array]
    gradient_bounds: Mapping[str, Array]
    stretched: Mask


@dataclass(frozen=True)
class Call:
    """One call of a side: its anchor, whose slope is a_k, and its inputs as rows in the side's graph.

    `stored` holds the tensors that the implementation was given and `asked` the options that the side
    names; None and nothing for the truth of a family.
    """

    anchor: Tensor
    inputs: Mapping[str, Tensor]
    answered: Answered
    stored: Sample | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)


class _Linear(Function):
    """A loss per row whose slope is the gradient that came with it."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, gradients: list[Tensor | None], *inputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return losses.clone()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        scaled = [
            None if g is None else g * upstream.reshape(-1, *([1] * (g.dim() - 1))) for g in ctx.gradients
        ]
        return None, None, *scaled


@dataclass
class Evaluation:
    """What the sides of an identity call: one implementation, or the truth of a family.

    `sample` holds the stored numbers, widened to float64; `answers` keeps what was asked before, because
    most identities begin with the plain call. `differentiable` turns False where a side hands the sample
    over as an input that the implementation promises no gradient of.
    """

    block: OpenBlock
    name: str
    variant: str
    regime: str
    sample: Sample
    options: Mapping[str, Any]
    answers: dict[tuple[object, ...], Answered] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    differentiable: bool = True

    def __call__(self, *tensors: Tensor, **asked: Any) -> Tensor:
        """Returns the unreduced loss of the implementation, in the layout of the case."""
        suite, item = self.block.suite, self.block.suite.implementation(self.name)
        every = {**self.options, **asked, "reduction": "none"}
        for option, value in item.contract.definition.items():
            if option in every and not is_neutral(every[option], value):
                raise NotTakenError(f"its contract declares {option}={value!r}, {every[option]!r} is asked")
        missing = missing_option(item, every, suite.options)
        if missing is not None:
            raise NotTakenError(f"takes no option {missing}={every[missing]!r}")
        if len(tensors) != len(self.sample.tensors):
            raise SuiteError(
                f"suite {suite.name!r}: an identity calls with {len(tensors)} tensors; the family takes "
                f"{', '.join(self.sample)}."
            )
        given = dict(zip(self.sample, tensors, strict=True))
        exact = self.sample.replaced(gradients=None, layout=None, **{n: t.detach() for n, t in given.items()})
        stored = exact.mapped(self._stored)
        key = (self.name, self.variant, self.regime, _key(stored), _key_of_options(every))
        if key not in self.answers:
            stand = self.block.kept(
                ("identity", *key[3:]),
                self.name,
                lambda definition: _unscaled(suite, stored, every, self.block.case.dtype, definition),
            )
            self.answers[key] = self._answered(stand, every, asked)
        answered = self.answers[key]
        if any(not torch.equal(stored[n].double(), t) for n, t in exact.named.items() if _floats(t)):
            answered = _moved(answered, suite, exact, stored, every)
        promised = set(self.sample.gradients) - set(self.sample.shared)
        if any(t.requires_grad and n not in promised for n, t in given.items()):
            self.differentiable = False
        return self._put_down(answered, given, self.sample.layout, stored, asked)

    def truth(self, family: Suite, layout: Layout = "rows", **given: Any) -> Tensor:
        """Returns the true loss per row of a family: keywords are its tensors by name, or its options.

        The bound is what the strict rule grants an implementation in float64 on these inputs. Tensors
        that need a gradient are differentiated; the family's oracle has to state that gradient.
        """
        tensors = {name: value for name, value in given.items() if name not in family.options}
        options = {**family.options, **given, "reduction": "none"}
        wanted = tuple(name for name, tensor in tensors.items() if tensor.requires_grad)
        sample = Sample(gradients=wanted, layout=layout, **{n: t.detach() for n, t in tensors.items()})
        asked = {name: value for name, value in options.items() if name in family.options}
        key = (TRUTH, family.name, wanted, layout, _key(sample), _key_of_options(asked))
        if key not in self.answers:
            stand = self.block.kept(
                key, self.name, lambda _: _unscaled(family, sample, asked, TRUTH_DTYPE, {})
            )
            self.answers[key] = Answered(
                stand.truth.value,
                stand.loss.strict,
                {name: np.asarray(stand.truth.gradients[name]) for name in wanted},
                {name: _granted(stand.gradients[name]) for name in wanted},
                np.zeros(stand.truth.value.shape, dtype=bool),
            )
        return self._put_down(self.answers[key], tensors, layout)

    def _stored(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype_named(self.block.case.dtype)) if _floats(tensor) else tensor

    def _answered(self, stand: Standard, every: Mapping[str, Any], asked: Mapping[str, Any]) -> Answered:
        suite, device = self.block.suite, self.block.case.device
        variant_options = {**suite.variant(self.variant).options, **asked}
        declared = [_form(t) for t in stand.sample.tensors] == [_form(t) for t in self.sample.tensors]
        ledger = self.block.ledger
        try:
            bound = bind(suite.implementation(self.name), on_device(every, device), variant_options, ledger)
            copies = leaves(stand.sample, device)
            with ledger.spending("implementation"):
                loss = bound.loss(copies.tensors)
            if tuple(loss.shape) != tuple(stand.upstream.shape):
                shape = tuple(stand.upstream.shape)
                raise WrongAnswerError(
                    "shape", f"returned shape {tuple(loss.shape)}, the contract says {shape}"
                )
            upstream = private_upstream(stand.upstream, device, loss.dtype)
            with ledger.spending("implementation"):
                found = gradients_of(loss, copies, upstream)
        except WrongAnswerError as error:
            raise error if declared else NotTakenError(str(error)) from None
        except NotALossError as error:
            raise (WrongAnswerError("shape", str(error)) if declared else NotTakenError(str(error))) from None
        except Exception as error:
            status, reason = failure(error)
            if status is not None or not declared:
                raise NotTakenError(reason) from None
            raise WrongAnswerError("raises", reason) from None
        losses = loss_array(loss, stand)
        gradients = {
            name: np.zeros(stand.gradients[name].truth.shape) if g is None else gradient_array(g, stand)
            for name, g in found.items()
            if name not in stand.sample.shared
        }
        loss_bound = _granted(stand.loss, losses, listed=self._listed(stand.loss, losses))
        stretched = ~(np.abs(stand.loss.off(losses)) <= stand.loss.strict)
        bounds = {}
        for name, got in gradients.items():
            stick = stand.gradients[name]
            bounds[name] = _granted(stick, got, listed=self._listed(stick, got))
            beyond = ~(np.abs(stick.off(got)) <= stick.strict)
            stretched = stretched | beyond.reshape(len(losses), -1).any(1)
        return Answered(losses, loss_bound, gradients, bounds, stretched)

    def _listed(self, stick: Yardstick, got: Array) -> bool:
        """Tells whether every error of an answer is listed as known where the identity is asked."""
        item: Implementation = self.block.suite.implementation(self.name)
        case = self.block.case
        facts = {"variant": self.variant, "regime": self.regime, "dtype": case.dtype, "device": case.device}
        errors = [defect for defect in judge(stick, got).defects if defect.severity == "error"]
        return bool(errors) and all(
            any(
                entry.covers(
                    {**facts, "probe": "accuracy", "kind": defect.kind, "group": defect.group},
                    torch.__version__,
                    defect.times,
                )
                for entry in item.known
            )
            for defect in errors
        )

    def _put_down(
        self,
        answered: Answered,
        given: Mapping[str, Tensor],
        layout: Layout,
        stored: Sample | None = None,
        asked: Mapping[str, Any] = NOTHING,
    ) -> Tensor:
        """Returns the losses as a differentiable tensor and notes the call."""
        inputs = {name: rows(tensor, layout) for name, tensor in given.items()}
        losses = torch.from_numpy(np.array(answered.losses, dtype=np.float64))
        anchor = torch.zeros_like(losses, requires_grad=True)
        slopes = [
            torch.from_numpy(np.array(answered.gradients[name])) if name in answered.gradients else None
            for name in inputs
        ]
        found = cast(Tensor, _Linear.apply(losses, slopes, *inputs.values())) + anchor
        self.calls.append(Call(anchor, inputs, answered, stored, asked))
        return found.reshape(_loss_shape(next(iter(given.values())), layout))


def _unscaled(
    suite: Suite, sample: Sample, options: Mapping[str, Any], dtype: str, definition: Mapping[str, Any]
) -> Standard:
    """Returns the standard of unreduced losses under an upstream gradient of 1 for every row."""
    stand = standard(suite, sample, options, dtype, definition)
    return stand.under(torch.ones_like(stand.upstream))


def _granted(stick: Yardstick, got: Array | None = None, *, listed: bool = False) -> Array:
    """Returns what an answer may be off by: the strict bound, and the choice that a kink leaves.

    An answer beyond it is granted what it is off where that is no error, or `listed`; a NaN then makes the
    bound NaN, and nothing is compared there.
    """
    bound = stick.strict
    if got is not None:
        off = np.abs(stick.off(got))
        with np.errstate(invalid="ignore"):
            bound = np.where((off <= stick.error) | listed, np.maximum(off, bound), bound)
    if stick.reach is None:
        return np.asarray(bound)
    low, high = stick.reach
    return np.asarray(bound + (high - low))


def _moved(
    answered: Answered, suite: Suite, exact: Sample, stored: Sample, options: Mapping[str, Any]
) -> Answered:
    """Returns an answer whose bounds grow by what rounding the inputs to the dtype changes in the truth."""
    oracle = row_oracle(suite)
    before, after = (
        oracle.evaluate(
            {**sample.in_rows(), **element_options(sample, options)},
            options,
            sample.gradients,
            sensitivities=False,
        )
        for sample in (exact, stored)
    )
    return Answered(
        answered.losses,
        answered.loss_bound + np.abs(before.losses - after.losses),
        answered.gradients,
        {
            name: bound + np.abs(before.gradients[name] - after.gradients[name])
            for name, bound in answered.gradient_bounds.items()
        },
        answered.stretched,
    )


def _loss_shape(first: Tensor, layout: Layout) -> tuple[int, ...]:
    """Returns the shape of an unreduced loss of these inputs."""
    if layout == "elements":
        return tuple(first.shape)
    return (first.shape[0], *first.shape[2:]) if layout == "nchw" else (len(rows(first, layout)),)


def _key(sample: Sample) -> tuple[object, ...]:
    return tuple((name, str(t.dtype), tuple(t.shape), _bytes(t)) for name, t in sample.named.items())


def _key_of_options(options: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(
        (name, _bytes(value) if isinstance(value, Tensor) else repr(value))
        for name, value in sorted(options.items())
    )


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _form(tensor: Tensor) -> tuple[bool, int]:
    return _floats(tensor), tensor.dim()


def _floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point()
