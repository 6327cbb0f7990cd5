"""Calling: what may be called and started in workflow code, of whichever kind, and the operation that this is."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, cast

from everlog.errors import UsageError, WrongContext
from everlog.replay import asking, starting
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyStep, AnyWorkflow
from everlog.replay.execution import Execution
from everlog.replay.instances import unwrapped
from everlog.replay.lone_steps import alone
from everlog.replay.operations import Site


def call(
    execution: Execution,
    fn: object,
    what: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    called_at: Site | None = None,
) -> Coroutine[Any, Any, Any]:
    """Draw the operation of a call of a step or workflow, in whichever colour; `WrongContext` for anything else."""
    called = callable_of(fn, what)
    called_at = called_at or asking.site(2)
    if isinstance(called, AnyStep):
        return asking.call_step(execution, called, args, kwargs, called_at)
    return starting.call_child(execution, called, args, kwargs, called_at)


def callable_of(fn: object, what: str) -> AnyStep[..., Any] | AnyWorkflow[..., Any]:
    """Give back what is a step or a workflow; `WrongContext` for anything else."""
    fn = unwrapped(fn)
    if not isinstance(fn, AnyStep | AnyWorkflow):
        raise WrongContext(f"{what} takes a step or a workflow, got {fn!r}; decorate it with @step")
    return cast("AnyStep[..., Any] | AnyWorkflow[..., Any]", fn)


def startable_of(fn: object) -> AnyWorkflow[..., Any]:
    """Give the workflow that a start of `fn` is one of; that of a step calls it. `UsageError` where there is none."""
    definition: Definition[..., Any] = unwrapped(fn)
    if isinstance(definition, AnyStep):
        return alone(definition)
    if not isinstance(definition, AnyWorkflow):
        raise UsageError(f"only a workflow or a step can be started, got {fn!r}; decorate the function with @workflow")
    return definition


def kind_of(called: AnyStep[..., Any] | AnyWorkflow[..., Any]) -> str:
    """Give the word for what it is."""
    return "step" if isinstance(called, AnyStep) else "workflow"
