"""Cross-entropy with one planted fault each: what released code got wrong.

The functions are in the modules beside this package, by what goes wrong: formulas, gradients, layouts,
reductions, state. The trap: all stand on `harness.tests.mutants.correct`, whose forms run as controls.
"""

from __future__ import annotations

from functools import partial

from harness import Contract, Implementation
from harness.tests.mutants import correct, formulas, gradients, layouts, reductions, state
from harness.tests.mutants.mutant import (
    HALF,
    INACCURATE,
    LAYOUT,
    LEAK,
    NAN,
    OVERWRITES,
    SECOND_BACKWARD,
    SPURIOUS,
    STRIDED_UPSTREAM,
    UP_TO_FLOAT32,
    UPSTREAM,
    WRONG,
    Expected,
    Mutant,
    planted,
)

LABELS = ("mean", "sum", "none", "weighted", "ignore_index", "images")
UNWEIGHTED = ("mean", "sum", "none", "ignore_index", "images")
PLAIN = ("mean", "sum", "none", "images")

_planted = partial(planted, "cross_entropy", variants=LABELS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        "m1",
        gradients.stored_probability,
        WRONG,
        name="stored_probability",
        source="Liger-Kernel#1268",
        fault="the target entry is p_y - 1 with p_y as stored in the logits' dtype",
        right="unit normal logits",
    ),
    _planted(
        "m2",
        layouts.lost_buffer,
        LAYOUT,
        source="liger-kernel 0.6.3 to 0.8.5",
        fault="the gradient is written to a contiguous copy of the buffer that is returned",
        right="contiguous logits",
    ),
    _planted(
        "m3",
        reductions.first_upstream,
        UPSTREAM,
        source="Liger-Kernel#678",
        fault="the upstream gradient is read as a scalar",
        right="one upstream gradient for all rows",
    ),
    _planted(
        "m4",
        reductions.reduces_none,
        Expected(("shape",)),
        source="Liger-Kernel#421",
        fault="reduction none returns a scalar",
        right="mean and sum",
    ),
    _planted(
        "m5",
        layouts.in_place,
        OVERWRITES,
        source="Liger-Kernel#272",
        fault="the gradient is written into the logits' storage",
        right="logits that nobody reads afterwards",
        # Images are folded: what is written to is their copy.
        variants=("mean", "sum", "none", "weighted", "ignore_index"),
    ),
    _planted(
        "m6",
        state.scaled_twice,
        SECOND_BACKWARD,
        source="quack#209",
        fault="backward scales the saved gradient in place",
        right="the first backward of a graph",
    ),
    _planted(
        "m7",
        reductions.mean_only,
        WRONG,
        source="TransformerEngine#1879",
        fault="the gradient is divided by the number of rows whatever the reduction",
        right="reduction mean",
    ),
    _planted(
        "m8",
        reductions.dense_upstream,
        STRIDED_UPSTREAM,
        source="TransformerEngine#2402",
        fault="the upstream gradient is read as if it were contiguous",
        right="a contiguous upstream gradient",
    ),
    _planted(
        "m9",
        reductions.counts_ignored,
        Expected(("inaccurate", "nan_swallowed")),
        source="ROCm/TransformerEngine#336",
        fault="the mean divides by all rows instead of those that count",
        right="no ignored row",
        variants=UNWEIGHTED,
    ),
    _planted(
        "m10",
        gradients.filtered,
        Expected(("dead_gradient",)),
        name="filtered",
        source="ml-cross-entropy#14",
        fault="blocks of 128 x 128 gradient entries below 2^-12 are dropped",
        right="an uncertain row in every block",
    ),
    _planted(
        "m11",
        layouts.aligned_labels,
        LAYOUT,
        source="flash-attention bedf8774",
        fault="labels are read from the 16-byte boundary below their address",
        right="labels at the start of their storage",
    ),
    _planted(
        "m12",
        reductions.smooths_ignored,
        Expected(("inaccurate", "nan_swallowed")),
        source="pytorch#73205",
        fault="the smoothing term is summed over ignored rows, too",
        right="smoothing without ignored rows, ignored rows without smoothing",
        variants=(*LABELS, "smoothed", "weighted_smoothed_ignored", "probability"),
    ),
    _planted(
        "m13",
        reductions.times_zero,
        Expected(("spurious_nan", "nan_leak"), ("accuracy", "overflow")),
        source="cosmos-rl#155",
        fault="with every row ignored the declared 0 is logits.sum() * 0",
        right="all rows ignored, logits of which the sum is finite",
        empty_mean="zero",
    ),
    _planted(
        "m14",
        reductions.narrow_sum,
        Expected(("inaccurate", "dead_gradient", *SPURIOUS.kinds), ("overflow",)),
        source="pytorch#85791",
        fault="loss sum and row count are stored in float16 before the division",
        right="a few thousand rows",
    ),
    _planted(
        "m17",
        reductions.masked_after,
        LEAK.by("accuracy", "protocol"),
        source="pytorch#121416, pytorch#11551",
        fault="ignored rows are masked out after the loss, so their NaN reaches the gradient",
        right="finite logits in ignored rows",
        variants=UNWEIGHTED,
    ),
    _planted(
        "m18",
        gradients.unshifted,
        INACCURATE,
        name="unshifted",
        source="Liger-Kernel, flash-attention",
        fault="the loss is logsumexp(x) - x_t, which cancels under a common offset",
        right="unit normal logits",
    ),
    _planted(
        "m19",
        reductions.stored_rows,
        Expected(("rounded_twice",), ("spread",)),
        source="Liger-Kernel",
        fault="row losses are stored in 16 bits before the mean",
        right="one row, or losses that 16 bits hold",
        dtypes=HALF,
    ),
    _planted(
        "m20",
        gradients.lost_mass,
        WRONG,
        source="NeMo#2428",
        fault="backward is p - q where forward kept the sum of q",
        right="targets that sum to one",
        variants=("mean", "sum", "none", "ignore_index", "smoothed", "probability"),
    ),
    _planted(
        "m22",
        formulas.half_clamp,
        NAN,
        source="GLiNER2#155",
        fault="clamp(max=1 - 1e-6) in 16 bits clamps nothing",
        right="labels of probability below 7/8",
        variants=PLAIN,
        dtypes=HALF,
    ),
    _planted(
        "m23",
        formulas.without_shift,
        SPURIOUS.by("overflow"),
        source="tt-forge#3405",
        fault="log(sum(exp(x))) - x_t, exponentials unshifted",
        right="unit normal logits",
        variants=PLAIN,
    ),
    _planted(
        "m23",
        formulas.softmax_then_log,
        SPURIOUS.by("overflow"),
        source="many tutorials",
        fault="-log(softmax(x)_t), the probability underflows",
        right="unit normal logits",
        variants=PLAIN,
    ),
    _planted(
        "m23",
        formulas.epsilon_in_log,
        WRONG.by("overflow"),
        source="many tutorials",
        fault="-log(softmax(x)_t + 1e-12) saturates at 27.6 with a dead gradient",
        right="unit normal logits",
        variants=PLAIN,
        dtypes=UP_TO_FLOAT32,
    ),
    _planted(
        "m26",
        formulas.double_softmax,
        INACCURATE,
        source="many tutorials",
        fault="softmax is applied twice",
        right="the loss of equal logits",
    ),
    _planted(
        "m27",
        reductions.varying_order,
        Expected(("nondeterministic",), ("determinism",)),
        source="any kernel with atomic adds",
        fault="losses are accumulated in another order each time",
        right="the value, within its bound",
    ),
)

CONTROLS: tuple[Implementation, ...] = tuple(
    Implementation(function, name=name, control=True, contract=Contract(variants=variants))
    for function, name, variants in (
        (correct.rowwise_cross_entropy, "ground_rowwise", LABELS),
        (correct.fused_cross_entropy, "ground_fused", LABELS),
        (
            correct.dense_cross_entropy,
            "ground_dense",
            (*LABELS, "smoothed", "weighted_smoothed_ignored", "probability"),
        ),
    )
)
