"""Arb balls of reduced numbers: narrow, right by other arithmetic, and named where there is no number."""

from __future__ import annotations

import math

import flint
import numpy as np
import pytest
import torch
from flint import arb

from harness.oracle.ball import Ball, enclosure, is_narrow, rounded
from harness.oracle.closed_form import FLOOR, ClosedForm
from harness.oracle.truth import reduced

INF, NAN = math.inf, math.nan


def exact(row, options):
    """Half the weighted square, whose gradient is the weighted entry; NaN entries make it undefined."""
    weight = arb(float(options["weight"]))
    entries = [arb(value) * weight for value in row["x"]]
    return sum((arb(v) * e / 2 for v, e in zip(row["x"], entries, strict=True)), arb(0)), {"x": entries}


def squares(**more):
    """Returns the closed form of half the weighted square."""
    return ClosedForm(
        terms=lambda inputs, options: (inputs["x"], options["weight"]),
        rows=lambda t: (t[0] * t[0]).sum(1) * t[1] / 2,
        gradient=lambda t: {"x": t[0] * t[1]},
        sensitivity=lambda t: (t[0] * t[0]).sum(1) * t[1] / 2,
        gradient_sensitivity=lambda t: {"x": (t[0] * t[1]).abs()},
        denominator=lambda inputs, options: torch.full((len(inputs["x"]),), options["weight"]).double(),
        exact=exact,
        **more,
    )


def inputs(*rows):
    return {"x": torch.tensor(rows, dtype=torch.float64)}


def options(reduction="mean", weight=1.0, **more):
    return {"reduction": reduction, "weight": weight, **more}


ROWS = inputs([0.1, 0.2], [0.3, -0.7], [1.5, 2.5])


@pytest.mark.parametrize(("reduction", "share"), [("sum", 1), ("mean", 3)])
def test_a_reduced_loss_is_enclosed_with_its_tail(reduction, share):
    ball = enclosure(squares(), ROWS, options(reduction), None, "loss")
    with flint.ctx.workprec(300):
        truth = sum((arb(v) ** 2 for v in ROWS["x"].flatten().tolist()), arb(0)) / 2 / share
        assert ball.kind == "enclosed"
        assert ball.tier == "B2"
        assert ball.precision == 128
        assert abs(arb(ball.middle) + arb(ball.tail) - truth) <= arb(ball.radius)
        assert 0 < ball.radius <= math.ulp(ball.middle) * 2.0**-20
        assert not abs(arb(ball.middle) - truth) <= arb(ball.radius), "the tail is not idle here"


def test_an_unreduced_loss_and_a_gradient_take_their_own_upstream():
    upstream = np.array([1.0, 3.0, 0.7])
    assert enclosure(squares(), ROWS, options("none"), upstream, "loss", (2,)).middle == 4.25
    ball = enclosure(squares(), ROWS, options("none"), upstream, "x", (2, 1))
    assert ball.middle + ball.tail == 2.5 * 0.7
    shared = enclosure(squares(), ROWS, options("mean", weight=2.0), np.array([2.0]), "x", (2, 1))
    with flint.ctx.workprec(300):
        off = abs(arb(shared.middle) + arb(shared.tail) - arb(2.5) * 2 / 3)
        assert off <= arb(shared.radius)


def test_precision_rises_until_a_cancelling_difference_is_narrow():
    def cancelling(row, options):
        value = (arb(1) + arb(2) ** -400) - 1
        return value, {"x": [value]}

    form = squares()
    object.__setattr__(form, "exact", cancelling)
    ball = enclosure(form, inputs([1.0]), options("sum"), None, "loss")
    assert (ball.kind, ball.precision, ball.middle) == ("enclosed", 512, 2.0**-400)


@pytest.mark.parametrize(
    ("row", "kind", "middle"),
    [
        ([0.0, 0.0], "zero", 0.0),
        ([INF, 1.0], "infinite", INF),
        ([NAN, 1.0], "undefined", NAN),
        ([1e200, 1.0], "beyond_float64", INF),
    ],
)
def test_where_there_is_no_float_the_kind_says_which(row, kind, middle):
    ball = enclosure(squares(), inputs(row), options("sum"), None, "loss")
    assert ball.kind == kind
    assert ball.middle == middle or (math.isnan(middle) and math.isnan(ball.middle))
    assert all(math.isnan(bound) for bound in ball.distance(1.0)) == (kind != "zero")


def test_an_empty_mean_is_undefined_or_zero_as_the_options_say():
    empty = inputs([0.0, 0.0])
    assert enclosure(squares(), empty, options(weight=0.0), None, "loss").kind == "undefined"
    assert enclosure(squares(), empty, options(weight=0.0, empty_mean="zero"), None, "loss").kind == "zero"


def test_sums_that_are_too_long_answer_with_the_bound_that_the_family_states():
    many = {"x": torch.ones(3, 20000, dtype=torch.float64) / 3}
    form = squares(roundoffs=4.0, in_pairs=False)
    ball = enclosure(form, many, options("sum"), None, "loss")
    assert (ball.tier, ball.precision, ball.kind) == ("B0 bound", 53, "enclosed")
    truth = reduced(form.evaluate(many, options("sum"), ()), options("sum"), None)
    assert ball.middle == truth.value
    stated = truth.rounding * float(truth.value_sensitivity) + FLOOR
    assert stated <= ball.radius <= stated * (1 + 2.0**-40)
    again = enclosure(form, many, options("sum"), None, "loss", truth=truth)
    assert again == ball
    finer = enclosure(squares(), many, options("sum"), None, "loss")
    assert finer.tier == "B1 bound"
    assert finer.radius < 2.0**-6 * ball.radius
    # One row of a gradient is short enough.
    assert enclosure(form, many, options("sum"), None, "x", (0, 5)).tier == "B2"


def test_the_distance_of_a_result_is_bounded_from_both_sides():
    ball = Ball("enclosed", 1.0, 2.0**-60, 2.0**-80, "B2", 128)
    below, above = ball.distance(1.0 + 2.0**-52)
    assert below < 2.0**-52 - 2.0**-60 < above
    assert above - below < 2.0**-78
    assert ball.distance(INF)[0] != ball.distance(INF)[0]


def test_numbers_travel_as_hex_and_come_back_bit_for_bit():
    ball = enclosure(squares(), ROWS, options("mean"), None, "loss")
    form = ball.as_json()
    assert [float.fromhex(form[name]) for name in ("middle", "tail", "radius")] == [
        ball.middle,
        ball.tail,
        ball.radius,
    ]


def test_a_wide_ball_is_not_narrow_and_its_radius_is_rounded_outwards():
    wide = arb(1, 2.0**-60)
    assert not is_narrow(wide)
    assert is_narrow(arb(1, 2.0**-90))
    assert rounded(wide, 128).radius >= 2.0**-60


def test_a_form_without_exact_is_refused_with_a_sentence():
    form = squares()
    object.__setattr__(form, "exact", None)
    with pytest.raises(TypeError, match="declares no `exact`"):
        enclosure(form, ROWS, options(), None, "loss")
