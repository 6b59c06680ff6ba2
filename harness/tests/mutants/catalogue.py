"""Every planted fault: where it happened, which kinds of findings name it, which probe has to see it.

Rows m1 to m27 are faults of released code, c1 to c4 ways to cheat; a row may be planted more than
once. The trap: `kinds` are those that say what is wrong; that an implementation is also found
inaccurate somewhere does not count as having understood it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness import Contract, Implementation
from harness.tests.mutants import correct, formulas, gradients, layouts, reductions, state

LABELS = ("mean", "sum", "none", "weighted", "ignore_index", "images")
UNWEIGHTED = ("mean", "sum", "none", "ignore_index", "images")
PLAIN = ("mean", "sum", "none", "images")
UP_TO_FLOAT32 = ("float32", "bfloat16", "float16")
HALF = ("bfloat16", "float16")

SPURIOUS = ("spurious_nan", "spurious_overflow")
WRONG = ("inaccurate", "dead_gradient")


@dataclass(frozen=True)
class Mutant:
    """One planted fault: expected is a kind of `kinds` by a probe of `probes`.

    `row` is its row in the list of real bugs, `source` where it happened, `fault` one sentence,
    `right` where the implementation is right all the same.
    """

    row: str
    name: str
    function: Callable[..., Any]
    contract: Contract
    source: str
    kinds: tuple[str, ...]
    probes: tuple[str, ...]
    fault: str
    right: str

    @property
    def implementation(self) -> Implementation:
        """The plug-in, named by row and fault."""
        return Implementation(self.function, name=self.name, contract=self.contract)


@dataclass(frozen=True)
class Waiting:
    """A row that lands with another loss family."""

    row: str
    family: str
    source: str
    fault: str


def _mutant(
    row: str,
    function: Callable[..., Any],
    *,
    name: str,
    source: str,
    kinds: tuple[str, ...],
    probes: tuple[str, ...],
    fault: str,
    right: str,
    variants: tuple[str, ...] = LABELS,
    dtypes: tuple[str, ...] | None = None,
    **definition: object,
) -> Mutant:
    contract = Contract(variants=variants, dtypes=dtypes, **definition)  # type: ignore[arg-type]
    named = f"{row}_{name}"
    return Mutant(row, named, function, contract, source, kinds, probes, fault, right)


MUTANTS: tuple[Mutant, ...] = (
    _mutant(
        "m1",
        gradients.stored_probability,
        name="stored_probability",
        source="Liger-Kernel#1268",
        kinds=WRONG,
        probes=("accuracy",),
        fault="the target entry is p_y - 1 with p_y as stored in the logits' dtype",
        right="unit normal logits",
    ),
    _mutant(
        "m2",
        layouts.lost_buffer,
        name="lost_buffer",
        source="liger-kernel 0.6.3 to 0.8.5",
        kinds=("layout",),
        probes=("protocol",),
        fault="the gradient is written to a contiguous copy of the buffer that is returned",
        right="contiguous logits",
    ),
    _mutant(
        "m3",
        reductions.first_upstream,
        name="first_upstream",
        source="Liger-Kernel#678",
        kinds=("upstream", "inaccurate"),
        probes=("protocol", "accuracy"),
        fault="the upstream gradient is read as a scalar",
        right="one upstream gradient for all rows",
    ),
    _mutant(
        "m4",
        reductions.reduces_none,
        name="reduces_none",
        source="Liger-Kernel#421",
        kinds=("shape",),
        probes=("accuracy",),
        fault="reduction none returns a scalar",
        right="mean and sum",
    ),
    _mutant(
        "m5",
        layouts.in_place,
        name="in_place",
        source="Liger-Kernel#272",
        kinds=("overwrites",),
        probes=("accuracy", "protocol"),
        fault="the gradient is written into the logits' storage",
        right="logits that nobody reads afterwards",
        # Images are folded: what is written to is their copy.
        variants=("mean", "sum", "none", "weighted", "ignore_index"),
    ),
    _mutant(
        "m6",
        state.scaled_twice,
        name="scaled_twice",
        source="quack#209",
        kinds=("second_backward",),
        probes=("protocol",),
        fault="backward scales the saved gradient in place",
        right="the first backward of a graph",
    ),
    _mutant(
        "m7",
        reductions.mean_only,
        name="mean_only",
        source="TransformerEngine#1879",
        kinds=WRONG,
        probes=("accuracy",),
        fault="the gradient is divided by the number of rows whatever the reduction",
        right="reduction mean",
    ),
    _mutant(
        "m8",
        reductions.dense_upstream,
        name="dense_upstream",
        source="TransformerEngine#2402",
        kinds=("upstream", "layout"),
        probes=("protocol",),
        fault="the upstream gradient is read as if it were contiguous",
        right="a contiguous upstream gradient",
    ),
    _mutant(
        "m9",
        reductions.counts_ignored,
        name="counts_ignored",
        source="ROCm/TransformerEngine#336",
        kinds=("inaccurate", "nan_swallowed"),
        probes=("accuracy",),
        fault="the mean divides by all rows instead of those that count",
        right="no ignored row",
        variants=UNWEIGHTED,
    ),
    _mutant(
        "m10",
        gradients.filtered,
        name="filtered",
        source="ml-cross-entropy#14",
        kinds=("dead_gradient",),
        probes=("accuracy",),
        fault="blocks of 128 x 128 gradient entries below 2^-12 are dropped",
        right="an uncertain row in every block",
    ),
    _mutant(
        "m11",
        layouts.aligned_labels,
        name="aligned_labels",
        source="flash-attention bedf8774",
        kinds=("layout",),
        probes=("protocol",),
        fault="labels are read from the 16-byte boundary below their address",
        right="labels at the start of their storage",
    ),
    _mutant(
        "m12",
        reductions.smooths_ignored,
        name="smooths_ignored",
        source="pytorch#73205",
        kinds=("inaccurate", "nan_swallowed"),
        probes=("accuracy",),
        fault="the smoothing term is summed over ignored rows, too",
        right="smoothing without ignored rows, ignored rows without smoothing",
        variants=(*LABELS, "smoothed", "weighted_smoothed_ignored", "probability"),
    ),
    _mutant(
        "m13",
        reductions.times_zero,
        name="times_zero",
        source="cosmos-rl#155",
        kinds=("spurious_nan", "nan_leak"),
        probes=("accuracy", "overflow"),
        fault="with every row ignored the declared 0 is logits.sum() * 0",
        right="all rows ignored, logits of which the sum is finite",
        empty_mean="zero",
    ),
    _mutant(
        "m14",
        reductions.narrow_sum,
        name="narrow_sum",
        source="pytorch#85791",
        kinds=("inaccurate", "dead_gradient", *SPURIOUS),
        probes=("overflow",),
        fault="loss sum and row count are stored in float16 before the division",
        right="a few thousand rows",
    ),
    _mutant(
        "m17",
        reductions.masked_after,
        name="masked_after",
        source="pytorch#121416, pytorch#11551",
        kinds=("nan_leak", "spurious_nan"),
        probes=("accuracy", "protocol"),
        fault="ignored rows are masked out after the loss, so their NaN reaches the gradient",
        right="finite logits in ignored rows",
        variants=UNWEIGHTED,
    ),
    _mutant(
        "m18",
        gradients.unshifted,
        name="unshifted",
        source="Liger-Kernel, flash-attention",
        kinds=("inaccurate",),
        probes=("accuracy",),
        fault="the loss is logsumexp(x) - x_t, which cancels under a common offset",
        right="unit normal logits",
    ),
    _mutant(
        "m19",
        reductions.stored_rows,
        name="stored_rows",
        source="Liger-Kernel",
        kinds=("rounded_twice",),
        probes=("spread",),
        fault="row losses are stored in 16 bits before the mean",
        right="one row, or losses that 16 bits hold",
        dtypes=HALF,
    ),
    _mutant(
        "m20",
        gradients.lost_mass,
        name="lost_mass",
        source="NeMo#2428",
        kinds=WRONG,
        probes=("accuracy",),
        fault="backward is p - q where forward kept the sum of q",
        right="targets that sum to one",
        variants=("mean", "sum", "none", "ignore_index", "smoothed", "probability"),
    ),
    _mutant(
        "m22",
        formulas.half_clamp,
        name="half_clamp",
        source="GLiNER2#155",
        kinds=("spurious_nan",),
        probes=("accuracy",),
        fault="clamp(max=1 - 1e-6) in 16 bits clamps nothing",
        right="labels of probability below 7/8",
        variants=PLAIN,
        dtypes=HALF,
    ),
    _mutant(
        "m23",
        formulas.without_shift,
        name="without_shift",
        source="tt-forge#3405",
        kinds=SPURIOUS,
        probes=("overflow",),
        fault="log(sum(exp(x))) - x_t, exponentials unshifted",
        right="unit normal logits",
        variants=PLAIN,
    ),
    _mutant(
        "m23",
        formulas.softmax_then_log,
        name="softmax_then_log",
        source="many tutorials",
        kinds=SPURIOUS,
        probes=("overflow",),
        fault="-log(softmax(x)_t), the probability underflows",
        right="unit normal logits",
        variants=PLAIN,
    ),
    _mutant(
        "m23",
        formulas.epsilon_in_log,
        name="epsilon_in_log",
        source="many tutorials",
        kinds=WRONG,
        probes=("overflow",),
        fault="-log(softmax(x)_t + 1e-12) saturates at 27.6 with a dead gradient",
        right="unit normal logits",
        variants=PLAIN,
        dtypes=UP_TO_FLOAT32,
    ),
    _mutant(
        "m26",
        formulas.double_softmax,
        name="double_softmax",
        source="many tutorials",
        kinds=("inaccurate",),
        probes=("accuracy",),
        fault="softmax is applied twice",
        right="the loss of equal logits",
    ),
    _mutant(
        "m27",
        reductions.varying_order,
        name="varying_order",
        source="any kernel with atomic adds",
        kinds=("nondeterministic",),
        probes=("determinism",),
        fault="losses are accumulated in another order each time",
        right="the value, within its bound",
    ),
    _mutant(
        "c1",
        gradients.zero,
        name="zero",
        source="cheat",
        kinds=WRONG,
        probes=("accuracy",),
        fault="loss and gradient are 0",
        right="one class",
    ),
    _mutant(
        "c1",
        gradients.untrained,
        name="untrained",
        source="cheat",
        kinds=WRONG,
        probes=("accuracy",),
        fault="loss and gradient of equal logits, whatever the logits",
        right="equal logits",
    ),
    _mutant(
        "c2",
        state.by_address,
        name="by_address",
        source="cheat",
        kinds=("stale_result", "wrong_while_timed"),
        probes=("protocol", "timing"),
        fault="answers are kept by address",
        right="storage that was not seen before",
    ),
    _mutant(
        "c2",
        state.by_shape,
        name="by_shape",
        source="cheat",
        kinds=("stale_result", "wrong_while_timed", "inaccurate"),
        probes=("protocol", "timing", "accuracy"),
        fault="answers are kept by shape",
        right="the first batch of a shape",
    ),
    _mutant(
        "c3",
        layouts.zeroes_inputs,
        name="zeroes_inputs",
        source="cheat",
        kinds=("overwrites",),
        probes=("accuracy", "protocol"),
        fault="the inputs are set to 0, so that a truth made from them later agrees",
        right="logits of 0",
    ),
    _mutant(
        "c3",
        gradients.recycled,
        name="recycled",
        source="cheat",
        kinds=(*WRONG, *SPURIOUS),
        probes=("accuracy",),
        fault="fresh memory is returned in the hope that the checker's answer lies there",
        right="memory in which the answer lies",
    ),
    _mutant(
        "c4",
        state.tires_of_it,
        name="tires_of_it",
        source="cheat",
        kinds=("wrong_while_timed",),
        probes=("timing",),
        fault="no work after 256 calls of a shape of 2048 entries or more",
        right="small inputs, and the first 256 calls of a shape",
    ),
    _mutant(
        "c4",
        state.while_collector_runs,
        name="while_collector_runs",
        source="cheat",
        kinds=("wrong_while_timed",),
        probes=("timing",),
        fault="no work while the garbage collector is off",
        right="the garbage collector on",
    ),
)

WAITING: tuple[Waiting, ...] = (
    Waiting("m15", "Kullback-Leibler", "pytorch#89558", "t log t without the case t = 0"),
    Waiting("m16", "binary cross-entropy", "pytorch#103316", "log clamped at -100 after a saturated sigmoid"),
    Waiting("m21", "Huber", "attorch#13", "signed threshold: a residual below -delta is taken as small"),
    Waiting("m24", "cosine embedding", "pytorch#69512", "1e-12 under a square root is 0 in float16"),
    Waiting("m25", "triplet", "tensorflow#30199", "square root at distance zero"),
    Waiting("m26", "binary cross-entropy", "many tutorials", "logits where probabilities are expected"),
    Waiting(
        "m26", "Kullback-Leibler", "many tutorials", "probabilities where log-probabilities are expected"
    ),
)

CONTROLS: tuple[Implementation, ...] = (
    Implementation(
        correct.rowwise_cross_entropy,
        name="ground_rowwise",
        control=True,
        contract=Contract(variants=LABELS),
    ),
    Implementation(
        correct.fused_cross_entropy, name="ground_fused", control=True, contract=Contract(variants=LABELS)
    ),
    Implementation(
        correct.dense_cross_entropy,
        name="ground_dense",
        control=True,
        contract=Contract(variants=(*LABELS, "smoothed", "weighted_smoothed_ignored", "probability")),
    ),
)
