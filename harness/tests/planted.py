"""A planted suite and a pytest session on it, for the tests of the pytest face.

The trap: pytester forgets what a session inside this process imports, and neither torch nor scipy's
extension modules can be imported twice, so whatever a session may import is imported here.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import scipy.stats  # noqa: F401

import harness.pytest_file  # noqa: F401
from harness.probes.memory import warm_up_profiler

PLANTED = """
import sys
import warnings

import torch

from harness import Contract, Example, Identity, Implementation, Known, Regime, Sample, Shape, Shapes
from harness import Suite, Variant


def truth(prediction, target, reduction="none", power=2):
    return ((prediction - target).abs() ** power).sum(1)


def squared(prediction, target, reduction="mean"):
    rows = ((prediction.double() - target.double()) ** 2).sum(1)
    return {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction].to(prediction.dtype)


def too_small(prediction, target, reduction="mean"):
    return 0.97 * squared(prediction, target, reduction)


def takes_a_power(prediction, target, reduction="mean", power=2):
    rows = ((prediction.double() - target.double()).abs() ** power).sum(1)
    return {"none": rows, "sum": rows.sum(), "mean": rows.mean()}[reduction].to(prediction.dtype)


def warns(prediction, target, reduction="mean"):
    warnings.warn("about something", UserWarning)
    return squared(prediction, target, reduction)


def exits(prediction, target, reduction="mean"):
    sys.exit("enough")


def unit_normal(shape, finfo, generator):
    draw = lambda: torch.randn(shape, generator=generator, dtype=torch.float64)
    return Sample(prediction=draw(), target=draw())


def symmetric(evaluate, sample):
    return evaluate(*reversed(sample.tensors), reduction="none")


def plain(evaluate, sample):
    return evaluate(*sample.tensors, reduction="none")


def doubled(evaluate, sample):
    return 2 * plain(evaluate, sample)


def cubed(evaluate, sample):
    return evaluate(*sample.tensors, reduction="none", power=3)


POINT = {"prediction": [[1.0, 2.0]], "target": [[0.0, 0.0]]}
WIDE = Contract(dtypes=("float32", "float64"))
NARROW = Contract(dtypes=("float32",))

SUITE = Suite(
    name="squared",
    oracle=truth,
    options={"reduction": "mean", "power": 2},
    variants=(Variant("mean"), Variant("none", reduction="none")),
    regimes=(Regime(unit_normal),),
    implementations=(IMPLEMENTATIONS),
    examples=(EXAMPLES),
    identities=(IDENTITIES),
    shapes=Shapes(usual=Shape(4, 3), covering=(), timed=(Shape(4, 3), Shape(1024, 1024))),
)
"""
RIGHT = "Implementation(squared, contract=NARROW),"
NAMES = "squared/{variant}/unit_normal/{dtype}-cpu-b4-c3-t1/{implementation}"
MEAN = "squared/mean/unit_normal/float32-cpu-b4-c3-t1/"


class Session:
    """A pytest session inside this process, on a planted suite."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def plant(self, implementations: str = RIGHT, *, examples: str = "", identities: str = "") -> None:
        text = PLANTED.replace("IMPLEMENTATIONS", implementations)
        text = text.replace("EXAMPLES", examples).replace("IDENTITIES", identities)
        self.write("suites/squared.py", text)

    def write(self, path: str, text: str) -> None:
        place = self.pytester.path / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> pytest.RunResult:
        # Named twice, by -p and by its entry point: it must be registered once.
        return self.pytester.runpytest_inprocess("-p", "harness.pytest_plugin", *arguments)

    def names(self, *arguments: str) -> list[str]:
        lines = self.run("--collect-only", "-q", *arguments).outlines
        return [line.partition("::")[2] for line in lines if "::" in line]

    def outcomes(self, *arguments: str) -> dict[str, tuple[str, str]]:
        """Returns (outcome, text) by test name; an xfail says so."""
        path = self.pytester.path / "junit.xml"
        self.run("suites", f"--junitxml={path}", *arguments)
        found = {}
        for case in ElementTree.parse(path).iter("testcase"):
            outcome = next((child for child in case if child.tag != "properties"), None)
            if outcome is None:
                found[case.get("name")] = ("passed", "")
                continue
            word = {"failure": "failed", "error": "error", "skipped": "skipped"}[outcome.tag]
            word = "xfailed" if outcome.get("type") == "pytest.xfail" else word
            found[case.get("name")] = (word, f"{outcome.get('message')}\n{outcome.text}")
        return found


def load_everything_once() -> None:
    """Loads what the profiler imports on first use, before pytester can forget it again."""
    warm_up_profiler()
