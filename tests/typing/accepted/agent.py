"""An agent loop without a framework: model and tool calls are steps, and people answer questions."""

import asyncio
from typing import Any

from msgspec import Struct

import everlog
from everlog import Engine, RetryPolicy, step, workflow


class ToolCall(Struct):
    id: str
    name: str
    args: dict[str, Any]


class Reply(Struct):
    text: str
    calls: list[ToolCall] = []


class Message(Struct):
    role: str
    text: str


@step(retry=RetryPolicy(max_attempts=6), timeout=120)
async def ask_model(messages: list[Message]) -> Reply:
    if len(messages) > 1:
        return Reply(" and ".join(message.text for message in messages[2:]))
    return Reply("", [ToolCall("1", "search", {"query": "x"}), ToolCall("2", "ask_person", {"question": "y"})])


@step
async def search(query: str) -> str:
    return f"nothing about {query}"


async def use(call: ToolCall) -> Message:
    match call.name:
        case "search":
            text = await search.options(key=call.id)(**call.args)
        case "ask_person":  # waits for days if need be, while the other tools run
            text = await everlog.recv(f"answer-{call.id}", type=str)
        case other:
            text = f"there is no tool {other}"
    return Message("tool", text)


@workflow
async def agent(goal: str, max_turns: int = 20) -> str:
    messages = [Message("user", goal)]
    for _ in range(max_turns):
        reply = await ask_model(messages)
        if not reply.calls:
            return reply.text
        messages.append(Message("assistant", reply.text))
        messages += await asyncio.gather(*(use(call) for call in reply.calls))
    raise RuntimeError(f"no answer within {max_turns} turns")


async def main(url: str) -> list[str]:
    async with Engine(url) as engine:
        handle = await engine.start(agent, "What is the answer?")
        await handle.send("answer-2", "a person says y")
        return [await handle.result()]


EXPECTED = ["nothing about x and a person says y"]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///agent.db")))
