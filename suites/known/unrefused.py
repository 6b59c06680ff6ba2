"""What losses answer although it is no input: labels that nobody looks at, columns broadcast against labels.

torch documents the labels of these families and checks none of them; most forms here do as torch does. The
trap: which of the entries a form needs is measured, since a product with a label refuses a shape that a
choice by the label broadcasts.
"""

from __future__ import annotations

from harness import Known

PROBE = "invalid_input"

ANY_SIGN = Known(
    "accepts_invalid",
    probe=PROBE,
    group=("label_zero", "label_nan"),
    reason="labels are documented as 1 and -1 and not looked at: another one is paid as a branch happens to",
)
ANY_SHARE = Known(
    "accepts_invalid",
    probe=PROBE,
    group=("label_minus_one", "label_255"),
    reason="targets are documented as between 0 and 1 and not looked at: beyond, the loss has no lower bound",
)
BROADCAST = Known(
    "accepts_invalid",
    probe=PROBE,
    group=("*_flat", "*_in_a_column"),
    reason="a column (N, 1) beside N numbers is broadcast to N x N pairs, of which N belong together",
)
INTEGERS_ROUNDED = Known(
    "accepts_invalid",
    probe=PROBE,
    group="integers_of_8_bits",
    reason="the loss is given in the dtype of the inputs: 200 in int8 is -56",
)
INTEGERS_SUBTRACTED = Known(
    "accepts_invalid",
    probe=PROBE,
    variant=("sum", "none"),
    group="integers_of_8_bits",
    reason="100 - (-100) in int8 is -56; torch refuses the mean of integers, not their differences",
)
INTEGERS_SQUARED = Known(
    "accepts_invalid",
    probe=PROBE,
    group="integers_of_8_bits",
    reason="100 - (-100) in int8 is -56 and its square 64, whose root is a float that has a mean",
)
