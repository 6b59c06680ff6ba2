"""Cross-entropy of projected rows: the last layer of a model and its loss as one function.

L_i = sum_c q_ic (logsumexp(z_i) - z_ic), z = x W^T + b; the closed forms are in
`suites/oracles/linear_cross_entropy.py`. All rows share W and b, so their gradients are sums over rows. The
point of a fused form is what it does not hold: the memory probe gives peaks as multiples of the logits
(N, C). The trap: a fused form makes gradients in the forward pass, where it does not know yet what the
reduction or the caller multiplies them by.
"""

from __future__ import annotations

from functools import partial

from torch import Generator

from harness import (
    Blind,
    Contract,
    Exhaustive,
    Implementation,
    Ladder,
    Regime,
    Sample,
    Suite,
    Variant,
    above,
)
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.linear_cross_entropy import EXAMPLES, IDENTITIES
from suites.implementations.cross_entropy import log_softmax_gather, logsumexp_gather, softmax_log
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.linear_cross_entropy import (
    NativeModule,
    class_chunks,
    exact_gradient,
    naive_loop,
    native,
    native_chunked,
    row_chunks,
    textbook,
    upcast,
)
from suites.implementations.projected_cross_entropy import projected, projected_one_hot
from suites.known.linear_cross_entropy import (
    CHUNKED,
    COMPACT,
    COMPILED,
    FUSED,
    LOGSUMEXP,
    NATIVE,
    ROW_BY_ROW,
    ROW_CHUNKS,
    SOFTMAX_LOG,
    UPCAST,
)
from suites.mistakes.linear_cross_entropy import KNOWN_BAD
from suites.oracles.linear_cross_entropy import ORACLE, ignored_rows
from suites.regimes import projections as draw
from suites.regimes.invalid import INVALID_LABELS
from suites.regimes.repeated import rows_ladder
from suites.regimes.targets import Options, ascending_weights, relabelled


def ignored_biased(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Some rows without a label, beside a bias."""
    return draw.biased(relabelled(sample, options, generator), options, generator)


IGNORING = ("ignore_index",)
BY_LABEL = (
    "mean",
    "none",
    "biased",
    "weighted_sum",
    "weighted_none",
    "weighted_ignored",
    "ignored_sum",
    "weighted_ignored_none",
)
INDEX = Contract(variants=("sum", *BY_LABEL))
# The slowest form is spared the plain sum.
A_LOOP = Contract(variants=BY_LABEL)
# The fewest that hold every pair of options: for the same function again, and where each is an artefact.
EVERY_PAIR = (
    "mean",
    "none",
    "weighted_ignored",
    "ignored_sum",
    "weighted_ignored_none",
    "weighted_smoothed",
    "weighted_smoothed_sum",
    "smoothed_ignored_none",
)
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    except_regimes=("confident", "poisoned", "nan_hidden", "ladder gap", "exhaustive gap"),
)

SUITE = Suite(
    name="linear_cross_entropy",
    formula="L = sum_c q_c (logsumexp(W x + b) - w_c x - b_c)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "weight": None,
        "ignore_index": -100,
        "label_smoothing": 0.0,
        "smoothing_over": "all",
        "mean_denominator": "weights",
    },
    ignored=ignored_rows,
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none", adapt=draw.biased),
        Variant("biased", adapt=draw.biased),
        Variant("weighted_sum", weight=ascending_weights, reduction="sum"),
        Variant("weighted_none", weight=ascending_weights, reduction="none"),
        Variant("weighted_ignored", weight=ascending_weights, ignore_index=-1, adapt=relabelled),
        Variant("ignored_sum", ignore_index=-1, reduction="sum", adapt=ignored_biased),
        Variant(
            "weighted_ignored_none",
            weight=ascending_weights,
            ignore_index=-1,
            reduction="none",
            adapt=ignored_biased,
        ),
        Variant("weighted_smoothed", weight=ascending_weights, label_smoothing=0.1, adapt=draw.biased),
        Variant("weighted_smoothed_sum", weight=ascending_weights, label_smoothing=0.1, reduction="sum"),
        Variant(
            "smoothed_ignored_none", label_smoothing=0.1, ignore_index=0, reduction="none", adapt=relabelled
        ),
    ),
    regimes=(
        Regime(draw.unit),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.offset_bias),
        Regime(draw.masked_bias),
        Regime(draw.few_labels),
        Regime(partial(draw.ignored, share=0.5), name="ignored_half", needs=IGNORING),
        Regime(partial(draw.ignored, share=1.0), name="ignored_all", needs=IGNORING),
        Regime(draw.poisoned, needs=IGNORING),
        Regime(draw.nan_hidden),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            # Four losses of twice the largest logit at most.
            stop=lambda finfo: 0.1 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="largest |hidden|",
        ),
        Ladder(
            "common",
            draw.common,
            start=1.0,
            stop=lambda finfo: min(float(finfo.max) / 8, 2.0**20),
            resolution=0.25,
            relative=2.0**-10,
            names="a feature that adds 16 times itself to the logits of all classes",
        ),
        Ladder(
            "gap",
            draw.two_class_gap,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="lead of the label's logit over one other class",
        ),
        rows_ladder(partial(draw.many_rows, lead=3.0), "rows in the batch, losses about 0.1"),
        Ladder(
            "classes",
            draw.many_classes,
            start=2.0,
            stop=lambda finfo: float(1 << 14),
            resolution=1.0,
            classes_is_value=True,
            names="classes against rows of four features",
        ),
    ),
    exhaustive=(Exhaustive("gap", draw.every_gap, "the row x against weights 1 and 0, labelled 0"),),
    invalid=INVALID_LABELS,
    shapes=Shapes(
        usual=Shape(16, 10),
        covering=(Shape(1, 5), Shape(7, 50), Shape(17, 257), Shape(64, 1)),
        timed=(Shape(256, 4096),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(
            NativeModule, name="native_module", contract=Contract(variants=EVERY_PAIR), known=NATIVE
        ),
        Implementation(native_chunked, known=CHUNKED),
        Implementation(partial(native_chunked, policy="compact"), name="native_compact", known=COMPACT),
        Implementation(naive_loop, contract=A_LOOP, skip=above(batch=64), known=ROW_BY_ROW),
        Implementation(textbook, known=NATIVE),
        # What these cost over the logits is told of cross_entropy.
        Implementation(projected_one_hot, name="one_hot", skip=above(classes=257), known=NATIVE),
        *(
            Implementation(
                partial(projected, form=form),
                name=form.__name__,
                contract=INDEX,
                skip=above(classes=257),
                known=known,
                about=about,
            )
            for form, known, about in (
                (softmax_log, SOFTMAX_LOG, "linear, softmax, log, then the label: unstable on purpose."),
                (log_softmax_gather, NATIVE, "linear, log_softmax, then gather the label."),
                (logsumexp_gather, LOGSUMEXP, "linear, then logsumexp minus the label's logit: cancels."),
            )
        ),
        Implementation(row_chunks, known=ROW_CHUNKS),
        Implementation(class_chunks, contract=INDEX, known=FUSED),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(
            textbook,
            # A ladder of shapes compiles for half a minute.
            contract=Contract(
                dtypes=("float32",),
                variants=EVERY_PAIR,
                except_regimes=("ladder rows", "ladder classes"),
            ),
            known=COMPILED,
        ),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True, contract=INDEX),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "a feature common to all classes, of 2^16 in float32, rounds the logits by their differences",
            check="ladder common: *",
            null=("zeros", "the constant log C", "the sign flipped", "another row's"),
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
