"""Wrong uses of values and streams. Marked lines are refused."""

import everlog
from everlog import Handle, StreamItem, sync, workflow


@workflow
async def forgets() -> None:
    everlog.set_value("state", 1)  # error
    everlog.emit("log", 1)  # error
    everlog.close_stream("log")  # error
    await everlog.set_value("state")  # error
    await everlog.set_value(1, "state")  # error
    await everlog.emit()  # error
    await everlog.emit("log", items=[1])  # error
    await everlog.close_stream("log", "other")  # error


@workflow
def forgets_blocking() -> None:
    sync.set_value(name="state", value=1)  # error
    sync.emit(1, "log")  # error


async def reads(handle: Handle[int]) -> None:
    state: str = await handle.get_value("state", type=int)  # error
    other: int = await handle.get_value("state", type=int, timeout=1, default=None)  # error
    await handle.get_value("state", int)  # error
    async for word in handle.stream("words", type=str):
        word + 1  # error
    async for item in handle.stream("words", type=str).items():
        item.value  # error
        if isinstance(item, StreamItem):
            item.value.nothing  # error
    for _ in handle.stream("words"):  # error
        print(state, other)
    handle.stream("words", type=str, start="0")  # error
    handle.stream("words", end=3)  # error


def reads_blocking(handle: sync.Handle[int]) -> None:
    async def wrong() -> None:
        await handle.get_value("state", type=int)  # error

    print(wrong, [number + "" for number in handle.stream("log", type=int)])  # error
