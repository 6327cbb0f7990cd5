"""Outside: methods of engines and handles, which are refused in workflow code at the call, not at the await."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from everlog.errors import WrongContext
from everlog.replay.context import active

F = TypeVar("F", bound=Callable[..., Any])

_FORMS: Final = {
    "send": 'write "await everlog.send(id, topic, message)"',
    "ask": 'write "await everlog.ask(id, topic, message, timeout=...)"',
    "start": "start it outside, or in a step",
    "run": 'make it a step, or write "await workflow.fn(...)" to run it as a part of this one',
    "serve": "call it where the engine was opened",
}


def outside(method: F) -> F:
    """Have a method raise `WrongContext`, with the right form, where it is called by workflow code."""
    name = getattr(method, "__name__", "")

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        refuse_in_workflow(name)
        return method(*args, **kwargs)

    return cast("F", checked)


def refuse_in_workflow(name: str = "") -> None:
    """Raise `WrongContext` where workflow code runs."""
    execution = active.execution
    if execution is not None:
        what = f"{name}() of an engine or handle is" if name else "the methods of an engine are"
        form = _FORMS.get(name, "call it in a step")
        raise WrongContext(
            f"workflow {execution.workflow_id!r}: {what} not for workflow code, since no replay could repeat it; {form}"
        )
