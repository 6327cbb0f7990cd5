"""Definitions: functions that were declared to be workflows and steps, and the options of their calls."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from types import CodeType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    final,
    overload,
)

from everlog.core.durations import Duration, microseconds
from everlog.core.names import check_id, check_name
from everlog.core.retry import RetryPolicy
from everlog.core.signature import Signature
from everlog.errors import InvalidDefinition, WrongContext
from everlog.replay import asking
from everlog.replay.context import active

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)
Self = TypeVar("Self", bound="Definition[..., Any]")

log: Final = logging.getLogger("everlog")


class StepDefaults(TypedDict, total=False):
    """What `@step` takes."""

    name: str
    retry: RetryPolicy | None
    timeout: Duration | None
    at_most_once: bool


class StepOptions(TypedDict, total=False):
    """What `step.options` takes."""

    key: str
    name: str
    retry: RetryPolicy | None
    timeout: Duration | None


class WorkflowDefaults(TypedDict, total=False):
    """What `@workflow` takes."""

    name: str


class WorkflowOptions(TypedDict, total=False):
    """What `workflow.options` takes."""

    id: str


class Definition(Generic[P, T_co]):
    """What `start` and `call` take: a function with a name in the log."""

    __wrapped__: Callable[..., Any]
    __code__: CodeType

    def __init__(self, function: Callable[..., Any], name: str | None, kind: str) -> None:
        self._function = function
        _packages.add(str(getattr(function, "__module__", "")).partition(".")[0])
        self.name: str = _name_of(function, name, kind)
        self.signature = Signature(function)
        self.bound: tuple[object, ...] = ()
        self.__wrapped__ = function
        for attribute in (*functools.WRAPPER_ASSIGNMENTS, "__code__", "__defaults__", "__kwdefaults__"):
            if hasattr(function, attribute):
                setattr(self, attribute, getattr(function, attribute))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def where(self) -> str:
        """Give file and line of the function."""
        code = getattr(self._function, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(self._function)

    def _changed(self: Self, **changes: Any) -> Self:
        changed = copy.copy(self)
        for name, value in changes.items():
            setattr(changed, name, value)
        return changed

    def _bind(self: Self, instance: object) -> Self:
        if instance is None:
            return self
        return self._changed(bound=(instance,), signature=Signature(self._function, skip_first=True))


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
    ) -> None:
        super().__init__(function, name, "step")
        self.retry = _policy(retry)
        self.timeout = _timeout(timeout)
        if at_most_once not in (True, False):  # users without a type checker give anything
            raise InvalidDefinition(f"at_most_once must be True or False, got {at_most_once!r}")
        self.at_most_once = at_most_once
        self.key: str | None = None

    def _with(self: Self, options: StepOptions) -> Self:
        changes: dict[str, Any] = dict(options)
        unknown = changes.keys() - StepOptions.__annotations__.keys()
        if unknown:
            raise InvalidDefinition(f"a step has no option {sorted(unknown)[0]!r}; it has {_names(StepOptions)}")
        if "key" in changes:
            check_name(changes["key"], "the key of a step")
        if "name" in changes:
            check_name(changes["name"], "the name of a step")
        if "retry" in changes:
            changes["retry"] = _policy(changes["retry"])
        if "timeout" in changes:
            changes["timeout"] = _timeout(changes["timeout"])
        return self._changed(**changes)


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
        return self._function

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
        return self._bind(instance)


@final
class SyncStep(AnyStep[P, T]):
    """A plain function that runs in a thread, its result recorded, when a workflow calls it.

    A plain workflow calls it as it is, an async one by `everlog.call`; elsewhere it is a plain call of the function.
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
        return self._function

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
        return self._bind(instance)


class AnyWorkflow(Definition[P, T_co]):
    """What async and plain workflows share."""

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(function, name, "workflow")
        self.id: str | None = None
        _register(self)

    def _with(self: Self, options: WorkflowOptions) -> Self:
        unknown = options.keys() - WorkflowOptions.__annotations__.keys()
        if unknown:
            raise InvalidDefinition(
                f"a workflow has no option {sorted(unknown)[0]!r}; it has {_names(WorkflowOptions)}"
            )
        if "id" in options:
            check_id(options["id"])
        return self._changed(**options)

    def _refused(self, *, is_async: bool) -> WrongContext:
        """Give the error of whoever calls it as a function."""
        name = self.__wrapped__.__name__
        if active.execution is None:
            return WrongContext(
                f'{self.name} is a workflow: "await engine.start({name}, ...)" runs it durably, or with sync.Engine '
                f'"engine.start({name}, ...)"; {name}.fn(...) is the bare function'
            )
        if is_async != (active.strand is None):
            part = ""
        elif is_async:
            part = f', or call "await {name}.fn(...)" to run it as a part of this workflow'
        else:
            part = f', or call "{name}.fn(...)" to run it as a part of this workflow'
        return WrongContext(f"{self.name} is a workflow, and this version has no child workflows: make it a step{part}")


@final
class Workflow(AnyWorkflow[P, T]):
    """An async function that runs durably, by `engine.start(workflow, ...)`."""

    if TYPE_CHECKING:

        async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
            raise NotImplementedError

    else:

        def __call__(self, /, *args, **kwargs):
            raise self._refused(is_async=True)

    @property
    def fn(self) -> Callable[P, Coroutine[Any, Any, T]]:
        """The function itself."""
        return self._function

    def options(self, **options: Unpack[WorkflowOptions]) -> Workflow[P, T]:
        """Give the workflow with other options."""
        return self._with(options)


@final
class SyncWorkflow(AnyWorkflow[P, T]):
    """A plain function that runs durably, by `engine.start(workflow, ...)`: blocking code on threads of the engine."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        raise self._refused(is_async=False)

    @property
    def fn(self) -> Callable[P, T]:
        """The function itself."""
        return self._function

    def options(self, **options: Unpack[WorkflowOptions]) -> SyncWorkflow[P, T]:
        """Give the workflow with other options."""
        return self._with(options)


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
    `name` is its name in the log, by default the qualified name of the function.
    Raises `InvalidDefinition` for what cannot be a step.
    """
    if fn is None:
        return functools.partial(step, **defaults)
    _check_defaults(defaults, StepDefaults, "step")
    function = _plain(fn, "step")
    made: AnyStep[..., Any] = Step(function, **defaults) if is_async(function) else SyncStep(function, **defaults)
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
    Raises `InvalidDefinition` for what cannot be a workflow.
    """
    if fn is None:
        return functools.partial(workflow, **defaults)
    _check_defaults(defaults, WorkflowDefaults, "workflow")
    function = _plain(fn, "workflow")
    made: AnyWorkflow[..., Any] = (
        Workflow(function, **defaults) if is_async(function) else SyncWorkflow(function, **defaults)
    )
    return made


_registry: Final[dict[str, AnyWorkflow[..., Any]]] = {}


_packages: Final[set[str]] = set()


def defining_packages() -> frozenset[str]:
    """Give the top-level packages that define workflows or steps: their exceptions are rebuilt from the log."""
    return frozenset(_packages)


def registered_workflows() -> dict[str, AnyWorkflow[..., Any]]:
    """Give all workflows that were defined in this process, by name."""
    return dict(_registry)


def _register(defined: AnyWorkflow[..., Any]) -> None:
    before = _registry.get(defined.name)
    if before is not None:
        if before.__module__ != defined.__module__:
            raise InvalidDefinition(
                f"two workflows are called {defined.name!r}: {before.where()} and {defined.where()}; "
                "give one of them name="
            )
        log.info("workflow %r is defined again at %s, and replaces %s", defined.name, defined.where(), before.where())
    _registry[defined.name] = defined


def _plain(function: Any, kind: str) -> Callable[..., Any]:
    if isinstance(function, staticmethod | classmethod):
        raise InvalidDefinition(f"put @staticmethod or @classmethod above @{kind}, not below")
    if isinstance(function, Definition):
        raise InvalidDefinition(f"{function!r} is defined already; it cannot be made a {kind}")
    if not callable(function):
        raise InvalidDefinition(f"only a function can be a {kind}, got {function!r}")
    if isinstance(function, type):
        raise InvalidDefinition(f"{function!r} is a class, which cannot be a {kind}; write a function that makes one")
    # The attribute itself is wanted, not whether it is callable.
    call: Any = function if inspect.isfunction(function) else getattr(function, "__call__", function)  # noqa: B004
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in (function, call)):
        raise InvalidDefinition(f"{function!r} is a generator, which cannot be a {kind}; return a list instead")
    plain: Callable[..., Any] = function
    return plain


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a function, or an object that is called like one, gives something to await."""
    # The attribute itself is wanted, not whether it is callable.
    called = getattr(function, "__call__", function)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _name_of(function: Callable[..., Any], name: str | None, kind: str) -> str:
    if name is None:
        inner = function.func if isinstance(function, functools.partial) else function
        name = str(getattr(inner, "__qualname__", type(inner).__qualname__))
        if "<lambda>" in name:
            raise InvalidDefinition(f"a lambda has no name to find it by again; give the {kind} name=")
    return check_name(name, f"the name of a {kind}")


def _policy(retry: Any) -> RetryPolicy | None:
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InvalidDefinition(f"retry must be a RetryPolicy, got {retry!r}; write RetryPolicy(max_attempts=...)")
    return retry


def _timeout(timeout: Duration | None) -> int | None:
    return None if timeout is None else microseconds(timeout, what="timeout of a step")


def _check_defaults(defaults: dict[str, Any], known: Any, kind: str) -> None:
    unknown = defaults.keys() - known.__annotations__.keys()
    if unknown:
        raise InvalidDefinition(f"@{kind} takes no {sorted(unknown)[0]!r}; it takes {_names(known)}")


def _names(known: Any) -> str:
    return ", ".join(known.__annotations__)
