"""Module state: what modules of users hold, remembered and put back, so that no run sees what another has left.

It follows globals, closures, defaults of parameters, attributes of classes and of objects of users' classes, and what
lists, dicts and sets of those hold. It does not see into objects of other packages, files and databases.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from everlog.replay.definition import Definition
from everlog.replay.places import OURS, STANDARD

Back = Callable[[], None]
_INSTALLED: Final = ("site-packages", "dist-packages")
_MISSING: Final = object()
_CONTAINERS: Final[tuple[type[Any], ...]] = (dict, list, set, deque, bytearray)
_FIXED: Final[tuple[type[Any], ...]] = (tuple, frozenset)
_CACHED: Final[type[Any]] = type(lru_cache(len))
"""What `functools.cache` makes of functions."""


class ModuleState:
    """What can be reached from some objects, as it is now."""

    def __init__(self, roots: Iterable[object]) -> None:
        self._random = random.getstate()
        self._backs: list[Back] = []
        waiting: list[object] = [root for root in roots if root is not None]
        self._kept: dict[int, object] = {}
        """By identity, which stays taken as long as they are kept."""
        while waiting:
            found = waiting.pop()
            if id(found) in self._kept:
                continue
            self._kept[id(found)] = found
            waiting.extend(self._look(found))

    def put_back(self) -> None:
        """Have everything as it was; and `random` too, for steps that draw."""
        for back in self._backs:
            back()
        random.setstate(self._random)

    def _look(self, found: Any) -> Iterator[object]:
        """Remember what one object holds, and give that."""
        if isinstance(found, Definition):
            yield found.__wrapped__
            yield from found.bound
        elif isinstance(found, ModuleType):
            if is_of_users_module(found.__name__):
                yield from self._remember_names(vars(found))
        elif isinstance(found, FunctionType):
            yield from self._look_into_function(found)
        elif type(found) is partial:
            yield found.func
            yield from found.args
        elif isinstance(found, MethodType):
            yield found.__func__
            yield found.__self__
        elif isinstance(found, _CACHED):
            self._backs.append(found.cache_clear)
            yield found.__wrapped__
        elif isinstance(found, type):
            if is_of_users_module(found.__module__):
                yield from self._remember_class(found)
        elif isinstance(found, _CONTAINERS):
            yield from self._remember_container(found)
        elif isinstance(found, _FIXED):
            yield from found
        elif type(found) in (classmethod, staticmethod):
            yield found.__func__
        elif isinstance(found, property):
            yield found.fget
        elif is_of_users_module(type(found).__module__):
            yield type(found)
            yield from self._remember_object(found)

    def _look_into_function(self, function: FunctionType) -> Iterator[object]:
        if not is_of_users_module(function.__module__):
            return
        module = sys.modules.get(function.__module__)
        yield function.__globals__ if module is None else module
        yield from function.__defaults__ or ()
        yield from (function.__kwdefaults__ or {}).values()
        yield vars(function)
        for cell in function.__closure__ or ():
            yield from self._remember_cell(cell)

    def _remember_cell(self, cell: CellType) -> Iterator[object]:
        try:
            before = cell.cell_contents
        except ValueError:  # it is empty yet
            return

        def back() -> None:
            cell.cell_contents = before

        self._backs.append(back)
        yield before

    def _remember_names(self, names: dict[str, Any]) -> Iterator[object]:
        """Remember a namespace that others read meanwhile: only what differs is put back."""
        before = dict(names)

        def back() -> None:
            for name in [name for name in names if name not in before]:
                del names[name]
            for name, value in before.items():
                if names.get(name, _MISSING) is not value:
                    names[name] = value

        self._backs.append(back)
        yield from before.values()

    def _remember_class(self, found: type) -> Iterator[object]:
        before = {name: value for name, value in vars(found).items() if not _is_special(name)}

        def back() -> None:
            for name in [name for name in vars(found) if not _is_special(name) and name not in before]:
                delattr(found, name)
            for name, value in before.items():
                if vars(found).get(name, _MISSING) is not value:
                    setattr(found, name, value)

        self._backs.append(back)
        yield from before.values()

    def _remember_object(self, found: Any) -> Iterator[object]:
        names: dict[str, Any] | None = getattr(found, "__dict__", None)
        if names is not None:
            yield from self._remember_names(names)
        slots = [
            slot
            for owner in type(found).__mro__
            for slot in _slots_of(owner)
            if slot not in ("__dict__", "__weakref__") and hasattr(found, slot)
        ]
        before = {slot: getattr(found, slot) for slot in slots}

        def back() -> None:
            for slot, value in before.items():
                if getattr(found, slot, _MISSING) is not value:
                    object.__setattr__(found, slot, value)

        if before:
            self._backs.append(back)
            yield from before.values()

    def _remember_container(self, found: Any) -> Iterator[object]:
        items: list[Any]
        if hasattr(found, "items"):
            items = list(found.items())
            self._backs.append(partial(_put_back_pairs, found, items))
            yield from found.values()
            return
        items = list(found)
        fill = found.update if hasattr(found, "update") else found.extend
        self._backs.append(partial(_refill, found, fill, items))
        if not isinstance(found, bytearray):
            yield from items


def is_of_users_module(name: str) -> bool:
    """Tell whether a module is the user's: neither ours, nor the standard library's, nor installed."""
    top = name.partition(".")[0]
    if top == OURS or (top in STANDARD and top != "__main__"):
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and not any(part in file for part in _INSTALLED)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _slots_of(owner: type) -> tuple[str, ...]:
    slots: str | Iterable[str] = vars(owner).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _put_back_pairs(found: dict[Any, Any], pairs: list[tuple[Any, Any]]) -> None:
    now = found.items()
    if len(now) == len(pairs) and all(
        key is other and value is one for (key, value), (other, one) in zip(now, pairs, strict=True)
    ):
        return
    _refill(found, found.update, pairs)


def _refill(found: Any, fill: Callable[[Any], object], items: Iterable[Any]) -> None:
    found.clear()
    fill(items)
