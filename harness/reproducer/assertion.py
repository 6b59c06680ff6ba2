"""What a script asserts: the one entry of the witness, or something about the call as a whole.

A number is right when it is within the bound that the finding broke: the strict one, for errors of a
protocol question the one beyond which an inaccuracy is an error; where the truth rounds to an
infinity that infinity is right, and where it is undefined NaN is (for a gradient that no NaN made so also
0). The trap: a NaN never compares, so every test is written as what is right, never as what is wrong.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.errors import unknown
from harness.garbage import OPERATIONS, sharpened
from harness.judge import Yardstick
from harness.metrics import PRODUCT_BLOCK
from harness.outcome import KINDS
from harness.reproducer.reproduction import EXHAUSTIVE, NoReproducerError, Reproduction
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import indented, quoted, short_hex
from harness.results import Finding
from harness.sample import folded, rows
from harness.standard import Standard

WIDTH = 88
NUMERIC = "number"
SPLIT = "loss_gradient_split"
# What a finding is about when it is about no number; anything else a question asserts by itself.
WHOLE_CALL = ("raises", "shape", "overwrites", "no_gradient", SPLIT)
UNCOMPUTED = f"What 16-bit rounding explains: 2 ulp + {OPERATIONS:g} (4 + log2 C) u N, u that of the dtype."


def about(finding: Finding) -> str:
    """Returns NUMERIC, an entry of WHOLE_CALL, or the kind of a finding; a question renames kinds."""
    if "tensor" in finding.witness:
        return NUMERIC
    if retold(finding) and finding.message.startswith("call: "):
        return "raises"
    return finding.kind


def retold(finding: Finding) -> bool:
    """Tells whether a finding was made by comparing with the plain call, where rounding is no news."""
    question = str(finding.witness.get("question", ""))
    return finding.kind == "wrong_while_timed" or bool(question and not question.startswith(EXHAUSTIVE))


@dataclass(frozen=True)
class Asked:
    """The lines of one question: `call` binds `loss`, `backward` binds `gradients`."""

    call: list[str]
    backward: list[str]


def plainly(scene: Scene) -> Asked:
    """Returns the plain call: build, call, differentiate under the upstream gradient of the standard."""
    return Asked([*scene.build, *scene.called()], [*scene.upstream(), scene.backward()])


def asserted(scene: Scene, asked: Asked) -> list[str]:
    """Returns the lines that ask and then assert what the finding is about."""
    found, whole = scene.found, [*asked.call, *asked.backward]
    form = about(found.finding)
    if form == NUMERIC:
        needed = asked.call if found.tensor == "loss" else whole
        return [*needed, *number(scene)]
    if form == "raises":
        failing = 'raise AssertionError(f"raised on valid input: {error!r}") from error'
        return ["try:", *indented(whole), "except Exception as error:", f"    {failing}"]
    if form == "shape":
        return [*(asked.call if found.seen.message.find("gradient of") < 0 else whole), *_shape(found)]
    if form == "overwrites":
        return [
            "before = {name: tensor.detach().clone() for name, tensor in inputs.items()}",
            *whole,
            "for name, tensor in inputs.items():",
            *indented(unchanged("tensor", "before[name]", 'f"wrote into {name}, an input"')),
        ]
    if form == "no_gradient":
        return [
            *asked.call,
            'assert loss.requires_grad, "returned a loss that no gradient can be taken of"',
            *asked.backward,
            f"for name, gradient in zip({list(scene.sample.gradients)!r}, gradients):",
            '    assert gradient is not None, f"no gradient reached {name}, an input that needs one"',
        ]
    if form == SPLIT:
        return [*whole, *_split(scene)]
    raise NoReproducerError(f"show {found.trial.id} --repro: no reproducer yet for {form} of this question.")


def unchanged(tensor: str, before: str, message: str) -> list[str]:
    """Returns the lines that assert that a tensor has the bits of its copy; `message` is an expression."""
    return [
        f"same = [part.detach().reshape(-1).view(torch.uint8) for part in ({tensor}, {before})]",
        f"assert torch.equal(*same), {message}",
    ]


def _shape(found: Reproduction) -> list[str]:
    expected = tuple(found.stand.upstream.shape)
    if "gradient of" not in found.seen.message:
        return [
            'assert isinstance(loss, torch.Tensor), f"returned {type(loss).__name__} instead of a loss '
            'tensor"',
            f'assert tuple(loss.shape) == {expected}, f"loss has shape {{tuple(loss.shape)}}, the '
            f'contract says {expected}"',
        ]
    shapes = {name: tuple(found.stand.sample[name].shape) for name in found.stand.sample.gradients}
    return [
        f"for gradient, (name, shape) in zip(gradients, {shapes!r}.items()):",
        '    assert tuple(gradient.shape) == shape, f"gradient of {name} has shape '
        '{tuple(gradient.shape)}, the contract says {shape}"',
    ]


def _split(scene: Scene) -> list[str]:
    """Returns the assertion that loss and gradients are finite together, where the truth is finite."""
    stand, lines, parts = scene.found.stand, [], []
    for index, (written, stick, shape) in enumerate(_sides(stand)):
        countable = stick.defined & ~stick.infinite
        if countable.all():
            parts.append(written)
            continue
        laid = torch.from_numpy(np.atleast_1d(countable))
        laid = laid.reshape(shape) if stick.is_loss else folded(laid, shape, stand.sample.layout)
        lines += scene.tensor(f"countable_{index}", laid)
        parts.append(f"{written}[countable_{index}]")
    return [
        *lines,
        f"finite = {{bool(tensor.isfinite().all()) for tensor in ({', '.join(parts)})}}",
        'assert len(finite) == 1, "one of loss and gradient is finite, the other is not; both should be"',
    ]


def _sides(stand: Standard) -> list[tuple[str, Yardstick, torch.Size]]:
    """Returns the loss and the gradients as a script names them, each with its yardstick and shape."""
    sample = stand.sample
    gradients = [
        (f"gradients[{index}]", stand.gradients[name], sample[name].shape)
        for index, name in enumerate(sample.gradients)
    ]
    return [("loss", stand.loss, stand.upstream.shape), *gradients]


def number(scene: Scene, *, stand: Standard | None = None, source: str = "") -> list[str]:
    """Returns the assertion that the witness's entry is right; `source` is the tensor's expression."""
    found, stand = scene.found, stand or scene.found.stand
    place, stick = found.place, _stick(stand, found.tensor)
    entry, words = _entry(stand, found.tensor, place, source)
    exact, tail = float(stick.truth[place]), 0.0 if stick.tail is None else float(stick.tail[place])
    summed = found.tensor == "loss" or found.tensor in stand.sample.shared
    by_product = found.tensor in stand.sample.products
    is_error = found.finding.severity == "error"
    uncomputed = is_error and stick.form.precision < 24 and _within(found, stick)
    lenient = is_error and retold(found.finding) and not uncomputed
    judging = sharpened(stick) if uncomputed else stick
    widest = lenient or uncomputed
    allowed = float(np.fmax(judging.strict, judging.error)[place] if widest else stick.strict[place])
    lines = [
        f"got = float({entry})",
        f"exact = float.fromhex({quoted(short_hex(exact))})  # {exact!r}",
        *_certificate(found, stand),
    ]
    means = KINDS[found.seen.kind].sentence
    told = f"{found.question}: " if found.question else ""
    right = f"{told}{words} is {{got!r}} ({{got.hex()}}), exact {{exact!r}} ({{exact.hex()}})"
    if found.seen.kind == "negative_zero":
        return [*lines, *_assert('got.hex() != "-0x0.0p+0"', f"{right}: {means}")]
    if math.isnan(exact):
        test = "got != got" if stick.is_loss or stick.poisoned else "got != got or got == 0"
        return [*lines, *_assert(test, f"{right}: {means}")]
    off = "abs(got - exact)"
    if tail:
        lines.append(f"tail = float.fromhex({quoted(short_hex(tail))})  # the true value is exact + tail")
        off = "abs((got - exact) - tail)"
    test = f"{off} <= allowed"
    if math.isnan(allowed):
        return [*lines, *_assert("got == exact", f"{right}: {means}")]
    words_of = _bound_in_words(stick, summed=summed, by_product=by_product, lenient=lenient)
    lines += [
        f"# {UNCOMPUTED if uncomputed else words_of}",
        f"allowed = float.fromhex({quoted(short_hex(allowed))})  # {allowed:.3g}",
    ]
    if bool(stick.infinite[place]):
        infinity = "-inf" if exact < 0 else "inf"
        test = f'got == float("{infinity}") or {test}'
    return [*lines, *_assert(test, f"{right}, allowed error {{allowed:.3g}}: {means}")]


def _within(found: Reproduction, stick: Yardstick) -> bool:
    """Tells whether the entry is off by less than an error, as garbage may be (`harness.garbage`).

    A finite number for an infinity and a negative loss are errors however near they are.
    """
    got, exact = found.seen.witness.get("got"), float(stick.truth[found.place])
    if not isinstance(got, str) or stick.infinite[found.place]:
        return False
    if stick.is_loss and float.fromhex(got) < 0 <= exact:
        return False
    return bool(abs(float.fromhex(got) - exact) <= np.fmax(stick.strict, stick.error)[found.place])


def _assert(test: str, said: str) -> list[str]:
    parts = textwrap.wrap(said, WIDTH, break_on_hyphens=False)
    spelt = [f'    f"{part}{" " if part is not parts[-1] else ""}"' for part in parts]
    return ["message = (", *spelt, ")", f"assert {test}, message"]


def _stick(stand: Standard, tensor: str) -> Yardstick:
    """Returns the yardstick of the tensor that a stored witness names; it may name what is not there."""
    if tensor == "loss":
        return stand.loss
    if tensor not in stand.gradients:
        allowed = ["loss", *stand.gradients]
        raise NoReproducerError(unknown("show --repro: the stored witness", "tensor", tensor, allowed))
    return stand.gradients[tensor]


def _bound_in_words(stick: Yardstick, *, summed: bool, by_product: bool, lenient: bool) -> str:
    form = stick.form
    reduction = ", and 2 + log2 rows more for the reduction" if summed else ""
    if lenient:
        roundoff = round(math.log2(form.roundoff))
        return (
            f"Bound of an error {form.error_factor:g} (4 + log2 C) u max(1, |y|) of {form.name}, "
            f"u = 2^{roundoff}{reduction}."
        )
    arithmetic = f"u = 2^{round(math.log2(form.arithmetic_roundoff))}"
    product = f", and rows / {PRODUCT_BLOCK} for the matrix product" if by_product else ""
    return f"Strict bound 2 ulp + (4 + log2 C) u N of {form.name}, {arithmetic}{reduction}{product}."


def _certificate(found: Reproduction, stand: Standard) -> list[str]:
    """Returns what proves the exact value, as comments."""
    ball = stand.enclosure(found.tensor, found.place)
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


def _entry(stand: Standard, tensor: str, place: tuple[int, ...], source: str) -> tuple[str, str]:
    """Returns the expression of the witness's entry and how a message names it."""
    sample = stand.sample
    if tensor == "loss":
        source = source or "loss.detach()"
        index = _index(stand.upstream, place, sample.layout)
        return (f"{source}[{index}]", f"loss[{index}]") if index else (source, "loss")
    source = source or f"gradients[{sample.gradients.index(tensor)}]"
    index = _index(sample[tensor], place, sample.layout)
    return f"{source}[{index}]", f"gradient of {tensor}[{index}]"


def _index(tensor: Tensor, place: tuple[int, ...], layout: Any) -> str:
    """Returns the index, in the tensor's own layout, of a place in row form."""
    if not tensor.dim():
        return ""
    numbers = rows(torch.arange(tensor.numel()).reshape(tensor.shape), layout)
    flat = int(numbers[place] if place else numbers.reshape(-1)[0])
    return ", ".join(str(int(i)) for i in np.unravel_index(flat, tuple(tensor.shape)))
