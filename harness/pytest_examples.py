"""Worked examples and identities as tests: printed numbers, and two ways to say the same number.

Both call an implementation with options of their own, so what it does not take, or defines
differently, is a skip with that reason. The trap: an identity may hand over tensors of another form
(probabilities instead of labels); an implementation that raises on those does not take them, one
that raises on the form it was declared for is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.block import reset_compiler
from harness.calling import NotALossError, bind, failure, is_neutral, missing_option
from harness.implementation import Implementation
from harness.inputs import draw, dtype_named, element_options
from harness.metrics import FORMATS, strict_bound
from harness.pytest_items import SuiteItem, fail, numbered, wrong
from harness.pytest_settings import Settings
from harness.sample import Sample, Shape, rows
from harness.standard import row_oracle, upstream_for
from harness.suite import Example, Identity, Suite
from harness.trial import Case
from harness.units import number

# Both sides may be off by the strict bound.
SIDES = 2


def examples_of(parent: pytest.Module, suite: Suite, settings: Settings) -> Iterator[pytest.Item]:
    """Yields the examples, then the identities, each with every implementation."""
    names = numbered([example.source for example in suite.examples], str)
    for name, example in zip(names, suite.examples, strict=True):
        for item in suite.implementations:
            yield ExampleItem.from_parent(
                parent, name=f"example/{name}/{item.name}", suite=suite, example=example, implementation=item
            )
    names = numbered([identity.name for identity in suite.identities], str)
    for name, identity in zip(names, suite.identities, strict=True):
        for item in suite.implementations:
            yield IdentityItem.from_parent(
                parent,
                name=f"identity/{name}/{item.name}",
                suite=suite,
                identity=identity,
                implementation=item,
                seed=settings.seed,
            )


class ExampleItem(SuiteItem):
    """A worked number, computed by one implementation."""

    def __init__(
        self, *, suite: Suite, example: Example, implementation: Implementation, **given: Any
    ) -> None:
        super().__init__(**given)
        self._suite, self._example, self._implementation = suite, example, implementation
        self.marked(
            "example",
            suite=suite.name,
            implementation=implementation.name,
            variant=example.variant,
            dtype=example.dtype,
        )

    def ask(self) -> None:
        """Computes the number and holds it against the printed one."""
        example, item = self._example, self._implementation
        tensors, options = example_call(example, self._suite)
        skip_unless_taken(self._suite, item, options, example.variant, example.dtype)
        given = {**self._suite.variant(example.variant).options, **example.options}
        loss = called(item, options, given, tensors)
        if loss.numel() != 1:
            wrong(item, f"{item.name} returned shape {tuple(loss.shape)} where the text prints one number")
        got = float(loss.detach())
        self.user_properties.append(("value", got))
        reason = example.divergent.get(item.name)
        if reason is not None and example.holds(got):
            fail(f"{item.name} is declared not to give {example.value!r} ({reason}), but it does: stale")
        if reason is not None:
            pytest.xfail(reason)
        if not example.holds(got):
            digits = (
                f"to {example.digits} digits" if example.tolerance is None else f"+-{example.tolerance:g}"
            )
            note = f"\n  note: {example.note}" if example.note else ""
            source = f"\n  source: {example.source}" if example.source else ""
            wrong(
                item,
                f"{item.name} gives {got!r}, the text prints {example.value!r} ({digits}) for variant "
                f"{example.variant} in {example.dtype}{source}{note}",
            )


class IdentityItem(SuiteItem):
    """Two ways to say the same number, computed with one implementation in float64."""

    def __init__(
        self, *, suite: Suite, identity: Identity, implementation: Implementation, seed: int, **given: Any
    ) -> None:
        super().__init__(**given)
        self._suite, self._identity, self._implementation = suite, identity, implementation
        self._seed = seed
        self.marked(
            "identity",
            suite=suite.name,
            implementation=implementation.name,
            variant=identity.variant,
            regime=identity.regime,
            dtype="float64",
        )

    def ask(self) -> None:
        """Computes both sides and holds their difference against twice the strict bound."""
        suite, identity, item = self._suite, self._identity, self._implementation
        excluded = item.contract.excludes(identity.variant, identity.regime, "float64", "cpu")
        if excluded is not None:
            pytest.skip(f"unsupported: {excluded}")
        sample, options = self._drawn()
        given = suite.variant(identity.variant).options

        def evaluate(*tensors: Tensor, **asked: Any) -> Tensor:
            every = {**options, **asked}
            skip_unless_taken(suite, item, every)
            same_form = [_form(t) for t in tensors] == [_form(t) for t in sample.tensors]
            loss = called(item, every, {**given, **asked}, tensors, declared=same_form)
            expected = upstream_for(sample, every)
            shape = () if expected is None else tuple(expected.shape)
            if tuple(loss.shape) != shape:
                why = f"returned shape {tuple(loss.shape)}, the contract says {shape}"
                if not same_form:
                    not_taken(why)
                wrong(item, f"{item.name} {why}")
            return loss

        sides = [side(evaluate, sample) for side in (identity.left, identity.right)]
        left, right = (rows(side.detach(), sample.layout).double().numpy() for side in sides)
        if left.shape != right.shape:
            fail(f"{identity.name}: the sides have the shapes {left.shape} and {right.shape}")
        allowed = SIDES * self._bound(sample, options, np.maximum(np.abs(left), np.abs(right)))
        apart = np.abs(left - right)
        broken = ~(apart <= allowed)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.user_properties.append(("share_of_bound", float(np.max(apart / allowed, initial=0.0))))
        if broken.any():
            row = int(np.argmax(np.where(broken, np.nan_to_num(apart / allowed, nan=np.inf), -1.0)))
            wrong(
                item,
                f"{identity.name}: {item.name} gives {left[row]!r} and {right[row]!r} in row {row} "
                f"({int(broken.sum())} of {broken.size} rows): {number(float(apart[row]))} apart, allowed is "
                f"{number(float(allowed[row]))}"
                + (f"\n  source: {identity.source}" if identity.source else ""),
            )

    def _drawn(self) -> tuple[Sample, dict[str, Any]]:
        """Returns a float32 sample widened to float64, so that shifts by a power of two are exact."""
        suite, identity = self._suite, self._identity
        shape = suite.regime(identity.regime).shape(suite.shapes.usual)
        case = Case(suite.name, identity.variant, identity.regime, "float32", "cpu", *shape, 1)
        sample, options = draw(case, suite, seed=self._seed)
        return sample.mapped(_widened), {
            name: _widened(value) if isinstance(value, Tensor) else value for name, value in options.items()
        }

    def _bound(self, sample: Sample, options: Mapping[str, Any], size: Any) -> Any:
        """Returns the strict bound of unreduced losses of this size on a sample."""
        asked = {**options, "reduction": "none"}
        inputs = {**sample.in_rows(), **element_options(sample, asked)}
        truth = row_oracle(self._suite).evaluate(inputs, asked, sample.gradients)
        first = inputs[next(iter(inputs))]
        classes = first.shape[1] if first.dim() > 1 else 1
        largest = np.maximum(size, np.abs(truth.losses))
        return strict_bound(largest, truth.sensitivities, FORMATS["float64"], classes, 1, truth.rounding)


def example_call(example: Example, suite: Suite) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Returns the tensors of an example in calling order and every option with its value."""
    dtype = dtype_named(example.dtype)
    tensors = tuple(_tensor(values, dtype) for values in example.inputs.values())
    first = tensors[0]
    shape = Shape(first.shape[0] if first.dim() else 1, first.shape[1] if first.dim() > 1 else 1)
    options = {**suite.options, **suite.variant(example.variant).options, **example.options}
    return tensors, {name: _option(value, shape, dtype) for name, value in options.items()}


def _tensor(values: Any, dtype: torch.dtype) -> Tensor:
    plain = torch.tensor(values)
    return torch.tensor(values, dtype=dtype) if plain.is_floating_point() else plain


def _option(value: Any, shape: Shape, dtype: torch.dtype) -> Any:
    if callable(value):
        return value(shape, dtype)
    return _tensor(value, dtype) if isinstance(value, list) else value


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _form(tensor: Tensor) -> tuple[bool, int]:
    return tensor.is_floating_point(), tensor.dim()


def skip_unless_taken(
    suite: Suite, item: Implementation, options: Mapping[str, Any], variant: str = "", dtype: str = ""
) -> None:
    """Skips with the reason when an implementation lacks an option or defines it differently."""
    excluded = item.contract.excludes(variant, "", dtype, "cpu") if variant else None
    if excluded is not None:
        pytest.skip(f"unsupported: {excluded}")
    for name, value in item.contract.definition.items():
        if name in options and not is_neutral(options[name], value):
            pytest.skip(f"unsupported: its contract declares {name}={value!r}, {options[name]!r} is asked")
    missing = missing_option(item, options, suite.options)
    if missing is not None:
        pytest.skip(f"unsupported: takes no option {missing}={options[missing]!r}")


def called(
    item: Implementation,
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    tensors: tuple[Tensor, ...],
    *,
    declared: bool = True,
) -> Tensor:
    """Returns the loss; what is raised fails, or skips where the tensors are not of a declared form."""
    if item.compiled:
        # Beyond dynamo's limit of compiled forms a further one would silently be eager.
        reset_compiler()
    try:
        return bind(item, options, given).loss(tensors)
    except NotALossError as error:
        wrong(item, f"{item.name} {error}")
    except Exception as error:
        status, reason = failure(error)
        if status == "unsupported":
            pytest.skip(f"unsupported: {reason}")
        if not declared:
            not_taken(f"raised {reason}")
        wrong(item, f"{item.name} raised {reason}")


def not_taken(why: str) -> NoReturn:
    """Skips because inputs of another form than the variant's are not taken."""
    pytest.skip(f"unsupported: does not take inputs of this form ({why})")
