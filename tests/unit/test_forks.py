"""Forks: a new workflow from the first part of another's history, which is not changed."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Client, Engine, Handle, IdInUse, NotFound, UsageError, WorkflowFailed, step, workflow
from everlog.memory import MemoryStore
from everlog.runtime.portable import export_lines, import_lines
from everlog.store import Store
from everlog.store_moving import SupportsMoving
from everlog.testing import FaultyStore
from everlog.testing.faults import Fault
from everlog.testing.simulation import SimulatedHost
from tests.support import PausableHost, kill, on_both_stores, opened, projections_fit, published_fits, run, simulate

ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


@step
async def guess(question: str) -> int:
    ran[f"guess {question}"] += 1
    return len(question)


@step
async def double(number: int) -> int:
    ran[f"double {number}"] += 1
    return 2 * number


@workflow
async def fan_out(questions: list[str]) -> list[int]:
    async def branch(question: str) -> int:
        return await double.options(key=question)(await guess.options(key=question)(question))

    return list(await asyncio.gather(*[branch(question) for question in questions]))


@workflow
async def conversation(rounds: int) -> list[str]:
    return [await everlog.recv("talk", type=str) for _ in range(rounds)]


async def rows_of(handle: Handle[Any]) -> list[Any]:
    return list(await handle.history())


async def seq_of(handle: Handle[Any], kind: str, number: int = 0) -> int:
    """Give the seq of the n-th event of a type."""
    return [event.seq for event in await handle.history() if event.type == kind][number]


@on_both_stores
def test_a_fork_at_every_seq_returns_what_its_source_did(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out.options(id="source"), ["a", "bb", "ccc"])
        result, before = await handle.result(), await rows_of(handle)
        for at in (None, *range(1, len(before) + 1)):
            ran.clear()
            fork = await handle.fork(at=at, id=f"fork-{at}")
            assert await fork.result() == result
            kept = min(at or len(before), len(before) - 1)
            copied = (await rows_of(fork))[:kept]
            assert copied[1:] == before[1:kept]
            done = sum(event.type == "step_completed" for event in before[:kept])
            assert ran.total() == 6 - done
        assert await rows_of(handle) == before

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_just_what_depends_on_what_was_replaced_runs_again(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out, ["a", "bb", "ccc"])
        assert await handle.result() == [2, 4, 6]
        ran.clear()
        fork = await handle.fork(replace={"guess@bb": 50})
        assert await fork.result() == [2, 100, 6]
        assert ran == {"double 50": 1}

    run(program, kind=kind, folder=tmp_path)


def test_in_a_fan_out_just_the_unfinished_and_the_edited_branches_run_again() -> None:
    async def program(engine: Engine) -> None:
        questions = [letter * number for number, letter in enumerate("abcdefgh", start=1)]
        handle = await engine.start(fan_out, questions)
        await handle.result()
        doubles = [event for event in await handle.history() if event.type == "step_completed"][8:]
        assert len(doubles) == 8
        unfinished = {event.data["input"]["number"] for event in doubles[5:]}
        edited = doubles[1].data["input"]["number"]
        question = questions[edited - 1]
        ran.clear()
        fork = await handle.fork(at=doubles[4].seq, replace={f"guess@{question}": 1000})
        assert sorted(await fork.result()) == sorted([2 * n for n in range(1, 9) if n != edited] + [2000])
        assert ran == {f"double {number}": 1 for number in {*unfinished, 1000}}

    run(program)


def test_a_fork_says_where_it_comes_from_and_is_listed_by_that() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out.options(id="source", attributes={"team": "blue"}), ["a"])
        await handle.result()
        fork = await handle.fork(id="fork", replace={"guess@a": 7})
        await fork.result()
        status = await fork.status()
        assert (status.forked_from, status.parent_id, status.attributes) == ("source", None, {"team": "blue"})
        (forked,) = [event for event in await fork.history() if event.type == "workflow_forked"]
        assert (forked.data["source"], forked.data["at"]) == ("source", forked.seq - 1)
        assert forked.data["replaced"] == [await seq_of(handle, "step_completed")]
        assert [one.id for one in await engine.workflows(forked_from="source")] == ["fork"]
        assert [one.forked_from for one in await engine.workflows(forked_from="source")] == ["source"]
        assert (await handle.status()).forked_from is None

    run(program)


def test_a_failed_workflow_is_forked_with_the_failure_replaced() -> None:
    @step
    async def ask_model(question: str) -> str:
        ran[f"ask {question}"] += 1
        raise ValueError("the model is down")

    @workflow
    async def agent(question: str) -> str:
        answer = await ask_model(question)
        return f"{answer}!"

    async def program(engine: Engine) -> None:
        handle = await engine.start(agent, "why")
        with pytest.raises(WorkflowFailed):
            await handle.result()
        assert await (await handle.fork(replace={"ask_model": "because"})).result() == "because!"
        with pytest.raises(WorkflowFailed, match="KeyError"):
            await (await handle.fork(replace={"ask_model": KeyError("none")})).result()
        assert ran == {"ask why": 1}

    run(program)


def test_a_result_that_does_not_fit_the_step_is_refused_and_nothing_is_made() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out, ["a"])
        await handle.result()
        with pytest.raises(UsageError, match="guess@a"):
            await handle.fork(id="fork", replace={"guess@a": "seven"})
        with pytest.raises(NotFound):
            await engine.handle("fork").status()

    run(program)


def test_the_input_is_replaced_by_its_arguments() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out, ["a", "bb"])
        await handle.result()
        ran.clear()
        fork = await handle.fork(replace={"input": {"questions": ["a", "ccc"]}})
        assert await fork.result() == [2, 6]
        assert ran == {"guess ccc": 1, "double 3": 1}
        with pytest.raises(UsageError, match="no parameter 'answers'"):
            await handle.fork(replace={"input": {"answers": []}})

    run(program)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"at": 99}, "the events 1 to"),
        ({"at": 0}, "none of seq 0"),
        ({"at": "nothing"}, "no outcome of an operation 'nothing'.*guess@a"),
        ({"replace": {"guess@zz": 1}}, "guess@a"),
        ({"replace": {"guess": 1}}, "2 operations called 'guess'"),
        ({"replace": {2: 1}}, "workflow_began"),
        ({"at": 2, "replace": {"guess@a": 1}}, "no outcome of an operation 'guess@a'"),
        ({"messages": "lose"}, "'keep' or 'drop'"),
        ({"children": "sell"}, "'rerun' or 'keep'"),
        ({"replace": [1]}, "must map"),
        ({"at": 1.5}, "seq of an event"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_nearby(wanted: dict[str, Any], said: str) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out, ["a", "bb"])
        await handle.result()
        with pytest.raises(UsageError, match=said):
            await handle.fork(**wanted)

    run(program)


def test_the_same_fork_is_made_once_and_another_of_its_id_is_refused() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out.options(id="source"), ["a", "bb"])
        await handle.result()
        made = await asyncio.gather(*[handle.fork(id="fork", replace={"guess@a": 5}) for _ in range(4)])
        assert [await one.result() for one in made] == [[10, 4]] * 4
        for other in ({"replace": {"guess@a": 6}}, {"at": 3}, {"replace": {"guess@a": 5}, "messages": "drop"}):
            with pytest.raises(IdInUse):
                await handle.fork(id="fork", **other)  # type: ignore[arg-type]  # spelled out above
        with pytest.raises(IdInUse):
            await handle.fork(id="source")
        with pytest.raises(NotFound):
            await engine.handle("nobody").fork()

    run(program)


def test_what_follows_from_another_path_is_not_taken_over() -> None:
    @step
    async def decide() -> bool:
        return False

    @step
    async def act(what: str) -> str:
        ran[what] += 1
        return what

    @workflow
    async def deciding() -> list[str]:
        done: list[str] = []
        if await decide():
            done.append(await act("refund"))
        done.append(await act.options(key="last")("tell"))
        return done

    async def program(engine: Engine) -> None:
        handle = await engine.start(deciding)
        assert await handle.result() == ["tell"]
        ran.clear()
        assert await (await handle.fork(replace={"decide": True})).result() == ["refund", "tell"]
        assert ran == {"refund": 1, "tell": 1}

    run(program)


@on_both_stores
@pytest.mark.parametrize("messages", ["keep", "drop"])
def test_messages_after_the_cut_are_kept_in_their_order_or_dropped(kind: str, tmp_path: Path, messages: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(conversation, 3)
        await handle.pause()
        for text in ("one", "two", "three", "unread"):
            await handle.send("talk", text)
        await handle.resume()
        assert await handle.result() == ["one", "two", "three"]
        fork = await handle.fork(at=await seq_of(handle, "message_received"), messages=messages)
        if messages == "drop":
            await fork.send("talk", "other")
            await fork.send("talk", "another")
        expected = {"keep": ["one", "two", "three"], "drop": ["one", "other", "another"]}
        assert await fork.result() == expected[messages]

    run(program, kind=kind, folder=tmp_path)


def test_a_message_is_replaced() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(conversation, 2)
        await handle.send("talk", "one")
        await handle.send("talk", "two")
        assert await handle.result() == ["one", "two"]
        second = await seq_of(handle, "message_received", 1)
        assert await (await handle.fork(replace={second: "zwei"})).result() == ["one", "zwei"]

    run(program)


def test_a_wait_whose_time_is_over_still_gets_the_message_that_came_in_time() -> None:
    @workflow
    async def patient() -> str:
        said: str = await everlog.recv("answer", type=str, timeout=60, default="nothing")
        await asyncio.sleep(100)
        return said

    async def program(engine: Engine) -> None:
        handle = await engine.start(patient)
        await asyncio.sleep(1)
        await handle.send("answer", "yes")
        assert await handle.result() == "yes"
        fork = await handle.fork(at=await seq_of(handle, "workflow_began"))
        assert await fork.result() == "yes"

    run(program)


def test_a_running_workflow_is_forked_and_neither_hears_of_the_other() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(conversation, 2)
        await handle.send("talk", "one")
        await asyncio.sleep(1)
        fork = await handle.fork()
        await handle.send("talk", "here")
        await fork.send("talk", "there")
        assert await handle.result() == ["one", "here"]
        assert await fork.result() == ["one", "there"]

    run(program)


@on_both_stores
def test_values_and_streams_are_as_they_were_at_the_cut(kind: str, tmp_path: Path) -> None:
    @step
    async def talk(word: str) -> None:
        await everlog.emit("words", word)

    @workflow
    async def talking() -> None:
        for number, word in enumerate(("a", "b", "c")):
            await talk(word)
            await everlog.set_value("number", number)
            await everlog.emit("own", number)
            await asyncio.sleep(1)

    async def program(engine: Engine) -> None:
        handle = await engine.start(talking)
        await handle.result()
        second = await seq_of(handle, "timer_fired", 1)
        stopped = await handle.fork(at=second, id="fork")
        assert await stopped.get_value("number") >= 1
        await stopped.result()
        for one in (handle, stopped):
            assert await one.values() == {"number": 2}
            assert [word async for word in one.stream("words", type=str)] == ["a", "b", "c"]
            assert [number async for number in one.stream("own", type=int)] == [0, 1, 2]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_is_stored_of_a_fork_is_what_its_history_says(kind: str, tmp_path: Path) -> None:
    @workflow
    async def showing(words: list[str]) -> int:
        for word in words:
            await everlog.set_value("word", word)
            await everlog.emit("words", word)
            await guess(word)
        return len(words)

    async def program(engine: Engine) -> None:
        handle = await engine.start(showing.options(attributes={"a": 1}), ["a", "bb", "ccc"])
        await handle.result()
        for at in range(1, (await handle.status()).history_length + 1):
            fork = await handle.fork(at=at)
            await fork.result()
            await engine.on_thread(partial(projections_fit, engine.store, fork.id))
            await engine.on_thread(partial(published_fits, engine.store, fork.id))
            await engine.on_thread(partial(travels, engine.store, fork.id))

    run(program, kind=kind, folder=tmp_path)


def travels(store: Store, workflow_id: str) -> None:
    """Check that an exported fork is imported as it is, with what lists it among the forks of its source."""
    assert isinstance(store, SupportsMoving)
    (rows,) = store.rows_of([workflow_id])
    assert list(import_lines(export_lines(rows)).attributes) == list(rows.attributes)


def test_timers_keep_their_times_and_the_timeout_counts_anew() -> None:
    @workflow(timeout=100)
    async def sleepy() -> float:
        await asyncio.sleep(90)
        return everlog.now().timestamp() - everlog.current().started_at.timestamp()

    async def program(engine: Engine) -> None:
        handle = await engine.start(sleepy)
        assert await handle.result() == pytest.approx(90, abs=1)
        await asyncio.sleep(1000)
        fork = await handle.fork(at=await seq_of(handle, "workflow_began"))
        assert await fork.result() > 1000

    run(program)


@on_both_stores
def test_forks_of_forks_and_of_what_is_left_out_there(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(fan_out, ["a", "bb"])
        await handle.result()
        one = await handle.fork(replace={"guess@a": 10})
        assert await one.result() == [20, 4]
        for at in range(2, (await one.status()).history_length):
            two = await one.fork(at=at)
            kept = [event.seq for event in await one.history() if event.type == "step_completed"]
            assert await two.result() == ([20, 4] if at >= kept[0] else [2, 4])
        ran.clear()
        three = await one.fork(replace={"guess@bb": 7})
        assert await three.result() == [20, 14]
        assert ran == {"double 7": 1}

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_workflow_that_continued_is_forked_in_any_of_its_lives(kind: str, tmp_path: Path) -> None:
    @workflow
    async def counting(number: int, words: list[str]) -> list[str]:
        await guess(f"{number}")
        await everlog.set_value("number", number)
        if number < 3:
            everlog.continue_as_new(counting, number + 1, [*words, f"{number}"])
        return words

    async def program(engine: Engine) -> None:
        handle = await engine.start(counting, 0, [])
        result = await handle.result()
        length = len(await rows_of(handle))
        for at in range(1, length + 1):
            fork = await handle.fork(at=at)
            assert await fork.result() == result, at
            assert await fork.get_value("number") == 3
            assert (await fork.status()).forked_from == handle.id
        ran.clear()
        last = await handle.fork(replace={"guess": 0})
        assert await last.result() == result
        assert ran == {}

    run(program, kind=kind, folder=tmp_path)


def test_a_workflow_that_was_retried_is_forked_anywhere() -> None:
    fails = {"now": True}

    @step
    async def shaky(word: str) -> str:
        ran[word] += 1
        if word == "bb" and fails["now"]:
            raise ValueError("not now")
        return word

    @workflow
    async def retried() -> list[str]:
        heard = await everlog.recv("word", type=str)
        return [await shaky("a"), await shaky("bb"), heard]

    async def program(engine: Engine) -> None:
        handle = await engine.start(retried)
        await handle.send("word", "hey")
        with pytest.raises(WorkflowFailed):
            await handle.result()
        fails["now"] = False
        await handle.retry()
        assert await handle.result() == ["a", "bb", "hey"]
        for at in range(1, len(await rows_of(handle)) + 1):
            ran.clear()
            fork = await handle.fork(at=at)
            kept = [event for event in await fork.history() if event.seq <= at]
            if any(event.type == "step_failed" for event in kept) and not any(
                event.type == "workflow_rewound" for event in kept
            ):
                with pytest.raises(WorkflowFailed):
                    await fork.result()
                await fork.retry()
            assert await fork.result() == ["a", "bb", "hey"]

    run(program)


def test_a_fork_of_a_cancelled_workflow_goes_on_before_its_end() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(conversation, 1)
        await asyncio.sleep(1)
        await handle.terminate(reason="wrong")
        fork = await handle.fork()
        await fork.send("talk", "still here")
        assert await fork.result() == ["still here"]

    run(program)


def test_chance_is_drawn_as_before() -> None:
    @workflow
    async def drawing() -> tuple[int, str]:
        first = everlog.random().randrange(10**9)
        await guess(str(first))
        return first, str(everlog.uuid4())

    async def program(engine: Engine) -> None:
        handle = await engine.start(drawing)
        result = await handle.result()
        assert await (await handle.fork(at=2)).result() == result

    run(program)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fork_whose_commit_is_lost_is_made_by_the_next_call(when: Any) -> None:
    async def program(engine: Engine) -> None:
        store = engine.store
        assert isinstance(store, FaultyStore)
        handle = await engine.start(fan_out, ["a"])
        await handle.result()
        store.faults.append(Fault(commit=store.commits + 1, when=when))
        with pytest.raises(everlog.StoreUnavailable):
            await handle.fork(id="fork", replace={"guess@a": 3})
        fork = await handle.fork(id="fork", replace={"guess@a": 3})
        assert await fork.result() == [6]
        assert len(await engine.workflows()) == 2

    run(program, store=lambda store: FaultyStore(store))


def test_without_the_code_all_that_follows_is_done_again() -> None:
    host = SimulatedHost(1)

    @workflow
    async def gone(words: list[str]) -> list[int]:
        return [await guess(word) for word in words]

    async def main() -> None:
        store: Store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host, workflows=[gone]) as engine:
            handle = await engine.start(gone.options(id="source"), ["a", "bb", "ccc"])
            await handle.result()
            ran.clear()
            from everlog.replay import registry

            known = registry._registry.pop(gone.name)
            fork = await handle.fork(replace={"guess#2": 20})
            with pytest.raises(UsageError, match="not known here"):
                await handle.fork(at=5, replace={"guess": 20})
            other = await handle.fork(replace={"input": {"words": ["d"]}})
            registry._registry[gone.name] = known
            assert await fork.result() == [1, 20, 3]
            assert await other.result() == [1]
            assert ran == {"guess ccc": 1, "guess d": 1}

    host.run(main())


def test_a_store_that_copies_nothing_says_so() -> None:
    class Plain:
        """Only what every store has."""

        def __init__(self) -> None:
            self._store = MemoryStore()

        def __getattr__(self, name: str) -> Any:
            if name in ("fork", "read_types"):
                raise AttributeError(name)
            return getattr(self._store, name)

    async def main() -> None:
        store: Any = Plain()
        async with Client(store) as client:
            with pytest.raises(UsageError, match="SupportsForks"):
                await client.handle("source").fork()

    asyncio.run(main())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fork_survives_the_death_of_its_process_at_any_commit(when: Any) -> None:
    dead: list[Engine] = []  # nothing of them is collected meanwhile

    async def die_at(host: PausableHost, number: int) -> bool:
        """Make a fork, and have the process die at its n-th commit; say whether there was one."""
        store, dying = MemoryStore(clock=host.wall), host.sibling()
        async with Engine(store, host=host.sibling()) as engine:
            handle = await engine.start(fan_out.options(id="source"), ["a", "bb", "ccc"])
            await handle.result()
        before = store.read("source")
        faulty = FaultyStore(store, Fault(commit=number, when=when, kind="crash"))
        first = await opened(Engine(faulty, host=dying))
        made = asyncio.create_task(forked(first))
        await asyncio.sleep(5)
        happened = faulty.crashed
        kill(first)
        made.cancel()
        dead.append(first)
        async with Engine(store, host=host.sibling()) as engine:
            assert await forked(engine) == [2, 100, 6]
        assert store.read("source") == before
        done = [row.type for row in store.read("fork")].count("step_completed")
        assert done == 6 + 1, "each once, and the one that does not count any more"
        return happened

    async def forked(engine: Engine) -> list[int]:
        fork = await engine.handle("source", fan_out).fork(id="fork", replace={"guess@bb": 50})
        return await fork.result()

    async def program(host: PausableHost) -> None:
        number = 1
        while await die_at(host, number):
            number += 1
        assert number > 2

    simulate(program)
