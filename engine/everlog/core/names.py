"""Names: what ids, topics and names of things may look like."""

from __future__ import annotations

from typing import Final

from everlog.errors import UsageError

LONGEST: Final = 512
RESERVED: Final = "everlog:"
CHILD_ENDED: Final = f"{RESERVED}child ended"
"""The topic on which a parent is told that a child has ended."""


def check_id(workflow_id: str) -> str:
    """Give the id back; `UsageError` where it cannot name a workflow."""
    return _check(workflow_id, "a workflow id")


def check_topic(topic: str) -> str:
    """Give the topic back; `UsageError` where it cannot name one."""
    if _check(topic, "a topic").startswith(RESERVED):
        raise UsageError(f"topics that begin with {RESERVED!r} are Everlog's own, got {topic!r}; choose another")
    return topic


def check_name(name: str, what: str) -> str:
    """Give the name of a definition or key back; `UsageError` naming `what` where it cannot be one."""
    return _check(name, what)


def check_value_name(name: str) -> str:
    """Give the name of a value back; `UsageError` where it cannot be one."""
    if _check(name, "the name of a value").startswith(RESERVED):
        raise UsageError(f"values that begin with {RESERVED!r} are Everlog's own, got {name!r}; choose another name")
    return name


def check_reason(reason: str) -> str:
    """Give the reason for a cancel back; `UsageError` where it is no text that can be recorded."""
    # Users without a type checker give anything.
    if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a reason must be a string, got {reason!r}")
    if any("\ud800" <= character <= "\udfff" for character in reason):
        raise UsageError(f"a reason must not contain lone surrogates, got {reason[:60]!r}")
    return reason


def _check(text: str, what: str) -> str:
    # Users without a type checker give anything.
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} must be a string, got {text!r}")
    if not text:
        raise UsageError(f"{what} must not be empty")
    if len(text) > LONGEST:
        raise UsageError(f"{what} must have at most {LONGEST} characters, got {len(text)}: {text[:40]!r}...")
    if not text.isascii() or not text.isprintable():
        for position, character in enumerate(text):
            if character == "\0" or "\ud800" <= character <= "\udfff":
                raise UsageError(f"{what} must not contain NUL or lone surrogates, got {text[:60]!r} at {position}")
    return text


def another_id(workflow_id: str, seq: int) -> str:
    """Give the id of a workflow that takes the place of one that its parent started before it was rewound at `seq`."""
    ending = f"~{seq}"
    return workflow_id[: LONGEST - len(ending)] + ending


def time_ordered_id(now: int, token: str) -> str:
    """Give a new id, a UUID of version 7 (RFC 9562): ids that are made one after the other lie together in an index.

    `now` is in microseconds since 1970, `token` 32 random hexadecimal digits.
    """
    time = f"{now // 1000:012x}"
    return f"{time[:8]}-{time[8:]}-7{token[:3]}-{'89ab'[int(token[3], 16) & 3]}{token[4:7]}-{token[7:19]}"
