"""A reproducer is a claim: run on its own it must fail, and pass once a right implementation stands there.

Findings come from blocks opened in process; scripts run in a child interpreter without this project's
directory on its path. One trial per (kind, probe) is enough here: what differs between trials is data.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import cache

import pytest
import torch

from harness.block import OpenBlock
from harness.discovery import Selection, load_reference
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.reproducer.reproduction import NoReproducerError, selection_of
from harness.reproducer.running import ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.reproducer.sources import Sources, UnwritableError, options_taken
from harness.reproducer.tensors import TensorText, short_hex
from harness.sample import Shape
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE

IDENTITY = {"torch": torch.__version__, "aten_capability": "AVX512", "python": "3.11", "cpu": "one"}
PROBES = {"accuracy": accuracy, "overflow": overflow}
# One trial per (kind, probe): probe, kind, tensor, implementation, variant, regime, dtype, rows, classes.
CASES = [
    ("accuracy", "inaccurate", "logits", "native", "mean", "confident", "float32", 64, 10),
    ("accuracy", "inaccurate", "loss", "logsumexp_gather", "mean", "offset", "float32", 64, 10),
    ("accuracy", "inaccurate", "logits", "native", "images", "unit_normal", "bfloat16", 64, 10),
    ("accuracy", "inaccurate", "logits", "native", "weighted_smoothed_ignored", "wide", "float16", 64, 10),
    ("accuracy", "dead_gradient", "logits", "native", "mean", "wide", "float32", 64, 10),
    ("accuracy", "inaccurate", "logits", "native_module", "sum", "wide", "float32", 64, 10),
    ("accuracy", "dead_loss", "loss", "native", "none", "confident", "float64", 7, 10),
    ("accuracy", "flushed", "logits", "native", "mean", "confident", "float16", 64, 10),
    ("accuracy", "spurious_nan", "logits", "softmax_log", "mean", "near_overflow", "float32", 64, 10),
    ("accuracy", "spurious_nan", "loss", "native", "probability", "masked", "float32", 64, 10),
    ("accuracy", "spurious_overflow", "loss", "softmax_log", "mean", "near_overflow", "float32", 64, 10),
    ("accuracy", "spurious_overflow", "loss", "native", "smoothed", "wide", "float16", 64, 1001),
    ("accuracy", "loss_gradient_split", "", "native", "probability", "masked", "float32", 64, 10),
    ("accuracy", "negative", "loss", "planted_negative", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "nan_swallowed", "loss", "planted_nanless", "mean", "ignored_all", "float32", 7, 10),
    ("accuracy", "raises", "", "planted_raise", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "raises", "", "planted_prepare", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "shape", "", "planted_shape", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "shape", "", "returns_pair", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "overwrites", "", "planted_overwrite", "mean", "unit_normal", "float32", 7, 10),
    ("accuracy", "no_gradient", "", "planted_detach", "mean", "unit_normal", "float32", 7, 10),
    ("overflow", "dead_gradient", "logits", "native", "mean", "unit_normal", "float32", 64, 10),
    ("overflow", "inaccurate", "", "native", "mean", "unit_normal", "float16", 64, 10),
    ("overflow", "spurious_overflow", "loss", "native", "mean", "unit_normal", "float16", 64, 10),
    ("overflow", "spurious_nan", "logits", "softmax_log", "mean", "unit_normal", "float32", 64, 10),
]
PLANTED = '''
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from harness import Implementation
from suites.cross_entropy import SUITE as FAMILY
from suites.implementations.cross_entropy import softmax_log as spelt_out

HALF = 0.5
TABLE = {}
TABLE["factor"] = HALF

def negative(logits, target):
    """Right gradient, loss with the wrong sign."""
    return -2 * F.cross_entropy(logits, target).detach() + F.cross_entropy(logits, target)

def nanless(logits, target, ignore_index=-100):
    return F.cross_entropy(logits, target, ignore_index=ignore_index).nan_to_num()

def raising(logits, target):
    raise RuntimeError("always \\"here\\" {0}")

def unreduced(logits, target):
    return F.cross_entropy(logits, target, reduction="none")

def overwriting(logits, target):
    loss = F.cross_entropy(logits, target)
    logits.data.mul_(2)
    return loss

def detached(logits, target):
    return F.cross_entropy(logits.detach(), target)

def refuses(function, options):
    raise TypeError("cannot be built")

def halved(logits, target):
    return {"loss": TABLE["factor"] * F.cross_entropy(logits, target), "rest": None}

def renamed(logits, target):
    return TABLE["factor"] * spelt_out(logits, target)

class Halved(nn.Module):
    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction

    def forward(self, logits, target):
        return HALF * F.cross_entropy(logits, target, reduction=self.reduction)

def built(module, options):
    return module(**options)

def made(factor):
    def closes_over(logits, target):
        return factor * F.cross_entropy(logits, target)
    return closes_over

def scaled(logits, target, *, factor):
    return factor * F.cross_entropy(logits, target)

class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, q):
        top, place = x.max(1, keepdim=True)
        powers = (x - top).exp()
        rest = powers.scatter(1, place, 0.0).sum(1, keepdim=True)
        losses = torch.log1p(rest) - (x - top)
        apart = (1 + rest - powers).scatter(1, place, rest) / (1 + rest)
        most, where = q.max(1, keepdim=True)
        below = q.scatter(1, where, 0.0).sum(1, keepdim=True)
        others = (most + below - q).scatter(1, where, below)
        ctx.save_for_backward(powers / (1 + rest) * others - q * apart, losses)
        return torch.where(q == 0, 0.0, q * losses).sum(1)

    @staticmethod
    def backward(ctx, upstream):
        gradient, losses = ctx.saved_tensors
        return gradient * upstream.unsqueeze(1), losses * upstream.unsqueeze(1)

def dense(logits, target, reduction="mean", weight=None, ignore_index=-100, label_smoothing=0.0):
    """Right for every variant of rows: the closed form over class coefficients, in float64."""
    x, classes = logits.double(), logits.shape[1]
    w = torch.ones(classes, dtype=x.dtype) if weight is None else weight.double()
    if target.is_floating_point():
        kept, distribution = torch.ones(len(x), dtype=torch.bool), target.double()
        denominator = torch.tensor(float(len(x)))
    else:
        kept = target != ignore_index
        safe = torch.where(kept, target, 0)
        distribution = F.one_hot(safe, classes).double()
        denominator = w[safe][kept].sum()
    q = ((1 - label_smoothing) * distribution + label_smoothing / classes) * w
    losses = torch.zeros(len(x), dtype=x.dtype).masked_scatter(kept, _Dense.apply(x[kept], q[kept]))
    total = losses if reduction == "none" else losses.sum()
    return (total / denominator if reduction == "mean" else total).to(logits.dtype)

SUITE = FAMILY.extended(
    Implementation(dense),
    Implementation(negative, name="planted_negative"),
    Implementation(nanless, name="planted_nanless"),
    Implementation(raising, name="planted_raise"),
    Implementation(raising, name="planted_prepare", prepare=refuses),
    Implementation(unreduced, name="planted_shape"),
    Implementation(overwriting, name="planted_overwrite"),
    Implementation(detached, name="planted_detach"),
    Implementation(halved, reads="loss"),
    Implementation(renamed),
    Implementation(Halved, name="halved_module"),
    Implementation(Halved, name="halved_built", prepare=built),
    Implementation(lambda logits, target: HALF * F.cross_entropy(logits, target), name="halved_lambda"),
    Implementation(partial(scaled, factor=0.5), name="halved_partial"),
    Implementation(made(0.5), name="halved_closure"),
)
'''


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def suite_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("planted") / "planted.py"
    path.write_text(PLANTED, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def suite(suite_path):
    return load_reference(suite_path)


def case_of(variant, regime, dtype, rows=64, classes=10):
    shape = SUITE.regime(regime).shape(Shape(rows, classes))
    return Case(SUITE.name, variant, regime, dtype, "cpu", shape.batch, shape.classes, 1)


def found_in(suite, probe, kind, tensor, name, *axes):
    """Returns the trial and its first finding of a kind (and tensor) as a stored run would hold it."""
    case = case_of(*axes)
    findings = PROBES[probe](OpenBlock(suite, case, 0), name).findings
    matching = [
        f
        for f in findings
        if f.kind == kind and f.witness.get("tensor", tensor) == (tensor or f.witness.get("tensor", ""))
    ]
    assert matching, [f"{f.kind} {f.group}" for f in findings]
    return Trial(case, name), type(matching[0]).from_json(json.loads(json.dumps(matching[0].to_json())))


def written(found, **given):
    return script(found, identity=IDENTITY, command="lossgauge show x --repro", **given)


def stand_in_for(suite, found):
    """Returns a right implementation of a case: the suite's clean control, or one for dense targets."""
    options = found.stand.options
    plain = found.stand.sample["target"].dtype == torch.int64 and not options["label_smoothing"]
    return suite.implementation("exact_gradient" if plain else "dense")


DRIVER = """
import json, runpy, sys
for path in sys.argv[1:]:
    try:
        runpy.run_path(path, run_name="__main__")
        print(json.dumps(["", ""]))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def outcomes(folder, texts):
    """Runs scripts one after the other in a child and returns the exception (name, text) of each."""
    paths = [folder / f"script_{i}.py" for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-I", "-W", "error", "-c", DRIVER, *map(str, paths)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_kind_of_every_probe_fails_on_its_own_and_passes_with_a_right_implementation(suite, tmp_path):
    failing, passing = [], []
    for probe, kind, tensor, name, *axes in CASES:
        trial, finding = found_in(suite, probe, kind, tensor, name, *axes)
        found = reproduced(suite, trial, finding, 0)
        assert found.again, (probe, kind, name)
        assert found.seen.kind == kind
        failing.append(written(found))
        for package in ("harness", "suites", "flint", "numpy"):
            assert f"import {package}" not in failing[-1]
            assert f"from {package}" not in failing[-1]
        assert trial.id in failing[-1]
        passing.append(written(found, stand_in=stand_in_for(suite, found)))
    said = outcomes(tmp_path, failing)
    for case, (error, message) in zip(CASES, said, strict=True):
        assert error == "AssertionError", (case, error, message)
        assert message, case
    assert [error for error in outcomes(tmp_path, passing) if error != ("", "")] == []
    by_case = dict(zip(CASES, (message for _, message in said), strict=True))
    told = {kind: message for (_, kind, *_), message in by_case.items()}
    assert "returned as 0 although the exact gradient is a normal number" in told["dead_gradient"]
    assert "raised on valid input" in told["raises"]
    assert "instead of a loss tensor" in told["shape"]
    assert told["overwrites"] == "wrote into logits, an input"


def test_a_script_ends_with_1_as_it_is_and_with_0_once_the_implementation_is_right(suite, tmp_path):
    found = reproduced(suite, *found_in(suite, *CASES[4]), 0)
    for given, code in (({}, 1), ({"stand_in": suite.implementation("exact_gradient")}, 0)):
        path = tmp_path / "script.py"
        path.write_text(written(found, **given), encoding="utf-8")
        done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        assert ("AssertionError" in done.stderr) == bool(code)


def test_inputs_are_reduced_to_the_row_of_the_witness_where_one_row_shows_it(suite):
    trial, finding = found_in(suite, *CASES[4])
    found = reproduced(suite, trial, finding, 0)
    assert list(found.kept) == finding.witness["place"][:1]
    sample, _ = draw(trial.case, suite, seed=0)
    assert torch.equal(found.stand.sample["logits"], sample["logits"][list(found.kept)])
    assert found.place[0] == 0
    assert found.rows_drawn == 64


def test_a_defect_of_the_sum_keeps_the_rows_that_it_takes_and_says_how_they_repeat(suite):
    trial, finding = found_in(suite, *CASES[23])
    found = reproduced(suite, trial, finding, 0)
    assert len(found.kept) == found.rows_drawn > 4096
    text = written(found)
    assert f"% 64]  # {found.rows_drawn} rows repeat 64" in text
    assert len(text) < 8000


def test_a_finding_over_every_value_of_a_dtype_is_shown_by_the_row_of_one_value(suite, tmp_path):
    case = case_of("mean", "unit_normal", "float16")
    found = overflow(OpenBlock(suite, case, 0), "softmax_log").findings
    finding = next(f for f in found if f.witness.get("question") == "exhaustive gap")
    again = reproduced(suite, Trial(case, "softmax_log"), finding, 0)
    assert (len(again.kept), again.stand.options["reduction"]) == (1, "none")
    assert again.rows_drawn == 63488
    assert again.stand.upstream.tolist() == [1.0]
    ((error, _),) = outcomes(tmp_path, [written(again)])
    assert error == "AssertionError"
    right = written(again, stand_in=suite.implementation("exact_gradient"))
    assert outcomes(tmp_path, [right]) == [("", "")]


def test_another_seed_draws_other_inputs_and_says_so_when_the_finding_does_not_come_back(suite):
    trial, finding = found_in(suite, *CASES[4])
    stranger = Trial(replace(trial.case, regime="tiny"), "exact_gradient")
    found = reproduced(suite, stranger, finding, 0)
    assert not found.again
    assert len(found.kept) == 64
    assert "this machine did not show the finding again" in written(found)
    other = reproduced(suite, trial, finding, 1)
    assert "seed 1" in written(other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"witness": {"question": "layout: transposed"}},
            "no reproducer yet for question layout: transposed",
        ),
        ({"kind": "autocast"}, "no reproducer yet for question autocast"),
    ],
)
def test_what_no_script_is_known_for_is_refused_in_a_sentence(change, words, suite):
    trial, finding = found_in(suite, *CASES[4])
    with pytest.raises(NoReproducerError, match=words) as caught:
        reproduced(suite, trial, replace(finding, **change), 0)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_compiled_implementation_is_compiled_in_its_script(suite, tmp_path):
    axes = ("mean", "wide", "float32", 64, 10)
    for name in ("compiled", "compiled_native"):
        trial, finding = found_in(suite, "accuracy", "dead_gradient", "logits", name, *axes)
        found = reproduced(suite, trial, finding, 0)
        text = written(found)
        assert "functools.partial(torch.compile, dynamic=False)" in text
        assert len(found.kept) == 1
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "AssertionError: gradient of logits" in done.stderr


@cache
def sample_of(dtype):
    return draw(case_of("mean", "unit_normal", dtype), SUITE, seed=3)


@pytest.mark.parametrize("item", SUITE.implementations, ids=lambda item: item.name)
def test_the_source_of_every_implementation_stands_alone_and_answers_the_same_bits(item):
    sources = Sources()
    expression = sources.expression(item.function)
    text = "\n".join(["from __future__ import annotations", "import torch", *sources.lines()])
    assert "harness" not in text
    assert "suites" not in text
    scope = {}
    exec(compile(text, "script", "exec", dont_inherit=True), scope)
    copied = eval(expression, scope)
    sample, options = sample_of("float32")
    taken = options_taken(item.function, item.accepts, options, {})
    answers = []
    for function in (item.function, copied):
        called = function(**taken) if isinstance(function, type) else function
        try:
            answer = called(*sample.tensors, **({} if isinstance(function, type) else taken))
        except Exception as error:
            answer = type(error)
        answers.append(answer[0] if isinstance(answer, tuple) else answer)
    if isinstance(answers[0], torch.Tensor):
        assert torch.equal(*answers)
    else:
        assert answers[0] is answers[1]
        assert item.known_bad


@pytest.mark.parametrize(
    "name", ["halved", "renamed", "halved_module", "halved_built", "halved_lambda", "halved_partial"]
)
def test_every_form_of_callable_is_written_out_with_what_it_uses(name, suite, tmp_path):
    axes = ("mean", "unit_normal", "float32", 7, 10)
    found = reproduced(suite, *found_in(suite, "accuracy", "inaccurate", "loss", name, *axes), 0)
    text = written(found)
    assert "SUITE" not in text.partition("def main")[0].partition("import torch")[2]
    ((error, message),) = outcomes(tmp_path, [text])
    assert (error, message.split()[0]) == ("AssertionError", "loss")


def test_a_closure_has_no_source_and_is_looked_up_where_it_was_declared(suite, suite_path):
    axes = ("mean", "unit_normal", "float32", 7, 10)
    found = reproduced(suite, *found_in(suite, "accuracy", "inaccurate", "loss", "halved_closure", *axes), 0)
    with pytest.raises(NoReproducerError, match="made by a call and closes over its values"):
        written(found)
    selected = Selection((suite_path,), known_bad=True)
    text = written(replace(found, selection=selected))
    assert "    # Not written out: it is made by a call" in text
    assert "    call = implementation\n" in text
    assert ended(text).failure.startswith("loss is ")


def test_names_that_mean_two_things_are_not_mixed(tmp_path, monkeypatch):
    (tmp_path / "one_file.py").write_text("def _helper(x):\n    return x + 1\n", encoding="utf-8")
    (tmp_path / "two_files.py").write_text(
        textwrap.dedent("""
        from one_file import _helper as other
        def _helper(x):
            return x + 2
        def both(x):
            return other(x) * _helper(x)
        def own(x, _unused=len):
            return [_helper(y) for y in x]
        """),
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    import two_files

    (tmp_path / "third_file.py").write_text(
        "import math as other\nimport functools\nfrom two_files import own as theirs\n"
        "from one_file import _helper as _first\ndef other_file(x):\n    return other.floor(theirs(x)[0])\n"
        "@functools.lru_cache\ndef cached(x):\n    return x\n",
        encoding="utf-8",
    )
    sources = Sources()
    # `_helper` of one file would replace that of the other: imported, with the reason beside it.
    assert sources.expression(two_files.both) == "both"
    (line,) = sources.lines()
    assert line.startswith("from two_files import both  # not written out: _helper means something else in ")
    alone = Sources()
    assert alone.expression(two_files.own) == "own"
    assert "one_file" not in "\n".join(alone.lines())
    scope = {}
    exec("\n".join(alone.lines()), scope)
    assert scope["own"]([1]) == [3]
    import third_file

    across = Sources()
    assert [across.expression(f) for f in (third_file.other_file, third_file.cached)] == [
        "other_file",
        "cached",
    ]
    scope = {}
    exec("\n".join(across.lines()), scope)
    assert scope["other_file"]([1.5]) == 3
    assert scope["cached"].cache_info().hits == 0
    # `other` is math in one file and a function in the other: the second is imported.
    across.expression(two_files.both)
    assert any("not written out: other means something else in third_file" in x for x in across.lines())


def test_plain_values_are_written_as_expressions_and_others_are_refused():
    sources = Sources()
    values = [None, True, 3, 0.1, float("inf"), "a'b", (1,), [1, (2, 3)], {"k": torch.float16}, torch.relu]
    for value in values:
        assert eval(sources.expression(value), {"torch": torch}) == value
    with pytest.raises(UnwritableError, match="object has no source text"):
        sources.expression(object())
    assert sources.expression(torch.nn.functional.cross_entropy) == "torch.nn.functional.cross_entropy"


def read_back(text, tensor):
    helpers = textwrap.dedent("\n".join(text.helpers))
    scope = {"torch": torch}
    exec("\n".join([*(f"import {m}" for m in text.modules), helpers]), scope)
    # Lines are written for the inside of `main`; what is packed stands at the left margin.
    exec("\n".join(["if True:", *text.written("value", tensor)]), scope)
    return scope["value"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "int64", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 4, 5), (5000,), (40, 200), (0, 3)])
def test_tensors_read_back_bit_for_bit(dtype, shape):
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    if kind.is_floating_point:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64).mul(1e-3).to(kind)
        special = torch.tensor([-0.0, torch.finfo(kind).smallest_normal / 2, float("inf"), -float("inf")])
        flat = tensor.reshape(-1)
        flat[: min(4, flat.numel())] = special.to(kind)[: flat.numel()]
    else:
        tensor = torch.randint(0, 2, shape, generator=generator).to(kind)
    text = TensorText()
    lines = text.written("value", tensor)
    assert ("unpacked" in "\n".join(lines)) == (tensor.numel() > 4096)
    again = read_back(text, tensor)
    assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}[tensor.element_size()]
    assert torch.equal(again.contiguous().view(whole), tensor.contiguous().view(whole))


def test_a_batch_that_repeats_is_written_as_its_cycle():
    cycle = torch.randn(7, 3)
    for count in (64, 700, 701):
        tensor = cycle[torch.arange(count) % 7]
        text = TensorText()
        lines = text.written("value", tensor)
        assert lines[-1].endswith(f"# {count} rows repeat 7")
        assert torch.equal(read_back(text, tensor), tensor)
    tensor[-1] += 1
    assert "repeat" not in "\n".join(TensorText().written("value", tensor))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1.5, -3.1e-320, 2.0**1000, float("inf"), -float("inf")])
def test_short_hex_floats_are_the_same_numbers(value):
    assert float.fromhex(short_hex(value)).hex() == value.hex()
    assert len(short_hex(value)) <= len(value.hex())


def test_a_selection_is_read_off_a_manifest(tmp_path):
    stored = Selection((str(tmp_path / "mine.py"), "kl_div"), ("native", "pkg.mod:f"), "a b.safetensors")
    found = selection_of({"selection": json.loads(json.dumps(stored.to_json())), "command": "lossgauge run"})
    assert found.suites == (str(tmp_path / "mine.py"), "kl_div")
    assert (found.implementations, found.known_bad) == (("pkg.mod:f",), True)
    assert found.inputs.endswith("a b.safetensors")
    # Names of suites alone select nothing: whoever is put in another's place may be of any file.
    named = Selection(("cross_entropy",), ("native",))
    assert selection_of({"selection": named.to_json()}) == Selection(known_bad=True)


def test_a_manifest_without_a_selection_is_read_by_its_command():
    manifest = {
        "command": "lossgauge run --suite mine.py --inputs 'a b.safetensors'",
        "config": {"suite": {"value": ["mine.py"]}, "impl": {"value": ["native", "pkg.mod:f"]}},
    }
    found = selection_of(manifest)
    assert (found.suites, found.implementations) == (("mine.py",), ("pkg.mod:f",))
    assert (found.inputs, found.known_bad) == ("a b.safetensors", True)
    assert selection_of({"config": {"suite": {"value": ["cross_entropy"]}}}).suites == ()
