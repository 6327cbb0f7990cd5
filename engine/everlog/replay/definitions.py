"""Definitions: functions that were declared to be workflows and steps, and the options of their calls."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    final,
    overload,
)

from everlog.core.attributes import NO_ATTRIBUTES, GivenAttributes
from everlog.core.durations import Duration
from everlog.core.event_parts import WhenParentEnds
from everlog.core.keeping import Retention, retention_of
from everlog.core.names import check_id, check_name
from everlog.core.retry import RetryPolicy
from everlog.core.schedules import Schedule
from everlog.core.versions import check_version
from everlog.errors import InvalidDefinition, UsageError, WrongContext
from everlog.replay import asking, starting
from everlog.replay.context import active
from everlog.replay.definition import Definition, plain_function
from everlog.replay.functions import (
    binding_of,
    check_defaults,
    check_transaction,
    check_what_becomes,
    checked_attributes,
    checked_policy,
    checked_schedule,
    checked_timeout,
    is_async,
    names_of,
    refuse_timeout,
)
from everlog.replay.importable import check_importable
from everlog.replay.options import StepDefaults, StepOptions, WorkflowDefaults, WorkflowOptions
from everlog.replay.placing import AT_ONCE, OPTIONS, checked_queue, placing_of
from everlog.replay.queues import Queue
from everlog.replay.registry import register_step, register_workflow

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)
Self = TypeVar("Self", bound="Definition[..., Any]")
OwnWorkflow = TypeVar("OwnWorkflow", bound="AnyWorkflow[..., Any]")

log: Final = logging.getLogger("everlog")


class AnyStep(Definition[P, T_co]):
    """What async and plain steps share."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        at_most_once: bool = False,
        unrecorded: Sequence[str] = (),
        process: bool = False,
        limit: Queue | str | None = None,
        transaction: bool | Callable[[], Any] = False,
    ) -> None:
        super().__init__(function, name, "step", unrecorded)
        self.limit = None if limit is None else checked_queue(limit, "limit of a step")
        if process not in (True, False):  # users without a type checker give anything
            raise InvalidDefinition(f"process must be True or False, got {process!r}")
        if process and is_async(function):
            raise InvalidDefinition(f"step {self.name} is an async def, which runs on your loop, not in a process")
        if process and unrecorded:
            raise InvalidDefinition(
                f"step {self.name} runs in a process, where its unrecorded parameters cannot be passed; make them there"
            )
        if process:
            check_importable(function, self.name)
        self.process = process
        self.retry = checked_policy(retry)
        self.timeout = checked_timeout(timeout)
        if at_most_once not in (True, False):  # users without a type checker give anything
            raise InvalidDefinition(f"at_most_once must be True or False, got {at_most_once!r}")
        self.at_most_once = at_most_once
        if transaction is not False:
            check_transaction(transaction, self.name, process=process, at_most_once=at_most_once)
            if timeout is not None and not is_async(function):
                refuse_timeout(self.name)
        self.transaction: Any = transaction
        """What opens the transaction in which it runs, True: one in the engine's own database; False: it has none."""
        self.only_waits = False
        """Whether nothing is lost where an attempt is cut short: one of ours, which waits for another workflow."""
        self.key: str | None = None
        self.is_changed = False
        """Whether it is a copy with other options."""
        self.alone: AnyWorkflow[..., Any] | UsageError | None = None
        """The workflow that does nothing but call it, or why there is none, once somebody has asked for that."""
        register_step(self)

    def _with(self: Self, options: StepOptions) -> Self:
        changes: dict[str, Any] = dict(options)
        unknown = changes.keys() - StepOptions.__annotations__.keys()
        if unknown:
            raise InvalidDefinition(f"a step has no option {sorted(unknown)[0]!r}; it has {names_of(StepOptions)}")
        if "key" in changes:
            check_name(changes["key"], "the key of a step")
        if "name" in changes:
            check_name(changes["name"], "the name of a step")
        if "retry" in changes:
            changes["retry"] = checked_policy(changes["retry"])
        if "timeout" in changes:
            changes["timeout"] = checked_timeout(changes["timeout"])
        made = self.changed(is_changed=True, **changes) if changes else self
        if isinstance(made, SyncStep) and made.transaction is not False and made.timeout is not None:
            refuse_timeout(made.name)
        return made

    def _refuse_key(self) -> None:
        if self.key is not None:
            raise WrongContext(
                f"step {self.name} has the key {self.key!r}, which names a call within a workflow, and this is a "
                "plain call outside of one; leave key= out here"
            )


@final
class Step(AnyStep[P, T]):
    """An async function whose result is recorded when a workflow calls it; elsewhere a plain call of the function."""

    if TYPE_CHECKING:  # for the checkers a coroutine function, so that they find a forgotten await

        async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
            raise NotImplementedError

    else:  # the operation is drawn where it is called, not where it is awaited

        def __call__(self, /, *args, **kwargs):
            execution = active.execution
            if execution is None:
                self._refuse_key()
                return self._function(*self.bound, *args, **kwargs)
            if active.strand is not None:
                raise WrongContext(
                    f"{self.name} is an async step: in blocking code write "
                    f'"sync.call({self.__wrapped__.__name__}, ...)"'
                )
            return asking.call_step(execution, self, args, kwargs)

    @property
    def fn(self) -> Callable[P, Coroutine[Any, Any, T]]:
        """The function itself."""
        return self.bare()

    def options(self, **options: Unpack[StepOptions]) -> Step[P, T]:
        """Give the step with other options; a key left out is inherited, `None` means no limit."""
        return self._with(options)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Step[P, T]: ...
    @overload
    def __get__(self: Step[Concatenate[S, Q], T], instance: S, owner: type, /) -> Step[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> Step[P, T]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self._got(instance, owner)


@final
class SyncStep(AnyStep[P, T]):
    """A plain function that runs in a thread, its result recorded, when a workflow calls it.

    A `def` workflow calls it as it is, an async one by `everlog.call`; elsewhere it is a plain call of the function.
    """

    runs_in_thread: Final = True

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if active.strand is not None:
            outcome: T = active.strand.ask(asking.call_step(active.strand.execution, self, args, kwargs))
            return outcome
        if active.execution is not None:
            raise WrongContext(
                f"{self.name} is a plain step: in an async workflow write "
                f'"await everlog.call({self.__wrapped__.__name__}, ...)"'
            )
        self._refuse_key()
        return self.run_plainly(*args, **kwargs)

    def run_plainly(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function and record nothing, wherever this is called."""
        result: T = self._function(*self.bound, *args, **kwargs)
        if inspect.iscoroutine(result):
            result.close()
            raise InvalidDefinition(
                f"step {self.name} ({self.where()}) is a plain function that returned a coroutine; write async def"
            )
        return result

    @property
    def fn(self) -> Callable[P, T]:
        """The function itself."""
        return self.bare()

    def options(self, **options: Unpack[StepOptions]) -> SyncStep[P, T]:
        """Give the step with other options; a key left out is inherited, `None` means no limit."""
        return self._with(options)

    @overload
    def __get__(self, instance: None, owner: type, /) -> SyncStep[P, T]: ...
    @overload
    def __get__(self: SyncStep[Concatenate[S, Q], T], instance: S, owner: type, /) -> SyncStep[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> SyncStep[P, T]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self._got(instance, owner)


class AnyWorkflow(Definition[P, T_co]):
    """What async and plain workflows share."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        version: str | None = None,
        timeout: Duration | None = None,
        schedule: Schedule | None = None,
        unrecorded: Sequence[str] = (),
        queue: Queue | str | None = None,
        attributes: GivenAttributes = NO_ATTRIBUTES,
        retention: Duration | Retention | None = None,
        is_here: bool = True,
    ) -> None:
        super().__init__(function, name, "workflow", unrecorded)
        self.version = check_version(version)
        self.id: str | None = None
        self.key: str | None = None
        self.attributes = checked_attributes({}, attributes, self.name)
        self.when_parent_ends: WhenParentEnds = "cancel"
        self.timeout = checked_timeout(timeout)
        self.placing = placing_of(AT_ONCE, {"queue": queue})
        self.schedule = checked_schedule(schedule, function, self.name)
        self.retention = retention_of(retention, what=f"retention of workflow {self.name}")
        self.is_here = is_here
        """False where only its name is known here, and its code is elsewhere."""
        if is_here:
            register_workflow(self)

    def _with(self: OwnWorkflow, options: WorkflowOptions) -> OwnWorkflow:
        unknown = options.keys() - WorkflowOptions.__annotations__.keys()
        if unknown:
            raise InvalidDefinition(
                f"a workflow has no option {sorted(unknown)[0]!r}; it has {names_of(WorkflowOptions)}"
            )
        changes: dict[str, Any] = {name: given for name, given in options.items() if name not in OPTIONS}
        if "id" in changes:
            check_id(changes["id"])
        if "key" in changes:
            check_name(changes["key"], "the key of a workflow")
        if "version" in changes:
            check_version(changes["version"])
        if "timeout" in changes:
            changes["timeout"] = checked_timeout(changes["timeout"])
        if "attributes" in changes:
            changes["attributes"] = checked_attributes(self.attributes, changes["attributes"], self.name)
        check_what_becomes(options)
        return self.changed(placing=placing_of(self.placing, options), **changes)

    def _refused(self) -> WrongContext:
        """Give the error of whoever calls it as a function where no workflow runs."""
        name = self.__wrapped__.__name__
        return WrongContext(
            f'{self.name} is a workflow: "await engine.start({name}, ...)" runs it durably, or with sync.Engine '
            f'"engine.start({name}, ...)"; {name}.fn(...) is the bare function'
        )


@final
class Workflow(AnyWorkflow[P, T]):
    """An async function that runs durably: by `engine.start(workflow, ...)`, or, called in a workflow, as its child."""

    if TYPE_CHECKING:

        async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
            raise NotImplementedError

    else:

        def __call__(self, /, *args, **kwargs):
            execution = active.execution
            if execution is None:
                raise self._refused()
            if active.strand is not None:
                raise WrongContext(
                    f"{self.name} is an async workflow: in blocking code write "
                    f'"sync.call({self.__wrapped__.__name__}, ...)", which runs it as a child'
                )
            return starting.call_child(execution, self, args, kwargs)

    @property
    def fn(self) -> Callable[P, Coroutine[Any, Any, T]]:
        """The function itself."""
        return self.bare()

    def options(self, **options: Unpack[WorkflowOptions]) -> Workflow[P, T]:
        """Give the workflow with other options."""
        return self._with(options)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Workflow[P, T]: ...
    @overload
    def __get__(self: Workflow[Concatenate[S, Q], T], instance: S, owner: type, /) -> Workflow[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> Workflow[P, T]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self._got(instance, owner)


@final
class SyncWorkflow(AnyWorkflow[P, T]):
    """A plain function that runs durably, as blocking code on threads of the engine: by `engine.start(workflow, ...)`,
    or, called in a `def` workflow, as its child."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if active.strand is not None:
            outcome: T = active.strand.ask(starting.call_child(active.strand.execution, self, args, kwargs))
            return outcome
        if active.execution is not None:
            raise WrongContext(
                f"{self.name} is a def workflow: in an async workflow write "
                f'"await everlog.call({self.__wrapped__.__name__}, ...)", which runs it as a child'
            )
        raise self._refused()

    @property
    def fn(self) -> Callable[P, T]:
        """The function itself."""
        return self.bare()

    def options(self, **options: Unpack[WorkflowOptions]) -> SyncWorkflow[P, T]:
        """Give the workflow with other options."""
        return self._with(options)

    @overload
    def __get__(self, instance: None, owner: type, /) -> SyncWorkflow[P, T]: ...
    @overload
    def __get__(self: SyncWorkflow[Concatenate[S, Q], T], instance: S, owner: type, /) -> SyncWorkflow[Q, T]: ...
    @overload
    def __get__(self, instance: object, owner: type, /) -> SyncWorkflow[P, T]: ...
    def __get__(self, instance: Any, owner: type, /) -> Any:
        return self._got(instance, owner)


class StepDecorator(Protocol):
    """What `@step(...)` gives."""

    @overload
    # Both checkers resolve the overlap as wanted: an async function matches the first.
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, fn: Callable[P, T], /) -> SyncStep[P, T]: ...


class WorkflowDecorator(Protocol):
    """What `@workflow(...)` gives."""

    @overload
    # Both checkers resolve the overlap as wanted: an async function matches the first.
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Workflow[P, T]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, fn: Callable[P, T], /) -> SyncWorkflow[P, T]: ...


@overload
# Both checkers resolve the overlap as wanted: an async function matches the first.
def step(fn: Callable[P, Coroutine[Any, Any, T]], /, **defaults: Unpack[StepDefaults]) -> Step[P, T]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
@overload
def step(fn: Callable[P, T], /, **defaults: Unpack[StepDefaults]) -> SyncStep[P, T]: ...
@overload
def step(**defaults: Unpack[StepDefaults]) -> StepDecorator: ...
def step(fn: Any = None, /, **defaults: Any) -> Any:
    """Make a function a step: its result is recorded once, and replayed instead of run again.

    Without `retry` it has one attempt; after a crash an attempt without a recorded outcome runs again, unless
    `at_most_once` is set: then `StepInterrupted` is raised instead. `timeout` (seconds or timedelta) is per attempt.
    `name` is its name in the log, by default the qualified name of the function. The parameters named in
    `unrecorded`, such as clients, are passed as they are, and are in neither the recorded input nor its comparison.
    With `process` a plain function runs in a process of its own instead of a thread: found there by module and name,
    killed by its timeout. With `limit` each attempt takes a slot of that queue, over all workers, while it runs.
    With `transaction` what it does by `everlog.connection()` commits together with its result, exactly once: True for
    the engine's own database, or what is called to open a transaction in yours.
    Raises `InvalidDefinition` for what cannot be a step.
    """
    if fn is None:
        return functools.partial(step, **defaults)
    check_defaults(defaults, StepDefaults, "step")
    function = plain_function(fn, "step")
    made: AnyStep[..., Any] = Step(function, **defaults) if is_async(function) else SyncStep(function, **defaults)
    made.binds = binding_of(fn)
    return made


@overload
# Both checkers resolve the overlap as wanted: an async function matches the first.
def workflow(fn: Callable[P, Coroutine[Any, Any, T]], /, **defaults: Unpack[WorkflowDefaults]) -> Workflow[P, T]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
@overload
def workflow(fn: Callable[P, T], /, **defaults: Unpack[WorkflowDefaults]) -> SyncWorkflow[P, T]: ...
@overload
def workflow(**defaults: Unpack[WorkflowDefaults]) -> WorkflowDecorator: ...
def workflow(fn: Any = None, /, **defaults: Any) -> Any:
    """Make a function a workflow: started by an engine, it is run to its end whatever happens to the process.

    A plain function calls plain steps as they are, and waits for everything else by way of `everlog.sync`.
    `name` is its name in the log, by default the qualified name of the function; old histories are found by it.
    With a `version` what is started by it is run by processes that have that version, and by no others; a process may
    have several of a name. What was started without one is run by any code of its name, by the last one defined.
    After `timeout` (seconds or timedelta), from its first start and sleeps included, it is cancelled.
    `attributes`, values or lists of values by name, are for finding it; options change them name by name.
    The parameters named in `unrecorded` are in no input: they always take their defaults, and must have some.
    Its starts stand in `queue`, unless they are given another, or None. With a `schedule` engines start it again and
    again; all its parameters must have defaults then. With a `retention` (seconds, timedelta or `Retention`) engines
    that have its code remove those of its workflows that ended longer ago; without one they are kept, unless the engine
    has one. Raises `InvalidDefinition` for what cannot be a workflow.
    """
    if fn is None:
        return functools.partial(workflow, **defaults)
    check_defaults(defaults, WorkflowDefaults, "workflow")
    function = plain_function(fn, "workflow")
    made: AnyWorkflow[..., Any] = (Workflow if is_async(function) else SyncWorkflow)(function, **defaults)
    made.binds = binding_of(fn)
    return made
