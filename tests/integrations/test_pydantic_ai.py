"""Agents of Pydantic AI on Everlog."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import strategies as st
from pydantic_ai import capabilities
from pydantic_ai.exceptions import UserError

from everlog import Client, Engine, Handle, StreamReset, WorkflowFailed
from everlog.core.event_codec import decode_event
from everlog.core.events import StepCompleted
from everlog.integrations.pydantic_ai import Decision, EventAnswer, EverlogDurability, agent_events, answer_event
from everlog.testing import ExploredRun, explore
from tests.integrations import support_desk

CALLS = ["call-0", "call-1", "call-2"]
SAID = [
    ["user-prompt", None, "hello"],
    *(["tool-call", call, None] for call in CALLS),
    *(["tool-return", call, f"item {number} of the shop"] for number, call in enumerate(CALLS)),
    ["tool-call", "call-3", None],
    ["tool-return", "call-3", "paid 700"],
    ["text", None, "done: paid 700"],
]


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def approve(client: Client | Engine, handle: Handle[Any]) -> None:
    """Approve what is asked, as soon as it is."""
    while not (waits := await client.waits(workflow_id=handle.id)):
        assert (await handle.status()).state in ("running", "waiting", "queued"), await handle.status()
        await asyncio.sleep(0.01)
    await client.answer(waits[0].token, Decision(approved=True))


def decoded(row: Any) -> Any:
    """Give the event of a row."""
    return decode_event(row[-1] if isinstance(row[-1], bytes) else bytes(row[-1]))


def once_each(run: ExploredRun) -> None:
    """Every result is at its own call, and each tool has ended once."""
    assert [[kind, call, content and content.strip()] for kind, call, content in run.result] == SAID
    (history,) = run.histories.values()
    ended = Counter(one.operation for one in map(decoded, history.rows) if isinstance(one, StepCompleted))
    assert set(ended.values()) == {1}
    assert {f"support.look_up@support/{call}" for call in CALLS} < ended.keys()


@pytest.mark.parametrize("workflow", [support_desk.quietly, support_desk.streamed], ids=["requests", "streams"])
@pytest.mark.parametrize(("crashes", "examples"), [("each", 1), ("some", 3)])
def test_a_crash_at_any_commit_and_other_delays_change_nothing(workflow: Any, crashes: Any, examples: int) -> None:
    explore(
        workflow,
        inputs=st.just("hello"),
        drive=approve,
        invariant=once_each,
        same=True,
        crashes=crashes,
        slowest=0.1,
        examples=examples,
    )


def operations(history: list[Any]) -> list[str]:
    """Give the steps that ended, in their order."""
    return [event.data["operation"] for event in history if event.type == "step_completed"]


@in_a_loop
async def test_a_fork_with_another_prompt_runs_only_the_last_request() -> None:
    support_desk.asked.clear()
    support_desk.ran.clear()
    async with Engine("memory://", workflows=[support_desk.bill], guards="raise") as engine:
        handle = await engine.start(support_desk.bill.options(id="bill"), "ann")
        with pytest.raises(WorkflowFailed):
            await handle.result()
        assert len(support_desk.asked) == 2
        support_desk.PROMPT.append("You are an accountant. Give totals in digits.")
        try:
            fork = await handle.fork(at="clerk.model@clerk#2")
            assert await fork.result() == 12
        finally:
            support_desk.PROMPT.pop()
    assert support_desk.ran == ["prices"]
    assert [kind for _, kind in support_desk.asked] == ["user-prompt", "tool-return", "tool-return"]
    assert "digits" in support_desk.asked[-1][0]


@in_a_loop
async def test_a_replaced_result_runs_again_what_came_of_it_and_nothing_else() -> None:
    support_desk.asked.clear()
    support_desk.ran.clear()
    support_desk.PROMPT.append("Give totals in digits.")
    try:
        async with Engine("memory://", workflows=[support_desk.bill]) as engine:
            handle = await engine.start(support_desk.bill, "bob")
            assert await handle.result() == 12
            fork = await handle.fork(replace={"clerk.prices@clerk/prices-1": {"kind": "tool_return", "result": [1, 2]}})
            assert await fork.result() == 12
    finally:
        support_desk.PROMPT.pop()
    assert support_desk.ran == ["prices"]
    assert len(support_desk.asked) == 3


@in_a_loop
async def test_sub_agents_that_run_at_once_are_durable_and_named_after_their_calls() -> None:
    async with Engine("memory://", workflows=[support_desk.delegated], guards="raise") as engine:
        handle = await engine.start(support_desk.delegated)
        assert await handle.result() == "heard ann and heard bob"
        assert sorted(operations(await handle.history())) == [
            "desk.model@desk",
            "desk.model@desk#2",
            "expert.model@desk/ask-ann/expert",
            "expert.model@desk/ask-bob/expert",
        ]


@in_a_loop
async def test_events_are_in_a_stream_in_the_order_of_what_happens() -> None:
    async with Engine("memory://", workflows=[support_desk.streamed]) as engine:
        handle = await engine.start(support_desk.streamed, "hello")
        approving = asyncio.create_task(approve(engine, handle))
        events = [event async for event in agent_events(handle, "events") if not isinstance(event, StreamReset)]
        await approving
    kinds = [event.event_kind for event in events]
    results = [number for number, kind in enumerate(kinds) if kind == "function_tool_result"]
    first, last = kinds.index("part_start"), len(kinds) - 1 - kinds[::-1].index("part_start")
    assert len(results) == 4
    assert first < min(results)
    assert max(results) < last


@in_a_loop
async def test_outside_of_workflows_an_agent_is_what_it_was() -> None:
    support_desk.PROMPT.append("Give totals in digits.")
    try:
        assert (await support_desk.clerk.run("the bill")).output == support_desk.Bill(12)
    finally:
        support_desk.PROMPT.pop()


def test_a_wrong_option_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="has no option 'retries'; it has retry, timeout, limit, at_most_once"):
        EverlogDurability(model={"retries": 3})  # type: ignore[typeddict-unknown-key]


@pytest.mark.skipif(not hasattr(capabilities, "RequestInput"), reason="this version of Pydantic AI has no RequestInput")
@in_a_loop
async def test_a_run_asks_once_waits_for_its_token_and_tries_a_tool_by_its_own_policy() -> None:
    support_desk.tokens.clear()
    support_desk.tries.clear()
    async with Engine("memory://", workflows=[support_desk.paid]) as engine:
        handle = await engine.start(support_desk.paid)
        while not support_desk.tokens:
            assert (await handle.status()).state in ("running", "waiting", "queued"), await handle.status()
            await asyncio.sleep(0.01)
        (token,) = support_desk.tokens
        await answer_event(engine, token, EventAnswer({"approvals": {"pay-1": True}, "calls": {}}))
        assert await handle.result() == "paid 3"
    assert (len(support_desk.tokens), len(support_desk.tries)) == (1, 3)


@in_a_loop
async def test_a_run_in_blocking_code_is_refused() -> None:
    async with Engine("memory://", workflows=[support_desk.blocking]) as engine:
        with pytest.raises(WorkflowFailed, match="cannot be replayed"):
            await engine.run(support_desk.blocking)
