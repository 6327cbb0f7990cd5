"""Logs: says of each record of the standard `logging` which workflow or step wrote it. It configures nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from everlog.replay.context import active
from everlog.replay.context import attempt as attempt_variable

if TYPE_CHECKING:
    from everlog.replay.attempts import Attempt
    from everlog.replay.execution import Execution

FIELDS: Final = ("workflow_id", "workflow", "step", "attempt", "operation", "seq")
"""What each record has after the filter."""
_ENGINE: Final = "everlog"


def log_context() -> logging.Filter:
    """Give a filter for handlers: `handler.addFilter(everlog.log_context())`.

    Each record that passes has `workflow_id`, `workflow` (its name), `step`, `attempt`, `operation` (the step's name in
    the log) and `seq`, None where there is none: in a step there is no `seq`, in workflow code no `step`, and elsewhere
    nothing at all. `seq` is that of the event that was delivered last. What a record has already stays as it is.
    Records of workflow code are dropped while what happened before happens again, and while the workflow is dropped
    from memory, whichever logger wrote them; those of the engine itself never are. A handler that hands on to another
    thread, as a `QueueHandler` does, is given the filter itself.
    """
    return _Context()


class _Context(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        execution, said = active.execution, record.__dict__
        if execution is not None:
            _note(said, _of_workflow(execution))
            is_again = execution.replaying or execution.torn_down
            return not is_again or _is_of_engine(record.name)
        attempt = attempt_variable.get()
        _note(said, _NOWHERE if attempt is None else _of_step(attempt))
        return True


def _note(said: dict[str, Any], values: tuple[Any, ...]) -> None:
    for name, value in zip(FIELDS, values, strict=True):
        said.setdefault(name, value)


_NOWHERE: Final = (None,) * len(FIELDS)


def _of_workflow(execution: Execution) -> tuple[Any, ...]:
    return execution.workflow_id, execution.definition.name, None, None, None, execution.seq


def _of_step(attempt: Attempt) -> tuple[Any, ...]:
    return attempt.workflow_id, attempt.name, attempt.step, attempt.number, attempt.identity, None


def _is_of_engine(name: str) -> bool:
    return name == _ENGINE or name.startswith(f"{_ENGINE}.")
