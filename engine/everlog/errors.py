"""The exception tree, named by who can act on it. Nothing else lives here.

EverlogError
├── UsageError       the caller:   InvalidDefinition, WrongContext, NotEncodable, NotFound, IdInUse, Duplicate
├── WorkflowError    the workflow: WorkflowFailed, WorkflowCancelled, StepFailed, StepTimeout, StepInterrupted,
│                                  AskRefused
├── StoreError       the database: StoreUnavailable, SchemaMismatch, CorruptLog, PayloadUnavailable
└── InternalError    us
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everlog.core.failures import Failure


class EverlogError(Exception):
    """Base of every error that Everlog raises on purpose."""


class UsageError(EverlogError):
    """The call was wrong; nothing was written."""


class InvalidDefinition(UsageError):
    """A workflow, step or option cannot be defined like this."""


class WrongContext(UsageError):
    """The call has no meaning here; the message names the right form."""


class NotEncodable(UsageError):
    """A value cannot be recorded, or would not come back as the same type; the message names its path."""


class NotFound(UsageError):
    """Nothing of that id is in the store, or it can no longer take what was sent."""


class IdInUse(UsageError):
    """The id names a workflow with another function or another input."""


class Duplicate(UsageError):
    """A workflow that has not ended has the `dedup_key` in its queue: `workflow_id` says which."""

    def __init__(self, message: str, *, workflow_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id


class WorkflowError(EverlogError):
    """A workflow, or a part of one, ended otherwise than by returning."""


class WorkflowFailed(WorkflowError):
    """The workflow raised. The original is the `__cause__`; `error` is the same as data."""

    def __init__(self, message: str, *, workflow_id: str = "", error: Failure | None = None) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.error = error


class WorkflowCancelled(WorkflowError):
    """The workflow was cancelled, or terminated, or took longer than its timeout: `reason` says which.

    An ordinary exception: it never cancels the task that waits for the result.
    """

    def __init__(self, message: str, *, workflow_id: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.reason = reason


class StepFailed(WorkflowError):
    """A step raised an exception whose type is not known here; `error` holds its type, message and traceback."""

    def __init__(self, message: str, *, error: Failure | None = None) -> None:
        super().__init__(message)
        self.error = error


class StepTimeout(WorkflowError, TimeoutError):
    """An attempt of a step took longer than the step's `timeout`."""


class StepInterrupted(WorkflowError):
    """An `at_most_once` step had started when its process died: whether its effect happened is unknown."""


class AskRefused(WorkflowError):
    """A workflow refused what it was asked, or has ended without an answer: `reason` says why."""

    def __init__(self, message: str, *, workflow_id: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.reason = reason


class StoreError(EverlogError):
    """The database cannot do what was asked."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, read or written now; the same call may succeed later.

    `unknown_outcome` is True where a write may have become durable before the connection was lost. `of_one_part` is
    True where one part of what was to be written together is in the way of the rest, which may be written without it.
    """

    def __init__(self, message: str, *, unknown_outcome: bool = False, of_one_part: bool = False) -> None:
        super().__init__(message)
        self.unknown_outcome = unknown_outcome
        self.of_one_part = of_one_part


class SchemaMismatch(StoreError):
    """The database holds another schema than this version of Everlog works with."""


class CorruptLog(StoreError):
    """What was read is not what Everlog wrote."""


class PayloadUnavailable(StoreError):
    """A payload cannot be opened here: its key, its file or its codec is not here, or is another. Nothing is lost."""


class InternalError(EverlogError):
    """A defect of Everlog. Please report it with the text of this message."""
