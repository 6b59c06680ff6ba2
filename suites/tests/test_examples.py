"""Worked examples are sharp, and somebody gives each: the baseline, or whoever takes what the text asks for.

All implementations are asked by `pytest suites/FAMILY.py`; here is one for each number, and whether an
example would notice a hundredth. The trap: an example that nobody takes, or whose tolerance is wider than
what it tells apart, passes forever.
"""

from __future__ import annotations

import contextlib

import pytest

from harness.calling import bind
from harness.discovery import Selection, discover
from harness.pytest_examples import example_call, skip_unless_taken

SUITES = discover(Selection(known_bad=True)).suites


def takers(suite, example):
    """The implementations that take an example, the baseline first; compiled ones are left to the plug-in."""
    _, options = example_call(example, suite)
    eager = [item for item in suite.implementations if not item.compiled]
    for item in sorted(eager, key=lambda item: item != suite.baseline):
        with contextlib.suppress(pytest.skip.Exception):
            skip_unless_taken(suite, item, options, example.variant, example.dtype)
            yield item


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_whoever_takes_an_example_gives_its_number_unless_said_to_diverge(suite):
    for example in suite.examples:
        item = next(takers(suite, example), None)
        assert item is not None, f"{example.source} is taken by nobody"
        tensors, options = example_call(example, suite)
        given = {**suite.variant(example.variant).options, **example.options}
        got = float(bind(item, options, given).loss(tensors))
        assert example.holds(got) is (item.name not in example.divergent), (item.name, example.source)


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_a_number_that_is_off_by_a_hundredth_is_refused(suite):
    assert suite.examples
    for example in suite.examples:
        assert example.holds(example.value)
        assert not example.holds(example.value * 1.01 if example.value else 0.01), example.source
