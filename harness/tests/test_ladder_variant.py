"""A ladder that names a variant is climbed under its options, by whom they concern, beside the usual ladders.

Each fault is planted where distributions and many rows meet, which no other ladder asks. Samples of such a
ladder are what its variant takes already, so nothing adapts them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import Contract, Implementation
from harness.block import OpenBlock
from harness.errors import SuiteError
from harness.probes.overflow import overflow
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.implementations.cross_entropy import mean_of_rows

SOFT = next(ladder for ladder in SUITE.ladders if ladder.name == "rows_soft")
LABELS = Contract(mean_denominator="rows", variants=("mean", "weighted"))
DISTRIBUTIONS = Contract(mean_denominator="rows", variants=("mean", "probability", "weighted_probability"))


def climbed(function, *, contract=DISTRIBUTIONS, variant="mean", ladders=(SOFT,)):
    planted = Implementation(function, name="planted", contract=contract)
    family = replace(SUITE.extended(planted), ladders=ladders, exhaustive=())
    case = Case(family.name, variant, family.regimes[0].name, "float32", "cpu", 64, 10, 1)
    answer = overflow(OpenBlock(family, case, 0), "planted")
    assert answer.status == "ok", answer.reason
    return answer


def loses_a_row(logits, target, weight=None):
    """A hundredth too large for distributions over 4,096 rows and more."""
    loss = mean_of_rows(logits, target, weight)
    return 1.01 * loss if target.is_floating_point() and len(logits) >= 4096 else loss


def test_a_fault_of_distributions_in_many_rows_is_found_where_it_begins():
    answer = climbed(loses_a_row)
    assert answer.numbers["first_failing_rows_soft"] == 4096
    (found,) = answer.findings
    assert (found.kind, found.group) == ("inaccurate", "ladder rows_soft")


def test_no_other_ladder_finds_it():
    others = tuple(ladder for ladder in SUITE.ladders if ladder.name.startswith("rows") and ladder != SOFT)
    assert len(others) == 2
    answer = climbed(loses_a_row, ladders=others)
    assert (dict(answer.numbers), answer.findings) == ({}, ())


def test_who_is_right_has_no_number():
    answer = climbed(lambda logits, target, weight=None: mean_of_rows(logits, target, weight))
    assert (dict(answer.numbers), answer.findings) == ({}, ())


@pytest.mark.parametrize(
    ("contract", "variant", "asked"),
    [
        (DISTRIBUTIONS, "mean", True),
        (DISTRIBUTIONS, "probability", True),
        (DISTRIBUTIONS, "weighted_probability", False),
        (LABELS, "mean", False),
    ],
)
def test_it_is_climbed_beside_the_usual_ladders_or_its_own_by_who_takes_its_variant(contract, variant, asked):
    seen = []

    def planted(logits, target, weight=None):
        seen.append(target.is_floating_point())
        return mean_of_rows(logits, target, weight)

    climbed(planted, contract=contract, variant=variant)
    assert bool(seen) is asked
    assert all(seen)


def test_the_options_are_those_of_its_variant():
    weighted = replace(SOFT, variant="weighted_probability")
    right = climbed(lambda x, y, weight=None: mean_of_rows(x, y, weight), ladders=(weighted,))
    assert right.findings == ()
    forgetful = climbed(lambda x, y, weight=None: mean_of_rows(x, y), ladders=(weighted,))
    assert forgetful.numbers["first_failing_rows_soft"] == 2


def test_a_variant_that_the_suite_does_not_have_is_refused():
    with pytest.raises(SuiteError, match=r"Ladder\('rows_soft', variant='probabilty'\).*probability"):
        replace(SUITE, ladders=(replace(SOFT, variant="probabilty"),))
