"""Sources: the code that workflows run, as syntax trees, and what the names in it stand for. It judges nothing.

The modules are imported, so a name is looked up in them and is known for what it is: `time` may be the module, its
function, or a variable of the user's. What cannot be known without running the code is left unknown.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from everlog.replay.definition import Definition
from everlog.replay.places import OURS, STANDARD

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = FunctionNode | ast.Lambda


class Unknown:
    """What a name stands for that cannot be known from here."""


UNKNOWN: Final = Unknown()


class Named(NamedTuple):
    """What an expression stands for, and by which name it was reached."""

    value: Any
    path: str = ""


class Source:
    """One function of a user: its tree, the lines of its file, and what the names in it stand for."""

    def __init__(self, function: FunctionType, tree: FunctionNode, lines: list[str], owner: type | None) -> None:
        self.function = function
        self.tree = tree
        self.lines = lines
        self.file = function.__code__.co_filename
        self.owner = owner
        """The class whose method it is."""
        self.parents: Final = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self._cells = inspect.getclosurevars(function).nonlocals
        self._bound: dict[_Scope, set[str]] = {}
        self._imported = {name: value for node in ast.walk(tree) for name, value in _imports(node, function)}

    @property
    def is_async(self) -> bool:
        """Whether it is an `async def`."""
        return isinstance(self.tree, ast.AsyncFunctionDef)

    def named(self, node: ast.expr) -> Named:
        """Give what an expression stands for, as far as that is known."""
        match node:
            case ast.Name(id=name):
                return self._of_name(node, name)
            case ast.Attribute(value=of, attr=attribute):
                return _of_attribute(self.named(of), attribute)
            case ast.Call(func=ast.Attribute(value=of, attr="options")):
                found = self.named(of)  # the same step or workflow, with other options
                return found if isinstance(found.value, Definition) else Named(UNKNOWN)
            case _:
                return Named(UNKNOWN)

    def _of_name(self, node: ast.AST, name: str) -> Named:
        if name in self._imported:
            return Named(self._imported[name], _path_of(self._imported[name]))
        scope = self.parents.get(node)
        while scope is not None:
            if isinstance(scope, _Scope) and name in self._names_in(scope):
                return self._of_variable(scope, name)
            scope = self.parents.get(scope)
        for space in (self._cells, self.function.__globals__, vars(builtins)):
            if name in space:
                return Named(space[name], _path_of(space[name]))
        return Named(UNKNOWN)

    def _of_variable(self, scope: _Scope, name: str) -> Named:
        """Of all variables, only the object whose method it is is known: for its class."""
        first = scope.args.args[:1]
        of_method = scope is self.tree and self.owner is not None and bool(first) and first[0].arg == name
        return Named(self.owner) if of_method else Named(UNKNOWN)

    def _names_in(self, scope: _Scope) -> set[str]:
        """Give the names that are bound in a function, or in what it holds: more than it has, never fewer."""
        if scope not in self._bound:
            names = {one.arg for one in ast.walk(scope.args) if isinstance(one, ast.arg)}
            body = scope.body if isinstance(scope.body, list) else [scope.body]
            shared: set[str] = set()
            for node in (inner for statement in body for inner in ast.walk(statement)):
                match node:
                    case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                        names.add(name)
                    case (
                        ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name))
                    ):
                        names.add(name)
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                        names.add(name)
                    case ast.Global(names=given):
                        shared |= set(given)
                    case _:
                        pass
            self._bound[scope] = names - shared
        return self._bound[scope]


def source_of(function: object, owner: type | None = None) -> Source | None:
    """Give the source of a function of a user; None for what is none, and where its file is not here or has changed."""
    plain = inspect.unwrap(function) if callable(function) else None
    if not isinstance(plain, FunctionType) or not is_of_a_user(plain):
        return None
    code = plain.__code__
    found = _functions_in(code.co_filename).get((code.co_firstlineno, code.co_name))
    return None if found is None else Source(plain, found, _lines_of(code.co_filename), owner)


def is_of_a_user(function: FunctionType) -> bool:
    """Tell whether a function is neither ours, nor the standard library's, nor an installed package's."""
    package = str(function.__globals__.get("__name__", "")).partition(".")[0]
    installed = any(part in function.__code__.co_filename for part in ("site-packages", "dist-packages"))
    return package != OURS and package not in STANDARD and not installed


@cache
def _lines_of(file: str) -> list[str]:
    try:
        with tokenize.open(file) as opened:
            return opened.read().splitlines()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return []


@cache
def _functions_in(file: str) -> dict[tuple[int, str], FunctionNode]:
    """Give the functions of a file by the line where they begin, decorators included, and their names."""
    try:
        tree = ast.parse("\n".join(_lines_of(file)))
    except (SyntaxError, ValueError):
        return {}
    found = [node for node in ast.walk(tree) if isinstance(node, FunctionNode)]
    return {(min(one.lineno for one in [node, *node.decorator_list]), node.name): node for node in found}


def _imports(node: ast.AST, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Give what an import within the function brings, of modules that are loaded."""
    match node:
        case ast.Import(names=names):
            for one in names:
                name = one.name if one.asname else one.name.partition(".")[0]
                yield one.asname or name, sys.modules.get(name, UNKNOWN)
        case ast.ImportFrom(module=str(module), names=names, level=0):
            for one in names:
                yield one.asname or one.name, getattr(sys.modules.get(module), one.name, UNKNOWN)
        case ast.ImportFrom(names=names):
            for one in names:
                yield one.asname or one.name, UNKNOWN
        case _:
            pass


def _of_attribute(of: Named, attribute: str) -> Named:
    """Look an attribute up where that runs no code of a user: in modules and classes."""
    if isinstance(of.value, ModuleType):
        value = getattr(of.value, attribute, UNKNOWN)
        return Named(value, f"{of.value.__name__}.{attribute}")
    if isinstance(of.value, type):
        return Named(inspect.getattr_static(of.value, attribute, UNKNOWN), f"{of.path}.{attribute}")
    return Named(UNKNOWN, f"{of.path}.{attribute}" if of.path else "")


def _path_of(value: Any) -> str:
    """Give the name under which a function or class is known, whatever it is called here."""
    if isinstance(value, ModuleType):
        return value.__name__
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
