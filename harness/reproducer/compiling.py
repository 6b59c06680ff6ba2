"""What the compiler did, in a script: graph breaks of one call, new graphs of two more of the same shape.

The trap: the counters of dynamo belong to the process, so a script resets them and compiles anew.
"""

from __future__ import annotations

from harness.reproducer.retelling import Retelling
from harness.reproducer.scene import Scene
from harness.reproducer.tensors import indented


def _compiled(scene: Scene) -> list[str]:
    scene.modules.append("warnings")
    return [
        "from torch._dynamo.utils import counters",
        "",
        "# What the compiler warns of is no finding.",
        'warnings.simplefilter("ignore")',
        "torch._dynamo.reset()",
        "counters.clear()",
        *scene.build,
        *scene.upstream(),
        *scene.called(),
        scene.backward(),
    ]


def _breaks(scene: Scene) -> list[str]:
    return [
        *_compiled(scene),
        'reasons = counters["graph_break"]',
        "message = f\"compiled with graph breaks: {sum(reasons.values())}: {'; '.join(list(reasons)[:3])}\"",
        "assert not reasons, message",
    ]


def _recompiles(scene: Scene) -> list[str]:
    return [
        *_compiled(scene),
        'graphs = counters["stats"]["unique_graphs"]',
        "for _ in range(2):",
        *indented([*scene.leaves(), *scene.called(), scene.backward()]),
        'more = counters["stats"]["unique_graphs"] - graphs',
        'assert not more, f"recompiled for an unchanged shape: {more} graphs in two more calls"',
    ]


GRAPH_BREAK = Retelling(_breaks, cut=False)
RECOMPILES = Retelling(_recompiles, cut=False)
