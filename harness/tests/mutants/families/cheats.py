"""Ways to cheat, planted into cross-entropy: constants, kept answers, the checker's own memory, the clock.

The trap: each is as fast as nothing at all, so a benchmark that looks at the time first would praise it.
"""

from __future__ import annotations

from functools import partial

from harness.tests.mutants import gradients, layouts, state
from harness.tests.mutants.families.cross_entropy import LABELS
from harness.tests.mutants.mutant import (
    OVERWRITES,
    SPURIOUS,
    WHILE_TIMED,
    WRONG,
    Expected,
    Mutant,
    planted,
)

_planted = partial(planted, "cross_entropy", source="cheat", variants=LABELS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        "c1",
        gradients.zero,
        WRONG,
        name="zero",
        fault="loss and gradient are 0",
        right="one class",
    ),
    _planted(
        "c1",
        gradients.untrained,
        WRONG,
        name="untrained",
        fault="loss and gradient of equal logits, whatever the logits",
        right="equal logits",
    ),
    _planted(
        "c2",
        state.by_address,
        Expected(("stale_result", "wrong_while_timed"), ("protocol", "timing")),
        fault="answers are kept by address",
        right="storage that was not seen before",
    ),
    _planted(
        "c2",
        state.by_shape,
        Expected(("stale_result", "wrong_while_timed", "inaccurate"), ("protocol", "timing", "accuracy")),
        fault="answers are kept by shape",
        right="the first batch of a shape",
    ),
    _planted(
        "c3",
        layouts.zeroes_inputs,
        OVERWRITES,
        fault="the inputs are set to 0, so that a truth made from them later agrees",
        right="logits of 0",
    ),
    _planted(
        "c3",
        gradients.recycled,
        Expected((*WRONG.kinds, *SPURIOUS.kinds)),
        name="recycled",
        fault="fresh memory is returned in the hope that the checker's answer lies there",
        right="memory in which the answer lies",
    ),
    _planted(
        "c4",
        state.tires_of_it,
        WHILE_TIMED,
        fault="no work after 256 calls of a shape of 2048 entries or more",
        right="small inputs, and the first 256 calls of a shape",
    ),
    _planted(
        "c4",
        state.while_collector_runs,
        WHILE_TIMED,
        fault="no work while the garbage collector is off",
        right="the garbage collector on",
    ),
)
