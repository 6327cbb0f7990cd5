"""Leases and fences: two engines that believe they hold one workflow, dead ones, paused ones, databases that fail."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

import everlog
from everlog import Engine, NotFound, step, workflow
from everlog.core.durations import SECOND
from everlog.store import Batch, ClaimRequest, Commit, Done, Store, WorkerRow
from everlog.testing.simulation import SimulatedHost
from tests.support import (
    FlakyStore,
    PausableHost,
    events_of,
    in_state,
    kill,
    kinds,
    make_store,
    on_both_stores,
    opened,
    run,
    simulate,
    until,
)

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@step
async def work(n: int) -> int:
    CALLS.append(n)
    await asyncio.sleep(1)
    return n


@workflow
async def works(n: int) -> list[int]:
    return [await work(i) for i in range(n)]


@step
async def long_work(seconds: int) -> int:
    CALLS.append(seconds)
    await asyncio.sleep(seconds)
    return seconds


@workflow
async def works_long(seconds: int) -> int:
    return await long_work(seconds)


@workflow
async def listens() -> list[Any]:
    return [await everlog.recv("news"), await everlog.recv("news")]


@workflow
async def tells(to: str) -> None:
    await long_work(8)
    await everlog.send(to, "news", "from the teller")


async def dense(engine: Engine, workflow_id: str) -> None:
    history = await engine.handle(workflow_id).history()
    assert [event.seq for event in history] == list(range(1, len(history) + 1))


# -- dead workers


@on_both_stores
def test_a_dead_workers_workflows_are_taken_over_within_two_lease_times(kind: str, tmp_path: Any) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        first = await opened(Engine(store, host=host.sibling(), workflows=[works_long], lease=5))
        async with Engine(store, host=host.sibling(), workflows=[works_long], lease=5) as second:
            handle = await first.start(works_long.options(id="flow"), 3)
            await asyncio.sleep(1)
            kill(first)
            died = host.monotonic()
            assert await second.handle("flow").result() == 3
            assert host.monotonic() - died < 2 * 5 + 3 + 1
        assert handle.id == "flow"

    simulate(program)


def test_an_engine_that_starts_takes_over_leases_that_have_run_out() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[works_long]))
        await first.start(works_long.options(id="flow"), 3)
        await asyncio.sleep(1)
        kill(first)
        await asyncio.sleep(11)
        async with Engine(store, host=host.sibling(), workflows=[works_long]) as second:
            begun = host.monotonic()
            assert await second.handle("flow").result() == 3
            assert host.monotonic() - begun < 3.5

    simulate(program)


def test_a_worker_whose_process_is_known_to_be_gone_is_dead_at_once() -> None:
    class Watching(PausableHost):
        gone = False

        def is_gone(self, process: str) -> bool:
            return self.gone

    host = Watching(0)

    async def program() -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[works_long]))
        async with Engine(store, host=host, workflows=[works_long]) as second:
            await first.start(works_long.options(id="flow"), 3)
            await asyncio.sleep(0.5)
            kill(first)
            host.gone = True
            died = host.monotonic()
            assert await second.handle("flow").result() == 3
            assert host.monotonic() - died < 4.2

    host.run(program())


def test_all_leases_that_are_old_at_once_do_not_make_peers_kill_each_other() -> None:
    """The whole machine slept, or a database was locked for long: everybody renews first and looks later."""

    async def program(host: PausableHost) -> None:
        store = make_store(host)
        hosts = [host.sibling() for _ in range(3)]
        engines = [await opened(Engine(store, host=one, workflows=[works_long])) for one in hosts]
        handles = [await engine.start(works_long, 200) for engine in engines]
        await asyncio.sleep(5)
        for one in hosts:
            one.pause()
        await asyncio.sleep(100)
        for one in hosts:
            one.resume()
        assert [await handle.result() for handle in handles] == [200, 200, 200]
        assert len(CALLS) == 3, "nobody was declared dead, so nothing ran twice"
        for engine in engines:
            await engine.__aexit__(None, None, None)

    simulate(program)


# -- workers that stood still


@on_both_stores
@pytest.mark.parametrize("seed", range(5))
def test_a_worker_that_stood_still_and_was_taken_over_writes_nothing(kind: str, seed: int, tmp_path: Any) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        sleeper, other = host.sibling(), host.sibling()
        async with (
            Engine(store, host=sleeper, workflows=[tells, listens, works]) as first,
            Engine(store, host=other, workflows=[tells, listens]) as second,
        ):
            listener = await second.start(listens)
            teller = await first.start(tells.options(id="teller"), listener.id)
            await asyncio.sleep(5)
            sleeper.pause()  # its step goes on and will end while nobody listens
            await until(lambda: CALLS.count(8) == 2, seconds=100)
            taken_over = second.handle("teller")
            assert (await taken_over.status()).worker is not None
            sleeper.resume()  # now it commits the end of its step, and sends
            await taken_over.result()
            await asyncio.sleep(30)
            await dense(first, "teller")
            assert (await kinds(teller)).count("message_sent") == 1
            assert (await kinds(listener)).count("message_received") == 1
            await first.send(listener.id, "news", "the end")
            assert await listener.result() == ["from the teller", "the end"]
            # And the sleeper works on, as a new worker.
            assert await first.run(works, 2) == [0, 1]

    simulate(program, seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_worker_that_stood_still_consumes_no_message_and_releases_nothing(seed: int) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host)
        sleeper, other = host.sibling(), host.sibling()
        async with (
            Engine(store, host=sleeper, workflows=[listens]) as first,
            Engine(store, host=other, workflows=[listens]) as second,
        ):
            await first.start(listens.options(id="flow"))
            await asyncio.sleep(5)
            sleeper.pause()
            await asyncio.sleep(30)
            await second.send("flow", "news", 1)
            handle = second.handle("flow")
            await until(lambda: len(CALLS) == 0, seconds=1)

            async def has_received() -> bool:
                return "message_received" in await kinds(handle)

            await until(has_received)
            sleeper.resume()
            await second.send("flow", "news", 2)
            assert await handle.result() == [1, 2]
            assert await first.handle("flow").result() == [1, 2]
            await dense(first, "flow")
            assert (await kinds(handle)).count("message_received") == 2

    simulate(program, seed=seed)


def test_what_a_worker_takes_between_being_declared_dead_and_noticing_it_is_not_lost() -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host)
        sleeper, other = host.sibling(), host.sibling()
        async with (
            Engine(store, host=sleeper, workflows=[works]) as first,
            Engine(store, host=other, workflows=[works_long]) as second,
        ):
            await asyncio.sleep(5)
            name = (await _workers(second))[0]
            # Declared dead by mistake: its lease is not over, so it goes on in good faith.
            await second.on_thread(lambda: store.retire(name))
            handle = await first.start(works.options(id="flow"), 30)
            queued = await second.start(works.options(id="other"), 3)
            assert await handle.result(timeout=100) == list(range(30))
            assert await queued.result(timeout=100) == [0, 1, 2]
            assert name not in await _workers(second)
            await dense(first, "flow")

    simulate(program)


async def _workers(engine: Engine) -> list[str]:
    def read() -> list[str]:
        return [row.worker for row in engine.store.workers()]

    return await engine.on_thread(read)


def test_a_worker_past_its_lease_starts_nothing_until_it_has_renewed() -> None:
    class NoLeases(FlakyStore):
        def renew(self, worker: str, *, lease_until: int) -> bool:
            if self.down:
                raise everlog.StoreUnavailable("no leases now, as the test asked")
            return super().renew(worker, lease_until=lease_until)

        def _living(self) -> Store:
            return self.store

    host = SimulatedHost(0)

    async def program() -> None:
        store = NoLeases(make_store(host))
        async with Engine(store, host=host, workflows=[works, works_long]) as engine:
            running = await engine.start(works, 100)
            await asyncio.sleep(2.5)
            store.down = True
            await asyncio.sleep(12)
            begun = len(CALLS)
            queued = await engine.start(works_long, 1)
            await asyncio.sleep(30)
            assert len(CALLS) == begun
            assert (await queued.status()).state == "queued"
            store.down = False
            assert await queued.result(timeout=20) == 1
            assert await running.result(timeout=200) == list(range(100))

    host.run(program())


# -- answers that are lost


@on_both_stores
@pytest.mark.parametrize("commit", range(1, 8))
@pytest.mark.parametrize("down_after", [False, True])
def test_a_commit_whose_answer_is_lost_is_found_to_be_done(
    commit: int, down_after: bool, kind: str, tmp_path: Any
) -> None:
    host = SimulatedHost(commit)

    async def program() -> None:
        store = FlakyStore(make_store(host, kind, tmp_path))
        store.down_after_lost = down_after

        def lose(batch: Batch) -> None:
            store.lose_answers = int(store.commits + 1 == commit)

        store.on_commit = lose
        async with Engine(store, host=host, workflows=[listens, works_and_tells]) as engine:
            starting = asyncio.ensure_future(engine.start(listens.options(id="listener")))
            telling = asyncio.ensure_future(engine.start(works_and_tells.options(id="teller"), "listener"))
            await asyncio.sleep(5)
            store.down = False
            await asyncio.gather(starting, telling)
            listener, teller = engine.handle("listener"), engine.handle("teller")
            assert await teller.result(timeout=60) == [0, 1]
            assert await listener.result(timeout=60) == [0, 1]
            assert CALLS == [0, 1], "no step ran twice"
            for handle in (listener, teller):
                await dense(engine, handle.id)
            assert (await kinds(teller)).count("message_sent") == 2
            assert (await kinds(listener)).count("message_received") == 2

    host.run(program())


@workflow
async def works_and_tells(to: str) -> list[int]:
    for n in range(2):
        await work(n)
        await everlog.send(to, "news", n)
    return [0, 1]


@pytest.mark.parametrize("commit", range(3, 10))
def test_a_commit_that_failed_is_written_again(commit: int) -> None:
    host = SimulatedHost(commit)

    async def program() -> None:
        store = FlakyStore(make_store(host))
        failed: list[Batch] = []

        def fail(batch: Batch) -> None:
            if store.commits + 1 == commit and batch.commits and len(failed) < 3:
                failed.append(batch)
                store.down = True

        store.on_commit = fail
        async with Engine(store, host=host, workflows=[listens, works_and_tells]) as engine:
            await engine.start(listens.options(id="listener"))
            await engine.start(works_and_tells.options(id="teller"), "listener")
            for _ in range(20):
                await asyncio.sleep(0.5)
                store.down = False
            assert failed
            assert await engine.handle("listener").result(timeout=60) == [0, 1]
            assert CALLS == [0, 1]

    host.run(program())


@pytest.mark.parametrize("seed", range(10))
def test_while_the_store_is_down_workflows_wait_and_then_they_go_on(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    host = SimulatedHost(seed)

    async def program() -> None:
        store = FlakyStore(make_store(host))
        async with Engine(store, host=host, workflows=[works, sleeps_and_listens], lease=60) as engine:
            working = [await engine.start(works, 10) for _ in range(3)]
            waiting = [await engine.start(sleeps_and_listens) for _ in range(3)]
            await asyncio.sleep(2 + host.chance() * 3)
            store.down = True
            caplog.clear()
            with pytest.raises(everlog.StoreUnavailable):
                await engine.start(works, 1)
            with pytest.raises(everlog.StoreUnavailable):
                await working[0].status()
            await asyncio.sleep(20)
            assert len([record for record in caplog.records if record.name == "everlog"]) < 60
            store.down = False
            for handle in waiting:
                await handle.send("go", 1)
            for done in working:
                assert await done.result(timeout=60) == list(range(10))
            for handle in waiting:
                assert await handle.result(timeout=60) == 1
            assert sorted(CALLS) == sorted(list(range(10)) * 3)
            assert await engine.run(works, 1) == [0]

    host.run(program())


@workflow
async def sleeps_and_listens() -> int:
    await asyncio.sleep(6)
    with suppress(TimeoutError):
        await everlog.recv("nothing", timeout=3)
    found: int = await everlog.recv("go", timeout=1000)
    return found


def test_a_queued_workflow_is_claimed_after_the_store_was_down() -> None:
    host = SimulatedHost(0)

    async def program() -> None:
        shared = make_store(host)
        store = FlakyStore(shared)
        async with (
            Engine(store, host=host, workflows=[works], lease=60) as engine,
            everlog.Client(shared, host=host.sibling()) as client,
        ):
            store.down = True
            await asyncio.sleep(2)
            handle = await client.start(works.options(id="queued"), 1)
            await asyncio.sleep(2)
            store.down = False
            assert await handle.result(timeout=10) == [0]
            assert await engine.handle("queued").result() == [0]

    host.run(program())


# -- poison


@step
async def kills() -> None:
    CALLS.append("killed")
    ENGINES[-1].append("kill")
    await asyncio.sleep(3600)


ENGINES: list[Any] = []
HEADS: list[Any] = []


@workflow
async def is_poison() -> None:
    await work(0)
    await kills()


@on_both_stores
def test_five_takeovers_without_a_new_fact_make_a_workflow_stuck_and_name_the_step(
    kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERLOG_BUILD", "one")

    async def deaths(host: SimulatedHost, store: Store, most: int) -> int:
        """Open engines that die by the step until one does not, and give how many died."""
        for died in range(most):
            ENGINES.append([])
            engine = await opened(Engine(store, host=host.sibling(), workflows=[is_poison, works]))
            for _ in range(1000):
                await asyncio.sleep(0.01)
                if ENGINES[-1]:
                    break
            else:
                assert await engine.run(works, 1) == [0], "others finish"
                await engine.__aexit__(None, None, None)
                return died
            await asyncio.sleep(0.2)
            kill(engine)
            await asyncio.sleep(15)
        return most

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with everlog.Client(store, host=host.sibling()) as client:
            handle = await client.start(is_poison)
            assert await deaths(host, store, 10) == 5
            status = await handle.status()
            assert status.state == "stuck"
            assert "'kills'" in status.why
            # Another build has a go, and no more than one.
            monkeypatch.setenv("EVERLOG_BUILD", "two")
            assert 1 <= await deaths(host, store, 10) <= 5
            assert (await handle.status()).state == "stuck"
            assert (await kinds(handle)).count("step_started") <= 2

    simulate(program)


@step(retry=everlog.RetryPolicy(max_attempts=None, first_delay=2, jitter=0))
async def fails_then_kills() -> None:
    if everlog.current().attempt == 1:
        raise ValueError("the first time")
    await kills.fn()


@workflow
async def is_poison_later() -> None:
    await fails_then_kills()


def test_a_step_that_kills_its_process_in_its_second_attempt_is_found_as_well() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with everlog.Client(store, host=host.sibling()) as client:
            handle = await client.start(is_poison_later)
            for _ in range(8):
                ENGINES.append([])
                engine = await opened(Engine(store, host=host.sibling(), workflows=[is_poison_later]))
                await asyncio.sleep(5)
                kill(engine)
                await asyncio.sleep(15)
            assert (await handle.status()).state == "stuck"
            assert CALLS.count("killed") <= 6
            (failed,) = await events_of(client, handle.id, "step_attempt_failed")
            assert failed.data["attempt"] == 1

    simulate(program)


@workflow
async def kills_by_itself() -> None:
    CALLS.append("code")  # here it might end its process, or compute for longer than the lease
    CALLS.extend(head().state for head in HEADS)
    await asyncio.gather(work(0), everlog.recv("never"))


def test_code_that_cost_five_workers_is_not_run_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[kills_by_itself]))
        handle = await engine.start(kills_by_itself.options(id="poison"))
        await asyncio.sleep(0)
        kill(engine)
        for row in store.workers():
            store.retire(row.worker)
        for number in range(4):
            worker = f"worker-{number}"
            store.register(WorkerRow(worker=worker, process="", lease_until=host.wall() + 10 * SECOND))
            (claimed,) = store.claim(ClaimRequest(worker=worker, tokens=[worker], build="", only="poison")).claimed
            begins = Commit(workflow_id="poison", token=worker, seq=claimed.head.seq, state="running", progress=False)
            assert list(store.commit(Batch(commits=[begins])).commits) == [Done()]
            store.retire(worker)
        assert (claimed.head.state, claimed.head.takeovers) == ("running", 4)
        CALLS.clear()
        async with Engine(store, host=host.sibling(), workflows=[kills_by_itself]) as another:
            handle = another.handle("poison")
            await in_state(handle, "stuck")
            assert "5 workers died" in (await handle.status()).why
        assert CALLS == []
        # Another build has a go, and its deaths count from the first line of the code on.
        monkeypatch.setenv("EVERLOG_BUILD", "two")
        HEADS.append(lambda: store.heads(["poison"])[0])
        await opened(Engine(store, host=host.sibling(), workflows=[kills_by_itself]))
        await until(lambda: "code" in CALLS)
        assert CALLS[:2] == ["code", "running"]

    simulate(program)


def test_workers_that_die_before_they_begin_anything_do_not_count() -> None:
    """Processes that are killed faster than they start cost healthy workflows nothing, however many there are."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[works]))
        await engine.start(works.options(id="healthy"), 2)
        kill(engine)
        for row in store.workers():
            store.retire(row.worker)
        for number in range(8):
            worker = f"worker-{number}"
            store.register(WorkerRow(worker=worker, process="", lease_until=host.wall() + 10 * SECOND))
            assert store.claim(ClaimRequest(worker=worker, tokens=[worker], build="", only="healthy")).claimed
            store.retire(worker)
        async with Engine(store, host=host.sibling(), workflows=[works]) as another:
            assert await another.handle("healthy", works).result() == [0, 1]

    simulate(program)


def test_what_dead_workers_left_is_taken_over_within_the_concurrency() -> None:
    """Though each is marked in the database before it is in memory."""

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[works_long]))
        handles = [await engine.start(works_long, 30) for _ in range(12)]
        await asyncio.sleep(0.5)
        kill(engine)
        for row in store.workers():
            store.retire(row.worker)
        async with Engine(store, host=host.sibling(), workflows=[works_long], concurrency=3) as another:
            for _ in range(20):
                await asyncio.sleep(5)
                assert sum(head.token is not None for head in store.heads([one.id for one in handles]) if head) <= 3
            assert [await another.handle(one.id).result() for one in handles] == [30] * 12

    simulate(program)


def test_takeovers_of_workflows_that_only_wait_do_not_count() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with everlog.Client(store, host=host.sibling()) as client:
            handle = await client.start(listens)
            for _ in range(8):
                engine = await opened(Engine(store, host=host.sibling(), workflows=[listens]))
                await in_state(handle, "waiting")
                kill(engine)
                await asyncio.sleep(15)
            async with Engine(store, host=host.sibling(), workflows=[listens]):
                await handle.send("news", 1)
                await handle.send("news", 2)
                assert await handle.result() == [1, 2]

    simulate(program)


# -- corrupt and foreign rows


def test_a_workflow_whose_history_cannot_be_read_is_stuck_and_the_others_run() -> None:
    class Garbled(FlakyStore):
        def claim(self, request: Any) -> Any:
            answer = super().claim(request)
            for claimed in answer.claimed:
                if claimed.head.workflow_id == "bad":
                    claimed.history[0] = everlog.store.EventRow(1, "workflow_created", 1, b'{"type":"from_the_future"}')
            return answer

    host = SimulatedHost(0)

    async def program() -> None:
        store = Garbled(make_store(host))
        async with everlog.Client(store, host=host.sibling()) as client:
            for name in ("a", "bad", "c"):
                await client.start(works.options(id=name), 1)
        async with Engine(store, host=host, workflows=[works]) as engine:
            assert await engine.handle("a").result(timeout=30) == [0]
            assert await engine.handle("c").result(timeout=30) == [0]
            await in_state(engine.handle("bad"), "stuck")

    host.run(program())


def test_a_worker_row_of_another_kind_is_only_judged_by_its_lease() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        store.register(WorkerRow(worker="foreign", process="not json", lease_until=store.now() + 10**12))
        async with Engine(store, host=host, workflows=[works]) as engine:
            assert await engine.run(works, 1) == [0]
            await asyncio.sleep(60)
            assert "foreign" in await _workers(engine)

    simulate(program)


def test_sending_to_what_ended_elsewhere_is_not_found() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(works, 1)
        await handle.result()
        with pytest.raises(NotFound):
            await handle.send("news", 1)

    run(program, workflows=[works])
