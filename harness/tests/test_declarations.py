"""The plug-in API says every mistake in one sentence, at import, with the call as it was written."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from harness import Contract, Example, Implementation, Known, Regime, Sample, Shape, Suite, Variant, above
from harness.calling import NotALossError, admission, bind, read_loss
from harness.errors import SuiteError
from harness.trial import Case


def oracle(logits, target):
    return (logits - target).square().mean(1)


def squares(logits, target):
    """Squares.

    More lines follow.
    """
    return oracle(logits, target).mean()


def normal(shape, finfo, generator):
    logits, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(logits=logits, target=target)


def suite(**changes):
    parts = {
        "name": "squares",
        "oracle": oracle,
        "implementations": (Implementation(squares),),
        "regimes": (Regime(normal),),
        "variants": (Variant("mean"), Variant("smooth", label_smoothing=0.1)),
        "options": {"label_smoothing": 0.0, "ignore_index": -100},
    }
    return Suite(**{**parts, **changes})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: suite(variants=(Variant("v", label_smothing=0.1),)),
            "Suite('squares'): Variant('v', label_smothing=0.1): there is no option 'label_smothing'. "
            "Did you mean 'label_smoothing'? Allowed: reduction, label_smoothing, ignore_index.",
        ),
        (
            lambda: suite(implementations=(Implementation(squares, contract=Contract(ignore_idx=1)),)),
            "Suite('squares'): the Contract of 'squares': there is no option 'ignore_idx'. "
            "Did you mean 'ignore_index'? Allowed: reduction, label_smoothing, ignore_index.",
        ),
        (
            lambda: suite(implementations=(Implementation(squares), Implementation(squares))),
            "Suite('squares'): implementations names 'squares' twice; give one of them another name=.",
        ),
        (
            lambda: suite(regimes=(Regime(normal), Regime(normal))),
            "Suite('squares'): regimes names 'normal' twice; give one of them another name=.",
        ),
        (
            lambda: suite(variants=(Variant("mean"), Variant("mean"))),
            "Suite('squares'): variants names 'mean' twice; give one of them another name=.",
        ),
        (
            lambda: suite(implementations=()),
            "Suite('squares'): implementations is empty; declare at least one Implementation.",
        ),
        (lambda: suite(regimes=()), "Suite('squares'): regimes is empty; declare at least one Regime."),
        (lambda: suite(variants=()), "Suite('squares'): variants is empty; declare at least one Variant."),
        (
            lambda: suite(implementations=(Implementation(squares))),
            "Suite('squares'): implementations is one Implementation, not a tuple; add a comma.",
        ),
        (
            lambda: suite(regimes=(Regime(normal))),
            "Suite('squares'): regimes is one Regime, not a tuple; add a comma.",
        ),
        (
            lambda: suite(variants="mean"),
            "Suite('squares'): variants='mean' must be a tuple of Variant, got str.",
        ),
        (
            lambda: suite(implementations=(squares,)),
            "Suite('squares'): implementations holds the function squares; write Implementation(squares).",
        ),
        (
            lambda: suite(regimes=(normal,)),
            "Suite('squares'): regimes holds the function normal; write Regime(normal).",
        ),
        (
            lambda: suite().extended(squares),
            "squares.SUITE.extended(...): implementations holds the function squares; "
            "write Implementation(squares).",
        ),
        (
            lambda: suite(variants=("mean",)),
            "Suite('squares'): variants holds 'mean'; every entry must be a Variant.",
        ),
        (
            lambda: suite(implementations=(Implementation,)),
            "Suite('squares'): implementations holds <class 'harness.implementation.Implementation'>; "
            "every entry must be a Implementation.",
        ),
        (
            lambda: suite(name="a/b"),
            "Suite('a/b'): 'a/b' cannot be part of a trial id; use letters, digits, '_', '.', '+' and '-'.",
        ),
        (
            lambda: Implementation(squares, name="my loss"),
            "Implementation(name='my loss'): 'my loss' cannot be part of a trial id; "
            "use letters, digits, '_', '.', '+' and '-'.",
        ),
        (
            lambda: Variant(""),
            "Variant(''): '' cannot be part of a trial id; use letters, digits, '_', '.', '+' and '-'.",
        ),
        (
            lambda: Regime(normal, name="a=b"),
            "Regime(name='a=b'): 'a=b' cannot be part of a trial id; "
            "use letters, digits, '_', '.', '+' and '-'.",
        ),
        (
            lambda: suite(
                implementations=(
                    Implementation(squares, baseline=True),
                    Implementation(squares, name="again", baseline=True),
                )
            ),
            "Suite('squares'): baseline=True stands on squares, again; allowed is one.",
        ),
        (
            lambda: suite(examples=(Example(variant="maen", inputs={}, value=1.0),)),
            "Suite('squares'): Example(variant='maen'): there is no variant 'maen'. "
            "Did you mean 'mean'? Allowed: mean, smooth.",
        ),
        (
            lambda: suite(oracle=3),
            "Suite('squares'): oracle=3 must be a ClosedForm or a function that computes the per-row loss "
            "with torch operations.",
        ),
        (
            lambda: Implementation("squares"),
            "Implementation('squares'): the first argument must be callable; write Implementation(my_loss).",
        ),
        (
            lambda: Implementation(squares, known=Known("inaccurate", reason="true")),
            "Implementation(name='squares'): known=Known(kind=('inaccurate',), reason='true', upstream='', "
            "variant=(), regime=(), dtype=(), device=(), group=(), probe=(), torch='', outside=False, "
            "shown_at=None, up_to=4.0) is not a tuple; add a comma after Known(...).",
        ),
        (
            lambda: Known("inaccurate", reason=""),
            "Known('inaccurate'): says no reason; a known finding needs one.",
        ),
        (
            lambda: Known("inaccurate", reason="true", dtype=(torch.float32,)),
            "Known('inaccurate', dtype=(torch.float32,)): got torch.float32; "
            "allowed is a name, a pattern or a tuple of them.",
        ),
        (
            lambda: Sample(layout="nhwc", logits=torch.ones(1)),
            "Sample(layout='nhwc'): there is no layout 'nhwc'. Did you mean 'nchw'? Allowed: rows, nchw, "
            "elements, sequences.",
        ),
        (
            lambda: Sample(gradients=("logit",), logits=torch.ones(1), target=torch.ones(1, dtype=torch.int)),
            "Sample(gradients=('logit',)): there is no floating tensor 'logit'. "
            "Did you mean 'logits'? Allowed: logits.",
        ),
        (lambda: Sample(), "Sample(): names no tensor; write Sample(logits=..., target=...)."),
        (
            lambda: suite().implementation("sqares"),
            "suite 'squares': there is no implementation 'sqares'. Did you mean 'squares'? Allowed: squares.",
        ),
        (
            lambda: suite().regime("uniform"),
            "suite 'squares': there is no regime 'uniform'. Did you mean 'normal'? Allowed: normal.",
        ),
    ],
)
def test_a_mistake_is_one_exact_sentence(make, sentence):
    with pytest.raises(SuiteError) as raised:
        make()
    assert str(raised.value) == sentence


@pytest.mark.parametrize("kind", [Implementation, Regime])
@pytest.mark.parametrize("function", [lambda *_: None, partial(lambda *_: None), nn.MSELoss()])
def test_what_has_no_name_of_its_own_must_be_given_one(kind, function):
    with pytest.raises(SuiteError, match=rf"^{kind.__name__}\(.*has no name of its own; write .*name='...'"):
        kind(function)
    assert kind(function, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("thing", "attribute"),
    [
        (suite(), "name"),
        (suite().implementations[0], "baseline"),
        (suite().regimes[0], "name"),
        (suite().shapes, "usual"),
        (Known("inaccurate", reason="true"), "reason"),
        (Example(variant="mean", inputs={}, value=1.0), "value"),
        (above(batch=3), "batch"),
        (Shape(1, 2), "batch"),
        (Variant("mean"), "name"),
        (Contract(), "dtypes"),
    ],
    ids=lambda item: type(item).__name__ if not isinstance(item, str) else item,
)
def test_declared_values_are_frozen(thing, attribute):
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        setattr(thing, attribute, "changed")


@pytest.mark.parametrize("options", [suite().options, Variant("v", k=1).options, Contract(k=1).definition])
def test_declared_options_cannot_be_changed(options):
    with pytest.raises(TypeError):
        options["reduction"] = "sum"


def test_lists_become_tuples_and_defaults_are_filled_in():
    made = suite(implementations=[Implementation(squares)], options={})
    assert isinstance(made.implementations, tuple)
    assert dict(made.options) == {"reduction": "mean"}
    assert made.baseline is made.implementations[0]
    assert made.implementations[0].about == "Squares."


def test_extended_keeps_the_oracle_object_and_the_family_as_it_was():
    before = suite()
    after = before.extended(Implementation(squares, name="mine"))
    assert after.oracle is before.oracle
    assert [i.name for i in after.implementations] == ["squares", "mine"]
    assert [i.name for i in before.implementations] == ["squares"]
    with pytest.raises(SuiteError, match="names 'squares' twice"):
        before.extended(Implementation(squares))


TENSORS = (torch.zeros(2, 3), torch.ones(2, 3))


def scaled(logits, target, scale=1.0, reduction="mean"):
    rows = oracle(logits, target) * scale
    return rows.sum() if reduction == "sum" else rows.mean()


class Scaled(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, logits, target):
        return scaled(logits, target, self.scale)


def by_options(function, options):
    return lambda logits, target: function(logits, target, scale=10 * options["scale"])


@pytest.mark.parametrize(
    ("implementation", "value"),
    [
        (Implementation(scaled), 4.0),
        (Implementation(scaled, prepare=lambda function: function, name="one"), 4.0),
        (Implementation(scaled, prepare=by_options, name="two"), 40.0),
        (Implementation(Scaled), 4.0),
        (Implementation(squares), 1.0),
    ],
    ids=["plain", "prepare-of-one", "prepare-of-two", "module-class", "lacks-the-option"],
)
def test_options_reach_the_implementation_once_and_only_where_it_takes_them(implementation, value):
    bound = bind(implementation, {"reduction": "mean", "scale": 4.0}, {"scale": 4.0})
    assert bound.loss(TENSORS).item() == value


def test_a_neutral_option_is_not_passed_and_a_needed_one_makes_the_trial_unsupported():
    family = suite(variants=(Variant("mean"), Variant("smooth", label_smoothing=0.1)))
    case = Case("squares", "mean", "normal", "float32", "cpu", 2, 3, 1)
    plain = family.implementations[0]
    assert admission(family, plain, case) is None
    smooth = dataclasses.replace(case, variant="smooth")
    assert admission(family, plain, smooth) == ("unsupported", "takes no option label_smoothing=0.1")
    covered = Implementation(squares, contract=Contract(label_smoothing=0.0))
    assert admission(family, covered, smooth) is None


def test_skips_and_contracts_say_their_reason():
    case = Case("squares", "mean", "normal", "float32", "cpu", 9, 3, 1)
    skipped = Implementation(squares, skip=above(batch=8, classes=5))
    assert admission(suite(), skipped, case) == ("skipped", "declared skip above batch=8")
    narrow = Implementation(squares, contract=Contract(dtypes=("float64",), except_regimes=("norm*",)))
    status, reason = admission(suite(), narrow, case)
    assert (status, reason) == ("unsupported", "its contract declares dtype in {float64}")
    status, reason = admission(suite(), narrow, dataclasses.replace(case, dtype="float64"))
    assert (status, reason) == ("unsupported", "its contract takes regime normal out of its domain")


LOSS, OTHER = torch.tensor(1.0), torch.tensor(2.0)


@pytest.mark.parametrize(
    ("reads", "answer"),
    [
        (None, LOSS),
        (None, (LOSS, OTHER)),
        (None, {"loss": LOSS, "other": OTHER}),
        (1, (OTHER, LOSS)),
        ("loss", {"other": OTHER, "loss": LOSS}),
        (lambda answer: answer.loss, dataclasses.make_dataclass("Output", ["loss"])(LOSS)),
    ],
    ids=["tensor", "first-of-tuple", "first-of-dict", "index", "key", "function"],
)
def test_the_loss_is_read_by_index_key_or_function(reads, answer):
    assert read_loss(answer, Implementation(squares, reads=reads)) is LOSS


@pytest.mark.parametrize("answer", [None, 1.0, (), {}, "loss"])
def test_what_is_no_tensor_is_named_by_its_type(answer):
    with pytest.raises(NotALossError, match=f"returned {type(answer).__name__} instead of a loss tensor"):
        read_loss(answer, Implementation(squares))


@pytest.mark.parametrize("compiled", [torch.compile, partial(torch.compile, dynamic=False)])
def test_a_compiled_implementation_is_recognised_without_calling_it(compiled):
    assert Implementation(squares, prepare=compiled).compiled
    assert not Implementation(squares, prepare=lambda function: function).compiled


def test_importing_harness_imports_neither_torch_nor_numpy():
    code = "import sys, harness; print({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_regime_that_needs_an_option_is_not_put_to_who_takes_none():
    def takes(logits, target, ignore_index=-100):
        return squares(logits, target)

    family = suite(
        implementations=(Implementation(squares), Implementation(takes)),
        regimes=(Regime(normal), Regime(normal, name="ignored", needs=("ignore_index",))),
    )
    asked = {
        (item.name, regime): admission(
            family, item, Case("squares", "mean", regime, "float32", "cpu", 4, 3, 1)
        )
        for item in family.implementations
        for regime in ("normal", "ignored")
    }
    assert asked["squares", "ignored"] == (
        "unsupported",
        "takes no option ignore_index, which regime ignored needs",
    )
    assert [key for key, refused in asked.items() if refused is None] == [
        ("squares", "normal"),
        ("takes", "normal"),
        ("takes", "ignored"),
    ]
