"""Retries: attempts, back-off and timeouts, which outlast the process that counts them."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest

import everlog
from everlog import Engine, RetryPolicy, StepFailed, StepTimeout, UsageError, WorkflowFailed, step, workflow
from everlog.core.retry import next_delay
from everlog.testing.simulation import SimulatedHost
from tests.support import events_of, in_state, kill, kinds, make_store, on_both_stores, opened, run, simulate, until

CALLS: list[tuple[int, float]] = []
STEADY = RetryPolicy(max_attempts=4, first_delay=10, backoff=1, jitter=0)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


def note() -> int:
    number = everlog.current().attempt
    CALLS.append((number, asyncio.get_running_loop().time()))
    return number


@step(retry=STEADY)
async def succeeds_in_the_fourth() -> int:
    if note() < 4:
        raise ConnectionError(f"attempt {everlog.current().attempt}")
    return everlog.current().attempt


@workflow
async def persists() -> int:
    return await succeeds_in_the_fourth()


@on_both_stores
def test_attempts_and_their_back_off_are_recorded(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(persists)
        await until(lambda: len(CALLS) == 2)
        await asyncio.sleep(1)
        assert "succeeds_in_the_fourth" in (await handle.status()).why
        assert "3rd time" in (await handle.status()).why
        assert (await handle.status()).state == "waiting"
        assert await handle.result() == 4
        failed = await events_of(engine, handle.id, "step_attempt_failed")
        assert [event.data["attempt"] for event in failed] == [1, 2, 3]
        assert [event.data["error"]["message"] for event in failed] == ["attempt 1", "attempt 2", "attempt 3"]
        assert "input" in failed[0].data
        assert "input" not in failed[1].data
        (completed,) = await events_of(engine, handle.id, "step_completed")
        assert completed.data["attempt"] == 4
        started = await events_of(engine, handle.id, "step_started")
        assert [event.data["attempt"] for event in started] == [2, 3, 4]  # after being parked: of a first one it is not

    run(program, kind=kind, folder=tmp_path, workflows=[persists])
    waited = [later - earlier for (_, earlier), (_, later) in pairwise(CALLS)]
    assert all(10 <= pause < 10.1 for pause in waited)


@pytest.mark.parametrize("killed_after", [0.5, 10.5, 20.5, 29])
def test_a_back_off_that_outlives_its_process_ends_at_its_time(killed_after: float) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[persists], lease=1))
        await first.start(persists.options(id="flow"))
        await asyncio.sleep(killed_after)
        kill(first)
        await asyncio.sleep(2)
        async with Engine(store, host=host.sibling(), workflows=[persists]) as second:
            assert await second.handle("flow").result() == 4
        assert [number for number, _ in CALLS] == [1, 2, 3, 4]
        times = [at for _, at in CALLS]
        due = [0.0, 10.0, 20.0, 30.0]
        for at, expected in zip(times, due, strict=True):
            assert expected <= at < expected + 2.5

    simulate(program)


def test_a_back_off_that_ended_while_no_engine_ran_is_over_when_one_opens() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[persists]) as first:
            await first.start(persists.options(id="flow"))
            await asyncio.sleep(5)
        await asyncio.sleep(1000)
        async with Engine(store, host=host.sibling(), workflows=[persists]) as second:
            await asyncio.sleep(1)
            assert len(CALLS) == 2
            await second.cancel("flow")

    simulate(program)


def test_a_back_off_that_is_waited_for_is_not_cut_short_by_other_facts() -> None:
    @workflow(name="busy_while_it_backs_off")
    async def busy() -> list[int]:
        async def ticks() -> int:
            for _ in range(50):
                await asyncio.sleep(0.7)
            return 0

        return await asyncio.gather(succeeds_in_the_fourth(), ticks())

    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        for _ in range(4):
            engine = await opened(Engine(store, host=host.sibling(), workflows=[busy], lease=1))
            if not CALLS:
                await engine.start(busy.options(id="flow"))
            await asyncio.sleep(7.3)
            kill(engine)
            await asyncio.sleep(1.5)
        async with Engine(store, host=host.sibling(), workflows=[busy]) as last:
            assert await last.handle("flow").result() == [4, 0]
        waited = [later - earlier for (_, earlier), (_, later) in pairwise(CALLS)]
        assert all(pause >= 9.99 for pause in waited)
        assert [number for number, _ in CALLS] == [1, 2, 3, 4]

    simulate(program)


@step(retry=RetryPolicy(max_attempts=3, first_delay=1, jitter=0))
async def never_succeeds() -> None:
    raise ConnectionError(f"attempt {note()}")


@workflow
async def gives_up() -> str:
    try:
        await never_succeeds()
    except ConnectionError as error:
        return str(error)
    return "succeeded"


def test_after_the_last_attempt_its_error_is_raised() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(gives_up)
        assert await handle.result() == "attempt 3"
        (failed,) = await events_of(engine, handle.id, "step_failed")
        assert failed.data["attempt"] == 3

    run(program, workflows=[gives_up])
    assert len(CALLS) == 3


class Fatal(Exception):
    pass


@step(
    retry=RetryPolicy(max_attempts=None, first_delay=1, retry_on=(OSError, ValueError), give_up_on=(FileNotFoundError,))
)
async def raises_by_turns(errors: list[str]) -> str:
    number = note()
    if number > len(errors):
        return "done"
    kind: Any = {"os": OSError, "file": FileNotFoundError, "value": ValueError, "key": KeyError, "fatal": Fatal}
    raise kind[errors[number - 1]]("raised")


@workflow
async def by_turns(errors: list[str]) -> str:
    try:
        return await raises_by_turns(errors)
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("errors", "end", "attempts"),
    [
        (["os", "value", "os"], "done", 4),
        (["os", "file", "os"], "FileNotFoundError", 2),
        (["key"], "KeyError", 1),
        (["value", "fatal"], "Fatal", 2),
    ],
)
def test_only_what_the_policy_names_is_retried(errors: list[str], end: str, attempts: int) -> None:
    async def program(engine: Engine) -> str:
        return await engine.run(by_turns, errors)

    assert run(program, workflows=[by_turns]) == end
    assert len(CALLS) == attempts


def test_a_step_without_a_policy_has_one_attempt() -> None:
    @step
    async def fails() -> None:
        note()
        raise ValueError

    @workflow(name="has_one_attempt")
    async def flow() -> None:
        await fails()

    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="ValueError"):
            await engine.run(flow)

    run(program, workflows=[flow])
    assert len(CALLS) == 1


def test_options_override_the_policy_of_the_definition() -> None:
    @workflow(name="overrides")
    async def flow() -> str:
        try:
            await never_succeeds.options(retry=None)()
        except ConnectionError as error:
            return str(error)
        return ""

    async def program(engine: Engine) -> str:
        return await engine.run(flow)

    assert run(program, workflows=[flow]) == "attempt 1"


def test_delays_grow_up_to_their_cap_and_jitter_stays_within_its_fraction() -> None:
    policy = RetryPolicy(max_attempts=None, first_delay=1, backoff=2, max_delay=60, jitter=0.1)
    error = ValueError()
    for attempt in (1, 2, 3, 7, 50, 100_000):
        plain = min(2 ** min(attempt - 1, 60), 60) * 1_000_000
        delays = [next_delay(policy, attempt, error, chance / 100) or 0 for chance in range(100)]
        assert min(delays) >= plain * 0.9 - 1
        assert max(delays) <= min(plain * 1.1 + 1, 60_000_000)
        assert len(set(delays)) > 10
    assert next_delay(RetryPolicy(max_attempts=2), 2, error, 0) is None
    assert next_delay(RetryPolicy(jitter=0, first_delay=0), 1, error, 0.5) == 0


def test_the_jitter_comes_from_the_host_so_that_a_seed_gives_one_run() -> None:
    @step(retry=RetryPolicy(max_attempts=3, first_delay=1, jitter=1))
    async def fails() -> None:
        raise ValueError

    @workflow(name="jitters")
    async def flow() -> None:
        await fails()

    def delays(seed: int) -> list[int]:
        async def program(engine: Engine) -> list[int]:
            handle = await engine.start(flow)
            with pytest.raises(WorkflowFailed):
                await handle.result()
            return [event.data["retry_at"] for event in await events_of(engine, handle.id, "step_attempt_failed")]

        return run(program, workflows=[flow], seed=seed)

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"first_delay": -1},
        {"first_delay": float("nan")},
        {"first_delay": float("inf")},
        {"max_delay": -1},
        {"backoff": 0.5},
        {"backoff": float("nan")},
        {"jitter": 2},
        {"jitter": float("nan")},
        {"retry_on": ("ValueError",)},
        {"retry_on": ValueError()},
        {"give_up_on": (object(),)},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        RetryPolicy(**wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_one_type_stands_for_a_tuple_of_one() -> None:
    policy = RetryPolicy(retry_on=ValueError, give_up_on=UnicodeError, jitter=0)  # type: ignore[arg-type]
    assert next_delay(policy, 1, ValueError(), 0) == 1_000_000
    assert next_delay(policy, 1, KeyError(), 0) is None
    assert next_delay(policy, 1, UnicodeError(), 0) is None


# -- timeouts


@step(timeout=5, retry=RetryPolicy(max_attempts=2, first_delay=1, jitter=0))
async def hangs() -> None:
    note()
    try:
        await asyncio.sleep(3600)
    finally:
        CALLS.append((-1, asyncio.get_running_loop().time()))


@workflow
async def meets_a_hanging_step() -> str:
    try:
        await hangs()
    except StepTimeout as error:
        return str(error)
    return "returned"


def test_a_timeout_is_per_attempt_and_retried_by_the_policy() -> None:
    async def program(engine: Engine) -> str:
        return await engine.run(meets_a_hanging_step)

    assert run(program, workflows=[meets_a_hanging_step]) == (
        "attempt 2 of step 'hangs' took longer than its timeout of 5 s"
    )
    assert [number for number, _ in CALLS] == [1, -1, 2, -1]
    assert 5 <= CALLS[1][1] - CALLS[0][1] < 5.1


@step(timeout=100)
async def raises_a_timeout_of_its_own() -> None:
    async with asyncio.timeout(1):
        await asyncio.sleep(10)


@workflow
async def meets_a_timeout_of_the_step() -> str:
    try:
        await raises_a_timeout_of_its_own()
    except TimeoutError as error:
        return type(error).__name__
    return "returned"


def test_a_timeout_inside_a_step_is_the_steps_own_error() -> None:
    async def program(engine: Engine) -> str:
        return await engine.run(meets_a_timeout_of_the_step)

    assert run(program, workflows=[meets_a_timeout_of_the_step]) == "TimeoutError"


NOTICED: list[bool] = []


@step(timeout=0.1)
def hangs_in_a_thread() -> None:
    while not everlog.current().cancelled:
        time.sleep(0.005)
    NOTICED.append(True)


@workflow
async def meets_a_hanging_thread() -> str:
    try:
        await everlog.call(hangs_in_a_thread)
    except StepTimeout as error:
        return str(error)
    return "returned"


def test_a_thread_that_takes_too_long_is_left_behind_and_can_see_that() -> None:
    async def main() -> str:
        async with Engine("memory://", workflows=[meets_a_hanging_thread]) as engine:
            said = await engine.run(meets_a_hanging_thread)
            for _ in range(200):
                if NOTICED:
                    break
                await asyncio.sleep(0.01)
            return said

    assert "hangs_in_a_thread" in asyncio.run(main())
    assert NOTICED == [True]


def test_the_timeout_of_a_plain_step_counts_from_when_its_thread_began() -> None:
    @step(timeout=0.3)
    def naps() -> str:
        time.sleep(0.2)
        return "rested"

    @workflow(name="queues_for_a_thread")
    async def flow() -> list[str]:
        return await asyncio.gather(*(everlog.call(naps) for _ in range(3)))

    async def main() -> list[str]:
        async with Engine("memory://", workflows=[flow], step_threads=1) as engine:
            return await engine.run(flow)

    assert asyncio.run(main()) == ["rested"] * 3


# -- at most once


@step(at_most_once=True, retry=STEADY)
async def runs_each_attempt_once() -> int:
    if note() < 3:
        raise ConnectionError
    await asyncio.sleep(5)
    return 3


@workflow
async def runs_once() -> str:
    try:
        return str(await runs_each_attempt_once())
    except everlog.StepInterrupted as error:
        return str(error)


def test_each_attempt_of_an_at_most_once_step_writes_its_start_first() -> None:
    async def program(engine: Engine) -> list[str]:
        handle = await engine.start(runs_once)
        assert await handle.result() == "3"
        return [kind for kind in await kinds(handle) if kind.startswith("step")]

    started, failed = "step_started", "step_attempt_failed"
    assert run(program, workflows=[runs_once]) == [started, failed, started, failed, started, "step_completed"]


def test_killed_in_the_back_off_of_an_at_most_once_step_it_goes_on() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[runs_once], lease=1))
        await first.start(runs_once.options(id="flow"))
        await asyncio.sleep(15)
        kill(first)
        await asyncio.sleep(2)
        second = await opened(Engine(store, host=host.sibling(), workflows=[runs_once], lease=1))
        await asyncio.sleep(5)
        assert len(CALLS) == 3
        kill(second)
        await asyncio.sleep(2)
        async with Engine(store, host=host.sibling(), workflows=[runs_once]) as third:
            assert "attempt 3" in await third.handle("flow").result()
        assert [number for number, _ in CALLS] == [1, 2, 3]

    simulate(program)


def test_a_retried_step_that_is_cancelled_in_its_back_off_is_closed() -> None:
    @workflow(name="loses_patience")
    async def flow() -> str:
        try:
            async with asyncio.timeout(15):
                await succeeds_in_the_fourth()
        except TimeoutError:
            await asyncio.sleep(100)
            return "lost patience"
        return "persisted"

    async def program(engine: Engine) -> None:
        handle = await engine.start(flow)
        assert await handle.result() == "lost patience"
        assert "step_cancelled" in await kinds(handle)
        assert len(CALLS) == 2

    run(program, workflows=[flow])


def test_a_step_that_cannot_be_found_again_as_an_exception_is_retried_all_the_same() -> None:
    class Local(Exception):
        pass

    @step(retry=RetryPolicy(max_attempts=2, first_delay=1, retry_on=(Local,)))
    async def raises_local() -> None:
        note()
        raise Local("local")

    @workflow(name="meets_local")
    async def flow() -> str:
        try:
            await raises_local()
        except StepFailed as error:
            return str(error)
        return "returned"

    async def program(engine: Engine) -> str:
        handle = await engine.start(flow)
        await in_state(handle, "completed")
        return await handle.result()

    assert run(program, workflows=[flow]).endswith("Local: local")
    assert len(CALLS) == 2
