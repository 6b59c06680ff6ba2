"""What is known to be wrong with the negative log-likelihood as torch and others compute it on the CPU."""

from __future__ import annotations

from harness import Known, Shape

STRIDES = Known(
    "raises",
    probe="protocol",
    variant="images*",
    group=("transposed inputs", "channels_last inputs"),
    reason="the backward over images makes its gradient in the strides of the input and then refuses them",
    upstream="pytorch#175084",
)
SUM_IN_16_BIT = Known(
    ("inaccurate", "spurious_overflow"),
    probe=("accuracy", "overflow"),
    dtype=("bfloat16", "float16"),
    group=("loss", "log_probabilities/target", "ladder rows*"),
    reason="the sum of the losses and that of the weights are 16-bit numbers before they are divided",
    upstream="pytorch#85791",
    up_to=16,
)
ZERO_TIMES_INFINITY = Known(
    "spurious_nan",
    probe="accuracy",
    variant="zero_weights",
    regime=("forbidden_label", "infinite_label"),
    reason="a class weight of 0 times an infinite loss is NaN",
    upstream="pytorch#104776",
    shown_at=Shape(64, 10),
)
ONE_HOT_PRODUCT = Known(
    ("spurious_nan", "nan_leak"),
    probe="accuracy",
    regime=("masked", "forbidden_label", "infinite_label", "poisoned*"),
    reason="the zeros of a one-hot label do not cut an infinity or a NaN out of a sum: 0 * inf is NaN",
)
NEGATIVE_LABEL = Known(
    "accepts_invalid",
    probe="invalid_input",
    group="label_negative",
    reason="row[-1] is the last class to Python's indexing",
)
NATIVE = (STRIDES, SUM_IN_16_BIT, ZERO_TIMES_INFINITY)
NATIVE_2D = (STRIDES,)
UPCAST = (STRIDES, ZERO_TIMES_INFINITY)
# Native without its reduction: the sums are ours, in float32.
CHUNKED = (STRIDES, SUM_IN_16_BIT, ZERO_TIMES_INFINITY)
GATHER = (SUM_IN_16_BIT,)
LOOP = (NEGATIVE_LABEL, ZERO_TIMES_INFINITY)
ONE_HOT = (SUM_IN_16_BIT, ZERO_TIMES_INFINITY, ONE_HOT_PRODUCT)
