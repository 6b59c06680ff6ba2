"""Cross-entropy over classes: every way in which people compute it, and the truth about each.

loss_i = sum_c q_ic (logsumexp(x_i) - x_ic), reduced by none, sum or mean; the closed forms are in
`suites/oracles/cross_entropy.py`. Every pair of options is in one variant at least
(`suites/tests/test_pairs_of_options.py`). The trap: mean divides by the class weights of the kept rows, not
by their number, but under probability targets it divides by the number of rows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Generator, finfo, nn

from harness import Blind, Contract, Implementation, Ladder, Regime, Sample, Shape, Suite, Variant, above
from harness.suite import Shapes
from suites.examples.cross_entropy import EXAMPLES, IDENTITIES
from suites.implementations.cross_entropy import (
    chunked,
    exact_gradient,
    log_softmax_gather,
    log_softmax_nll,
    logsumexp_gather,
    mean_of_rows,
    naive_loop,
    native,
    one_hot,
    softmax_log,
    upcast,
)
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.known.cross_entropy import (
    CANCELS,
    CHUNKED,
    COMPILED,
    EAGER,
    MEAN_OF_ROWS,
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
from suites.regimes.log_probabilities import every_second_zero
from suites.regimes.recorded import recorded_regimes
from suites.regimes.repeated import rows_ladder, rows_of
from suites.regimes.targets import (
    Options,
    as_images,
    ascending_weights,
    probability_targets,
    relabelled,
    weightless,
)
from suites.regimes.variants import reductions, under_reductions


def ignored_images(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Images some of whose pixels have no label, as the border of an object in segmentation."""
    return as_images(relabelled(sample, options, generator), options, generator)


def soft_images(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Images (N, C, H, W) with a distribution over the classes at every pixel."""
    return as_images(probability_targets(sample, options, generator), options, generator)


def soft_rows(shape: Shape, finfo: finfo, generator: Generator) -> Sample:
    """Rows of an untrained model with a distribution over the classes in each."""
    rows = draw.many_rows(shape.batch, shape, finfo, generator, lead=-10.0)
    return probability_targets(rows, {}, generator)


# One label a row, nothing smoothed: what a form that picks the label's entry can be asked.
BY_LABEL = (
    *reductions(),
    *under_reductions("weighted", weight=ascending_weights),
    Variant("ignore_index", ignore_index=-1, adapt=relabelled),
    *under_reductions("weighted_ignored", weight=ascending_weights, ignore_index=-1, adapt=relabelled),
    Variant("images", adapt=as_images),
    Variant("images_ignored_sum", ignore_index=-1, reduction="sum", adapt=ignored_images),
    Variant("images_weighted_none", weight=ascending_weights, reduction="none", adapt=as_images),
    # The label that says "no label" where labels are bytes, as in the files of most segmentations.
    Variant("images_weighted_ignored", weight=ascending_weights, ignore_index=255, adapt=ignored_images),
)
NOTHING_COUNTS = Variant("zero_weights", weight=every_second_zero, adapt=weightless)
SMOOTHED = (
    Variant("smoothed", label_smoothing=0.1),
    Variant("smoothed_other", label_smoothing=0.1, smoothing_over="others"),
    Variant("smoothed_ignored", label_smoothing=0.1, ignore_index=-1, adapt=relabelled),
    Variant("weighted_smoothed_sum", weight=ascending_weights, label_smoothing=0.1, reduction="sum"),
    Variant(
        "weighted_smoothed_ignored",
        weight=ascending_weights,
        label_smoothing=0.1,
        ignore_index=0,
        adapt=relabelled,
    ),
    Variant("images_smoothed_none", label_smoothing=0.1, reduction="none", adapt=as_images),
)
SOFT = (
    Variant("probability", adapt=probability_targets),
    Variant("weighted_probability", weight=ascending_weights, adapt=probability_targets),
    Variant("weighted_probability_sum", weight=ascending_weights, reduction="sum", adapt=probability_targets),
    Variant("smoothed_probability_none", label_smoothing=0.1, reduction="none", adapt=probability_targets),
    Variant("images_weighted_probability", weight=ascending_weights, adapt=soft_images),
)
VARIANTS = (*BY_LABEL, NOTHING_COUNTS, *SMOOTHED, *SOFT)

INDEX = Contract(variants=tuple(variant.name for variant in (*BY_LABEL, NOTHING_COUNTS)))
# One artefact per variant: the fewest that hold every pair of options which the form takes.
COMPILED_INDEX = Contract(
    variants=(
        "mean",
        "none",
        "weighted_sum",
        "weighted_ignored_none",
        "images_ignored_sum",
        "images_weighted_none",
        "images_weighted_ignored",
    )
)
COMPILED_NATIVE = Contract(
    variants=(
        "mean",
        "weighted_ignored_none",
        "images_ignored_sum",
        "weighted_smoothed_sum",
        "weighted_smoothed_ignored",
        "images_smoothed_none",
        "weighted_probability_sum",
        "smoothed_probability_none",
        "images_weighted_probability",
    )
)
# Tutorial A divides a weighted sum by the number of rows, and so does everyone who writes `.mean()` himself.
# On ladders that are not of rows it is native once more, against a truth of its own.
OVER_ALL_ROWS = Contract(
    mean_denominator="rows",
    except_regimes=("ladder scale", "ladder gap", "ladder classes", "exhaustive gap"),
    variants=tuple(
        v.name
        for v in (*BY_LABEL, NOTHING_COUNTS, *SOFT)
        if v.options.get("reduction", "mean") == "mean" and "label_smoothing" not in v.options
    ),
)
ROWS_ONLY = Contract(
    variants=tuple(v.name for v in VARIANTS if v.adapt not in (as_images, ignored_images, soft_images))
)
# Beyond a gap of about 20 float64 keeps too few bits of 1 - p to be right in float32; 0 * inf is NaN in both.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    variants=tuple(variant.name for variant in (*BY_LABEL, *SMOOTHED)),
    except_regimes=(
        "infinite_logit",
        "confident",
        "wide",
        "near_overflow",
        "recorded_digits_late",
        "poisoned",
        "masked_rows",
        "ladder gap",
        "exhaustive gap",
    ),
)
IGNORING = ("ignore_index",)


def where_timed(shape: Shape) -> str | None:
    """Skips the large shapes, where a form of native's own kernels is as fast and as large as native."""
    return "declared skip of the timed shapes" if shape in Shapes().timed else None


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
    variants=VARIANTS,
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.near_overflow),
        Regime(draw.offset),
        Regime(draw.masked),
        Regime(draw.masked_label),
        Regime(draw.masked_rows),
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
        draw.SCALE,
        draw.GAP,
        rows_ladder(partial(draw.many_rows, lead=3.0), "rows in the batch, losses about 0.1"),
        rows_ladder(
            partial(draw.many_rows, lead=-10.0), "rows in the batch, losses about 10", name="rows_untrained"
        ),
        replace(
            rows_of(soft_rows, classes=3),
            name="rows_soft",
            names="rows in the batch, each a distribution of the classes, losses about 10",
            variant="probability",
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
    exhaustive=draw.EXHAUSTIVE,
    invalid=INVALID_LABELS,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.CrossEntropyLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, contract=INDEX, skip=above(batch=256), known=NAIVE),
        Implementation(one_hot, known=ONE_HOT),
        Implementation(softmax_log, contract=INDEX, known=UNSTABLE_AND_POISONED),
        Implementation(log_softmax_gather, contract=INDEX, known=EAGER),
        Implementation(logsumexp_gather, contract=INDEX, known=CANCELS),
        Implementation(log_softmax_nll, contract=INDEX, skip=where_timed, known=EAGER),
        Implementation(mean_of_rows, contract=OVER_ALL_ROWS, skip=where_timed, known=MEAN_OF_ROWS),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(chunked, contract=ROWS_ONLY, known=CHUNKED),
        compiled(
            log_softmax_gather,
            contract=COMPILED_INDEX,
            known=COMPILED,
        ),
        compiled(
            native,
            name="compiled_native",
            contract=COMPILED_NATIVE,
            known=COMPILED,
        ),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True, contract=INDEX),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "logits next to 0 give a loss of log C to its last bits",
            check="loss",
            null=("the constant log C", "another row's"),
            regime="tiny",
        ),
        Blind(
            "beside a thousand classes and many rows every entry off the label is subnormal in float16",
            check="gradient of logits",
            null="the one-hot part alone",
            regime="tiny",
            dtype="float16",
        ),
        Blind(
            "beside 2^18 classes nearly every entry off the label is subnormal in float16",
            check="ladder classes: gradient of logits",
            null="the one-hot part alone",
            dtype="float16",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
