"""Values and streams: what is published, and which types readers are given, in both colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import everlog
from everlog import Engine, Handle, Stream, StreamItem, StreamReset, step, sync, workflow


@dataclass
class Running:
    done: int


@dataclass
class Ended:
    total: int


@step
async def talk(words: list[str]) -> int:
    for word in words:
        await everlog.emit("words", word)
    await everlog.set_value("talking", len(words))
    return len(words)


@step
def count(numbers: int) -> int:
    sync.emit("numbers", *range(numbers))
    sync.set_value("counting", numbers)
    return numbers


@workflow
async def publish(words: list[str]) -> int:
    await everlog.set_value("state", Running(0))
    said = await talk(words)
    await everlog.call(count, 3)
    await everlog.emit("log", "said", said)
    await everlog.close_stream("log")
    await everlog.set_value("state", Ended(said))
    return said


@workflow
def publish_blocking(numbers: int) -> int:
    sync.set_value("state", Running(0))
    sync.emit("log", count(numbers))
    sync.close_stream("log")
    return numbers


async def read(handle: Handle[int]) -> list[object]:
    state = await handle.get_value("state", type=Running | Ended, timeout=timedelta(seconds=10))
    assert_type(state, Running | Ended)
    assert_type(await handle.get_value("of", type=Running, timeout=0, default=None), Running | None)
    assert_type(await handle.get_value("state"), Any)
    assert_type(await handle.values(), Mapping[str, Any])
    stream = handle.stream("words", type=str)
    assert_type(stream, Stream[str])
    words = [word async for word in stream]
    assert_type(words, list[str])
    assert_type(stream.offset, int)
    async for item in handle.stream("words", type=str, start=1).items():
        assert_type(item, StreamItem[str] | StreamReset)
        if isinstance(item, StreamItem):
            assert_type(item.value, str)
        assert_type(item.offset, int)
    assert_type(handle.stream("log"), Stream[Any])
    return [words, [number async for number in handle.stream("numbers", type=int)], await handle.get_value("talking")]


def read_blocking(handle: sync.Handle[int]) -> list[int]:
    assert_type(handle.get_value("state", type=Running), Running)
    assert_type(handle.values(), Mapping[str, Any])
    stream = handle.stream("log", type=int, start=0)
    assert_type(stream, sync.Stream[int])
    for item in stream.items():
        assert_type(item, StreamItem[int] | StreamReset)
    return list(stream)


async def main(url: str) -> list[object]:
    async with Engine(url) as engine:
        handle = await engine.start(publish, ["a", "b"])
        return [await handle.result(), *await read(handle)]


EXPECTED = [2, ["a", "b"], [0, 1, 2], 2]
