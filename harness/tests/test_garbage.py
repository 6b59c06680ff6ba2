"""16-bit slopes that nobody computed are told however small they are; rounding in the dtype is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness import Implementation
from harness.block import OpenBlock
from harness.garbage import garbage, rounded, sharpened
from harness.judge import judge
from harness.probes.protocol.probe import protocol
from harness.sample import Shape
from harness.standard import standard
from harness.trial import Case
from suites.cross_entropy import SUITE as CROSS_ENTROPY
from suites.kl_div import SUITE as KL_DIV
from suites.multilabel_soft_margin import SUITE as MULTILABEL

SIXTEEN = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
BLOCK = 1024


def first_block_alone(gradient):
    """Returns what a kernel that writes whole blocks of columns leaves: the last ones at zero."""
    found = gradient.clone()
    if found.shape[1] > BLOCK:
        found[:, found.shape[1] // BLOCK * BLOCK :] = 0
    return found


def planted(suite):
    native = suite.baseline.function

    def first_block(first, *others, **options):
        first = first.clone()
        if first.requires_grad:
            first.register_hook(first_block_alone)
        return native(first, *others, **options)

    return suite.extended(Implementation(first_block, name="first_block"))


def opened(suite, dtype):
    usual = suite.shapes.usual
    case = Case(suite.name, suite.variants[0].name, suite.regimes[0].name, dtype, "cpu", *usual, 1)
    return OpenBlock(suite, case, 0)


def wide(block):
    """Returns the standard of three rows of 1031 classes."""
    return standard(block.suite, *block.drawn_at(Shape(3, 1031)), block.case.dtype, {})


@SIXTEEN
@pytest.mark.parametrize("suite", [MULTILABEL, KL_DIV, CROSS_ENTROPY], ids=lambda suite: suite.name)
def test_columns_that_a_kernel_forgot_are_told_in_16_bits(suite, dtype):
    block = opened(planted(suite), dtype)
    told = [f for f in protocol(block, "first_block").findings if f.group == "a prime number of classes"]
    assert {(f.kind, f.severity) for f in told} == {("edge_shape", "error")}
    assert "returned as 0" in told[0].message
    usual = suite.baseline.name
    assert not [f for f in protocol(block, usual).findings if f.group == "a prime number of classes"]


@SIXTEEN
def test_the_error_bound_alone_does_not_see_them(dtype):
    stand = wide(opened(MULTILABEL, dtype))
    (stick,) = stand.gradients.values()
    zeros = np.zeros_like(stick.truth)
    assert not [d for d in judge(stick, zeros).defects if d.severity == "error"]
    (defect,) = garbage(stick, zeros)
    assert defect.kind == "dead_gradient"
    assert defect.count > 0.9 * stick.truth.size


@SIXTEEN
def test_what_rounding_in_the_dtype_does_is_no_garbage(dtype):
    stand = wide(opened(MULTILABEL, dtype))
    (stick,) = stand.gradients.values()
    for share in (0.99, 1.01):
        assert garbage(stick, stick.truth * share) == ()


@SIXTEEN
def test_single_entries_are_an_inaccuracy(dtype):
    stand = wide(opened(MULTILABEL, dtype))
    (stick,) = stand.gradients.values()
    got = stick.truth.copy()
    got.reshape(-1)[:3] = 0
    assert garbage(stick, got) == ()
    got.reshape(-1)[:40] = 0
    (defect,) = garbage(stick, got)
    # One of them is next to nothing.
    assert defect.count in (39, 40)


def test_a_rounding_of_nothing_keeps_the_error_bound():
    stand = opened(CROSS_ENTROPY, "bfloat16").standard("native")
    (stick,) = stand.gradients.values()
    nothing = replace(
        stick, truth=np.zeros_like(stick.truth), strict=stick.spacing, sensitivity=np.zeros_like(stick.truth)
    )
    np.testing.assert_array_equal(sharpened(nothing).error, nothing.error)
    assert garbage(nothing, np.full_like(stick.truth, 2.0**-12)) == ()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wider_formats_keep_their_yardstick(dtype):
    (stick,) = wide(opened(MULTILABEL, dtype)).gradients.values()
    assert sharpened(stick) is stick
    assert garbage(stick, np.zeros_like(stick.truth)) == ()


@SIXTEEN
def test_few_entries_that_are_wrong_by_their_size_are_no_rounding(dtype):
    (stick,) = opened(CROSS_ENTROPY, dtype).standard("native").gradients.values()
    largest = int(np.argmax(np.abs(stick.truth)))
    for share, excused in ((1.1, True), (-1.0, False)):
        got = stick.truth.copy()
        got.reshape(-1)[largest] *= share
        (defect,) = judge(stick, got).defects
        assert defect.severity == "error"
        assert rounded(stick, defect) is excused
