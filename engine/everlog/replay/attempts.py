"""Attempts: what code inside a step can ask about the attempt that runs it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct


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
    cancelled: bool = False
    client: Any = None
    """The engine that runs it; None where it runs apart from the engine's loop."""
    post: Callable[..., Coroutine[Any, Any, None]] | None = None
    """Sends a message from the step; None where it runs apart from the engine's loop."""
