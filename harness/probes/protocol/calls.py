"""Other calls of the same thing: upstream gradients, a second backward, no gradients asked for.

The truth of a gradient is linear in the upstream gradient, so every one of them is judged by the same
rows. The trap: the upstream gradients that real graphs hand down are not what tests use: `sum()`
hands down an expanded scalar of stride 0, a slice hands down strided memory, a detached branch
hands down zeros. And a fused backward that makes several gradients skips work by which of them are needed,
so it is asked for every subset: two that are right alone may be wrong together without the third.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from harness.calling import failure
from harness.inputs import generator_for
from harness.observation import gradient_array, loss_array
from harness.probes.protocol.interview import NAME, Interview, Question, RefusedError
from harness.results import Finding
from harness.witness import plain_finding

Making = Callable[[Interview], Tensor]
SOME_INPUTS = "some inputs require a gradient"


def _filled(value: float) -> Making:
    def make(interview: Interview) -> Tensor:
        return torch.full_like(interview.stand.upstream, value)

    return make


def random_upstream(interview: Interview) -> Tensor:
    """Returns upstream gradients of both signs from 1/2 to 3/2, a pure function of the case."""
    usual = interview.stand.upstream
    generator = generator_for("upstream", interview.case.id)
    drawn = torch.rand(usual.shape, generator=generator, dtype=torch.float64) + 0.5
    signs = torch.randint(0, 2, usual.shape, generator=generator) * 2 - 1
    return (drawn * signs).to(usual.dtype)


def _expanded(interview: Interview) -> Tensor:
    usual = interview.stand.upstream
    return torch.tensor(3.0, dtype=usual.dtype).expand(usual.shape)


def _strided(interview: Interview) -> Tensor:
    drawn = random_upstream(interview)
    wide = torch.full((*drawn.shape, 2), float("nan"), dtype=drawn.dtype)
    wide[..., 0] = drawn
    return wide[..., 0]


def _under(make: Making) -> Callable[[Interview], list[Finding]]:
    def ask(interview: Interview) -> list[Finding]:
        upstream = make(interview)
        stand = interview.block.under(upstream, interview.name)
        return interview.compared(interview.observed(stand), stand, upstream)

    return ask


def _twice(interview: Interview) -> list[Finding]:
    """Backward twice through one graph; the caller scales the first gradient in place meanwhile."""
    upstream = torch.full_like(interview.stand.upstream, 3.0)
    stand = interview.block.under(upstream, interview.name)
    sample = interview.fresh()
    loss = interview.loss(sample.tensors)
    wanted = [sample[name] for name in sample.gradients]
    if not loss.requires_grad:
        return []
    expected = interview.plain_gradients(upstream)
    found: list[Finding] = []
    for order in ("first", "second"):
        sent = interview.sent(loss, upstream)
        gradients = interview.gradients(loss, wanted, sent, retain_graph=True, allow_unused=True)
        pairs = {
            name: (gradient_array(gradient, stand), expected[name])
            for name, gradient in zip(sample.gradients, gradients, strict=True)
            if gradient is not None and name in expected
        }
        found += interview.news(stand, gradients=pairs)
        if order == "first" and not found:
            for gradient in gradients:
                if gradient is not None:
                    gradient.zero_()
    return found


def _value_only(mode: Callable[[], AbstractContextManager[object]]) -> Callable[[Interview], list[Finding]]:
    def ask(interview: Interview) -> list[Finding]:
        with mode():
            tensors = [
                tensor.detach().clone().to(interview.case.device) for tensor in interview.sample.tensors
            ]
            loss = interview.loss(tuple(tensors))
        assert interview.plain.loss is not None
        got = loss_array(loss, interview.stand)
        found = interview.news(interview.stand, loss=(got, interview.plain.loss))
        if loss.requires_grad:
            found.append(plain_finding("grad_mode", NAME, "loss", "requires a gradient that nobody can give"))
        return found

    return ask


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Returns the proper non-empty subsets of some inputs, smaller ones first.

    Of more than three inputs only the single ones and all but one of them, for there are 2^n - 2.
    """
    sizes = range(1, len(names)) if len(names) <= 3 else (1, len(names) - 1)
    return [chosen for size in sizes for chosen in combinations(names, size)]


def _some_inputs(interview: Interview) -> list[Finding]:
    """Some of the differentiated inputs require a gradient; an input is told of in one set of them."""
    found: list[Finding] = []
    told: set[str] = set()
    for needing in subsets(interview.sample.gradients):
        try:
            gradients = _of_some(interview, needing)
        except Exception as error:
            status, reason = failure(error)
            if status is not None:
                raise
            raised = plain_finding("raises", NAME, "call", reason)
            raise RefusedError(*_needing([raised], needing)) from error
        for name, gradient in zip(needing, gradients, strict=True):
            if name in told:
                continue
            if gradient is None:
                wrong = [plain_finding("no_gradient", NAME, name, f"no gradient reached {name}")]
            else:
                pair = (gradient_array(gradient, interview.stand), interview.plain_gradients()[name])
                wrong = interview.news(interview.stand, gradients={name: pair})
            told.update(name for _ in wrong)
            found += _needing(wrong, needing)
    return found


def _of_some(interview: Interview, needing: tuple[str, ...]) -> tuple[Tensor | None, ...]:
    """Returns the gradients of some inputs where no other requires one."""
    sample = interview.fresh()
    for name in sample.gradients:
        sample[name].requires_grad_(name in needing)
    loss = interview.loss(sample.tensors)
    if not loss.requires_grad:
        return (None,) * len(needing)
    wanted = [sample[name] for name in needing]
    return interview.gradients(loss, wanted, interview.sent(loss), allow_unused=True)


def _needing(found: list[Finding], needing: tuple[str, ...]) -> list[Finding]:
    """Returns findings that say which inputs required a gradient."""
    alone = f"while only {' and '.join(needing)} require{'' if needing[1:] else 's'} a gradient"
    return [
        replace(f, message=f"{f.message}, {alone}", witness={**f.witness, "needing": list(needing)})
        for f in found
    ]


def _evaluating(interview: Interview) -> list[Finding]:
    """A module in eval mode answers as in training mode."""
    module = interview.bound.call
    assert isinstance(module, torch.nn.Module)
    module.eval()
    try:
        return interview.compared(interview.observed(interview.stand))
    finally:
        module.train()


def _several(interview: Interview) -> bool:
    return len(interview.sample.gradients) > 1


def _unreduced(interview: Interview) -> bool:
    return not interview.reduced


QUESTIONS = (
    Question("upstream 1", "upstream", _under(_filled(1.0))),
    Question("upstream 3", "upstream", _under(_filled(3.0))),
    Question("random upstream", "upstream", _under(random_upstream)),
    Question("negative upstream", "upstream", _under(_filled(-1.0))),
    Question("zero upstream", "upstream", _under(_filled(0.0))),
    Question("expanded upstream", "upstream", _under(_expanded), applies=_unreduced),
    Question("strided upstream", "upstream", _under(_strided), applies=_unreduced),
    Question("second backward", "second_backward", _twice, refusable=True),
    Question("no_grad", "grad_mode", _value_only(torch.no_grad), recompiles=True),
    Question("inference_mode", "grad_mode", _value_only(torch.inference_mode), recompiles=True),
    Question("no input requires a gradient", "grad_mode", _value_only(torch.enable_grad), recompiles=True),
    Question(SOME_INPUTS, "grad_mode", _some_inputs, applies=_several, recompiles=True),
    Question(
        "eval mode",
        "grad_mode",
        _evaluating,
        applies=lambda interview: isinstance(interview.bound.call, torch.nn.Module),
        recompiles=True,
    ),
)
