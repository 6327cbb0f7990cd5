"""Payloads: recorded data as text that may be shown: after the redaction hook, or hidden, and cut where it is long.

What is given here is plain text. That it is escaped in pages is the templates' business, all of which escape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from everlog.core.plain import is_list, is_object
from everlog.inspector.settings import Settings

MOST: Final = 65_536
"""Characters of one payload that are shown."""
BRIEF: Final = 140
HIDDEN: Final = "hidden"

_OUTCOMES: Final = (
    "result", "error", "outcome", "message", "answer", "value", "items", "reason", "input", "attributes", "metadata"
)  # fmt: skip
_SECRET: Final = frozenset({*_OUTCOMES, "instance", "large_input", "large_items", "schema", "created", "messages"})
"""The fields of events that hold what users gave."""


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


class Payloads:
    """Makes data fit to be shown, by the settings of an inspector."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def hides(self) -> bool:
        """Whether nothing that users gave is shown."""
        return self._settings.hide_payloads

    def variable(self, name: str, value: object) -> object:
        """Give what is shown in the place of a variable of code."""
        if self.hides:
            return _Hidden()
        return value if self._settings.redact is None else self._settings.redact(name, value)

    def shown(self, name: str, data: object) -> object:
        """Give data with what the hook puts in the place of its members. It is not for where all is hidden."""
        return self._redacted(name, data)

    def text(self, name: str, text: str) -> str:
        """Give a sentence or a traceback that may hold data of users."""
        if self.hides:
            return HIDDEN
        shown = self._redacted(name, text)
        return _cut(shown if isinstance(shown, str) else repr(shown), MOST)

    def pretty(self, name: str, data: object) -> str:
        """Give data as JSON over several lines."""
        if self.hides:
            return HIDDEN
        return _cut(msgspec.json.format(_json(self._redacted(name, data)), indent=2).decode(), MOST)

    def editable(self, name: str, data: object) -> str:
        """Give data as JSON that may be sent back; empty where it would not be the same, redacted or cut as it is."""
        text = self.pretty(name, data)
        try:
            return text if msgspec.json.decode(text) == data else ""
        except msgspec.DecodeError:
            return ""

    def label(self, name: str, value: object) -> str:
        """Give a short value, a text as it is."""
        return self.text(name, value) if isinstance(value, str) else self.brief(name, value)

    def brief(self, name: str, data: object) -> str:
        """Give data as the beginning of one line of JSON."""
        if self.hides:
            return HIDDEN
        return _cut(_json(self._redacted(name, data)).decode(), BRIEF)

    def of_event(self, data: Mapping[str, Any]) -> str:
        """Give in brief what an event brought: its outcome, or what it was asked with."""
        name = next((one for one in _OUTCOMES if one in data), None)
        if name is None:
            return ""
        held = data[name]
        if name in ("error", "outcome") and is_object(held):
            error: Any = held.get("error", held)
            if "type" in error and "message" in error:
                kind = str(error["type"]).rpartition(":")[2]
                return kind if self.hides else self.text("error", _cut(f"{kind}: {error['message']}", BRIEF))
            name, held = "result", held.get("result", held)
        return self.brief(name, held)

    def is_payload(self, name: str) -> bool:
        """Tell whether a field of an event holds what users gave."""
        return name in _SECRET

    def _redacted(self, name: str, data: object) -> object:
        hook = self._settings.redact
        if hook is None:
            return data
        try:
            given = hook(name, data)
        except Exception as error:  # noqa: BLE001 - a hook that fails hides the value
            return f"<{HIDDEN}: redact raised {type(error).__name__}>"
        if is_object(given):
            return {key: self._redacted(key, value) for key, value in given.items()}
        if is_list(given):
            return [self._redacted(name, value) for value in given]
        return given


def _json(data: object) -> bytes:
    try:
        return msgspec.json.encode(data)
    except (TypeError, ValueError):  # a hook gave what is no JSON
        return msgspec.json.encode(repr(data))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"
