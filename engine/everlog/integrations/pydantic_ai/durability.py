"""The capability: what an agent is given so that its runs inside of workflows are durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import pydantic_ai._utils as pydantic_ai_utils
from pydantic_ai import durable_exec
from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.agent.abstract import AbstractAgent
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    DurabilityEngineSpec,
    JournalOperationNamer,
    RoleBasedOperationConfig,
)
from pydantic_ai.models import Model, ModelRequestContext
from pydantic_ai.tools import AgentDepsT, DeferredToolRequests, DeferredToolResults, RunContext

import everlog
from everlog.errors import NotEncodable
from everlog.integrations.pydantic_ai.conversations import Times
from everlog.integrations.pydantic_ai.people import Waiter, decided
from everlog.integrations.pydantic_ai.runs import (
    Body,
    Run,
    StepConfig,
    Steps,
    calling,
    config_of,
    in_workflow_code,
    label_of,
    make_known,
    running,
)
from everlog.integrations.pydantic_ai.streams import handler_of

_replay_scope: Final[Callable[[], Any] | None] = getattr(durable_exec, "replay_scope", None)
_external_event_scope: Final[Callable[[Any], Any] | None] = getattr(durable_exec, "external_event_scope", None)
_METADATA: Final = "everlog"


def _not_encodable(error: Exception) -> BaseException:
    return NotEncodable(f"what a step of a Pydantic AI agent gave cannot be recorded: {error}")


class EverlogDurability(BaseDurabilityCapability[AgentDepsT]):
    """Makes the runs of an agent durable that are inside of an async workflow; elsewhere it changes nothing.

    Each model request, function tool call and call of an MCP server is a step, by the id of its call. `model` and
    `tools` are the options of these steps; `metadata={"everlog": {...}}` of a tool has its own, and
    `metadata={"everlog": False}` runs an async tool in workflow code. With `stream` all events of a run, tokens
    included, go to the durable stream of that name; `event_stream_handler` sees them in steps. With `decisions` calls
    that need an approval, or run elsewhere, wait for a message on that topic, for `decision_timeout` at most. `models`
    are further models that a run may be given. `name` is what steps are named after; by default that of the agent.
    """

    engine_spec: ClassVar[DurabilityEngineSpec] = DurabilityEngineSpec(
        engine_name="Everlog",
        durable_unit_noun="step",
        durable_container_noun="workflow",
        codec=JSON_CODEC,
        serialization_failure=_not_encodable,
        unsupported_runtime_toolset_kinds=frozenset({"function", "mcp", "dynamic"}),
        # Steps run on the user's event loop, workflow code on ours: what a step has opened must be closed there.
        toolset_lifecycles={
            "function": "enter-outside-durable",
            "mcp": "enter-outside-durable",
            "dynamic": "enter-never",
        },
        tool_config_key=_METADATA,
    )

    def __init__(
        self,
        *,
        model: StepConfig | None = None,
        tools: StepConfig | None = None,
        stream: str | None = None,
        decisions: str | None = None,
        decision_timeout: timedelta | None = None,
        event_stream_handler: EventStreamHandler[AgentDepsT] | None = None,
        models: Mapping[str, Model] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(models=models, event_stream_handler=handler_of(stream, event_stream_handler), name=name)
        self._model_config = config_of(model, "model=")
        self._tool_config = config_of(tools, "tools=")
        self._streams_only = event_stream_handler is None
        self._decisions = decisions
        self._decision_timeout = decision_timeout
        self._steps: Steps
        make_known()

    def _bind_to_agent(self, agent: AbstractAgent[AgentDepsT, Any]) -> None:
        config = RoleBasedOperationConfig[StepConfig](
            model=self._model_config, event={}, capability={}, tool=self._tool_config, resolve_tool=self._config_of_tool
        )
        self._steps = Steps(self.name, namer=JournalOperationNamer(self.name), config=config)
        self._steps.streams_only = self._streams_only
        self._register_toolsets(agent)

    def _config_of_tool(self, _: object, tool: Any, name: str) -> Any:
        metadata = (None if tool is None else tool.tool_def.metadata) or {}
        given = metadata.get(_METADATA)
        if given is False:
            return False
        return {**self._tool_config, **config_of(given, f"the {_METADATA!r} metadata of tool {name!r}")}

    def get_durable_operation_backend(self) -> Steps:
        """Give what runs the operations of the agent as steps."""
        return self._steps

    @property
    def in_durable_context(self) -> bool:
        """Whether this is the code of an async workflow."""
        return in_workflow_code()

    def get_default_run_id(self) -> str | None:  # word: the name of their hook
        """Give an id that is the same in each replay."""
        return str(everlog.uuid4()) if in_workflow_code() else None

    def get_default_conversation_id(self, run_id: str) -> str | None:  # word: the name of theirs
        """Give an id that is the same in each replay."""
        return str(everlog.uuid4()) if in_workflow_code() else None

    def get_run_clock(self) -> Callable[[], datetime] | None:
        """Give the clock of the log."""
        return everlog.now if in_workflow_code() else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:  # word: the name of theirs
        """Give the time of the log."""
        return everlog.now() if in_workflow_code() else None

    async def wrap_run(self, ctx: RunContext[AgentDepsT], *, handler: Any) -> Any:
        """Run the agent, each of its operations a step named after this run."""
        if not in_workflow_code():
            return await super().wrap_run(ctx, handler=handler)
        run = Run(label_of(self.name), Times(ctx.messages))
        with ExitStack() as entered:
            token = running.set(run)
            entered.callback(running.reset, token)
            entered.enter_context(pydantic_ai_utils.disable_threads())
            if _replay_scope is not None:
                entered.enter_context(_replay_scope())
            if _external_event_scope is not None:
                entered.enter_context(_external_event_scope(Waiter(run, self._ask_step)))
            result = await super().wrap_run(ctx, handler=handler)
            run.times.settle(result.all_messages(), everlog.now())
            return result

    async def _ask_step(self, name: str, key: str, body: Body) -> Any:
        return await self._steps.run_step(f"ask.{name}", key, {}, body, {})

    async def wrap_tool_execute(self, ctx: RunContext[AgentDepsT], *, call: Any, handler: Any, **rest: Any) -> Any:
        """Have the runs of other agents in a tool that runs in workflow code named after its call."""
        token = calling.set(call.tool_call_id)
        try:
            return await super().wrap_tool_execute(ctx, call=call, handler=handler, **rest)
        finally:
            calling.reset(token)

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Give the messages that are new the time of the log."""
        run = running.get()
        if run is not None and in_workflow_code():
            run.times.settle([*ctx.messages, *request_context.messages], everlog.now())
        return await super().before_model_request(ctx, request_context)

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Wait for the decisions of people, where `decisions` names their topic."""
        run = running.get()
        if self._decisions is None or run is None or not in_workflow_code():
            return await super().handle_deferred_tool_calls(ctx, requests=requests)
        return await decided(run, self.name, requests, self._decisions, self._decision_timeout)
