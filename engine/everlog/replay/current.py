"""Current: what the running workflow or step is, and a logger that says nothing twice."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from everlog.core.attributes import NO_ATTRIBUTES, Attributes
from everlog.core.durations import as_datetime
from everlog.core.versions import version_of

if TYPE_CHECKING:
    from everlog.replay.attempts import Attempt
    from everlog.replay.execution import Execution

log: Final = logging.getLogger("everlog.workflow")


class Current:
    """What the running workflow or step is; of a step `step` is the name, and None where it is workflow code.

    `workflow_id`, `name` and `attributes` are those of the workflow, `version` is that of its code which alone runs it,
    as its start, a retry or a fork said (None: any code of its name), `parent_id` is the id of the one that started it,
    None if none did. What others change of the attributes is seen from the next fact on, and by steps when an attempt
    begins. `started_at` is when it began, and `tick` the time for which it was planned: that of its schedule, in the
    schedule's time zone, and without one the same. At `deadline` it is cancelled; None: never. In a step `attempt` is 1
    at first, `key` what the call was given, and `cancelled` turns True for a thread that should end. In workflow code
    `replaying` is True while what happened before happens again, and while it is dropped from memory; `logger` is
    silent then. `queue` is the one that admitted the workflow. `parking` is True while it is only dropped from memory:
    its `finally` blocks run then, and run again when it comes back. `history_length` counts the events up to the fact
    being delivered since the workflow began or last continued as new, in a step it is 0.
    """

    __slots__ = (
        "attempt",
        "attributes",
        "cancelled",
        "deadline",
        "history_length",
        "key",
        "logger",
        "name",
        "parent_id",
        "parking",
        "queue",
        "replaying",
        "started_at",
        "step",
        "tick",
        "version",
        "workflow_id",
    )

    def __init__(self, execution: Execution | None, attempt: Attempt | None) -> None:
        self.workflow_id: str
        self.name: str
        self.started_at: datetime
        self.tick: datetime
        self.attributes: Attributes = NO_ATTRIBUTES
        self.parent_id: str | None = None
        self.history_length = 0
        self.deadline: datetime | None = None
        self.step: str | None = None
        self.attempt = 0
        self.key: str | None = None
        self.cancelled = False
        self.replaying = False
        self.parking = False
        self.queue: str | None = None
        self.version: str | None = None
        if execution is not None:
            self.workflow_id, self.name = execution.workflow_id, execution.definition.name
            self.started_at = as_datetime(execution.began_at)
            self.tick = execution.tick or self.started_at
            self.attributes = MappingProxyType(execution.attributes)
            self.parent_id = execution.created.parent
            self.history_length = execution.seq - execution.first_seq + 1
            self.deadline = None if execution.deadline is None else as_datetime(execution.deadline.due_at)
            self.parking = execution.torn_down
            self.replaying = execution.replaying
            self.queue = execution.queue
            self.version = version_of(execution.created.name)
        elif attempt is not None:
            self.workflow_id, self.name = attempt.workflow_id, attempt.name
            self.started_at = as_datetime(attempt.started_at)
            self.tick = attempt.tick or self.started_at
            self.attributes = MappingProxyType(attempt.attributes)
            self.parent_id = attempt.parent
            self.deadline = None if attempt.deadline is None else as_datetime(attempt.deadline)
            self.step, self.attempt, self.key = attempt.step, attempt.number, attempt.key
            self.cancelled = attempt.cancelled
            self.queue = attempt.queue
            self.version = attempt.version
        self.logger: logging.LoggerAdapter[logging.Logger] = _Logger(self, execution)

    def __repr__(self) -> str:
        step = "" if self.step is None else f", step {self.step!r}, attempt {self.attempt}"
        return f"<Current workflow {self.workflow_id!r} ({self.name}){step}>"


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Names the workflow, and is silent about what happened before: in a replay, and while it is dropped."""

    def __init__(self, current: Current, execution: Execution | None) -> None:
        super().__init__(log, {"workflow_id": current.workflow_id, "workflow": current.name, "step": current.step})
        self._execution = execution

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is the standard library's
        execution = self._execution
        is_silent = execution is not None and (execution.replaying or execution.torn_down)
        return not is_silent and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **kwargs.get("extra", {})}
        return msg, kwargs
