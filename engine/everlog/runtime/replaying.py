"""Replaying: a recorded history applied to the code of this process, event by event. It has no effects and no store.

It is what an engine does when it takes up a workflow, and nothing after that: no step runs, nothing is written. The
code of the workflow runs, as in any replay, in this thread and as plain Python: so also under a debugger.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from everlog.core.codec import Codec, JsonCodec
from everlog.core.event_codec import decode_event
from everlog.core.log_lines import Exported
from everlog.core.rewinding import Lived, Stored, life_around, since_continued
from everlog.core.versions import told, workflow_of
from everlog.errors import CorruptLog, NotFound, UsageError
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.divergence import CannotGoOn
from everlog.replay.environment import Environment
from everlog.replay.execution import Execution
from everlog.replay.generators import GeneratorsHeld
from everlog.replay.instances import runnable, startable
from everlog.replay.registry import defining_packages, registered_workflows
from everlog.runtime.claims import first_creation, last_named

Definitions = Mapping[str, AnyWorkflow[..., Any]]
"""Workflows by their names in the log."""

_WORKER: Final = "replay"


def replay_environment(codec: Codec | None = None) -> Environment:
    """Give what replays in this process need from around them; one may serve many."""
    return Environment(
        codec=codec or JsonCodec(),
        may_import=lambda package: package in defining_packages(),
        python=platform.python_version(),
        worker=_WORKER,
    )


def known_workflows(workflow: AnyWorkflow[..., Any] | None = None) -> Definitions:
    """Give the workflows that this process has the code of; with `workflow`, that one in the place of its namesake."""
    found = dict(runnable(registered_workflows()))
    if workflow is not None:
        given = startable(workflow)
        namesakes = [name for name in found if workflow_of(name) == workflow_of(given.name)]
        found.update(dict.fromkeys([*namesakes, given.name, workflow_of(given.name)], workflow))
    return found


def decoded(exported: Exported) -> list[Stored]:
    """Give the events of a history. Raises `CorruptLog`."""
    return [(seq, at, decode_event(payload)) for seq, at, payload in exported.rows]


class Replay:
    """One history that is being replayed. It is closed when it is done with, since its code stands suspended.

    Without `at` it is what an engine would replay now. With it, it is what was replayed when the event of that seq was
    the last one: then what was made void later is there, and what was lived before the workflow continued as new.
    Raises `NotFound` where the code of the workflow is not here, `UsageError` where there is no such event, and
    `CorruptLog` where the history has no beginning.
    """

    def __init__(
        self,
        workflow_id: str,
        history: Sequence[Stored],
        definitions: Definitions,
        environment: Environment,
        *,
        at: int | None = None,
    ) -> None:
        if not history:
            raise CorruptLog(f"the history of {workflow_id!r} is empty; it has at least the event that created it")
        life = since_continued(history) if at is None else life_around(history, at)
        if not life and any(number == at for number, _, _ in history):
            raise UsageError(f"event {at} of workflow {workflow_id!r} does not count: the fork was made without it")
        if not life:
            raise UsageError(
                f"workflow {workflow_id!r} has no event {at}: its history has {history[0][0]} to {history[-1][0]}"
            )
        created = last_named(first_creation(workflow_id, life), life)
        definition = definitions.get(created.name)
        if definition is None:
            known = ", ".join(sorted(definitions)) or "none"
            raise NotFound(
                f"the code of workflow {workflow_id!r} is not here: it is a {told(created.name)}, and those that are "
                f"defined here are: {known}. Name the module that defines it"
            )
        self.workflow_id = workflow_id
        self.execution: Final = Execution(workflow_id, created, definition, environment, first_seq=life[0][0])
        self._lived: Final = Lived(life)
        self.execution.gaps_until = self._lived.gaps_until
        self.rows: Final = self._lived.rows
        """What is replayed, in order."""
        self.execution.patches.foresee(self.rows)
        self.stuck: CannotGoOn | None = None
        """Why it could not go on, once that is so."""
        self._done = 0

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def seq(self) -> int:
        """The seq of the last event that was applied, or at which it got stuck; before the first event, 0."""
        return self.rows[self._done - 1][0] if self._done else 0

    def next_row(self) -> Stored | None:
        """Give the event that comes next, None at the end and where it is stuck."""
        return self.rows[self._done] if self.stuck is None and self._done < len(self.rows) else None

    def advance(self) -> bool:
        """Apply the next event; False where there is none, or where history and code part at it."""
        row = self.next_row()
        if row is None:
            return False
        seq, recorded_at, event = row
        execution = self.execution
        self._done += 1
        execution.now = recorded_at
        execution.replaying = True
        try:
            execution.apply_in(self._lived, seq, recorded_at, event)
        except CannotGoOn as stuck:
            self.stuck = stuck
            return False
        return True

    def run(self, until: int | None = None) -> CannotGoOn | None:
        """Apply all that is left, or what is left up to this seq; give why it could not go on."""
        with GeneratorsHeld():
            while (until is None or self.seq < until) and self.advance():
                pass
        return self.stuck

    def close(self) -> None:
        """Drop the code. Its `finally` blocks run, as at parking; nothing that they do is recorded."""
        self.execution.tear_down()
