"""Which lines ask which question: by what a probe put into the witness, else by the kind of the finding.

Whoever adds a question to a probe adds its lines here. The trap: a finding without a question in its
witness was made by the plain call, unless its kind says who asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.reproducer import repeats
from harness.reproducer.assertion import asserted, plainly
from harness.reproducer.calls import CALLS
from harness.reproducer.compiling import GRAPH_BREAK, RECOMPILES
from harness.reproducer.identities import IDENTITY
from harness.reproducer.refusals import ACCEPTS_INVALID, ERROR_PARITY, KILLS_PROCESS
from harness.reproducer.retelling import Retelling
from harness.reproducer.rounding import ROUNDED_TWICE
from harness.reproducer.scene import Scene
from harness.reproducer.states import STATE
from harness.reproducer.transforms import TRANSFORMS
from harness.results import Finding

QUESTIONS: Mapping[str, Retelling] = MappingProxyType({**CALLS, **STATE, **TRANSFORMS, **repeats.DETERMINISM})
KINDS: Mapping[str, Retelling] = MappingProxyType(
    {
        "accepts_invalid": ACCEPTS_INVALID,
        "kills_process": KILLS_PROCESS,
        "error_parity": ERROR_PARITY,
        "graph_break": GRAPH_BREAK,
        "recompiles": RECOMPILES,
        "identity": IDENTITY,
        "rounded_twice": ROUNDED_TWICE,
    }
)


def retelling_of(finding: Finding) -> Retelling | None:
    """Returns how the question of a finding is put in a script; None for the plain call."""
    if finding.kind == "wrong_while_timed":
        same = repeats.SAME_INPUTS in finding.message
        return repeats.SAME_WHILE_TIMED if same else repeats.UNSEEN_WHILE_TIMED
    return QUESTIONS.get(str(finding.witness.get("question", ""))) or KINDS.get(finding.kind)


def lines_of(scene: Scene) -> list[str]:
    """Returns the lines of a script that ask and assert; the names that they use are the scene's."""
    retelling = retelling_of(scene.found.finding)
    return asserted(scene, plainly(scene)) if retelling is None else retelling.lines(scene)
