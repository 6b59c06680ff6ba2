"""What torch offers around a loss: autocast, double backward, torch.func.grad and vmap.

Whoever does not support one raises, which is `unsupported` and no finding; whoever answers has to be
right. The Hessian-vector product is judged by a central difference of the oracle's gradient,
(g(x + hv) - g(x - hv)) / 2h in float64 with h = 2^-13, good to about h^2: a missing or zero second
derivative is wrong by its whole size, so a relative error of 1/64 in the norm is the line. The trap:
a gradient whose second derivative vanishes has nothing to be compared with, nor has a row whose entries
are so large that a step of h is lost in them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.calling import gradients_of
from harness.inputs import generator_for
from harness.judge import Yardstick, judge
from harness.observation import answered, gradient_array, loss_array, news
from harness.oracle.reduction import Array
from harness.oracle.truth import reduced
from harness.probes.protocol.interview import NAME, Interview, Question, UnsupportedError
from harness.results import Finding
from harness.sample import rows
from harness.standard import row_oracle, staged, standard
from harness.units import number
from harness.witness import described, plain_finding

STEP = 2.0**-13
SECOND_ORDER_LINE = 2.0**-6
# Beyond it float64 does not resolve the step to the accuracy that the line asks for.
LARGEST_INPUT = 2.0**26
WIDE = ("float32", "float64")


def _autocast(interview: Interview) -> list[Finding]:
    """Under bfloat16 autocast the answer is as good as its own dtype allows."""
    case = interview.case
    with torch.autocast(case.device, dtype=torch.bfloat16):
        sample = interview.fresh()
        loss = interview.loss(sample.tensors)
    got_dtype = str(loss.dtype).removeprefix("torch.")
    # Under autocast a projection runs in 16 bits, whatever dtype the loss behind it has.
    if got_dtype == case.dtype and not staged(interview.block.suite):
        with torch.autocast(case.device, dtype=torch.bfloat16):
            return interview.compared(interview.observed(interview.stand))
    definition = interview.block.suite.implementation(interview.name).contract.definition
    stand = standard(interview.block.suite, interview.sample, interview.stand.options, "bfloat16", definition)
    answers: list[tuple[str | None, Yardstick, Array]] = [(None, stand.loss, loss_array(loss, stand))]
    for name, gradient in gradients_of(loss, sample, interview.sent(loss)).items():
        if gradient is not None:
            answers.append((name, stand.gradients[name], gradient_array(gradient, stand)))
    return [
        described(defect, stick, got, stand, NAME, name)
        for name, stick, got in answers
        for defect in judge(stick, got).defects
        if defect.severity == "error"
    ]


def _second_order(interview: Interview) -> list[Finding]:
    """A Hessian-vector product agrees with the change of the exact gradient."""
    wanted = interview.sample.gradients[0]
    sample = interview.fresh()
    loss = interview.loss(sample.tensors)
    (gradient,) = interview.gradients(loss, [sample[wanted]], interview.sent(loss), create_graph=True)
    generator = generator_for("direction", interview.case.id)
    signs = torch.randint(0, 2, gradient.shape, generator=generator) * 2 - 1
    direction = signs.to(gradient.dtype)
    (product,) = interview.gradients((gradient * direction.to(gradient.device)).sum(), [sample[wanted]])
    exact = gradient_difference(interview, wanted, signs)
    smooth = _smooth_rows(interview, wanted, signs, exact)
    kept = np.logical_and(_comparable_rows(interview, wanted, exact), smooth)
    got, exact = gradient_array(product, interview.stand)[kept], exact[kept]
    size = float(np.linalg.norm(exact))
    scale = float(np.abs(interview.stand.truth.gradients[wanted][kept]).max(initial=0.0))
    # An all but linear loss leaves nothing but the rounding of the gradient to be compared.
    if size <= SECOND_ORDER_LINE * scale:
        return []
    off = float(np.linalg.norm(got - exact)) / size
    if off <= SECOND_ORDER_LINE:
        return []
    sentence = f"Hessian-vector product wrong by {number(100 * off)} % in the norm"
    return [plain_finding("second_order", NAME, wanted, sentence)]


def _comparable_rows(interview: Interview, wanted: str, exact: Array) -> NDArray[np.bool_]:
    """Returns the rows where the difference means something and the gradient itself is right."""
    stick, inputs = interview.stand.gradients[wanted], interview.stand.row_inputs[wanted].double().numpy()
    plain = interview.plain_gradients()[wanted]
    with np.errstate(invalid="ignore"):
        right = np.abs(plain - stick.truth) <= np.fmax(stick.strict, stick.error)
    good = right & np.isfinite(exact) & ~(np.isfinite(inputs) & (np.abs(inputs) > LARGEST_INPUT))
    return np.asarray(good.reshape(len(good), -1).all(axis=1))


def _smooth_rows(interview: Interview, wanted: str, signs: Tensor, exact: Array) -> NDArray[np.bool_]:
    """Returns the rows where half a step tells the same: over a kink a difference is a jump over h."""
    half = gradient_difference(interview, wanted, signs, STEP / 2)
    magnitudes = np.abs(interview.stand.truth.gradients[wanted])
    scale = magnitudes[np.isfinite(magnitudes)].max(initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        sizes, apart = (np.linalg.norm(a.reshape(len(a), -1), axis=1) for a in (half, exact - half))
        return np.asarray(apart <= SECOND_ORDER_LINE * (sizes + scale))


def gradient_difference(interview: Interview, wanted: str, signs: Tensor, step: float = STEP) -> Array:
    """Returns (g(x + h v) - g(x - h v)) / 2h of the oracle for a direction v of signs, as float64 rows."""
    stand = interview.stand
    moved = rows(signs.double(), interview.sample.layout)
    inputs: dict[str, Tensor] = dict(stand.row_inputs)

    def gradient_at(shift: float) -> Array:
        shifted: Mapping[str, Tensor] = {**inputs, wanted: inputs[wanted].double() + shift * moved}
        found = row_oracle(stand.suite).evaluate(shifted, stand.asked, (wanted,), sensitivities=False)
        return reduced(found, stand.asked, stand.upstream.reshape(-1).double().numpy()).gradients[wanted]

    return np.asarray((gradient_at(step) - gradient_at(-step)) / (2 * step))


def _functional_gradient(interview: Interview) -> list[Finding]:
    """torch.func.grad gives the gradient that backward gives."""
    wanted = interview.sample.gradients[0]
    names = list(interview.sample)
    sample = interview.sample.mapped(lambda tensor: tensor.detach().clone().to(interview.case.device))

    def scalar(tensor: Tensor) -> Tensor:
        tensors = tuple(tensor if name == wanted else sample[name] for name in names)
        loss = interview.loss(tensors)
        return (loss * interview.stand.upstream.to(loss.device, loss.dtype)).sum()

    gradient = torch.func.grad(scalar)(sample[wanted])
    pair = (gradient_array(gradient, interview.stand), interview.plain_gradients()[wanted])
    return news(interview.stand, NAME, gradients={wanted: pair})


def _mapped(interview: Interview) -> list[Finding]:
    """torch.vmap over two samples gives the two losses."""
    other = interview.block.standard(interview.name, repeat=1)
    if other.upstream.shape != interview.stand.upstream.shape:
        return []
    pairs = [
        torch.stack([interview.sample[name], other.sample[name]]).to(interview.case.device)
        for name in interview.sample
    ]
    with torch.no_grad():
        losses = torch.vmap(lambda *tensors: interview.loss(tensors))(*pairs)
    plain = answered(interview.bound, other, interview.case.device, NAME)
    assert interview.plain.loss is not None
    if plain.loss is None:
        raise UnsupportedError(plain.reason)
    found = news(interview.stand, NAME, loss=(loss_array(losses[0], interview.stand), interview.plain.loss))
    return found + news(other, NAME, loss=(loss_array(losses[1], other), plain.loss))


def warm_up_transforms() -> None:
    """Pays the first use of torch.func and vmap, which imports for more than a second."""
    torch.vmap(torch.func.grad(lambda x: (x * x).sum()))(torch.ones(2, 2))


QUESTIONS = (
    Question(
        "autocast",
        "autocast",
        _autocast,
        applies=lambda interview: interview.case.dtype == "float32",
        refusable=True,
        recompiles=True,
    ),
    Question(
        "double backward",
        "second_order",
        _second_order,
        applies=lambda interview: interview.case.dtype in WIDE,
        refusable=True,
    ),
    Question(
        "torch.func.grad", "functional_transform", _functional_gradient, refusable=True, recompiles=True
    ),
    Question("torch.vmap", "functional_transform", _mapped, refusable=True, recompiles=True),
)
