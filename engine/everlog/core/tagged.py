"""Values without a declared type <-> plain data: JSON's own types as they are, standard types under a tag.

A dict with a key that JSON or the tags would confuse is written as a tagged list of pairs. The containers are written
over any way to convert their items, so that declared ones are written alike. User classes are not encoded here.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Final, cast

import msgspec

from everlog.core.plain import (
    Convert,
    Trouble,
    decode_float,
    decode_int,
    decode_text,
    encode_bool,
    encode_float,
    encode_int,
    encode_none,
    encode_text,
    is_dict,
    is_list,
    is_object,
    is_tuple,
    is_unicode,
    misread,
    type_text,
    untag,
)
from everlog.core.standard import STANDARD

_sort_key: Final = msgspec.json.Encoder(order="sorted").encode


# ---- containers, over any way to convert their items


def encode_each(items: Iterable[object], encode: Convert) -> list[object]:
    """Encode the items in order."""
    out: list[object] = []
    try:
        out.extend(map(encode, items))  # what was encoded before an error is in there
    except Trouble as trouble:
        trouble.under(len(out))
        raise
    return out


decode_each: Final = encode_each
"""Decode the items in order: the same walk, with the other converter."""


def encode_set(items: Iterable[object], encode: Convert) -> list[object]:
    """Encode the items in the order of their encodings, the same in every process."""
    return sorted(encode_each(items, encode), key=_sort_key)


def encode_dict(value: dict[object, object], encode_key: Convert, encode_item: Convert) -> dict[str, object]:
    """Encode as a JSON object where the keys allow it, otherwise as tagged pairs."""
    out: dict[str, object] = {}
    key: object = None
    try:
        for key, item in value.items():
            name = key if type(key) is str and encode_key is encode_untyped else encode_key(key)
            if type(name) is not str or type(key) is not str or not _is_plain_key(name):
                return _encode_pairs(value, encode_key, encode_item)
            out[name] = encode_item(item)
    except Trouble as trouble:
        trouble.under(key)
        raise
    return out


def _is_plain_key(name: str) -> bool:
    return name[:1] != "$" and (name.isascii() or is_unicode(name))


def _encode_pairs(value: dict[object, object], encode_key: Convert, encode_item: Convert) -> dict[str, object]:
    pairs: list[list[object]] = []
    for key, item in value.items():
        try:
            pairs.append([encode_key(key), encode_item(item)])
        except Trouble as trouble:
            trouble.under(key)
            raise
    return {"$": "dict", "v": pairs}


def decode_dict(plain: object, decode_key: Convert, decode_item: Convert) -> dict[object, object]:
    """Rebuild a dict from an object or from tagged pairs."""
    if not is_object(plain):
        raise misread("dict", plain)
    key: object = None
    out: dict[object, object] = {}
    try:
        if "$" not in plain:
            for key, item in plain.items():
                out[decode_key(key)] = decode_item(item)
            return out
        pairs = untag(plain, "dict")
        if not is_list(pairs):
            raise misread("dict", plain)
        for key, item in cast("list[tuple[object, object]]", pairs):
            out[decode_key(key)] = decode_item(item)
    except Trouble as trouble:
        trouble.under(key)
        raise
    except (ValueError, TypeError) as error:  # no pair, or a key that cannot be hashed
        raise misread("dict", plain, str(error)) from error
    return out


def build_set(kind: type[set[object]] | type[frozenset[object]], plain: object, decode: Convert) -> object:
    """Rebuild a set or frozenset from a list."""
    if not is_list(plain):
        raise misread(kind.__name__, plain)
    try:
        return kind(decode_each(plain, decode))
    except TypeError as error:  # an item that cannot be hashed
        raise misread(kind.__name__, plain, str(error)) from error


# ---- the untyped encoding


def encode_untyped(value: object) -> object:
    """Give a JSON or standard value as plain data; `Trouble` where it, or anything inside, is neither."""
    encode = _ENCODERS.get(type(value))
    if encode is None:
        raise _without_encoding(value)
    return encode(value)


def decode_untyped(plain: object) -> object:
    """Rebuild what `encode_untyped` was given."""
    if is_list(plain):
        return decode_each(plain, decode_untyped)
    if not is_object(plain):
        return plain
    if "$" not in plain:
        return decode_dict(plain, decode_untyped, decode_untyped)
    tag = plain["$"]
    decode = _DECODERS.get(tag) if type(tag) is str else None
    if decode is None:
        raise misread("a tag of this version of Everlog", tag)
    return decode(plain)


def _without_encoding(value: object) -> Trouble:
    kind = type(value)
    name = type_text(kind)
    if is_declarable(kind):
        return Trouble(
            f"{name} can only be recorded where it is declared; annotate the parameter, field or return value with "
            "it (an annotation that cannot be resolved at run time, such as a name imported only for type checking, "
            "counts as none)"
        )
    return Trouble(f"{name} has no encoding; pass what identifies or describes it, such as an id or a path")


def is_declarable(kind: type) -> bool:
    """Tell whether instances of the class can be recorded where it is the declared type."""
    marks = ("__struct_fields__", "__dataclass_fields__", "__pydantic_serializer__", "__members__")
    return any(hasattr(kind, mark) for mark in marks) or is_named_tuple(kind)


def is_named_tuple(kind: type) -> bool:
    """Tell whether the class is a tuple of named fields."""
    return hasattr(kind, "_fields") and tuple in kind.__mro__


def _encode_list(value: object) -> object:
    assert is_list(value)
    return encode_each(value, encode_untyped)


def _encode_tuple(value: object) -> object:
    assert is_tuple(value)
    return {"$": "tuple", "v": encode_each(value, encode_untyped)}


def _encode_set(value: object) -> object:
    return {"$": type(value).__name__, "v": encode_set(cast("set[object]", value), encode_untyped)}


def _encode_dict(value: object) -> object:
    assert is_dict(value)
    return encode_dict(value, encode_untyped, encode_untyped)


def _decode_tuple(plain: object) -> object:
    items = untag(plain, "tuple")
    if not is_list(items):
        raise misread("tuple", plain)
    return tuple(decode_each(items, decode_untyped))


def _decode_set(plain: object) -> object:
    return build_set(set, untag(plain, "set"), decode_untyped)


def _decode_frozenset(plain: object) -> object:
    return build_set(frozenset, untag(plain, "frozenset"), decode_untyped)


def _decode_pairs(plain: object) -> object:
    return decode_dict(plain, decode_untyped, decode_untyped)


_ENCODERS: Final[dict[type, Convert]] = {
    NoneType: encode_none,
    bool: encode_bool,
    int: encode_int,
    float: encode_float,
    str: encode_text,
    list: _encode_list,
    tuple: _encode_tuple,
    set: _encode_set,
    frozenset: _encode_set,
    dict: _encode_dict,
    **{standard.kind: standard.encode_tagged for standard in STANDARD},
}

_DECODERS: Final[dict[str, Convert]] = {
    "int": decode_int,
    "float": decode_float,
    "str": decode_text,
    "tuple": _decode_tuple,
    "set": _decode_set,
    "frozenset": _decode_frozenset,
    "dict": _decode_pairs,
    **{standard.tag: standard.decode for standard in STANDARD},
}
