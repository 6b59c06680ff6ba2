"""Finds `SUITE` constants: the package `suites`, the entry-point group, paths and module references.

A reference that ends in `.py` is loaded by path, one with a `:` is imported as `module:NAME`; either
may import from the working directory, which stands last on the path. Any other is the name of a suite.
Loaded suites of equal name and the same oracle object merge; equal names with different oracles are an
error. The trap: a broken suite on the command line stops the run with one sentence, one found through
entry points only is skipped and listed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import os
import pkgutil
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import HarnessError, SuiteError, UsageError, unknown
from harness.implementation import Implementation
from harness.sources import LOADED
from harness.suite import Suite

GROUP = "lossgauge.suites"


@dataclass(frozen=True)
class Selection:
    """What the user asked for: suite and implementation references, recorded inputs, known-bad ones."""

    suites: tuple[str, ...] = ()
    implementations: tuple[str, ...] = ()
    inputs: str = ""
    known_bad: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form, with paths made absolute so that a worker finds them."""
        form = asdict(self)
        form["suites"] = [str(Path(s).resolve()) if s.endswith(".py") else s for s in self.suites]
        form["inputs"] = str(Path(self.inputs).resolve()) if self.inputs else ""
        return form

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Selection:
        """Returns the selection of a JSON form."""
        return cls(tuple(form["suites"]), tuple(form["implementations"]), form["inputs"], form["known_bad"])


@dataclass(frozen=True)
class Discovered:
    """Suites by name with the selected implementations, and sentences on what was skipped."""

    suites: Mapping[str, Suite]
    broken: tuple[str, ...] = ()


def is_reference(text: str) -> bool:
    """Tells whether a suite value loads something, as opposed to naming a known suite."""
    return text.endswith(".py") or ":" in text


def discover(selection: Selection) -> Discovered:
    """Returns the selected suites; raises SuiteError or UsageError with one sentence."""
    found = _Found()
    broken: list[str] = []
    loaded_names: list[str] = []
    for reference in (s for s in selection.suites if is_reference(s)):
        suite = load_reference(reference)
        loaded_names.append(suite.name)
        _merge(found, suite, reference)
    names = [s for s in selection.suites if not is_reference(s)]
    only_loaded = bool(loaded_names) and not names
    if not only_loaded:
        for label, suite in builtin_suites():
            _merge(found, suite, label)
        broken += _add_entry_points(found)
    wanted = [*loaded_names, *names] or sorted(found)
    for name in names:
        if name not in found:
            raise UsageError(unknown(f"--suite {name}", "suite", name, sorted(found)))
    chosen = {name: found[name] for name in dict.fromkeys(wanted)}
    if selection.inputs:
        chosen = _with_inputs(chosen, selection.inputs)
    chosen = _with_implementations(chosen, selection.implementations)
    return Discovered({name: _visible(suite, selection) for name, suite in chosen.items()}, tuple(broken))


def builtin_suites() -> list[tuple[str, Suite]]:
    """Returns the suites of the package `suites`; a module without SUITE is no suite file."""
    import suites

    found = []
    for module in pkgutil.iter_modules(suites.__path__):
        if not module.ispkg:
            loaded = importlib.import_module(f"suites.{module.name}")
            if hasattr(loaded, "SUITE"):
                found.append((f"suites/{module.name}.py", _suite_of(loaded, f"suites/{module.name}.py")))
    return found


def _add_entry_points(found: _Found) -> list[str]:
    broken = []
    for point in entry_points(group=GROUP):
        label = f"entry point {point.name} = {point.value}"
        try:
            loaded = point.load()
            suite = loaded if isinstance(loaded, Suite) else _suite_of(loaded, label)
            _merge(found, suite, label)
        except HarnessError as error:
            broken.append(f"{label} was skipped: {str(error).removeprefix(label + ': ')}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            broken.append(f"{label} was skipped: {_cause(error)}")
    return broken


def load_reference(reference: str) -> Suite:
    """Loads a suite by path or by `module:NAME`; raises SuiteError with one sentence."""
    if reference.endswith(".py"):
        return _suite_of(_module_at(Path(reference), reference), reference)
    module_name, _, attribute = reference.partition(":")
    module = import_named(module_name, f"--suite {reference}")
    if not hasattr(module, attribute):
        raise SuiteError(f"--suite {reference}: module {module_name} has no {attribute}; write module:SUITE.")
    suite = getattr(module, attribute)
    if not isinstance(suite, Suite):
        raise SuiteError(
            f"--suite {reference}: {attribute} is a {type(suite).__name__}, not a Suite; "
            "write SUITE = Suite(...)."
        )
    return suite


def import_named(name: str, call: str) -> ModuleType:
    """Imports a module, the working directory last on the path; raises SuiteError with one sentence."""
    _see_working_directory()
    try:
        return importlib.import_module(name)
    except HarnessError as error:  # a suite that says itself why it cannot be had, such as an absent package
        raise SuiteError(f"{call}: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise SuiteError(_import_sentence(call, error)) from None


def _see_working_directory() -> None:
    """Puts the working directory last on the path, where it can shadow nothing that is installed."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


def _module_at(path: Path, reference: str) -> ModuleType:
    if not path.is_file():
        raise SuiteError(f"--suite {reference}: there is no such file; give the path of a suite file.")
    name = f"{LOADED}{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    _see_working_directory()
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, HarnessError):
            raise SuiteError(f"{reference}: {error}") from None
        raise SuiteError(_import_sentence(reference, error)) from None
    return module


def _import_sentence(call: str, error: BaseException) -> str:
    """Says that something cannot be loaded and why."""
    return f"{call}: cannot be loaded: {_cause(error)}"


def _cause(error: BaseException) -> str:
    """Says where an import failed, with the line as it is written, in one line."""
    if isinstance(error, SyntaxError):
        line = f"{Path(error.filename or '').name} line {error.lineno}: {(error.text or '').strip()}: "
        return f"{line if error.lineno else ''}{error.msg}."
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    inside = [f for f in frames if os.sep + "harness" + os.sep not in f.filename]
    where = ""
    if inside:
        line = linecache.getline(inside[-1].filename, inside[-1].lineno or 0).strip()
        where = f"{Path(inside[-1].filename).name} line {inside[-1].lineno}: {line}: "
    return f"{where}{type(error).__name__}: {' '.join(str(error).split())}."


def _suite_of(module: ModuleType, label: str) -> Suite:
    suite = getattr(module, "SUITE", None)
    if suite is None:
        raise SuiteError(f"{label}: declares no SUITE; write SUITE = Suite(name=..., ...) in it.")
    if not isinstance(suite, Suite):
        raise SuiteError(
            f"{label}: SUITE is a {type(suite).__name__}, not a Suite; write SUITE = Suite(...)."
        )
    return suite


class _Found(dict[str, Suite]):
    """Suites by name; `origins` says where each was read first."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[str, str] = {}


def _merge(found: _Found, suite: Suite, label: str) -> None:
    before = found.get(suite.name)
    if before is None:
        found[suite.name], found.origins[suite.name] = suite, label
        return
    if before.oracle is not suite.oracle:
        raise SuiteError(
            f"{label}: suite '{suite.name}' has another oracle than the suite of that name in "
            f"{found.origins[suite.name]}; give yours another name or extend the other."
        )
    names = {item.name: item for item in before.implementations}
    added = []
    for item in suite.implementations:
        if item.name not in names:
            added.append(item)
        elif names[item.name] != item:
            raise SuiteError(f"{label}: suite '{suite.name}' names '{item.name}' twice; rename one of them.")
    found[suite.name] = replace(before, implementations=(*before.implementations, *added))


def _with_implementations(chosen: dict[str, Suite], references: tuple[str, ...]) -> dict[str, Suite]:
    loaded = [r for r in references if ":" in r]
    named = [r for r in references if ":" not in r]
    if loaded:
        if len(chosen) != 1:
            raise UsageError(
                f"--impl {loaded[0]}: needs exactly one suite, {len(chosen)} are selected; add --suite NAME "
                f"({', '.join(sorted(chosen))})."
            )
        name, suite = next(iter(chosen.items()))
        extra = tuple(_implementation_at(reference) for reference in loaded)
        chosen = {name: suite.extended(*extra)}
        # Beside names, a reference is one more name; alone it stands beside the whole family.
        named = [*named, *(item.name for item in extra)] if named else []
    if not named:
        return chosen
    everywhere = {item.name for suite in chosen.values() for item in suite.implementations}
    for name in named:
        if name not in everywhere:
            raise UsageError(unknown(f"--impl {name}", "implementation", name, sorted(everywhere)))
    kept = {}
    for key, suite in chosen.items():
        items = tuple(i for i in suite.implementations if i.name in named)
        if items:
            kept[key] = replace(suite, implementations=items)
    return kept


def _implementation_at(reference: str) -> Implementation:
    module_name, _, attribute = reference.partition(":")
    call = f"--impl {reference}"
    module = import_named(module_name, call)
    function = module
    for part in attribute.split("."):
        if not hasattr(function, part):
            raise SuiteError(f"{call}: {module_name} has no {attribute}; write package.module:function.")
        function = getattr(function, part)
    if isinstance(function, Implementation):
        return function
    if not callable(function):
        raise SuiteError(f"{call}: {attribute} is a {type(function).__name__}, which cannot be called.")
    return Implementation(function, name=attribute.replace(".", "_"))


def _with_inputs(chosen: dict[str, Suite], path: str) -> dict[str, Suite]:
    from harness.recorded import inputs_regime

    return {
        name: replace(suite, regimes=(inputs_regime(Path(path), suite),)) for name, suite in chosen.items()
    }


def _visible(suite: Suite, selection: Selection) -> Suite:
    if selection.known_bad:
        return suite
    asked = set(selection.implementations)
    items = tuple(i for i in suite.implementations if not i.known_bad or i.name in asked)
    return replace(suite, implementations=items)
