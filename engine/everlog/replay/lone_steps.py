"""Lone steps: a step that is started by itself is a workflow of one step, which does nothing but call it.

Its name in the log is `step:` and that of the step, so that a step and a workflow may have the same name. Which steps
there are is asked when a name is looked for, since they may be defined at any time; those that two places define under
one name cannot be started, for nobody could say which of them goes on after a restart.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any, Final

from everlog.errors import InvalidDefinition, UsageError, WrongContext
from everlog.replay import asking
from everlog.replay.context import active
from everlog.replay.definitions import AnyStep, AnyWorkflow, Workflow
from everlog.replay.registry import registered_steps, state_of_steps

PREFIX: Final = "step:"

_started: Final[set[AnyStep[..., Any]]] = set()
"""Steps that were started here: kept, since they are looked for by their names as long as the process may run them."""


class WithSteps(Mapping[str, AnyWorkflow[..., Any]]):
    """Workflows by their names and, for each step of a name of its own, the workflow that calls it."""

    def __init__(self, workflows: Mapping[str, AnyWorkflow[..., Any]]) -> None:
        self._workflows = workflows

    def __getitem__(self, name: str) -> AnyWorkflow[..., Any]:
        found = self._workflows.get(name)
        return _of_one_name()[name] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def items(self) -> ItemsView[str, AnyWorkflow[..., Any]]:
        """Give all of them at once, as each claim wants them."""
        return self._all().items()

    def _all(self) -> dict[str, AnyWorkflow[..., Any]]:
        return {**_of_one_name(), **self._workflows}


_known: tuple[tuple[int, int], Mapping[str, AnyWorkflow[..., Any]]] = ((-1, -1), {})
"""What was found last, and of which steps. Engines ask on their own threads: it is exchanged as a
whole."""


def _of_one_name() -> Mapping[str, AnyWorkflow[..., Any]]:
    """Give the workflows of the steps whose name no other has."""
    global _known
    found_of, found = _known
    now = state_of_steps()
    if found_of != now:
        steps = [step for step in registered_steps() if _is_startable(step)]
        names = Counter(step.name for step in steps)
        found = {PREFIX + step.name: _workflow_of(step) for step in steps if names[step.name] == 1}
        _known = now, found
    return found


def alone(step: AnyStep[..., Any]) -> AnyWorkflow[..., Any]:
    """Give the workflow that calls this step; raises `UsageError` or `InvalidDefinition` where there can be none."""
    if step.key is not None:
        raise WrongContext(
            f"step {step.name} has the key {step.key!r}, which names a call within a workflow, and this starts it; "
            "leave key= out"
        )
    if step.is_changed:
        raise UsageError(
            f"step {step.name} is started with options of its own, which whoever goes on with it after a restart would "
            "not know; give them to @step, or start a workflow that calls it with them"
        )
    if _is_method(step):
        raise UsageError(
            f"step {step.name} is a method, whose object is not recorded, so that nobody could go on with it after a "
            "restart; start a workflow that calls it"
        )
    others = [one for one in registered_steps(step.name) if one is not step and _is_startable(one)]
    if others:
        raise InvalidDefinition(
            f"two steps are called {step.name!r}: {others[0].where()} and {step.where()}; to be started, one of them "
            "needs another name="
        )
    _started.add(step)
    return _workflow_of(step)


def _is_startable(step: AnyStep[..., Any]) -> bool:
    return not _is_method(step) and isinstance(_made(step), AnyWorkflow)


def _is_method(step: AnyStep[..., Any]) -> bool:
    return bool(step.bound) or (step.owner is not None and step.binds != "nothing")


def _workflow_of(step: AnyStep[..., Any]) -> AnyWorkflow[..., Any]:
    made = _made(step)
    if isinstance(made, UsageError):
        raise made
    return made


def _made(step: AnyStep[..., Any]) -> AnyWorkflow[..., Any] | UsageError:
    """Give the workflow, made once, or why there is none: it has a parameter that nobody would have a value for."""
    if step.alone is None:
        code = getattr(step.bare(), "__code__", None)
        called_at = None if code is None else (code.co_filename, code.co_firstlineno)

        # Its signature is that of the step.
        @functools.wraps(step.bare())
        async def call(*args: Any, **kwargs: Any) -> Any:
            execution = active.execution
            assert execution is not None
            return await asking.call_step(execution, step, args, kwargs, called_at)

        unrecorded = sorted(step.signature.unrecorded)
        # Its code is here, and it is found by the registry of steps: that of workflows does not know it.
        try:
            made = Workflow[..., Any](call, name=PREFIX + step.name, unrecorded=unrecorded, is_here=False)
        except UsageError as error:
            step.alone = error
        else:
            made.is_here = True
            step.alone = made
    return step.alone
