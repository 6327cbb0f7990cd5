"""Collected: the containers of `collections` <-> plain data, each under a tag, over any way to convert what they hold.

The factory of a defaultdict is code, and code is not recorded: only a builtin type is, by its name.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Final, TypeGuard, cast

from everlog.core.plain import Convert, Trouble, is_object, misread, short, type_text, unfit
from everlog.core.walks import decode_dict, decode_each, decode_pairs, encode_dict, encode_each, encode_pairs

_FACTORIES: Final[dict[str, Callable[[], object] | None]] = {
    "": None,
    **{kind.__name__: kind for kind in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple)},
}

MAPPINGS: Final[dict[type, str]] = {OrderedDict: "ordered_dict", Counter: "counter", defaultdict: "defaultdict"}
"""The dicts that are more than one, with their tags."""


def is_deque(value: object) -> TypeGuard[deque[object]]:
    """Tell whether the value is a deque, of no subclass."""
    return type(value) is deque


def encode_deque(value: object, encode_item: Convert) -> object:
    """Encode a deque, with its limit where it has one."""
    if not is_deque(value):
        raise unfit("collections.deque", value)
    out: dict[str, object] = {"$": "deque", "v": encode_each(value, encode_item)}
    if value.maxlen is not None:
        out["maxlen"] = value.maxlen
    return out


def decode_deque(plain: object, decode_item: Convert) -> object:
    """Rebuild a deque; a list that was recorded where one is declared now becomes one."""
    maxlen = plain.get("maxlen") if is_object(plain) else None
    items = plain.get("v") if is_object(plain) and plain.get("$") == "deque" else plain
    if type(items) is not list or not (maxlen is None or (type(maxlen) is int and maxlen >= 0)):
        raise misread("collections.deque", plain)
    return deque(decode_each(cast("list[object]", items), decode_item), maxlen)


def encode_mapping(
    kind: type, value: object, encode_key: Convert, encode_item: Convert, *, takes_text: bool
) -> dict[str, object]:
    """Encode a dict of one of `MAPPINGS`."""
    if type(value) is not kind:
        raise unfit(type_text(kind), value)
    items = cast("dict[object, object]", value)
    if kind is OrderedDict:  # whose order has a meaning, unlike that of the keys of a JSON object
        return {"$": MAPPINGS[kind], "v": encode_pairs(items, encode_key, encode_item)}
    out: dict[str, object] = {"$": MAPPINGS[kind]}
    if kind is defaultdict:
        out["of"] = _factory_name(cast("defaultdict[object, object]", value))
    out["v"] = encode_dict(items, encode_key, encode_item, takes_text=takes_text)
    return out


def decode_mapping(kind: type, plain: object, decode_key: Convert, decode_item: Convert) -> object:
    """Rebuild a dict of one of `MAPPINGS`."""
    if not is_object(plain) or plain.get("$") != MAPPINGS[kind]:
        raise misread(type_text(kind), plain)
    if kind is OrderedDict:
        return OrderedDict(decode_pairs(plain.get("v"), decode_key, decode_item))
    held = decode_dict(plain.get("v"), decode_key, decode_item)
    if kind is Counter:
        made: dict[object, object] = cast("dict[object, object]", Counter())
        dict[object, object].update(made, held)  # the update of a Counter adds up
        return made
    factory = plain.get("of")
    if not isinstance(factory, str) or factory not in _FACTORIES:
        raise misread("the name of a builtin type", factory)
    return defaultdict(_FACTORIES[factory], held)


def _factory_name(value: defaultdict[object, object]) -> str:
    for name, factory in _FACTORIES.items():
        if value.default_factory is factory:
            return name
    raise Trouble(
        f"a defaultdict whose factory is {short(value.default_factory)} cannot be recorded, since that is code; "
        "convert it with dict(...), or use a builtin type as factory"
    )
