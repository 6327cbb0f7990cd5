"""Options: what the decorators and `options` take, for the type checkers. Nothing is checked here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from everlog.core.attributes import GivenAttributes
from everlog.core.durations import Duration
from everlog.core.event_parts import WhenParentEnds
from everlog.core.keeping import Retention
from everlog.core.retry import RetryPolicy
from everlog.core.schedules import Schedule
from everlog.replay.placing import IfDuplicate
from everlog.replay.queues import Queue


class StepDefaults(TypedDict, total=False):
    """What `@step` takes."""

    name: str
    retry: RetryPolicy | None
    timeout: Duration | None
    at_most_once: bool
    unrecorded: Sequence[str]
    process: bool
    limit: Queue | str | None
    transaction: bool | Callable[[], Any]


class StepOptions(TypedDict, total=False):
    """What `step.options` takes, for a call; the `key` names the call within its workflow."""

    key: str
    name: str
    retry: RetryPolicy | None
    timeout: Duration | None


class WorkflowDefaults(TypedDict, total=False):
    """What `@workflow` takes."""

    name: str
    version: str | None
    timeout: Duration | None
    schedule: Schedule | None
    unrecorded: Sequence[str]
    queue: Queue | str | None
    attributes: GivenAttributes
    retention: Duration | Retention | None


class WorkflowOptions(TypedDict, total=False):
    """What `workflow.options` takes: an `id`, which names the workflow in the whole database, a `timeout`, `attributes`
    beside those it has, a `version`, which only processes run that have that version of its code, None: any code of its
    name, and for a child also a `key`, which names its start within the parent, and what becomes of it
    when the parent ends.

    A `delay` is the least time before it begins. In a `queue` the lower `priority` goes first, 0 where none is given;
    the `partition`s of a queue take turns; and of those that have not ended at most one has a `dedup_key`: another
    start with that key gives the handle of the one that has it, or with `if_duplicate` "raise" raises `Duplicate`, or
    with "replace" gives its input to the one that has not begun, and puts it off by its delay again, up to `max_delay`
    after the first.
    """

    id: str
    version: str | None
    timeout: Duration | None
    attributes: GivenAttributes
    key: str
    when_parent_ends: WhenParentEnds
    queue: Queue | str | None
    priority: int
    delay: Duration
    max_delay: Duration
    dedup_key: str
    if_duplicate: IfDuplicate
    partition: str
