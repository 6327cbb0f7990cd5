"""Asking: how a client asks a workflow, and waits for the answer. What it waits on is the engine's thread."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Raw
from msgspec.structs import replace

from everlog.core import asks
from everlog.core.codec import SELF
from everlog.core.durations import SECOND, Duration, microseconds
from everlog.core.names import check_id
from everlog.replay.requests import not_answered, refusal
from everlog.replay.sizes import check_size
from everlog.runtime.readers import ValueReader, values_of
from everlog.store import FoundValue

if TYPE_CHECKING:
    from everlog.runtime.client import Client


async def ask(
    client: Client, to: str, topic: str, message: object, declared: object, timeout: Duration, key: str | None
) -> Any:
    """Ask as `Client.ask` promises."""
    check_id(to)
    limit = microseconds(timeout, what="timeout of ask") / SECOND
    what = f"ask on topic {topic!r}"
    payload = client.codec.encode(message, SELF, what=what)
    check_size(payload, what)
    reply_to = None if key is None else asks.reply_to_key(key)
    asked = client.message(to, asks.ask_topic(topic), payload, key=reply_to)
    reply_to = reply_to or asks.reply_to_client(client.name, asked.number)
    body = asks.encode(asks.Asked(message=Raw(payload), reply_to=reply_to))
    await client.on_thread(lambda: values_of(client.store))  # which keep the answer
    await client.post(replace(asked, payload=body))
    try:
        async with asyncio.timeout(limit):
            found: FoundValue = await client.wait_for(partial(ValueReader, to, reply_to))
    except TimeoutError:
        raise TimeoutError(
            f"workflow {to!r} has not answered within {limit:g} s what it was asked on topic {topic!r}; its answer is "
            "not waited for any more"
        ) from None
    if found.value is None:
        raise refusal(to, topic, not_answered(to, str(found.state)))
    answered = asks.answered_of(found.value.payload)
    if answered.refused is not None:
        raise refusal(to, topic, answered.refused)
    return client.codec.decode(bytes(answered.answer), declared, what=f"answer of {to!r} on topic {topic!r}")
