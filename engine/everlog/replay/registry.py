"""The registry: all workflows that were defined in this process, and the packages that define something."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from everlog.errors import InvalidDefinition
from everlog.replay.importable import is_interactive

if TYPE_CHECKING:
    from everlog.replay.definitions import AnyWorkflow

log: Final = logging.getLogger("everlog")

_registry: Final[dict[str, AnyWorkflow[..., Any]]] = {}


_packages: Final[set[str]] = set()


def defining_packages() -> frozenset[str]:
    """Give the top-level packages that define workflows or steps: their exceptions are rebuilt from the log."""
    return frozenset(_packages)


def note_package(function: object) -> None:
    """Take note that the package of a function defines workflows or steps."""
    _packages.add(str(getattr(function, "__module__", "")).partition(".")[0])


def registered_workflows() -> dict[str, AnyWorkflow[..., Any]]:
    """Give all workflows that were defined in this process, by name."""
    return dict(_registry)


def register_workflow(defined: AnyWorkflow[..., Any]) -> None:
    """Have a workflow found by its name; `InvalidDefinition` where another module has one of that name."""
    before = _registry.get(defined.name)
    if before is not None:
        if before.__module__ != defined.__module__:
            raise InvalidDefinition(
                f"two workflows are called {defined.name!r}: {before.where()} and {defined.where()}; "
                "give one of them name="
            )
        # Whoever runs a cell again is to see it; a module that is loaded again is as usual.
        level = logging.WARNING if is_interactive() else logging.INFO
        text = "workflow %r is defined again at %s, and replaces %s"
        log.log(level, text, defined.name, defined.where(), before.where())
    _registry[defined.name] = defined
