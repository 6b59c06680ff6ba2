"""Connectionist temporal classification: every way in which people compute it, and the truth about each.

L = -log sum over alignments of exp(sum_t x[t, label at t]) for log-probabilities x (T, N, C); the
recursions are in `suites/oracles/ctc.py`. The gradient of this suite is the partial derivative by x, minus
the occupancy, which is what any composed form gives under autograd. The trap: torch's gradient is another,
exp(x) minus the occupancy; it is right for the logits when x is their log_softmax in the same graph, and
wrong for everything else (pytorch#52241). Native declares it as its own definition, so that it is judged by
what it means to give; the known-bad `native_as_partial` is the same call taken at its word.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Blind, Contract, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.ctc import EXAMPLES, IDENTITIES
from suites.implementations.ctc import (
    exact_gradient,
    log_space,
    log_space_for_logits,
    naive_loop,
    native,
    native_concatenated,
    native_corrected,
    rescaled,
    textbook,
    upcast,
)
from suites.implementations.declared import compiled
from suites.known.ctc import COMPILED, CORRECTED, LOOP, NATIVE, RESCALED, TEXTBOOK, UNCHECKED_LABEL, UPCAST
from suites.mistakes.ctc import KNOWN_BAD
from suites.oracles.ctc import FUSED, ORACLE, PARTIAL
from suites.regimes import sequences as draw
from suites.regimes.climbs import scale_ladder
from suites.regimes.repeated import rows_of

WIDE = ("float32", "float64")
HALF = ("bfloat16", "float16")
NATIVE_CONTRACT = Contract(dtypes=WIDE, derivative=FUSED)
NATIVE_ONCE = Contract(dtypes=WIDE, variants=("mean", "none"), derivative=FUSED)
# Tens of thousands of tiny operators in a long sequence.
LOOP_CONTRACT = Contract(dtypes=WIDE, variants=("mean",), except_regimes=("long", "ladder frames"))
CORRECTED_CONTRACT = Contract(dtypes=WIDE, variants=("mean", "zero_infinity", "zero_infinity_sum"))
# In 16 bits a product of probabilities ends after half a dozen frames: nobody offers that.
TEXTBOOK_CONTRACT = Contract(dtypes=WIDE, variants=("mean", "none"))
# One graph per number of frames, unrolled: other shapes are other artefacts, of 8 s of work each.
COMPILED_CONTRACT = Contract(
    dtypes=("float32",), variants=("mean",), except_regimes=("long", "one_frame", "ladder *")
)
FOR_LOGITS_CONTRACT = Contract(variants=("mean", "zero_infinity", "zero_infinity_none"), derivative=FUSED)
# Python goes over the frames: asked of what a batch holds, not of thousands of sequences.
OVER_FRAMES = above(batch=1024)
# In every format a forbidden class is -inf - (-inf) to native's backward, and a loss near 0 lost.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", *HALF),
    variants=("mean", "sum", "none"),
    except_regimes=("masked", "saturated"),
    derivative=FUSED,
)

SUITE = Suite(
    name="ctc",
    formula="L = -log sum over alignments exp sum_t x_t",
    oracle=ORACLE,
    options={"reduction": "mean", "blank": 0, "zero_infinity": False, "derivative": PARTIAL},
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("zero_infinity", zero_infinity=True),
        Variant("zero_infinity_sum", zero_infinity=True, reduction="sum"),
        Variant("zero_infinity_none", zero_infinity=True, reduction="none"),
        Variant("blank_last", blank=draw.last_class, adapt=draw.blank_last),
    ),
    regimes=(
        Regime(draw.typical),
        Regime(draw.confident),
        Regime(draw.saturated),
        Regime(draw.confident_wrong),
        Regime(draw.repeated),
        Regime(draw.minimal),
        Regime(draw.one_frame),
        Regime(draw.empty_targets),
        Regime(draw.impossible),
        Regime(draw.masked),
        Regime(draw.padded),
        Regime(draw.long),
        Regime(draw.unnormalised),
    ),
    ladders=(
        Ladder(
            "frames",
            draw.many_frames,
            start=8.0,
            stop=lambda finfo: 128.0,
            resolution=1.0,
            names="frames",
        ),
        # Eight frames, and the sum over a few rows: what bounds it is finite as well.
        scale_ladder(draw.scaled, "largest |x|", share=1 / 512),
        # A sequence costs as much as a hundred rows of scores: fewer of them than elsewhere.
        rows_of(draw.typical, classes=3, most=1 << 14),
    ),
    invalid=draw.INVALID_SEQUENCES,
    shapes=Shapes(
        usual=Shape(4, 6),
        covering=(Shape(1, 3), Shape(7, 20)),
        timed=(Shape(64, 32),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(native, baseline=True, contract=NATIVE_CONTRACT, known=NATIVE),
        Implementation(nn.CTCLoss, name="native_module", contract=NATIVE_CONTRACT, known=NATIVE),
        Implementation(native_concatenated, contract=NATIVE_ONCE, known=NATIVE),
        Implementation(native_corrected, contract=CORRECTED_CONTRACT, known=CORRECTED),
        Implementation(naive_loop, skip=above(batch=16), contract=LOOP_CONTRACT, known=LOOP),
        Implementation(textbook, skip=OVER_FRAMES, contract=TEXTBOOK_CONTRACT, known=TEXTBOOK),
        Implementation(rescaled, skip=OVER_FRAMES, contract=TEXTBOOK_CONTRACT, known=RESCALED),
        Implementation(log_space, skip=OVER_FRAMES),
        Implementation(log_space_for_logits, skip=OVER_FRAMES, contract=FOR_LOGITS_CONTRACT),
        compiled(
            rescaled,
            contract=COMPILED_CONTRACT,
            skip=above(batch=64),
            known=COMPILED,
        ),
        Implementation(upcast, contract=Contract(dtypes=HALF, derivative=FUSED), known=UPCAST),
        Implementation(
            partial(upcast, wide_dtype=torch.float64),
            name="float64_control",
            control=True,
            contract=WHERE_FLOAT64_IS_GOOD,
            known=(UNCHECKED_LABEL,),
        ),
        Implementation(exact_gradient, control=True, skip=OVER_FRAMES),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "large log probabilities, of 2^19 in float32, are rounded by what decides between the paths",
            check="ladder scale: gradient of log_probs",
            null=("zeros", "the sign flipped"),
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
