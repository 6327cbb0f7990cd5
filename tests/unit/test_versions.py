"""Versions: what was started by a version of the code is run by that, wherever and whenever it is to be found."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import everlog
from everlog import Engine, InvalidDefinition, Queue, Schedule, UsageError, named, step, sync, workflow
from everlog.testing import VirtualEngine
from everlog.testing.simulation import SimulatedHost
from tests.support import in_state, make_store, on_both_stores, simulate, until


@step(name="versions.note")
async def note(text: str) -> str:
    return text


@workflow(name="versions.checkout", version="1")
async def checkout_1(item: str) -> str:
    first = await note(f"first {item}")
    go = await everlog.recv("go", type=str)
    return f"{first} {go} {everlog.current().version}"


@workflow(name="versions.checkout", version="2")
async def checkout_2(item: str, count: int = 1) -> str:
    first = await note(f"second {item}")
    go = await everlog.recv("go", type=str)
    return f"{first} {go} {everlog.current().version}"


@workflow(name="versions.plain", version="1")
def plain_1() -> str:
    return f"one {sync.current().version}"


@workflow(name="versions.plain", version="2")
def plain_2() -> str:
    return f"two {sync.current().version}"


def test_several_versions_of_a_name_run_in_one_process() -> None:
    with VirtualEngine() as engine:
        one, two = engine.start(checkout_1, "tea"), engine.start(checkout_2, "tea")
        for handle in (one, two):
            engine.sleep(1)
            engine.restart()
            engine.send(handle.id, "go", "went")
        assert engine.handle(one.id).result() == "first tea went 1"
        assert engine.handle(two.id).result() == "second tea went 2"
        assert (engine.run(plain_1), engine.run(plain_2)) == ("one 1", "two 2")
        assert engine.run(plain_1.options(version="2")) == "two 2"
        statuses = {status.id: status for status in engine.workflows(name="versions.checkout")}
        assert {status.name for status in statuses.values()} == {"versions.checkout"}
        assert {one.id: "1", two.id: "2"} == {id: status.version for id, status in statuses.items()}


def test_what_has_no_version_is_run_by_the_last_code_of_its_name() -> None:
    with VirtualEngine() as engine:
        unpinned = engine.start(named("versions.plain", type=str))
        assert unpinned.result() == "two None"
        assert unpinned.status().version is None
        assert engine.run(plain_1.options(version=None)) == "two None"
        assert engine.run(named("versions.plain", type=str).options(version="1")) == "one 1"


@on_both_stores
def test_each_version_is_claimed_by_an_engine_that_has_it_and_by_no_other(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, workflows=[checkout_2]) as new:
            one, two = await new.start(checkout_1.options(id="1"), "tea"), await new.start(checkout_2, "tea")
            for handle in (one, two):
                await handle.send("go", "went")
            assert await two.result() == "second tea went 2"
            assert (await one.status()).state == "queued"
            assert "for a worker that knows 'versions.checkout' version '1'" in (await one.status()).why
            listed = await new.workflows(name="versions.checkout", version="1")
            assert [(status.id, status.why) for status in listed] == [
                ("1", "for a worker that knows 'versions.checkout' version '1'")
            ]
            counts = await new.counts(name="versions.checkout")
            assert counts.by_name == {"versions.checkout": {"queued": 1, "completed": 1}}
            assert counts.by_version == {"versions.checkout": {"1": {"queued": 1}, "2": {"completed": 1}}}
            async with Engine(
                make_store(host, kind, tmp_path) if kind != "memory" else store, host=host, workflows=[checkout_1]
            ):
                assert await one.result() == "first tea went 1"

    simulate(program)


def test_parked_ones_wait_for_their_version_and_go_on_with_another_that_is_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host, workflows=[checkout_1]) as old:
            handle = await old.start(checkout_1.options(id="1"), "tea")
            await in_state(handle, "waiting")
        async with Engine(store, host=host, workflows=[checkout_2]) as new:
            with pytest.raises(everlog.NotFound):
                await new.handle("2").retry(version="2")
            await new.send("1", "go", "went")
            await new.handle("1").retry(version="2")
            await in_state(new.handle("1"), "stuck")  # its history does not fit that
            fork = await new.handle("1").fork(version="2", id="fork")
            assert await fork.result() == "second tea went 2"
            assert (await fork.status()).version == "2"
            assert (await new.handle("1").status()).version == "2"
            await new.handle("1").retry(version="1")
        async with Engine(store, host=host, workflows=[checkout_1]) as old:
            assert await old.handle("1", checkout_1).result() == "first tea went 1"

    simulate(program)


def test_an_engine_says_how_many_wait_for_a_version_that_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host, workflows=[checkout_2]) as engine:
            for _ in range(3):
                await engine.start(checkout_1, "tea")
            await until(lambda: any("3 workflows wait" in one.getMessage() for one in caplog.records))

    with caplog.at_level(logging.WARNING):
        simulate(program)
    assert "for a worker that knows 'versions.checkout' version '1'" in caplog.text
    assert "everlog retry ID --version" in caplog.text


MAIL = Queue("versions.mail", concurrency=1)


@on_both_stores
def test_in_a_queue_too(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, workflows=[plain_2], queues=[MAIL]) as engine:
            one = await engine.start(plain_1.options(queue=MAIL))
            two = await engine.start(plain_2.options(queue=MAIL))
            assert await two.result() == "two 2"
            assert (await one.status()).state == "queued"
            await one.retry(version="2")
            assert await one.result() == "two 2"

    simulate(program)


@workflow(name="versions.parent")
async def parent(child: str) -> str:
    return await (checkout_1 if child == "1" else checkout_2).options(key="child")("tea")


def test_a_parent_goes_on_with_the_child_that_it_started_whatever_version_its_code_would_start_now() -> None:
    def flow(child: Any) -> Any:
        @workflow(name="versions.changing_parent")
        async def changing_parent() -> str:
            result: str = await child.options(id="c")("tea")
            return result

        return changing_parent

    with VirtualEngine() as engine:
        engine.start(flow(checkout_1).options(id="p"))
        engine.sleep(1)
        flow(checkout_2)
        engine.restart()
        engine.send("c", "go", "went")
        assert engine.handle("p").result() == "first tea went 1"


def test_a_start_again_with_newer_code_is_the_same_start() -> None:
    with VirtualEngine() as engine:
        engine.start(checkout_1.options(id="same"), "tea")
        again = engine.start(checkout_2.options(id="same"), "tea")
        assert again.status().version == "1"
        engine.send("same", "go", "went")
        assert again.result() == "first tea went 1"


def test_it_continues_as_the_version_that_its_code_names() -> None:
    @workflow(name="versions.looping", version="1")
    async def looping_1() -> str:
        everlog.continue_as_new(looping_1.options(version="2"))

    @workflow(name="versions.looping", version="2")
    async def looping_2() -> str:
        return f"two {everlog.current().version}"

    with VirtualEngine() as engine:
        assert engine.run(looping_1) == "two 2"


def test_what_a_schedule_starts_has_the_version_of_the_code_that_declares_it() -> None:
    @workflow(name="versions.ticking", version="1", schedule=Schedule(every=60))
    async def ticking_1() -> str:
        return "one"

    @workflow(name="versions.ticking", version="2", schedule=Schedule(every=60))
    async def ticking_2() -> str:
        return "two"

    with VirtualEngine(workflows=[ticking_1, ticking_2]) as engine:
        engine.sleep(90)
        statuses = engine.workflows(name="versions.ticking")
        assert [(status.version, engine.handle(status.id).result()) for status in statuses] == [("2", "two")]


class Shop:
    """A shop."""

    @workflow(name="versions.Shop.buy", version="1")
    async def buy(self) -> str:
        return f"one {everlog.current().version} {everlog.current().name}"


class NewShop(Shop):
    """A shop of today."""


def test_methods_of_registered_objects_have_versions() -> None:
    shop = everlog.register(Shop(), name="versions.eu")
    with VirtualEngine() as engine:
        assert engine.run(shop.buy) == "one 1 versions.Shop.buy@versions.eu"


def test_versions_are_text_and_names_hold_none() -> None:
    with pytest.raises(UsageError, match="the version of a workflow is text"):
        checkout_1.options(version=3)  # type: ignore[arg-type]  # what it is refused for
    with pytest.raises(UsageError, match="no @"):
        checkout_1.options(version="a@b")
    with pytest.raises(UsageError, match="must not contain '@@'"):
        named("a@@b")
    with pytest.raises(UsageError, match="must not contain '@@'"):
        everlog.register(object(), name="@eu")
    with VirtualEngine() as engine, pytest.raises(UsageError, match="give name= as well"):
        engine.workflows(version="1")


def test_two_workflows_of_one_name_and_version_from_different_modules_are_refused() -> None:
    async def elsewhere() -> None: ...

    workflow(name="versions.twice", version="1")(plain_1.fn)
    elsewhere.__module__ = "another"
    with pytest.raises(InvalidDefinition, match=r"'versions\.twice' version '1'"):
        workflow(name="versions.twice", version="1")(elsewhere)
    assert workflow(name="versions.twice", version="2")(elsewhere).version == "2"
