"""`everlog check` on sources: each line that breaks determinism is found, and no other.

The programs are a table: a line with "# <- rule" is to be found under that rule, and every other is to be let pass.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from everlog.cli.main import main
from everlog.cli.rules import Finding, findings
from everlog.replay.registry import registered_workflows

HEAD = """
import asyncio, contextlib, os, random, secrets, threading, time, uuid
import datetime as dt
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from os import environ
from pathlib import Path
from time import monotonic
from uuid import uuid4
import everlog
from everlog import step, sync, workflow

CACHE = {}
SEEN = []
COUNT = 0
LIMITS = {"eu": 3}

@step(name="static_fetch")
async def fetch(item): ...

@step(name="static_read")
def read(item): ...

async def helper(item):
    return await fetch(item)
"""

CARELESS = {
    "clock": """
        started = datetime.now()  # <- clock
        day = date.today()  # <- clock
        other = dt.datetime.now(dt.UTC)  # <- clock
        a = time.time() + monotonic()  # <- clock
        time.sleep(1)  # <- sleep
        later = everlog.now() + timedelta(days=1)
        when = datetime(2026, 1, 1)
        await asyncio.sleep(1)
    """,
    "chance": """
        a = random.random()  # <- chance
        random.shuffle(items)  # <- chance
        b = uuid4()  # <- chance
        c = uuid.uuid4()  # <- chance
        d = secrets.token_hex()  # <- chance
        e = random.Random()  # <- chance
        f = os.urandom(4)  # <- chance
        fine = [random.Random(7).random(), everlog.random().random(), everlog.uuid4(), uuid.UUID(int=1)]
        uuid5 = uuid.uuid5(uuid.NAMESPACE_DNS, "x")
    """,
    "machine and effects": """
        a = os.environ["HOME"]  # <- machine
        b = environ.get("HOME")  # <- machine
        c = os.getenv("HOME")  # <- machine
        d = os.getpid()  # <- machine
        with open("x") as file:  # <- effect
            e = file.read()
        f = Path("x").read_text()  # <- effect
        import subprocess
        subprocess.run(["ls"])  # <- effect
        g = os.path.exists("x")  # <- effect
        fine = os.path.join("a", "b"), Path("a") / "b", Path("x").name
    """,
    "threads": """
        threading.Thread(target=print).start()  # <- thread
        with ThreadPoolExecutor() as pool:  # <- thread
            pass
        lock = asyncio.Lock()
    """,
    "order of sets": """
        names = set(items)
        for name in names:  # <- order
            await fetch(name)
        await asyncio.gather(*[fetch(name) for name in names])  # <- order
        await asyncio.gather(*(fetch(name) for name in {"a", "b"} | names))  # <- order
        one = list(set(items))[0]  # <- order
        any_one = names.pop()  # <- order
        line = ",".join({item for item in items})  # <- order
        number = hash("a") + id(items)  # <- order
        total = 0
        for name in names:
            total += 1
        for name in sorted(names):
            await fetch(name)
        for name in sorted(list(names)):
            await fetch(name)
        for number in {1, 2, 3}:
            await fetch(number)
        for number in set(range(10)):
            await fetch(number)
        for name in dict.fromkeys(items):
            await fetch(name)
        longest = max(name for name in names)
        tasks = {asyncio.create_task(helper(item)) for item in items}
        for task in tasks:
            await task
        waiting = set()
        waiting.add(asyncio.create_task(helper(1)))
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await fetch(task.result())
        copied = {*names}
        unsure = set(items)
        unsure = await fetch(unsure)
        for name in unsure:
            await fetch(name)
    """,
    "what is shared": """
        global COUNT  # <- shared
        COUNT += 1
        if items not in CACHE:
            CACHE[items] = await fetch(items)  # <- shared
        SEEN.append(items)  # <- shared
        CACHE.setdefault("a", 1)  # <- shared
        limit = LIMITS["eu"]
        CACHE_OF_MINE = {}
        CACHE_OF_MINE["a"] = SEEN[:]
        mine = []
        mine.append(limit)
    """,
    "cancellation": """
        try:
            await fetch(1)
        except:  # <- swallow
            pass
        try:
            await fetch(1)
        except BaseException as error:  # <- swallow
            print(error)
        try:
            await fetch(1)
        except (ValueError, BaseException):  # <- swallow
            print("no")
        with contextlib.suppress(BaseException):  # <- swallow
            await fetch(1)
        try:
            await fetch(1)
        except BaseException:
            await fetch(2)
            raise
        try:
            await fetch(1)
        except Exception:
            pass
        try:
            int("x")
        except:
            pass
        with contextlib.suppress(ValueError):
            await fetch(1)
    """,
    "never awaited": """
        fetch(1)  # <- await
        helper(1)  # <- await
        everlog.sleep(1)  # <- await
        everlog.send("a", "b", 1)  # <- await
        fetch.options(key="a")(1)  # <- await
        asyncio.sleep(1)  # <- await
        lost = fetch(2)  # <- await
        kept = fetch(3)
        await kept
        both = asyncio.gather(fetch(4), fetch(5))
        await both
        asyncio.create_task(helper(1))
        print("x")
        await everlog.call(read, 1)
    """,
    "other things of these names": """
        time = items
        a = time.time()
        class random:
            random = staticmethod(len)
        b = random.random([])
        open = helper
        await open(1)
        def list(given):
            return sorted(given)
        c = list(set(items))
        d = [id for id in items]
    """,
    "comments": """
        a = time.time()  # everlog: ignore
        b = time.time()  # everlog: ignore[clock] it is only logged
        c = time.time()  # everlog: ignore[chance]  # <- clock
        d = fetch(
            time.time(),  # <- clock
            2,
        )
        await d
        try:
            await fetch(1)
        except:  # everlog: ignore[swallow]
            pass
    """,
}
"""The bodies of workflows, by what they are about."""


def module_of(text: str, folder: Path, name: str) -> list[Finding]:
    """Import a module of this text and give what is found in the workflows that it defines."""
    (folder / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    try:
        importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
    return findings(one for one in registered_workflows().values() if one.__module__ == name)


def expected(text: str) -> list[tuple[int, str]]:
    lines = enumerate(text.splitlines(), start=1)
    return [(number, rule) for number, line in lines for rule in re.findall(r"# <- (\w+)", line)]


def modules() -> Iterator[tuple[str, str]]:
    for number, (about, body) in enumerate(CARELESS.items()):
        yield about, f'{HEAD}\n@workflow(name="static_{number}")\nasync def careless(items):{body}'


@pytest.mark.parametrize(("about", "text"), list(modules()), ids=list(CARELESS))
def test_each_line_that_is_marked_is_found_and_no_other(about: str, text: str, tmp_path: Path) -> None:
    found = module_of(text, tmp_path, f"static_{about.replace(' ', '_')}")
    assert [(one.line, one.rule) for one in found] == expected(text)


def test_functions_that_a_workflow_calls_are_looked_at_and_steps_are_not(tmp_path: Path) -> None:
    text = f"""{HEAD}
def price(item):
    return time.time()  # <- clock

def again(shop):
    return shop.today()

def unused():
    return time.time()

@step(name="static_step")
async def timed():
    return time.time()

class Shop:
    def __init__(self, name): self.name = name

    def today(self):
        return datetime.now()  # <- clock

    @workflow(name="static_method")
    async def order(self, item, seen=[]):
        seen.append(item)  # <- shared
        await timed()
        return self.today(), price(item), again(self)

@workflow(name="static_blocking")
def blocking(items):
    try:
        read(1)
    except:  # <- swallow
        pass
    for one in set(items):  # <- order
        read(one)

@workflow(name="static_silenced")
async def silenced():  # everlog: ignore[clock, chance]
    return time.time(), random.random(), os.getpid()  # <- machine
"""
    found = module_of(text, tmp_path, "static_shop")
    assert [(one.line, one.rule) for one in found] == expected(text)
    assert {one.workflow for one in found} == {"static_method", "static_blocking", "static_silenced"}


def test_the_command_says_where_and_what_and_the_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "static_bad.py").write_text(
        f'{HEAD}\n@workflow(name="static_bad")\nasync def bad():\n    return time.time()\n'
    )
    (tmp_path / "static_good.py").write_text(f'{HEAD}\n@workflow(name="static_good")\nasync def good():\n    ...\n')
    assert main(["check", "--static-only", "--module", "static_bad", "--processes", "1"]) == 1
    said = capsys.readouterr().out.splitlines()
    line = HEAD.count("\n") + 4
    assert said[0].startswith(f"static_bad.py:{line}: clock: workflow 'static_bad': time.time(): a replay would see")
    assert said[-1] == "1 line of source to look at"
    assert main(["check", "--static-only", "--module", "static_bad", "--json", "--processes", "1"]) == 1
    (told,) = [json.loads(one) for one in capsys.readouterr().out.splitlines()]
    assert (told["rule"], told["line"]) == ("clock", line)
    assert main(["check", "--static-only", "--module", "static_good", "--processes", "1"]) == 0
    assert capsys.readouterr().out == "nothing was found in the sources\n"
