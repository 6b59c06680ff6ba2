"""Other calls of the same thing: upstream gradients, a second backward, no gradients asked for.

The truth of a gradient is linear in the upstream gradient, so every one of them is judged by the same
rows. The trap: the upstream gradients that real graphs hand down are not what tests use: `sum()`
hands down an expanded scalar of stride 0, a slice hands down strided memory, a detached branch
hands down zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from harness.inputs import generator_for
from harness.observation import gradient_array, loss_array, news
from harness.probes.protocol.interview import NAME, Interview, Question
from harness.results import Finding
from harness.witness import plain_finding

Making = Callable[[Interview], Tensor]


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
        found += news(stand, NAME, gradients=pairs)
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
        found = news(interview.stand, NAME, loss=(got, interview.plain.loss))
        if loss.requires_grad:
            found.append(plain_finding("grad_mode", NAME, "loss", "requires a gradient that nobody can give"))
        return found

    return ask


def _one_at_a_time(interview: Interview) -> list[Finding]:
    """Each differentiable input alone requires a gradient."""
    found: list[Finding] = []
    for wanted in interview.sample.gradients:
        sample = interview.fresh()
        for name in sample.gradients:
            sample[name].requires_grad_(name == wanted)
        loss = interview.loss(sample.tensors)
        gradient = None
        if loss.requires_grad:
            sent = interview.sent(loss)
            (gradient,) = interview.gradients(loss, [sample[wanted]], sent, allow_unused=True)
        if gradient is None:
            found.append(plain_finding("no_gradient", NAME, wanted, f"no gradient reached {wanted}"))
            continue
        pair = (gradient_array(gradient, interview.stand), interview.plain_gradients()[wanted])
        found += news(interview.stand, NAME, gradients={wanted: pair})
    return found


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
    Question("one input at a time", "grad_mode", _one_at_a_time, applies=_several, recompiles=True),
    Question(
        "eval mode",
        "grad_mode",
        _evaluating,
        applies=lambda interview: isinstance(interview.bound.call, torch.nn.Module),
        recompiles=True,
    ),
)
