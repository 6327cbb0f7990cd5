"""Workflows that continue as new: nothing follows on the call, and the arguments are those of what goes on."""

from typing import Any

import everlog
from everlog import named, sync, workflow


@workflow
async def secretary(name: str, *, filed: int = 0) -> int:
    everlog.continue_as_new(secretary, name, filed=filed + 1)


@workflow
def accountant(year: int) -> str:
    if year < 2030:
        sync.continue_as_new(accountant, year + 1)
    return "over"


@workflow
async def hands_on(order: str | None) -> None:
    if order is None:
        everlog.continue_as_new(named("elsewhere", type=int), 1, a=2)
    everlog.continue_as_new(accountant, len(order))


async def narrowed(value: int | str) -> None:
    if isinstance(value, int):
        everlog.continue_as_new(secretary.options(timeout=3), "Ada")
    text: str = value
    print(text)


class Shop:
    @workflow
    async def open(self, day: int) -> Any:
        everlog.continue_as_new(self.open, day + 1)
