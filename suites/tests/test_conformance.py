"""Every suite that ships conforms, whatever departs is said, and one file in a folder is a suite."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness import Blind, Contract, Example, Identity, Known, Regime, Sample
from harness.block import OpenBlock
from harness.conformance import departures
from harness.discovery import Selection, discover
from harness.probes.registry import ask
from harness.sweep import Sweep, planned
from suites.l1 import SUITE as ABSOLUTE
from suites.margin_ranking import SUITE as RANKING

SUITES = dict(discover(Selection(known_bad=True)).suites)


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_that_ships_conforms(name):
    assert departures(SUITES[name]) == []


def changed(name, **declared):
    """Returns the suite with one implementation declared otherwise."""
    return replace(
        ABSOLUTE,
        implementations=tuple(
            replace(item, **declared) if item.name == name else item for item in ABSOLUTE.implementations
        ),
    )


def told(suite):
    return "\n".join(departures(suite))


def random_every_time(shape, finfo, generator):
    """Drawn from nobody's generator."""
    both = [torch.randn(shape, dtype=torch.float64) for _ in range(2)]
    return Sample(layout="elements", prediction=both[0], target=both[1])


def one_number(shape, finfo, generator):
    """The same number whatever the seed."""
    both = [torch.full(shape, value, dtype=torch.float64) for value in (1.0, 3.0)]
    return Sample(layout="elements", prediction=both[0], target=both[1])


CONTROL = next(item.name for item in ABSOLUTE.implementations if item.control)
MISNAMED = [
    (changed("native", known=(Known("innaccurate", "x"),)), "Known(kind=...) names 'innaccurate'"),
    (changed("native", known=(Known("raises", "x", regime="wild*"),)), "Known(regime=...) names 'wild*'"),
    (changed("native", known=(Known("raises", "x", probe="ladder"),)), "Known(probe=...) names 'ladder'"),
    (changed("native", known=(Known("raises", "x", group="ladder up"),)), "names 'ladder up'"),
    (changed("native", known=(Known("identity", "x", probe="identity", group="odd"),)), "names 'odd'"),
    (changed("native", contract=Contract(dtypes=("half",))), "Contract(dtypes=...) names 'half'"),
    (changed("native", contract=Contract(except_regimes=("worst",))), "except_regimes=...) names 'worst'"),
    (replace(ABSOLUTE, blind=(Blind("x", regime="dark"),)), "Blind(regime=...) names 'dark'"),
    (
        replace(ABSOLUTE, examples=(Example("mean", {}, 0.0, source="a", divergent={"nativ": "x"}),)),
        "Example('a', divergent=...) names 'nativ'",
    ),
    (
        replace(ABSOLUTE, identities=(replace(ABSOLUTE.identities[0], regime="nowhere"),)),
        "regime=...) names 'nowhere'",
    ),
]


@pytest.mark.parametrize(("suite", "words"), MISNAMED, ids=[words for _, words in MISNAMED])
def test_a_name_that_nothing_has_is_said(suite, words, monkeypatch):
    # Names are read off the declarations; nothing needs to be asked for that.
    for part in ("_reached", "_drawn", "_clean", "_held", "_excused"):
        monkeypatch.setattr(f"harness.conformance.{part}", lambda *_: ())
    assert words in told(suite)


def test_what_a_suite_does_not_say_is_said(monkeypatch):
    controls = tuple(item for item in ABSOLUTE.implementations if item.control)
    bare = replace(
        ABSOLUTE,
        formula="",
        examples=(),
        identities=(),
        implementations=tuple(
            replace(item, baseline=False) for item in ABSOLUTE.implementations if item not in controls[1:]
        ),
    )
    monkeypatch.setattr("harness.conformance._drawn", lambda *_: ())
    words = told(bare)
    for sentence in (
        "formula is empty",
        "no implementation is the baseline",
        f"1 clean controls ({CONTROL})",
        "no worked example",
    ):
        assert sentence in words


def test_a_variant_that_nobody_takes_and_an_implementation_that_is_never_asked_are_said():
    closed = changed("native_module", contract=Contract(dtypes=()))
    assert "implementation native_module is never asked" in told(closed)


def test_a_draw_that_is_no_function_of_the_seed_is_said():
    home = ABSOLUTE.regimes[0].name
    found = told(replace(ABSOLUTE, regimes=(Regime(random_every_time, name=home), *ABSOLUTE.regimes[1:])))
    assert f"regime {home}: drawn twice from one seed, the bits differ" in found
    found = told(replace(ABSOLUTE, regimes=(Regime(one_number, name=home), *ABSOLUTE.regimes[1:])))
    assert f"regime {home}: two seeds give the same bits" in found


def test_an_oracle_that_is_not_finite_where_its_inputs_are_is_said():
    def holed(terms):
        losses = ABSOLUTE.oracle.rows(terms)
        return torch.where(losses == losses.max(), torch.nan, losses)

    found = told(replace(ABSOLUTE, oracle=replace(ABSOLUTE.oracle, rows=holed)))
    assert "the truth is not finite in the first regime" in found
    assert "the truth is NaN in a row whose inputs are finite" in found


def test_a_clean_control_that_is_not_clean_is_said():
    found = told(changed(CONTROL, function=lambda prediction, target, **options: (prediction - target).sum()))
    assert f"clean control {CONTROL} has the finding" in found
    assert f"clean control {CONTROL} breaks" in found


def test_an_identity_that_nobody_takes_is_said():
    def left(evaluate, sample):
        return evaluate(*sample.tensors, no_such_option=1)

    usual, home = ABSOLUTE.variants[0].name, ABSOLUTE.regimes[0].name
    lost = Identity("lost", left, left, usual, home)
    suite = replace(ABSOLUTE, options={**ABSOLUTE.options, "no_such_option": 0}, identities=(lost,))
    assert "identity lost is taken by no implementation in float32" in told(suite)


def excusing(monkeypatch, suite, *blind):
    """Returns what is said about the Blind entries alone."""
    for part in ("_reached", "_drawn", "_clean", "_held"):
        monkeypatch.setattr(f"harness.conformance.{part}", lambda *_: ())
    return [line for line in departures(replace(suite, blind=blind)) if line.startswith("Blind(")]


KINKS = RANKING.blind[0]


def test_a_blind_entry_that_excuses_nothing_is_said(monkeypatch):
    idle = Blind("nothing to see", check="loss", regime=KINKS.regime)
    misspelt = replace(KINKS, reason="of another check", check="gradients of*")
    hidden = replace(KINKS, reason="behind another")
    (said,) = excusing(monkeypatch, RANKING, KINKS, idle)
    assert said == (
        "Blind('nothing to see') excuses no check of the quick plan, nor of the full one; remove it or "
        "narrow its scope"
    )
    assert "'of another check'" in "".join(excusing(monkeypatch, RANKING, KINKS, misspelt))
    assert "'behind another'" in "".join(excusing(monkeypatch, RANKING, KINKS, hidden))


def test_a_blind_entry_that_excuses_something_or_that_nothing_was_asked_of_is_not(monkeypatch):
    elsewhere = replace(KINKS, reason="never asked", dtype="float8")
    assert excusing(monkeypatch, RANKING, KINKS) == []
    found = excusing(monkeypatch, RANKING, KINKS, elsewhere)
    assert [line for line in found if "excuses" in line] == []
    # What the quick plan alone does not need is looked for in the full one.
    monkeypatch.setattr("harness.conformance.SEEDS_OF_QUICK", 0)
    assert excusing(monkeypatch, RANKING, KINKS) == []


ONE_FILE = '''
import torch
import torch.nn.functional as F

from harness import Identity, Implementation, Regime, Sample, Suite


def ordinary(shape, finfo, generator):
    """Ordinary numbers."""
    x = torch.randn(shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    return Sample(x=x)


def log_cosh(x):
    return (x.abs() + F.softplus(-2 * x.abs()) - torch.log(torch.tensor(2.0, dtype=x.dtype))).mean(1)


def right(x, reduction="mean"):
    """Does not overflow."""
    rows = log_cosh(x)
    return rows if reduction == "none" else rows.mean()


def wrong(x, reduction="mean"):
    """Is off by the logarithm of 2."""
    return right(x, reduction) + 0.6931


def mirrored(evaluate, sample):
    return evaluate(-sample["x"])


def plain(evaluate, sample):
    return evaluate(sample["x"])


SUITE = Suite(
    name="log_cosh_in_a_folder",
    formula="log cosh x",
    oracle=log_cosh,
    regimes=[Regime(ordinary)],
    implementations=[Implementation(right, baseline=True), Implementation(wrong)],
    identities=[Identity("even", plain, mirrored, "mean", "ordinary")],
)
'''


def test_one_new_file_is_swept_with_no_change_elsewhere(tmp_path):
    path = tmp_path / "log_cosh.py"
    path.write_text(ONE_FILE, encoding="utf-8")
    (suite,) = discover(Selection(suites=(str(path),))).suites.values()
    plan = planned(Sweep(devices=("cpu",), dtypes=("float32",)), {suite.name: suite})
    kinds: dict[str, set[str]] = {}
    probes: set[str] = set()
    for block in plan.blocks:
        opened = OpenBlock(suite, block.case, 0)
        for probe, name in block.questions():
            if probe in ("accuracy", "determinism", "identity"):
                answer = ask(probe, opened, name)
                assert answer.status == "ok", answer.reason
                probes.add(probe)
                serious = {finding.kind for finding in answer.findings if finding.severity == "error"}
                kinds.setdefault(name, set()).update(serious)
    assert probes == {"accuracy", "determinism", "identity"}
    assert kinds["right"] == set()
    assert "inaccurate" in kinds["wrong"]
    # What it owes to be believed is told to whoever asks.
    words = told(suite)
    assert "0 clean controls" in words
    assert "no worked example" in words
