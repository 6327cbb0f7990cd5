"""Listings: `await` gives the whole list, `async for` streams it page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)
Page = Callable[[object], Awaitable[tuple[Sequence[Any], object]]]
"""Gives the page after a mark (None for the first), and the mark of the next page or None."""


class Listing(Generic[T_co]):
    """Many of one kind. Read it once, or as often as you like: each reading asks anew."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def __await__(self) -> Generator[Any, Any, list[T_co]]:
        return self._all().__await__()

    async def __aiter__(self) -> AsyncIterator[T_co]:
        mark: object = None
        while True:
            items, mark = await self.page(mark)
            for item in items:
                yield item
            if mark is None:
                return

    async def page(self, mark: object) -> tuple[Sequence[T_co], object]:
        """Give the page after a mark, None for the first, and the mark of the next page, None after the last."""
        return await self._page(mark)

    async def _all(self) -> list[T_co]:
        return [item async for item in self]
