"""The only entry: a person and CI call the same sessions; every version comes from constraints.txt."""

from __future__ import annotations

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
PINS = ("-c", "constraints.txt")
# Pinned here and nowhere else: none of them is a dependency, and none may bring its own.
THIRD_PARTY = (
    "liger-kernel==0.8.5",
    "cut-cross-entropy==25.1.1",
    "kornia==0.9.0",
    "kornia-rs==0.2.0",
    "entmax==1.3",
    "info-nce-pytorch==0.1.4",
)
TRITON = "triton==3.9.0"
# As many processes of tests as cores: with a third, what has a second to answer may be late. Each has one
# thread unless a test asks for more, and waits without spinning.
PATIENT = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
AT_ONCE, SHARES = 2, 8
LINTERS = ("ruff", "mypy", "import-linter", "pandas-stubs", "types-psutil")


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the tests and the suites' own examples, identities and quick trials under pytest."""
    session.install(*PINS, "-e", ".[test]")
    if session.posargs:
        session.run("pytest", *session.posargs, env=PATIENT)
        return
    # Whole files, as what is stale in a suite is known when all of it was asked. Plain processes: to report
    # 57,000 items through pytest-xdist took a quarter more CPU time.
    folders = ("harness/tests", "reports/tests", "suites/tests")
    tested = chain.from_iterable(Path(folder).rglob("test_*.py") for folder in folders)
    files = [*map(str, sorted(tested)), *map(str, sorted(Path("suites").glob("[!_]*.py")))]

    def share(start: int) -> str:
        words = ("pytest", "-q", "-rfE", *files[start::SHARES])
        return str(session.run(*words, env=PATIENT, silent=True, log=False))

    total: Counter[str] = Counter()
    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, said in enumerate(pool.map(share, range(SHARES)), start=1):
            session.log(f"share {number} of {SHARES} of the tests\n{said.rstrip()}")
            closing = re.findall(r"(\d+) ([a-z]+)(?=,| in )", said.rstrip().rpartition("\n")[2])
            total.update({outcome: int(count) for count, outcome in closing})
    listed = ", ".join(f"{count} {outcome}" for outcome, count in total.items())
    print(f"{listed} in {time.monotonic() - begin:.2f}s")  # noqa: T201 (pytest closes with such a line)


@nox.session
def lint(session: nox.Session) -> None:
    """Checks style, types and the direction of imports."""
    # Nothing here imports torch; where it is imported, missing bytecode makes a first answer late.
    session.install("--no-compile", *PINS, "-e", ".[test]", *LINTERS)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def sweep(session: nox.Session) -> None:
    """Runs the main job: the quick sweep, ending in the path of report.html."""
    session.install(*PINS, ".")
    session.run("lossgauge", "run", *session.posargs)


@nox.session
def selfbench(session: nox.Session) -> None:
    """Measures what the harness itself costs, against its targets."""
    session.install(*PINS, ".")
    session.run("python", "-P", "-m", "harness.cli.selfbench", *session.posargs)


@nox.session
def certify(session: nox.Session) -> None:
    """Compares the oracles with Arb balls on random rows of every cell; fails on a miss."""
    session.install(*PINS, ".")
    session.run("python", "-P", "-m", "harness.cli.certify", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Plants every fault of the catalogue and writes docs/kill_matrix.md; fails on a survivor."""
    session.install(*PINS, "-e", ".[test]")
    session.run("python", "-P", "-m", "harness.tests.mutants.matrix", *session.posargs)


@nox.session
def reproducers(session: nox.Session) -> None:
    """Runs the script of every finding on torch's own losses alone; writes docs/native_findings.md."""
    session.install(*PINS, ".")
    page = ("-o", "docs/native_findings.md")
    session.run("python", "-P", "-m", "harness.cli.reproduce", *(session.posargs or page))


@nox.session
def third_party(session: nox.Session) -> None:
    """Asks released loss packages what their families are asked; `-- entmax==1.2` asks another version."""
    session.install(*PINS, "-e", ".")
    # A torch for CUDA brings the Triton that it was built with.
    has_triton = "import importlib.util as u; print(u.find_spec('triton') is not None)"
    if str(session.run("python", "-c", has_triton, silent=True)).strip() != "True":
        session.install(*PINS, "--no-deps", TRITON, success_codes=(0, 1))
    for package in THIRD_PARTY:
        # One that no index has is answered by a sentence of its adapter.
        session.install(*PINS, "--no-deps", package, success_codes=(0, 1))
    others = [word for word in session.posargs if "==" in word]
    if others:
        session.install(*PINS, "--no-deps", *others)
    session.run(
        "python", "-P", "-m", "suites.third_party", *(word for word in session.posargs if word not in others)
    )
