"""Inputs: whether two starts under one id are the same start. Reads no store."""

from __future__ import annotations

from typing import Any

from everlog.core.codec import Codec, canonical
from everlog.core.events import WorkflowCreated
from everlog.errors import EverlogError
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.instances import runnable
from everlog.replay.registry import registered_workflows


def different_input(
    recorded: WorkflowCreated, now: WorkflowCreated, definition: AnyWorkflow[..., Any], codec: Codec
) -> tuple[bytes, bytes] | None:
    """Give the first difference of two starts of a workflow, what was recorded and what is now; None for the same.

    What differs as text is the same where it is the same once it was rebuilt through today's types.
    """
    before, after = bytes(recorded.instance), bytes(now.instance)
    if before != after and not (before and after and canonical(before) == canonical(after)):
        return before or b"another object", after or b"another object"
    before, after = bytes(recorded.input), bytes(now.input)
    if canonical(before) == canonical(after) or _same_today(definition, before, after, codec):
        return None
    return before, after


def _same_today(definition: AnyWorkflow[..., Any], recorded: bytes, given: bytes, codec: Codec) -> bool:
    if not definition.is_here:
        here = runnable(registered_workflows()).get(definition.name)
        if here is None:
            return False
        definition = here
    what = f"input of workflow {definition.name}"
    try:
        completed = [definition.signature.completed(codec, payload, what=what) for payload in (recorded, given)]
        return canonical(completed[0]) == canonical(completed[1])
    except (EverlogError, TypeError):
        return False
