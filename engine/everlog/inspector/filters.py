"""Filters: which workflows a URL asks for, and the URL of a question. It asks no store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams

from everlog.core.finding import Place
from everlog.errors import UsageError

TEXTS: Final = ("id_prefix", "name", "version", "parent", "forked_from")
SIFTED: Final = ("queue", "error")
"""What no store finds workflows by: see `sifting`."""
TIMES: Final = ("created_after", "created_before", "ended_after", "ended_before")
_WITH_ERROR: Final = ("failed", "stuck")
_MARK: Final = "~"


class Sieve(msgspec.Struct, frozen=True, kw_only=True):
    """What is sought of workflows that were found: the name of the queue, and a part of the error."""

    queue: str = ""
    error: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL asks for: filters as `Client.workflows` takes them, and the page."""

    filters: Mapping[str, Any]
    newest_first: bool
    after: Place | None
    query: Mapping[str, list[str]]
    """The same as parameters of a URL, without the page."""
    sieve: Sieve | None = None

    @property
    def has_more(self) -> bool:
        """Whether something is asked for that is seldom asked for."""
        return not self.query.keys() <= {"state", "name", "id_prefix", "attribute"}


def asked(params: QueryParams) -> Asked:
    """Read the parameters of a URL. Raises `UsageError` for what cannot be read."""
    filters: dict[str, Any] = {}
    query: dict[str, list[str]] = {}
    states = [state for state in params.getlist("state") if state]
    if states:
        filters["state"], query["state"] = states, states
    for name in (*TEXTS, *TIMES):
        text = params.get(name, "").strip()
        if text:
            filters[name] = moment_in(text, name) if name in TIMES else text
            query[name] = [text]
    attributes = [text.strip() for text in params.getlist("attribute") if text.strip()]
    if attributes:
        filters["attributes"], query["attribute"] = _attributes(attributes), attributes
    sifted = {name: text for name in SIFTED if (text := params.get(name, "").strip())}
    query |= {name: [text] for name, text in sifted.items()}
    if "error" in sifted and not states:
        filters["state"] = list(_WITH_ERROR)
    oldest_first = params.get("order") == "oldest"
    if oldest_first:
        query["order"] = ["oldest"]
    return Asked(
        filters=filters,
        newest_first=not oldest_first,
        after=_place(params.get("after", "")),
        query=query,
        sieve=Sieve(**sifted) if sifted else None,
    )


def mark_of(place: Place) -> str:
    """Give a place in a listing as a parameter of a URL."""
    return f"{place[0]}{_MARK}{place[1]}"


def _place(text: str) -> Place | None:
    if not text:
        return None
    time, separator, workflow_id = text.partition(_MARK)
    if not separator or not (time.isascii() and time.isdigit() and len(time) < 19):
        raise UsageError(f"this is no place in the list: {text[:60]!r}; go to the first page")
    return int(time), workflow_id


def moment_in(text: str, name: str) -> datetime:
    """Read a time of a form or a URL; one without a zone is UTC. Raises `UsageError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name} must be a time such as 2026-11-21T09:30 (UTC), got {text[:60]!r}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _attributes(texts: list[str]) -> dict[str, list[str | int | float | bool]]:
    """Read NAME=VALUE, the value as text and as the number or truth value that it may be."""
    found: dict[str, list[str | int | float | bool]] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"an attribute is sought as NAME=VALUE, such as region=eu, got {text[:60]!r}")
        found.setdefault(name, []).append(value)
        try:
            found[name].append(_scalar.decode(value))
        except msgspec.MsgspecError:
            continue
    return found


_scalar: Final = msgspec.json.Decoder(str | int | float | bool)
