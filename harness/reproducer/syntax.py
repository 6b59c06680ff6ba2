"""One Python file as its top-level statements: which names they bind, which they read.

The trap: a function reads the names that its body does not bind, but its decorators, defaults and
annotations are read where it stands.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# These packages are copied even where they are installed: a script must not need them.
OWN = ("harness", "suites")


def bound_names(statement: ast.AST) -> Iterator[str]:
    """Yields the names that a statement binds in its own scope."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    if isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    elif isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
        yield statement.id
    if not isinstance(statement, ast.Lambda):
        for child in ast.iter_child_nodes(statement):
            yield from bound_names(child)


def used_names(node: ast.AST) -> set[str]:
    """Returns the names that a node reads from the scope around it."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    inside: set[str] = set()
    for child in ast.iter_child_nodes(node):
        inside |= used_names(child)
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return inside
    own = {parameter.arg for parameter in ast.walk(node.args) if isinstance(parameter, ast.arg)}
    outer: set[str] = set()
    if not isinstance(node, ast.Lambda):
        for statement in node.body:
            own |= set(bound_names(statement))
        for inner in ast.walk(node):
            outer |= set(inner.names) if isinstance(inner, ast.Global) else set()
        # Decorators, defaults and annotations are read where the function stands, not inside it.
        around = [*node.decorator_list, node.args, *([node.returns] if node.returns else [])]
    else:
        around = [node.args]
    return ((inside | outer) - (own - outer)).union(*(used_names(part) for part in around))


class Module:
    """The syntax tree of one file and the statements of it that are kept, by their place."""

    def __init__(self, home: ModuleType) -> None:
        self.home, self.name = home, home.__name__
        self.path = Path(str(home.__file__))
        self.text = self.path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.kept: dict[int, list[str]] = {}
        self.needs: list[str] = []
        self._bound: dict[str, list[int]] = {}
        for index, statement in enumerate(self.tree.body):
            for name in dict.fromkeys(bound_names(statement)):
                self._bound.setdefault(name, []).append(index)
        self.postponed = "annotations" in self._bound and any(
            isinstance(s, ast.ImportFrom) and s.module == "__future__" for s in self.tree.body
        )

    def binding(self, name: str) -> list[int]:
        """Returns the places of the statements that bind a name; `__future__` is no such name."""
        return [
            index
            for index in self._bound.get(name, [])
            if getattr(self.tree.body[index], "module", "") != "__future__"
        ]

    def completing(self, name: str) -> Iterator[int]:
        """Yields the places of statements that change what a name is bound to without binding it."""
        for index, statement in enumerate(self.tree.body):
            if isinstance(statement, ast.Assign | ast.AugAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                targets = [statement.value.func]
            else:
                continue
            parts = [t for t in targets if isinstance(t, ast.Subscript | ast.Attribute)]
            if any(isinstance(p.value, ast.Name) and p.value.id == name for p in parts):
                yield index

    def segment(self, statement: ast.stmt) -> str:
        """Returns the text of a statement with its decorators."""
        decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(d.lineno for d in decorators)])
        lines = self.text.splitlines()[first - 1 : statement.end_lineno]
        shared = sum(s.lineno <= first <= (s.end_lineno or 0) for s in self.tree.body) > 1
        return (ast.get_source_segment(self.text, statement) or "") if shared else "\n".join(lines)

    def written(self, index: int) -> list[str]:
        """Returns the lines of a kept statement, definitions set apart by blank lines."""
        apart = isinstance(self.tree.body[index], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        return ["", "", *self.kept[index]] if apart else self.kept[index]

    def imported(
        self, statement: ast.Import | ast.ImportFrom, name: str
    ) -> tuple[ast.alias, str, ModuleType | None]:
        """Returns the alias that binds a name, where it comes from, and that file where it is copied from."""
        alias = next(a for a in statement.names if (a.asname or a.name.partition(".")[0]) == name)
        if isinstance(statement, ast.Import):
            return alias, alias.name, None
        source = self.absolute(statement)
        other = sys.modules.get(source)
        copied = other is not None and is_copied(other)
        is_module = copied and inspect.ismodule(getattr(other, alias.name, None))
        return alias, source, other if copied and not is_module else None

    def absolute(self, statement: ast.ImportFrom) -> str:
        """Returns the absolute name of the module that a statement imports from."""
        relative = "." * statement.level + (statement.module or "")
        if not statement.level:
            return relative
        package = self.home.__package__ or self.name.rpartition(".")[0]
        return importlib.util.resolve_name(relative, package)


def is_copied(home: ModuleType) -> bool:
    """Tells whether a module is a Python file that scripts copy from, as opposed to installed software."""
    top, file = home.__name__.partition(".")[0], getattr(home, "__file__", None) or ""
    if top == "torch" or top in sys.stdlib_module_names or not file.endswith(".py"):
        return False
    return top in OWN or not {"site-packages", "dist-packages"} & set(Path(file).parts)


def local_source(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """Returns a function and those of its file that it calls as nested definitions, and what they import.

    Annotations and docstrings are left out: they would need the names of its file.
    """
    tree = ast.parse(inspect.getsource(function)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
    tree.returns = None
    if ast.get_docstring(tree) is not None:
        tree.body = tree.body[1:]
    lines: list[str] = []
    modules: list[str] = []
    scope = inspect.unwrap(function).__globals__
    for name in sorted(used_names(tree)):
        value = scope.get(name)
        if inspect.isfunction(value) and value.__module__ == function.__module__:
            inner, more = local_source(value)
            lines += inner
            modules += more
        elif inspect.ismodule(value) and name != "torch":
            modules.append(value.__name__)
    return [*lines, *ast.unparse(tree).splitlines(), ""], modules
