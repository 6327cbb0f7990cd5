"""Schedules of engines, in virtual time: declared and made, by several engines, over restarts, changes and failures."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import (
    Client,
    Engine,
    IdInUse,
    InvalidDefinition,
    NotFound,
    Queue,
    Schedule,
    ScheduleStatus,
    UsageError,
    WrongContext,
    named,
    step,
    workflow,
)
from everlog.memory import MemoryStore
from everlog.store import Store, WorkflowQuery
from everlog.testing.simulation import EPOCH, SimulatedHost
from tests.support import FlakyStore, kill, make_store, on_both_stores, opened, run, simulate

START = datetime.fromtimestamp(EPOCH / 1_000_000, UTC)
"""2023-11-14 22:13:20."""
TEN = 10
"""Seconds between two ticks."""

SEEN: list[tuple[str, datetime, Any]] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


@workflow
async def report(channel: str = "#sales") -> str:
    SEEN.append((everlog.current().workflow_id, everlog.current().tick, channel))
    return channel


@step
async def planned() -> datetime:
    return everlog.current().tick


@step(process=True)
def planned_in_a_process() -> datetime:
    return everlog.current().tick


@workflow(schedule=Schedule("*/30 * * * * *", timezone="Asia/Tokyo"))
async def halves() -> None:
    of_step, of_process = await planned(), await everlog.call(planned_in_a_process)
    SEEN.append((everlog.current().workflow_id, everlog.current().tick, (of_step, of_process)))


ONE_BY_ONE = Queue("schedules.one_by_one", concurrency=1)


@workflow(schedule=Schedule(every=TEN, catch_up="all"), queue=ONE_BY_ONE)
async def slow() -> None:
    SEEN.append((everlog.current().workflow_id, everlog.current().tick, everlog.current().queue))
    await asyncio.sleep(25)


@workflow(schedule=Schedule(every=TEN, catch_up="all"))
def steady() -> None:
    SEEN.append((everlog.current().workflow_id, everlog.current().tick, None))


def number(tick: datetime) -> float:
    """Give the how manieth after the start of the simulation it is."""
    return (tick - START) / timedelta(seconds=TEN)


def seen(schedule: str = "") -> list[float]:
    return sorted(number(tick) for workflow_id, tick, _ in SEEN if workflow_id.startswith(schedule))


def ids(store: Store) -> list[str]:
    return sorted(head.workflow_id for head in store.workflows(WorkflowQuery(limit=1000)))


@on_both_stores
def test_a_declared_schedule_starts_its_workflow(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> ScheduleStatus:
        await asyncio.sleep(75)
        return await engine.schedule("halves").status()

    status = run(program, kind=kind, folder=tmp_path, workflows=[halves])
    assert [workflow_id for workflow_id, _, _ in SEEN] == [
        "halves@2023-11-14T22:13:30Z",
        "halves@2023-11-14T22:14:00Z",
        "halves@2023-11-14T22:14:30Z",
    ]
    for _, tick, in_steps in SEEN:
        assert (tick.hour, tick.utcoffset()) == (7, timedelta(hours=9)), "it is in the time zone of the schedule"
        assert [(one, one.utcoffset()) for one in in_steps] == [(tick, tick.utcoffset())] * 2
    assert (status.workflow, status.declared, status.paused) == ("halves", True, False)
    assert status.schedule == Schedule("*/30 * * * * *", timezone="Asia/Tokyo")
    assert (str(status.last_tick), str(status.next_tick)) == ("2023-11-15 07:14:30+09:00", "2023-11-15 07:15:00+09:00")
    assert status.why == "its next tick is at 2023-11-15 07:15:00+09:00"


@on_both_stores
def test_each_tick_happens_once_over_several_engines(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> list[str]:
        stores = [make_store(host, kind, tmp_path)]
        stores += [stores[0] if kind == "memory" else make_store(host, kind, tmp_path) for _ in range(2)]
        engines = [
            Engine(store, host=one, workflows=[steady])
            for store, one in zip(stores, [host, host.sibling(), host.sibling()], strict=True)
        ]
        async with engines[0], engines[1], engines[2]:
            await asyncio.sleep(5 * TEN + 1)
        return ids(stores[0])

    there = simulate(program, seed=3)
    assert seen() == [1, 2, 3, 4, 5]
    assert there == sorted(workflow_id for workflow_id, _, _ in SEEN)


@on_both_stores
def test_what_was_missed_while_nobody_ran_is_made_up_for(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, workflows=[steady]) as engine:
            await engine.create_schedule("last", Schedule(every=TEN), report, "last")
            await engine.create_schedule("none", Schedule(every=20 * TEN, catch_up="none"), report, "none")
        await asyncio.sleep(28 * TEN)  # over the ticks 20 of `none`, which is over a minute late then
        async with Engine(store, host=host.sibling(), workflows=[steady, report]):
            await asyncio.sleep(TEN / 2)
        assert (seen("steady"), seen("last"), seen("none")) == ([*range(1, 29)], [28], [])
        async with Engine(store, host=host.sibling(), workflows=[steady, report]):
            await asyncio.sleep(12 * TEN)
        assert (seen("steady"), seen("last"), seen("none")) == ([*range(1, 41)], [*range(28, 41)], [40])

    simulate(program)


@on_both_stores
def test_a_schedule_is_made_once_and_managed(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        made = await engine.create_schedule("noisy", Schedule(every=TEN), report, channel="#noise")
        await engine.create_schedule("noisy", Schedule(every=TEN), report, "#noise")  # the same again
        for other in [
            lambda: engine.create_schedule("noisy", Schedule(every=TEN), report, "#other"),
            lambda: engine.create_schedule("noisy", Schedule(every=2 * TEN), report, "#noise"),
            lambda: engine.create_schedule("noisy", Schedule(every=TEN), report.options(timeout=5), "#noise"),
            lambda: engine.create_schedule("noisy", Schedule(every=TEN), steady),
        ]:
            with pytest.raises(IdInUse, match=r"schedule 'noisy' is there, and another one: recorded .*, now "):
                await other()
        assert [number(tick) for tick in await made.upcoming(3)] == [1, 2, 3]
        await asyncio.sleep(TEN + 1)
        await made.pause()
        await made.pause()
        assert await made.upcoming() == []
        assert (await made.status()).why.startswith("it is paused")
        await asyncio.sleep(3 * TEN)
        await made.resume()
        await asyncio.sleep(TEN)
        assert seen() == [1, 5], "what it would have ticked while it was paused is left out"
        await made.update(Schedule("30 * * * *"))
        assert [f"{tick:%H:%M}" for tick in await engine.schedule("noisy").upcoming(2)] == ["22:30", "23:30"]
        assert [one.name for one in await engine.schedules()] == ["noisy"]
        await made.update(Schedule(every=TEN))
        await made.delete()
        await asyncio.sleep(3 * TEN)
        assert seen() == [1, 5]
        for call in (made.status, made.pause, made.resume, made.upcoming, made.trigger, made.delete):
            with pytest.raises(NotFound, match="there is no schedule 'noisy'"):
                await call()
        assert await engine.schedules() == []

    run(program, kind=kind, folder=tmp_path, workflows=[report])


@on_both_stores
def test_trigger_and_backfill_start_what_the_plan_did_not(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        made = await engine.create_schedule("noisy", Schedule(every=TEN), report, "#noise")
        await asyncio.sleep(TEN + 1)
        await made.pause()
        extra = [await made.trigger(), await made.trigger()]
        assert [await one.result() for one in extra] == ["#noise"] * 2
        assert len({one.id for one in extra}) == 2
        assert all(one.id.startswith("noisy@2023-11-14T22:13:31.") for one in extra)
        assert all(1.1 <= tick < 1.2 for tick in seen()[1:]), "the tick of what is started beside the plan is now"
        start = START - timedelta(seconds=2 * TEN)
        filled = await made.backfill(start, START + timedelta(seconds=TEN + 1))
        assert [one.id for one in filled] == [f"noisy@2023-11-14T22:13:{second:02}Z" for second in (0, 10, 20, 30)]
        again = await made.backfill(start, START)
        assert [one.id for one in again] == [one.id for one in filled[:2]], "before the end, and what is there stays"
        assert [await one.result() for one in filled] == ["#noise"] * 4
        assert sorted(workflow_id for workflow_id, _, _ in SEEN) == sorted(one.id for one in [*filled, *extra])
        with pytest.raises(UsageError, match="are not all past"):
            await made.backfill(start, datetime(2023, 11, 15, tzinfo=UTC))
        with pytest.raises(UsageError, match=r"more than 10000 ticks.*first those before 2023-11-1"):
            await made.backfill(start - timedelta(days=2), start)
        with pytest.raises(UsageError, match="start must be a datetime with a time zone"):
            await made.backfill(datetime(2023, 11, 14), start)

    run(program, kind=kind, folder=tmp_path, workflows=[report])


@on_both_stores
def test_what_a_schedule_starts_stands_in_its_queue(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, workflows=[slow, report]) as engine:
            run_time = slow.options(queue="schedules.one_by_one", priority=-1)
            await engine.create_schedule("first", Schedule(every=TEN), run_time)
            with pytest.raises(NotFound, match="there is no queue 'elsewhere'"):
                await engine.create_schedule("lost", Schedule(every=TEN), report.options(queue="elsewhere"))
            with pytest.raises(UsageError, match=r"scheduled with delay="):
                await engine.create_schedule("late", Schedule(every=TEN), report.options(delay=5))
            await asyncio.sleep(62)
            begun = list(dict.fromkeys(workflow_id for workflow_id, _, _ in SEEN))
            assert [workflow_id.partition("@")[0] for workflow_id in begun] == ["first", "first", "first"]
            assert {queue for _, _, queue in SEEN} == {"schedules.one_by_one"}
            assert (await engine.queue("schedules.one_by_one").counts()).admitted == 1

    simulate(program)


def test_many_ticks_that_were_missed_are_all_made() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Client(store, host=host) as client:
            for name in ("one", "other"):
                await client.create_schedule(name, Schedule(every=TEN, catch_up="all"), report)
        await asyncio.sleep(700 * TEN)
        async with Engine(store, host=host.sibling(), workflows=[report]):
            await asyncio.sleep(5)

    simulate(program)
    assert seen("one") == seen("other") == [*range(1, 701)]
    assert len(SEEN) == 1400


# -- code and store ----------------------------------------------------------------------------------------------------


def test_code_wins_where_it_changed_and_what_was_changed_meanwhile_stays() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)

        async def with_code(schedule: Schedule | None) -> ScheduleStatus | None:
            @workflow(name="report of changes", schedule=schedule)
            async def changing() -> None:
                pass

            async with Engine(store, host=host.sibling(), workflows=[changing]) as engine:
                found = [one for one in await engine.schedules() if one.name == "report of changes"]
                return found[0] if found else None

        async with Client(store, host=host) as client:
            handle = client.schedule("report of changes")
            first = await with_code(Schedule(every=3600))
            assert first is not None
            assert first.schedule == Schedule(every=3600)
            await handle.update(Schedule(every=60))
            await handle.pause()
            unchanged = await with_code(Schedule(every=3600))
            assert unchanged is not None
            assert (unchanged.schedule, unchanged.paused) == (Schedule(every=60), True)
            changed = await with_code(Schedule(every=7200))
            assert changed is not None
            assert (changed.schedule, changed.paused) == (Schedule(every=7200), True), "a pause stays"
            await handle.delete()
            again = await with_code(Schedule(every=7200))
            assert again is not None
            assert not again.paused
            assert await with_code(None) is None, "code that declares none any more removes it"
            await client.create_schedule("report of changes", Schedule(every=60), named("report of changes"))
            kept = await with_code(None)
            assert kept is not None, "what was made at run time is not the code's to remove"
            assert not kept.declared

    simulate(program)


def test_a_tick_that_was_missed_during_a_deploy_is_made_by_the_new_code() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host, workflows=[steady]):
            await asyncio.sleep(1)
        await asyncio.sleep(TEN)  # over 22:13:30

        @workflow(name="steady", schedule=Schedule("31 * * * * *"))
        def steady_otherwise() -> None:
            steady.fn()

        async with Engine(store, host=host.sibling(), workflows=[steady_otherwise]):
            await asyncio.sleep(1)

    simulate(program)
    assert [workflow_id for workflow_id, _, _ in SEEN] == ["steady@2023-11-14T22:13:31Z"]


def test_what_is_declared_while_an_engine_runs_ticks_as_well() -> None:
    async def program(engine: Engine) -> None:
        @workflow(name="late comer", schedule=Schedule(every=60))
        async def late() -> None:
            SEEN.append((everlog.current().workflow_id, everlog.current().tick, None))

        await asyncio.sleep(130)
        assert len(SEEN) in (1, 2)

    from everlog.replay.registry import _registry

    before = dict(_registry)
    try:
        _registry.clear()
        run(program)
    finally:
        _registry.clear()
        _registry.update(before)


def test_a_schedule_whose_code_is_nowhere_waits_and_says_so() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host, workflows=[steady]) as engine:
            made = await engine.create_schedule("remote", Schedule(every=TEN), named("report"), channel="#far")
            await asyncio.sleep(1.5 * TEN)
            assert (await made.status()).why == "its next tick is at 2023-11-14 22:13:30+00:00", "it is just due"
            await asyncio.sleep(TEN)
            assert (await made.status()).why == (
                "its tick of 2023-11-14 22:13:30+00:00 waits for an engine that has the code of workflow 'report' and"
                " can tell when it ticks next"
            )
            assert seen() == [1, 2]
            async with Engine(store, host=host.sibling(), workflows=[report]):
                await asyncio.sleep(1)
            assert seen("remote") == [2]
            assert SEEN[-1][2] == "#far"

    simulate(program)


def test_an_engine_without_the_library_leaves_cron_to_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Client(store, host=host) as client:
            await client.create_schedule("by cron", Schedule("*/15 * * * *"), report)
            await client.create_schedule("hourly", Schedule(every=3600), report)
            from everlog.core.timing import _cron

            _cron.cache_clear()
            with monkeypatch.context() as patched:
                patched.setitem(sys.modules, "cronsim", None)
                async with Engine(store, host=host.sibling(), workflows=[report]):
                    await asyncio.sleep(3000)
                assert {workflow_id.partition("@")[0] for workflow_id, _, _ in SEEN} == {"hourly"}
                assert "waits for an engine" in (await client.schedule("by cron").status()).why
            async with Engine(store, host=host.sibling(), workflows=[report]):
                await asyncio.sleep(1)
            assert SEEN[-1][0] == "by cron@2023-11-14T23:00:00Z"

    with caplog.at_level(logging.ERROR, "everlog"):
        simulate(program)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "once, not at each look"
    assert "schedule 'by cron' does not tick here, and waits for an engine that can: cron expressions need" in said[0]


def test_what_cannot_be_scheduled_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match=r"workflow needs_more has a schedule.*'day' needs a default"):

        @workflow(name="needs_more", schedule=Schedule(every=60))
        async def needs_more(day: str) -> None:
            pass

    mistaken: Any = "0 9 * * *"
    with pytest.raises(InvalidDefinition, match="schedule must be a Schedule, got '0 9"):
        workflow(name="mistaken", schedule=mistaken)(lambda: None)

    with pytest.raises(InvalidDefinition, match=r"parameter 'self' needs a default.*create_schedule"):

        class Shop:
            @workflow(schedule=Schedule(every=60))
            async def close(self) -> None:
                pass

    async def program(engine: Engine) -> None:
        with pytest.raises(UsageError, match="leave id= and key= out"):
            await engine.create_schedule("r", Schedule(every=60), report.options(id="r"))
        with pytest.raises(UsageError, match="a Schedule was expected, got '0 9"):
            await engine.create_schedule("r", mistaken, report)
        with pytest.raises(UsageError, match="at most 475 characters"):
            await engine.create_schedule("r" * 476, Schedule(every=60), report)
        with pytest.raises(UsageError, match="must not be empty"):
            engine.schedule("")
        with pytest.raises(TypeError, match="argument"):
            await engine.create_schedule("r", Schedule(every=60), report, 1, 2)  # type: ignore[call-arg] # on purpose
        assert await engine.schedules() == []

    run(program, workflows=[report])


def test_the_longest_name_has_room_for_its_ticks() -> None:
    async def program(engine: Engine) -> None:
        made = await engine.create_schedule("r" * 475, Schedule(every=60), report)
        await (await made.trigger()).result()
        await asyncio.sleep(60)
        assert len(SEEN) == 2

    run(program, workflows=[report])


def test_a_store_that_keeps_no_schedules_says_so() -> None:
    class Plain(FlakyStore):
        schedules = None  # type: ignore[assignment] # as if it had none
        write_schedules = None  # type: ignore[assignment] # likewise

        def __getattribute__(self, name: str) -> Any:
            if name in ("schedules", "due_schedules", "write_schedules"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    async def program(host: SimulatedHost) -> None:
        store = Plain(MemoryStore(clock=host.wall))
        with pytest.raises(UsageError, match="Plain, keeps no schedules, and workflow 'steady' has one"):
            await Engine(store, host=host, workflows=[steady]).__aenter__()
        async with Engine(store, host=host.sibling(), workflows=[report]) as engine:
            assert await engine.run(report) == "#sales"
            with pytest.raises(UsageError, match="keeps no schedules"):
                await engine.create_schedule("r", Schedule(every=60), report)
            with pytest.raises(UsageError, match="keeps no schedules"):
                await engine.schedules()

    simulate(program)


def test_workflow_code_makes_no_schedules() -> None:
    engines: list[Engine] = []

    @workflow(name="schedules itself")
    async def wrong() -> None:
        await engines[0].create_schedule("r", Schedule(every=60), report)

    async def program(engine: Engine) -> None:
        engines.append(engine)
        with pytest.raises(everlog.WorkflowFailed) as failed:
            await engine.run(wrong)
        assert isinstance(failed.value.__cause__, WrongContext)

    run(program, workflows=[wrong, report])


# -- failures ----------------------------------------------------------------------------------------------------------


@on_both_stores
def test_a_tick_whose_answer_was_lost_is_not_repeated(kind: str, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> None:
        store = FlakyStore(make_store(host, kind, tmp_path))
        async with Engine(store, host=host, workflows=[steady]):
            await asyncio.sleep(TEN / 2)
            store.lose_answers = 1
            await asyncio.sleep(2 * TEN)
            store.down = True
            await asyncio.sleep(TEN)
            store.down = False
            await asyncio.sleep(TEN)

    simulate(program)
    assert seen() == [1, 2, 3, 4]


def test_a_process_that_dies_leaves_its_ticks_to_another() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        first = await opened(Engine(store, host=host.sibling(), workflows=[steady]))
        async with Engine(store, host=host, workflows=[steady]):
            await asyncio.sleep(1.5 * TEN)
            kill(first)
            await asyncio.sleep(4 * TEN)

    simulate(program)
    assert seen() == [1, 2, 3, 4, 5]


def test_an_engine_that_drains_makes_no_ticks() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host, workflows=[steady]) as engine:
            shell: Any = engine._shell
            shell.submit(lambda: setattr(shell.worker, "draining", True))
            await asyncio.sleep(2 * TEN)
            assert ids(store) == []

    simulate(program)


def test_an_engine_without_ticks_to_come_asks_for_none() -> None:
    class Counting(FlakyStore):
        looks = 0

        def due_schedules(self, *arguments: Any, **options: Any) -> Any:
            self.looks += 1
            return super().due_schedules(*arguments, **options)

    async def program(host: SimulatedHost) -> None:
        store = Counting(MemoryStore(clock=host.wall))
        async with Engine(store, host=host, workflows=[report]):
            await asyncio.sleep(5)
            store.looks = 0
            await asyncio.sleep(3600)
            assert store.looks == 0
            async with Client(store.store, host=host.sibling()) as client:  # another process
                await client.create_schedule("r", Schedule(every=TEN), report)
            await asyncio.sleep(2)
            assert 1 <= store.looks <= 3
            store.looks = 0
            await asyncio.sleep(3 * TEN)
            assert len(SEEN) == 3
            assert store.looks <= 12, "twice for a tick, and for the writes of its workflow"

    simulate(program)
