"""Attempts: what code inside a step can ask about the attempt that runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol


class Outlet(Protocol):
    """Takes what the attempts of one workflow publish."""

    def emit(self, attempt: Attempt, stream: str, items: tuple[object, ...]) -> Awaitable[None]:
        """Take items for a stream; awaiting it waits while too many are under way."""
        ...

    def emit_blocking(self, attempt: Attempt, stream: str, items: tuple[object, ...]) -> None:
        """Take items for a stream; waits while too many are under way."""
        ...

    def set_value(self, attempt: Attempt, name: str, value: object) -> None:
        """Take a value; it is written soon, and before the attempt's outcome."""
        ...


class Attempt:
    """One attempt of a step, as `everlog.current()` shows it to the step."""

    __slots__ = (
        "cancelled",
        "identity",
        "key",
        "name",
        "number",
        "outlet",
        "over",
        "post",
        "repeats",
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
        self.post: Callable[..., Coroutine[Any, Any, None]] | None = None
        """Sends a message from the step; None where it runs apart from the engine's loop."""
        self.outlet: Outlet | None = None
        """Takes what the step publishes."""
        self.repeats = False
        """Whether it may have run before, in a process that is gone."""
        self.over = False
        """Whether its outcome is known, or nobody wants it: what it publishes now comes too late."""
