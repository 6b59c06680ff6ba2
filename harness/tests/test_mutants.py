"""The harness is tested on what it must catch: every planted fault is found, no clean control is accused.

One seed, asked briefly; `nox -s mutants` asks five and writes docs/kill_matrix.md. The trap: a mutant
that is wrong everywhere proves nothing, so each is first held to being right where the tests that
missed the original looked.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from harness.outcome import KINDS
from harness.plan import PROBES
from harness.tests.mutants import correct, matrix, state
from harness.tests.mutants.catalogue import MUTANTS, WAITING, Mutant
from harness.tests.mutants.evidence import Evidence

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
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


def test_every_row_of_the_list_is_planted_or_waits() -> None:
    rows = {mutant.row for mutant in MUTANTS} | {waiting.row for waiting in WAITING}
    assert rows == {f"m{k}" for k in range(1, 28)} | {f"c{k}" for k in range(1, 5)}


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    (only,) = matrix.asked([0], brief=True)
    return only


def test_the_default_sweep_finds_every_mutant_by_the_question_aimed_at_it(evidence: Evidence) -> None:
    assert matrix.survivors([evidence]) == []


def test_no_clean_control_is_accused_and_no_probe_breaks_down(evidence: Evidence) -> None:
    assert matrix.accusations([evidence]) == []


def test_the_page_lists_exactly_the_rows_of_the_catalogue() -> None:
    text = matrix.PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([mc]\d+) \| ([mc]\d+_\w+) \|", text, re.MULTILINE)
    assert listed == [(mutant.row, mutant.name) for mutant in MUTANTS]
    waiting = re.findall(r"^\| (m\d+) \| ([^|_]+) \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    assert waiting == [(entry.row, entry.family) for entry in WAITING]
