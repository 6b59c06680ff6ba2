"""A suite's page is read off its declarations: nothing that is declared is missing from it."""

from __future__ import annotations

import pytest

from harness import Blind, Contract, Example, Implementation, Invalid, Known, Ladder, Regime, Suite, Variant
from harness.cli import main
from harness.cli.description import described
from harness.discovery import Selection, discover


def per_row(p, t):
    return (p - t).abs().mean(1)


def right(p, t):
    """The mean of distances, | and all."""


def normal(shape, finfo, generator):
    """Ordinary numbers."""


SUITE = Suite(
    name="absolute",
    formula="|p - t|",
    oracle=per_row,
    options={"reduction": "mean", "beta": 1.0},
    variants=(Variant("mean"), Variant("steep", beta=2.0)),
    regimes=(Regime(normal, batch=4),),
    ladders=(Ladder("size", normal, 1.0, lambda finfo: 2.0, "how large"),),
    invalid=(Invalid("text", normal, "a text"),),
    blind=(Blind("nothing to see", check="loss", regime="normal"),),
    examples=(Example("mean", {}, 1.25, digits=2, source="a book"),),
    implementations=(
        Implementation(right, baseline=True, contract=Contract(dtypes=("float32",), beta=3.0)),
        Implementation(right, name="other", known=(Known("inaccurate", "it drifts", "torch#1"),)),
        Implementation(right, name="wrong", known_bad="write right instead"),
    ),
)


@pytest.mark.parametrize(
    "text",
    [
        "# absolute\n",
        "`|p - t|`",
        "uncertified",
        "| steep | beta=2.0 |",
        "| normal | Ordinary numbers. | batch 4 |",
        "| size | how large | failure |",
        "| text | a text |",
        "| loss | regime normal | nothing to see |",
        "| 1.25 | mean | a book |",
        "| right | The mean of distances, \\| and all. [baseline] | dtypes float32; beta = 3.0 |",
        "| other | inaccurate | everywhere | it drifts (torch#1) |",
        "| wrong | write right instead |",
    ],
)
def test_every_declaration_is_on_the_page(text):
    assert text in described(SUITE)


@pytest.mark.parametrize("name", discover(Selection()).suites)
def test_every_suite_that_ships_has_its_page(name, capsys):
    assert main(["list", "--describe", name]) == 0
    page = capsys.readouterr().out
    suite = discover(Selection(suites=(name,), known_bad=True)).suites[name]
    named = [*suite.variants, *suite.regimes, *suite.implementations, *suite.ladders]
    assert all(f"| {item.name} |" in page for item in named)
    assert "float64 closed form" in page
