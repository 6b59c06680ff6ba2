"""What torch offers around a loss: autocast, double backward, torch.func.grad and vmap.

Whoever does not support one raises, which is `unsupported` and no finding; whoever answers has to be
right. The Hessian-vector product is judged by a central difference of the oracle's gradient,
(g(x + hv) - g(x - hv)) / 2h in float64 with h = 2^-13, good to about h^2: a missing or zero second
derivative is wrong by its whole size, so a relative error of 1/64 in the norm is the line. The trap:
a gradient whose second derivative vanishes has nothing to be compared with, nor has a row whose entries
are so large that a step of h is lost in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.calling import failure, gradients_of
from harness.inputs import generator_for
from harness.judge import Yardstick, judge
from harness.observation import gradient_array, loss_array
from harness.oracle.reduction import Array
from harness.oracle.truth import RowTruth, reduced
from harness.probes.protocol.interview import NAME, Interview, Question, UnsupportedError
from harness.results import TIMES, Finding
from harness.sample import rows
from harness.standard import row_oracle, staged, standard
from harness.units import number
from harness.witness import described, plain_finding

STEP = 2.0**-13
SECOND_ORDER_LINE = 2.0**-6
# Of a central difference of losses against the exact slope: no more than telling one from none.
SLOPE_LINE = 2.0**-4
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


def _of_every_input(ask: Callable[[Interview, str], list[Finding]]) -> Callable[[Interview], list[Finding]]:
    """Asks about each input that needs a gradient; unsupported is what none of them supports."""

    def asked(interview: Interview) -> list[Finding]:
        found: list[Finding] = []
        refused: list[Exception] = []
        for wanted in interview.sample.gradients:
            try:
                found += ask(interview, wanted)
            except (RuntimeError, UnsupportedError) as error:
                if failure(error)[0] == "out_of_memory":
                    raise
                refused.append(error)
        if len(refused) == len(interview.sample.gradients):
            raise refused[0]
        return found

    return asked


def _second_order(interview: Interview, wanted: str) -> list[Finding]:
    """A Hessian-vector product in one input agrees with the change of the exact gradient."""
    sample = interview.fresh()
    loss = interview.loss(sample.tensors)
    (gradient,) = interview.gradients(loss, [sample[wanted]], interview.sent(loss), create_graph=True)
    along = interview.block.once(
        ("second order", wanted), interview.name, lambda definition: _curvature(interview, wanted)
    )
    direction = along.signs.to(gradient.dtype)
    (product,) = interview.gradients((gradient * direction.to(gradient.device)).sum(), [sample[wanted]])
    kept = _comparable_rows(interview, wanted, along.exact) & along.rows
    got, exact = gradient_array(product, interview.stand)[kept], along.exact[kept]
    size = float(np.linalg.norm(exact))
    scale = float(np.abs(interview.stand.truth.gradients[wanted][kept]).max(initial=0.0))
    # An all but linear loss leaves nothing but the rounding of the gradient to be compared.
    if size <= SECOND_ORDER_LINE * scale:
        return []
    off = float(np.linalg.norm(got - exact)) / size
    if off <= SECOND_ORDER_LINE:
        return []
    sentence = f"Hessian-vector product of {wanted} wrong by {number(100 * off)} % in the norm"
    witness: dict[str, object] = {"input": wanted}
    if np.isfinite(off):
        witness[TIMES] = off / SECOND_ORDER_LINE
    return [replace(plain_finding("second_order", NAME, wanted, sentence), witness=witness)]


def _of_upstream(interview: Interview, wanted: str) -> list[Finding]:
    """A gradient is linear in the upstream gradient, so its derivative along that is the gradient itself.

    Whoever takes the Hessian of a function of the loss needs it: d(s g)/ds = g. Along the signs of g nothing
    cancels: the sum over s of s d(sum |s g|)/ds is sum |s g| (Euler, homogeneous of degree 1).
    """
    sample = interview.fresh()
    loss = interview.loss(sample.tensors)
    sent = interview.sent(loss).requires_grad_(True)
    (gradient,) = interview.gradients(loss, [sample[wanted]], sent, create_graph=True)
    size = (gradient * gradient.detach().sign()).sum()
    product, back = interview.gradients(size, [sample[wanted], sent], allow_unused=True)
    if product is None and back is None:
        raise UnsupportedError("nothing leads back from the gradient")
    exact = float(gradient.detach().double().abs().sum())
    got = 0.0 if back is None else float((back.double() * sent.detach().double()).sum())
    off = abs(got - exact) / exact if exact else 0.0
    # An answer that is not finite is the accuracy probe's to tell.
    if not (np.isfinite(exact) and bool(loss.isfinite().all())) or off <= SECOND_ORDER_LINE:
        return []
    sentence = (
        f"derivative of the gradient of {wanted} by the upstream gradient wrong by {number(100 * off)} %"
    )
    witness: dict[str, object] = {"input": wanted}
    if np.isfinite(off):
        witness[TIMES] = off / SECOND_ORDER_LINE
    return [replace(plain_finding("second_order", NAME, wanted, sentence), witness=witness)]


@dataclass(frozen=True)
class _Curvature:
    """How the exact gradient changes along a direction of signs, and the rows where that means something."""

    signs: Tensor
    exact: Array
    rows: NDArray[np.bool_]


def _curvature(interview: Interview, wanted: str) -> _Curvature:
    generator = generator_for("direction", interview.case.id, wanted)
    signs = torch.randint(0, 2, interview.sample[wanted].shape, generator=generator) * 2 - 1
    exact = gradient_difference(interview, wanted, signs)
    smooth = _smooth_rows(interview, wanted, signs, exact)
    return _Curvature(signs, exact, smooth & _derived_rows(interview, wanted, signs))


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


def _derived_rows(interview: Interview, wanted: str, signs: Tensor) -> NDArray[np.bool_]:
    """Returns the rows whose exact gradient is the slope of their exact loss.

    One that is so by definition alone, as below a clamp that autograd does not see, has no second order
    that anybody has defined.
    """
    stand = interview.stand
    count = len(interview.stand.truth.gradients[wanted])
    if wanted in interview.sample.shared:
        return np.full(count, fill_value=True)
    moved, inputs = rows(signs.double(), interview.sample.layout), dict(stand.row_inputs)

    def at(shift: float) -> RowTruth:
        shifted = {**inputs, wanted: inputs[wanted].double() + shift * moved}
        return row_oracle(stand.suite).evaluate(shifted, stand.asked, (wanted,), sensitivities=False)

    steps = (at(0.0).gradients[wanted] * moved.numpy()).reshape(count, -1)
    with np.errstate(invalid="ignore", over="ignore"):
        slope = (at(STEP).losses - at(-STEP).losses) / (2 * STEP)
        off = np.abs(slope.reshape(-1) - steps.sum(1))
        return np.asarray(off <= SLOPE_LINE * np.abs(steps).sum(1))


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


def _functional_gradient(interview: Interview, wanted: str) -> list[Finding]:
    """torch.func.grad gives the gradient of one input that backward gives."""
    names = list(interview.sample)
    sample = interview.sample.mapped(lambda tensor: tensor.detach().clone().to(interview.case.device))

    def scalar(tensor: Tensor) -> Tensor:
        tensors = tuple(tensor if name == wanted else sample[name] for name in names)
        loss = interview.loss(tensors)
        return (loss * interview.stand.upstream.to(loss.device, loss.dtype)).sum()

    gradient = torch.func.grad(scalar)(sample[wanted])
    pair = (gradient_array(gradient, interview.stand), interview.plain_gradients()[wanted])
    return interview.news(interview.stand, gradients={wanted: pair})


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
    plain = interview.observed(other)
    assert interview.plain.loss is not None
    if plain.loss is None:
        raise UnsupportedError(plain.reason)
    found = interview.news(
        interview.stand, loss=(loss_array(losses[0], interview.stand), interview.plain.loss)
    )
    return found + interview.news(other, loss=(loss_array(losses[1], other), plain.loss))


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
        _of_every_input(_second_order),
        applies=lambda interview: interview.case.dtype in WIDE,
        refusable=True,
    ),
    Question(
        "double backward through upstream",
        "second_order",
        _of_every_input(_of_upstream),
        applies=lambda interview: interview.case.dtype in WIDE,
        refusable=True,
    ),
    Question(
        "torch.func.grad",
        "functional_transform",
        _of_every_input(_functional_gradient),
        refusable=True,
        recompiles=True,
    ),
    Question("torch.vmap", "functional_transform", _mapped, refusable=True, recompiles=True),
)
