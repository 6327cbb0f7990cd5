"""Importable: functions that another process finds again by module and qualified name, and those that it cannot."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from everlog.errors import InvalidDefinition, WrongContext

if TYPE_CHECKING:
    from everlog.replay.definition import Definition

_FIX = "write it as a function of a module"


def check_importable(function: Callable[..., Any], name: str) -> None:
    """Raise `InvalidDefinition` where no other process could find the function."""
    qualified = getattr(function, "__qualname__", None)
    if qualified is None or "<" in qualified:
        raise InvalidDefinition(
            f"step {name} runs in a process of its own, which could not find {function!r} there; {_FIX}"
        )
    if function.__module__ == "__main__" and is_interactive():
        raise InvalidDefinition(
            f"step {name} runs in a process of its own, which cannot import what was typed at a prompt or in a "
            f"notebook; {_FIX}, and import it"
        )


def is_interactive() -> bool:
    """Tell whether the program is typed in: at a prompt, in a notebook, by `python -c`."""
    main = sys.modules.get("__main__")
    # What was started by `python -m` has a spec, a script has a file.
    return not (getattr(main, "__file__", None) or getattr(main, "__spec__", None))


def reference(step: Definition[..., Any]) -> tuple[str, str]:
    """Give module and qualified name of the function of a step. Raises where that leads elsewhere, or to a method."""
    if step.bound:
        raise WrongContext(
            f"step {step.name} runs in a process of its own, and is a method of {step.bound[0]!r}, which is not "
            "there; make it a static method or a function, and give it what it needs as arguments"
        )
    function: Any = step.__wrapped__
    check_importable(function, step.name)
    module, qualified = function.__module__, function.__qualname__
    if find(module, qualified) is not function:
        raise InvalidDefinition(
            f"step {step.name} runs in a process of its own, and {module}.{qualified} is another function there; {_FIX}"
        )
    return module, qualified


def find(module: str, qualified: str) -> Any:
    """Give the bare function of this name, None where there is none. Raises what the import of the module raises."""
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found.__wrapped__ if hasattr(found, "bound_to") else found
