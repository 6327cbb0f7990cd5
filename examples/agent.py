"""An agent with tools, a budget, and a person who approves. The model is a script, so it needs no key.

python agent.py                ask it something, and decide what it may do when you are asked
python agent.py "Is it late?"  ask it something else

Kill it whenever you like and start it again: it goes on where it was, with what was said and what was done.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import everlog
from everlog import Engine, Queue, RateLimit, RetryPolicy, step, workflow

DATABASE = "sqlite:///agent.db"


@dataclass
class ToolCall:
    """What the model wants to be called; the id is the model's."""

    id: str
    tool: str
    arguments: dict[str, Any]


@dataclass
class Message:
    """A part of the conversation, by the user, the model or a tool."""

    role: str
    text: str
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    call_id: str | None = None
    tokens: int = 0


@dataclass
class Decision:
    """What a person decided."""

    approved: bool
    why: str = ""


# ---------------------------------------------------------------------------------------------------------------------
# The model and the tools: put the client of your provider here


def script(messages: list[Message]) -> Message:
    """Say what the model says next."""
    match sum(message.role == "model" for message in messages):
        case 0:
            calls = [ToolCall("call-1", "look_up", {"order": "42"}), ToolCall("call-2", "rules", {})]
            return Message("model", "I look at the order and at the rules.", calls, tokens=60)
        case 1:
            refund = ToolCall("call-3", "refund", {"order": "42", "cents": 1900})
            return Message("model", "The cup was broken, so I want to pay it back.", [refund], tokens=90)
        case _:
            return Message("model", f"This is what became of it: {messages[-1].text}.", tokens=110)


async def stream(messages: list[Message]) -> AsyncIterator[str | Message]:
    """Give the words of the model as they come, and then all that it said."""
    said = script(messages)
    for word in said.text.split():
        await asyncio.sleep(0.02)
        yield word
    yield said


async def look_up(order: str) -> str:
    """Look at an order."""
    return f"order {order}: a cup, 19.00, broken"


async def rules() -> str:
    """Look at the rules of the shop."""
    return "what is broken is paid back"


async def refund(order: str, cents: int) -> str:
    """Pay back."""
    return f"paid back {cents / 100:.2f} for order {order}"


TOOLS = {"look_up": look_up, "rules": rules, "refund": refund}
NEEDS_A_PERSON = {"refund"}

# ---------------------------------------------------------------------------------------------------------------------
# The agent

provider = Queue("provider", concurrency=8, rate_limit=RateLimit(500, per=60))


@step(limit=provider, retry=RetryPolicy(max_attempts=6), timeout=120)
async def ask_model(messages: list[Message]) -> Message:
    """Ask the model for its next message, its words into a stream."""
    async for part in stream(messages):
        if isinstance(part, Message):
            return part
        await everlog.emit("words", part)
    raise ConnectionError("the model stopped before the end of its answer")


@step(timeout=30)
async def use_tool(call: ToolCall) -> str:
    """Call a tool."""
    print(f"\n    [{call.tool} runs]", flush=True)
    tool = TOOLS[call.tool]
    return await tool(**call.arguments)


async def answer(call: ToolCall) -> Message:
    """Call a tool once somebody has approved it, if it needs that."""
    if call.tool in NEEDS_A_PERSON:
        decision = await everlog.recv(
            "approval",
            type=Decision,
            timeout=timedelta(days=7),
            default=Decision(approved=False, why="nobody answered"),
            title=f"The agent wants to {call.tool}",
            metadata=call.arguments,
        )
        if not decision.approved:
            return Message("tool", f"refused, {decision.why}", call_id=call.id)
    try:
        result = await use_tool.options(name=call.tool, key=call.id)(call)
    except Exception as error:  # noqa: BLE001 - whatever it is, the model is told, and may try something else
        result = f"failed: {error}"
    return Message("tool", result, call_id=call.id)


@workflow
async def agent(question: str, budget: int = 10_000) -> str:
    """Answer a question for so many tokens."""
    messages = [Message("user", question)]
    while budget > 0:
        said = await ask_model(messages)
        budget -= said.tokens
        messages.append(said)
        if not said.calls:
            return said.text
        messages += await asyncio.gather(*(answer(call) for call in said.calls))
    return "I have no budget left."


# ---------------------------------------------------------------------------------------------------------------------
# The terminal


async def decide(engine: Engine, workflow_id: str) -> None:
    """Ask the person at the terminal whatever the agent asks. A web page would list `waits()` of all agents."""
    while True:
        for wait in await engine.waits(workflow_id=workflow_id):
            print(f"\n{wait.title} {wait.metadata}\nShall it? [y/n]", flush=True)
            said = (await asyncio.to_thread(sys.stdin.readline)).strip()
            if not said:
                raise EOFError("nobody is at the terminal: start it again to go on")
            await engine.answer(wait.token, Decision(said.startswith("y"), why=f"they said {said}"))
        await asyncio.sleep(0.05)


async def show(words: AsyncIterator[str]) -> None:
    """Print the words of the model as they come."""
    async for word in words:
        print(word, end=" ", flush=True)
    print()


async def main(question: str) -> None:
    """Ask the agent, or go on with what was asked before: the same question is the same workflow."""
    async with Engine(DATABASE) as engine:
        handle = await engine.start(agent.options(id=f"agent: {question}"), question)
        showing = asyncio.create_task(show(handle.stream("words", type=str)))
        deciding = asyncio.create_task(decide(engine, handle.id))
        await asyncio.wait([showing, deciding], return_when=asyncio.FIRST_COMPLETED)
        for task in (showing, deciding):
            task.cancel()
        if deciding.done():
            sys.exit(str(deciding.exception()))
        print("=>", await handle.result())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2] or ["My cup is broken."]))
