"""Finding: listings and counts of an engine, by every field and attribute, page by page; and several namespaces."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, IdInUse, NotFound, UsageError, step, sync, workflow
from everlog.cli.main import main
from everlog.memory import MemoryStore
from everlog.runtime import client as client_module
from everlog.store import Head, WorkflowQuery
from everlog.testing.simulation import SimulatedHost
from tests.postgres import needs_postgres, new_schema
from tests.support import make_store, on_both_stores, run, simulate


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def fail() -> None:
    raise ValueError("no")


@workflow(name="finding.adds")
async def adds(number: int) -> int:
    return await double(number) + await double(number)


@workflow(name="finding.fails")
async def fails() -> None:
    await double(1)
    await fail()


@workflow(name="finding.waits")
async def waits() -> None:
    await everlog.recv("go")


@workflow(name="finding.parent")
async def parent(number: int) -> None:
    for child in range(number):
        await everlog.start(waits.options(attributes={"number": child}))
    await everlog.recv("go")


async def some(engine: Engine) -> None:
    """Five workflows, a second apart."""
    for number in range(3):
        await engine.run(
            adds.options(id=f"adds-{number}", attributes={"number": number, "odd": number % 2 == 1}), number
        )
        await asyncio.sleep(1)
    await engine.start(fails.options(id="fails-1", attributes={"number": 1}))
    await asyncio.sleep(1)
    await engine.start(waits.options(id="waits-1"))
    await asyncio.sleep(1)


@on_both_stores
def test_workflows_are_found_by_every_field(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        await some(engine)

        async def found(**filters: Any) -> list[str]:
            return [one.id for one in await engine.workflows(**filters)]

        everything = ["waits-1", "fails-1", "adds-2", "adds-1", "adds-0"]
        assert await found() == everything == (await found(newest_first=False))[::-1]
        assert await found(state=None, name=None, attributes=None, created_after=None, parent=None) == everything
        assert await found(state="failed") == ["fails-1"]
        assert await found(state=["failed", "waiting"]) == ["waits-1", "fails-1"]
        assert await found(name="finding.adds", newest_first=False) == ["adds-0", "adds-1", "adds-2"]
        assert await found(name=["finding.fails", "finding.waits"]) == ["waits-1", "fails-1"]
        assert await found(name=[]) == []
        assert await found(id_prefix="adds-") == ["adds-2", "adds-1", "adds-0"]
        assert await found(attributes={"number": 1}) == ["fails-1", "adds-1"]
        assert await found(attributes={"number": [0, 1]}, state="completed") == ["adds-1", "adds-0"]
        assert await found(attributes={"number": 1, "odd": True}) == ["adds-1"]
        assert await found(attributes={"number": None}) == ["waits-1"]
        middle = (await engine.handle("adds-1").status()).created_at
        assert await found(created_after=middle) == everything[:4]
        assert await found(created_before=middle) == ["adds-0"]
        ended_at = (await engine.handle("adds-1").status()).ended_at
        assert await found(ended_after=ended_at) == ["fails-1", "adds-2", "adds-1"]
        assert await found(ended_before=ended_at) == ["adds-0"]
        await engine.cancel("waits-1")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_workflows_are_counted_by_name_and_state(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        await some(engine)
        counts = await engine.counts()
        assert (counts.total, counts.by_state) == (5, {"waiting": 1, "completed": 3, "failed": 1})
        assert counts.by_name == {
            "finding.adds": {"completed": 3},
            "finding.fails": {"failed": 1},
            "finding.waits": {"waiting": 1},
        }
        assert (await engine.counts(attributes={"number": 1})).by_state == {"completed": 1, "failed": 1}
        assert (await engine.counts(name="nobody")).total == 0
        await engine.cancel("waits-1")

    run(program, kind=kind, folder=tmp_path)


def test_a_status_counts_the_steps_of_its_history() -> None:
    async def program(engine: Engine) -> None:
        await some(engine)
        for workflow_id, completed, failed in (("adds-1", 2, 0), ("fails-1", 1, 1), ("waits-1", 0, 0)):
            steps = (await engine.handle(workflow_id).status()).steps
            assert steps is not None
            assert (steps.completed, steps.failed, steps.open) == (completed, failed, 0)
        assert {one.steps for one in await engine.workflows()} == {None}
        await engine.cancel("waits-1")

    run(program)


@on_both_stores
def test_pages_are_stable_while_workflows_come_and_go(
    kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last one of a page is deleted before the next page is asked for."""
    monkeypatch.setattr(client_module, "PAGE", 3)

    async def program(engine: Engine) -> None:
        for number in range(8):
            await engine.run(adds.options(id=f"old-{number}", attributes={"tenant": "acme"}), number)
        for filters in ({}, {"attributes": {"tenant": "acme"}}):
            seen: list[str] = []
            async for one in engine.workflows(**filters):  # type: ignore[arg-type]  # a dict of several types
                seen.append(one.id)
                if len(seen) % 3 == 0:
                    await engine.run(adds.options(attributes={"tenant": "acme"}), 1)
                if len(seen) == 3 and not filters:
                    await engine.delete(one.id)
            there = [number for number in range(7, -1, -1) if not filters or number != 5]
            assert [one for one in seen if one.startswith("old-")] == [f"old-{number}" for number in there]
            assert len(set(seen)) == len(seen)

    run(program, kind=kind, folder=tmp_path)


def test_what_is_asked_of_the_store_is_one_page_at_a_time() -> None:
    limits: list[int] = []

    class Watching(MemoryStore):
        def workflows(self, query: WorkflowQuery) -> list[Head]:
            limits.append(query.limit)
            return list(super().workflows(query))

    async def program(host: SimulatedHost) -> None:
        store = Watching(host.wall)
        async with Client(store, host=host) as client:
            for number in range(250):
                await client.start(waits.options(id=f"w-{number}"))
            listing = client.workflows()
            async for _ in listing:
                break
            assert limits == [100]
            assert len(await listing) == 250
            assert limits == [100] * 4

    simulate(program)


@pytest.mark.parametrize(
    ("filters", "match"),
    [
        ({"states": "failed"}, "not found by 'states'; they are by state, name"),
        ({"state": "fail"}, "there is no state 'fail': a workflow is queued"),
        ({"state": ["failed", "over"]}, "there is no state 'over'"),
        ({"name": 1}, "name must be a string or a list of strings, got 1"),
        ({"id_prefix": 1}, "id_prefix must be a string, got 1"),
        ({"parent": ""}, "a workflow id must not be empty"),
        ({"created_after": datetime(2026, 1, 1)}, "created_after must be a datetime with a time zone"),
        ({"ended_before": 12}, "ended_before must be a datetime with a time zone"),
        ({"attributes": {"a": {"b": 1}}}, "attributes to find by: 'a' must be a string, a number"),
        ({"attributes": ["a"]}, "attributes to find by must be a mapping"),
        ({"newest_first": "yes"}, "newest_first must be True or False"),
    ],
)
def test_a_filter_that_can_be_none_is_refused(filters: dict[str, Any], match: str) -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(UsageError, match=match):
            engine.workflows(**filters)
        if "newest_first" not in filters:
            with pytest.raises(UsageError, match=match):
                await engine.counts(**filters)

    run(program)


def test_a_store_that_finds_nothing_says_so() -> None:
    class Plain:
        """A store of the core protocol alone."""

        def __init__(self, store: MemoryStore) -> None:
            for name in ("now", "commit", "claim", "read", "heads", "workflows", "unread", "changes", "close"):
                setattr(self, name, getattr(store, name))
            for name in ("register", "renew", "workers", "retire"):
                setattr(self, name, getattr(store, name))

    async def program(host: SimulatedHost) -> None:
        plain: Any = Plain(MemoryStore(host.wall))
        async with Client(plain, host=host) as client:
            await client.start(waits.options(id="a", attributes={"n": 1}))
            (one,) = await client.workflows()
            assert (one.id, one.attributes) == ("a", {})
            assert (await client.handle("a").status()).attributes == {"n": 1}
            for ask in (client.workflows(attributes={"n": 1}), client.counts()):
                with pytest.raises(UsageError, match="Plain keeps no attributes and counts nothing"):
                    await ask

    simulate(program)


# -- what an id means --------------------------------------------------------------------------------------------------


@on_both_stores
def test_an_id_means_the_same_workflow_after_its_end_and_may_be_used_anew_after_its_deletion(
    kind: str, tmp_path: Any
) -> None:
    async def program(engine: Engine) -> None:
        named = adds.options(id="a", attributes={"run": 1})
        assert await engine.run(named, 1) == 4
        assert await engine.run(named, 1) == 4
        with pytest.raises(IdInUse):
            await engine.start(named, 2)
        with pytest.raises(IdInUse):
            await engine.start(waits.options(id="a"))
        assert (await engine.counts()).total == 1
        await engine.handle("a").delete()
        with pytest.raises(NotFound):
            await engine.handle("a").status()
        assert await engine.workflows(attributes={"run": 1}) == []
        assert await engine.run(adds.options(id="a", attributes={"run": 2}), 2) == 8
        (again,) = await engine.workflows()
        assert (again.id, again.attributes) == ("a", {"run": 2})

    run(program, kind=kind, folder=tmp_path)


def urls(kind: str, folder: Path) -> list[str]:
    """Two namespaces: files of one directory, or schemas of one database."""
    if kind == "postgres":
        return [new_schema(), new_schema()]
    return [f"sqlite:///{folder}/{name}.db" for name in ("shop", "blog")]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=needs_postgres)])
def test_namespaces_do_not_see_each_other(kind: str, tmp_path: Path) -> None:
    shop_url, blog_url = urls(kind, tmp_path)
    with sync.Engine(shop_url, durability="process") as shop, sync.Engine(blog_url, durability="process") as blog:
        assert shop.run(adds.options(id="a", attributes={"app": "shop"}), 1) == 4
        assert blog.run(adds.options(id="a", attributes={"app": "blog"}), 2) == 8
        assert shop.handle("a", adds).result() == 4
        waiting = shop.start(waits.options(id="only-here"))
        for engine, ids in ((shop, {"a", "only-here"}), (blog, {"a"})):
            assert {one.id for one in engine.workflows()} == ids
            assert engine.counts().total == len(ids)
        assert list(blog.workflows(attributes={"app": "shop"})) == []
        for ask in (lambda: blog.send("only-here", "go", 1), lambda: blog.handle("only-here").status()):
            with pytest.raises(NotFound):
                ask()
        assert shop.delete("a") == ["a"]
        assert blog.handle("a", adds).result() == 8
        waiting.send("go", 1)
        waiting.result()


# -- everlog ls --------------------------------------------------------------------------------------------------------


def test_the_command_line_finds_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, "sqlite", tmp_path)
        async with Engine(store, host=host) as engine:
            await some(engine)
            tagged = adds.options(id="tagged", attributes={"tags": ["x", "1"], "zip": "01234"})
            await engine.run(tagged, 1)
            await engine.start(parent.options(id="family"), 2)
            await asyncio.sleep(30)
        store.close()

    simulate(program)
    file = str(tmp_path / "everlog.db")

    def ls(*arguments: str) -> list[str]:
        assert main(["ls", file, "--json", *arguments]) == 0
        return [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]

    assert ls("--attribute", "number=1", "--name", "finding.adds", "--name", "finding.fails") == ["fails-1", "adds-1"]
    assert ls("--attribute", "number=1", "--attribute", "number=2", "--id-prefix", "adds") == ["adds-2", "adds-1"]
    assert ls("--attribute", "odd=true", "--attribute", "number=1") == ["adds-1"]
    assert ls("--attribute", "tags=1") == ls("--attribute", "zip=01234") == ["tagged"]
    assert len(ls("--parent", "family")) == 2
    assert ls("--state", "failed", "--state", "completed", "--oldest-first", "--limit", "2") == ["adds-0", "adds-1"]
    assert ls("--created-before", "1999-01-01") == ls("--ended-after", "2999-01-01T00:00:00+02:00") == []
    assert main(["ls", file, "--count", "--id-prefix", "adds"]) == 0
    assert capsys.readouterr().out.split() == ["NAME", "STATE", "COUNT", "finding.adds", "completed", "3", "3"]
    assert main(["ls", file, "--count", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 9
    assert main(["ls", file, "--attribute", "number"]) == 2
    assert "--attribute takes NAME=VALUE, such as tenant=acme, got 'number'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ls", file, "--created-after", "yesterday"])
    assert "expected a time such as 2026-11-21T09:30, got 'yesterday'" in capsys.readouterr().err
    assert main(["show", "tagged", "--db", file]) == 0
    assert 'attribute {"tags":["x","1"],"zip":"01234"}' in capsys.readouterr().out
