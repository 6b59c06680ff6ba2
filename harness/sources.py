"""What decides an answer besides the inputs: sources and versions, hashed.

The hash of an implementation covers its module, the modules of the same top-level package that it
imports (found by reading import statements), extension files by content, the declaration of its
family (oracle and regimes live there), and the versions of the distributions involved. The trap:
hashing the function alone would reuse a result after a helper one import away has changed, and
hashing where a file lies would measure everything again in another checkout.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache, partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from harness.implementation import Implementation
from harness.suite import Suite

# What `discovery` calls a suite that it loads by path, before the file's name and the mark of its folder.
LOADED = "lossgauge_suite_"
# Every function of a closed form and of its stated pairs: some stand in modules of their own.
ORACLE_PARTS = (
    "terms",
    "rows",
    "gradient",
    "sensitivity",
    "gradient_sensitivity",
    "denominator",
    "kinks",
    "exact",
)
PAIR_PARTS = ("chunk", "together")


def source_hash(suite: Suite, implementation: Implementation) -> str:
    """Returns the hash of everything that decides the answers of an implementation."""
    functions: list[object] = [implementation.function, implementation.prepare, suite.oracle]
    functions += [getattr(suite.oracle, part, None) for part in ORACLE_PARTS]
    functions += [getattr(getattr(suite.oracle, "pairs", None), part, None) for part in PAIR_PARTS]
    functions += [regime.function for regime in suite.regimes] + [v.adapt for v in suite.variants]
    modules = {module for function in functions if (module := module_of(function))}
    declared = [implementation.name, _written(implementation.contract.definition)]
    declared += [_written(implementation.function), _written(implementation.prepare)]
    declared += [_written(variant.options) for variant in suite.variants]
    declared += [_written(regime.function) for regime in suite.regimes]
    digest = hashlib.sha256("\x1f".join(declared).encode())
    for name in sorted(modules):
        digest.update(f"{_anywhere(name)}={module_hash(name)};".encode())
    return digest.hexdigest()[:16]


def _written(value: object) -> str:
    """Returns a declared value as text that is the same in every process: no addresses, no order."""
    if isinstance(value, partial):
        return f"partial({_written(value.func)}, {_written(value.args)}, {_written(value.keywords)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    if callable(value):
        module = _anywhere(str(getattr(value, "__module__", "")))
        return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return repr(value)


def _anywhere(name: str) -> str:
    """Returns the name of a module without the mark of its folder, which a file loaded by path carries."""
    return name.rpartition("_")[0] if name.startswith(LOADED) else name


def module_of(function: object) -> str | None:
    """Returns the module that a callable (or the callable inside a partial) was defined in."""
    inner = function.func if isinstance(function, partial) else function
    name = getattr(inner, "__module__", None)
    return name if isinstance(name, str) and name in sys.modules else None


@cache
def module_hash(name: str) -> str:
    """Returns the hash of a module: sources it reaches in its package, or its distribution's version."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "builtins":
        return sys.version
    if top in ("torch", "numpy") or top == "harness":
        # The harness's own changes are the protocol version's business.
        return _distribution_version(top)
    digest = hashlib.sha256(_distribution_version(top).encode())
    for path in sorted(reachable_files(name)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def reachable_files(name: str) -> set[Path]:
    """Returns the files of a module and of what it imports from the same top-level package."""
    top = name.partition(".")[0]
    found: dict[str, Path] = {}
    queue = [name]
    while queue:
        current = queue.pop()
        path = _file_of(current)
        if current in found or path is None:
            continue
        found[current] = path
        if path.suffix == ".py":
            queue += [n for n in _imports(path, current) if n.partition(".")[0] == top]
    return set(found.values())


def _file_of(name: str) -> Path | None:
    module = sys.modules.get(name)
    origin = getattr(module, "__file__", None)
    if origin is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec is not None else None
    return Path(origin) if origin and Path(origin).exists() else None


def _imports(path: Path, name: str) -> Iterable[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _distribution_version(top: str) -> str:
    names = _distributions().get(top, [])
    try:
        return ";".join(f"{n}={version(n)}" for n in sorted(names))
    except PackageNotFoundError:
        return ""
