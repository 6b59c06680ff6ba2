"""A change in any function of an oracle changes what is hashed, whatever module the function stands in."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.oracle.closed_form import ClosedForm
from harness.oracle.in_pairs import StatedPairs
from harness.sources import ORACLE_PARTS, PAIR_PARTS, source_hash


def per_row(p, t):
    return (p - t).abs().mean(1)


def normal(shape, finfo, generator):
    return Sample(p=torch.randn(shape, generator=generator, dtype=torch.float64))


def hash_with(oracle):
    item = Implementation(torch.nn.functional.l1_loss, name="l1")
    return source_hash(Suite("f", oracle, (item,), (Regime(normal),), (Variant("mean"),)), item)


@pytest.mark.parametrize(("parts", "declared"), [(ORACLE_PARTS, ClosedForm), (PAIR_PARTS, StatedPairs)])
def test_the_parts_are_all_functions_of_a_closed_form(parts, declared):
    assert set(parts) == {f.name for f in fields(declared) if "Callable" in str(f.type)}


def test_every_function_of_a_closed_form_is_part_of_the_source_hash():
    form = ClosedForm(*[per_row] * 5, terms=per_row, pairs=StatedPairs(per_row, per_row))
    plain = hash_with(form)
    # `partial` stands for a function in a module that nothing else here comes from.
    for part in ORACLE_PARTS:
        assert hash_with(replace(form, **{part: partial})) != plain, part
    for part in PAIR_PARTS:
        assert hash_with(replace(form, pairs=replace(form.pairs, **{part: partial}))) != plain, part
