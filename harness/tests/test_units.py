"""Numbers become text in one place, so every spelling is a row of a table here."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from harness import units

NAN, INF = math.nan, math.inf
FUNCTIONS = (
    units.seconds,
    units.byte_count,
    units.multiple,
    units.ulp_number,
    units.ulps,
    units.count,
    units.percentage,
    units.rate,
    units.bandwidth,
    units.duration,
    units.number,
    units.significant,
    units.power_of_ten,
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("value", "text"), [(NAN, "NaN"), (INF, "+inf"), (-INF, "-inf")])
def test_nonfinite_is_a_word_everywhere(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (0.0, None, "0 s"),
        (410.3e-6, 8e-6, "410 µs"),
        (412.3e-6, 8e-6, "412 µs"),
        (412.3e-6, 80e-6, "410 µs"),
        (412.3e-6, 300e-6, "400 µs"),
        (999.7e-6, None, "1.00 ms"),
        (999.4e-6, None, "999 µs"),
        (3.2e-10, None, "0.320 ns"),
        (1.5, 0.0, "1.500 s"),
        (125.0, None, "125 s"),
        (2.5e-3, NAN, "2.50 ms"),
    ],
)
def test_seconds_keep_the_digits_that_the_noise_leaves(value, half, text):
    assert units.seconds(value, half) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (410e-6, 402e-6, 418e-6, "410 µs ±2 %"),
        (410e-6, 409.9e-6, 412e-6, "410 µs ±0.5 %"),
        (1e-3, 0.9e-3, 1.5e-3, "1.0 ms ±50 %"),
        (1e-3, None, 1.5e-3, "1.00 ms"),
        (1e-3, 0.9e-3, INF, "1.00 ms"),
        (NAN, 0.9e-3, 1.1e-3, "NaN"),
    ],
)
def test_interval_says_the_wider_half(value, low, high, text):
    assert units.interval(value, low, high) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (1048570, "1.00 MiB"),
     (300 * 2**20, "300 MiB"), (3 * 2**30, "3.00 GiB")],
)  # fmt: skip
def test_bytes(value, text):
    assert units.byte_count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (0.04, "<0.1"), (0.5, "0.5"), (9.96, "10"), (120.4, "120"), (9999.0, "9999"),
     (12345.0, "1.2×10⁴"), (3.1e7, "3.1×10⁷")],
)  # fmt: skip
def test_ulps(value, text):
    assert units.ulp_number(value) == text
    assert units.ulps(value) == f"{text} ulp"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.multiple(3), "3.00x"),
        (units.multiple(1234.5), "1,234x"),
        (units.count(24000), "24,000"),
        (units.counted(1, "case"), "1 case"),
        (units.counted(12, "case"), "12 cases"),
        (units.counted(2, "index", "indices"), "2 indices"),
        (units.percentage(0.123), "12 %"),
        (units.percentage(0.0123), "1.2 %"),
        (units.percentage(0), "0 %"),
        (units.rate(1.234e9), "1.23 G elements/s"),
        (units.rate(999.9e6), "1.00 G elements/s"),
        (units.rate(762e6, ""), "762 M"),
        (units.rate(12.0), "12.0 elements/s"),
        (units.bandwidth(9.3 * 2**30), "9.30 GiB/s"),
        (units.duration(754), "12:34"),
        (units.duration(3723.4), "1:02:03"),
        (units.number(88.7), "88.7"),
        (units.number(65520), "65500"),
        (units.number(4.1e7), "4.1×10⁷"),
        (units.number(1e-9), "1.0×10⁻⁹"),
        (units.threshold(34638.0), "34,638"),
        (units.threshold(88.72), "88.72"),
        (units.threshold(16.75), "16.75"),
        (units.threshold(1.1e38), "1.1×10³⁸"),
        (units.threshold(NAN), "NaN"),
        (units.tick(0.1), "0.1"),
        (units.tick(500), "500"),
        (units.tick(1000), "10³"),
        (units.tick(2e-5), "2×10⁻⁵"),
    ],
)
def test_spelling(text, expected):
    assert text == expected


def test_units_load_neither_torch_nor_pandas():
    code = "import sys, harness.units; sys.exit(any(m in sys.modules for m in ('torch', 'pandas', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
