"""Pydantic AI on Everlog: agents whose runs inside of workflows are durable, and the names for that."""

try:
    import pydantic_ai.durable_exec as _durable_exec
except ImportError as missing:
    raise ImportError(
        "everlog.integrations.pydantic_ai needs pydantic-ai, 2.36 or newer, which is not installed: "
        'pip install "everlog[pydantic-ai]"'
    ) from missing
if not hasattr(_durable_exec, "CallableOperationBackend"):
    raise ImportError(
        "everlog.integrations.pydantic_ai needs pydantic-ai 2.36 or newer, and an older one is installed: "
        'pip install --upgrade "everlog[pydantic-ai]"'
    )

from everlog.integrations.pydantic_ai.durability import EverlogDurability
from everlog.integrations.pydantic_ai.people import Decision, EventAnswer, EventFailure, ToolResult, answer_event
from everlog.integrations.pydantic_ai.runs import StepConfig
from everlog.integrations.pydantic_ai.streams import agent_events

__all__ = [
    "Decision",
    "EventAnswer",
    "EventFailure",
    "EverlogDurability",
    "StepConfig",
    "ToolResult",
    "agent_events",
    "answer_event",
]
