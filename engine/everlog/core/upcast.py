"""Upcasting: old event bodies become today's, as bytes, before they are decoded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

Body = dict[str, object]
Upcaster = Callable[[Body], Body]

UPCASTERS: Final[Mapping[str, Upcaster]] = {}
"""By stored tag: turns a body written by an earlier release into today's form. Empty until a released body changes."""

_tag: Final = re.compile(rb'^\{"type":"([a-z_]+)"')


def upcast(payload: bytes, upcasters: Mapping[str, Upcaster] = UPCASTERS) -> bytes:
    """Give the body in today's form; the same bytes where nothing is to be done."""
    if not upcasters:
        return payload
    found = _tag.match(payload)
    upcaster = upcasters.get(found[1].decode()) if found else None
    if upcaster is None:
        return payload
    return msgspec.json.encode(upcaster(msgspec.json.decode(payload, type=dict[str, object])))
