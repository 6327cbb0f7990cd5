"""Conversations: what of the messages of a run is recorded as the input of a model request, and their times.

The input of a model request decides what a fork does again. So it has what the run was asked, what the model said and
what the tools gave; not the instructions and system prompts, which are code: a changed prompt makes no history unfit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from pydantic_ai.messages import ModelMessage, RetryPromptPart
from pydantic_core import to_jsonable_python

_PROMPT: Final = "system-prompt"
_TOLD: Final = ("tool_name", "tool_call_id", "args", "content")
"""What is told of each part. Named one by one, so that a field that a later version adds changes no input."""


def conversation(messages: Sequence[ModelMessage]) -> dict[str, Any]:
    """Give what is recorded of the messages that a model is asked with: the last, and a digest of those before."""
    told = [_message(one) for one in messages]
    earlier = msgspec.json.encode(told[:-1], order="deterministic")
    return {
        "message": told[-1] if told else None,
        "earlier": len(told[:-1]),
        "digest": hashlib.sha256(earlier).hexdigest()[:32],
    }


def jsonable(value: object) -> Any:
    """Give a value as JSON data; what has no such form is told by its type."""
    return to_jsonable_python(value, bytes_mode="base64", fallback=lambda other: type(other).__qualname__)


def _message(message: ModelMessage) -> dict[str, Any]:
    return {"kind": message.kind, "parts": [_part(one) for one in message.parts if one.part_kind != _PROMPT]}


def _part(part: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": part.part_kind}
    for name in _TOLD:
        value = getattr(part, name, None)
        if value is None:
            continue
        if isinstance(part, RetryPromptPart) and isinstance(value, list):
            # The details of an error have an address that names the version of pydantic.
            value = [[one["type"], list(one["loc"])] for one in part.content if not isinstance(one, str)]
        told[name] = jsonable(value)
    return told


class Times:
    """Gives the messages of one run the time of the log: what is made in workflow code is made again in each replay."""

    def __init__(self, before: Iterable[ModelMessage]) -> None:
        self._settled: dict[int, object] = {}
        """By identity, held so that no other object takes that: the messages and parts whose time stands."""
        for message in before:
            self._keep(message)
            for part in message.parts:
                self._keep(part)

    def settle(self, messages: Iterable[ModelMessage], now: datetime) -> None:
        """Set the times of requests that are new. Answers of a model come from a step, and have theirs from there."""
        for message in messages:
            if message.kind == "request":
                for part in message.parts:
                    self.settle_part(part, now)
                if id(message) not in self._settled and message.timestamp is not None:
                    message.timestamp = now
                    self._keep(message)

    def settle_part(self, part: Any, now: datetime) -> None:
        """Set the time of a part that is new."""
        if id(part) not in self._settled and isinstance(getattr(part, "timestamp", None), datetime):
            part.timestamp = now
            self._keep(part)

    def _keep(self, one: object) -> None:
        self._settled[id(one)] = one
