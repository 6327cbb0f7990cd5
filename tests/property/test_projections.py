"""Projections: what heads say is what their histories say, at every moment of random runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

import everlog
from everlog import AskRefused, Engine, NotFound, Request, RetryPolicy, UsageError, step, workflow
from everlog.core.attributes import GivenAttributes
from tests.property.databases import LONG, Database
from tests.property.recording import MEMORY
from tests.support import PausableHost, kill, opened, projections_fit, published_fits, simulate

PARTS = ["step", "failing", "sleep", "recv", "recv_timeout", "race", "shielded", "send", "titled", "ask", "answer"]
Plan = list[list[str]]


@step
async def works() -> str:
    await asyncio.sleep(0.5)
    return "worked"


@step(retry=RetryPolicy(max_attempts=2, first_delay=3, jitter=0))
async def fails() -> str:
    raise ConnectionError


async def part(name: str) -> None:
    match name:
        case "step":
            await works()
        case "failing":
            with suppress(ConnectionError):
                await fails()
        case "sleep":
            await asyncio.sleep(2)
        case "recv":
            await everlog.recv("news")
        case "recv_timeout":
            await everlog.recv("news", timeout=3, default=None)
        case "titled":
            await everlog.recv("news", title="Any news?", metadata={"n": 1}, timeout=20, default=None)
        case "ask":
            with suppress(NotFound, AskRefused, TimeoutError):
                await everlog.ask("flow-0", "question", 1, timeout=4)
        case "answer":
            request = await everlog.recv("question", type=Request[int], timeout=2, default=None)
            if request is not None and request.value:
                await request.reply(2)
        case "race":
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.gather(everlog.recv("never"), works(), fails())
        case "shielded":
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(5)
            await works()
        case _:
            with suppress(NotFound):
                await everlog.send(everlog.current().workflow_id, "news", 1)


@workflow
async def follows(plan: Plan) -> int:
    for together in plan:
        await asyncio.gather(*(part(name) for name in together))
    return len(plan)


PLANS = st.lists(st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), max_size=4), min_size=1, max_size=3)
OUTSIDE = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "ask", "answer", "cancel", "kill", "update", "update", "retry"]),
        st.floats(0, 3),
    ),
    max_size=8,
)
CHANGES: list[GivenAttributes] = [{"n": 1}, {"n": 2, "tags": ["a", 1]}, {"tags": None, "o'hara ☃": True}]


@given(seed=st.integers(0, 2**32), plans=PLANS, outside=OUTSIDE)
def test_heads_equal_the_fold_of_their_histories(
    seed: int, plans: list[Plan], outside: list[tuple[str, float]]
) -> None:
    check_heads(MEMORY, seed, plans, outside)


@settings(max_examples=300 if LONG else 6)
@given(seed=st.integers(0, 2**32), plans=PLANS, outside=OUTSIDE)
def test_the_same_in_a_database_on_disk(
    database_on_disk: Database, seed: int, plans: list[Plan], outside: list[tuple[str, float]]
) -> None:
    check_heads(database_on_disk, seed, plans, outside)


def check_heads(database: Database, seed: int, plans: list[Plan], outside: list[tuple[str, float]]) -> None:
    """Run the plans amid what comes from outside; look at the heads all the time."""

    async def program(host: PausableHost) -> None:
        database.clean()
        store = database.open(host.wall)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[follows], lease=2))
        ids = [f"flow-{number}" for number in range(len(plans))]
        for workflow_id, plan in zip(ids, plans, strict=True):
            await engine.start(follows.options(id=workflow_id, attributes={"plan": workflow_id, "n": 0}), plan)
        for number, (what, pause) in enumerate([*outside, ("look", 1.0), ("look", 30.0)]):
            await asyncio.sleep(pause)
            for workflow_id in ids:
                projections_fit(store, workflow_id)
                published_fits(store, workflow_id)
            workflow_id = ids[number % len(ids)]
            if what == "send":
                with suppress(NotFound):
                    await engine.send(workflow_id, "news", number)
            elif what == "ask":
                with suppress(NotFound, AskRefused, TimeoutError):
                    await engine.ask(workflow_id, "question", number % 2, timeout=1)
            elif what == "answer":
                for wait in await engine.waits(workflow_id=workflow_id):
                    with suppress(NotFound):
                        await engine.answer(wait.token, number)
            elif what == "cancel":
                await engine.cancel(workflow_id)
            elif what == "retry":
                await engine.retry(workflow_id)
            elif what == "update":
                with suppress(UsageError):  # it has ended
                    await engine.handle(workflow_id).update(attributes=CHANGES[number % len(CHANGES)])
            elif what == "kill":
                kill(engine)
                engine = await opened(Engine(store, host=host.sibling(), workflows=[follows], lease=2))
        await engine.cancel(*ids)
        await asyncio.sleep(60)
        for workflow_id in ids:
            projections_fit(store, workflow_id)
            (head,) = store.heads([workflow_id])
            assert head is not None
            assert head.ended_at is not None, head
        await engine.__aexit__(None, None, None)

    simulate(program, seed=seed)
