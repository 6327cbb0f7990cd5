"""Values without a declared type <-> plain data: JSON's own types as they are, standard types under a tag.

User classes are not encoded here.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from types import CoroutineType, NoneType
from typing import Final, cast

from everlog.core.collected import MAPPINGS, decode_deque, decode_mapping, encode_deque, encode_mapping
from everlog.core.plain import (
    AWAIT,
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
    misread,
    type_text,
    untag,
)
from everlog.core.standard import STANDARD
from everlog.core.walks import build_set, decode_dict, decode_each, encode_dict, encode_each, encode_set


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
    right = AWAIT if kind is CoroutineType else "pass what identifies or describes it, such as an id or a path"
    return Trouble(f"{name} has no encoding; {right}")


def is_declarable(kind: type) -> bool:
    """Tell whether instances of the class can be recorded where it is the declared type."""
    marks = ("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__", "__pydantic_serializer__", "__members__")
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
    return encode_dict(value, encode_untyped, encode_untyped, takes_text=True)


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


def _encode_deque(value: object) -> object:
    return encode_deque(value, encode_untyped)


def _decode_deque(plain: object) -> object:
    return decode_deque(plain, decode_untyped)


def _encode_mapping(kind: type, value: object) -> object:
    return encode_mapping(kind, value, encode_untyped, encode_untyped, takes_text=True)


def _decode_mapping(kind: type, plain: object) -> object:
    return decode_mapping(kind, plain, decode_untyped, decode_untyped)


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
    deque: _encode_deque,
    **{kind: partial(_encode_mapping, kind) for kind in MAPPINGS},
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
    "deque": _decode_deque,
    **{tag: partial(_decode_mapping, kind) for kind, tag in MAPPINGS.items()},
    **{standard.tag: standard.decode for standard in STANDARD},
}
