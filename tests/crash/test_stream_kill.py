"""A process that emits is killed again and again; a reader in another one resumes by offset, and misses nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from everlog import Client, NotFound, StreamItem, StreamReset
from tests.crash.emitting import TOKENS
from tests.postgres import needs_postgres, new_schema

PROGRAM = Path(__file__).with_name("emitting.py")
PARTS = 4
KILLS = 4
PATIENCE = 60.0


class Writer:
    """The program, as often as it is killed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.processes: list[subprocess.Popen[str]] = []
        self.begin()

    def begin(self) -> None:
        command = [sys.executable, str(PROGRAM), self.url]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.processes.append(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload] # one dict

    def kill(self) -> None:
        self.processes[-1].kill()
        self.processes[-1].communicate()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Writer]:
    made = Writer(new_schema() if request.param == "postgres" else f"sqlite:///{tmp_path}/everlog.db")
    yield made
    made.kill()


async def read_some(url: str, offset: int, most: int) -> tuple[list[Any], bool]:
    """Read from a place on, as a process of its own would; tell whether the stream has ended."""
    seen: list[Any] = []
    async with Client(url) as client:
        async for item in client.handle("chat").stream("tokens", start=offset).items():
            seen.append(item)
            if len(seen) == most:
                return seen, False
    return seen, True


async def follow(writer: Writer) -> list[Any]:
    chance = Random(1)
    seen: list[Any] = []
    kills, ended = 0, False
    while not ended:
        try:
            some, ended = await read_some(writer.url, seen[-1].offset + 1 if seen else 0, chance.randint(1, 300))
        except NotFound:  # the first process has not come so far
            await asyncio.sleep(0.05)
            continue
        seen += some
        if kills < KILLS and len(seen) > 200 * (kills + 1):
            writer.kill()
            kills += 1
            writer.begin()
    assert kills == KILLS, "the writer was too fast to be killed"
    return seen


def test_a_reader_who_resumes_by_offset_misses_and_repeats_nothing(writer: Writer) -> None:
    async def program() -> None:
        async with asyncio.timeout(PATIENCE):
            seen = await follow(writer)
        assert [item.offset for item in seen] == [*range(len(seen))]
        assert any(isinstance(item, StreamReset) for item in seen)
        heard: dict[str, list[list[int]]] = {}
        for item in seen:
            if isinstance(item, StreamItem):
                said = heard.setdefault(str(item.step), [])
                assert item.value[1] == len(said), "items of a step follow each other, or a reset stands between"
                said.append(item.value)
            else:
                heard[item.step] = []
        assert list(heard.values()) == [[[part, number] for number in range(TOKENS)] for part in range(PARTS)]
        async with Client(writer.url) as client:
            handle = client.handle("chat")
            assert [part async for part in handle.stream("log")] == [*range(PARTS)]
            assert await handle.get_value("parts", type=int) == PARTS
            assert await handle.result() == PARTS

    asyncio.run(program())
