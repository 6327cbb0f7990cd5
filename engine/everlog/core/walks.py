"""Walks: containers <-> plain data, over any way to convert what they hold, so that declared ones are written alike.

A dict with a key that JSON or the tags would confuse is written as a tagged list of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

import msgspec

from everlog.core.plain import Convert, Trouble, is_list, is_object, is_unicode, misread, untag

_sort_key: Final = msgspec.json.Encoder(order="sorted").encode


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


def encode_dict(
    value: dict[object, object], encode_key: Convert, encode_item: Convert, *, takes_text: bool
) -> dict[str, object]:
    """Encode as a JSON object where all keys are text and may be (`takes_text`), otherwise as tagged pairs."""
    out: dict[str, object] = {}
    key: object = None
    try:
        for key, item in value.items():
            if type(key) is not str or not takes_text or not _is_plain_key(key):
                return {"$": "dict", "v": encode_pairs(value, encode_key, encode_item)}
            out[key] = encode_item(item)
    except Trouble as trouble:
        trouble.under(key)
        raise
    return out


def _is_plain_key(name: str) -> bool:
    return name[:1] != "$" and (name.isascii() or is_unicode(name))


def encode_pairs(value: dict[object, object], encode_key: Convert, encode_item: Convert) -> list[list[object]]:
    """Encode as a list of pairs, in order."""
    pairs: list[list[object]] = []
    for key, item in value.items():
        try:
            pairs.append([encode_key(key), encode_item(item)])
        except Trouble as trouble:
            trouble.under(key)
            raise
    return pairs


def decode_dict(plain: object, decode_key: Convert, decode_item: Convert) -> dict[object, object]:
    """Rebuild a dict from an object or from tagged pairs."""
    if not is_object(plain):
        raise misread("dict", plain)
    if "$" in plain:
        return decode_pairs(untag(plain, "dict"), decode_key, decode_item)
    key: object = None
    out: dict[object, object] = {}
    try:
        for key, item in plain.items():
            out[decode_key(key)] = decode_item(item)
    except Trouble as trouble:
        trouble.under(key)
        raise
    except TypeError as error:  # a key that cannot be hashed
        raise misread("dict", plain, str(error)) from error
    return out


def decode_pairs(plain: object, decode_key: Convert, decode_item: Convert) -> dict[object, object]:
    """Rebuild a dict from a list of pairs."""
    if not is_list(plain):
        raise misread("dict", plain)
    key: object = None
    out: dict[object, object] = {}
    try:
        for key, item in cast("list[tuple[object, object]]", plain):
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
