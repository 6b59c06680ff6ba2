"""The source of a callable stands alone in a script and answers as the callable does.

What is executed here is text that `Sources` made of functions of this repository.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from functools import cache

import pytest
import torch

from harness.discovery import Selection, load_reference
from harness.inputs import draw
from harness.oracle.chunks import one_thread
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.running import ended
from harness.reproducer.search import reproduced
from harness.reproducer.sources import Sources, UnwritableError, options_taken
from harness.tests.reproducing import PLANTED, case_of, found_in, outcomes, written
from suites.cross_entropy import SUITE


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def suite():
    return load_reference(str(PLANTED))


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


def test_a_closure_has_no_source_and_is_looked_up_where_it_was_declared(suite):
    axes = ("mean", "unit_normal", "float32", 7, 10)
    found = reproduced(suite, *found_in(suite, "accuracy", "inaccurate", "loss", "halved_closure", *axes), 0)
    with pytest.raises(NoReproducerError, match="made by a call and closes over its values"):
        written(found)
    selected = Selection((str(PLANTED),), known_bad=True)
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
