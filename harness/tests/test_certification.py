"""Certification accepts the oracles as they are and refuses each of the faults that it exists for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from harness.cli import certify
from harness.oracle import certification, pair, softmax, softmax_pair
from harness.oracle.certification import certificates
from harness.oracle.pair import lifted, minus
from harness.sample import Shape
from suites.cross_entropy import SUITE
from suites.oracles import cross_entropy

SHAPES = (Shape(6, 7), Shape(3, 2))
VARIANTS = ("mean", "weighted_smoothed_ignored", "probability")
REGIMES = ("unit_normal", "confident", "confident_wrong", "masked", "near_overflow")
SMALL = replace(
    SUITE,
    variants=tuple(v for v in SUITE.variants if v.name in VARIANTS),
    regimes=tuple(r for r in SUITE.regimes if r.name in REGIMES),
    examples=(),
    identities=(),
)


def certified(suite=SMALL, **more):
    """Returns the certificates of a small family, in float64 and float32."""
    given = {"share": 1.0, "shapes": SHAPES, "dtypes": ("float64", "float32"), **more}
    return {c.tier: c for c in certificates([suite], **given)}


def test_both_tiers_of_cross_entropy_keep_what_they_state():
    found = certified()
    assert set(found) == {"B0", "B1"}
    for certificate in found.values():
        assert certificate.misses == ()
        assert 0 < certificate.worst < 1
        # 3 variants x 5 regimes x (6 + 3) rows x 2 dtypes.
        assert certificate.rows == 270
        assert certificate.entries > 1800
    assert found["B1"].rounding < found["B0"].rounding * 2.0**-10


def test_the_bound_is_the_number_that_the_judge_grants():
    found = certified(dtypes=("float64",), shapes=(Shape(3, 2),))
    assert found["B0"].rounding == SMALL.oracle.rounding("B0") == 8 * 2.0**-53
    assert found["B1"].rounding == SMALL.oracle.rounding("B1") == 2.0**-64


def test_a_bound_stated_too_small_is_missed():
    suite = replace(SMALL, oracle=replace(SMALL.oracle, roundoffs=0.01, pair_rounding=2.0**-75))
    found = certified(suite, dtypes=("float64",))
    assert found["B0"].misses
    assert found["B1"].misses


def test_a_gradient_by_subtraction_is_refused_in_b0(monkeypatch):
    def subtracted(t):
        q = (
            torch.zeros_like(t.softmax.shifted).scatter_(1, t.column, t.coefficient)
            if t.dense is None
            else t.dense
        )
        return {"logits": q.sum(1, keepdim=True) * t.softmax.probabilities - q}

    suite = replace(SMALL, oracle=replace(SMALL.oracle, gradient=subtracted, pairs=None))
    missed = {(m.cell.split()[1], m.tensor) for m in certified(suite)["B0"].misses}
    assert ("confident", "logits") in missed


def test_log_of_one_plus_the_sum_is_refused_in_b0(monkeypatch):
    monkeypatch.setattr(softmax.torch, "log1p", lambda s: torch.log(1 + s))
    suite = replace(SMALL, oracle=replace(SMALL.oracle, pairs=None))
    missed = {(m.cell.split()[1], m.tensor) for m in certified(suite)["B0"].misses}
    assert ("confident", "loss") in missed


def test_an_extraction_anchored_at_the_maximum_is_refused_in_b1(monkeypatch):
    plain = pair.order_free_sum

    def anchored_at_one(values, tails=None, **known):
        one = torch.ones(len(values), 1, dtype=torch.float64)
        tailed = None if tails is None else torch.cat([0 * one, tails], 1)
        return minus(plain(torch.cat([one, values], 1), tailed), lifted(one))

    monkeypatch.setattr(softmax_pair, "order_free_sum", anchored_at_one)
    found = certified()
    assert found["B0"].misses == ()
    assert "confident" in {m.cell.split()[1] for m in found["B1"].misses}


@pytest.mark.parametrize("lost", ["tail of the difference", "tail of the exponential", "tail of the table"])
def test_a_low_part_that_gets_lost_is_refused_in_b1(monkeypatch, lost):
    if lost == "tail of the difference":
        monkeypatch.setattr(softmax_pair, "difference", lambda x, top, bottom: lifted(x - top))
    elif lost == "tail of the exponential":
        plain = softmax_pair.exponential
        monkeypatch.setattr(softmax_pair, "exponential", lambda a, **known: lifted(sum(plain(a, **known))))
    else:
        kept = pair.table()
        monkeypatch.setattr(pair, "table", lambda: kept._replace(low=0 * kept.low))
    found = certified()
    assert found["B0"].misses == ()
    assert found["B1"].misses


def test_a_rule_of_the_extended_reals_that_is_broken_is_refused(monkeypatch):
    real = cross_entropy.row_losses

    def swallowed(t):
        return torch.where(real(t).isinf(), 0.0, real(t))

    suite = replace(SMALL, oracle=replace(SMALL.oracle, rows=swallowed, pairs=None))
    misses = [m for m in certified(suite)["B0"].misses if m.tensor == "loss"]
    assert {m.cell.split()[:2][0] for m in misses} == {"weighted_smoothed_ignored"}
    assert all(math.isinf(m.excess) for m in misses)


def test_draws_are_a_function_of_the_seed():
    small = {"shapes": (Shape(6, 7),), "dtypes": ("float32",), "share": 0.1}
    assert certified(**small, seed=3)["B0"] == certified(**small, seed=3)["B0"]
    assert certified(**small, seed=3)["B0"].worst != certified(**small, seed=4)["B0"].worst
    # A tenth of six rows is less than the least of two.
    assert certified(**small)["B0"].rows == 2 * len(VARIANTS) * len(REGIMES)


def test_a_suite_without_exact_is_listed_as_uncertified():
    form = replace(SMALL.oracle, exact=None)
    (bare,) = certificates([replace(SMALL, oracle=form)])
    assert (bare.tier, bare.rows) == (None, 0)
    assert "declares no `exact`" in bare.reason

    def reference(logits, target):
        return logits.sum(1)

    (other,) = certificates([replace(SMALL, oracle=reference)])
    assert other.reason == "reference is no closed form"


def test_the_command_prints_a_table_and_exits_by_what_it_found(monkeypatch):
    monkeypatch.setattr(certification, "SHAPES", (Shape(3, 2),))
    whole = certification.certificates

    def small(suites, **more):
        return whole([SMALL], **{**more, "shapes": (Shape(3, 2),), "dtypes": ("float64",)})

    monkeypatch.setattr(certification, "certificates", small)
    good = CliRunner().invoke(certify.main, ["--suite", "cross_entropy"])
    assert good.exit_code == 0, good.output
    assert "cross_entropy" in good.output
    assert " B1 " in good.output
    faulty = replace(SMALL, oracle=replace(SMALL.oracle, roundoffs=1e-3))
    monkeypatch.setattr(certification, "certificates", lambda s, **m: whole([faulty], shapes=(Shape(3, 2),)))
    bad = CliRunner().invoke(certify.main, [])
    assert bad.exit_code == 1
    assert "missed: cross_entropy B0" in bad.output
    unknown = CliRunner().invoke(certify.main, ["--suite", "nothing"])
    assert unknown.exit_code == 1
    assert "nothing" in unknown.output


def test_an_entry_of_another_class_is_outside_of_every_bound():
    from flint import arb

    over = certification.share_of_bound
    assert over(1.0, 0.0, arb("nan"), 1e9, 0.0) == math.inf
    assert over(math.nan, 0.0, arb("nan"), 0.0, 0.0) == 0.0
    assert over(-math.inf, 0.0, arb("+inf"), 1e9, 0.0) == math.inf
    assert over(math.nan, 0.0, arb(1), 1e9, 0.0) == math.inf
    assert over(1.0 + 2.0**-52, 0.0, arb(1), math.nan, 0.0) == math.inf
    assert over(1.0, 2.0**-70, arb(1), 2.0**-70, 0.0) == 1.0
