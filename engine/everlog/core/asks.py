"""Asks: the topics and bodies of the messages by which questions and answers travel, and not what is done with them.

An ask is a message on a topic apart from that of plain messages of the same name. The answer to a workflow is a message
too, on a topic that names the ask by its number; the answer to anybody else is a row beside the log of the workflow
that answers, like a value, which its name alone can find.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from everlog.core.names import LONGEST, RESERVED, check_name, check_topic
from everlog.errors import CorruptLog, UsageError

ASK: Final = f"{RESERVED}ask "
"""What the topic of an ask begins with."""
REPLY: Final = f"{RESERVED}reply "
"""What the topic of an answer begins with, and the name of the row of one."""
ANSWER: Final = f"{RESERVED}answer "
"""What the topic of a message begins with that is for just one wait."""
AGAIN: Final = f"{RESERVED}again "
"""What it begins with in memory, where such a message is received again after a rewinding."""

_ABSENT: Final = Raw()


class Asked(Struct, frozen=True, omit_defaults=True):
    """The body of an ask. `reply_to` names the row of the answer; None: it goes to the workflow that asked."""

    message: Raw
    reply_to: str | None = None


class Answered(Struct, frozen=True, omit_defaults=True):
    """The body of an answer: what was answered, or why it was refused."""

    answer: Raw = _ABSENT
    refused: str | None = None


encode: Final = msgspec.json.Encoder().encode
_asked: Final = msgspec.json.Decoder(Asked)
_answered: Final = msgspec.json.Decoder(Answered)


def asked_of(payload: bytes) -> Asked:
    """Read the body of an ask; `CorruptLog` where it is none."""
    try:
        return _asked.decode(payload)
    except msgspec.MsgspecError as error:
        raise CorruptLog(f"this is no ask: {payload[:120]!r} ({error})") from error


def answered_of(payload: bytes) -> Answered:
    """Read the body of an answer; `CorruptLog` where it is none."""
    try:
        return _answered.decode(payload)
    except msgspec.MsgspecError as error:
        raise CorruptLog(f"this is no answer to an ask: {payload[:120]!r} ({error})") from error


def ask_topic(topic: str) -> str:
    """Give the topic on which asks about a topic travel; `UsageError` where it cannot be one."""
    return ASK + _short(check_topic(topic), ASK, "the topic of an ask")


def reply_topic(number: int) -> str:
    """Give the topic on which the answer to a workflow's ask comes; `number` is that of its message."""
    return f"{REPLY}{number}"


def answer_topic(seq: int) -> str:
    """Give the topic, and the key, of the message for just the wait that the event of this seq has opened."""
    return f"{ANSWER}{seq}"


def answered_again(operation: str) -> str:
    """Give the topic of such a message that is received again by the wait of the same operation."""
    return f"{AGAIN}{operation}"


def reply_to_key(key: str) -> str:
    """Give the name of the row of the answer to all asks of one key; `UsageError` where it cannot be a key."""
    start = f"{REPLY}key "
    return start + _short(check_name(key, "the key of an ask"), start, "the key of an ask")


def reply_to_client(name: str, number: int) -> str:
    """Give the name of the row of the answer to an ask without a key, from its source and number."""
    return f"{REPLY}{name} {number}"


def spoken_topic(topic: str) -> str:
    """Give the topic as users know it."""
    return topic.removeprefix(ASK)


def _short(text: str, start: str, what: str) -> str:
    most = LONGEST - len(start)
    if len(text) > most:
        raise UsageError(f"{what} must have at most {most} characters, got {len(text)}: {text[:40]!r}...")
    return text
