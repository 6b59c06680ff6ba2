"""The negative log-likelihood over classes: every way in which people compute it, and the truth about each.

L_i = -w_t x_it for log-probabilities x, reduced by none, sum or mean; the closed forms are in
`suites/oracles/nll.py`. The mean divides by the class weights of the kept rows. The trap: nothing checks that
x is a logarithm of anything, so logits and probabilities get an answer as well (`suites/mistakes/nll.py`).
"""

from __future__ import annotations

from functools import partial

from torch import Generator, nn

from harness import Contract, Exhaustive, Implementation, Ladder, Regime, Sample, Suite, Variant, above
from suites.examples.nll import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.nll import (
    chunked,
    deprecated_module,
    exact_gradient,
    gather,
    naive_loop,
    native,
    one_hot_dot,
    one_hot_where,
    upcast,
)
from suites.known.nll import CHUNKED, GATHER, LOOP, NATIVE, NATIVE_2D, ONE_HOT, UPCAST
from suites.mistakes.nll import KNOWN_BAD
from suites.oracles.nll import ORACLE, gradient_groups, ignored_rows
from suites.regimes import classification
from suites.regimes import log_probabilities as draw
from suites.regimes.climbs import classes_ladder
from suites.regimes.margins import SHAPES
from suites.regimes.repeated import rows_ladder
from suites.regimes.targets import Options, ascending_weights, relabelled
from suites.regimes.variants import reductions, under_reductions


def ignored_images(sample: Sample, options: Options, generator: Generator) -> Sample:
    """Images some of whose pixels have no label, as the border of an object in segmentation."""
    return draw.as_images(relabelled(sample, options, generator), options, generator)


ROWS = (
    *reductions(),
    *under_reductions("weighted", weight=ascending_weights),
    Variant("ignore_index", ignore_index=-1, adapt=relabelled),
    Variant("padding", ignore_index=0, adapt=relabelled),
    *under_reductions("weighted_ignored", weight=ascending_weights, ignore_index=-1, adapt=relabelled),
)
# To torch another kernel, with code of its own for every option.
IMAGES = (
    Variant("images", adapt=draw.as_images),
    Variant("images_weighted_sum", weight=ascending_weights, reduction="sum", adapt=draw.as_images),
    Variant("images_ignored_none", ignore_index=-1, reduction="none", adapt=ignored_images),
    Variant("images_ignored_sum", ignore_index=-1, reduction="sum", adapt=ignored_images),
    Variant("images_weighted_none", weight=ascending_weights, reduction="none", adapt=draw.as_images),
    Variant("images_weighted_ignored", weight=ascending_weights, ignore_index=-1, adapt=ignored_images),
)
OF_IMAGES = tuple(variant.name for variant in IMAGES)

# In every format a weight of 0 times an infinite log-probability is NaN, and native refuses some images.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, variants=tuple(variant.name for variant in ROWS))
IGNORING = ("ignore_index",)

SUITE = Suite(
    name="nll",
    formula="L = -w_t x_t",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "weight": None,
        "ignore_index": -100,
        "mean_denominator": "weights",
        "empty_mean": "nan",
    },
    groups=gradient_groups,
    ignored=ignored_rows,
    variants=(*ROWS, Variant("zero_weights", weight=draw.every_second_zero), *IMAGES),
    regimes=(
        draw.after_log_softmax(classification.unit_normal),
        draw.after_log_softmax(classification.wide),
        draw.after_log_softmax(classification.confident),
        draw.after_log_softmax(classification.confident_wrong),
        draw.after_log_softmax(classification.masked),
        Regime(draw.scores),
        Regime(draw.forbidden_label),
        Regime(draw.infinite_label),
        Regime(draw.poisoned_elsewhere),
        Regime(draw.nan_label),
        draw.after_log_softmax(partial(classification.ignored, share=0.5), "ignored_half", IGNORING),
        draw.after_log_softmax(partial(classification.ignored, share=1.0), "ignored_all", IGNORING),
        draw.after_log_softmax(classification.poisoned, needs=IGNORING),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            # Three losses of one sign and one of the other: their sum stays within twice the value.
            stop=lambda finfo: 0.3 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="largest |x|",
        ),
        rows_ladder(partial(draw.many_rows, lead=3.0), "rows in the batch, losses about 0.1"),
        rows_ladder(
            partial(draw.many_rows, lead=-10.0), "rows in the batch, losses about 10", name="rows_untrained"
        ),
        classes_ladder(draw.many_classes, "classes in a row"),
    ),
    exhaustive=(Exhaustive("value", draw.every_value, "the label's log-probability x in a row [x, 0]"),),
    invalid=draw.INVALID_LABELS,
    shapes=SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.NLLLoss, name="native_module", known=NATIVE),
        *(
            # Deprecated, and gone one day.
            Implementation(
                getattr(nn, name),
                name="native_module_2d",
                prepare=deprecated_module,
                # An alias: what 16-bit sums lose is said of native, and shows here for some seeds only.
                contract=Contract(
                    variants=OF_IMAGES, dtypes=("float64", "float32"), except_regimes=("scores",)
                ),
                known=NATIVE_2D,
            )
            for name in ("NLLLoss2d",)
            if hasattr(nn, name)
        ),
        Implementation(naive_loop, skip=above(batch=256), known=LOOP),
        Implementation(one_hot_dot, known=ONE_HOT),
        Implementation(one_hot_where, known=GATHER),
        Implementation(gather, known=GATHER),
        # In chunks native takes the time of native.
        Implementation(chunked, skip=above(classes=10), known=CHUNKED),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(
            gather,
            # One artefact per rung otherwise.
            contract=Contract(
                dtypes=("float32",),
                # The fewest that hold every pair of options.
                variants=(
                    "mean",
                    "none",
                    "weighted_sum",
                    "weighted_ignored_none",
                    "images_ignored_sum",
                    "images_weighted_none",
                    "images_weighted_ignored",
                ),
                except_regimes=(
                    "ladder scale",
                    "ladder rows",
                    "ladder rows_untrained",
                    "ladder classes",
                    "exhaustive value",
                ),
            ),
            skip=above(batch=256),
        ),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
