"""Worked examples as tests: printed numbers, computed by every implementation.

An example calls an implementation with options of its own, so what it does not take, or defines
differently, is a skip with that reason. The trap: a number that a declared divergence explains is stale
where the implementation gives it after all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.block import reset_compiler
from harness.calling import NotALossError, bind, failure, is_neutral, missing_option
from harness.implementation import Implementation
from harness.inputs import dtype_named
from harness.pytest_items import SuiteItem, fail, numbered, wrong
from harness.pytest_settings import Settings
from harness.sample import Shape
from harness.suite import Example, Suite


def examples_of(parent: pytest.Module, suite: Suite, settings: Settings) -> Iterator[pytest.Item]:
    """Yields the examples, each with every implementation."""
    names = numbered([example.source for example in suite.examples], str)
    for name, example in zip(names, suite.examples, strict=True):
        for item in suite.implementations:
            yield ExampleItem.from_parent(
                parent, name=f"example/{name}/{item.name}", suite=suite, example=example, implementation=item
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
    item: Implementation, options: Mapping[str, Any], given: Mapping[str, Any], tensors: tuple[Tensor, ...]
) -> Tensor:
    """Returns the loss; what is raised fails."""
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
        wrong(item, f"{item.name} raised {reason}")
