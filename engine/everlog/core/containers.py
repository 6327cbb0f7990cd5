"""Containers, enums and literals as shapes, over the shapes of what they hold. Knows no type forms."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

from everlog.core.collected import MAPPINGS, decode_deque, decode_mapping, encode_deque, encode_mapping, is_deque
from everlog.core.plain import (
    Trouble,
    decode_int,
    dict_check,
    encode_int,
    is_dict,
    is_list,
    is_object,
    is_tuple,
    list_check,
    misread,
    type_text,
    unfit,
    untag,
)
from everlog.core.tagged import decode_untyped, encode_untyped
from everlog.core.unions import EVERYTHING, Shape, kind_of
from everlog.core.walks import build_set, decode_dict, decode_each, encode_dict, encode_each, encode_set


def list_of(item: Shape) -> Shape:
    name = f"list[{item.name}]"
    encode_item, decode_item = item.encode, item.decode

    def encode(value: object) -> object:
        if not is_list(value):
            raise unfit(name, value)
        return encode_each(value, encode_item)

    def decode(plain: object) -> object:
        if not is_list(plain):
            raise misread(name, plain)
        return decode_each(plain, decode_item)

    is_plain = list_check(item.scalars) if item.scalars else None
    return Shape(name, {list}, {"list"}, encode, decode, is_plain=is_plain)


def tuple_of_any_length(item: Shape) -> Shape:
    name = f"tuple[{item.name}, ...]"
    encode_item, decode_item = item.encode, item.decode

    def encode(value: object) -> object:
        if not is_tuple(value):
            raise unfit(name, value)
        return encode_each(value, encode_item)

    def decode(plain: object) -> object:
        items = untag(plain, "tuple")
        if not is_list(items):
            raise misread(name, plain)
        return tuple(decode_each(items, decode_item))

    return Shape(name, {tuple}, {"list"}, encode, decode)


def tuple_of(items: Sequence[Shape]) -> Shape:
    name = f"tuple[{', '.join(item.name for item in items) or '()'}]"

    def encode(value: object) -> object:
        if not is_tuple(value) or len(value) != len(items):
            raise unfit(name, value)
        values = iter(value)
        return encode_each(items, lambda item: cast("Shape", item).encode(next(values)))

    def decode(plain: object) -> object:
        inner = untag(plain, "tuple")
        if not is_list(inner) or len(inner) != len(items):
            raise misread(name, plain)
        plains = iter(inner)
        return tuple(decode_each(items, lambda item: cast("Shape", item).decode(next(plains))))

    return Shape(name, {tuple}, {"list"}, encode, decode)


def set_of(kind: type[set[object]] | type[frozenset[object]], item: Shape) -> Shape:
    name = f"{kind.__name__}[{item.name}]"

    def encode(value: object) -> object:
        if type(value) is not kind:
            raise unfit(name, value)
        return encode_set(cast("set[object]", value), item.encode)

    def decode(plain: object) -> object:
        return build_set(kind, untag(plain, kind.__name__), item.decode)

    return Shape(name, {kind}, {"list"}, encode, decode)


def dict_of(key: Shape, item: Shape) -> Shape:
    name = f"dict[{key.name}, {item.name}]"

    def encode(value: object) -> object:
        if not is_dict(value):
            raise unfit(name, value)
        return encode_dict(value, key.encode, item.encode, takes_text=str in key.scalars)

    def decode(plain: object) -> object:
        return decode_dict(plain, key.decode, item.decode)

    is_plain = dict_check(item.scalars) if item.scalars and str in key.scalars else None
    return Shape(name, {dict}, {"object", "$dict"}, encode, decode, is_plain=is_plain)


def deque_of(item: Shape) -> Shape:
    def encode(value: object) -> object:
        return encode_deque(value, item.encode)

    def decode(plain: object) -> object:
        return decode_deque(plain, item.decode)

    return Shape(f"deque[{item.name}]", {deque}, {"$deque", "list"}, encode, decode)


def mapping_of(kind: type, key: Shape, item: Shape) -> Shape:
    """Give the shape of one of the dicts of `collections`."""

    def encode(value: object) -> object:
        return encode_mapping(kind, value, key.encode, item.encode, takes_text=str in key.scalars)

    def decode(plain: object) -> object:
        return decode_mapping(kind, plain, key.decode, item.decode)

    return Shape(f"{kind.__name__}[{key.name}, {item.name}]", {kind}, {f"${MAPPINGS[kind]}"}, encode, decode)


def any_mapping_of(title: str, key: Shape, item: Shape) -> Shape:
    """Give the shape of an abstract mapping: the type of dict is kept, its keys and items have the declared ones."""
    known = {dict: dict_of(key, item), **{kind: mapping_of(kind, key, item) for kind in MAPPINGS}}
    by_tag = {tag: known[kind] for kind, tag in MAPPINGS.items()}
    name = f"{title}[{key.name}, {item.name}]"

    def encode(value: object) -> object:
        shape = known.get(type(value))
        if shape is None:
            raise unfit(name, value)
        return shape.encode(value)

    def decode(plain: object) -> object:
        tag = plain.get("$") if is_object(plain) else None
        shape = by_tag.get(tag) if isinstance(tag, str) else None
        return (shape or known[dict]).decode(plain)

    kinds = frozenset[str]().union(*(shape.kinds for shape in known.values()))
    return Shape(name, known, kinds, encode, decode, is_plain=known[dict].is_plain)


def collection_of(title: str, item: Shape) -> Shape:
    """Give the shape of an abstract collection: the container's own type is kept, its items have the declared one."""

    def encode(value: object) -> object:
        if is_list(value):
            return encode_each(value, item.encode)
        if is_tuple(value):
            return {"$": "tuple", "v": encode_each(value, item.encode)}
        if type(value) in (set, frozenset):
            return {"$": type(value).__name__, "v": encode_set(cast("set[object]", value), item.encode)}
        return encode_deque(value, item.encode) if is_deque(value) else encode_untyped(value)

    def decode(plain: object) -> object:
        if is_list(plain):
            return decode_each(plain, item.decode)
        tag = plain.get("$") if is_object(plain) else None
        if tag == "set":
            return build_set(set, untag(plain, "set"), item.decode)
        if tag == "frozenset":
            return build_set(frozenset, untag(plain, "frozenset"), item.decode)
        if tag == "deque":
            return decode_deque(plain, item.decode)
        items = untag(plain, "tuple")
        if tag == "tuple" and is_list(items):
            return tuple(decode_each(items, item.decode))
        return decode_untyped(plain)

    return Shape(f"{title}[{item.name}]", None, EVERYTHING, encode, decode)


def literal_of(values: Sequence[object]) -> Shape:
    rows: list[tuple[object, object]] = []
    for known in values:
        kind = type(known)
        name = known.name if isinstance(known, enum.Enum) else encode_untyped(known)
        forms = (name, *({"$": "literal", "of": of, "v": name} for of in (kind.__name__, type_text(kind))))
        taken = [(type(plain), plain) for _, plain in rows]
        rows.append((known, next((plain for plain in forms if (type(plain), plain) not in taken), name)))
    title = f"Literal[{', '.join(map(repr, values))}]"

    def encode(value: object) -> object:
        for known, plain in rows:
            if type(value) is type(known) and value == known:
                return plain
        raise unfit(title, value)

    def decode(plain: object) -> object:
        for known, recorded in rows:
            if type(plain) is type(recorded) and plain == recorded:
                return known
        raise misread(title, plain)

    kinds = {kind_of(plain) for _, plain in rows}
    return Shape(title, {type(known) for known, _ in rows}, kinds, encode, decode)


def enum_of(kind: type[enum.Enum]) -> Shape:
    """Give the shape of an enum, recorded by the names of its members."""
    title = type_text(kind)

    def encode(value: object) -> object:
        if type(value) is not kind:
            raise unfit(title, value)
        name = value.name
        if kind.__members__.get(name) is not value:
            raise Trouble(f"{value!r} is no named member of {title}, so it cannot be recorded by its name")
        return name

    def decode(plain: object) -> object:
        if type(plain) is not str or plain not in kind.__members__:
            raise misread(title, plain)
        return kind.__members__[plain]

    return Shape(kind.__name__, {kind}, {"str"}, encode, decode, full=title)


def flag_of(kind: type[enum.Flag]) -> Shape:
    """Give the shape of a flag enum, recorded by its value, since combinations have no name."""
    title = type_text(kind)

    def encode(value: object) -> object:
        if type(value) is not kind:
            raise unfit(title, value)
        return encode_int(value.value)

    def decode(plain: object) -> object:
        number = decode_int(plain)
        try:
            return cast("Any", kind)(number)
        except ValueError as error:
            raise misread(title, plain, str(error)) from error

    return Shape(kind.__name__, {kind}, {"int", "$int"}, encode, decode, full=title)
