"""Functions: what a decorator can tell of the function and the options that it is given. Makes no definition."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from everlog.core.attributes import Attributes, AttributeValue, GivenAttributes, changed, checked
from everlog.core.durations import Duration, microseconds
from everlog.core.event_parts import WhenParentEnds
from everlog.core.names import check_name
from everlog.core.retry import RetryPolicy
from everlog.core.schedules import Schedule
from everlog.core.versions import check_unversioned
from everlog.errors import InvalidDefinition

Binds = Literal["instance", "class", "nothing"]
"""What a definition in the body of a class is given first: `nothing` for a static method."""


def binding_of(function: Any) -> Binds:
    """Tell to what a function binds when it is looked up on an object."""
    if isinstance(function, classmethod):
        return "class"
    return "nothing" if isinstance(function, staticmethod) else "instance"


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling it gives a coroutine."""
    # The attribute itself is wanted, not whether it is callable.
    called = getattr(function, "__call__", function)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def name_of(function: Callable[..., Any], name: str | None, kind: str) -> str:
    """Give its name in the log; `InvalidDefinition` where it has none."""
    if name is None:
        inner = function.func if isinstance(function, functools.partial) else function
        name = str(getattr(inner, "__qualname__", type(inner).__qualname__))
        if "<lambda>" in name:
            raise InvalidDefinition(f"a lambda has no name to find it by again; give the {kind} name=")
    check_name(name, f"the name of a {kind}")
    return check_unversioned(name, "the name of a workflow") if kind == "workflow" else name


def checked_policy(retry: Any) -> RetryPolicy | None:
    """Refuse what is no policy; users without a type checker give anything."""
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise InvalidDefinition(f"retry must be a RetryPolicy, got {retry!r}; write RetryPolicy(max_attempts=...)")
    return retry


def checked_timeout(timeout: Duration | None) -> int | None:
    """Give a timeout in microseconds."""
    return None if timeout is None else microseconds(timeout, what="timeout of a step")


def check_transaction(given: Any, name: str, *, process: bool, at_most_once: bool) -> None:
    """Refuse what opens no transaction, and what cannot hold together with one."""
    if given is not True and not callable(given):
        raise InvalidDefinition(
            f"transaction of step {name} must be True, for one in the engine's own database, or what is called to open"
            f" one, such as sessions.begin; got {given!r}"
        )
    if process:
        raise InvalidDefinition(f"step {name} runs in a process, where no transaction of this one is; leave one out")
    if at_most_once:
        raise InvalidDefinition(f"step {name} has a transaction, so it happens exactly once; leave out at_most_once")


def refuse_timeout(name: str) -> None:
    """Refuse a timeout of what runs in a thread and commits at its end."""
    raise InvalidDefinition(
        f"step {name} has a transaction and a timeout, and its thread cannot be stopped, so that it could commit after"
        " it was given up; write async def, or set a limit in the database"
    )


def checked_schedule(schedule: Any, function: Callable[..., Any], name: str) -> Schedule | None:
    """Refuse what is no schedule, and a workflow that cannot be started without arguments."""
    if schedule is None:
        return None
    if not isinstance(schedule, Schedule):  # users without a type checker give anything
        raise InvalidDefinition(f"schedule must be a Schedule, got {schedule!r}; write Schedule('0 9 * * *')")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise InvalidDefinition(
                f"workflow {name} has a schedule, which starts it without arguments, so its parameter"
                f" {parameter.name!r} needs a default; or give the schedule the arguments: engine.create_schedule(...)"
            )
    return schedule


def checked_attributes(before: Attributes, given: GivenAttributes, name: str) -> dict[str, AttributeValue]:
    """Give the attributes of a workflow that had others before."""
    return changed(before, checked(given, what=f"attributes of workflow {name}"))


def check_what_becomes(options: Mapping[str, object]) -> None:
    """Refuse what nobody could do with a child."""
    given = options.get("when_parent_ends", "cancel")
    if given not in get_args(WhenParentEnds):
        raise InvalidDefinition(f"when_parent_ends must be 'cancel', 'terminate' or 'leave', got {given!r}")


def check_defaults(defaults: dict[str, Any], known: Any, kind: str) -> None:
    """Refuse an option that a decorator does not take."""
    unknown = defaults.keys() - known.__annotations__.keys()
    if unknown:
        raise InvalidDefinition(f"@{kind} takes no {sorted(unknown)[0]!r}; it takes {names_of(known)}")


def names_of(known: Any) -> str:
    """Give the names of a table of options, for a message."""
    return ", ".join(known.__annotations__)
