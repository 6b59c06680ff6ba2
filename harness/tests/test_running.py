"""A script that ends early: whose fault it is, and that nothing of a stored run is carried out in it."""

from __future__ import annotations

import sys
import types

import pytest

from harness import Implementation
from harness.reproducer.repeats import UNSEEN
from harness.reproducer.reproduction import NoReproducerError
from harness.reproducer.running import ended
from harness.reproducer.script import script
from harness.reproducer.search import reproduced
from harness.results import Finding
from harness.tests.questioned import right
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE

CASE = Case(SUITE.name, "mean", "unit_normal", "float32", "cpu", 8, 10, 1)
SCRIPT = """\
import torch

{copied}

def main():
    {line}
"""


@pytest.fixture
def home(tmp_path):
    """A file of losses that a script could be copied from, whose `scale` reads a name of its own."""
    path = tmp_path / "their_losses.py"
    path.write_text("FACTOR = 2.0\ndef scale(x):\n    return FACTOR * x\n", encoding="utf-8")
    module = types.ModuleType("their_losses")
    module.__file__ = str(path)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    sys.modules["their_losses"] = module
    yield module
    del sys.modules["their_losses"]


def written(copied, line):
    return SCRIPT.format(copied=copied, line=line)


@pytest.mark.parametrize(
    ("copied", "words"),
    [
        (
            "def loss(x):\n    return x * FACTOR_OF_NOBODY",
            "NameError: name 'FACTOR_OF_NOBODY' is not defined",
        ),
        (
            "def loss(x):\n    if x: y = 1\n    return y",
            "UnboundLocalError: cannot access local variable 'y'",
        ),
        (
            "def loss(x):\n    import kernels_of_nobody",
            "ModuleNotFoundError: No module named 'kernels_of_nobody'",
        ),
        (
            "def loss(x):\n    from math import nothing",
            "ImportError: cannot import name 'nothing' from 'math'",
        ),
        ("def loss(x):\n    raise ImportError('needs a licence')", "ImportError: needs a licence"),
        ("class Loss:\n    def at(self, x): return x * LOST\nloss = Loss().at", "NameError: name 'LOST'"),
    ],
    ids=["name", "local", "module", "name of a module", "raised", "method"],
)
def test_what_an_implementation_lacks_itself_is_what_it_raised(copied, words):
    end = ended(written(copied, "loss(0)"))
    assert end.failure is None
    assert end.raised.startswith(words)


@pytest.mark.parametrize(
    ("copied", "line", "kind"),
    [
        ("", "print(FACTOR)", NameError),
        ("", "import kernels_of_nobody", ImportError),
        ("import kernels_of_nobody", "pass", ImportError),
        ("def scale(x):\n    return FACTOR * x", "scale(1)", NameError),
        ("def loss(x):\n    from .kernels import fast", "loss(1)", ImportError),
    ],
    ids=["name in main", "import in main", "import at the head", "name left out", "relative import"],
)
def test_what_a_script_lacks_by_our_fault_is_raised(copied, line, kind, home):
    with pytest.raises(kind):
        ended(written(copied, line))


def test_the_head_of_a_script_tells_what_the_implementation_raised():
    def forgets(logits, target, reduction="mean"):
        """Reads a name that its file does not have."""
        return right(logits, target, reduction) * FACTOR_OF_NOBODY  # noqa: F821

    forgets.__qualname__ = "forgets"
    globals()["forgets"] = forgets
    family = SUITE.extended(Implementation(forgets, name="forgets"))
    finding = Finding(
        "upstream", "error", "protocol", "upstream 3", "logits: off",
        {"question": "upstream 3", "tensor": "logits", "place": [0, 0]},
    )  # fmt: skip
    found = reproduced(family, Trial(CASE, "forgets"), finding, 0)
    assert (found.again, found.instead) == (False, "NameError: name 'FACTOR_OF_NOBODY' is not defined")
    words = " ".join(script(found, identity={}, command="").replace("#", "").split())
    assert "the script ends in NameError: name 'FACTOR_OF_NOBODY' is not defined before it can tell" in words


# Names a module by the numbers of its letters: a quotation mark would end the text that it is put into.
HOSTILE = "{__import__(chr(115)+chr(121)+chr(115)).modules.update(CARRIED_OUT=None)}"
STRANGERS = {"tensor": "logits", "place": [0, 0], "truth": "0x1p+0", "got": "0x0p+0"}


@pytest.mark.parametrize(
    ("kind", "message", "question"),
    [
        ("wrong_while_timed", f"{UNSEEN}: {HOSTILE}", HOSTILE),
        ("wrong_while_timed", f"{UNSEEN}: {HOSTILE}", f'"{HOSTILE}'),
        ("wrong_while_timed", f"{UNSEEN}: {HOSTILE}", f"exhaustive {HOSTILE}"),
        ("inaccurate", HOSTILE, ""),
        ("accepts_invalid", f"{HOSTILE}: answers", HOSTILE),
        ("upstream", HOSTILE, "upstream 3"),
        ("changes_state", HOSTILE, "state kept"),
    ],
    ids=["timed", "quoted", "exhaustive", "plain", "invalid", "upstream", "state"],
)
def test_words_of_a_stored_run_are_never_carried_out(kind, message, question):
    group = "label_negative" if kind == "accepts_invalid" else HOSTILE
    finding = Finding(kind, "error", "timing", group, message, {**STRANGERS, "question": question})
    try:
        found = reproduced(SUITE, Trial(CASE, SUITE.baseline.name), finding, 0)
    except NoReproducerError:
        assert kind == "accepts_invalid"
        return
    ended(script(found, identity={"torch": HOSTILE}, command=HOSTILE))
    assert sys.modules.pop("CARRIED_OUT", "not there") == "not there"


@pytest.mark.parametrize("tensor", ["", "weights"])
def test_a_witness_about_a_tensor_that_is_not_there_is_refused_in_a_sentence(tensor):
    witness = {**STRANGERS, "tensor": tensor, "question": "upstream 3"}
    finding = Finding("upstream", "error", "protocol", "upstream 3", "logits: off", witness)
    with pytest.raises(NoReproducerError, match=f"there is no tensor '{tensor}'.* Allowed: loss, logits"):
        reproduced(SUITE, Trial(CASE, SUITE.baseline.name), finding, 0)


def test_a_kind_that_nobody_knows_is_refused_in_a_sentence():
    finding = Finding("", "error", "accuracy", "logits", "0 for 1", STRANGERS)
    with pytest.raises(NoReproducerError, match="there is no kind of finding ''"):
        reproduced(SUITE, Trial(CASE, SUITE.baseline.name), finding, 0)
