"""Options: what the decorators and `options` take, for the type checkers. Nothing is checked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from everlog.core.attributes import GivenAttributes
from everlog.core.durations import Duration
from everlog.core.events import WhenParentEnds
from everlog.core.retry import RetryPolicy


class StepDefaults(TypedDict, total=False):
    """What `@step` takes."""

    name: str
    retry: RetryPolicy | None
    timeout: Duration | None
    at_most_once: bool
    unrecorded: Sequence[str]
    process: bool


class StepOptions(TypedDict, total=False):
    """What `step.options` takes, for a call; the `key` names the call within its workflow."""

    key: str
    name: str
    retry: RetryPolicy | None
    timeout: Duration | None


class WorkflowDefaults(TypedDict, total=False):
    """What `@workflow` takes."""

    name: str
    timeout: Duration | None
    unrecorded: Sequence[str]
    attributes: GivenAttributes


class WorkflowOptions(TypedDict, total=False):
    """What `workflow.options` takes: an `id`, which names the workflow in the whole database, a `timeout`, `attributes`
    beside those it has, and for a child also a `key`, which names its start within the parent, and what becomes of it
    when the parent ends."""

    id: str
    timeout: Duration | None
    attributes: GivenAttributes
    key: str
    when_parent_ends: WhenParentEnds
