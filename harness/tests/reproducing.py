"""What tests of reproducers share: stored findings, their scripts, and how those end in a child.

The child is isolated (`-I`) and has this project's directory not on its path: a script stands alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from harness.block import OpenBlock
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.reproducer.script import script
from harness.sample import Shape
from harness.trial import Case, Trial
from suites.cross_entropy import SUITE

PLANTED = Path(__file__).parent / "suites_for_tests" / "written_out.py"
IDENTITY = {"torch": torch.__version__, "aten_capability": "AVX512", "python": "3.11", "cpu": "one"}
PROBES = {"accuracy": accuracy, "overflow": overflow}


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
