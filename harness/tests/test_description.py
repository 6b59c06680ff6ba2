"""A suite's page is read off its declarations: nothing that is declared is missing from it."""

from __future__ import annotations

import pytest

from harness import (
    Blind,
    Contract,
    Example,
    Identity,
    Implementation,
    Invalid,
    Known,
    Ladder,
    Regime,
    Suite,
    Variant,
    above,
)
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
    examples=(
        Example(
            "mean",
            {},
            1.25,
            digits=2,
            source="a book",
            options={"beta": 2.0},
            tolerance=0.01,
            note="a misprint",
            divergent={"other": "rounds"},
        ),
    ),
    identities=(Identity("turned", normal, normal, "mean", "normal", "a book", "p - t = t - p"),),
    implementations=(
        Implementation(
            right,
            baseline=True,
            skip=above(batch=9),
            contract=Contract(dtypes=("float32",), result_dtype="float64", beta=3.0),
        ),
        Implementation(
            right,
            name="other",
            known=(Known("inaccurate", "it drifts", "torch#1", torch="<3", outside=True),),
        ),
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
        "| 1.25 | mean, beta=2.0 | float64 | a book | within 0.01; a misprint; not other: rounds |",
        "| right | The mean of distances, \\| and all. [baseline] "
        "| dtypes float32; the loss in float64; beta = 3.0; not above batch 9 |",
        "| inaccurate | everywhere under torch <3; up to 4 error bounds "
        "| it drifts (torch#1); outside of what is promised |",
        "| turned | p - t = t - p | mean | normal | a book |",
        "| every question | 64 x 10 |",
        "lossgauge run --suite absolute",
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
    assert all(f"| {item.name} | {item.about} |" in page.replace("\\|", "|") for item in suite.identities)


def test_the_table_counts_what_is_declared(capsys):
    assert main(["--format", "csv", "list", "--table", "--suite", "l1", "--suite", "mse"]) == 0
    heads, *lines, sums = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    suites = discover(Selection(suites=("l1", "mse"), known_bad=True)).suites
    assert [line[0] for line in lines] == ["l1", "mse"]
    for line in lines:
        suite, found = suites[line[0]], dict(zip(heads, line, strict=True))
        bad = [item for item in suite.implementations if item.known_bad]
        assert int(found["implementations"]) == len(suite.implementations) - len(bad)
        assert int(found["known bad"]) == len(bad)
        assert int(found["clean controls"]) == 2
        for head in ("variants", "regimes", "examples", "identities"):
            assert int(found[head]) == len(getattr(suite, head))
    assert sums == [
        "2 suites",
        *(str(sum(map(int, column))) for column in list(zip(*lines, strict=True))[1:]),
    ]


@pytest.mark.parametrize("layout", ["text", "md", "json"])
def test_the_table_is_printed_in_every_form(layout, capsys):
    assert main(["--format", layout, "list", "--table", "--suite", "l1"]) == 0
    printed = capsys.readouterr().out
    assert "implementations" in printed
    assert "l1" in printed
