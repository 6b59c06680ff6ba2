"""Cross-entropy over classes: every way in which people compute it, and the truth about each.

loss_i = sum_c q_ic (logsumexp(x_i) - x_ic), reduced by none, sum or mean; the closed forms are in
`suites/oracles/cross_entropy.py`. The trap: mean divides by the class weights of the kept rows, not
by their number, but under probability targets it divides by the number of rows.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.cross_entropy import EXAMPLES, IDENTITIES
from suites.implementations.cross_entropy import (
    chunked,
    exact_gradient,
    log_softmax_gather,
    logsumexp_gather,
    naive_loop,
    native,
    one_hot,
    softmax_log,
    upcast,
)
from suites.known.cross_entropy import (
    CANCELS,
    CHUNKED,
    COMPILED,
    EAGER,
    NAIVE,
    NATIVE,
    ONE_HOT,
    UNSTABLE_AND_POISONED,
    UPCAST,
)
from suites.mistakes.cross_entropy import KNOWN_BAD
from suites.oracles.cross_entropy import ORACLE, gradient_groups, ignored_rows
from suites.regimes import classification as draw
from suites.regimes.invalid import INVALID_LABELS
from suites.regimes.recorded import recorded_regimes
from suites.regimes.targets import as_images, ascending_weights, probability_targets, relabelled

INDEX = Contract(
    variants=(
        "mean",
        "sum",
        "none",
        "weighted",
        "weighted_sum",
        "weighted_none",
        "weighted_ignored",
        "ignore_index",
        "images",
    )
)
# One artefact per variant: a weight under another reduction is another line of the same code.
COMPILED_INDEX = Contract(variants=("mean", "sum", "none", "weighted", "ignore_index", "images"))
COMPILED_NATIVE = Contract(
    variants=(
        *(COMPILED_INDEX.variants or ()),
        "smoothed",
        "weighted_smoothed_ignored",
        "probability",
    )
)
ROWS_ONLY = Contract(
    variants=(
        "mean",
        "sum",
        "none",
        "weighted",
        "weighted_sum",
        "weighted_none",
        "weighted_ignored",
        "ignore_index",
        "smoothed",
        "weighted_smoothed_sum",
        "weighted_smoothed_ignored",
        "probability",
        "weighted_probability",
    )
)
# Beyond a gap of about 20 float64 keeps too few bits of 1 - p to be right in float32.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
    variants=(*(INDEX.variants or ()), "smoothed"),
    except_regimes=(
        "infinite_logit",
        "confident",
        "wide",
        "near_overflow",
        "recorded_digits_late",
        "poisoned",
        "ladder gap",
        "exhaustive gap",
    ),
)
IGNORING = ("ignore_index",)
UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))

SUITE = Suite(
    name="cross_entropy",
    formula="L = sum_c q_c (logsumexp(x) - x_c)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "weight": None,
        "ignore_index": -100,
        "label_smoothing": 0.0,
        "smoothing_over": "all",
        "mean_denominator": "weights",
        "empty_mean": "nan",
    },
    groups=gradient_groups,
    ignored=ignored_rows,
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("weighted", weight=ascending_weights),
        Variant("weighted_sum", weight=ascending_weights, reduction="sum"),
        Variant("weighted_none", weight=ascending_weights, reduction="none"),
        Variant("weighted_ignored", weight=ascending_weights, ignore_index=-1, adapt=relabelled),
        Variant("ignore_index", ignore_index=-1, adapt=relabelled),
        Variant("smoothed", label_smoothing=0.1),
        Variant("smoothed_other", label_smoothing=0.1, smoothing_over="others"),
        Variant("weighted_smoothed_sum", weight=ascending_weights, label_smoothing=0.1, reduction="sum"),
        Variant(
            "weighted_smoothed_ignored",
            weight=ascending_weights,
            label_smoothing=0.1,
            ignore_index=0,
            adapt=relabelled,
        ),
        Variant("probability", adapt=probability_targets),
        Variant("weighted_probability", weight=ascending_weights, adapt=probability_targets),
        Variant("images", adapt=as_images),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.near_overflow),
        Regime(draw.offset),
        Regime(draw.masked),
        Regime(draw.ties),
        Regime(draw.tiny),
        Regime(partial(draw.ignored, share=0.1), name="ignored_tenth", needs=IGNORING),
        Regime(partial(draw.ignored, share=0.5), name="ignored_half", needs=IGNORING),
        Regime(partial(draw.ignored, share=1.0), name="ignored_all", needs=IGNORING),
        Regime(draw.poisoned, needs=IGNORING),
        Regime(draw.nan_logit),
        *recorded_regimes(),
        Regime(draw.infinite_logit),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            # Differences of two logits reach twice their size.
            stop=lambda finfo: 0.49 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="largest |logit|",
        ),
        Ladder(
            "gap",
            draw.two_class_gap,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="lead of the label over one other class",
        ),
        Ladder(
            "rows",
            partial(draw.many_rows, lead=3.0),
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows in the batch, losses about 0.1",
        ),
        Ladder(
            "rows_untrained",
            partial(draw.many_rows, lead=-10.0),
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows in the batch, losses about 10",
        ),
        Ladder(
            "classes",
            draw.many_classes,
            start=2.0,
            stop=lambda finfo: float(1 << 18),
            resolution=1.0,
            classes_is_value=True,
            names="classes in a row",
        ),
    ),
    exhaustive=(Exhaustive("gap", draw.every_gap, "the lead x of the label in a row [x, 0]"),),
    invalid=INVALID_LABELS,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.CrossEntropyLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, contract=INDEX, skip=above(batch=256), known=NAIVE),
        Implementation(one_hot, known=ONE_HOT),
        Implementation(softmax_log, contract=INDEX, known=UNSTABLE_AND_POISONED),
        Implementation(log_softmax_gather, contract=INDEX, known=EAGER),
        Implementation(logsumexp_gather, contract=INDEX, known=CANCELS),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(chunked, contract=ROWS_ONLY, known=CHUNKED),
        Implementation(
            log_softmax_gather,
            name="compiled",
            contract=COMPILED_INDEX,
            known=COMPILED,
            prepare=partial(torch.compile, dynamic=False),
        ),
        Implementation(
            native,
            name="compiled_native",
            contract=COMPILED_NATIVE,
            known=COMPILED,
            prepare=partial(torch.compile, dynamic=False),
        ),
        Implementation(
            partial(upcast, wide_dtype=torch.float64),
            name="float64_control",
            control=True,
            contract=WHERE_FLOAT64_IS_GOOD,
        ),
        Implementation(exact_gradient, control=True, contract=INDEX),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "logits next to 0 give a loss of log C to its last bits",
            check="loss",
            null="the constant log C",
            regime="tiny",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
