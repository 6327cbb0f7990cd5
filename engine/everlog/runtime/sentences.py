"""Sentences: what is said of a workflow that could not be run on, or a message that could not be delivered."""

from __future__ import annotations

from everlog.replay.execution import Execution


def not_delivered(to: str, reason: str) -> str:
    if reason == "unknown":
        return f"there is no workflow {to!r} to send to; start it first"
    return f"workflow {to!r} has ended; nobody will read the message"


def poisoned(execution: Execution, takeovers: int) -> str:
    steps = ", ".join(repr(operation.identity) for operation in execution.steps.values()) or "no step"
    return (
        f"{takeovers} workers died while they held workflow {execution.workflow_id!r}, and it made no progress. "
        f"Open then: {steps}. If a step kills its process, mend it; another build goes on by itself"
    )
