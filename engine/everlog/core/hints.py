"""Type hints, read leniently: an annotation that cannot be resolved counts as none. No encoding."""

from __future__ import annotations

import builtins
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

Hints = dict[str, object]


def function_hints(function: Callable[..., object]) -> Hints:
    """Give the annotations of a function, its return included, resolved one by one where all at once fails."""
    code = getattr(function, "__code__", None)
    cells: tuple[types.CellType, ...] = getattr(function, "__closure__", None) or ()
    names: Hints = {}
    for name, cell in zip(code.co_freevars if code else (), cells, strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    space: Mapping[str, object] = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(function, localns=names, include_extras=True)
    except RecursionError:  # at the end of the stack, which says nothing about the annotation
        raise
    except Exception:
        annotations: Hints = getattr(function, "__annotations__", None) or {}
        return {name: _resolved(hint, space, names) for name, hint in annotations.items()}


def class_hints(kind: type) -> Hints:
    """Give the annotations of a class and its bases, `Required` and the like kept."""
    names: Hints = {kind.__name__: kind}
    try:
        return typing.get_type_hints(kind, localns=names, include_extras=True)
    except RecursionError:  # at the end of the stack, which says nothing about the annotation
        raise
    except Exception:
        hints: Hints = {}
        for base in reversed(kind.__mro__):
            space = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
            for name, hint in inspect.get_annotations(base).items():
                hints[name] = _resolved(hint, space, names)
        return hints


def resolved_in(hint: object, owner: object) -> object:
    """Give a hint, the names in it looked up in the module of the type variable or alias that it belongs to."""
    space = vars(sys.modules.get(getattr(owner, "__module__", ""), builtins))
    return _resolved(hint, space, {str(getattr(owner, "__name__", "")): owner})


def _resolved(hint: object, space: Mapping[str, object], names: Hints) -> object:
    holder = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        return typing.get_type_hints(holder, dict(space), names, include_extras=True)["hint"]
    except RecursionError:  # at the end of the stack, which says nothing about the annotation
        raise
    except Exception:
        return Any


def type_arguments(kind: type, arguments: tuple[object, ...]) -> dict[object, object]:
    """Give what each type variable of a generic class and its bases stands for, given the class's arguments."""
    bound: dict[object, object] = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    for base in getattr(kind, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if isinstance(origin, type) and origin is not typing.Generic and origin is not typing.Protocol:
            given = tuple(substituted(argument, bound) for argument in typing.get_args(base))
            bound.update(type_arguments(origin, given))
    return bound


def substituted(hint: object, bound: Mapping[object, object]) -> object:
    """Give the hint with its type variables replaced; the hint itself where that is not possible."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    parameters: tuple[object, ...] = getattr(hint, "__parameters__", ())
    if not bound or not parameters or isinstance(hint, type):
        return hint
    try:
        return cast("Any", hint)[tuple(bound.get(parameter, parameter) for parameter in parameters)]
    except TypeError:
        return hint
