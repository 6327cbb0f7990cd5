"""Code: the user's modules, imported for a command as `python -m` would find them, and objects named in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from everlog.errors import UsageError

VARIABLE: Final = "EVERLOG_MODULE"


def modules_of(given: Sequence[str] | None) -> list[str]:
    """Give the names of the modules that a command means: those given, else those in `EVERLOG_MODULE`."""
    named = modules_if_any(given)
    if not named:
        raise UsageError(
            f"which code? Name the module that defines the workflows, by --module shop.orders, or set {VARIABLE}"
        )
    return named


def modules_if_any(given: Sequence[str] | None) -> list[str]:
    """Give the names of the modules that a command may use: those given, else those in `EVERLOG_MODULE`."""
    return [*given] if given else os.environ.get(VARIABLE, "").replace(",", " ").split()


def look_here() -> None:
    """Have modules found in the current directory, as `python -m` does; other processes that are started do so too."""
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())


def load_modules(names: Sequence[str]) -> None:
    """Import modules. Raises `UsageError` with the reason where one cannot be."""
    look_here()
    for name in names:
        _loaded(name)


def load_object(named: str, what: str) -> Any:
    """Give the object that `module:name` names. Raises `UsageError`."""
    module_name, separator, name = named.partition(":")
    if not separator:
        raise UsageError(f"{what} takes MODULE:NAME, such as shop.settings:codec, got {named!r}")
    module = _loaded(module_name)
    if not hasattr(module, name):
        raise UsageError(f"{what} names {named!r}, and module {module_name!r} has no {name!r}")
    return getattr(module, name)


def _loaded(name: str) -> Any:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is no name of a module; write it as in an import: shop.orders for shop/orders.py")
    try:
        return import_module(name)
    except Exception as error:  # the user's code is run, which may raise anything
        raise UsageError(f"cannot import {name!r}: {type(error).__name__}: {error}") from error
