"""Observers: who is told what an engine does, at the points at which it is durable. They change nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from everlog.errors import UsageError
from everlog.host import Host
from everlog.replay.drafting import Draft
from everlog.replay.environment import StepEnd
from everlog.runtime.residents import History, Resident
from everlog.runtime.steps import Dispatch
from everlog.store import Head, Store

log: Final = logging.getLogger("everlog")


class Observer:
    """Is told what an engine does: `Engine(..., observers=[...])`. Each method does nothing, to be replaced.

    They are called on the engine's thread, unless one says otherwise, and take as long as they take from it. What one
    raises is logged, once, and changes nothing.
    """

    def opened(self, host: Host, store: Store) -> None:
        """Take note of the engine that is being opened; on the loop of whoever opens it."""

    def carries(self) -> Mapping[str, str]:
        """Give attributes for a workflow that is being started here; in the context of whoever starts it."""
        return {}

    def held(self, workflow_id: str, history: History, head: Head | None) -> None:
        """Take note of a workflow that comes into memory; without a head it was just created, or continues, here."""

    def committed(self, resident: Resident, drafted: Draft) -> None:
        """Take note of rows of a workflow that are durable, before it goes on with them: once for each row, ever."""

    def let_go(self, resident: Resident) -> None:
        """Take note of a workflow that is dropped from memory, ended or not."""

    def dispatched(self, dispatch: Dispatch) -> None:
        """Take note of an attempt of a step that is about to be handed out."""

    def begins(self, dispatch: Dispatch) -> None:
        """Take note of an attempt that begins; in its thread or task, and in its context, which may be changed.

        One that runs in a process of its own is told when it is handed out, on the engine's thread.
        """

    def ended(self, dispatch: Dispatch, end: StepEnd | None) -> None:
        """Take note of the end of an attempt that began, once; from any thread. None: it was cut short or given up."""


class Observers:
    """Tells all of them, and lets none of them fail anybody else."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)
        for one in self._observers:
            if not isinstance(one, Observer):  # pyright: ignore[reportUnnecessaryIsInstance] - users without a checker
                raise UsageError(f"observers= takes a list of observers, as everlog.observing.Tracing(), got {one!r}")
        self._failed: set[Observer] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def tell(self, method: Callable[..., None], *args: Any) -> None:
        """Call this method of each; `method` is that of `Observer`."""
        for one in self._observers:
            try:
                getattr(one, method.__name__)(*args)
            except Exception as error:  # noqa: BLE001 - it is no part of what the engine does
                self._complain(one, error)

    def carried(self) -> dict[str, str]:
        """Give the attributes that all of them give a workflow that is being started."""
        found: dict[str, str] = {}
        for one in self._observers:
            try:
                found.update(one.carries())
            except Exception as error:  # noqa: BLE001 - it is no part of what the engine does
                self._complain(one, error)
        return found

    def _complain(self, one: Observer, error: Exception) -> None:
        if one not in self._failed:
            self._failed.add(one)
            log.error("the observer %r failed, and this is said once: workflows go on", one, exc_info=error)
