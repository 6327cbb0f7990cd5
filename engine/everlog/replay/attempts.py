"""Attempts: what code inside a step can ask about the attempt that runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from everlog.core.attributes import NO_ATTRIBUTES, Attributes


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


class Attempt(Struct, eq=False):
    """One attempt of a step, as `everlog.current()` shows it to the step."""

    workflow_id: str
    step: str
    identity: str
    key: str | None
    number: int
    name: str
    """The name of the workflow."""
    started_at: int
    """When the workflow began, by the store's clock."""
    deadline: int | None = None
    """When the workflow is cancelled, by the store's clock."""
    tick: datetime | None = None
    """The time for which a schedule planned the workflow."""
    outlet: Outlet | None = None
    """Takes what the step publishes."""
    repeats: bool = False
    """Whether it may have run before, in a process that is gone."""
    over: bool = False
    """Whether its outcome is known, or nobody wants it: what it publishes now comes too late."""
    cancelled: bool = False
    queue: str | None = None
    """The queue that admitted the workflow."""
    version: str | None = None
    """That of the workflow."""
    attributes: Attributes = NO_ATTRIBUTES
    """Those of the workflow when the attempt began."""
    parent: str | None = None
    """The workflow that started the workflow."""
    client: Any = None
    """The engine that runs it; None where it runs apart from the engine's loop."""
    within: Any = None
    """What starts and sends within the transaction of the step, where that is in the engine's own database."""
    post: Callable[..., Coroutine[Any, Any, None]] | None = None
    """Sends a message from the step; None where it runs apart from the engine's loop."""
