"""Was a 16-bit loss rounded before its end? The script of the one note that the spread over seeds makes.

The strict bound grants 2 ulp, of which the one rounding of the result needs a half; what is left out here
is the rest. The trap: the note is about one of several samples, and the script has to hold that one.
"""

from __future__ import annotations

from dataclasses import replace

from harness.probes.spread import one_rounding
from harness.reproducer.assertion import number, plainly
from harness.reproducer.retelling import Retelling, Rows
from harness.reproducer.scene import Scene
from harness.standard import Standard


def _sample_of(block: Rows) -> Standard:
    """Returns the standard of the sample that showed it."""
    return block.plain(repeat=int(block.finding.witness.get("repeat", 0)))


def _lines(scene: Scene) -> list[str]:
    stand = scene.found.stand
    narrow = replace(stand, loss=replace(stand.loss, strict=one_rounding(stand.loss)))
    return [
        *plainly(scene).call,
        "# One rounding of the result, 1/2 ulp, stands here for the 2 ulp of the strict bound.",
        *number(scene, stand=narrow),
    ]


ROUNDED_TWICE = Retelling(_lines, _sample_of)
