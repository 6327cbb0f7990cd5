"""Generators: async generators that begin in workflow code are held by its loop, so that no collector finds them."""

from __future__ import annotations

import sys
from asyncio import events
from collections.abc import AsyncGenerator
from typing import Any


class GeneratorsHeld:
    """Have this thread's workflow loops hold the async generators that begin in them; once for many drains."""

    __slots__ = ("_hooks",)

    def __enter__(self) -> None:
        self._hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=_hold, finalizer=_keep)

    def __exit__(self, *_: object) -> None:
        sys.set_asyncgen_hooks(*self._hooks)


def are_held() -> bool:
    """Tell whether that is so on this thread."""
    return sys.get_asyncgen_hooks().firstiter is _hold


def _hold(generator: AsyncGenerator[Any, Any]) -> None:
    hold_generator = getattr(events._get_running_loop(), "hold_generator", None)
    if hold_generator is not None:
        hold_generator(generator)


def _keep(generator: AsyncGenerator[Any, Any]) -> None:
    """The loop holds every generator, so the collector never finds one."""
