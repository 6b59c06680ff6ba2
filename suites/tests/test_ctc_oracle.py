"""The closed form of CTC is certified against Arb balls, and Arb against an enumeration of all labellings.

Held on every variant and regime: |B0 - exact| <= roundoffs 2^-53 N for the loss and every gradient entry, of
both derivatives. The faults that a certificate exists for are planted: a relative error of 1e-9 in losses or
slopes, and a skip between two equal labels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.calling import bind
from harness.inputs import draw
from harness.oracle.ball import row_ball
from harness.oracle.certification import certificates, narrow_row, share_of_bound
from harness.oracle.chunks import one_thread
from harness.sample import Shape
from harness.trial import Case
from suites.ctc import SUITE
from suites.examples.ctc import collapsed
from suites.oracles import ctc
from suites.oracles.ctc import FUSED, ORACLE, PARTIAL

FEW = (Shape(5, 4), Shape(3, 1))
DERIVATIVES = pytest.mark.parametrize("derivative", [PARTIAL, FUSED])


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def of_derivative(suite, derivative):
    return replace(suite, options={**suite.options, "derivative": derivative})


USUAL = Shape(4, 5)


def drawn(regime, dtype="float64", variant="none", shape=USUAL):
    case = Case("ctc", variant, regime, dtype, "cpu", *SUITE.regime(regime).shape(shape), 1)
    return draw(case, SUITE, seed=0)


@DERIVATIVES
def test_every_entry_lies_within_the_stated_bound_of_its_ball(derivative):
    for certificate in certificates(
        [of_derivative(SUITE, derivative)], share=0.4, shapes=FEW, dtypes=("float64", "float16")
    ):
        assert certificate.misses == ()
        assert certificate.entries > 10000


def test_a_relative_error_of_1e_9_is_missed_by_no_certificate():
    off_rows = replace(ORACLE, rows=lambda t: ORACLE.rows(t) * (1 + 1e-9))
    off_slopes = replace(
        ORACLE, gradient=lambda t: {n: g * (1 - 1e-9) for n, g in ORACLE.gradient(t).items()}
    )
    for wrong, of_loss in ((off_rows, True), (off_slopes, False)):
        suite = replace(SUITE, oracle=wrong, variants=SUITE.variants[:1], examples=())
        for certificate in certificates([suite], share=0.4, shapes=FEW[:1], dtypes=("float32",)):
            seen = {miss.tensor for miss in certificate.misses}
            assert seen
            assert ("loss" in seen) is of_loss


def test_a_skip_between_equal_labels_is_seen_by_the_certificate(monkeypatch):
    monkeypatch.setattr(ctc, "_skips", lambda labels: (torch.arange(labels.shape[1]) % 2 == 1) & (labels > 0))
    suite = replace(SUITE, variants=SUITE.variants[:1], regimes=(SUITE.regime("repeated"),), examples=())
    for certificate in certificates([suite], share=1.0, shapes=FEW[:1], dtypes=("float64",)):
        assert {miss.tensor for miss in certificate.misses} == {"loss", "log_probs"}


@pytest.mark.parametrize("regime", ["typical", "repeated", "empty_targets", "masked", "impossible"])
def test_arb_adds_up_every_labelling_that_collapses_to_the_target(regime):
    sample, options = drawn(regime, shape=Shape(4, 3))
    inputs = {name: t[:, :6] if t.dim() == 3 else t for name, t in sample.in_rows().items()}
    inputs["input_lengths"] = inputs["input_lengths"].clamp(max=6)
    checked = 0
    for row in range(4):
        frames, size = (int(inputs[name][row]) for name in ("input_lengths", "target_lengths"))
        wanted = inputs["targets"][row, :size].tolist()
        p = inputs["log_probs"][row].exp().tolist()
        total, occupancy = 0.0, np.zeros((6, 3))
        for path in itertools.product(range(3), repeat=frames):
            if collapsed(list(path)) == wanted:
                weight = math.prod(p[t][c] for t, c in enumerate(path))
                total += weight
                for t, c in enumerate(path):
                    occupancy[t, c] += weight
        loss, gradients = row_ball(ORACLE, inputs, options, row)
        if total == 0:
            assert loss > 0
            assert not loss.is_finite()
            assert all(ball.is_nan() for ball in gradients["log_probs"])
            continue
        checked += 1
        assert float(loss) == pytest.approx(-math.log(total), rel=1e-13, abs=1e-15)
        slopes = np.array([float(ball) for ball in gradients["log_probs"]]).reshape(6, 3)
        assert np.allclose(slopes, -occupancy / total, rtol=1e-12, atol=1e-15)
    assert checked > 0


@pytest.mark.parametrize("variant", [v.name for v in SUITE.variants])
@pytest.mark.parametrize("regime", [r.name for r in SUITE.regimes])
def test_values_are_those_of_native_and_so_is_the_fused_derivative(variant, regime):
    sample, options = drawn(regime, variant=variant)
    given = SUITE.variant(variant).options
    leaves = {n: t.clone().requires_grad_(n in sample.gradients) for n, t in sample.named.items()}
    loss = bind(SUITE.baseline, options, given).loss(tuple(leaves.values()))
    truth = ORACLE.evaluate(sample.in_rows(), {**options, "derivative": FUSED}, sample.gradients)
    losses = truth.losses.mean() if options["reduction"] == "mean" else truth.losses
    losses = losses.sum() if options["reduction"] == "sum" else losses
    # Native's loss near 0 is off by the rounding of 1.
    assert np.allclose(loss.detach().numpy(), losses, rtol=1e-12, atol=1e-15)
    if regime == "masked":
        return
    (slope,) = torch.autograd.grad(loss.sum(), [leaves["log_probs"]])
    expected = truth.gradients["log_probs"] / (len(truth.losses) if options["reduction"] == "mean" else 1)
    close = np.isclose(slope.transpose(0, 1).numpy(), expected, rtol=1e-10, atol=1e-14, equal_nan=True)
    # Undefined slopes may be 0 as well.
    assert (close | (np.isnan(expected) & (slope.transpose(0, 1).numpy() == 0))).all()


def test_both_derivatives_reach_the_logits_as_the_same_gradient():
    sample, options = drawn("typical")
    x = sample.in_rows()["log_probs"]
    logits = (x + 3.0).requires_grad_(True)
    reached = []
    for derivative in (PARTIAL, FUSED):
        truth = ORACLE.evaluate(sample.in_rows(), {**options, "derivative": derivative}, ("log_probs",))
        above = torch.from_numpy(truth.gradients["log_probs"])
        (slope,) = torch.autograd.grad(logits.log_softmax(2), logits, above)
        reached.append(slope)
    assert torch.allclose(*reached, rtol=1e-12, atol=1e-14)
    assert not np.allclose(truth.gradients["log_probs"], truth.gradients["log_probs"] - x.exp().numpy())


def test_the_partial_derivative_is_the_difference_quotient_and_natives_is_not():
    sample, options = drawn("typical")
    inputs = sample.in_rows()
    slope = ORACLE.evaluate(inputs, options, ("log_probs",)).gradients["log_probs"][0, 1, 2]
    step = 2.0**-20

    def loss(by):
        moved = inputs["log_probs"].clone()
        moved[0, 1, 2] += by
        call = torch.nn.functional.ctc_loss
        return float(call(moved.transpose(0, 1), *sample.tensors[1:], reduction="none")[0])

    quotient = (loss(step) - loss(-step)) / (2 * step)
    assert slope == pytest.approx(quotient, abs=1e-9)
    leaf = sample["log_probs"].clone().requires_grad_(True)
    losses = torch.nn.functional.ctc_loss(leaf, *sample.tensors[1:], reduction="none")
    (of_native,) = torch.autograd.grad(losses[0], leaf)
    share = float(sample["log_probs"][1, 0, 2].exp())
    assert float(of_native[1, 0, 2]) == pytest.approx(slope + share, abs=1e-13)
    assert share > 1e-3


def test_two_hundred_frames_are_within_the_same_bound_as_eight():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 200, 6, generator=generator, dtype=torch.float64)
    inputs = {
        "log_probs": scores.log_softmax(2),
        "targets": torch.randint(1, 6, (2, 12), generator=generator),
        "input_lengths": torch.tensor([200, 150]),
        "target_lengths": torch.tensor([12, 3]),
    }
    options = dict(SUITE.options)
    truth = ORACLE.evaluate(inputs, options, ("log_probs",))
    loss, gradients = narrow_row(ORACLE, inputs, options, 0)
    bound = truth.rounding * truth.sensitivities[0]
    # A product of these probabilities is below 2^-149, the smallest float32.
    assert truth.losses[0] * 12 > 149 * math.log(2)
    assert share_of_bound(float(truth.losses[0]), 0.0, loss, bound, truth.floor) < 1
    entries = (
        array[0].ravel()
        for array in (truth.gradients["log_probs"], truth.gradient_sensitivities["log_probs"])
    )
    for high, size, ball in zip(*entries, gradients["log_probs"], strict=True):
        assert share_of_bound(float(high), 0.0, ball, truth.rounding * size, truth.floor) < 1
