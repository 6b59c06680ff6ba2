"""What oracle and judging take is not counted against an implementation's time, and has an end of its own."""

from __future__ import annotations

import tempfile
import time

import pytest
import torch

from harness.block import OpenBlock
from harness.discovery import Selection, discover
from harness.engines import ORACLE_FACTOR, Limits
from harness.ledger import Ledger
from harness.probes.accuracy import accuracy
from harness.runner import Order, Runner
from harness.sweep import Sweep, planned
from harness.trial import Case
from harness.turns import SIZE, Turns
from suites.cross_entropy import SUITE

SLOW = """\
import time
import torch
from harness import Implementation, Regime, Sample, Suite

def per_row(p, t):
    if len(p) == 4:
        time.sleep(SECONDS)
    return (p - t).abs().mean(1)

def right(p, t): return (p - t).abs().mean()

def again(p, t): return (p - t).abs().mean()

def hangs(p, t):
    time.sleep(600.0)

def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)

SUITE = Suite(name="slow", oracle=per_row, regimes=(Regime(normal),),
              implementations=(Implementation(right), Implementation(again), Implementation(hangs)))
"""


@pytest.fixture
def turns():
    with tempfile.TemporaryFile("w+b") as shared:
        shared.truncate(SIZE)
        both = Turns(shared.fileno()), Turns(shared.fileno())
    yield both
    for each in both:
        each.close()


def test_the_driver_reads_what_the_worker_notes(turns):
    worker, driver = turns
    assert driver.taken(time.monotonic()) == (0.0, 0.0)
    worker.begin()
    now = time.monotonic()
    taken, present = driver.taken(now + 5)
    assert 5 <= taken == present < 6
    worker.end()
    taken, present = driver.taken(now + 100)
    assert present == 0
    assert 0 < taken < 1
    # What ends without having begun adds nothing.
    worker.end()
    assert driver.taken(now) == (taken, 0.0)
    worker.restart()
    assert driver.taken(now) == (0.0, 0.0)


def test_only_oracle_and_judging_are_turns_of_the_harness(turns):
    worker, driver = turns
    ledger = Ledger(worker)

    def present():
        return driver.taken(time.monotonic())[1] > 0

    with ledger.spending("implementation"):
        assert not present()
    with ledger.spending("oracle"):
        time.sleep(0.001)
        assert present()
        with ledger.spending("judging"):
            assert present()
        with ledger.spending("implementation"):
            assert not present()
        time.sleep(0.001)
        assert present()
    assert not present()
    with pytest.raises(ValueError, match="no truth"), ledger.spending("oracle"):
        raise ValueError("no truth")
    assert not present()


def test_the_accuracy_probe_books_oracle_and_judging_as_their_own(turns):
    ledger = Ledger(turns[0])
    block = OpenBlock(
        SUITE, Case(SUITE.name, "mean", "unit_normal", "float32", "cpu", 512, 100, 1), 0, ledger
    )
    start = time.monotonic()
    accuracy(block, "native")
    wall, (own, _) = time.monotonic() - start, turns[1].taken(time.monotonic())
    booked = ledger.taken()
    assert own == pytest.approx(booked["oracle"] + booked["judging"], abs=0.2 * wall)
    # What is left to the implementation's account beside its own seconds is little.
    assert wall - own - booked["implementation"] < 0.3 * wall


def driven(folder, seconds, limits, *names):
    (folder / "slow.py").write_text(SLOW.replace("SECONDS", str(seconds)), encoding="utf-8")
    selection = Selection(suites=(str(folder / "slow.py"),), implementations=names)
    discovered = discover(selection)
    sweep = Sweep(
        dtypes=("float32",),
        devices=("cpu",),
        batches=(4, 5),
        classes=(3,),
        probes=("accuracy",),
    )
    order = Order(folder, selection, workers=1, limits=limits)
    plan = planned(sweep, discovered.suites)
    results = Runner(plan, discovered, order, torch.__version__, lambda *words: None).results()
    return {(r.trial.implementation, r.trial.case.batch): r for r in results}


def test_a_slow_oracle_is_no_hang_of_an_implementation_and_a_hang_still_is_one(tmp_path):
    # It is called several times, so that all of it takes longer than the limit of an implementation.
    found = driven(tmp_path, 1.0, Limits(2.0), "right", "hangs")
    assert (found["right", 4].status, found["right", 5].status) == ("ok", "ok"), found
    assert found["right", 4].spent_seconds > 2
    hangs = found["hangs", 4]
    assert (hangs.status, hangs.reason) == ("timed_out", "no answer within 2 s during accuracy")


def test_an_oracle_that_never_ends_costs_its_question_and_blames_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.engines.ORACLE_FACTOR", 1.0)
    found = driven(tmp_path, 600.0, Limits(3.0, oracle_seconds=2.0), "right", "again")
    words = "oracle or judging took more than their 3 s (1 x --timeout, at least 2 s) during accuracy"
    late = [found["right", 4], found["again", 4]]
    assert [(result.status, result.reason) for result in late] == [("timed_out", words)] * 2
    assert [found["right", 5].status, found["again", 5].status] == ["ok", "ok"]


def test_the_oracle_has_ten_times_the_limit_and_ten_minutes_at_least():
    assert Limits(60.0).longest_turn == Limits(1.0).longest_turn == 600.0
    assert Limits(120.0).longest_turn == 1200.0
    assert ORACLE_FACTOR == 10.0
