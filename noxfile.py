"""The only entry: a person and CI call the same sessions; every version comes from constraints.txt."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
PINS = ("-c", "constraints.txt")
LINTERS = ("ruff", "mypy", "import-linter", "pandas-stubs", "types-psutil")


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the tests, then the suites' own examples, identities and quick trials under pytest."""
    session.install(*PINS, "-e", ".[test]")
    session.run("pytest", *session.posargs)
    if not session.posargs:
        session.run("pytest", "suites", "-q")


@nox.session
def lint(session: nox.Session) -> None:
    """Checks style, types and the direction of imports."""
    session.install(*PINS, "-e", ".[test]", *LINTERS)
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
