"""The lists of the inspector find what they say, tell how far they have looked, and fork many."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from everlog import Engine, Queue, Schedule, step, workflow
from everlog.inspector import sifting
from everlog.runtime import looking
from tests.inspecting import Parts, post, visiting_as
from tests.support import in_state, on_both_stores, run

parts = Queue("inspector_parts", concurrency=1, partition_concurrency=1)
broken = {"is": True}


@step(name="inspector_lists_pay")
async def pay(card: str) -> str:
    if broken["is"]:
        raise ConnectionError(f"the bank of {card} does not answer")
    return card


@workflow(name="inspector_lists_order")
async def order(card: str) -> str:
    return await pay(card)


@workflow(name="inspector_lists_sleeps")
async def sleeps() -> None:
    await asyncio.sleep(3600)


@workflow(name="inspector_lists_ticks")
async def ticks() -> None:
    pass


def listed(page: str) -> list[str]:
    return [str(one["value"]) for one in Parts(page).all("input") if one.get("name") == "id"]


@on_both_stores
def test_what_no_index_finds_is_looked_through_page_by_page(kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sifting, "LOOKED_THROUGH", 5)
    monkeypatch.setattr(sifting, "_TOGETHER", 2)
    broken["is"] = True

    async def program(engine: Engine) -> None:
        for number in range(12):
            card = "gold" if number % 6 == 0 else "iron"
            await engine.start(order.options(id=f"sift-{number:02}", queue=parts if number % 2 else None), card)
        for number in range(12):
            await in_state(engine.handle(f"sift-{number:02}"), "failed")
        async with visiting_as(engine) as browser:
            for query, wanted in (
                ("error=BANK of gold", [0, 6]),
                ("queue=inspector_parts", [1, 3, 5, 7, 9, 11]),
                ("queue=inspector_parts&error=gold", []),
                ("queue=inspector_parts&id_prefix=sift-1", [11]),
            ):
                found: list[str] = []
                link: str | None = f"/workflows?order=oldest&{query}"
                while link is not None:
                    page = (await browser.get(link)).text
                    assert "looked through" in page
                    found += listed(page)
                    link = next((one["href"] for one in Parts(page).all("a") if one.get("rel") == "next"), None)
                assert found == [f"sift-{number:02}" for number in wanted], query
            assert "looked through" in (shown := (await browser.get("/workflows")).text)
            assert "were looked through" not in shown
        async with visiting_as(engine, hide_payloads=True) as browser:
            assert listed((await browser.get("/workflows?error=gold")).text) == [], "what is hidden cannot be sought"

    run(program, kind=kind, folder=tmp_path)


def test_a_version_is_found_beside_its_name() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(sleeps.options(id="old", version="one"))
        await engine.start(sleeps.options(id="new", version="two"))
        async with visiting_as(engine) as browser:
            found = await browser.get("/workflows?name=inspector_lists_sleeps&version=two")
            assert listed(found.text) == ["new"]
            assert (await browser.get("/workflows?version=two")).status_code == 400

    run(program)


def test_many_are_forked_once_after_their_number_was_shown() -> None:
    broken["is"] = True

    async def program(engine: Engine) -> None:
        for number in range(3):
            await engine.start(order.options(id=f"fork-{number}"), "gold")
            await in_state(engine.handle(f"fork-{number}"), "failed")
        await engine.start(sleeps.options(id="fork-sleeps"))
        await in_state(engine.handle("fork-sleeps"), "waiting")
        broken["is"] = False
        asked_for = {"action": "fork", "all": "1", "query": "error=gold"}
        async with visiting_as(engine) as browser:
            shown = await post(browser, "/act/many", **asked_for)
            assert "Fork 3 workflows?" in shown.text
            assert "done again" in shown.text
            assert [one.id async for one in engine.workflows(forked_from="fork-0")] == [], "nothing was made yet"
            for _ in range(2):
                done = await post(browser, "/act/many", **asked_for, confirmed="3")
                assert done.headers["location"] == "/workflows?done=fork%3A3"
            forks = [one.id async for one in engine.workflows(forked_from="fork-1")]
            assert len(forks) == 1, "the same twice is one fork"
            assert await engine.handle(forks[0]).result() == "gold"
            chosen = {"action": "fork", "id": ["fork-0", "fork-sleeps"]}
            assert "cannot be forked so" in (await post(browser, "/act/many", **chosen)).text
            partly = await post(browser, "/act/many", **chosen, confirmed="2")
            assert "done for 1 workflow, not for 1" in partly.text
            assert "fork-sleeps" in listed_links(partly.text)

    run(program)


def listed_links(page: str) -> list[str]:
    return [str(one["href"]).partition("id=")[2] for one in Parts(page).all("a") if "id=" in str(one["href"])]


@on_both_stores
def test_a_queue_tells_its_partitions_the_oldest_and_what_went_wrong(kind: str, tmp_path: Path) -> None:
    broken["is"] = True

    async def program(engine: Engine) -> None:
        await engine.queue(parts).enqueue(order.options(id="q-failed", partition="a"), "gold")
        await in_state(engine.handle("q-failed"), "failed")
        for number, partition in enumerate("abbb"):
            await engine.queue(parts).enqueue(sleeps.options(id=f"q-{number}", partition=partition))
            await asyncio.sleep(1)
        async with visiting_as(engine) as browser:
            page = Parts((await browser.get("/queues")).text)
            text = " ".join(page.text.split())
            assert "partition b3 workflows" in text, text
            assert "1 failed" in text
            assert "partition a" not in text, "whoever was admitted does not stand there"
            assert "/workflow?id=q-1" in [one["href"] for one in page.all("a")], "the oldest of all"

    run(program, kind=kind, folder=tmp_path)


def test_past_ticks_are_made_up_for() -> None:
    async def program(engine: Engine) -> None:
        await engine.create_schedule("inspector_lists_often", Schedule(every=600), ticks)
        await engine.schedule("inspector_lists_often").pause()
        await asyncio.sleep(3000)
        now = await looking.now_of(engine)
        given = {
            "name": "inspector_lists_often",
            "action": "backfill",
            "start": (now - timedelta(seconds=2400)).isoformat(timespec="seconds")[:19],
            "end": now.isoformat(timespec="seconds")[:19],
        }
        async with visiting_as(engine) as browser:
            done = await post(browser, "/act/schedule", page="/schedules", **given)
            assert done.headers["location"] == "/schedules?done=backfill%3A4"
            assert "4 ticks are there now" in (await browser.get(done.headers["location"])).text
            for name, wrong in (("start", "soon"), ("end", "2999-01-01T00:00:00")):
                refused = await post(browser, "/act/schedule", page="/schedules", **{**given, name: wrong})
                assert refused.status_code == 400, wrong
        assert len([one async for one in engine.workflows(name="inspector_lists_ticks")]) == 4

    run(program)


def test_one_that_cannot_be_found_is_named() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(sleeps.options(id="there"))
        async with visiting_as(engine) as browser:
            done = await post(browser, "/act/many", action="pause", id=["there", "gone"], confirmed="2")
            assert "done for 1 workflow, not for 1" in done.text
            assert "gone" in listed_links(done.text)
        await in_state(engine.handle("there"), "paused")

    run(program)
