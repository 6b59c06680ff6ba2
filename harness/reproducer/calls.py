"""Other calls of the same thing in a script: upstream gradients, second backward, grad modes, layouts, edges.

What a probe does to tensors is copied into the script from the probe's own source, so that the two
cannot part. The trap: the memory of an upstream gradient is the question, and a tensor that is
written out is dense, so strides and stride 0 are made anew by lines of the script.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.probes.protocol import edges, layouts
from harness.probes.protocol.calls import SOME_INPUTS, random_upstream  # the same draw as the probe's
from harness.reproducer.assertion import NUMERIC, Asked, about, asserted, number, plainly
from harness.reproducer.retelling import Retelling, Rows
from harness.reproducer.scene import Scene
from harness.reproducer.syntax import local_source
from harness.reproducer.tensors import indented, quoted
from harness.sample import Shape
from harness.standard import Standard

Making = Callable[[Rows], Tensor]


def _filled(value: float) -> Making:
    return lambda block: torch.full_like(block.plain().upstream, value)


class _Drawing:
    """What the probe's draw looks at: the case and the usual upstream gradient of all rows."""

    def __init__(self, block: Rows) -> None:
        self.case, self.stand = block.case, block.whole().plain()


def _drawn(block: Rows) -> Tensor:
    return block.of_rows(random_upstream(_Drawing(block)), block.plain().upstream)  # type: ignore[arg-type]


def _under(make: Making) -> Callable[[Rows], Standard]:
    return lambda block: block.plain().under(make(block))


def _plain_lines(scene: Scene) -> list[str]:
    return asserted(scene, plainly(scene))


def _after_upstream(made: Callable[[Scene], list[str]]) -> Callable[[Scene], list[str]]:
    def lines(scene: Scene) -> list[str]:
        plain = plainly(scene)
        return asserted(scene, Asked(plain.call, [*made(scene), scene.backward()]))

    return lines


def _expanded(scene: Scene) -> list[str]:
    upstream = scene.found.stand.upstream
    return [
        "# As sum() hands it down: one number with stride 0.",
        f"upstream = torch.tensor(3.0, dtype={upstream.dtype}).expand({tuple(upstream.shape)})",
    ]


def _strided(scene: Scene) -> list[str]:
    return [
        *scene.upstream(),
        "# As a slice hands it down: every second entry of wider memory.",
        'wide = torch.full((*upstream.shape, 2), float("nan"), dtype=upstream.dtype)',
        "wide[..., 0] = upstream",
        "upstream = wide[..., 0]",
    ]


def _twice(scene: Scene) -> list[str]:
    begun = [*scene.build, *scene.called(), *scene.upstream()]
    backward = scene.backward("upstream.clone()", more="retain_graph=True, ")
    if about(scene.found.finding) != NUMERIC:
        return asserted(scene, Asked(begun, [backward, backward]))
    return [
        *begun,
        'for order in ("first", "second"):',
        *indented([backward, *number(scene)]),
        "    # The gradients belong to the caller, who may write to them.",
        "    for gradient in gradients:",
        "        gradient.zero_()",
    ]


def _in_mode(mode: str) -> Callable[[Scene], list[str]]:
    def lines(scene: Scene) -> list[str]:
        call = [
            *scene.build,
            f"with {mode}():",
            *indented(
                [
                    "inputs = {name: tensor.detach().clone() for name, tensor in inputs.items()}",
                    *scene.called(),
                ]
            ),
        ]
        if about(scene.found.finding) == "grad_mode":
            return [*call, 'assert not loss.requires_grad, "requires a gradient that nobody can give"']
        return asserted(scene, Asked(call, []))

    return lines


def _some_inputs(scene: Scene) -> list[str]:
    found = scene.found
    needing = [str(name) for name in found.seen.witness.get("needing", ())]
    names = tuple(scene.sample.gradients)
    call = [
        *scene.build,
        f"needing = {needing!r}",
        f"for name in {names!r}:",
        "    inputs[name].requires_grad_(name in needing)",
        *scene.called(),
    ]
    backward = [
        *scene.upstream(),
        "gradients = torch.autograd.grad(loss, [inputs[name] for name in needing], upstream.to(loss), "
        "allow_unused=True)",
    ]
    if about(found.finding) == "no_gradient":
        return [
            *call,
            *backward,
            "for name, gradient in zip(needing, gradients):",
            '    assert gradient is not None, f"no gradient reached {name}, while only {needing} need one"',
        ]
    if about(found.finding) == NUMERIC:
        return [
            *call,
            *backward,
            *number(scene, source=f"gradients[{needing.index(found.tensor)}]"),
        ]
    return asserted(scene, Asked(call, backward))


def _evaluating(scene: Scene) -> list[str]:
    plain = plainly(scene)
    # Who stands in may be a function, which has no modes.
    evaluating = ["if isinstance(call, torch.nn.Module):", "    call.eval()"]
    return asserted(scene, Asked([*scene.build, *evaluating, *scene.called()], plain.backward))


def _laid(change: Callable[[Tensor], Tensor] | str, *, floating: bool) -> Retelling:
    """Returns the question about a layout: a function of the probe, or an expression over `tensor`."""

    def lines(scene: Scene) -> list[str]:
        source: list[str] = []
        expression = str(change)
        if callable(change):
            source, modules = local_source(change)
            scene.modules.extend(modules)
            expression = f"{change.__name__}(tensor)"
        concerned = f"{'' if floating else 'not '}tensor.is_floating_point() and tensor.dim()"
        laid = [
            *source,
            "for name, tensor in inputs.items():",
            "    tensor = tensor.detach().clone()",
            f"    inputs[name] = {expression} if {concerned} else tensor",
            *(f"inputs[{quoted(name)}].requires_grad_(True)" for name in scene.sample.gradients),
        ]
        plain = plainly(scene)
        return asserted(scene, Asked([*scene.build, *laid, *scene.called()], plain.backward))

    return Retelling(lines)


def _laid_options(scene: Scene) -> list[str]:
    options = scene.found.stand.options
    names = [n for n, value in options.items() if isinstance(value, torch.Tensor) and value.dim()]
    source, modules = local_source(layouts.strided_entries)
    scene.modules.extend(modules)
    lines = [
        *source,
        "# Every second entry of tensors twice as wide, as a column of a table is.",
        f"for name in {names!r}:",
        "    options[name].set_(strided_entries(options[name]))",
    ]
    plain = plainly(scene)
    return asserted(scene, Asked([*lines, *scene.build, *scene.called()], plain.backward))


def _first_rows(count: int) -> Retelling:
    def stand(block: Rows) -> Standard:
        sample, options = block.drawn()
        return block.judged(sample.taken(torch.arange(count)), options)

    return Retelling(_plain_lines, stand, cut=False)


def _at(shape: Callable[[Shape], Shape]) -> Retelling:
    def stand(block: Rows) -> Standard:
        drawn = block.drawn_at(shape(block.case.shape))
        assert drawn is not None
        return block.judged(*drawn)

    return Retelling(_plain_lines, stand, cut=False)


CALLS = {
    "upstream 1": Retelling(_plain_lines, _under(_filled(1.0))),
    "upstream 3": Retelling(_plain_lines, _under(_filled(3.0))),
    "random upstream": Retelling(_plain_lines, _under(_drawn)),
    "negative upstream": Retelling(_plain_lines, _under(_filled(-1.0))),
    "zero upstream": Retelling(_plain_lines, _under(_filled(0.0))),
    "expanded upstream": Retelling(_after_upstream(_expanded), _under(_filled(3.0))),
    "strided upstream": Retelling(_after_upstream(_strided), _under(_drawn)),
    "second backward": Retelling(_twice, _under(_filled(3.0))),
    "no_grad": Retelling(_in_mode("torch.no_grad")),
    "inference_mode": Retelling(_in_mode("torch.inference_mode")),
    "no input requires a gradient": Retelling(_in_mode("torch.enable_grad")),
    SOME_INPUTS: Retelling(_some_inputs),
    "eval mode": Retelling(_evaluating),
    "transposed inputs": _laid(layouts.transposed, floating=True),
    "inputs with strided entries": _laid(layouts.strided_entries, floating=True),
    "inputs with strided rows": _laid(layouts.strided_rows, floating=True),
    "inputs sliced from wider rows": _laid(layouts.padded_rows, floating=True),
    "inputs at an offset": _laid(layouts.shifted, floating=True),
    "channels_last inputs": _laid(
        "(tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor)",
        floating=True,
    ),
    "strided labels": _laid(layouts.strided_rows, floating=False),
    "labels at an offset": _laid(layouts.shifted, floating=False),
    "transposed labels": _laid(layouts.transposed, floating=False),
    "labels with strided entries": _laid(layouts.strided_entries, floating=False),
    "strided options": Retelling(_laid_options),
    "int32 labels": _laid("tensor.to(torch.int32)", floating=False),
    "zero rows": _first_rows(0),
    "one row": _first_rows(1),
    "one class": _at(lambda shape: Shape(shape.batch, 1)),
    "a prime number of classes": _at(lambda shape: Shape(min(shape.batch, 3), edges.PRIME_CLASSES)),
    "a prime number of rows": _at(
        lambda shape: Shape(edges.PRIME_ROWS, min(shape.classes, edges.FEW_CLASSES))
    ),
}
