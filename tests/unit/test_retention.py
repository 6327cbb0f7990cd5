"""What is removed of what has ended, by whom, and what never is: archives, holds, engines that prune by themselves."""

from __future__ import annotations

import asyncio
import functools
import json
import os
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec

import pytest

import everlog
from everlog import Client, CorruptLog, Engine, Retention, StoreUnavailable, UsageError, step, sync, workflow
from everlog.cli.main import main
from everlog.memory import MemoryStore
from everlog.runtime import pruning, retaining
from everlog.runtime.archives import Archive, opened_lines
from everlog.runtime.backends import open_store
from everlog.runtime.digests import moved_digest
from everlog.runtime.portable import import_lines
from everlog.runtime.verifying import verify
from everlog.store import Store
from everlog.store_moving import SupportsMoving
from tests.postgres import needs_postgres, new_schema
from tests.support import on_both_stores

P = ParamSpec("P")


@step
async def noted(number: int) -> int:
    return number + 1


@workflow(name="kept_leaf")
async def leaf(number: int) -> int:
    await everlog.set_value("seen", number)
    await everlog.emit("items", number)
    return await noted(number)


@workflow(name="kept_failing")
async def failing() -> None:
    raise ValueError("no")


@workflow(name="kept_family")
async def family(number: int) -> int:
    handle = await everlog.start(leaf.options(key="child"), number)
    result = await handle.result()
    await everlog.recv("go")
    return result


@workflow(name="kept_round")
async def rounds(left: int) -> int:
    await leaf(left)
    await everlog.recv("go")
    if left:
        await everlog.continue_as_new(rounds, left - 1)
    return left


@workflow(name="kept_short", retention=0)
async def short(number: int) -> int:
    return number


@workflow(name="kept_brief")
async def brief(number: int) -> int:
    return number


CODE = [leaf, failing, family, rounds, brief]


def place_of(kind: str, folder: Path) -> str | Store:
    """Give what an engine is opened with: a store that stays, or a URL."""
    if kind == "memory":
        return MemoryStore()
    return f"sqlite:///{folder}/shop.db" if kind == "sqlite" else new_schema()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | Store:
    """Give such a place of each kind."""
    return place_of(request.param, tmp_path)


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Have an async test run, for at most a minute."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    return run


def ids_in(where: str | Store) -> list[str]:
    """Give the ids of all workflows, and see that all that is there is as it should be."""
    store: Any = open_store(where) if isinstance(where, str) else where
    try:
        assert list(verify(store, store)) == []
        return sorted(rows.head.workflow_id for rows in store.workflow_rows(limit=1000))
    finally:
        if isinstance(where, str):
            store.close()


def rows_in(where: str | Store) -> dict[str, str]:
    """Give a digest of each workflow."""
    store: Any = open_store(where) if isinstance(where, str) else where
    try:
        return {rows.head.workflow_id: moved_digest(rows) for rows in store.workflow_rows(limit=1000)}
    finally:
        if isinstance(where, str):
            store.close()


@on_both_stores
def test_what_is_pruned_is_in_the_archive_and_comes_back_the_same(kind: str, tmp_path: Path) -> None:
    where = place_of(kind, tmp_path)

    @on_a_loop
    async def run() -> None:
        async with Engine(where, workflows=CODE) as engine:
            for number in range(3):
                await engine.run(leaf.options(id=f"leaf/{number}"), number)
            with pytest.raises(everlog.WorkflowFailed):
                await engine.run(failing.options(id="Ended ☃"))
            before = rows_in(where)
            looked = await engine.prune(older_than=0, state="completed", dry_run=True)
            assert sorted(looked.ids) == [f"leaf/{number}" for number in range(3)]
            assert rows_in(where) == before
            pruned = await engine.prune(older_than=timedelta(0), archive=tmp_path / "old")
        assert sorted(pruned.ids) == sorted(before)
        assert (pruned.archived, pruned.held, pruned.needed) == (4, 0, 0)
        assert ids_in(where) == []
        files = sorted((tmp_path / "old").glob("*/*.jsonl.gz"))
        target = MemoryStore()
        for file in files:
            with opened_lines(file) as lines:
                target.put_workflow_rows([import_lines(lines)])
        assert rows_in(target) == before
        assert sorted(path for path in (tmp_path / "old").rglob("*") if path.is_file()) == files, (
            "nothing half done is left"
        )

    run()


@on_a_loop
async def test_the_last_of_each_name_stay(where: str | Store) -> None:
    async with Engine(where, workflows=CODE) as engine:
        for number in range(7):
            await engine.run(leaf.options(id=f"leaf-{number}"), number)
        for number in range(2):
            await engine.run(brief.options(id=f"brief-{number}"), number)
        pruned = await engine.prune(keep_last=3, batch=2)
        assert sorted(pruned.ids) == [f"leaf-{number}" for number in range(4)]
        pruned = await engine.prune(older_than=3600, keep_last=1)
        assert pruned.ids == []
    assert ids_in(where) == ["brief-0", "brief-1", "leaf-4", "leaf-5", "leaf-6"]


@on_a_loop
async def test_a_child_stays_while_its_parent_lives_and_families_go_from_below(where: str | Store) -> None:
    async with Engine(where, workflows=CODE) as engine:
        parent = await engine.start(family.options(id="family"), 4)
        child = await _first_child(engine)
        await engine.handle(child).result()
        kept = await engine.prune(older_than=0)
        assert (kept.ids, kept.needed) == ([], 1)
        await parent.send("go", None)
        assert await parent.result() == 5
        await engine.hold(child)
        kept = await engine.prune(older_than=0)
        assert (kept.ids, kept.held, kept.needed) == ([], 1, 1), "its id would be its child's parent again"
        kept = await engine.prune(older_than=0, name="kept_family")
        assert (kept.ids, kept.needed) == ([], 1)
        await engine.release(child)
        pruned = await engine.prune(older_than=0, batch=1)
        assert pruned.ids == [child, "family"]
    assert ids_in(where) == []


@on_a_loop
async def test_what_a_workflow_knew_before_it_continued_as_new_goes(where: str | Store) -> None:
    async with Engine(where, workflows=CODE) as engine:
        eternal = await engine.start(rounds.options(id="eternal"), 1)
        first = await _first_child(engine)
        await engine.handle(first).result()
        await eternal.send("go", None)
        while len(await engine.workflows(parent="eternal", state="completed")) < 2:  # noqa: ASYNC110 - elsewhere
            await asyncio.sleep(0.01)
        pruned = await engine.prune(older_than=0)
        assert (pruned.ids, pruned.needed) == ([first], 1)
        await eternal.send("go", None)
        assert await eternal.result() == 0


async def _first_child(engine: Client) -> str:
    while True:
        for found in await engine.workflows(name="kept_leaf"):
            return found.id
        await asyncio.sleep(0.01)


@on_a_loop
async def test_who_is_held_is_removed_by_nothing(where: str | Store) -> None:
    async with Engine(where, workflows=CODE) as engine:
        for number in range(2):
            await engine.run(leaf.options(id=f"leaf-{number}", attributes={"customer": 7}), number)
        found = [one.id async for one in engine.workflows(attributes={"customer": 7}, id_prefix="leaf-1")]
        assert await engine.hold(*found, "nobody", reason="case 12") == ["leaf-1"]
        assert await engine.hold("leaf-1") == []
        assert await engine.delete("leaf-0", "leaf-1") == ["leaf-0"]
        with pytest.raises(UsageError, match="held"):
            await engine.handle("leaf-1").delete()
        assert (await engine.prune(older_than=0)).held == 1
        (held,) = await engine.holds()
        assert (held.workflow_id, held.reason) == ("leaf-1", "case 12")
        assert await engine.release("leaf-1", "leaf-0") == ["leaf-1"]
        assert (await engine.prune(older_than=0)).ids == ["leaf-1"]


@on_both_stores
def test_engines_prune_by_themselves_what_their_workflows_say(kind: str, tmp_path: Path) -> None:
    where = place_of(kind, tmp_path)

    @on_a_loop
    async def run() -> None:
        async with Engine(where, workflows=[leaf, short], archive=tmp_path / "old") as engine:
            for number in range(3):
                await engine.run(short.options(id=f"short-{number}"), number)
            await engine.run(leaf.options(id="leaf"), 1)
            await engine._retainer.round()
        assert ids_in(where) == ["leaf"]
        assert len(list((tmp_path / "old").glob("*/short-*.jsonl.gz"))) == 3

    run()


@on_a_loop
async def test_one_engine_prunes_for_all(tmp_path: Path) -> None:
    where, forever = f"sqlite:///{tmp_path}/shop.db", Retention(0, keep_last=1)
    async with (
        Engine(where, workflows=[leaf], retention=forever) as one,
        Engine(where, workflows=[leaf], retention=forever) as other,
    ):
        for number in range(4):
            await one.run(leaf.options(id=f"leaf-{number}"), number)
        first, second = await asyncio.gather(one._retainer.round(), other._retainer.round())
        assert sorted([len(first.ids), len(second.ids)]) == [0, 3]


@on_a_loop
async def test_the_task_of_an_engine_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retaining, "EVERY", 0.01)
    where = f"sqlite:///{tmp_path}/shop.db"
    async with Engine(where, workflows=[short]) as engine:
        await engine.run(short.options(id="short"), 1)
        while await engine.workflows():  # noqa: ASYNC110 - it is pruned in another task
            await asyncio.sleep(0.01)


@on_a_loop
async def test_who_stops_between_archive_and_removal_has_done_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"sqlite:///{tmp_path}/shop.db"
    async with Engine(where, workflows=CODE) as engine:
        await engine.run(leaf.options(id="leaf"), 1)
        removing = pruning.Pruning._removed

        def killed(self: Any, heads: Any) -> Any:
            monkeypatch.setattr(type(self._store), "remove", _dies)
            return removing(self, heads)

        with monkeypatch.context() as patched:
            patched.setattr(pruning.Pruning, "_removed", killed)
            with pytest.raises(StoreUnavailable):
                await engine.prune(older_than=0, archive=tmp_path / "old")
        monkeypatch.undo()
        (file,) = (tmp_path / "old").glob("*/*")
        content = file.read_bytes()
        assert ids_in(where) == ["leaf"]
        assert (await engine.prune(older_than=0, archive=tmp_path / "old")).ids == ["leaf"]
        assert [one.read_bytes() for one in (tmp_path / "old").glob("*/*")] == [content]


def _dies(*_: object) -> Any:
    raise StoreUnavailable("the machine stood still")


@on_a_loop
async def test_what_goes_on_between_archive_and_removal_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"sqlite:///{tmp_path}/shop.db"
    keep: Callable[..., int] = Archive.keep
    async with Engine(where, workflows=CODE) as engine, Client(where) as client:
        with pytest.raises(everlog.WorkflowFailed):
            await engine.run(failing.options(id="failing"))
        loop = asyncio.get_running_loop()

        def retried_meanwhile(self: Any, workflows: Any) -> int:
            count = keep(self, workflows)
            asyncio.run_coroutine_threadsafe(client.retry("failing"), loop).result()
            return count

        monkeypatch.setattr(Archive, "keep", retried_meanwhile)
        pruned = await engine.prune(older_than=0, archive=tmp_path / "old")
        assert (pruned.ids, pruned.needed) == ([], 1)
        assert (await engine.workflows())[0].id == "failing"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the rights of folders do not bind everybody")
@on_a_loop
async def test_where_the_archive_cannot_be_written_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o500)
    async with Engine(MemoryStore(), workflows=CODE) as engine:
        await engine.run(leaf.options(id="leaf"), 1)
        with pytest.raises(UsageError, match="nothing was removed"):
            await engine.prune(older_than=0, archive=tmp_path / "old")
        assert len(await engine.workflows()) == 1


@on_a_loop
async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with Client(MemoryStore()) as client:
        for wrong, said in [
            ({}, "what is to be removed"),
            ({"older_than": -1}, "between 0 and 400 years"),
            ({"keep_last": 0}, "at least 1"),
            ({"older_than": 1, "state": "running"}, "only what has ended"),
            ({"older_than": 1, "batch": 0}, "batch"),
            ({"older_than": 1, "archive": tmp_path / "file"}, "must be a folder"),
            ({"older_than": 1, "nmae": "x"}, "nmae"),
        ]:
            arguments: dict[str, Any] = wrong
            with pytest.raises(UsageError, match=said):
                await client.prune(**arguments)
    with pytest.raises(UsageError, match="retention must be seconds"):
        Engine(MemoryStore(), retention="30d")  # type: ignore[arg-type]
    assert Retention(30 * 86400, states="failed") == Retention(timedelta(days=30), states=["failed"])
    assert repr(Retention(86400 * 30, keep_last=3)) == (
        "Retention(ended more than 30 days ago, not among the last 3 of its name)"
    )


def test_a_file_that_was_cut_off_is_not_imported(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/shop.db"
    with sync.Engine(where, workflows=CODE) as engine:
        engine.run(leaf.options(id="leaf"), 1)
        assert engine.hold("leaf") == ["leaf"]
        assert [one.workflow_id for one in engine.holds()] == ["leaf"]
        assert engine.release("leaf") == ["leaf"]
        assert engine.prune(older_than=0, archive=tmp_path / "old").ids == ["leaf"]
    (file,) = (tmp_path / "old").glob("*/*")
    content = file.read_bytes()
    for cut in (10, len(content) // 2, len(content) - 4):
        file.write_bytes(content[:cut])
        with pytest.raises(CorruptLog), opened_lines(file) as lines:
            import_lines(lines)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = f"sqlite:///{tmp_path}/shop.db"
    with sync.Engine(where, workflows=CODE) as engine:
        for number in range(4):
            engine.run(leaf.options(id=f"leaf-{number}", attributes={"customer": number}), number)
        before = rows_in(where)
    assert main(["hold", "--attribute", "customer=2", "--reason", "case 12", "--db", "shop.db"]) == 0
    assert main(["hold", "leaf-2", "--db", "shop.db"]) == 0
    assert main(["hold", "--list", "--json", "--db", "shop.db"]) == 0
    first, second, listed = capsys.readouterr().out.splitlines()
    assert (first, second) == ("1 workflows are held now", "0 workflows are held now")
    assert json.loads(listed)["workflow_id"] == "leaf-2"
    assert main(["prune", "shop.db", "--older-than", "0s", "--dry-run"]) == 0
    *ids, last = capsys.readouterr().out.splitlines()
    assert sorted(ids) == ["leaf-0", "leaf-1", "leaf-3"]
    assert last.startswith("3 workflows with ")
    assert last.endswith("; kept: 1 are held")
    assert main(["prune", "shop.db", "--keep-last", "1", "--archive", "old"]) == 0
    assert ids_in(where) == ["leaf-2", "leaf-3"]
    assert main(["release", "leaf-2", "--db", "shop.db"]) == 0
    assert main(["prune", "shop.db"]) == 2
    assert main(["hold", "--db", "shop.db"]) == 2
    assert main(["import", *map(str, Path("old").glob("*/*")), "--db", "shop.db"]) == 0
    assert rows_in(where) == before
    capsys.readouterr()
    assert main(["audit", "shop.db"]) == 0
    said = capsys.readouterr().out.splitlines()
    done = [line.split("  ")[1:3] for line in said]
    assert done == [["held", "leaf-2"], ["pruned", "leaf-0, leaf-1"], ["released", "leaf-2"]]
    with pytest.raises(SystemExit):
        main(["prune", "shop.db", "--older-than", "30"])


def test_a_store_is_one_that_can_be_moved_as_well() -> None:
    assert isinstance(pruning.retaining(MemoryStore()), SupportsMoving)
