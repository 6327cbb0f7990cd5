"""Unreadable: what becomes of a workflow whose payload does not fit the code, or cannot be opened: it is stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlog.errors import EverlogError, PayloadUnavailable
from everlog.replay.divergence import CannotGoOn

if TYPE_CHECKING:
    from everlog.replay.execution import Execution


def cannot_read(execution: Execution, error: EverlogError) -> CannotGoOn:
    """Have the workflow stuck, also where its code catches everything; give what is to be raised."""
    if isinstance(error, PayloadUnavailable):
        why = f"workflow {execution.workflow_id!r}: {why_unavailable(error)}"
    else:
        why = (
            f"workflow {execution.workflow_id!r}: a recorded value does not fit the code: "
            f"{execution.environment.said(error)}. Its history is untouched. Deploy code whose types fit "
            "it, and the workflow goes on by itself."
        )
    execution.broken = CannotGoOn(why)
    return execution.broken


def why_unavailable(error: PayloadUnavailable) -> str:
    """Say why a payload could not be read, and what is to be done."""
    return (
        f"a payload cannot be opened here: {error}. Its history is untouched. An engine that can open it takes it up "
        "by itself; where that is this one after all, retry it."
    )
