"""Inputs: whether two starts under one id are the same start. Reads no store."""

from __future__ import annotations

from typing import Any

from everlog.core.codec import Codec
from everlog.core.events import WorkflowCreated
from everlog.core.versions import workflow_of
from everlog.errors import IdInUse
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.matching import same_arguments, same_object


def different_input(
    recorded: WorkflowCreated, now: WorkflowCreated, definition: AnyWorkflow[..., Any], codec: Codec
) -> tuple[bytes, bytes] | None:
    """Give the first difference of two starts of a workflow, what was recorded and what is now; None for the same.

    What differs as text is the same where it is the same once it was rebuilt through today's types.
    """
    before, after = bytes(recorded.instance), bytes(now.instance)
    if not same_object(before, after):
        return before or b"another object", after or b"another object"
    before, after = bytes(recorded.input), bytes(now.input)
    return None if same_arguments(definition, before, after, codec) else (before, after)


def different_start(
    recorded: WorkflowCreated, now: WorkflowCreated, definition: AnyWorkflow[..., Any], codec: Codec, workflow_id: str
) -> IdInUse | None:
    """Give the error of who starts a workflow under an id that another has; None where it is the same start."""
    if workflow_of(recorded.name) != workflow_of(now.name):
        return IdInUse(f"{workflow_id!r} is a workflow {recorded.name!r}, not {now.name!r}; choose another id")
    differing = different_input(recorded, now, definition, codec)
    if differing is None:
        return None
    before, after = differing
    return IdInUse(
        f"{workflow_id!r} is a workflow {recorded.name!r} started with another input: recorded "
        f"{before[:200].decode(errors='replace')}, now {after[:200].decode(errors='replace')}"
    )
