"""Writes a callable out as source: what it is, and everything of its module that it uses.

A torch callable is named, a function of a Python file is copied together with the module-level
functions, classes, constants and imports that it reaches (a closure over names in the syntax tree,
through further files of the same kind). Installed packages are imported, not copied. The trap: names
of two files can collide and closures have no source of their own; such a callable is imported
instead, with the reason written beside it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any

from harness.reproducer.syntax import Module, bound_names, is_copied, used_names
from harness.sources import LOADED

TORCH_PLACES = ("torch", "torch.nn.functional", "torch.special", "torch.nn", "torch.linalg")


class UnwritableError(Exception):
    """A callable or value that has no source text of its own; the message says why."""


class Sources:
    """The text that a script needs before it can call something; filled by `expression`."""

    def __init__(self, last_resort: Callable[[str], str] | None = None) -> None:
        self._modules: dict[str, Module] = {}
        # What a name means, and the file that says so first: files may import one thing alike.
        self._owners: dict[str, tuple[str, str]] = {}
        self._imports: dict[str, None] = {}
        self._last_resort = last_resort

    def expression(self, value: Any) -> str:
        """Returns an expression for a callable or a plain value; raises UnwritableError for others."""
        if isinstance(value, partial):
            self._imports["import functools"] = None
            parts = [self.expression(value.func), *map(self.expression, value.args)]
            parts += [f"{key}={self.expression(item)}" for key, item in value.keywords.items()]
            return f"functools.partial({', '.join(parts)})"
        if callable(value) and not _is_plain(value):
            return self._callable(value)
        return self._plain(value)

    def lines(self) -> list[str]:
        """Returns imports and copied statements, each file under a heading, dependencies first."""
        text = [f"{line}" for line in sorted(self._imports)]
        done: list[str] = []
        for name in self._modules:
            self._emit(name, done, text)
        return text

    @property
    def postponed_annotations(self) -> bool:
        """Whether a copied file postpones its annotations, so that the script has to as well."""
        return any(module.postponed and module.kept for module in self._modules.values())

    def _emit(self, name: str, done: list[str], text: list[str]) -> None:
        if name in done:
            return
        done.append(name)
        module = self._modules[name]
        for other in module.needs:
            self._emit(other, done, text)
        if module.kept:
            text += ["", "", f"# From {module.path.name}:"]
            for index in sorted(module.kept):
                text += module.written(index)

    def _plain(self, value: Any) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return f"float({str(value)!r})"
        if isinstance(value, str) and not set(value) & set("\"'\\\n"):
            return f'"{value}"'
        if value is None or isinstance(value, bool | int | float | str):
            return repr(value)
        if type(value).__module__ == "torch" and str(value).startswith("torch."):
            return str(value)
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            inner = ", ".join(self.expression(item) for item in value)
            tail = "," if isinstance(value, tuple) and len(value) == 1 else ""
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{tail})"
        if isinstance(value, dict | MappingProxyType):
            inner = ", ".join(f"{key!r}: {self.expression(item)}" for key, item in value.items())
            return f"{{{inner}}}"
        raise UnwritableError(f"a {type(value).__name__} has no source text of its own")

    def _callable(self, value: Any) -> str:
        if (named := torch_name(value)) is not None:
            return named
        try:
            return self._copied(value)
        except UnwritableError as error:
            return self._imported(value, str(error))

    def _copied(self, value: Any) -> str:
        home = sys.modules.get(getattr(value, "__module__", None) or "")
        if home is None or not is_copied(home):
            raise UnwritableError("it belongs to an installed package")
        name = getattr(value, "__qualname__", "")
        before = self._state()
        try:
            if name == "<lambda>" or name.endswith(".<lambda>"):
                return self._lambda(home, value)
            path = name if _at(home, name) is value else _named_in(home, value)
            self.require(home, path.partition(".")[0])
        except UnwritableError:
            self._restore(before)
            raise
        return path

    def _lambda(self, home: ModuleType, value: Any) -> str:
        if value.__closure__:
            raise UnwritableError("it closes over values of a call")
        module = self._module(home)
        line = value.__code__.co_firstlineno
        nodes = [n for n in ast.walk(module.tree) if isinstance(n, ast.Lambda) and n.lineno == line]
        if len(nodes) != 1:
            raise UnwritableError(f"line {line} of its file holds more than one lambda")
        for name in sorted(used_names(nodes[0])):
            self._required_if_bound(module, name)
        return f"({ast.unparse(nodes[0])})"

    def _imported(self, value: Any, reason: str) -> str:
        name, home = getattr(value, "__qualname__", ""), getattr(value, "__module__", None) or ""
        importable = home in sys.modules and _at(sys.modules[home], name) is value
        if importable and not home.startswith(LOADED) and home != "__main__":
            top = name.partition(".")[0]
            self._imports[f"from {home} import {top}  # not written out: {reason}"] = None
            return name
        if self._last_resort is None:
            raise UnwritableError(reason)
        return self._last_resort(reason)

    def require(self, home: ModuleType, name: str) -> None:
        """Keeps the statements of a module that bind a name, and what they use in turn."""
        module = self._module(home)
        statements = module.binding(name)
        if not statements:
            raise UnwritableError(f"{module.path.name} binds {name} in no statement of its own")
        meanings = {self._meaning(module, index, name) for index in statements}
        self._own(name, ", ".join(sorted(meanings)), module)
        for index in statements:
            self._keep(module, index, name)

    def _own(self, name: str, meaning: str, module: Module) -> None:
        """Notes what a name means; raises UnwritableError where it means something else already."""
        # A name that is imported from a copied file is that file's to own.
        if meaning and self._owners.setdefault(name, (meaning, module.name))[0] != meaning:
            raise UnwritableError(f"{name} means something else in {self._owners[name][1]}")

    def _meaning(self, module: Module, index: int, name: str) -> str:
        statement = module.tree.body[index]
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            return module.name
        alias, source, other = module.imported(statement, name)
        return "" if other is not None and alias.asname in (None, alias.name) else f"{source} {alias.name}"

    def _keep(self, module: Module, index: int, name: str) -> None:
        statement = module.tree.body[index]
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._keep_import(module, index, name)
            return
        if index in module.kept:
            return
        module.kept[index] = [module.segment(statement)]
        for used in sorted(used_names(statement)):
            self._required_if_bound(module, used)
        for other in [*bound_names(statement)]:
            self._own(other, module.name, module)
            # `TABLE[key] = value` and `TABLE.update(...)` complete what `TABLE = {}` began.
            for later in module.completing(other):
                self._keep(module, later, other)

    def _required_if_bound(self, module: Module, name: str) -> None:
        if module.binding(name):
            self.require(module.home, name)

    def _keep_import(self, module: Module, index: int, name: str) -> None:
        statement = module.tree.body[index]
        assert isinstance(statement, ast.Import | ast.ImportFrom)
        alias, source, other = module.imported(statement, name)
        renamed = f" as {alias.asname}" if alias.asname else ""
        if isinstance(statement, ast.Import):
            line = f"import {alias.name}{renamed}"
        elif other is None:
            line = f"from {source} import {alias.name}{renamed}"
        else:
            if other.__name__ not in module.needs:
                module.needs.append(other.__name__)
            self.require(other, alias.name)
            # The name is owned by the file it comes from; here it is at most renamed.
            if alias.asname in (None, alias.name):
                return
            line = f"{alias.asname} = {alias.name}"
        foreign = source.partition(".")[0] not in {*sys.stdlib_module_names, "torch"}
        remark = "  # not torch: this has to be installed" if foreign and "import" in line else ""
        module.kept.setdefault(index, [])
        if line + remark not in module.kept[index]:
            module.kept[index].append(line + remark)

    def _module(self, home: ModuleType) -> Module:
        if home.__name__ not in self._modules:
            self._modules[home.__name__] = Module(home)
        return self._modules[home.__name__]

    def _state(self) -> tuple[Any, ...]:
        kept = {name: dict(module.kept) for name, module in self._modules.items()}
        return kept, dict(self._owners), dict(self._imports)

    def _restore(self, state: tuple[Any, ...]) -> None:
        kept, self._owners, self._imports = state
        self._modules = {name: m for name, m in self._modules.items() if name in kept}
        for name, module in self._modules.items():
            module.kept = kept[name]


def torch_name(value: Any) -> str | None:
    """Returns the dotted name of a callable of torch, None for anything else."""
    name = getattr(value, "__name__", "")
    for place in TORCH_PLACES:
        module = sys.modules.get(place)
        if name and module is not None and getattr(module, name, None) is value:
            return f"{place}.{name}"
    home = getattr(value, "__module__", None) or ""
    if home.partition(".")[0] == "torch" and home in sys.modules:
        path = getattr(value, "__qualname__", "")
        if path and _at(sys.modules[home], path) is value:
            return f"{home}.{path}"
    return None


def options_taken(
    function: Callable[..., Any],
    accepts: Callable[[str], bool],
    options: Mapping[str, Any],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the options that the harness passes to a callable: those named, those given and accepted."""
    try:
        named = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        named = set()
    return {k: v for k, v in options.items() if k in named or (k in given and accepts(k))}


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def _at(home: ModuleType, path: str) -> Any:
    if not path or "<" in path:
        return None
    try:
        return functools.reduce(getattr, path.split("."), home)
    except AttributeError:
        return None


def _named_in(home: ModuleType, value: Any) -> str:
    for name, held in vars(home).items():
        if held is value:
            return name
    if "<locals>" in getattr(value, "__qualname__", ""):
        raise UnwritableError("it is made by a call and closes over its values")
    raise UnwritableError("its module has no name for it")
