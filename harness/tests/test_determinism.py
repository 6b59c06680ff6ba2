"""The same call again, other neighbours, orders and threads: what must not matter, and what is a column."""

from __future__ import annotations

import itertools
import math
from functools import reduce

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import torch_state_kept
from harness.metrics import FORMATS
from harness.probes import threads as probe
from harness.probes.bits import difference_ulps
from harness.probes.determinism import determinism
from harness.tests.questioned import from_above
from harness.trial import Case
from suites.binary_cross_entropy import SUITE as BINARY
from suites.cross_entropy import SUITE
from suites.implementations.binary_cross_entropy import floored

FLOAT32 = FORMATS["float32"]


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
    """Threads are asked even where the machine has one."""
    monkeypatch.setattr(probe.os, "cpu_count", lambda: 2)
    held = torch.random.get_rng_state()
    torch.manual_seed(7)
    yield
    torch.random.set_rng_state(held)


def asked(function, variant="mean", dtype="float32", rows=64):
    family = SUITE.extended(Implementation(function, name="planted"))
    case = Case(family.name, variant, "unit_normal", dtype, "cpu", rows, 10, 1)
    return determinism(OpenBlock(family, case, 0), "planted")


def by_name(name, variant, dtype):
    case = Case(SUITE.name, variant, "unit_normal", dtype, "cpu", 64, 10, 1)
    return determinism(OpenBlock(SUITE, case, 0), name)


def in_any_order(logits, target, reduction="mean"):
    """Losses are added one after the other, in another order each time, as atomics do."""
    losses = F.cross_entropy(logits, target, reduction="none")
    return reduce(torch.add, losses[torch.randperm(len(losses))]) / len(losses)


def drops_out(logits, target, reduction="mean"):
    """A tenth of the logits is dropped at random."""
    return F.cross_entropy(F.dropout(logits, 0.1), target, reduction=reduction)


def scatters_gradient(logits, target, reduction="mean"):
    """The loss is the same each time, its gradient is rounded at random."""

    def change(upstream):
        return upstream * (1 + torch.randint(0, 2, ()) * 2.0**-23)

    return from_above(change)(logits, target, reduction)


def normalised_by_batch(logits, target, reduction="mean"):
    """The mean over the batch is subtracted."""
    return F.cross_entropy(logits - logits.mean(0), target, reduction=reduction)


def weighted_by_place(logits, target, reduction="mean"):
    """Rows count more, the later they come."""
    losses = F.cross_entropy(logits, target, reduction="none")
    return losses * torch.linspace(1, 2, len(losses)) if reduction == "none" else losses.mean()


def other_last_bits(logits, target, reduction="mean"):
    """With several threads the result ends on other bits, as a sum in another order does."""
    several = torch.get_num_threads() > 1
    return F.cross_entropy(logits, target, reduction=reduction) * (1 + several * 2.0**-22)


def loses_a_part(logits, target, reduction="mean"):
    """With several threads the last row is lost."""
    cut = len(logits) - (torch.get_num_threads() > 1)
    return F.cross_entropy(logits[:cut], target[:cut], reduction="sum") / len(logits)


def by_rows_apart(logits, target, reduction="mean"):
    """Another formula where the classes lie apart."""
    if logits.stride(-1) != 1:
        logits = logits.double()
    return F.cross_entropy(logits, target, reduction=reduction).float()


COLUMNS = ("repeat_ulps", "permutation_ulps", "layout_ulps", "threads_ulps")


@pytest.mark.parametrize("name", ["native", "exact_gradient", "log_softmax_gather"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_column_of_a_correct_unreduced_loss_is_0(name, dtype):
    answer = by_name(name, "none", dtype)
    assert (answer.status, answer.findings) == ("ok", ())
    assert answer.numbers == dict.fromkeys((*COLUMNS, "slicing_ulps"), 0.0)


@pytest.mark.parametrize("name", ["native", "exact_gradient"])
@pytest.mark.parametrize("variant", ["mean", "images"])
def test_a_correct_reduced_loss_repeats_and_may_depend_on_the_order_of_rows(name, variant):
    answer = by_name(name, variant, "float32")
    assert (answer.status, answer.findings) == ("ok", ())
    assert answer.numbers["repeat_ulps"] == answer.numbers["layout_ulps"] == 0
    assert ("permutation_ulps" in answer.numbers) == (variant == "mean")
    assert answer.numbers.get("permutation_ulps", 0) <= 2
    assert "slicing_ulps" not in answer.numbers


def test_a_sum_in_varying_order_is_a_warning():
    answer = asked(in_any_order)
    (found,) = answer.findings
    assert (found.kind, found.severity, found.group) == ("nondeterministic", "warning", "repeat")
    assert "loss by up to" in found.message
    assert "logits" not in found.message
    assert 0 < answer.numbers["repeat_ulps"] <= 8


def test_random_answers_are_an_error():
    (found,) = asked(drops_out).findings
    assert (found.kind, found.severity) == ("nondeterministic", "error")
    assert "loss, logits by up to" in found.message


def test_a_gradient_alone_that_varies_is_noticed():
    answer = asked(scatters_gradient)
    (found,) = answer.findings
    assert (found.kind, found.severity) == ("nondeterministic", "warning")
    assert ": logits by up to" in found.message
    assert answer.numbers["repeat_ulps"] in (1.0, 2.0)


def test_a_row_that_depends_on_its_neighbours_is_an_error():
    answer = asked(normalised_by_batch, "none")
    assert {(f.kind, f.group) for f in answer.findings} == {("neighbours", "rows")}
    assert [("in a batch of" in f.message) for f in answer.findings if f.severity == "error"] == [True]
    assert answer.numbers["slicing_ulps"] > 1e3
    assert answer.numbers["repeat_ulps"] == 0


def test_a_row_that_depends_on_its_place_is_an_error():
    answer = asked(weighted_by_place, "none")
    assert {(f.kind, f.group) for f in answer.findings} == {("neighbours", "rows")}
    assert answer.findings[0].message.endswith("in another order of rows")
    assert answer.numbers["permutation_ulps"] > 1e3


def test_a_sum_that_depends_on_the_threads_is_a_column_and_no_finding():
    answer = asked(other_last_bits)
    assert answer.findings == ()
    assert 0 < answer.numbers["threads_ulps"] <= 64
    assert answer.numbers["repeat_ulps"] == 0


def one_and_a_half_on_several(logits, target, reduction="mean"):
    """The loss is half too large where there are several threads."""
    return F.cross_entropy(logits, target, reduction=reduction) * (1.5 if torch.get_num_threads() > 1 else 1)


def starts_over(logits, target, reduction="mean"):
    """With several threads the second half of the work reads the first half's rows."""
    half = len(logits) // 2
    if torch.get_num_threads() > 1:
        again = torch.arange(len(logits)) % half
        logits, target = logits[again], target[again]
    return F.cross_entropy(logits, target, reduction=reduction)


def test_parts_of_the_work_are_not_alike():
    answer = asked(starts_over, dtype="float32")
    (found,) = answer.findings
    assert (found.kind, found.severity, found.group) == ("nondeterministic", "error", "threads")


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("planted", [loses_a_part, one_and_a_half_on_several], ids=lambda f: f.__name__)
def test_what_is_wrong_on_several_threads_alone_is_an_error(planted, dtype):
    answer = asked(planted, dtype=dtype)
    (found,) = answer.findings
    assert (found.kind, found.severity, found.group) == ("nondeterministic", "error", "threads")
    assert "on 2 threads" in found.message
    assert "right on one" in found.message
    assert answer.numbers["threads_ulps"] > 1e3 or dtype == "bfloat16"


def test_a_race_between_threads_is_told_and_a_sum_in_another_order_each_time_is_a_warning():
    def races(logits, target, reduction="mean"):
        loss = F.cross_entropy(logits, target, reduction=reduction)
        return loss * (1 + 0.1 * torch.rand(())) if torch.get_num_threads() > 1 else loss

    def in_any_order_of_several(logits, target, reduction="mean"):
        if torch.get_num_threads() == 1:
            return F.cross_entropy(logits, target, reduction=reduction)
        more = 1 + 2e-6 * (next(calls) % 2)
        losses = F.cross_entropy(logits, target, reduction="none").double() * more
        return losses.mean().to(logits.dtype)

    calls = itertools.count()
    for planted, severity in ((races, "error"), (in_any_order_of_several, "warning")):
        with torch_state_kept():
            torch.set_num_threads(1)
            (found,) = asked(planted).findings
        assert (found.kind, found.severity, found.group) == ("nondeterministic", severity, "threads")
        assert found.message.endswith("each on 2 threads")


def test_a_column_that_is_missing_says_why(monkeypatch):
    assert "not asked: slicing" in asked(F.cross_entropy).notes
    assert asked(F.cross_entropy, "none").notes == {}
    case = Case(SUITE.name, "images_smoothed_none", "unit_normal", "float32", "cpu", 64, 10, 1)
    images = determinism(OpenBlock(SUITE, case, 0), "native")
    assert {"not asked: permutation", "not asked: slicing"} == set(images.notes)
    assert {"permutation_ulps", "slicing_ulps"}.isdisjoint(images.numbers)
    monkeypatch.setattr(probe.os, "cpu_count", lambda: 1)
    alone = asked(F.cross_entropy, "none")
    assert alone.notes == {"not asked: threads": "this machine has one processor"}
    assert "threads_ulps" not in alone.numbers


def test_another_layout_shows_in_its_column_alone():
    answer = asked(by_rows_apart, "none")
    assert answer.findings == ()
    assert 0 < answer.numbers["layout_ulps"] < 1e4
    assert {answer.numbers[name] for name in (*COLUMNS, "slicing_ulps")} == {
        0.0,
        answer.numbers["layout_ulps"],
    }


def test_the_number_of_threads_is_what_it_was():
    before = torch.get_num_threads()
    by_name("native", "mean", "float32")
    assert torch.get_num_threads() == before


def test_who_raises_is_skipped_and_who_raises_later_keeps_what_was_found():
    def raises(logits, target):
        raise RuntimeError("no")

    answer = asked(raises)
    assert (answer.status, answer.findings) == ("skipped", ())
    assert "see accuracy" in answer.reason

    def random_and_dense(logits, target):
        if len(logits) > 64:
            raise RuntimeError("too many rows")
        return drops_out(logits, target)

    late = asked(random_and_dense)
    assert late.status == "ok"
    assert "too many rows" in late.reason
    assert [f.kind for f in late.findings] == ["nondeterministic"]


def detached(logits, target, reduction="mean"):
    """The loss comes back without its graph."""
    return F.cross_entropy(logits, target, reduction=reduction).detach()


def without_gradients(logits, target, reduction="mean"):
    """Gradients are turned off for the answer."""
    with torch.no_grad():
        return F.cross_entropy(logits, target, reduction=reduction)


def detached_where_short(logits, target, reduction="mean"):
    """Fewer than all rows come back without their graph."""
    loss = F.cross_entropy(logits, target, reduction=reduction)
    return loss.detach() if len(logits) < 64 else loss


@pytest.mark.parametrize("function", [detached, without_gradients])
@pytest.mark.parametrize("variant", ["mean", "none"])
def test_a_gradient_that_did_not_come_is_told_in_a_sentence(function, variant):
    answer = asked(function, variant)
    assert (answer.status, answer.findings) == ("ok", ())
    assert answer.reason == "no gradient reached logits; compared: loss"
    assert answer.numbers["repeat_ulps"] == answer.numbers["layout_ulps"] == 0


def test_a_loss_without_its_graph_is_compared_all_the_same():
    (found,) = asked(lambda logits, target: in_any_order(logits, target).detach()).findings
    assert (found.kind, found.severity) == ("nondeterministic", "warning")


def test_a_gradient_that_comes_in_one_call_and_not_in_another_is_a_difference():
    answer = asked(detached_where_short, "none")
    assert (answer.status, answer.reason) == ("ok", "")
    assert answer.numbers["slicing_ulps"] == math.inf
    assert (
        difference_ulps({"loss": np.ones(1)}, {"loss": np.ones(1), "logits": np.ones(1)}, FLOAT32) == math.inf
    )
    calls = iter(range(1000))

    def detached_by_turns(logits, target):
        loss = F.cross_entropy(logits, target)
        return loss.detach() if next(calls) % 2 else loss

    (found,) = asked(detached_by_turns).findings
    assert (found.kind, found.severity) == ("nondeterministic", "error")
    assert ": logits by up to" in found.message


def test_the_difference_of_two_answers_in_ulp():
    one = {"loss": np.array([1.0, math.nan, math.inf, 0.0])}
    assert difference_ulps(one, {"loss": one["loss"].copy()}, FLOAT32) == 0
    off = one["loss"] + np.array([3 * 2.0**-23, 0, 0, 0])
    assert difference_ulps(one, {"loss": off}, FLOAT32) == 3
    assert difference_ulps(one, {"loss": np.array([1.0, 0.0, math.inf, 0.0])}, FLOAT32) == math.inf
    assert difference_ulps(one, {"loss": one["loss"][:2]}, FLOAT32) == math.inf
    assert difference_ulps(one, {}, FLOAT32) == math.inf
    assert difference_ulps(one, {"loss": np.array([1.0, math.nan, math.inf, -0.0])}, FLOAT32) == 1


def test_options_with_a_row_for_each_row_go_where_their_rows_go():
    """An element weight (N, C) belongs to the rows of its batch: another order of both is the same call."""

    def mixes_rows(probabilities, target, reduction="mean", weight=None, class_weights=None):
        losses = floored(probabilities, target, "none", weight, class_weights)
        return losses + 1e-3 * losses.detach().mean() if reduction == "none" else losses.mean()

    family = BINARY.extended(Implementation(mixes_rows, name="planted"))
    home = BINARY.regimes[0].name
    case = Case(BINARY.name, "entry_weights_none", home, "float32", "cpu", 64, 10, 1)
    block = OpenBlock(family, case, 0)
    for name in ("native", "exact_gradient"):
        answer = determinism(block, name)
        assert (answer.status, answer.findings) == ("ok", ())
        assert answer.numbers["permutation_ulps"] == answer.numbers["slicing_ulps"] == 0
    assert {f.kind for f in determinism(block, "planted").findings} == {"neighbours"}
