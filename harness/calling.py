"""How an implementation is called: `function(*sample.tensors, **options)`, and what its answers mean.

`admission` says before anything runs why a trial cannot be asked; `bind` builds what is called
(modules and compiled forms, untimed); `failure` sorts an exception into a status or a finding. The
trap: an option whose value is neutral is simply not passed to a callable that lacks it, so that
plain functions of (logits, target) are at home in every family.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness.implementation import Implementation
from harness.ledger import Ledger
from harness.results import Status
from harness.sample import Sample
from harness.suite import Suite
from harness.trial import Case


class NotALossError(Exception):
    """What came back is not a loss tensor; a finding, never an error of the user."""


@dataclass(frozen=True)
class Bound:
    """An implementation with the options of a variant, ready to be called on tensors.

    `options` are those that it was given, its own copies.
    """

    implementation: Implementation
    call: Callable[..., Any]
    ledger: Ledger
    options: Mapping[str, Any] = field(default_factory=dict)

    def loss(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """Calls the implementation and reads the loss; raises NotALossError for anything but a tensor."""
        return read_loss(self.call(*tensors), self.implementation)


def read_loss(answer: Any, implementation: Implementation) -> Tensor:
    """Picks the loss out of what an implementation returned."""
    reads = implementation.reads
    if callable(reads):
        answer = reads(answer)
    elif reads is not None:
        answer = answer[reads]
    elif isinstance(answer, tuple | list) and answer:
        answer = answer[0]
    elif isinstance(answer, Mapping) and answer:
        answer = next(iter(answer.values()))
    if not isinstance(answer, Tensor):
        raise NotALossError(f"returned {type(answer).__name__} instead of a loss tensor")
    return answer


def is_neutral(value: Any, neutral: Any) -> bool:
    """Tells whether an option value is the family's neutral one."""
    if isinstance(value, Tensor) or isinstance(neutral, Tensor):
        return value is neutral
    return bool(value == neutral)


def missing_option(
    implementation: Implementation, options: Mapping[str, Any], neutral: Mapping[str, Any]
) -> str | None:
    """Returns the first option that matters, is not taken and is not covered by the contract."""
    for name, value in options.items():
        if name not in neutral or implementation.accepts(name) or is_neutral(value, neutral[name]):
            continue
        if name in implementation.contract.definition:
            continue
        return name
    return None


def admission(suite: Suite, implementation: Implementation, case: Case) -> tuple[Status, str] | None:
    """Returns (status, reason) when a trial cannot be asked, None when it can."""
    excluded = implementation.contract.excludes(case.variant, case.regime, case.dtype, case.device)
    if excluded is not None:
        return "unsupported", excluded
    for option in suite.regime(case.regime).needs:
        if not implementation.accepts(option) and option not in implementation.contract.definition:
            return "unsupported", f"takes no option {option}, which regime {case.regime} needs"
    options = {**suite.options, **suite.variant(case.variant).options}
    missing = missing_option(implementation, options, suite.options)
    if missing is not None:
        return "unsupported", f"takes no option {missing}={_written(options[missing])}"
    if implementation.skip is not None:
        reason = implementation.skip(case.shape)
        if reason:
            return "skipped", reason
    return None


def _written(value: Any) -> str:
    """Returns an option's value as text; a function by its name, since its address is of this process."""
    return str(getattr(value, "__name__", repr(value))) if callable(value) else repr(value)


def bind(
    implementation: Implementation,
    options: Mapping[str, Any],
    variant_options: Mapping[str, Any],
    ledger: Ledger | None = None,
) -> Bound:
    """Builds the callable for these options; what `prepare` or a constructor raises goes through."""
    function, book = implementation.function, ledger or Ledger()
    named = _parameters(function)
    taken = {
        name: value
        for name, value in options.items()
        if name in named or (name in variant_options and implementation.accepts(name))
    }
    if isinstance(function, type) and issubclass(function, nn.Module) and implementation.prepare is None:
        return Bound(implementation, function(**taken), book, taken)
    if implementation.prepare is None:
        return Bound(implementation, _with(function, taken), book, taken)
    if _takes_two(implementation.prepare):
        return Bound(implementation, implementation.prepare(function, taken), book, taken)
    return Bound(implementation, _with(implementation.prepare(function), taken), book, taken)


def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()


def _takes_two(prepare: Callable[..., Any]) -> bool:
    try:
        inspect.signature(prepare).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True


def _with(function: Callable[..., Any], taken: Mapping[str, Any]) -> Callable[..., Any]:
    def call(*tensors: Tensor) -> Any:
        return function(*tensors, **taken)

    return call


def leaves(sample: Sample, device: str) -> Sample:
    """Returns private copies on the device, those that need gradients as leaves."""
    copies = {name: tensor.detach().clone().to(device) for name, tensor in sample.named.items()}
    for name in sample.gradients:
        copies[name].requires_grad_(True)
    return sample.replaced(gradients=None, layout=None, **copies)


def gradients_of(loss: Tensor, sample: Sample, upstream: Tensor | None) -> dict[str, Tensor | None]:
    """Returns the gradients of the named inputs; None where the loss does not depend on one."""
    wanted = [sample[name] for name in sample.gradients]
    if not loss.requires_grad:
        return dict.fromkeys(sample.gradients)
    found = torch.autograd.grad(loss, wanted, upstream, allow_unused=True)
    return dict(zip(sample.gradients, found, strict=True))


@contextmanager
def torch_state_kept() -> Iterator[None]:
    """Restores grad mode, default dtype and threads, so that nobody is accused of a neighbour's doing."""
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def failure(error: BaseException) -> tuple[Status | None, str]:
    """Returns (status, reason) of an exception; status None means the finding `raises`."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return "out_of_memory", text
    # torch says that a kernel lacks a dtype in a RuntimeError that only its words tell from others
    # ("nll_loss_forward_no_reduce_cpu_kernel_index" not implemented for 'Long'). Whoever says so in his own
    # words is believed: it is shown as `unsupported` with that sentence, and never counted as right.
    if isinstance(error, NotImplementedError) or "not implemented for" in text:
        return "unsupported", text
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "harness" not in f.filename]
    place = f" (line {frames[-1].lineno} of {frames[-1].name})" if frames else ""
    return None, text + place
