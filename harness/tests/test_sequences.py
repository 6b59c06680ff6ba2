"""Sequences (T, N, C): a row is one sequence, wherever a batch is cut, turned around or told of."""

from __future__ import annotations

import math

import pytest
import torch

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.block import OpenBlock
from harness.errors import SuiteError
from harness.oracle.ball import enclosure
from harness.oracle.certification import certificates
from harness.oracle.closed_form import ClosedForm
from harness.probes.accuracy import accuracy
from harness.probes.determinism import determinism
from harness.probes.protocol.probe import protocol
from harness.reproducer.retelling import cut
from harness.sample import Shape, batch_axis, folded, rows
from harness.trial import DTYPES, Case

FRAMES, LABELS = 5, 2


def uneven(shape, finfo, generator):
    frames = torch.randn(FRAMES, shape.batch, shape.classes, generator=generator, dtype=torch.float64)
    lengths = torch.arange(shape.batch) % FRAMES + 1
    labels = torch.zeros(shape.batch, LABELS, dtype=torch.long)
    return Sample(frames=frames, labels=labels, lengths=lengths, layout="sequences")


def counted(inputs):
    return (torch.arange(FRAMES) < inputs["lengths"][:, None])[:, :, None].double()


def exact(row, options):
    from flint import arb

    kept = [
        [arb(v) if t < row["lengths"] else arb(0) for v in frame] for t, frame in enumerate(row["frames"])
    ]
    slopes = [2 * value for frame in kept for value in frame]
    return sum((value**2 for frame in kept for value in frame), arb(0)), {"frames": slopes}


def squares(frames, labels, lengths, reduction="mean"):
    kept = torch.arange(len(frames))[:, None] < lengths
    losses = (frames**2 * kept[:, :, None]).sum((0, 2))
    return losses if reduction == "none" else getattr(losses, reduction)()


def batch_first(frames, labels, lengths, reduction="mean"):
    """Reads (T, N, C) as if it were (N, T, C): right for one sequence of as many frames as a batch only."""
    return squares(
        frames.reshape(frames.shape[1], -1, frames.shape[2]).transpose(0, 1), labels, lengths, reduction
    )


def neighbour(frames, labels, lengths, reduction="mean"):
    return squares(frames, labels, lengths.roll(1), reduction)


SUITE = Suite(
    name="frames",
    oracle=ClosedForm(
        rows=lambda terms: (counted(terms[0]) * terms[0]["frames"] ** 2).sum((1, 2)),
        gradient=lambda terms: {"frames": 2 * counted(terms[0]) * terms[0]["frames"]},
        sensitivity=lambda terms: 3 * (counted(terms[0]) * terms[0]["frames"] ** 2).sum((1, 2)),
        gradient_sensitivity=lambda terms: {"frames": 4 * counted(terms[0]) * terms[0]["frames"].abs()},
        denominator=lambda inputs, options: torch.ones(len(inputs["lengths"])),
        exact=exact,
        roundoffs=32.0,
    ),
    options={"reduction": "mean"},
    variants=(Variant("mean"), Variant("sum", reduction="sum"), Variant("none", reduction="none")),
    regimes=(Regime(uneven),),
    implementations=(
        Implementation(squares, baseline=True),
        Implementation(batch_first),
        Implementation(neighbour),
    ),
)


def opened(variant="none", dtype="float32"):
    return OpenBlock(SUITE, Case("frames", variant, "uneven", dtype, "cpu", 6, 4, 1), 0)


def loud(answer):
    assert answer.status == "ok", answer.reason
    return {finding.kind for finding in answer.findings if finding.severity != "note"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", ["mean", "sum", "none"])
def test_a_right_loss_of_sequences_is_right_under_every_probe(variant, dtype):
    for probe in (accuracy, protocol, determinism):
        assert not loud(probe(opened(variant, dtype), "squares"))


@pytest.mark.parametrize("name", ["batch_first", "neighbour"])
def test_a_loss_that_takes_one_axis_for_the_other_is_found(name):
    assert "inaccurate" in loud(accuracy(opened(), name))


def test_a_sequence_that_looks_at_its_neighbour_is_found_by_slicing():
    assert "neighbours" in loud(determinism(opened(), "neighbour"))


def test_rows_are_sequences_and_fold_back():
    sample, _ = opened().drawn()
    assert sample.shape == Shape(6, 4)
    unfolded = sample.in_rows()
    assert {name: tuple(t.shape) for name, t in unfolded.items()} == {
        "frames": (6, FRAMES, 4),
        "labels": (6, LABELS),
        "lengths": (6,),
    }
    for name, tensor in sample.named.items():
        assert torch.equal(folded(unfolded[name], tensor.shape, "sequences"), tensor)
        assert tensor.shape[batch_axis(tensor, "sequences")] == 6


def test_images_fold_back_as_well():
    images = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert torch.equal(folded(rows(images, "nchw"), images.shape, "nchw"), images)


def test_some_of_a_batch_are_sequences_with_all_of_their_frames():
    sample, _ = opened().drawn()
    for fewer in (sample.taken(torch.tensor([4, 1])), cut(sample, [4, 1])):
        assert torch.equal(fewer["frames"], sample["frames"][:, [4, 1]])
        assert torch.equal(fewer["lengths"], sample["lengths"][[4, 1]])
    assert sample.taken(torch.arange(0))["frames"].shape == (FRAMES, 0, 4)


def test_bounds_grow_with_all_entries_of_a_sequence_and_groups_look_at_all_of_them():
    stand = opened().standard("squares")
    assert stand.upstream.shape == (6,)
    assert stand.gradients["frames"].truth.shape == (6, FRAMES, 4)
    terms = 4 + math.log2(FRAMES * 4)
    stick = stand.gradients["frames"]
    loosest = (stick.strict - 2 * stick.spacing) / (2.0**-24 * stick.sensitivity.clip(1e-30))
    assert loosest[stick.sensitivity > 0].max() == pytest.approx(terms, rel=1e-4)


def test_a_place_in_a_sequence_is_certified_there():
    stand = opened(dtype="float64").standard("squares")
    place = (3, 2, 1)
    ball = enclosure(
        SUITE.oracle, stand.row_inputs, stand.asked, stand.upstream.double().numpy(), "frames", place
    )
    assert ball.middle == stand.truth.gradients["frames"][place]
    for certificate in certificates([SUITE], share=1.0, shapes=(Shape(6, 4),), dtypes=("float64",)):
        assert certificate.misses == ()
        assert certificate.entries == 3 * 6 * (1 + FRAMES * 4)


def test_a_regime_of_other_classes_is_refused():
    suite = Suite(
        name="wide",
        oracle=SUITE.oracle,
        regimes=(Regime(lambda shape, f, g: uneven(Shape(shape.batch, 7), f, g), name="wide"),),
        implementations=(Implementation(squares),),
    )
    with pytest.raises(SuiteError, match=r"'frames' has shape \(6, 5, 7\); the last axis must be the 4"):
        OpenBlock(suite, Case("wide", "mean", "wide", "float32", "cpu", 6, 4, 1), 0).drawn()
