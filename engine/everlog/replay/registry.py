"""The registry: all workflows and steps that were defined in this process, and the packages that define something."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from everlog.core.versions import told, versioned
from everlog.errors import InvalidDefinition
from everlog.replay.importable import is_interactive

if TYPE_CHECKING:
    from everlog.replay.definitions import AnyStep, AnyWorkflow

log: Final = logging.getLogger("everlog")

_registry: Final[dict[str, AnyWorkflow[..., Any]]] = {}


_steps: Final[WeakValueDictionary[tuple[str, str, str], AnyStep[..., Any]]] = WeakValueDictionary()
"""Of each name, and each function of that name, the step that was defined last; those that somebody still has."""

_defined_steps = 0

_packages: Final[set[str]] = set()


def defining_packages() -> frozenset[str]:
    """Give the top-level packages that define workflows or steps: their exceptions are rebuilt from the log."""
    return frozenset(_packages)


def note_package(function: object) -> None:
    """Take note that the package of a function defines workflows or steps."""
    _packages.add(str(getattr(function, "__module__", "")).partition(".")[0])


def registered_workflows() -> dict[str, AnyWorkflow[..., Any]]:
    """Give all workflows that were defined in this process, by their names in the log."""
    return dict(_registry)


def register_step(defined: AnyStep[..., Any]) -> None:
    """Have a step found by its name; those of the engine itself are not."""
    global _defined_steps
    if defined.__module__ != "builtins":
        # Callable objects have no name of their own, and each is another one.
        function = getattr(defined, "__qualname__", None) or f"object {id(defined.__wrapped__)}"
        _steps[defined.name, defined.__module__, function] = defined
        _defined_steps += 1


def state_of_steps() -> tuple[int, int]:
    """Give what stays the same as long as no step comes to the registered ones, and none goes."""
    return _defined_steps, len(_steps)


def registered_steps(name: str | None = None) -> list[AnyStep[..., Any]]:
    """Give the steps that were defined in this process, of any name or of one."""
    found = (reference() for reference in _steps.valuerefs())
    return [step for step in found if step is not None and name in (None, step.name)]


def by_log_names(definitions: Iterable[AnyWorkflow[..., Any]]) -> dict[str, AnyWorkflow[..., Any]]:
    """Give definitions by all names in the log that they run: of several versions the last runs what has none."""
    found: dict[str, AnyWorkflow[..., Any]] = {}
    for one in definitions:
        _add(found, one)
    return found


def _add(known: dict[str, AnyWorkflow[..., Any]], one: AnyWorkflow[..., Any]) -> None:
    known[versioned(one.name, one.version)] = one
    of_any = known.get(one.name)
    if of_any is None or of_any.version is not None:
        known[one.name] = one


def register_workflow(defined: AnyWorkflow[..., Any]) -> None:
    """Have a workflow found by its name; `InvalidDefinition` where another module has one of that name and version.

    What was started without a version is found as well: by code without one, or else by what was defined last.
    """
    name = versioned(defined.name, defined.version)
    before = _registry.get(name)
    if before is not None and before.version == defined.version:
        if before.__module__ != defined.__module__:
            raise InvalidDefinition(
                f"two workflows are called {told(name)}: {before.where()} and {defined.where()}; "
                "give one of them name=, or another version="
            )
        # Whoever runs a cell again is to see it; a module that is loaded again is as usual.
        level = logging.WARNING if is_interactive() else logging.INFO
        text = "workflow %s is defined again at %s, and replaces %s"
        log.log(level, text, told(name), defined.where(), before.where())
    _add(_registry, defined)
