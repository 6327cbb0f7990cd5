"""Backends: finds the store for a URL through the entry-point group `everlog.backends`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final, Literal

from everlog.errors import UsageError
from everlog.store import Store

Durability = Literal["full", "process"]
GROUP: Final = "everlog.backends"


def open_store(url: str, *, durability: Durability = "full", create: bool = True) -> Store:
    """Open the store that a URL names. Raises `UsageError` for a URL of no installed backend, and `StoreError`s."""
    scheme, separator, _ = url.partition(":")
    if not separator:
        raise UsageError(f"a store is named by a URL, got {url!r}; write for example sqlite:///{url or 'shop.db'}")
    for entry in entry_points(group=GROUP, name=scheme):
        opened: Callable[..., Any] = entry.load()
        store: Store = opened(url, durability=durability, create=create)
        return store
    known = ", ".join(sorted({entry.name for entry in entry_points(group=GROUP)}))
    raise UsageError(
        f"no backend is installed for {scheme!r} URLs like {url!r}; installed are: {known or 'none'}. Install the "
        f"package of a backend for {scheme!r}, or use one that is there, such as sqlite:///shop.db"
    )
