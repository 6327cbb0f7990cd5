"""Conversation: the messages of models, tools and people in a recorded history, in the order in which they were said.

No library is known here, only the shapes in which all of them record: objects with a `role` and `content`, `parts` or
`tool_calls`. Agents hand all of it to the model again and again; what was shown already is not shown twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from everlog.core.plain import is_list, is_object
from everlog.inspector.payloads import Payloads
from everlog.runtime.status import history_event
from everlog.store import EventRow

DEEPEST: Final = 8
_GIVEN: Final = ("input", "created", "value", "items")
_CAME: Final = ("result", "outcome", "message", "answer")
_SIGNS: Final = (b'"role"', b'"part_kind"')
_ROLE_OF_PART: Final = {"system-prompt": "system", "user-prompt": "user", "tool-return": "tool", "retry-prompt": "tool"}

Kind = Literal["text", "thought", "call", "result", "data"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what was said. `name` is the tool that is called, or has answered."""

    kind: Kind
    text: str
    name: str = ""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A message, and the event that first has it."""

    seq: int
    role: str
    parts: list[Part]
    tokens_in: int = 0
    tokens_out: int = 0


class _Found(msgspec.Struct, frozen=True):
    message: Mapping[str, Any]
    usage: Mapping[str, Any]


def may_talk(rows: Iterable[EventRow]) -> bool:
    """Tell whether a history looks as if it had messages; cheap, and never False where it has some."""
    return any(sign in row.payload for row in rows for sign in _SIGNS)


def turns_of(rows: Iterable[EventRow], payloads: Payloads) -> list[Turn]:
    """Give what was said in a history."""
    turns: list[Turn] = []
    said: Counter[bytes] = Counter()
    for row in rows:
        if not may_talk([row]):
            continue
        event = history_event(row)
        given = [one for name in _GIVEN if name in event.data for one in _messages(event.data[name])]
        came = [one for name in _CAME if name in event.data for one in _messages(event.data[name])]
        # The one message of a result is new, whatever was said before; of several some may have been said.
        is_new = len(came) == 1 and event.type != "workflow_completed"
        for found, is_known in ((given, True), (came, not is_new)):
            for one in _unsaid(found, said) if is_known else found:
                said[_key(one)] += 1
                turns += _turns(event.seq, one, payloads)
    return turns


def _unsaid(found: Iterable[_Found], said: Counter[bytes]) -> list[_Found]:
    """Give what is there more often than it was said."""
    there: Counter[bytes] = Counter()
    new: list[_Found] = []
    for one in found:
        key = _key(one)
        there[key] += 1
        if there[key] > said[key]:
            new.append(one)
    return new


def _key(one: _Found) -> bytes:
    known = {name: one.message.get(name) for name in ("role", "kind", "content", "parts", "tool_calls", "tool_call_id")}
    return msgspec.json.encode(known, order="sorted")


def _messages(data: object, depth: int = 0, usage: Mapping[str, Any] | None = None) -> Iterator[_Found]:
    if depth > DEEPEST:
        return
    if is_list(data):
        for one in data:
            yield from _messages(one, depth + 1, usage)
    elif is_object(data):
        held = data.get("usage")
        usage = held if is_object(held) else usage
        if _is_message(data):
            yield _Found(data, usage or {})
        else:
            for one in data.values():
                yield from _messages(one, depth + 1, usage)


def _is_message(data: Mapping[str, Any]) -> bool:
    if isinstance(data.get("role"), str):
        return any(name in data for name in ("content", "parts", "tool_calls"))
    return data.get("kind") in ("request", "response") and is_list(data.get("parts"))


def _turns(seq: int, found: _Found, payloads: Payloads) -> list[Turn]:
    """Give a message as turns: one that holds what several have said is several."""
    message: Any = payloads.shown("message", found.message)
    if not is_object(message):
        return [Turn(seq=seq, role="", parts=[Part(kind="data", text=_text(message))])]
    role = str(message.get("role") or ("assistant" if message.get("kind") == "response" else "user"))
    by_role: dict[str, list[Part]] = {}
    for part_role, part in _parts(message, role):
        by_role.setdefault(part_role, []).append(part)
    tokens = [_tokens(found.usage, way) for way in ("input", "output")] if role in ("assistant", "model") else [0, 0]
    return [
        Turn(seq=seq, role=one, parts=parts, tokens_in=tokens[0], tokens_out=tokens[1])
        for one, parts in by_role.items()
    ]


def _parts(message: Mapping[str, Any], role: str) -> Iterator[tuple[str, Part]]:
    content = message.get("content")
    blocks: list[Any] = list(content) if is_list(content) else [] if content is None else [content]
    held = message.get("parts")
    blocks += held if is_list(held) else []
    for block in blocks:
        if isinstance(block, str):
            kind: Kind = "result" if role in ("tool", "function") else "text"
            name = str(message.get("name") or "") if kind == "result" else ""
            yield role, Part(kind=kind, text=block, name=name)
        elif is_object(block):
            yield _ROLE_OF_PART.get(str(block.get("part_kind", "")), role), _block(block)
        else:
            yield role, Part(kind="data", text=_text(block))
    calls = message.get("tool_calls")
    for call in calls if is_list(calls) else ():
        if is_object(call):
            function = call.get("function")
            yield role, _call(function if is_object(function) else call)


def _block(block: Mapping[str, Any]) -> Part:
    kind = str(block.get("part_kind") or block.get("type") or "")
    match kind.replace("-", "_"):
        case "tool_use" | "tool_call" | "function_call":
            return _call(block)
        case "tool_result" | "tool_return":
            return Part(kind="result", text=_text(block.get("content")), name=str(block.get("tool_name") or ""))
        case "thinking" | "reasoning":
            return Part(kind="thought", text=_text(block.get("thinking") or block.get("content") or block.get("text")))
        case _:
            text = block.get("text", block.get("content"))
            return Part(kind="text", text=text) if isinstance(text, str) else Part(kind="data", text=_text(block))


def _call(call: Mapping[str, Any]) -> Part:
    given: Any = next((call[name] for name in ("arguments", "args", "input") if call.get(name) is not None), None)
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError:
            return Part(kind="call", text=given, name=_name(call))
    return Part(kind="call", text="" if given is None else _text(given), name=_name(call))


def _name(call: Mapping[str, Any]) -> str:
    return str(call.get("tool_name") or call.get("name") or "a tool")


def _text(data: object) -> str:
    if isinstance(data, str):
        return data
    if is_list(data):
        texts = [one["text"] for one in data if is_object(one) and isinstance(one.get("text"), str)]
        if texts and len(texts) == len(data):
            return "\n".join(map(str, texts))
    try:
        return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()
    except (TypeError, ValueError):  # a hook gave what is no JSON
        return repr(data)


def _tokens(usage: Mapping[str, Any], way: str) -> int:
    other = "prompt" if way == "input" else "completion"
    found = next((usage[name] for name in (f"{way}_tokens", f"{other}_tokens") if name in usage), 0)
    return found if isinstance(found, int) else 0
