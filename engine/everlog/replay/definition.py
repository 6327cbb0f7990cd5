"""The definition: what steps and workflows share, a function with a name in the log."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from types import CodeType, MethodType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from everlog.core.signature import Signature, check_unrecorded
from everlog.errors import InvalidDefinition
from everlog.replay.functions import Binds, name_of
from everlog.replay.registry import note_package

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)
Self = TypeVar("Self", bound="Definition[..., Any]")


class Definition(Generic[P, T_co]):
    """What `start` and `call` take: a function with a name in the log."""

    __wrapped__: Callable[..., Any]
    __code__: CodeType
    __name__: str
    __qualname__: str

    def __init__(
        self, function: Callable[..., Any], name: str | None, kind: str, unrecorded: Sequence[str] = ()
    ) -> None:
        self._function = function
        note_package(function)
        self.name: str = name_of(function, name, kind)
        needs_defaults, of = kind == "workflow", f"{kind} {self.name}"
        unrecorded = check_unrecorded(function, unrecorded, of, needs_defaults=needs_defaults)
        self.signature = Signature(function, unrecorded=unrecorded)
        self.version: str | None = None
        """The version of the code, which is part of the name in the log of what is started; only workflows have any."""
        self.bound: tuple[object, ...] = ()
        """The object whose method it is, or the class; empty for a function."""
        self.unbound: Definition[..., Any] | None = None
        """The same as it was before it was bound to an object; None for what is not bound."""
        self.owner: type | None = None
        """The class in whose body it stands."""
        self.binds: Binds = "instance"
        self._as_method: tuple[Signature, inspect.Signature] | None = None
        self.__wrapped__ = function
        for attribute in (*functools.WRAPPER_ASSIGNMENTS, "__code__", "__defaults__", "__kwdefaults__"):
            if hasattr(function, attribute):
                setattr(self, attribute, getattr(function, attribute))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def where(self) -> str:
        """Give file and line of the function."""
        code = getattr(self._function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(self._function)

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner = self.owner or owner

    def changed(self: Self, **changes: Any) -> Self:
        """Give a copy with other attributes."""
        changed = copy.copy(self)
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed

    def bound_to(self: Self, instance: object) -> Self:
        """Give it as the method of an object, or of a class; a function bound to None is as it was."""
        if instance is None:
            return self
        if self._as_method is None:
            shown = inspect.signature(self._function)
            shown = shown.replace(parameters=list(shown.parameters.values())[1:])
            self._as_method = self.signature.without_first(), shown
        signature, shown = self._as_method
        return self.changed(bound=(instance,), unbound=self, signature=signature, __signature__=shown)

    def _got(self: Self, instance: object, owner: type) -> Self:
        """What `__get__` gives."""
        if self.binds == "nothing":
            return self
        return self.bound_to(owner if self.binds == "class" else instance)

    def bare(self) -> Callable[..., Any]:
        """Give the function itself, bound as this is."""
        return MethodType(self._function, self.bound[0]) if self.bound else self._function


def plain_function(function: Any, kind: str) -> Callable[..., Any]:
    """Give the function that is to be a workflow or a step; `InvalidDefinition` for what cannot be one."""
    if isinstance(function, staticmethod | classmethod):
        function = cast("Any", function).__func__  # what is made of it binds in the same way
    if isinstance(function, Definition):
        raise InvalidDefinition(f"{function!r} is defined already; it cannot be made a {kind}")
    if not callable(function):
        right = f"; write @{kind}(name={function!r})" if isinstance(function, str) else ""
        raise InvalidDefinition(f"only a function can be a {kind}, got {function!r}{right}")
    if isinstance(function, type):
        raise InvalidDefinition(f"{function!r} is a class, which cannot be a {kind}; write a function that makes one")
    # The attribute itself is wanted, not whether it is callable.
    call: Any = function if inspect.isfunction(function) else getattr(function, "__call__", function)  # noqa: B004
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in (function, call)):
        raise InvalidDefinition(f"{function!r} is a generator, which cannot be a {kind}; return a list instead")
    return cast("Callable[..., Any]", function)
