"""What the divergence suite finds: nothing wrong with the clean controls, and every known truth.

Blocks are opened in process, without workers. A control that has a finding means that the harness
accuses falsely; a known defect or a taught mistake that goes unseen means that it is blind.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission, bind
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.climb import Climb
from harness.probes.overflow import overflow
from harness.pytest_examples import example_call
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites.examples.kl_div import ONE_HOT
from suites.implementations.kl_div import exact_gradient
from suites.kl_div import ONE_CLASS, SUITE

SEEDS = range(5)
CONTROLS = [item for item in SUITE.implementations if item.control]
MISTAKES = [item for item in SUITE.implementations if item.known_bad]
REGIMES = [regime.name for regime in SUITE.regimes]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def case_of(variant="batchmean", regime="independent", dtype="float32", batch=64, classes=10):
    shape = SUITE.regime(regime).shape(Shape(batch, classes))
    return Case(SUITE.name, variant, regime, dtype, "cpu", shape.batch, shape.classes, 1)


def opened(*, seed=0, **axes):
    return OpenBlock(SUITE, case_of(**axes), seed)


def serious(answer):
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


def test_the_suite_has_clean_controls_in_every_dtype():
    asked = {
        (control.name, dtype)
        for control in CONTROLS
        for dtype in DTYPES
        if admission(SUITE, control, case_of(dtype=dtype)) is None
    }
    assert {dtype for _, dtype in asked} == set(DTYPES)
    assert len({name for name, _ in asked}) == 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("batch", "classes"), [(64, 10), (7, 3)])
def test_clean_controls_have_no_finding_above_note(seed, batch, classes):
    accused, admitted = [], 0
    for regime in REGIMES:
        for variant in SUITE.variants:
            for dtype in DTYPES:
                case = case_of(variant.name, regime, dtype, batch, classes)
                block = OpenBlock(SUITE, case, seed)
                for control in CONTROLS:
                    if admission(SUITE, control, case) is not None:
                        continue
                    answer, admitted = accuracy(block, control.name), admitted + 1
                    if answer.status != "ok" or serious(answer):
                        accused.append((case.id, control.name, answer.reason, serious(answer)))
    assert accused == []
    assert admitted >= 35 * len(REGIMES)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda item: item.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_clean_controls_climb_every_ladder_to_its_top_or_are_not_asked_of_their_own_dtype(control, dtype):
    refused = admission(SUITE, control, case_of(dtype=dtype))
    if (control.name, dtype) == ("float64_control", "float64"):
        # It computes in float64 and rounds once: in float64 it would be the form that it controls.
        words = "its contract declares dtype in {float32, bfloat16, float16}"
        assert refused == ("unsupported", words)
        return
    assert refused is None
    answer = overflow(opened(dtype=dtype), control.name)
    assert (answer.status, answer.findings) == ("ok", ())
    # What is left are the numbers of values that a sweep over 16 bits asked.
    assert {column for column in answer.numbers if not column.endswith("_inputs")} == set()


def rungs_skipped(skip):
    """The rungs of a ladder of rows or classes at which a skip ends the climb."""
    return [
        (ladder.name, dtype, value)
        for ladder in SUITE.ladders
        for dtype in DTYPES
        for value in ladder.rungs(torch.finfo(getattr(torch, dtype)))
        if ladder.counts and skip(ladder.shape(value, Shape(1, 1)))
    ]


def test_the_skip_of_one_class_ends_no_ladder_of_the_form_with_an_epsilon():
    skip = SUITE.implementation("epsilon_inside").skip
    assert skip(ONE_CLASS)
    assert rungs_skipped(skip) == []
    # Of every shape of one class it would end the ladder of rows at its first rung.
    wider = rungs_skipped(lambda shape: skip(ONE_CLASS) if shape.classes == 1 else None)
    assert {("rows", dtype, 2.0) for dtype in DTYPES} <= set(wider)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_form_with_an_epsilon_climbs_to_the_top_of_its_ladders_of_rows_and_classes(dtype, monkeypatch):
    climbed, ask = {}, Climb._asked

    def asked(climb, value):
        climbed.setdefault(climb._ladder.name, []).append(value)
        return ask(climb, value)

    monkeypatch.setattr(Climb, "_asked", asked)
    answer = overflow(opened(dtype=dtype), "epsilon_inside")
    assert answer.status == "ok", answer.reason
    assert max(climbed["classes"]) == 1 << 16
    assert max(climbed["rows"]) == 1 << 17


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda item: item.name)
def test_every_mistake_is_an_error_somewhere_and_says_what_to_write(mistake):
    found = set()
    for variant in mistake.contract.variants:
        for regime in ("independent", "zeros"):
            answer = accuracy(opened(variant=variant, regime=regime, dtype="float64"), mistake.name)
            found |= {f.kind for f in answer.findings if f.severity == "error"}
    assert found
    assert len(mistake.known_bad) > 40


@pytest.mark.parametrize(
    "mistake", ["probabilities_for_logarithms", "arguments_swapped", "mean_for_batchmean"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_another_number_is_found_in_every_dtype(mistake, dtype):
    assert "loss" in {group for _, group in serious(accuracy(opened(dtype=dtype), mistake))}


class _MassDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x.double().softmax(1) - t.double())
        ctx.dtype = x.dtype
        return F.kl_div(x.double().log_softmax(1), t.double(), reduction="batchmean").to(x.dtype)

    @staticmethod
    def backward(ctx, upstream):
        (slope,) = ctx.saved_tensors
        return (slope * upstream / len(slope)).to(ctx.dtype), None


def mass_dropped(log_probabilities, target, from_logits=False):
    """softmax - t for the gradient of logits: right only where the targets sum to one."""
    return _MassDropped.apply(log_probabilities, target)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_backward_that_drops_the_mass_of_the_target_is_an_error(dtype, seed):
    suite = SUITE.extended(Implementation(mass_dropped))
    case = case_of(variant="from_logits", regime="unnormalised", dtype=dtype)
    findings = accuracy(OpenBlock(suite, case, seed), "mass_dropped").findings
    assert {(f.kind, f.severity) for f in findings if f.group.startswith("log_")} >= {("inaccurate", "error")}
    assert not any(f.group == "loss" for f in findings)


def test_where_after_the_logarithm_has_the_right_loss_and_no_gradient():
    answer = accuracy(opened(variant="both_gradients", regime="zeros"), "where_after_the_logarithm")
    groups = {group.split("/")[0] for kind, group in serious(answer) if kind == "spurious_nan"}
    assert groups == {"target"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_is_nan_where_both_are_masked(dtype):
    # Catalogue row 20.
    assert ("spurious_nan", "loss") in serious(accuracy(opened(regime="masked", dtype=dtype), "native"))
    assert ("spurious_nan", "loss") not in serious(
        accuracy(opened(regime="masked", dtype=dtype), "double_where")
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_target_gradient_of_native_is_nan_at_zero_while_its_loss_is_right(dtype):
    # Catalogue row 21.
    found = serious(accuracy(opened(variant="both_gradients", regime="zeros", dtype=dtype), "native"))
    assert {group.split("/")[0] for kind, group in found if kind == "spurious_nan"} == {"target"}


@pytest.mark.parametrize("regime", ["zeros", "masked"])
def test_a_log_target_of_minus_infinity_is_nan_in_native(regime):
    # Catalogue row 22.
    found = serious(accuracy(opened(variant="log_target", regime=regime), "native"))
    assert ("spurious_nan", "loss") in found
    assert any(group.startswith("target/") for kind, group in found if kind == "spurious_nan")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_native_loses_a_small_divergence_in_16_bits_and_upcast_does_not(dtype, seed):
    # Catalogue row 23. Which distance shows it in float16 depends on the rows.
    close = [opened(regime=name, dtype=dtype, seed=seed) for name in ("near", "nearer", "equal")]
    found = set().union(*(serious(accuracy(block, "native")) for block in close))
    assert {group for _, group in found} == {"loss"}
    assert all(serious(accuracy(block, "upcast")) == set() for block in close)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bfloat16_gradient_of_logits_loses_its_bits_near_the_target(seed):
    # Catalogue row 19: p - t from log-probabilities that are stored in 16 bits.
    near = {"variant": "from_logits", "regime": "near_logits", "dtype": "bfloat16", "classes": 1001}
    block = opened(**near, seed=seed)
    wrong, right = accuracy(block, "native"), accuracy(block, "upcast")
    assert any(group.startswith("log_probabilities/") for _, group in serious(wrong))
    assert wrong.numbers["gradient_relative_error"] > 0.3
    assert right.numbers["gradient_relative_error"] < 0.01


def test_the_float16_batchmean_of_native_overflows_by_its_sum_and_no_other_dtype_does():
    value = overflow(opened(dtype="float16"), "native").numbers["first_failing_rows"]
    assert 30_000 < value < 131_072
    for dtype in ("float64", "float32", "bfloat16"):
        assert "first_failing_rows" not in overflow(opened(dtype=dtype), "native").numbers


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_climbs_the_scale_ladder_to_its_top(dtype):
    assert "first_failing_scale" not in overflow(opened(dtype=dtype), "native").numbers


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_native_is_right_on_independent_distributions(dtype, seed):
    assert accuracy(opened(dtype=dtype, seed=seed), "native").findings == ()


def test_every_example_is_asked_of_native_or_of_the_form_with_an_epsilon_and_holds():
    for example in SUITE.examples:
        name = "epsilon_inside" if example.options.get("epsilon") else "native"
        item, (tensors, options) = SUITE.implementation(name), example_call(example, SUITE)
        given = {**SUITE.variant(example.variant).options, **example.options}
        got = float(bind(item, options, given).loss(tensors))
        assert example.holds(got), (example.source, got)
        # The next printed digit away is refused.
        allowed = 0.5 * 10.0**-example.digits if example.tolerance is None else example.tolerance
        assert not example.holds(got + 2.1 * allowed)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        *((name, -1.2000000) for name in ("native", "native_module", "naive_loop", "xlogy", "double_where")),
        *((name, -1.2000000) for name in ("upcast", "float64_control", "exact_gradient")),
        ("epsilon_inside", -1.1999700),
        ("textbook", math.nan),
    ],
)
def test_targets_of_exactly_zero_give_the_float32_number_of_tutorial_a(name, printed):
    tensors = [torch.tensor(values) for values in ONE_HOT.values()]
    options = {**SUITE.options, "reduction": "sum"}
    got = float(bind(SUITE.implementation(name), options, {"reduction": "sum"}).loss(tuple(tensors)))
    # float32 has steps of 1.2e-7 there.
    assert got == pytest.approx(printed, abs=2e-7, nan_ok=True)


def test_regimes_draw_distributions_and_keep_zeros_and_masks_together():
    for regime in REGIMES:
        sample, _ = draw(case_of(regime=regime, dtype="float64"), SUITE, seed=0)
        x, t = sample.tensors
        broken = (x + t).isnan().any(1)
        assert broken.any() == regime.startswith("nan_"), regime
        x, t = x[~broken], t[~broken]
        one = torch.allclose(t.sum(1), torch.ones(len(t), dtype=torch.float64), atol=1e-12)
        assert one == (regime != "unnormalised"), regime
        if regime not in ("unnormalised", "near_logits", "near_overflow"):
            assert x.logsumexp(1).abs().max() < 1e-9, regime
        # Only where a class of mass is excluded is the divergence infinite.
        assert ((x == -torch.inf) <= (t == 0)).all() == (regime != "excluded"), regime
    zeros, masked = (
        draw(case_of(regime=name, dtype="float64"), SUITE, seed=0)[0] for name in ("zeros", "masked")
    )
    assert (zeros["target"] == 0).any(1).all()
    assert zeros["log_probabilities"].isfinite().all()
    assert ((masked["log_probabilities"] == -torch.inf) == (masked["target"] == 0)).all()


@pytest.mark.parametrize("variant", ["batchmean", "mean", "sum", "none", "log_target"])
def test_native_and_its_module_call_torch_by_its_own_name_of_the_reduction(variant):
    sample, options = draw(case_of(variant=variant, dtype="float64"), SUITE, seed=0)
    given = SUITE.variant(variant).options
    direct = F.kl_div(*sample.tensors, reduction="none", log_target=options["log_target"])
    expected = {
        "batchmean": direct.sum() / 64,
        "log_target": direct.sum() / 64,
        "mean": direct.mean(),
        "sum": direct.sum(),
        "none": direct.sum(1),
    }[variant]
    for name in ("native", "native_module", "naive_loop", "double_where", "exact_gradient"):
        got = bind(SUITE.implementation(name), options, given).loss(sample.tensors)
        assert torch.allclose(got, expected, rtol=1e-13), name


def zero_for_nan(log_probabilities, target, reduction="mean", mean_over="rows", log_target=False):
    """A NaN in either counts as 0."""
    x, t = (tensor.nan_to_num(0.0, torch.inf, -torch.inf) for tensor in (log_probabilities, target))
    return exact_gradient(x, t, reduction, mean_over, log_target)


def class_without_mass(log_probabilities, target, reduction="mean", mean_over="rows", log_target=False):
    """The row loop that keeps the classes whose target is above that of no mass, which a NaN is not."""
    counted = target > (-torch.inf if log_target else 0)
    t = torch.where(counted, target, -torch.inf if log_target else 0.0)
    return exact_gradient(log_probabilities, t, reduction, mean_over, log_target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["batchmean", "mean", "sum", "none", "log_target", "log_target_none"])
@pytest.mark.parametrize(
    ("planted", "regime"),
    [(zero_for_nan, "nan_input"), (zero_for_nan, "nan_target"), (class_without_mass, "nan_target")],
)
def test_a_nan_that_is_replaced_by_a_number_is_seen_and_one_that_stays_is_silent(
    planted, regime, variant, dtype
):
    suite = SUITE.extended(Implementation(planted))
    block = OpenBlock(suite, case_of(variant, regime, dtype), 0)
    assert ("nan_swallowed", "loss") in serious(accuracy(block, planted.__name__))
    for name in ("exact_gradient", "double_where", "naive_loop"):
        swallowed = {k for k, _ in serious(accuracy(block, name))} & {"nan_swallowed", "nan_leak"}
        assert swallowed == set()
    assert serious(accuracy(block, "exact_gradient")) == set()
    # On numbers alone the planted form is the control.
    assert serious(accuracy(OpenBlock(suite, case_of(variant, "near", dtype), 0), planted.__name__)) == set()
