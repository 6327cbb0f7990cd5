"""An agent of Pydantic AI as users write one: a scripted model, parallel tools, hooks that wait, an approval."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import Agent, ModelMessage, ModelResponse, RunContext, TextPart, ToolCallPart
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

import everlog
from everlog import step, workflow
from everlog.integrations.pydantic_ai import EverlogDurability

requests: list[int] = []
"""With how many messages the model was asked."""
ran: list[str] = []
"""Which tools ran."""


@dataclass
class Deps:
    """What no encoding has."""

    shop: str
    lock: Any = field(default_factory=threading.Lock)


def say(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Say what the script has next: three calls at once, then one that needs an approval, then the end."""
    requests.append(len(messages))
    match sum(isinstance(message, ModelResponse) for message in messages):
        case 0:
            calls = [ToolCallPart("look_up", {"item": n}, tool_call_id=f"call-{n}") for n in range(3)]
            return ModelResponse(parts=calls)
        case 1:
            return ModelResponse(parts=[ToolCallPart("refund", {"cents": 700}, tool_call_id="call-3")])
        case _:
            returned = [part for part in messages[-1].parts if part.part_kind == "tool-return"]
            return ModelResponse(parts=[TextPart(f"done: {returned[0].content}")])


async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
    """Say the same a piece at a time."""
    for number, part in enumerate(say(messages, info).parts):
        if isinstance(part, ToolCallPart):
            yield {number: DeltaToolCall(part.tool_name, json.dumps(part.args), tool_call_id=part.tool_call_id)}
        elif isinstance(part, TextPart):
            for word in part.content.split():
                yield f"{word} "


@step(name="support_desk.allowed")
async def allowed(tool: str) -> bool:
    """Whether a tool may be called, which takes now shorter and now longer to find out."""
    return True


class Permissions(AbstractCapability[Any]):
    """Waits before each tool call, for a step and for a while."""

    async def before_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
        """Ask first."""
        assert await allowed.options(key=call.tool_call_id)(call.tool_name)
        await everlog.sleep(0.01 * (3 - args.get("item", 0)))
        return args


async def look_up(ctx: RunContext[Deps], item: int) -> str:
    """Look something up."""
    assert not ctx.deps.lock.locked()
    ran.append(str(ctx.tool_call_id))
    return f"item {item} of {ctx.deps.shop}"


async def refund(cents: int) -> str:
    """Pay back. A plain function would run in a thread of Pydantic AI's, for which virtual time does not wait."""
    ran.append("refund")
    return f"paid {cents}"


def agent_with(**options: Any) -> Agent[Deps, str]:
    """Give the agent."""
    made = Agent(
        FunctionModel(say, stream_function=stream),
        name="support",
        deps_type=Deps,
        capabilities=[Permissions(), EverlogDurability(decisions="decisions", **options)],
    )
    made.instructions(lambda: "Be kind.")
    made.tool(look_up)
    made.tool_plain(requires_approval=True)(refund)
    return made


quiet = agent_with()
streaming = agent_with(stream="events")


def told(messages: list[ModelMessage]) -> list[Any]:
    """Give what was said, without when."""
    return [
        [part.part_kind, getattr(part, "tool_call_id", None), part.content if hasattr(part, "content") else None]
        for message in messages
        for part in message.parts
    ]


@workflow(name="support_desk.quietly")
async def quietly(question: str) -> list[Any]:
    """Answer a question."""
    return told((await quiet.run(question, deps=Deps("the shop"))).all_messages())


@workflow(name="support_desk.streamed")
async def streamed(question: str) -> list[Any]:
    """Answer a question, and show all events."""
    return told((await streaming.run(question, deps=Deps("the shop"))).all_messages())


PROMPT = ["You are an accountant."]
"""The instructions of the clerk, which are code: a fork runs with those of today."""
asked: list[list[str]] = []
"""For each request of the clerk: its instructions, and the last thing that was said."""


@dataclass
class Bill:
    """What the clerk is to give."""

    total: int


def add_up(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Look at the prices first, and then give a malformed bill, unless the instructions say how."""
    asked.append([str(info.instructions), messages[-1].parts[-1].part_kind])
    match sum(isinstance(message, ModelResponse) for message in messages):
        case 0:
            return ModelResponse(parts=[ToolCallPart("prices", {}, tool_call_id="prices-1")])
        case number:
            total = 12 if "digits" in str(info.instructions) else "twelve"
            name = info.output_tools[0].name
            return ModelResponse(parts=[ToolCallPart(name, {"total": total}, tool_call_id=f"bill-{number}")])


clerk = Agent(
    FunctionModel(add_up),
    name="clerk",
    output_type=Bill,
    retries=0,
    instructions=lambda: PROMPT[-1],
    capabilities=[EverlogDurability()],
)


@clerk.tool_plain
def prices() -> list[int]:
    """Give the prices; a plain function, which runs in a thread."""
    assert threading.current_thread() is not threading.main_thread()
    ran.append("prices")
    return [5, 7]


@workflow(name="support_desk.bill")
async def bill(of: str) -> int:
    """Have a bill made."""
    return (await clerk.run(f"the bill of {of}")).output.total


@clerk.tool_plain(metadata={"everlog": False})
async def unused() -> str:
    """Run in workflow code, were it called."""
    return "nothing"


def delegate(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Have two others asked at once."""
    if len(messages) == 1:
        calls = [ToolCallPart("ask", {"who": n}, tool_call_id=f"ask-{n}") for n in ("ann", "bob")]
        return ModelResponse(parts=calls)
    return ModelResponse(parts=[TextPart(" and ".join(str(part.content) for part in messages[-1].parts))])


def expert(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Say what was asked."""
    requests.append(len(messages))
    return ModelResponse(parts=[TextPart(f"heard {messages[-1].parts[-1].content}")])


experts = Agent(FunctionModel(expert), name="expert", capabilities=[EverlogDurability()])
desk = Agent(FunctionModel(delegate), name="desk", capabilities=[EverlogDurability(tools={"timeout": 5})])


@desk.tool_plain(metadata={"everlog": False})
async def ask(who: str) -> str:
    """Ask an expert, durably: this is workflow code."""
    await everlog.sleep(0.02 if who == "ann" else 0.01)
    return (await experts.run(who)).output


@workflow(name="support_desk.delegated")
async def delegated() -> str:
    """Have two sub-agents asked."""
    return (await desk.run("whom you like")).output


tokens: list[str] = []
"""The tokens that were handed to whoever answers."""
tries: list[int] = []


async def hand_out(ctx: Any, deferred: Any, token: str) -> None:
    """Hand the token to whoever answers."""
    tokens.append(token)


def pay_once(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Have something paid, and say what came of it."""
    if len(messages) == 1:
        return ModelResponse(parts=[ToolCallPart("pay", {"cents": 3}, tool_call_id="pay-1")])
    return ModelResponse(parts=[TextPart(str(messages[-1].parts[0].content))])


def payer() -> Agent[None, str]:
    """Give an agent that asks by a token, and whose tool needs three attempts."""
    from pydantic_ai.capabilities import RequestInput  # not in the oldest version

    made = Agent(FunctionModel(pay_once), name="payer", capabilities=[RequestInput(hand_out), EverlogDurability()])
    policy = everlog.RetryPolicy(max_attempts=3, first_delay=0.01)

    @made.tool_plain(requires_approval=True, metadata={"everlog": {"retry": policy, "timeout": 60}})
    async def pay(cents: int) -> str:
        tries.append(cents)
        if len(tries) < 3:
            raise ConnectionError("the bank does not answer")
        return f"paid {cents}"

    return made


@workflow(name="support_desk.paid")
async def paid() -> str:
    """Have something paid."""
    return (await payer().run("pay")).output


@workflow(name="support_desk.blocking")
def blocking() -> str:
    """Run an agent where none can run."""
    return str(clerk.run_sync("the bill").output)
