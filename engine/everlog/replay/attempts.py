"""Attempts: what code inside a step can ask about the attempt that runs it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any


class Attempt:
    """One attempt of a step, as `everlog.current()` shows it to the step."""

    __slots__ = (
        "cancelled",
        "deadline",
        "identity",
        "key",
        "name",
        "number",
        "post",
        "started_at",
        "step",
        "workflow_id",
    )

    def __init__(self, workflow_id: str, step: str, identity: str, key: str | None, number: int) -> None:
        self.workflow_id = workflow_id
        self.step = step
        self.identity = identity
        self.key = key
        self.number = number
        self.cancelled = False
        self.name = ""
        """The name of the workflow."""
        self.started_at = 0
        """When the workflow began, by the store's clock."""
        self.deadline: int | None = None
        """When the workflow is cancelled, by the store's clock."""
        self.post: Callable[..., Coroutine[Any, Any, None]] | None = None
        """Sends a message from the step; None where it runs apart from the engine's loop."""
