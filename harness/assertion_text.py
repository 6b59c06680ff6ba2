"""The call of a reproducer and what it asserts: the one entry of the witness, or the call as a whole.

A number is right when it is within the strict bound that the finding broke; where the truth rounds to
an infinity that infinity is right, and where it is undefined NaN is (for a gradient also 0). The trap:
a NaN never compares, so every test is written as what is right, never as what is wrong.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.judge import Yardstick
from harness.outcome import KINDS
from harness.reproduce import QUESTIONS, WHOLE_CALL, NoReproducerError, Reproduction
from harness.sample import rows
from harness.tensor_text import TensorText, indented, quoted, short_hex

WIDTH = 88


def question_lines(
    found: Reproduction, build: list[str], upstream: list[str], reading: list[str], tensors: TensorText
) -> list[str]:
    """Returns the lines that build, call, differentiate and assert, as the finding's question asks."""
    question = str(found.finding.witness.get("question", ""))
    if question in QUESTIONS:
        return QUESTIONS[question](found)
    calls = "calling = options" in build
    call = [line for line in build if line != "calling = options"]
    call += [f"loss = call(*inputs.values(){', **options' if calls else ''})", *reading]
    names = ", ".join(f"inputs[{quoted(name)}]" for name in found.stand.sample.gradients)
    backward = [
        f"gradients = torch.autograd.grad(loss, [{names}], upstream.to(loss), allow_unused=True)",
    ]
    kind = found.finding.kind
    if kind not in WHOLE_CALL:
        needed = [] if found.tensor == "loss" else [*indented(upstream, 0), *backward]
        return indented([*call, *needed, *_numeric(found)])
    expected = tuple(found.stand.upstream.shape)
    has_loss = "isinstance(loss, torch.Tensor)"
    asked = [*indented(upstream, 0), *backward]
    if kind == "raises":
        body = indented([*call, *asked])
        failing = 'raise AssertionError(f"raised on valid input: {error!r}") from error'
        return ["    try:", *indented(body, 4), *indented(["except Exception as error:", f"    {failing}"])]
    if kind == "shape" and found.seen.group == "loss":
        return indented(
            [
                *call,
                f'assert {has_loss}, f"returned {{type(loss).__name__}} instead of a loss tensor"',
                f'assert tuple(loss.shape) == {expected}, f"loss has shape {{tuple(loss.shape)}}, the '
                f'contract says {expected}"',
            ]
        )
    if kind == "shape":
        shapes = {name: tuple(found.stand.sample[name].shape) for name in found.stand.sample.gradients}
        return indented(
            [
                *call,
                *asked,
                f"for gradient, (name, shape) in zip(gradients, {shapes!r}.items()):",
                '    assert tuple(gradient.shape) == shape, f"gradient of {name} has shape '
                '{tuple(gradient.shape)}, the contract says {shape}"',
            ]
        )
    if kind == "overwrites":
        return indented(
            [
                "before = {name: tensor.detach().clone() for name, tensor in inputs.items()}",
                *call,
                *asked,
                "for name, tensor in inputs.items():",
                "    same = tensor.detach().reshape(-1).view(torch.uint8), before[name].reshape(-1).view("
                "torch.uint8)",
                '    assert torch.equal(*same), f"wrote into {name}, an input"',
            ]
        )
    if kind == "no_gradient":
        return indented(
            [
                *call,
                'assert loss.requires_grad, "returned a loss that no gradient can be taken of"',
                *asked,
                f"for name, gradient in zip({list(found.stand.sample.gradients)!r}, gradients):",
                '    assert gradient is not None, f"no gradient reached {name}, an input that needs one"',
            ]
        )
    return indented([*call, *asked, *_split(found, tensors)])


def _split(found: Reproduction, tensors: TensorText) -> list[str]:
    """Returns the assertion that loss and gradients are finite together, where the truth is finite."""
    stand, lines, parts = found.stand, [], []
    sides = [("loss", stand.loss)]
    sides += [(f"gradients[{i}]", stand.gradients[name]) for i, name in enumerate(stand.sample.gradients)]
    for number, (written, stick) in enumerate(sides):
        countable = stick.defined & ~stick.infinite
        if not countable.all() and stand.sample.layout != "rows":
            raise NoReproducerError(
                f"show {found.trial.id} --repro: no reproducer yet for loss_gradient_split of images whose "
                "truth is not finite everywhere: see the other findings of the trial."
            )
        if countable.all():
            parts.append(written)
        else:
            mask = torch.from_numpy(np.asarray(countable))
            lines += indented(tensors.written(f"countable_{number}", mask), 0)
            parts.append(f"{written}[countable_{number}]")
    return [
        *lines,
        f"finite = {{bool(tensor.isfinite().all()) for tensor in ({', '.join(parts)})}}",
        'assert len(finite) == 1, "one of loss and gradient is finite, the other is not; both should be"',
    ]


def _numeric(found: Reproduction) -> list[str]:
    stand, place, tensor = found.stand, found.place, found.tensor
    stick = stand.loss if tensor == "loss" else stand.gradients[tensor]
    entry, words = _entry(found)
    exact, allowed = float(stick.truth[place]), float(stick.strict[place])
    tail = 0.0 if stick.tail is None else float(stick.tail[place])
    lines = [
        f"got = float({entry})",
        f"exact = float.fromhex({quoted(short_hex(exact))})  # {exact!r}",
        *_certificate(found),
    ]
    kind = found.seen.kind
    right = f"{words} is {{got!r}} ({{got.hex()}}), exact {{exact!r}} ({{exact.hex()}})"

    def asserted(test: str, said: str) -> list[str]:
        parts = textwrap.wrap(said, WIDTH, break_on_hyphens=False)
        spelt = [f'    f"{part}{" " if part is not parts[-1] else ""}"' for part in parts]
        return ["message = (", *spelt, ")", f"assert {test}, message"]

    means = KINDS[kind].sentence
    if math.isnan(exact):
        test = "got != got" if stick.is_loss else "got != got or got == 0"
        return [*lines, *asserted(test, f"{right}: {means}")]
    off = "abs(got - exact)"
    if tail:
        lines.append(f"tail = float.fromhex({quoted(short_hex(tail))})  # the true value is exact + tail")
        off = "abs((got - exact) - tail)"
    test = f"{off} <= allowed"
    if math.isnan(allowed):
        return [*lines, *asserted("got == exact", f"{right}: {means}")]
    lines += [
        f"# {_bound_in_words(stick, found)}",
        f"allowed = float.fromhex({quoted(short_hex(allowed))})  # {allowed:.3g}",
    ]
    if bool(stick.infinite[place]):
        infinity = "-inf" if exact < 0 else "inf"
        test = f'got == float("{infinity}") or {test}'
    return [*lines, *asserted(test, f"{right}, allowed error {{allowed:.3g}}: {means}")]


def _bound_in_words(stick: Yardstick, found: Reproduction) -> str:
    form = stick.form
    arithmetic = f"u = 2^{round(math.log2(form.arithmetic_roundoff))}"
    reduction = ", and 2 + log2 rows more for the reduction" if found.tensor == "loss" else ""
    return f"Strict bound 2 ulp + (4 + log2 C) u N of {form.name}, {arithmetic}{reduction}."


def _certificate(found: Reproduction) -> list[str]:
    """Returns what proves the exact value, as comments."""
    ball = found.stand.enclosure(found.tensor, found.place)
    if ball is None:
        return [f"# Oracle: {getattr(found.suite.oracle, 'label', 'float64 reference, uncertified')}."]
    if ball.kind != "enclosed":
        return [f"# Certified by Arb (python-flint) at {ball.precision} bits: {ball.kind.replace('_', ' ')}."]
    proof = (
        f"Certified by Arb (python-flint) at {ball.precision} bits"
        if ball.tier == "B2"
        else f"Bounded a priori ({ball.tier})"
    )
    middle, tail, radius = (short_hex(value) for value in (ball.middle, ball.tail, ball.radius))
    return [f"# {proof}:", f"# |true - ({middle} + {tail})| <= {radius}."]


def _entry(found: Reproduction) -> tuple[str, str]:
    """Returns the expression of the witness's entry and how a message names it."""
    stand, sample = found.stand, found.stand.sample
    if found.tensor == "loss":
        index = _index(stand.upstream, found.place, sample.layout)
        return (f"loss.detach()[{index}]", f"loss[{index}]") if index else ("loss.detach()", "loss")
    number = sample.gradients.index(found.tensor)
    index = _index(sample[found.tensor], found.place, sample.layout)
    return f"gradients[{number}][{index}]", f"gradient of {found.tensor}[{index}]"


def _index(tensor: Tensor, place: tuple[int, ...], layout: Any) -> str:
    """Returns the index, in the tensor's own layout, of a place in row form."""
    if not tensor.dim():
        return ""
    numbers = rows(torch.arange(tensor.numel()).reshape(tensor.shape), layout)
    flat = int(numbers[place] if place else numbers.reshape(-1)[0])
    return ", ".join(str(int(i)) for i in np.unravel_index(flat, tuple(tensor.shape)))
