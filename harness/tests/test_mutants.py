"""The harness is tested on what it must catch: every planted fault is found, no clean control is accused.

One seed, asked briefly, other families than cross-entropy first at the cases that the page names;
`nox -s mutants` asks five and writes docs/kill_matrix.md. The trap: a mutant that is wrong everywhere
proves nothing, so each is first held to being right where the tests that missed the original looked.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.block import OpenBlock
from harness.outcome import KINDS
from harness.plan import PROBES
from harness.probes.registry import ask
from harness.suite import Suite
from harness.tests.mutants import correct, grafts, matrix, state
from harness.tests.mutants.catalogue import (
    CROSS_ENTROPY,
    FAMILIES,
    MUTANTS,
    PLANTED,
    mutants_of,
    planted_suite,
)
from harness.tests.mutants.evidence import Evidence, Sighting
from harness.tests.mutants.mutant import Mutant
from harness.trial import Case

BY_NAME = {mutant.name: mutant for mutant in mutants_of(CROSS_ENTROPY)}
GENERATOR = torch.Generator().manual_seed(7)


def batch(rows: int = 8, classes: int = 5, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Unit normal logits with uniform labels."""
    logits = torch.randn(rows, classes, generator=GENERATOR, dtype=torch.float64).to(dtype)
    return logits.requires_grad_(), torch.randint(0, classes, (rows,), generator=GENERATOR)


def answers(
    function: Callable[..., Tensor],
    logits: Tensor,
    target: Tensor,
    upstream: float = 2.0,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of one call on private copies, judged for equality in float64."""
    leaf = logits.detach().clone().requires_grad_()
    loss = function(leaf, target, **options)
    (gradient,) = torch.autograd.grad(loss, leaf, torch.full_like(loss, upstream))
    return loss.detach().double(), gradient.double()


def assert_right(name: str, logits: Tensor, target: Tensor, upstream: float = 2.0, **options: object) -> None:
    ours = answers(BY_NAME[name].function, logits, target, upstream, **options)
    truth = answers(correct.dense_cross_entropy, logits, target, upstream, **options)
    close = 8 * torch.finfo(logits.dtype).eps
    for got, right in zip(ours, truth, strict=True):
        torch.testing.assert_close(got, right, rtol=close, atol=close / 8, equal_nan=True)


# Wrong in every call on purpose, or right by luck alone.
NEVER_RIGHT_ON_NORMAL_LOGITS = {
    "m26_double_softmax",
    "c1_zero",
    "c1_untrained",
    "c3_recycled",
    "c3_zeroes_inputs",
}


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - NEVER_RIGHT_ON_NORMAL_LOGITS))
def test_a_mutant_is_right_on_a_fresh_contiguous_batch_of_unit_normal_logits(name: str) -> None:
    state.BY_SHAPE.clear()
    dtypes = BY_NAME[name].contract.dtypes
    dtype = torch.bfloat16 if dtypes is not None and "float32" not in dtypes else torch.float32
    logits, target = batch(dtype=dtype)
    # The half clamp loses bits of 1 - p where p is near 1: take labels that are unlikely.
    target = logits.detach().argmin(1) if name == "m22_half_clamp" else target
    assert_right(name, logits, target)


@pytest.mark.parametrize("name", ["c1_untrained", "c3_zeroes_inputs"])
def test_mutants_that_ignore_the_logits_are_right_for_equal_ones(name: str) -> None:
    assert_right(name, torch.zeros(4, 5), torch.tensor([0, 1, 2, 3]))


def test_a_double_softmax_has_the_right_loss_for_equal_logits() -> None:
    logits, target = torch.zeros(4, 5), torch.tensor([0, 1, 2, 3])
    double = BY_NAME["m26_double_softmax"].function(logits, target)
    torch.testing.assert_close(double, correct.rowwise_cross_entropy(logits, target))


def test_zero_is_right_for_one_class() -> None:
    assert_right("c1_zero", torch.randn(4, 1, generator=GENERATOR), torch.zeros(4, dtype=torch.long))


def test_rows_to_be_ignored_and_reductions_are_right_where_the_fault_is_elsewhere() -> None:
    logits, target = batch()
    dropped = torch.where(torch.arange(8) % 4 == 3, -100, target)
    for name in ("m1_stored_probability", "m6_scaled_twice", "m17_masked_after", "m18_unshifted"):
        assert_right(name, logits, dropped)
        assert_right(name, logits, dropped, reduction="sum")
    assert_right("m3_first_upstream", logits, dropped, upstream=0.5, reduction="none")
    assert_right("m8_dense_upstream", logits, dropped, upstream=0.5, reduction="none")
    assert_right("m12_smooths_ignored", logits, target, label_smoothing=0.1)
    assert_right("m12_smooths_ignored", logits, dropped)
    # Halves and quarters sum to one exactly.
    soft = torch.tensor([[0.5, 0.25, 0.25, 0.0, 0.0]]).expand(8, 5).contiguous()
    assert_right("m20_lost_mass", logits, soft)


def test_zero_times_a_finite_sum_is_the_declared_zero() -> None:
    logits, target = batch()
    assert BY_NAME["m13_times_zero"].function(logits, torch.full_like(target, -100)) == 0


def test_an_uncertain_row_keeps_a_block_from_being_filtered() -> None:
    assert_right("m10_filtered", *batch(4, 300))


def test_labels_at_an_even_offset_are_aligned() -> None:
    logits, target = batch(9)
    assert_right("m11_aligned_labels", logits[2:], target[2:])


def test_varying_order_gives_the_value_within_its_bound_and_other_bits() -> None:
    logits, target = batch(512, 10)
    losses = {BY_NAME["m27_varying_order"].function(logits, target).item() for _ in range(8)}
    assert len(losses) > 1
    assert max(losses) - min(losses) < 1e-6


def test_caches_are_right_on_first_use_and_stale_on_the_second() -> None:
    for name in ("c2_by_address", "c2_by_shape"):
        state.BY_SHAPE.clear()
        logits, target = batch(3, 4)
        with torch.no_grad():
            first = BY_NAME[name].function(logits, target)
            assert first == correct.fused_cross_entropy(logits, target)
            logits.mul_(3.0)
            assert BY_NAME[name].function(logits, target) == first


def test_who_tires_is_right_for_its_first_calls_and_for_small_inputs() -> None:
    state.CALLS.clear()
    large, small = batch(256, 8), batch(8, 8)
    function = BY_NAME["c4_tires_of_it"].function
    for logits, target in (large, small):
        right = correct.fused_cross_entropy(logits, target)
        assert all(function(logits, target) == right for _ in range(state.RIGHT_CALLS))
    assert function(*small) == correct.fused_cross_entropy(*small)
    assert function(*large) != correct.fused_cross_entropy(*large)
    state.CALLS.clear()


def test_who_watches_the_collector_works_while_it_is_on() -> None:
    logits, target = batch()
    function = BY_NAME["c4_while_collector_runs"].function
    right = correct.fused_cross_entropy(logits, target)
    assert function(logits, target) == right
    gc.disable()
    try:
        assert function(logits, target) != right
    finally:
        gc.enable()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_catalogue_names_kinds_and_probes_that_exist(mutant: Mutant) -> None:
    assert mutant.kinds
    assert set(mutant.kinds) <= set(KINDS)
    assert set(mutant.probes) <= set(PROBES)
    assert mutant.name.startswith(f"{mutant.row}_")


def test_every_row_of_the_list_is_planted_and_every_name_is_one_mutant() -> None:
    rows = {mutant.row for mutant in MUTANTS}
    assert {row for row in rows if row[0] in "mc"} == {f"m{k}" for k in range(1, 28)} | {
        f"c{k}" for k in range(1, 5)
    }
    further = [mutant.row for mutant in MUTANTS if mutant.row[0] == "f"]
    assert further == [f"f{k}" for k in range(1, len(further) + 1)]
    assert len(PLANTED) == len(MUTANTS)


def test_every_suite_has_a_mutant() -> None:
    suites = Path(matrix.PAGE).parents[1] / "suites"
    assert set(FAMILIES) == {file.stem for file in suites.glob("*.py")} - {"__init__"}


@pytest.fixture(scope="module")
def suites() -> Callable[[str], Suite]:
    return cache(planted_suite)


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.right_at], ids=lambda mutant: mutant.name)
def test_a_mutant_of_another_family_is_clean_where_its_fault_is_not(
    mutant: Mutant, suites: Callable[[str], Suite]
) -> None:
    suite = suites(mutant.family)
    variant, regime, dtype = mutant.right_at.split("/")
    shape = suite.regime(regime).shape(suite.shapes.usual)
    case = Case(suite.name, variant, regime, dtype, "cpu", shape.batch, shape.classes, 1)
    answer = ask("accuracy", OpenBlock(suite, case, 7), mutant.name)
    assert answer.status == "ok"
    assert [finding for finding in answer.findings if finding.severity != "note"] == []


def test_an_expanded_square_is_right_against_zero() -> None:
    prediction = torch.randn(8, 5, generator=GENERATOR, requires_grad=True)
    loss = PLANTED["f15_expanded"].function(prediction, torch.zeros(8, 5))
    torch.testing.assert_close(loss, prediction.square().mean())
    torch.testing.assert_close(torch.autograd.grad(loss, prediction)[0], 2 * prediction / 40)


def test_reading_on_is_right_for_lists_that_end_with_their_labels() -> None:
    scores = torch.randn(2, 4, generator=GENERATOR)
    target = torch.tensor([[2, 0, -1, -1], [-1, -1, -1, -1]])
    found = PLANTED["f26_reads_on"].function(scores, target)
    torch.testing.assert_close(found, torch.nn.functional.multilabel_margin_loss(scores, target))


def test_an_unscaled_weight_is_right_under_an_upstream_gradient_of_one() -> None:
    hidden, weight = torch.randn(6, 3, generator=GENERATOR), torch.randn(4, 3, generator=GENERATOR)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    leaf, right = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    torch.nn.functional.cross_entropy(hidden @ right.T, target).backward()
    PLANTED["f28_unscaled_weight"].function(hidden, leaf, target).backward()
    torch.testing.assert_close(leaf.grad, right.grad)
    leaf.grad = None
    (3 * PLANTED["f28_unscaled_weight"].function(hidden, leaf, target)).backward()
    torch.testing.assert_close(leaf.grad, right.grad)


def test_skipping_between_equals_is_right_where_no_label_follows_itself() -> None:
    x = torch.randn(6, 2, 4, generator=GENERATOR).log_softmax(2)
    lengths = torch.tensor([6, 4]), torch.tensor([3, 2])
    skips, right = PLANTED["f36_skips_between_equals"].function, torch.nn.functional.ctc_loss
    apart, twice = torch.tensor([[1, 2, 1], [3, 1, 0]]), torch.tensor([[1, 1, 2], [3, 1, 0]])
    torch.testing.assert_close(skips(x, apart, *lengths), right(x, apart, *lengths))
    assert skips(x, twice, *lengths) < right(x, twice, *lengths)


def test_a_graft_has_the_value_of_one_loss_and_the_slope_of_another() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    found = grafts.grafted(x**2, 5 * x)
    assert found.tolist() == [4.0, 9.0]
    assert torch.autograd.grad(found.sum(), x)[0].tolist() == [5.0, 5.0]


def test_a_precomputed_gradient_is_that_of_the_loss_for_every_upstream_gradient() -> None:
    x = torch.randn(4, 3, generator=GENERATOR, requires_grad=True)
    for loss_of in (lambda z: (z**3).sum(1), lambda z: z**3, lambda z: (z**3).mean()):
        loss = grafts.precomputed(grafts.Precomputed, x, loss_of)
        upstream = torch.randn(loss.shape, generator=GENERATOR)
        (ours,), (right,) = (
            torch.autograd.grad(made, x, upstream) for made in (loss, loss_of(x).to(loss.dtype))
        )
        torch.testing.assert_close(ours, right)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    cases = matrix.cases_on(matrix.PAGE.read_text(encoding="utf-8"))
    (only,) = matrix.asked([0], brief=True, before=cases)
    return only


def test_the_default_sweep_finds_every_mutant_by_the_question_aimed_at_it(evidence: Evidence) -> None:
    assert matrix.survivors([evidence]) == []


def test_no_clean_control_is_accused_and_no_probe_breaks_down(evidence: Evidence) -> None:
    assert matrix.accusations([evidence]) == []


def test_what_is_known_to_be_unseen_is_no_survivor_and_is_told_once_it_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant = replace(PLANTED["f21_rows_denominator"], unseen="a question that nobody asks")
    monkeypatch.setattr(matrix, "MUTANTS", (mutant,))
    nothing, seen, other = Evidence(0), Evidence(1), Evidence(2)
    seen.sightings[mutant.name] = [Sighting("inaccurate", "error", "accuracy", "loss", "a case")]
    other.sightings[mutant.name] = [Sighting("raises", "error", "accuracy", "call", "a case")]
    assert matrix.survivors([nothing, seen, other]) == []
    (found,) = matrix.found_after_all([nothing, seen, other])
    assert found.startswith("f21_rows_denominator is found under seed 1")
    monkeypatch.setattr(matrix, "MUTANTS", (PLANTED["f21_rows_denominator"],))
    assert len(matrix.survivors([nothing, seen, other])) == 2


def test_the_page_lists_exactly_the_rows_of_the_catalogue() -> None:
    text = matrix.PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([mcf]\d+) \| ([mcf]\d+_\w+) \|", text, re.MULTILINE)
    found = [mutant for mutant in MUTANTS if not mutant.unseen]
    unseen = [mutant for mutant in MUTANTS if mutant.unseen]
    assert listed == [(mutant.row, mutant.name) for mutant in (*found, *unseen)]
    assert matrix.cases_on(text).keys() == {mutant.name for mutant in found}
