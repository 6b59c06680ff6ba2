"""A plan is what was asked for, completely, in a fixed order, and says what it leaves out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import main
from harness.discovery import Selection, discover
from harness.environment import absent_devices
from harness.errors import UsageError
from harness.filters import filter_predicate, keyword_predicate
from harness.pairs import covering
from harness.plan import Block
from harness.sweep import ARTEFACTS, Sweep, needed_bytes, planned
from harness.trial import DTYPES, Case, Trial, parse_trial

LOSSGAUGE = Path(sys.executable).with_name("lossgauge")


@pytest.fixture(scope="module")
def suites():
    return discover(Selection(suites=("cross_entropy",))).suites


@pytest.fixture(scope="module")
def quick(suites):
    return planned(Sweep(devices=("cpu",)), suites)


@pytest.fixture(scope="module")
def family(suites):
    return suites["cross_entropy"]


WORDS = st.text("abcXYZ019_.+-", min_size=1, max_size=8)
CASES = st.builds(
    Case,
    WORDS,
    WORDS,
    WORDS,
    st.sampled_from(DTYPES),
    st.sampled_from(["cpu", "cuda"]),
    *[st.integers(1, 10**6)] * 3,
)


@given(CASES, WORDS)
def test_a_trial_id_parses_back(case, name):
    trial = Trial(case, name)
    assert parse_trial(trial.id) == trial
    assert trial.id == f"{case.id}/{name}"


def test_every_planned_id_parses_back_and_stands_once(quick):
    ids = [f"{block.case.id}/{name}" for block in quick.blocks for name in block.probes]
    ids += [refusal.trial.id for refusal in quick.refusals]
    assert [parse_trial(text).id for text in ids] == ids
    assert len(set(ids)) == len(ids) == quick.expected
    assert [Block.from_json(json.loads(json.dumps(b.to_json()))) for b in quick.blocks] == list(quick.blocks)


@pytest.mark.parametrize("text", ["", "a/b/c", "s/v/r/float32-cpu-b1-c1/i", "s/v/r/float32-cpu-b1-cx-t1/i"])
def test_what_is_no_trial_id_is_told_the_form(text):
    with pytest.raises(UsageError, match="the form is suite/variant/regime/dtype-device-bB-cC-tT/impl"):
        parse_trial(text)


TRIAL = parse_trial("ce/mean/near_overflow/float16-cpu-b64-c1000-t1/naive_loop")


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        ((), True),
        (("impl=naive_loop",), True),
        (("impl=naive*",), True),
        (("implementation=native,naive_loop",), True),
        (("impl!=naive_loop",), False),
        (("impl!=native,upcast",), True),
        (("dtype=float32",), False),
        (("dtype=float16 batch=64 classes=1000 threads=1",), True),
        (("dtype=float16 classes=100",), False),
        (("classes=10*",), True),
        (("dtype=float16", "device=cuda"), False),
        (("trial=ce/*/naive_loop",), True),
        (("suite=ce variant=mean regime=near_?verflow",), True),
    ],
)
def test_filters(texts, kept):
    assert filter_predicate(texts)(TRIAL) is kept


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("", True),
        ("naive", True),
        ("NAIVE", True),
        ("native", False),
        ("not native", True),
        ("naive and not float16", False),
        ("native or float16", True),
        ("native or naive and not float16", False),
        ("(native or naive) and float16", True),
        ("not (native or naive)", False),
        ("not not naive", True),
        ("b64-c1000 and mean/near", True),
    ],
)
def test_keyword_expressions(expression, kept):
    assert keyword_predicate(expression)(TRIAL) is kept


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: filter_predicate(("dtyp=float16",)), "there is no key 'dtyp'. Did you mean 'dtype'?"),
        (lambda: filter_predicate(("naive",)), "-f 'naive': 'naive' is not key=value or key!=value; keys: s"),
        (lambda: filter_predicate(("impl=",)), "'impl=' is not key=value"),
        (lambda: keyword_predicate("naive and"), "-k 'naive and': ends where a word was expected"),
        (lambda: keyword_predicate("and naive"), "'and' stands where a word was expected"),
        (lambda: keyword_predicate("(naive"), "-k '(naive'"),
        (lambda: keyword_predicate("naive)"), "')' is left over; join words by 'and' or 'or'"),
        (lambda: keyword_predicate("naive native"), "'native' is left over"),
        (lambda: keyword_predicate("()"), "')' stands where a word was expected"),
        (lambda: keyword_predicate("(naive native)"), "an opening bracket is not closed"),
    ],
)
def test_malformed_filters_are_errors(make, sentence):
    with pytest.raises(UsageError) as raised:
        make()
    assert sentence in str(raised.value)


def asked(plan):
    """Yields every (case, implementation) of a plan, refused ones included."""
    yield from ((block.case, name) for block in plan.blocks for name in block.probes)
    yield from ((refusal.trial.case, refusal.trial.implementation) for refusal in plan.refusals)


def test_quick_asks_every_regime_and_dtype_at_the_usual_variant(quick, family):
    usual = family.shapes.usual
    accurate = {b.case for b in quick.blocks if any("accuracy" in p for p in b.probes.values())}
    for regime in family.regimes:
        batch, classes = regime.shape(usual)
        for dtype in DTYPES:
            case = Case(
                "cross_entropy", family.variants[0].name, regime.name, dtype, "cpu", batch, classes, 1
            )
            assert case in accurate
            (block,) = [b for b in quick.blocks if b.case == case]
            refused = {r.trial.implementation for r in quick.refusals if r.trial.case == case}
            eager = {i.name for i in family.implementations if not i.compiled}
            assert eager <= set(block.probes) | refused


def test_quick_covers_every_pair_of_axes_for_every_eager_implementation(quick, family):
    shapes = [family.shapes.usual, *family.shapes.covering]
    eager = next(i.name for i in family.implementations if not i.compiled)
    met = {pair for case, name in asked(quick) if name == eager for pair in pairs(case)}
    regimes = {r.name: r for r in family.regimes}
    values = [
        [("variant", v.name) for v in family.variants],
        [("regime", name) for name in regimes],
        [("dtype", dtype) for dtype in DTYPES],
        [("shape", shape) for shape in shapes],
    ]
    for first, second in combinations(values, 2):
        for one in first:
            for two in second:
                if one[0] == "regime" and two[0] == "shape":
                    two = ("shape", regimes[one[1]].shape(two[1]))
                assert frozenset((one, two)) in met, (one, two)


def pairs(case):
    facts = [
        ("variant", case.variant),
        ("regime", case.regime),
        ("dtype", case.dtype),
        ("shape", case.shape),
    ]
    return map(frozenset, combinations(facts, 2))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_a_covering_set_holds_every_pair_and_nothing_foreign(sizes):
    factors = [[(axis, value) for value in range(size)] for axis, size in enumerate(sizes)]
    rows = covering(factors)
    assert all(value in factor for row in rows for value, factor in zip(row, factors, strict=True))
    met = {pair for row in rows for pair in combinations(row, 2)}
    for first, second in combinations(factors, 2):
        assert {(a, b) for a in first for b in second} <= met
    assert covering(factors) == rows
    assert covering([*factors, []]) == []


def test_quick_compiles_at_most_forty_artefacts_and_full_says_nothing_is_missing(quick, family):
    compiled = frozenset(("cross_entropy", i.name) for i in family.implementations if i.compiled)
    assert compiled
    assert 0 < quick.artefacts(compiled) <= ARTEFACTS == 40
    assert any("covering set of" in sentence for sentence in quick.left_out)
    assert any("does not time float64" in sentence for sentence in quick.left_out)
    full = planned(
        Sweep(profile="full", devices=("cpu",), regimes=("unit_normal",), dtypes=("float32",)),
        {"cross_entropy": family},
    )
    assert full.left_out == ()
    cells = {(case.variant, case.shape) for case, _ in asked(full)}
    shapes = {family.shapes.usual, *family.shapes.covering, *family.shapes.timed}
    assert cells == {(v.name, shape) for v in family.variants for shape in shapes}


def test_where_few_artefacts_are_compiled_they_are_those_of_the_first_timed_dtype(family, monkeypatch):
    forms = [i.name for i in family.implementations if i.compiled]
    monkeypatch.setattr("harness.sweep.ARTEFACTS", len(forms))
    plan = planned(Sweep(devices=("cpu",)), {"cross_entropy": family})
    asked_of = {(b.case.dtype, b.case.shape, n) for b in plan.blocks for n in b.probes if n in forms}
    assert asked_of == {("float32", family.shapes.usual, name) for name in forms}
    assert any("compiled trials beyond" in sentence for sentence in plan.left_out)


def test_blocks_of_one_artefact_stay_together(quick):
    groups = quick.groups()
    artefacts = [{block.case.artefact for block in group} for group in groups]
    assert all(len(found) == 1 for found in artefacts)
    assert len({next(iter(found)) for found in artefacts}) == len(groups)
    asked_blocks = {block.case for block in quick.blocks if any(True for _ in block.questions())}
    assert {block.case for group in groups for block in group} == asked_blocks


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_plan_hash_is_the_same_in_every_process(quick, seed):
    done = subprocess.run(
        [LOSSGAUGE, "plan", "--suite", "cross_entropy", "--device", "cpu", "--json"],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    form = json.loads(done.stdout)
    assert form["hash"] == quick.hash
    assert form["trials"] == quick.trials
    assert form["blocks"] == [block.to_json() for block in quick.blocks]


def test_the_plan_hash_tells_plans_apart(quick, suites):
    other = planned(Sweep(devices=("cpu",), dtypes=("float32",)), suites)
    assert len({quick.hash, other.hash, planned(Sweep(devices=("cpu",), threads=(2,)), suites).hash}) == 3


def test_llm_refuses_with_a_sentence_what_memory_cannot_hold(suites, monkeypatch):
    case = Case("cross_entropy", "mean", "unit_normal", "float32", "cpu", 16, 50257, 1)
    monkeypatch.setattr("harness.sweep.available_bytes", lambda: needed_bytes(case))
    plan = planned(Sweep(profile="llm", devices=("cpu",), dtypes=("float32",)), suites)
    refused = {r.trial.case.shape for r in plan.refusals if "are available" in r.reason}
    assert refused == {(16, 128256), (16, 256000), *((1024, c) for c in (32000, 50257, 128256, 256000))}
    assert {block.case.shape for block in plan.blocks} == {(16, 32000), (16, 50257)}
    sentence = next(r for r in plan.refusals if r.trial.case.shape == (1024, 256000)).reason
    assert sentence.startswith("needs about ")
    assert sentence.endswith("lower --batch or --classes")
    assert "at batch 1024 x 256000 classes" in sentence
    assert {r.status for r in plan.refusals if r.reason == sentence} == {"skipped"}


def test_devices_that_are_not_there_are_stated(suites):
    missing = absent_devices()
    assert missing, "this test needs a machine that lacks at least one kind of device"
    everything = planned(Sweep(dtypes=("float32",), regimes=("unit_normal",)), suites)
    assert {a.value: a.reason for a in everything.absent} == missing
    device = next(iter(missing))
    both = planned(Sweep(devices=("cpu", device), dtypes=("float32",)), suites)
    assert [a.value for a in both.absent] == [device]
    assert {block.case.device for block in both.blocks} == {"cpu"}


def test_asking_only_for_an_absent_device_ends_with_2_and_its_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    device, reason = next(iter(absent_devices().items()))
    assert main(["run", "--suite", "cross_entropy", "--device", device]) == 2
    assert f"device {device}: {reason}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sweep", "sentence"),
    [
        (Sweep(dtypes=("flot32",)), "--dtype flot32: there is no dtype 'flot32'. Did you mean 'float32'?"),
        (Sweep(regimes=("unit_norml",)), "Did you mean 'unit_normal'?"),
        (
            Sweep(variants=("weigted",)),
            "--variant weigted: there is no variant 'weigted'. Did you mean 'weigh",
        ),
        (Sweep(devices=("gpu",)), "--device gpu: there is no device 'gpu'. "),
        (Sweep(probes=("acuracy",)), "Did you mean 'accuracy'? Allowed: compilation, accuracy, "),
        (Sweep(profile="quik"), "--profile quik: there is no profile 'quik'. Did you mean 'quick'?"),
        (Sweep(batches=(0,)), "--batch 0: must be 1 or more."),
        (Sweep(classes=(-3,)), "--classes -3: must be 1 or more."),
        (Sweep(excludes=({"implementaton": "x"},)), "Did you mean 'implementation'?"),
    ],
)
def test_unknown_axis_values_suggest(sweep, sentence, suites):
    with pytest.raises(UsageError) as raised:
        planned(sweep, suites)
    assert sentence in str(raised.value)


def test_given_axes_replace_the_profile_and_excludes_leave_out(suites):
    sweep = Sweep(
        devices=("cpu",),
        dtypes=("float32", "float64"),
        batches=(5,),
        classes=(4, 6),
        threads=(2,),
        regimes=("unit_normal",),
        variants=("mean",),
        excludes=({"impl": ["naive_loop"], "classes": 6},),
    )
    plan = planned(sweep, suites)
    assert {(c.batch, c.classes, c.threads) for c, _ in asked(plan)} == {(5, 4, 2), (5, 6, 2)}
    assert {c.dtype for c, _ in asked(plan)} == {"float32", "float64"}
    assert {c.classes for c, name in asked(plan) if name == "naive_loop"} == {4}
