"""Attempts: what code inside a step can ask about the attempt that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everlog.replay.operations import StepOperation


class Attempt:
    """One attempt of a step, as `everlog.current()` shows it to the step."""

    __slots__ = ("cancelled", "identity", "key", "number", "step", "workflow_id")

    def __init__(self, workflow_id: str, operation: StepOperation) -> None:
        self.workflow_id = workflow_id
        self.step = operation.name
        self.identity = operation.identity
        self.key = operation.key
        self.number = operation.attempt
        self.cancelled = False
