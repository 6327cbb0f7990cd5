"""Modules: which source files the demo indexes, and the documented names in one of them. It stores nothing."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SKIPPED: Final = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})
"""Directories that are left out: what was installed beside it, and tests, which hold broken files on purpose."""


@dataclass(frozen=True)
class Module:
    """A module and the file that it is in."""

    name: str
    path: str


@dataclass(frozen=True)
class DocumentedName:
    """A name with a docstring, and that docstring's first line."""

    kind: str
    name: str
    line: int
    summary: str


def find_modules(limit: int = 0) -> list[Module]:
    """Give the modules of the standard library in order of their names; with `limit`, so many from all over it."""
    root = Path(sysconfig.get_path("stdlib"))
    found = [
        Module(_name(path.relative_to(root)), str(path))
        for path in sorted(root.rglob("*.py"))
        if not SKIPPED & set(path.relative_to(root).parts)
    ]
    if limit and len(found) > limit:
        found = [found[number * len(found) // limit] for number in range(limit)]
    return found


def documented_names(module: Module) -> list[DocumentedName]:
    """Read and parse a file and give its documented names. `SyntaxError` where it is no Python."""
    source = Path(module.path).read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in old modules are not our business
            tree = ast.parse(source, Path(module.path).name)
    except ValueError as error:  # a null byte, before Python 3.12
        raise SyntaxError(str(error)) from None
    names: list[DocumentedName] = []
    _collect(tree, "module", module.name, 1, names)
    return names


def _collect(node: ast.AST, kind: str, name: str, line: int, names: list[DocumentedName]) -> None:
    """Take a definition and, in modules and classes, those inside it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = (ast.get_docstring(node) or "").strip()
        if text:
            names.append(DocumentedName(kind, name, line, _plain(text.splitlines()[0])))
    if isinstance(node, ast.Module | ast.ClassDef):
        inner = "" if isinstance(node, ast.Module) else f"{name}."
        for child in node.body:
            if isinstance(child, ast.ClassDef):
                _collect(child, "class", inner + child.name, child.lineno, names)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                kind_of = "function" if isinstance(node, ast.Module) else "method"
                _collect(child, kind_of, inner + child.name, child.lineno, names)


def _plain(text: str) -> str:
    """Give the text without what a database cannot hold as UTF-8."""
    return text.encode(errors="replace").decode()


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
