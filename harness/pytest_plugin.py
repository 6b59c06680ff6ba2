"""The pytest face: a suite file is collected as tests, one per example, identity, trial and Known entry.

`pytest suites` and `pytest my_suite.py` ask the questions of the quick plan in this process; with
`--benchmark-only` the timed cases run under pytest-benchmark instead. The trap: this module is
loaded by every pytest start in the environment, so whether a file is a suite is read from its
source, and torch is imported only when one has been found.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Generator, Iterable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from harness.pytest_settings import SETTINGS, Settings

# Of harness.sweep, which imports torch; a test holds the two equal.
PROFILES = ("quick", "full", "llm")
ON_REQUEST = ("known_bad",)
_PLUG_IN_IMPORTS = {"harness", "suites"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options and the ini key."""
    group = parser.getgroup("lossgauge", "suites of loss functions (lossgauge)")
    group.addoption(
        "--lossgauge-seed",
        type=int,
        metavar="N",
        help="seed of the inputs (default: ini lossgauge_seed, else 0)",
    )
    group.addoption(
        "--lossgauge-include",
        action="append",
        choices=ON_REQUEST,
        default=[],
        help="collect implementations that run on request only",
    )
    group.addoption(
        "--lossgauge-compiled",
        action="store_true",
        help="collect compiled implementations, too (each artefact costs seconds)",
    )
    group.addoption(
        "--lossgauge-profile", choices=PROFILES, default=PROFILES[0], help="which trials (default: quick)"
    )
    parser.addini("lossgauge_seed", "seed of the inputs of suite files", default="0")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker and keeps the settings of the session."""
    config.addinivalue_line(
        "markers",
        "lossgauge(kind, suite, implementation, variant, regime, dtype): on every test of a suite file, to "
        "select by, e.g. -m \"lossgauge(dtype='float16')\"; kind: example, identity, trial, timing, known",
    )
    config.stash[SETTINGS] = Settings(
        seed=_seed(config),
        profile=config.getoption("lossgauge_profile"),
        known_bad="known_bad" in config.getoption("lossgauge_include"),
        compiled=config.getoption("lossgauge_compiled"),
        # Absent where pytest-benchmark is not installed; disabled by it under xdist.
        timed=bool(config.getoption("benchmark_only", False)),
    )


def _seed(config: pytest.Config) -> int:
    asked: int | None = config.getoption("lossgauge_seed")
    if asked is not None:
        return asked
    text = str(config.getini("lossgauge_seed"))
    try:
        return int(text)
    except ValueError:
        raise pytest.UsageError(f"lossgauge_seed = {text}: must be a whole number.") from None


def pytest_report_header(config: pytest.Config) -> str:
    """Says what suite files will be asked."""
    from harness import __version__

    settings = config.stash[SETTINGS]
    asked = "timed cases under pytest-benchmark" if settings.timed else f"profile {settings.profile}"
    added = [
        name
        for name, wanted in (("known_bad", settings.known_bad), ("compiled", settings.compiled))
        if wanted
    ]
    return f"lossgauge: {__version__}, seed {settings.seed}, {asked}{''.join(f', with {a}' for a in added)}"


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Puts a SuiteFile in the place of the module that pytest makes of any file named explicitly."""
    collectors = yield
    if not is_suite_file(
        file_path,
        explicit=parent.session.isinitpath(file_path),
        test_names=parent.config.getini("python_files"),
    ):
        return collectors
    others = [collector for collector in collectors if type(collector) is not pytest.Module]
    from harness.pytest_file import SuiteFile

    return [*others, SuiteFile.from_parent(parent, path=file_path)]


def is_suite_file(path: Path, *, explicit: bool, test_names: Iterable[str]) -> bool:
    """Tells whether a file is to be collected as a suite: in a folder named suites, or named explicitly.

    A test module stays pytest's own, even where it declares a suite.
    """
    if path.suffix != ".py" or not (path.parent.name == "suites" or explicit):
        return False
    return not any(fnmatch(path.name, name) for name in test_names) and declares_suite(path)


def declares_suite(path: Path) -> bool:
    """Tells whether a source assigns SUITE and imports from harness or suites; nothing is executed."""
    source = path.read_text(encoding="utf-8", errors="replace")
    if not re.search(r"^SUITE\b.*=", source, re.MULTILINE):
        return False
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        # Collected all the same, so that loading says in one sentence where the source is broken.
        return bool(re.search(r"^(from|import) (harness|suites)\b", source, re.MULTILINE))
    return any(_assigns_suite(node) for node in body) and any(_imports_plug_in(node) for node in body)


def _assigns_suite(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return False
    return any(isinstance(target, ast.Name) and target.id == "SUITE" for target in targets)


def _imports_plug_in(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    else:
        return False
    return any(name.partition(".")[0] in _PLUG_IN_IMPORTS for name in names)
