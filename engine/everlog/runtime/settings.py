"""Settings: what a worker is told when it is made. No defaults, and no behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from everlog.replay.definitions import AnyWorkflow


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What a worker is told when it is made."""

    worker: str
    build: str
    concurrency: int
    workflows: Callable[[], Mapping[str, AnyWorkflow[..., Any]]]
    queues: Sequence[str] | None = None
    """From which it takes workflows; None: from all of the store."""
