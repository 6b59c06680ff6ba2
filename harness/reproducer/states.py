"""The questions about what a call leaves behind, in a script: inputs, upstream, global state, old content.

The trap: a version that moved over unchanged bits and bits that moved under an unchanged version are
two findings, so each script looks at one of them.
"""

from __future__ import annotations

import torch

from harness.probes.protocol.state import reversed_options
from harness.reproducer.assertion import NUMERIC, Asked, about, asserted, number, plainly, unchanged
from harness.reproducer.retelling import Retelling, Rows, second
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import indented, quoted
from harness.standard import Standard

# What is drawn first, so that a seed that is set on every call changes the state as well.
STIRRED = {
    "torch's random state": "torch.rand(())",
    "numpy's random state": "numpy.random.random()",
    "python's random state": "random.random()",
}
# How a script reads what the probe calls by these names; numpy is imported only where it is meant.
STATES = {
    "the default dtype": ("torch.get_default_dtype()", ""),
    "the number of threads": ("torch.get_num_threads()", ""),
    "the grad mode": ("torch.is_grad_enabled()", ""),
    "deterministic algorithms": ("torch.get_deterministic_debug_mode()", ""),
    "the float32 matmul precision": ("torch.get_float32_matmul_precision()", ""),
    "anomaly detection": ("torch.is_anomaly_enabled()", ""),
    "autocast on the CPU": ('torch.is_autocast_enabled("cpu")', ""),
    "the flushing of subnormals": ("bool(torch.tensor(2.0**-1070, dtype=torch.float64) * 0.5 == 0)", ""),
    "the working directory": ("os.getcwd()", "os"),
    "the environment variables": ("dict(os.environ)", "os"),
    "torch's random state": ("torch.random.get_rng_state().tolist()", ""),
    "numpy's random state": ("repr(numpy.random.get_state())", "numpy"),
    "python's random state": ("random.getstate()", "random"),
}


def _inputs_kept(scene: Scene) -> list[str]:
    form = about(scene.found.finding)
    if form not in ("overwrites", "version_moved"):
        return asserted(scene, plainly(scene))
    versions = form == "version_moved"
    if versions:
        before = ["versions = {name: tensor._version for name, tensor in inputs.items()}"]
        look = [
            "for name, tensor in inputs.items():",
            '    message = f"{moment} moved the version of {name}: its other consumers cannot go backward"',
            "    assert tensor._version == versions[name], message",
        ]
    else:
        before = [
            "watched = {**inputs, **{name: value for name, value in options.items() "
            "if isinstance(value, torch.Tensor)}}",
            "before = {name: tensor.detach().clone() for name, tensor in watched.items()}",
            "needing = {name: tensor.requires_grad for name, tensor in watched.items()}",
        ]
        look = [
            "for name, tensor in watched.items():",
            *indented(unchanged("tensor", "before[name]", 'f"{moment} wrote into {name}"')),
            '    assert tensor.requires_grad == needing[name], f"{moment} set requires_grad of {name}"',
            '    assert tensor.grad is None, f"{moment} filled {name}.grad"',
        ]
    return [
        *scene.build,
        *before,
        "",
        "def look(moment):",
        *indented(look),
        "",
        *scene.called(),
        'look("forward")',
        *scene.upstream(),
        scene.backward(),
        'look("backward")',
    ]


def _upstream_kept(scene: Scene) -> list[str]:
    if about(scene.found.finding) != "overwrites":
        return asserted(scene, plainly(scene))
    return [
        *scene.build,
        *scene.called(),
        *scene.upstream(),
        "upstream = upstream.to(loss).clone()",
        "before = upstream.clone()",
        scene.backward(),
        *unchanged("upstream", "before", '"wrote into the upstream gradient"'),
    ]


def _gradients_kept(scene: Scene) -> list[str]:
    if about(scene.found.finding) != "overwrites":
        return asserted(scene, plainly(scene))
    names = list(scene.sample.gradients)
    return [
        *scene.build,
        *scene.upstream(),
        *scene.called(),
        scene.backward(),
        "given = [gradient for gradient in gradients if gradient is not None]",
        "before = [gradient.clone() for gradient in given]",
        *scene.leaves("inputs", "others"),
        *scene.called("*others.values()"),
        f"wanted = [others[name] for name in {names!r}]",
        "torch.autograd.grad(loss, wanted, 3 * upstream.to(loss), allow_unused=True)",
        "for gradient, old in zip(given, before):",
        *indented(unchanged("gradient", "old", '"a later backward wrote into a gradient that was given"')),
    ]


def _state_kept(scene: Scene) -> list[str]:
    if about(scene.found.finding) != "changes_state":
        return asserted(scene, plainly(scene))
    named = [name for name in STATES if name in scene.found.finding.message] or list(STATES)
    scene.modules.extend(module for _, module in (STATES[name] for name in named) if module)
    return [
        "def state():",
        "    return {",
        *(f"        {quoted(name)}: {STATES[name][0]}," for name in named),
        "    }",
        "",
        *scene.build,
        *scene.upstream(),
        *(STIRRED[name] for name in named if name in STIRRED),
        "before = state()",
        *scene.called(),
        "if loss.requires_grad:",
        f"    {scene.backward()}",
        "after = state()",
        "changed = [name for name in before if before[name] != after[name]]",
        "assert not changed, f\"changed {', '.join(changed)}\"",
    ]


def _result_dtype(scene: Scene) -> list[str]:
    if about(scene.found.finding) != "result_dtype":
        return asserted(scene, plainly(scene))
    declared = scene.found.implementation.contract.result_dtype
    first = next(tensor for tensor in scene.sample.tensors if tensor.is_floating_point())
    given = str(first.dtype).removeprefix("torch.")
    allowed = declared or given
    return [
        *scene.build,
        *scene.called(),
        'got = str(loss.dtype).removeprefix("torch.")',
        f'message = f"returns {{got}} for {given} inputs, the contract says {allowed}"',
        f"assert got == {quoted(allowed)}, message",
    ]


def _new_content(scene: Scene) -> list[str]:
    assert scene.found.other is not None
    lines = [
        *scene.build,
        *scene.upstream(),
        "",
        *scene.answering(),
        "",
        "# What is asked first stays in the storage that the second question is put in.",
        "answered(inputs, upstream)",
        *scene.others(),
        "with torch.no_grad():",
        "    for name, tensor in others.items():",
        "        inputs[name].copy_(tensor)",
        "answers = answered(inputs, upstream)",
    ]
    if about(scene.found.finding) != NUMERIC:
        return asserted(scene, Asked(lines, []))
    source = f"answers[{quoted(scene.found.tensor)}]"
    return [*lines, *number(scene, stand=scene.found.other, source=source)]


def _new_options(scene: Scene) -> list[str]:
    names = [
        n for n, value in scene.found.stand.options.items() if isinstance(value, torch.Tensor) and value.dim()
    ]
    lines = [
        *scene.build,
        *scene.upstream(),
        "",
        *scene.answering(),
        "",
        "# What is asked first stays in the option tensors, whose entries are then put in reverse order.",
        "answered(inputs, upstream)",
        f"for name in {names!r}:",
        "    options[name].copy_(options[name].flip(-1))",
        "answers = answered(inputs, upstream)",
    ]
    if about(scene.found.finding) != NUMERIC:
        return asserted(scene, Asked(lines, []))
    source = f"answers[{quoted(scene.found.tensor)}]"
    return [*lines, *number(scene, stand=scene.found.other, source=source)]


def _turned(block: Rows) -> Standard:
    sample, options = block.drawn()
    return block.judged(sample, reversed_options(options))


def _two_graphs(scene: Scene) -> list[str]:
    names = list(scene.sample.gradients)
    lines = [
        *scene.build,
        *scene.upstream(),
        *scene.others(),
        *scene.leaves("others", "others"),
        "# Both graphs are alive before the first goes backward.",
        *scene.called(),
        "first = loss",
        *scene.called("*others.values()"),
        "answers = []",
        "for tensors, loss in ((inputs, first), (others, loss)):",
        f"    wanted = [tensors[name] for name in {names!r}]",
        "    gradients = torch.autograd.grad(loss, wanted, upstream.to(loss), allow_unused=True)",
        f'    answers.append({{"loss": loss.detach(), **dict(zip({names!r}, gradients))}})',
    ]
    if about(scene.found.finding) != NUMERIC:
        return asserted(scene, Asked(lines, []))
    tensor = quoted(scene.found.tensor)
    return [
        *lines,
        *number(scene, source=f"answers[0][{tensor}]"),
        *number(scene, source=f"answers[1][{tensor}]", stand=scene.found.other),
    ]


STATE = {
    "inputs kept": Retelling(_inputs_kept),
    "upstream kept": Retelling(_upstream_kept),
    "gradients kept": Retelling(_gradients_kept),
    "state kept": Retelling(_state_kept),
    "result dtype": Retelling(_result_dtype),
    "new content in the same storage": Retelling(_new_content, other=second),
    "new content in the same options": Retelling(_new_options, other=_turned),
    "two graphs alive": Retelling(_two_graphs, other=second),
}
