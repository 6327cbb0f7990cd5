"""The commands that move and verify, on real files: what they print, and that they refuse what would be run twice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import everlog
from everlog import CorruptLog, Engine, Queue, Schedule, StoreUnavailable, step, workflow
from everlog.cli.main import main
from everlog.cli.moving import file_name, shown
from everlog.memory import MemoryStore
from everlog.runtime.backends import open_store
from everlog.runtime.copying import End, movable, pages
from everlog.runtime.digests import moved_digest
from everlog.runtime.portable import export_lines, import_lines
from everlog.store_moving import WorkflowRows
from everlog.testing.contract_moving import furnish
from tests.postgres import needs_postgres, new_schema
from tests.property.test_tampering import furnished

mail = Queue("moved-mail", concurrency=3)


@step
async def noted(number: int) -> int:
    return number + 1


@workflow(name="moved_child")
async def sends(number: int) -> int:
    return await noted(number)


@workflow(name="moved_tour")
async def tours(number: int) -> list[Any]:
    first = await noted(number)
    await everlog.emit("seen", number)
    match number % 5:
        case 0:
            await asyncio.sleep(30)
        case 1:
            await everlog.recv("go")
        case 2:
            handle = await mail.enqueue(sends, number)
            await asyncio.sleep(0.5)
            return [first, await handle.result()]
        case 3:
            await everlog.recv("news")
            await everlog.recv("go")
        case _:
            await everlog.set_value("half", "done")
            await everlog.recv("go", title="Go on?")
    return [first, await noted(first)]


CODE = [tours, sends]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file of an application that was stopped while workflows were under way."""
    path = tmp_path_factory.mktemp("application") / "app.db"
    asyncio.run(live_for_a_while(f"sqlite:///{path}", 10))
    return path


async def live_for_a_while(url: str, count: int) -> None:
    async with Engine(url, workflows=CODE, queues=[mail], durability="process") as engine:
        await asyncio.gather(*(engine.start(tours.options(id=f"tour-{number}"), number) for number in range(count)))
        for number in range(3, count, 5):
            await engine.send(f"tour-{number}", "unheard", number)
        await engine.start(sends.options(id="delayed", delay=3_000), 1)
        await engine.start(sends.options(id="ended"), 1)
        await engine.create_schedule("daily", Schedule("0 9 * * *"), sends, 2)
        await engine.handle("ended").result(timeout=60)


def copied(path: Path, folder: Path) -> Path:
    """Give a copy of a database file."""
    with sqlite3.connect(path) as source, sqlite3.connect(folder / "app.db") as destination:
        source.backup(destination)
    source.close()
    destination.close()
    return folder / "app.db"


def run(*arguments: str | Path) -> int:
    return main([str(one) for one in arguments])


def digests(url: str) -> dict[str, str]:
    store = open_store(url)
    try:
        return {rows.head.workflow_id: moved_digest(rows) for rows in pages(movable(End(store, url)))}
    finally:
        store.close()


def test_an_exported_workflow_is_imported_as_it_was(
    application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app, other, files = copied(application, tmp_path), tmp_path / "other.db", tmp_path / "files"
    assert run("export", "--all", "--dir", files, "--db", app) == 0
    exported = sorted(files.iterdir())
    assert len(exported) >= 12
    assert run("import", *exported, "--db", other) == 2
    assert "has not ended" in capsys.readouterr().err
    assert digests(f"sqlite:///{other}") == {} if other.exists() else True
    assert run("import", *exported, "--db", other, "--run") == 0
    assert "was imported" in capsys.readouterr().out
    expected, found = digests(f"sqlite:///{app}"), digests(f"sqlite:///{other}")
    assert expected.keys() == found.keys()
    assert {one for one in expected if expected[one] != found[one]} == set(), "also who stood in queues first"
    assert run("import", *exported, "--db", other, "--run") == 0
    assert "is there already, with the same history" in capsys.readouterr().out
    assert run("verify", other) == 0


def test_one_is_exported_to_stdout_and_is_refused_where_it_differs(
    application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = copied(application, tmp_path)
    assert run("export", "ended", "--db", app) == 0
    lines = capsys.readouterr().out
    assert lines.startswith('{"everlog":1,"workflow":{"id":"ended"')
    file, other = tmp_path / "ended.jsonl", tmp_path / "other.db"
    file.write_text(lines)
    asyncio.run(another(f"sqlite:///{other}"))
    assert run("import", file, "--db", other) == 2
    assert "another history" in capsys.readouterr().err
    file.write_text(lines.replace("moved_child", "moved_chilD", 1))
    assert run("import", file, "--db", tmp_path / "third.db") == 2
    assert "was changed" in capsys.readouterr().err
    file.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    assert run("import", file, "--db", tmp_path / "third.db") == 2
    assert "is not whole" in capsys.readouterr().err
    assert run("export", "--db", app) == 2
    assert run("export", "nobody", "--db", app) == 2
    assert run("import", tmp_path / "nowhere", "--db", app) == 2


async def another(url: str) -> None:
    async with Engine(url, workflows=CODE) as engine:
        await engine.run(sends.options(id="ended"), 7)


def test_a_database_is_copied_and_closed(application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app, other = copied(application, tmp_path), tmp_path / "other.db"
    before = digests(f"sqlite:///{app}")
    assert run("copy", app, other, "--wait", "0") == 0
    assert "are the same there" in capsys.readouterr().out
    assert run("copy", app, other) == 0
    assert "before" in capsys.readouterr().out
    assert digests(f"sqlite:///{other}") == before
    with pytest.raises(StoreUnavailable, match="it was moved to"):
        asyncio.run(another(f"sqlite:///{app}"))
    assert run("ls", app) == 0, "it can be read"
    assert run("copy", "--undo", app) == 2
    assert run("copy", app) == 2
    assert run("copy", other, app) == 2, "it is not empty"
    assert run("verify", other) == 0


def test_who_runs_there_is_waited_for_or_loses_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app, other = tmp_path / "app.db", tmp_path / "other.db"

    async def live() -> None:
        async with Engine(f"sqlite:///{app}", workflows=CODE, grace=0.1) as engine:
            handle = await engine.start(tours.options(id="tour"), 1)
            await asyncio.sleep(0.2)
            assert await asyncio.to_thread(run, "copy", app, other, "--wait", "0") == 2
            assert "--force" in capsys.readouterr().err
            assert await asyncio.to_thread(run, "copy", app, other, "--force") == 0
            with pytest.raises(StoreUnavailable, match="it was moved to"):
                await handle.send("go", 1)
            with pytest.raises(StoreUnavailable, match="it was moved to"):
                await engine.start(tours, 2)

    async def go_on() -> None:
        async with Engine(f"sqlite:///{other}", workflows=CODE) as engine:
            handle = engine.handle("tour", tours)
            await handle.send("go", 1)
            assert await handle.result(timeout=60) == [2, 3]

    asyncio.run(live())
    asyncio.run(go_on())


def test_a_seal_finds_what_was_edited(application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app, seal = copied(application, tmp_path), tmp_path / "app.seal"
    assert run("seal", seal, "--db", app) == 0
    digest = capsys.readouterr().out.split()[-1]
    assert run("verify", app, "--seal", seal, "--expect", digest, "--unchanged") == 0
    assert run("verify", app, "--seal", seal, "--expect", "another") == 2
    assert run("verify", app, "--expect", digest) == 2
    asyncio.run(another_one(f"sqlite:///{app}"))
    assert run("verify", app, "--seal", seal) == 0, "it has gone on"
    capsys.readouterr()
    assert run("verify", app, "--seal", seal, "--unchanged") == 1
    assert "was not there when the seal was made" in capsys.readouterr().out
    assert run("seal", seal, "--db", app) == 0, "the next seal"
    with sqlite3.connect(app) as vandal:
        vandal.execute(
            "UPDATE events SET payload = replace(payload, 'result\":2', 'result\":3') WHERE type = 'step_completed'"
        )
    vandal.close()
    capsys.readouterr()
    assert run("verify", app) == 0, "what was changed with care is found by a seal alone"
    assert run("verify", app, "--seal", seal) == 1
    assert "seq 3: this event is not what was sealed" in capsys.readouterr().out
    assert run("seal", seal, "--db", app) == 2, "it is not sealed over"
    with sqlite3.connect(app) as vandal:
        vandal.execute("DELETE FROM events WHERE seq = 2")
    vandal.close()
    assert run("verify", app) == 1
    assert "expected seq 2, found 3" in capsys.readouterr().out


async def another_one(url: str) -> None:
    async with Engine(url, workflows=CODE) as engine:
        await engine.run(sends.options(id="one more"), 7)
        handle = engine.handle("tour-1", tours)
        await handle.send("go", 1)
        await handle.result(timeout=60)


def test_who_did_what_is_printed(application: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = copied(application, tmp_path)
    assert run("audit", app) == 0
    assert capsys.readouterr().out == ""
    asyncio.run(steer(f"sqlite:///{app}"))
    assert run("audit", app) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1:4] for line in lines] == [
        ["tour-1", "seq 6", "workflow_paused"],
        ["tour-3", "seq 6", "cancel_requested"],
    ]
    assert run("audit", app, "--id", "tour-3", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["type"], said["data"]["reason"]) == ("cancel_requested", "enough")
    assert said["by"]


async def steer(url: str) -> None:
    async with Engine(url, workflows=CODE) as engine:
        await engine.handle("tour-3").cancel(reason="enough")
        await engine.pause("tour-1")
        while (await engine.handle("tour-1").status()).state != "paused":  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        with suppress(everlog.WorkflowCancelled):
            await engine.handle("tour-3").result(timeout=60)


def test_the_form_keeps_everything_byte_for_byte() -> None:
    store = furnished()
    for rows in pages(store):
        lines = list(export_lines(rows))
        back = import_lines(lines)
        assert moved_digest(back) == moved_digest(without_order(rows)), rows.head
        assert list(export_lines(back)) == lines
    source = MemoryStore()
    furnish(source)
    (busy,) = source.rows_of(["busy"])
    with pytest.raises(CorruptLog):
        import_lines(export_lines(busy))  # its events are none that an engine writes


def without_order(rows: WorkflowRows) -> WorkflowRows:
    """Give it without its number in a queue, which a file does not keep."""
    return rows if rows.standing is None else replace(rows, standing=replace(rows.standing, came=0))


def test_names_of_files_are_apart_and_short() -> None:
    ids = ["order-42", "Order-42", "a/b", "a%2Fb", "ü" * 500, "ü" * 499, ".", "..", "con "]
    names = [file_name(one) for one in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert all(len(name) < 200 and "/" not in name for name in names)


def test_a_password_is_not_shown() -> None:
    assert shown("postgresql://me:secret@host:5432/shop?schema=a") == "postgresql://me@host:5432/shop?schema=a"
    assert shown("sqlite:///app.db") == "sqlite:///app.db"


@needs_postgres
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_a_live_application_is_copied_to_postgres_and_finishes_there_and_back(tmp_path: Path, count: int) -> None:
    app, back, postgres = tmp_path / "app.db", tmp_path / "back.db", new_schema()
    asyncio.run(live_for_a_while(f"sqlite:///{app}", count))
    before = digests(f"sqlite:///{app}")
    assert run("copy", app, postgres) == 0
    assert digests(postgres) == before
    asyncio.run(finish(postgres, range(count // 2)))
    midway = digests(postgres)
    assert run("verify", postgres) == 0
    assert run("copy", postgres, back) == 0
    assert digests(f"sqlite:///{back}") == midway
    asyncio.run(finish(f"sqlite:///{back}", range(count // 2, count)))
    assert run("verify", back) == 0


async def finish(url: str, numbers: Sequence[int]) -> None:
    """Have these come to their ends."""
    async with Engine(url, workflows=CODE, queues=[mail], durability="process") as engine:
        handles = [engine.handle(f"tour-{number}", tours) for number in numbers]
        for number, handle in zip(numbers, handles, strict=True):
            if number % 5 in (1, 3, 4):
                await handle.send("news", 1)
                await handle.send("go", 1)
        results = await asyncio.gather(*(handle.result(timeout=120) for handle in handles))
        assert results == [[number + 1, number + (1 if number % 5 == 2 else 2)] for number in numbers]
