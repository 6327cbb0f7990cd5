"""Attempts: what code inside a step can ask about the attempt that runs it."""

from __future__ import annotations


class Attempt:
    """One attempt of a step, as `everlog.current()` shows it to the step."""

    __slots__ = ("cancelled", "identity", "key", "number", "step", "workflow_id")

    def __init__(self, *, workflow_id: str, step: str, identity: str, key: str | None, number: int) -> None:
        self.workflow_id = workflow_id
        self.step = step
        self.identity = identity
        self.key = key
        self.number = number
        self.cancelled = False
