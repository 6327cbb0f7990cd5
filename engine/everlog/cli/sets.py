"""Sets: where the order of one gets into what a function does. Sets of numbers and of tasks have one and the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from everlog.cli.sources import Source
from everlog.replay.definition import Definition

_IN_ORDER: Final = frozenset(["int", "bool", "Task", "Future"])
"""Sets of these are iterated in the same order in each process."""
_ORDERS: Final = {"list", "tuple", "enumerate", "iter", "next", "zip", "map", "filter"}
_LOSES: Final = {"sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all"}
"""What these give does not depend on the order of what they are given."""
_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
_METHODS: Final = frozenset(["union", "intersection", "difference", "symmetric_difference", "copy"])
_COLLECTS: Final = frozenset(
    ["append", "extend", "insert", "put", "put_nowait", "write", "emit", "send", "create_task"]
)
_SET: Final = re.compile(
    r"^(?:typing\.|t\.|abc\.)?(?:set|frozenset|Set|FrozenSet|AbstractSet|MutableSet)(?:\[(.*)\])?$"
)


class Sets:
    """The sets of one function."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._bound: dict[str, list[ast.expr]] = {}
        """What is assigned to each variable; something that is none of this stands for what is not known."""
        self._annotated: dict[str, str] = {}
        self._tasks: set[str] = set()
        """Variables to which tasks are added."""
        for node in ast.walk(source.tree):
            self._note(node)

    def _note(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    for name in [one for one in ast.walk(target) if isinstance(one, ast.Name)]:
                        self._bound.setdefault(name.id, []).append(value if name is target else name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                self._annotated[name] = ast.unparse(annotation)
                if value is not None:
                    self._bound.setdefault(name, []).append(value)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                self._bound.setdefault(name, []).append(value)
            case ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target):
                for one in ast.walk(target):
                    if isinstance(one, ast.Name):
                        self._bound.setdefault(one.id, []).append(one)
            case ast.arg(arg=name, annotation=annotation) if annotation is not None:
                self._annotated[name] = ast.unparse(annotation).strip("'\"")
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="add"), args=[added]):
                if self._is_task(added):
                    self._tasks.add(name)
            case _:
                pass

    def orders(self, node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
        """Give where, in this node, it matters in which order a set is gone through."""
        match node:
            case ast.For(iter=of, body=body) | ast.AsyncFor(iter=of, body=body):
                if self._is_set(of) and self._matters(body):
                    yield of, f"for ... in {_short(of)}"
            case (
                ast.ListComp(generators=[ast.comprehension(iter=of), *_])
                | ast.GeneratorExp(generators=[ast.comprehension(iter=of), *_])
            ):
                if self._is_set(of) and not self._is_lost(node):
                    yield of, f"{_short(node)}"
            case ast.Call(func=ast.Name(id=name), args=args) if name in _ORDERS:
                given = [one for one in args if self._is_set(one)]
                if given and self._source.named(node.func).path == f"builtins.{name}" and not self._is_lost(node):
                    yield node, _short(node)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="join"), args=[of]):
                if self._is_set(of):
                    yield node, _short(node)
            case ast.Starred(value=of, ctx=ast.Load()):
                if self._is_set(of) and not self._is_lost(node) and not isinstance(self._parent(node), ast.Set):
                    yield node, _short(node)
            case ast.Call(func=ast.Attribute(value=of, attr="pop"), args=[]):
                if self._is_set(of):
                    yield node, _short(node)
            case _:
                pass

    def _parent(self, node: ast.AST) -> ast.AST | None:
        return self._source.parents.get(node)

    def _is_lost(self, node: ast.AST) -> bool:
        """Tell whether the order is lost at once: `sorted(list(names))`."""
        parent = self._parent(node)
        if not isinstance(parent, ast.Call) or not isinstance(parent.func, ast.Name):
            return False
        named = self._source.named(parent.func)
        return named.path.removeprefix("builtins.") in _LOSES or named.path == "collections.Counter"

    def _matters(self, body: list[ast.stmt]) -> bool:
        """Tell whether a loop does what another order would do otherwise: calls, collects, waits or leaves early."""
        for node in (inner for statement in body for inner in ast.walk(statement)):
            match node:
                case ast.Await() | ast.Yield() | ast.YieldFrom() | ast.Return() | ast.Break():
                    return True
                case ast.Call(func=ast.Attribute(attr=method)) if method in _COLLECTS:
                    return True
                case ast.Call(func=of):
                    named = self._source.named(of)
                    if isinstance(named.value, Definition) or named.path.startswith("everlog."):
                        return True
                case _:
                    pass
        return False

    def _is_set(self, node: ast.expr) -> bool:
        """Tell whether it surely is a set, of what has no order of its own."""
        match node:
            case ast.Set(elts=elements):
                return not all(isinstance(one, ast.Constant) and isinstance(one.value, int) for one in elements)
            case ast.SetComp(elt=element):
                return not self._is_task(element)
            case ast.Call(func=ast.Name(id="set" | "frozenset" as name), args=args):
                return self._source.named(node.func).path == f"builtins.{name}" and not self._are_ordered(args)
            case ast.Call(func=ast.Attribute(value=of, attr=method)) if method in _METHODS:
                return self._is_set(of)
            case ast.BinOp(left=left, op=operator, right=right) if isinstance(operator, _OPERATORS):
                return self._is_set(left) and (isinstance(operator, ast.Sub) or self._is_set(right))
            case ast.Name(id=name):
                return self._is_variable(name)
            case _:
                return False

    def _is_variable(self, name: str) -> bool:
        if name in self._tasks:
            return False
        if name in self._annotated:
            found = _SET.match(self._annotated[name])
            return found is not None and not _IN_ORDER & set(re.findall(r"\w+", found[1] or ""))
        bound = self._bound.get(name, [])
        # A variable that is made from itself would never be known.
        return bool(bound) and all(not _mentions(one, name) and self._is_set(one) for one in bound)

    def _is_task(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
                return name in ("create_task", "ensure_future")
            case ast.Name(id=name):
                bound = self._bound.get(name, [])
                return any(isinstance(one, ast.Call) and self._is_task(one) for one in bound)
            case _:
                return False

    def _are_ordered(self, given: list[ast.expr]) -> bool:
        """Tell whether all that a set is made of has one order: numbers and tasks."""
        match given:
            case [ast.Name(id=name)]:
                return bool(_IN_ORDER & set(re.findall(r"\w+", self._annotated.get(name, ""))))
            case [ast.Call(func=ast.Name(id="range"))]:
                return True
            case [ast.GeneratorExp(elt=element) | ast.ListComp(elt=element)]:
                return self._is_task(element)
            case _:
                return False


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(one, ast.Name) and one.id == name for one in ast.walk(node))


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
