"""Is it the same answer again? Repeats, other rows beside a row, and calls as many as a timer makes.

A script holds the strict bound of every entry that may differ. The trap: a fault that begins after so
many calls needs as many calls in the script, and its shape may be the one that the timer used.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.probes.bits import sticks
from harness.probes.threads import copies, cycle, in_parts, places, several_threads
from harness.reproducer.assertion import number
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.retelling import Retelling, Rows, second
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import indented, quoted
from harness.sample import batch_axis, batch_of, folded
from harness.standard import Standard

# Other bits come by chance: a probe asks a few times in many cases, a script often in one.
REPEATS = 64
# More than a timed block makes before it is looked at again, few enough for seconds.
CALLS = 512
SAME_INPUTS = "answers otherwise than before timing"
REUSED = "answers unseen inputs otherwise in storage that was timed"
UNSEEN = "right before timing, wrong on unseen inputs"


def bounds(stand: Standard) -> dict[str, Tensor]:
    """Returns the strict bound of loss and gradients in the layout of the tensors; 0 where there is none."""
    sample = stand.sample
    found = {
        "loss": torch.from_numpy(np.atleast_1d(stand.loss.strict)).nan_to_num().reshape(stand.upstream.shape)
    }
    for name, stick in stand.gradients.items():
        allowed = torch.from_numpy(stick.strict).nan_to_num()
        found[name] = folded(allowed, sample[name].shape, sample.layout)
    return found


def _own_bounds(block: Rows) -> Mapping[str, Tensor]:
    return bounds(block.plain())


def _of_several(block: Rows) -> Mapping[str, Tensor]:
    if block.plain().sample.shape.batch < 2:
        raise ValueError("one row has no neighbours")
    return _own_bounds(block)


def _others_bounds(block: Rows) -> Mapping[str, Tensor]:
    return bounds(second(block))


def _fresh(scene: Scene) -> list[str]:
    """Returns the lines of `fresh(tensors, upstream)`: the answers to private copies."""
    return [
        *scene.answering(),
        "",
        "def fresh(tensors, upstream):",
        *indented(scene.leaves("tensors", "copies")),
        "    return answered(copies, upstream)",
        "",
    ]


def _allowed(scene: Scene) -> list[str]:
    lines = ["# Strict bounds 2 ulp + (4 + log2 C) u N, entry by entry.", "allowed = {}"]
    for name, tensor in scene.found.extra.items():
        lines += scene.tensor(f"allowed[{quoted(name)}]", tensor)
    return lines


def _alike(one: str, other: str, message: str, allowed: str = "allowed[name]") -> list[str]:
    """Returns the lines that assert that two answers agree; NaN equals NaN."""
    return [
        f"for name in {one}:",
        f"    one, other = {one}[name].double(), {other}[name].double()",
        f"    near = ((one - other).abs() <= {allowed}) | (one == other) | (one.isnan() & other.isnan())",
        "    off = (one - other).abs().max()",
        f'    assert near.all(), f"{{name}} {message}: by up to {{float(off):.3g}}"',
    ]


def _repeated(scene: Scene) -> list[str]:
    return [
        *scene.build,
        *scene.upstream(),
        "",
        *_fresh(scene),
        "first = fresh(inputs, upstream)",
        f"for _ in range({REPEATS}):",
        "    again = fresh(inputs, upstream)",
        *indented(_alike("first", "again", "has other bits on the same inputs", "0")),
    ]


def _at(scene: Scene, tensor: str, index: str) -> str:
    """Returns the expression of some entries of a batch; frames (T, N, C) hold it in their second axis."""
    plain = f"{tensor}[{index}]"
    if scene.sample.layout != "sequences":
        return plain
    return f"({tensor}[:, {index}] if {tensor}.dim() == 3 else {plain})"


def _among_others(scene: Scene) -> list[str]:
    lines = [*scene.build, *scene.upstream(), *_allowed(scene), "", *_fresh(scene)]
    lines += ["first = fresh(inputs, upstream)", "count = len(upstream)"]
    one, shared = _at(scene, "tensor", "index"), scene.sample.shared
    whole = f"name in {shared!r} or not tensor.dim()" if shared else "not tensor.dim()"
    of_rows = f" if name not in {shared!r}" if shared else ""
    taken = f"{{name: tensor if {whole} else {one} for name, tensor in inputs.items()}}"
    if "in another order" in scene.found.finding.message:
        return [
            *lines,
            "index = torch.arange(count).flip(0)",
            f"permuted = fresh({taken}, upstream[index])",
            f"back = {{name: tensor if {whole} else {one} for name, tensor in permuted.items()}}",
            *_alike("first", "back", "of a row differs beyond the strict bound in another order of rows"),
        ]
    return [
        *lines,
        "for part in sorted({1, max(1, count // 2)}):",
        "    index = torch.arange(part)",
        f"    alone = fresh({taken}, upstream[index])",
        "    # Fewer rows add up to another gradient of what they share.",
        f"    cut = {{name: {_at(scene, 'tensor', ':part')} for name, tensor in first.items(){of_rows}}}",
        *indented(
            _alike(
                "cut",
                "alone",
                "of a row differs beyond the strict bound in a batch of {part}",
                _at(scene, "allowed[name]", ":part"),
            )
        ),
    ]


def _parallel_bounds(block: Rows) -> Mapping[str, Tensor]:
    """Returns the largest error bound of loss and gradients of so many rows, a number each."""
    sample, options = block.drawn()
    stand = in_parts(block.judged(sample.taken(places(sample)), options))
    largest = {name: np.nanmax(np.fmax(s.strict, s.error), initial=0.0) for name, s in sticks(stand).items()}
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in largest.items()}


def _on_several(scene: Scene) -> list[str]:
    sample, each = scene.sample, "each on" in scene.found.finding.message
    whole = f"tensor if name in {sample.shared!r} or not tensor.dim() else " if sample.shared else ""
    axes = {name: batch_axis(tensor, sample.layout) for name, tensor in sample.named.items()}
    taken = f"{whole}tensor.index_select({axes!r}[name], index) if tensor.dim() else tensor"
    lines = [*scene.build, *scene.upstream(), "", *_fresh(scene), "# Error bounds of so many rows."]
    lines += ["allowed = {}"]
    for name, tensor in scene.found.extra.items():
        lines += scene.tensor(f"allowed[{quoted(name)}]", tensor)
    message = f"is another on {several_threads()} threads"
    return [
        *lines,
        f"index = torch.arange({batch_of(sample) * copies(sample)}) % {cycle(sample)}",
        f"many = {{name: {taken} for name, tensor in inputs.items()}}",
        "sent = upstream[index] if upstream.dim() else upstream",
        f"torch.set_num_threads({several_threads() if each else 1})",
        "first = fresh(many, sent)",
        f"torch.set_num_threads({several_threads()})",
        f"for _ in range({REPEATS}):",
        "    again = fresh(many, sent)",
        *indented(_alike("first", "again", message, "0" if each else "allowed[name]")),
    ]


def _after_calls(scene: Scene) -> list[str]:
    message = scene.found.finding.message
    lines = [*scene.build, *scene.upstream(), "", *_fresh(scene), "first = fresh(inputs, upstream)"]
    if SAME_INPUTS in message:
        return [
            *lines,
            *_allowed(scene),
            f"for _ in range({CALLS}):",
            "    again = fresh(inputs, upstream)",
            *_alike("first", "again", f"is another than {CALLS} calls before on the same inputs"),
        ]
    lines += [*scene.others(), f"for _ in range({CALLS}):", "    answered(inputs, upstream)"]
    if REUSED in message:
        return [
            *lines,
            *_allowed(scene),
            "with torch.no_grad():",
            "    for name, tensor in others.items():",
            "        inputs[name].copy_(tensor)",
            "reused = answered(inputs, upstream)",
            "unseen = fresh(others, upstream)",
            *_alike("unseen", "reused", f"of unseen inputs differs in storage that was used {CALLS} times"),
        ]
    if UNSEEN in message and scene.found.tensor:
        assert scene.found.other is not None
        source = f"answers[{quoted(scene.found.tensor)}]"
        return [
            *lines,
            f"# Unseen inputs after {CALLS} calls.",
            "answers = fresh(others, upstream)",
            *number(scene, stand=scene.found.other, source=source),
        ]
    raise NoReproducerError(
        f"show {scene.found.trial.id} --repro: no reproducer yet for {message.partition(':')[0]}."
    )


DETERMINISM = {
    "determinism: repeat": Retelling(_repeated),
    "determinism: threads": Retelling(_on_several, extra=_parallel_bounds, cut=False),
    "determinism: rows": Retelling(_among_others, extra=_of_several),
}
SAME_WHILE_TIMED = Retelling(_after_calls, extra=_own_bounds, other=second)
UNSEEN_WHILE_TIMED = Retelling(_after_calls, extra=_others_bounds, other=second)
