"""The questions about what torch offers around a loss, in a script: autocast, double backward, func, vmap.

The trap: a Hessian-vector product is compared with a difference of exact gradients, which the script
holds as numbers, since it has no oracle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.inputs import generator_for
from harness.probes.protocol.transforms import SECOND_ORDER_LINE, gradient_difference  # the same difference
from harness.reproducer.assertion import NUMERIC, Asked, about, asserted, number, plainly
from harness.reproducer.retelling import Retelling, Rows, second
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import indented, quoted
from harness.results import Finding
from harness.sample import Sample, folded
from harness.standard import Standard


def _autocast_stand(block: Rows) -> Standard:
    """Judges a loss in the dtype that it came in, which under autocast may be bfloat16."""
    return block.judged(*block.drawn(), block.finding.witness.get("dtype"))


def _autocast(scene: Scene) -> list[str]:
    mode = f"with torch.autocast({quoted(scene.found.trial.case.device)}, dtype=torch.bfloat16):"
    call = [*scene.build, mode, *indented(scene.called())]
    found = scene.found
    # A loss in another dtype is judged as such, and goes backward outside of autocast.
    inside = found.finding.witness.get("dtype", found.trial.case.dtype) == found.trial.case.dtype
    backward = [mode, f"    {scene.backward()}"] if inside else [scene.backward()]
    return asserted(scene, Asked(call, [*scene.upstream(), *backward]))


@dataclass(frozen=True)
class _Differing:
    """What the probe's difference looks at: the standard and its sample."""

    stand: Standard

    @property
    def sample(self) -> Sample:
        return self.stand.sample


def _wanted(finding: Finding, sample: Sample) -> str:
    """Returns the input that a finding is about; what was raised may be about any, so the first is taken."""
    named = str(finding.witness.get("input", finding.witness.get("tensor", "")))
    return named if named in sample.gradients else sample.gradients[0]


def _direction(block: Rows) -> Mapping[str, Tensor]:
    """Returns the direction of the probe's draw, and how the exact gradient changes along it."""
    stand, whole = block.plain(), block.whole().plain().sample
    wanted = _wanted(block.finding, stand.sample)
    generator = generator_for("direction", block.case.id, wanted)
    signs = torch.randint(0, 2, whole[wanted].shape, generator=generator) * 2 - 1
    signs = block.of_rows(signs, stand.sample[wanted])
    exact = torch.from_numpy(gradient_difference(_Differing(stand), wanted, signs))  # type: ignore[arg-type]
    scale = float(np.abs(stand.truth.gradients[wanted]).max(initial=0.0))
    if not exact.isfinite().all() or float(exact.norm()) <= SECOND_ORDER_LINE * scale:
        raise ValueError("an all but linear loss has nothing to be compared with")
    return {"direction": signs, "exact": folded(exact, stand.sample[wanted].shape, stand.sample.layout)}


def _second_order(scene: Scene) -> list[str]:
    if about(scene.found.finding) != "second_order":
        return asserted(scene, plainly(scene))
    wanted = quoted(_wanted(scene.found.finding, scene.sample))
    return [
        *scene.build,
        *scene.called(),
        *scene.upstream(),
        f"gradient, = torch.autograd.grad(loss, [inputs[{wanted}]], upstream.to(loss), create_graph=True)",
        *scene.tensor("direction", scene.found.extra["direction"]),
        "moved = (gradient * direction.to(gradient)).sum()",
        f"product, = torch.autograd.grad(moved, [inputs[{wanted}]])",
        "# (g(x + h v) - g(x - h v)) / 2h of the exact gradient g in float64, h = 2^-13.",
        *scene.tensor("exact", scene.found.extra["exact"]),
        "off = float((product.detach().cpu().double() - exact).norm() / exact.norm())",
        f"assert off <= {SECOND_ORDER_LINE!r}, "
        'f"Hessian-vector product wrong by {100 * off:.3g} % in the norm"',
    ]


def _of_upstream(scene: Scene) -> list[str]:
    if about(scene.found.finding) != "second_order":
        return asserted(scene, plainly(scene))
    wanted = quoted(_wanted(scene.found.finding, scene.sample))
    return [
        *scene.build,
        *scene.called(),
        *scene.upstream(),
        "upstream = upstream.to(loss).detach().clone().requires_grad_(True)",
        f"gradient, = torch.autograd.grad(loss, [inputs[{wanted}]], upstream, create_graph=True)",
        "size = (gradient * gradient.detach().sign()).sum()",
        f"_, back = torch.autograd.grad(size, [inputs[{wanted}], upstream], allow_unused=True)",
        "# A gradient is linear in the upstream gradient.",
        "exact = float(gradient.detach().double().abs().sum())",
        "got = 0.0 if back is None else float((back.double() * upstream.detach().double()).sum())",
        f"assert abs(got - exact) <= {SECOND_ORDER_LINE!r} * exact, "
        'f"derivative by the upstream gradient wrong by {100 * abs(got - exact) / exact:.3g} %"',
    ]


def _functional_gradient(scene: Scene) -> list[str]:
    wanted = quoted(_wanted(scene.found.finding, scene.sample))
    lines = [
        *scene.build,
        *scene.upstream(),
        "inputs = {name: tensor.detach() for name, tensor in inputs.items()}",
        "",
        "def scalar(tensor):",
        *indented(scene.called(f"*{{**inputs, {wanted}: tensor}}.values()")),
        "    return (loss * upstream.to(loss)).sum()",
        "",
        f"gradient = torch.func.grad(scalar)(inputs[{wanted}])",
    ]
    if about(scene.found.finding) != NUMERIC:
        return asserted(scene, Asked(lines, []))
    return [*lines, *number(scene, source="gradient")]


def _mapped(scene: Scene) -> list[str]:
    assert scene.found.other is not None
    lines = [
        *scene.build,
        *scene.others(),
        "pairs = [torch.stack([inputs[name].detach(), others[name]]) for name in inputs]",
        "",
        "def answered(*tensors):",
        *indented([*scene.called("*tensors"), "return loss"]),
        "",
        "with torch.no_grad():",
        "    losses = torch.vmap(answered)(*pairs)",
    ]
    if about(scene.found.finding) != NUMERIC:
        return asserted(scene, Asked(lines, []))
    first, other = (
        number(scene, source="losses[0]"),
        number(scene, source="losses[1]", stand=scene.found.other),
    )
    return [*lines, *first, *other]


TRANSFORMS = {
    "autocast": Retelling(_autocast, _autocast_stand),
    "double backward": Retelling(_second_order, extra=_direction),
    "double backward through upstream": Retelling(_of_upstream),
    "torch.func.grad": Retelling(_functional_gradient),
    "torch.vmap": Retelling(_mapped, other=second),
}
