"""Watching: workflow code that does not return is reported, then interrupted. Driven apart from the engine's thread.

All workflows of an engine share its thread, so one that computes for long holds up the others, and in the end the
lease: others take its workflows over. The engine's thread pays nothing for being watched: the watcher comes by and sees
whether the drain that goes on is still the one that it saw before. What is counted is the time in which it could look:
a process that stood still, or whose interpreter was held by C code, has not computed for long.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Final

from everlog.core.durations import SECOND
from everlog.replay.budgets import drains, interrupt
from everlog.replay.loop import WorkflowLoop
from everlog.replay.places import is_of_users, users_place, users_stack

log: Final = logging.getLogger("everlog")
BUDGET: Final = 2.0
"""Seconds after which a drain is reported; less where the lease is short."""
AT_REST: Final = 1.0
TRIES: Final = 500
"""So often a drain is interrupted that swallows it; then it is left alone, and the lease runs out."""
BETWEEN_TRIES: Final = 0.01


class DrainWatcher:
    """Watches the drains of one thread. `pump` is driven on another."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        lease: int,
        thread: Callable[[], int],
        silence: Callable[[], float],
    ) -> None:
        self._monotonic = monotonic
        self._thread = thread
        self._silence = silence
        self._longest = lease / SECOND / 2
        self._budget = min(BUDGET, self._longest / 2)
        self._loop: WorkflowLoop | None = None
        self._number = 0
        self._looked_at = 0.0
        self._seen_for = 0.0
        self._is_reported = False
        self._tries = 0
        self._why = ""

    def pump(self) -> float | None:
        """Look at the drain that goes on; give the seconds until the next look."""
        loop, at = drains.get(self._thread()), self._monotonic()
        if self._thread() == get_ident():
            return None  # a simulated engine: nobody watches the thread that he is on
        if loop is None:
            self._loop = None
            return min(AT_REST, self._budget)
        if loop is not self._loop or loop.drain_number != self._number:
            self._begin(loop, at)
            return self._budget / 4
        gap, self._looked_at = at - self._looked_at, at
        if gap > self._longest and not self._is_reported:
            self._report_gap(loop, gap)
        self._seen_for += min(gap, self._budget / 2)
        if self._seen_for >= self._budget and not self._is_reported:
            self._is_reported = True
            self._report(loop)
        if self._seen_for < self._budget or self._silence() < self._longest or not loop.interruptible:
            return self._budget / 4
        return self._interrupt(loop)

    def where(self) -> str:
        """Say which workflow the thread is held up by, and where; empty where it drains none."""
        loop = drains.get(self._thread())
        return "" if loop is None else f"{loop.name()} at {users_place(self._frame(loop))}"

    def _begin(self, loop: WorkflowLoop, at: float) -> None:
        self._loop, self._number = loop, loop.drain_number
        self._looked_at, self._seen_for = at, 0.0
        self._is_reported, self._tries, self._why = False, 0, ""

    def _report(self, loop: WorkflowLoop) -> None:
        frame = self._frame(loop)
        log.warning(
            "%s has been computing for more than %g s at %s and holds up all workflows of this engine; do long "
            "computations in a step\n%s",
            loop.name(),
            self._budget,
            users_place(frame),
            users_stack(frame),
        )

    def _report_gap(self, loop: WorkflowLoop, gap: float) -> None:
        log.warning(
            "nothing in this process could run for %.1f s: it stood still, or what %s calls at %s does not let others "
            "run meanwhile; call such things in a step",
            gap,
            loop.name(),
            users_place(self._frame(loop)),
        )

    def _interrupt(self, loop: WorkflowLoop) -> float:
        if self._tries >= TRIES:
            return self._budget / 4
        frame = self._frame(loop)
        self._tries += 1
        # Not amid code that is not the workflow's own: it may be holding a lock that others need. Only at last.
        if self._tries <= TRIES // 2 and (frame is None or not is_of_users(frame)):
            return BETWEEN_TRIES
        if not self._why:
            self._why = (
                f"{loop.name()} was interrupted at {users_place(frame)}: it had been computing there for more than "
                f"half the lease ({self._longest:g} s) and held up all workflows of this engine; do long computations "
                "in a step"
            )
        interrupt(loop, self._thread(), self._number, self._why)
        if self._tries == TRIES:
            log.error(
                "%s cannot be interrupted at %s; this engine does nothing until it returns, and others take its "
                "workflows over when its lease has run out",
                loop.name(),
                users_place(frame),
            )
        return BETWEEN_TRIES

    def _frame(self, loop: WorkflowLoop) -> FrameType | None:
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]  # the documented way to another's stack
        return frames.get(loop.code_thread() or self._thread())
