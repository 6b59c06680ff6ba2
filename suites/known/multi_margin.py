"""What is known to be wrong with multi-class margin losses as torch and others compute them on the CPU.

The trap: which entries 16 bits round wrongly changes with the seed, that they do does not, so one entry
holds every face of one cause.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from harness.sample import Shape

WRONG = ("inaccurate", "dead_gradient", "spurious_overflow")
SWALLOWED = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned",
    reason="a NaN is not above 0, so the kernel takes its class for one that is far enough",
)
MARGIN_FIRST = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    regime=("offset", "near_overflow", "wide", "near_margin", "confident*"),
    reason="margin - x_t is rounded before x_k is added, so large scores lose the margin",
    up_to=Known.ANY_SIZE,
)
UNINITIALISED = Known(
    "edge_shape",
    probe="protocol",
    group="zero rows",
    reason="for an empty batch the kernel returns memory that it never wrote, where the mean is 0/0, NaN",
    up_to=Known.ANY_SIZE,
)
SEQUENTIAL_CLASSES = Known(
    ("inaccurate", "edge_shape"),
    group=("ladder classes", "a prime number of classes", "scores/target", "loss"),
    reason="the classes of a row are added up one by one in the dtype of the scores, or in float32",
    up_to=8,
)
SEQUENTIAL_ROWS = Known(
    "inaccurate",
    probe="overflow",
    dtype="float64",
    group="ladder rows",
    reason="the rows of a batch are added up one by one in float64, which for float64 is nothing wider",
)
RELU = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned",
    reason="the backward of relu sends the gradient of a NaN on as if it were positive",
)
CLAMP = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned",
    reason="the backward of clamp stops the gradient of a NaN",
)
# Elsewhere 16 bits lose the margin first.
ROUNDED = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe="accuracy",
    regime=("unit_normal", "masked", "near_overflow", "infinite", "poisoned"),
    dtype=("bfloat16", "float16"),
    shown_at=Shape(256, 1000),
    reason="margin - x_t + x_k is rounded to 16 bits twice, and so is the sum over the classes",
)
# There the hinges are exact in 16 bits, and the squares of classes that are far enough are not.
ROUNDED_INSIDE = replace(ROUNDED, regime=(*ROUNDED.regime, "eighths", "ties"))
ROUNDED_AT_EDGES = Known(
    "edge_shape",
    probe="protocol",
    dtype=("bfloat16", "float16"),
    group="a prime number of *",
    reason="margin - x_t + x_k is rounded to 16 bits twice, and a hinge next to its kink loses its slope",
    up_to=64,
)
CLASS_SUM = Known(
    "spurious_overflow",
    probe="overflow",
    dtype="float16",
    group="ladder classes",
    reason="the sum over the classes is a float16 number before it is divided by them",
)
# The ladders of a compiled form share one artefact for all shapes. Measured with torch 2.13.0.
INTEGER_POWER = Known(
    "raises",
    probe="overflow",
    dtype="float32",
    group="ladder *",
    torch="<2.14",
    reason="under torch.compile(dynamic=True) the integer p is a symbol, which the backward of pow compares "
    'with 0: an internal assertion, "NYI SymInt equality"',
    upstream="pytorch#185715",
)
NATIVE = (SWALLOWED, MARGIN_FIRST, UNINITIALISED, SEQUENTIAL_CLASSES, SEQUENTIAL_ROWS)
TEXTBOOK = (RELU, MARGIN_FIRST, CLASS_SUM, ROUNDED, ROUNDED_AT_EDGES)
# Asked at few shapes, where the seed decides whether 16 bits or an offset show it.
ANYHOW = replace(MARGIN_FIRST, kind=WRONG)
LOOP = (CLAMP, ANYHOW)
INSIDE = (RELU, MARGIN_FIRST, CLASS_SUM, ROUNDED_INSIDE, ROUNDED_AT_EDGES)
UPCAST = (SWALLOWED, MARGIN_FIRST, UNINITIALISED, SEQUENTIAL_CLASSES)
COMPILED = (RELU, MARGIN_FIRST, INTEGER_POWER)
