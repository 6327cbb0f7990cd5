"""Runs: what a run of an agent is called in its workflow, and how what it does becomes a step.

The identity of a step is its name and a key, never the place where it is called: `support.look_up@support/call-1` is
the tool call with the id that the model gave it, `support.model@support#2` the second request of the run. So neither
hooks that wait, nor another version of Pydantic AI whose tasks have other names, bring a result to another call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from datetime import timedelta
from typing import Any, Final, TypedDict, cast
from weakref import WeakKeyDictionary

import pydantic_ai._utils as pydantic_ai_utils
from pydantic import ValidationError
from pydantic_ai import durable_exec
from pydantic_ai.durable_exec import (
    CallableOperationBackend,
    CapabilityOperationId,
    EventStreamHandlerId,
    ModelCancelSuspendedResponseId,
    ModelCompactMessagesId,
    ModelRequestId,
    ToolsetCallToolId,
    ToolsetGetInstructionsId,
    ToolsetGetToolsId,
    ToolsetValidateToolArgumentsId,
)
from pydantic_ai.exceptions import UserError

from everlog import NotEncodable, Queue, RetryPolicy, Step, current, emit, now, sleep, step
from everlog.core.durations import Duration
from everlog.integrations.pydantic_ai.conversations import Times, conversation, jsonable
from everlog.replay.branches import Branch
from everlog.replay.context import active
from everlog.replay.divergence import CannotGoOn
from everlog.replay.execution import Execution
from everlog.replay.guards import vouch_for
from everlog.replay.registry import note_package
from everlog.replay.tasks import WorkflowTask

Body = Callable[[], Awaitable[object]]

_IN_THREADS: Final[ContextVar[bool] | None] = getattr(pydantic_ai_utils, "_disable_threads", None)
"""Set where plain callbacks are not to run in threads: in workflow code, and not in the steps that it calls."""
_record_unit: Final[Callable[..., None] | None] = getattr(durable_exec, "record_durable_unit", None)


class StepConfig(TypedDict, total=False):
    """How a model request or a tool call runs as a step; what is left out is as in `everlog.step`."""

    retry: RetryPolicy | None
    timeout: Duration | None
    limit: Queue | str | None
    at_most_once: bool


class Run:
    """One run of an agent in a workflow: its label in the log, and the times of its messages."""

    def __init__(self, label: str, times: Times) -> None:
        self.label = label
        self.times = times
        self._branch = Branch(f"{label}/")
        self._has_shown = False

    @contextmanager
    def named(self, name: str | None = None) -> Generator[None]:
        """Name what is asked for after the run and this name, in whatever task of Pydantic AI it is."""
        task = asyncio.current_task()
        assert isinstance(task, WorkflowTask)
        outer = task.branch
        task.branch = self._branch if name is None else self._branch.child(self._branch.draw(name))
        try:
            yield
        finally:
            task.branch = outer

    async def show(self, stream: str, item: object) -> None:
        """Emit an item to a stream from workflow code."""
        self._has_shown = True
        with self.named():
            await emit(stream, item)

    async def be_seen(self) -> None:
        """Return when what was shown is written.

        It is written with the next commit, and a model request that began before that might be faster: then the answer
        would stand in the stream before the results that it is an answer to. What waits for a fact waits for a commit.
        """
        if self._has_shown:
            self._has_shown = False
            with self.named():
                await sleep(timedelta(microseconds=1))


calling: Final[ContextVar[str | None]] = ContextVar("everlog_pydantic_ai_calling", default=None)
"""The id of the tool call whose code runs in this context."""
running: Final[ContextVar[Run | None]] = ContextVar("everlog_pydantic_ai_run", default=None)
"""The run whose code runs in this context."""


def in_workflow_code() -> bool:
    """Tell whether this is the code of an async workflow, rather than of a step or outside."""
    return active.execution is not None and active.strand is None


def execution_here() -> Execution:
    """Give the workflow whose code runs here."""
    assert active.execution is not None
    return active.execution


def label_of(agent: str) -> str:
    """Give the label of a run that begins here: `support`, `support-2`; in a call of another run `desk/1/support`."""
    execution, outer = execution_here(), running.get()
    if outer is None:
        path = _IN_ITS_TASK.sub("", execution.loop.branch().path)
    else:
        path = "/".join(filter(None, [outer.label, calling.get()])) + "/"
    begun = _begun.setdefault(execution, {}).setdefault(path, Branch(path))
    return begun.draw(agent).replace("#", "-")


_IN_ITS_TASK: Final = re.compile(r"(?<![^/])(run|wrap_run)(#\d+)?/$")
"""The task that Pydantic AI makes for each run: it says nothing of where the user has it run."""
_begun: Final[WeakKeyDictionary[Execution, dict[str, Branch]]] = WeakKeyDictionary()


def make_known() -> None:
    """Have the exceptions of Pydantic AI rebuilt from the log, and its own looks at clock and chance let pass.

    Times come from the log (`Times`), identities from calls, and nothing else of them is ever recorded.
    """
    note_package(UserError)
    vouch_for(("pydantic", "pydantic_ai", "pydantic_graph"))


async def _do(asked: dict[str, Any], body: Body) -> Any:
    """Be the step that every durable operation is: `asked` is recorded, `body` is what does it."""
    if _IN_THREADS is not None:
        _IN_THREADS.set(False)
    return await body()


_STEPS: Final[dict[tuple[object, bool], Step[[dict[str, Any], Body], Any]]] = {}


def _step(config: StepConfig) -> Step[[dict[str, Any], Body], Any]:
    """Give the step with the options that a call cannot change."""
    limit, once = config.get("limit"), config.get("at_most_once", False)
    made = _STEPS.get((limit, once))
    if made is None:
        made = step(name="pydantic_ai", unrecorded=("body",), limit=limit, at_most_once=once)(_do)
        _STEPS[limit, once] = made
    return made


def _policy(policy: RetryPolicy | None) -> RetryPolicy | None:
    """Give the policy that does not try again what no second attempt mends."""
    if policy is None:
        return None
    careful = copy(policy)
    careful.give_up_on = (*policy.give_up_on, UserError, NotEncodable)
    return careful


class Steps(CallableOperationBackend[StepConfig]):
    """Runs each operation of an agent as a step of the workflow."""

    def __init__(self, agent: str, **given: Any) -> None:
        super().__init__(**given)
        self._agent = agent
        self.streams_only = False
        """Whether events go nowhere but into a durable stream, for which no step is needed."""

    def bind(self, operation: Any) -> Any:
        """Give the operation with what it was called with at hand."""
        return _Bound(super().bind(operation))

    async def execute(
        self, *, operation_id: Any, name: str, body: Body, cache_key: tuple[object, ...], config: StepConfig
    ) -> object:
        """Run the body as a step, or give what it gave before."""
        params, run = _params.get(), running.get()
        if run is None or not in_workflow_code():
            return await body()
        if isinstance(operation_id, EventStreamHandlerId):
            for value in vars(params.event).values():
                run.times.settle_part(value, now())
            if self.streams_only:
                return await body()
        told, key, asked = self._told(operation_id, name, params, run)
        if isinstance(operation_id, ModelRequestId):
            await run.be_seen()
        return await self.run_step(told, key, asked, body, config)

    async def run_step(self, told: str, key: str, asked: dict[str, Any], body: Body, config: StepConfig) -> object:
        """Run the body as the step of this name and key, or give what it gave before."""
        retry, timeout = _policy(config.get("retry")), config.get("timeout")
        chosen = _step(config).options(name=f"{self._agent}.{told}", key=key, retry=retry, timeout=timeout)
        replayed = current().replaying
        outcome: object = await chosen(asked, body)
        if _record_unit is not None:
            _record_unit(executed=not (replayed and current().replaying))
        return outcome

    def _told(self, operation_id: Any, name: str, params: Any, run: Run) -> tuple[str, str, dict[str, Any]]:
        """Give what the log says of an operation: the last part of its name, its key, and what it is asked."""
        match operation_id:
            case ModelRequestId():
                told = "model_stream" if operation_id.streaming else "model"
                return told, run.label, conversation(params.messages)
            case ModelCompactMessagesId():
                return "compact", run.label, conversation(params.request_context.messages)
            case ModelCancelSuspendedResponseId():
                return "cancel_response", run.label, {}
            case ToolsetCallToolId():
                return params.name, f"{run.label}/{params.ctx.tool_call_id}", {"arguments": jsonable(params.tool_args)}
            case ToolsetValidateToolArgumentsId():
                key = f"{run.label}/{params.ctx.tool_call_id}"
                return f"validate.{params.name}", key, {"arguments": jsonable(params.tool_args)}
            case ToolsetGetToolsId():
                return f"tools.{operation_id.toolset_id}", run.label, {}
            case ToolsetGetInstructionsId():
                return f"instructions.{operation_id.toolset_id}", run.label, {}
            case EventStreamHandlerId():
                return "event", run.label, {"event": getattr(params.event, "event_kind", type(params.event).__name__)}
            case CapabilityOperationId():
                return f"{operation_id.capability_id}.{operation_id.operation}", run.label, {}
            case _:  # later versions have more of them
                return name, run.label, {}


_params: Final[ContextVar[Any]] = ContextVar("everlog_pydantic_ai_params", default=None)


class _Bound:
    """A bound operation, whose parameters the backend sees."""

    def __init__(self, bound: Any) -> None:
        self._bound = bound

    @property
    def operation(self) -> Any:
        """The operation that was bound."""
        return self._bound.operation

    async def __call__(self, params: Any, *, config: object | None = None) -> Any:
        token = _params.set(params)
        try:
            return await self._bound(params, config=config)
        except ValidationError as error:
            # Not for the model, which would be told to try again what was done: it is the record that does not fit.
            if not in_workflow_code():
                raise
            execution = execution_here()
            execution.broken = CannotGoOn(
                f"workflow {execution.workflow_id!r}: what a step of a Pydantic AI agent gave does not fit the code: "
                f"{error}. Its history is untouched. Deploy code, or the version of pydantic-ai, that fits it, and the "
                "workflow goes on by itself."
            )
            raise execution.broken from error
        finally:
            _params.reset(token)


def config_of(given: object, what: str) -> StepConfig:
    """Check what is given as the options of a step."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise UserError(f"{what} must be a dict with {_KEYS}, got {given!r}")
    unknown = cast("dict[str, object]", given).keys() - StepConfig.__annotations__.keys()
    if unknown:
        raise UserError(f"{what} has no option {sorted(unknown)[0]!r}; it has {_KEYS}")
    return cast("StepConfig", given)


_KEYS: Final = ", ".join(StepConfig.__annotations__)
