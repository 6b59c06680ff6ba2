"""What the cross-entropy suite finds: nothing wrong with the clean controls, and every known truth.

Blocks are opened in process, without workers. A control that has a finding means that the harness
accuses falsely; a known defect that goes unseen means that it is blind. Both break here.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
import torch

from harness.block import OpenBlock
from harness.calling import admission
from harness.inputs import draw, draw_rung
from harness.observation import same_bits
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.memory import memory
from harness.probes.overflow import overflow
from harness.sample import Shape
from harness.trial import DTYPES, Case
from suites.cross_entropy import SUITE

SEEDS = range(5)
CONTROLS = [item for item in SUITE.implementations if item.control]
REGIMES = [regime.name for regime in SUITE.regimes]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    # Two threads on a busy machine ran operators of this size ten times slower.
    with one_thread():
        yield


def case_of(variant="mean", regime="unit_normal", dtype="float32", batch=64, classes=10):
    shape = SUITE.regime(regime).shape(Shape(batch, classes))
    return Case(SUITE.name, variant, regime, dtype, "cpu", shape.batch, shape.classes, 1)


def opened(*, seed=0, **axes):
    return OpenBlock(SUITE, case_of(**axes), seed)


@cache
def climbed(name, dtype):
    """Returns the overflow probe's answer; several truths are read off one climb."""
    answer = overflow(opened(dtype=dtype), name)
    assert answer.status == "ok", answer.reason
    return answer


def kinds(answer, severity, group=""):
    return {f.kind for f in answer.findings if f.severity == severity and f.group.endswith(group)}


def test_the_suite_has_clean_controls_in_every_dtype():
    asked = {
        (control.name, dtype)
        for control in CONTROLS
        for dtype in DTYPES
        if admission(SUITE, control, case_of(dtype=dtype)) is None
    }
    assert {dtype for _, dtype in asked} == set(DTYPES)
    assert len({name for name, _ in asked}) >= 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("batch", "classes"), [(64, 10), (7, 3)])
def test_clean_controls_have_no_finding_above_note(seed, batch, classes):
    accused, admitted = [], 0
    cells = list(product((variant.name for variant in SUITE.variants), DTYPES, REGIMES))
    # Every second cell: two seeds ask all of them.
    for variant, dtype, regime in cells[seed % 2 :: 2]:
        case = case_of(variant, regime, dtype, batch, classes)
        block = OpenBlock(SUITE, case, seed)
        for control in CONTROLS:
            if admission(SUITE, control, case) is not None:
                continue
            answer, admitted = accuracy(block, control.name), admitted + 1
            if answer.status != "ok":
                accused.append((case.id, control.name, answer.reason))
            for finding in answer.findings:
                if finding.severity != "note":
                    accused.append((case.id, control.name, finding.group, finding.message))
    assert accused == []
    assert admitted >= 30 * len(REGIMES)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (control.name, dtype)
        for control in CONTROLS
        for dtype in DTYPES
        if admission(SUITE, control, case_of(dtype=dtype)) is None
    ],
)
def test_clean_controls_climb_every_ladder_of_their_contract_to_its_top(name, dtype):
    answer = climbed(name, dtype)
    broken = {column for column in answer.numbers if column != "exhaustive_gap_inputs"}
    assert (broken, answer.findings) == (set(), ())


@pytest.mark.parametrize(
    ("dtype", "gap"), [("float64", 36.75), ("float32", 16.75), ("bfloat16", 5.75), ("float16", 7.75)]
)
def test_native_loses_its_target_gradient_from_a_known_gap_on(dtype, gap):
    answer = climbed("native", dtype)
    assert answer.numbers["first_dead_gap"] == gap
    (found,) = [f for f in answer.findings if f.group == "ladder gap"]
    assert (found.kind, found.witness["value"]) == ("dead_gradient", gap.hex())


def test_the_float16_mean_of_native_breaks_at_65520_rows_and_in_no_other_dtype():
    assert climbed("native", "float16").numbers["first_failing_rows"] == 65520
    for dtype in ("float64", "float32", "bfloat16"):
        assert "first_failing_rows" not in climbed("native", dtype).numbers


def test_the_float16_mean_of_distributions_breaks_where_the_sum_of_the_losses_overflows():
    numbers = climbed("native", "float16").numbers
    # Losses of about 9.4 each: 65520 is reached long before 65520 rows are.
    assert numbers["first_nonfinite_rows_soft"] == pytest.approx(65520 / 9.42, rel=0.01)
    assert not [column for column in numbers if column.startswith("gradient_fails_rows_soft")]
    for dtype in ("float64", "float32", "bfloat16"):
        assert "first_failing_rows_soft" not in climbed("native", dtype).numbers


@pytest.mark.parametrize("name", ["one_hot", "chunked"])
def test_slopes_of_distributions_are_lost_with_the_count_of_rows_where_float16_counts_them(name):
    assert climbed(name, "float16").numbers["gradient_fails_rows_soft"] == 65520


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mean_of_unreduced_losses_climbs_all_ladders_of_rows(dtype):
    numbers = climbed("mean_of_rows", dtype).numbers
    assert not [column for column in numbers if "_rows" in column]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ["softmax_log", "naive_loop"])
def test_unshifted_exponentials_blow_up_on_the_scale_ladder(name, dtype):
    numbers = climbed(name, dtype).numbers
    assert numbers["first_failing_scale"] <= numbers["first_nonfinite_scale"] < 89


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_climbs_the_scale_ladder_to_its_top(dtype):
    numbers = climbed("native", dtype).numbers
    assert not {"first_failing_scale", "first_nonfinite_scale"} & set(numbers)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_logsumexp_minus_the_label_is_an_error_under_an_offset(dtype, seed):
    assert "inaccurate" in kinds(
        accuracy(opened(regime="offset", dtype=dtype, seed=seed), "logsumexp_gather"), "error"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_native_is_right_on_unit_normal_float32_rows(seed):
    answer = accuracy(opened(seed=seed), "native")
    assert answer.findings == ()
    assert answer.numbers["loss_ulps"] <= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_bfloat16_gradients_of_native_are_inaccurate_off_target(seed):
    found = set()
    for regime in ("unit_normal", "wide"):
        answer = accuracy(opened(regime=regime, dtype="bfloat16", seed=seed), "native")
        found |= {(f.kind, f.group) for f in answer.findings if f.severity != "note"}
    assert ("inaccurate", "logits/off_target") in found


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_returns_dead_target_gradients_on_confident_rows(dtype):
    # Summed, because the mean over 64 rows turns float16 gradients into subnormal ones.
    answer = accuracy(opened(variant="sum", regime="confident", dtype=dtype), "native")
    groups = {f.group for f in answer.findings if f.kind == "dead_gradient"}
    assert groups == {"logits/target"}
    assert answer.numbers["gradient_dead_share"] > 0


@pytest.mark.parametrize(("name", "multiple"), [("native", 3.0), ("logsumexp_gather", 4.0)])
def test_the_peak_in_multiples_of_the_logits_is_known_and_repeats_to_the_byte(name, multiple):
    first = memory(opened(batch=256, classes=1000), name)
    assert first.status == "ok", first.reason
    assert first.numbers["peak_multiple"] == pytest.approx(multiple, abs=0.01)
    for _ in range(2):
        assert memory(opened(batch=256, classes=1000), name).numbers == first.numbers


def same(left, right):
    """Tells whether two samples hold the same bits."""
    return list(left) == list(right) and all(same_bits(left[n], right[n]) for n in left)


def stored(case, seed=0, repeat=0):
    return draw(case, SUITE, seed=seed, repeat=repeat)[0]


@pytest.mark.parametrize("regime", REGIMES)
def test_inputs_are_the_same_tensors_in_any_order_on_any_thread_count(regime):
    cases = [case_of(variant.name, regime, dtype) for variant in SUITE.variants for dtype in DTYPES]
    forwards = {case: stored(case) for case in cases}
    threads = torch.get_num_threads()
    torch.rand(3)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        backwards = {case: stored(case) for case in reversed(cases)}
    finally:
        torch.set_num_threads(threads)
    assert [case.id for case in cases if not same(forwards[case], backwards[case])] == []


@pytest.mark.parametrize("regime", REGIMES)
def test_another_seed_repeat_dtype_or_variant_gives_other_inputs(regime):
    case = case_of(regime=regime)
    first = stored(case)
    assert not same(first, stored(case, seed=1))
    assert not same(first, stored(case, repeat=1))
    assert not torch.equal(first["logits"], stored(case_of("sum", regime))["logits"])
    other = stored(case_of(regime=regime, dtype="bfloat16"))["logits"]
    assert not torch.equal(first["logits"].bfloat16(), other)


def test_another_regime_draws_other_rows_and_not_only_scaled_ones():
    narrow, wide = (
        stored(case_of(regime=name, dtype="float64"))["logits"] for name in ("unit_normal", "wide")
    )
    assert not torch.allclose(10 * narrow, wide)


def test_the_rows_of_a_ladder_depend_on_the_value_and_the_seed_alone():
    ladder = next(item for item in SUITE.ladders if item.name == "scale")
    once, again, higher = (
        draw_rung(ladder, value, case_of(), SUITE, seed=0)[0] for value in (8.0, 8.0, 16.0)
    )
    assert same(once, again)
    assert torch.equal(2 * once["logits"], higher["logits"])
    assert not same(once, draw_rung(ladder, 8.0, case_of(), SUITE, seed=1)[0])
