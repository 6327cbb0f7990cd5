"""People: who looks at the inspector, and what they may do there. How they prove who they are is not known here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, TypeAlias, cast

import msgspec
from starlette.requests import Request

from everlog.errors import UsageError

Role = Literal["viewer", "approver", "operator"]
"""A viewer looks, an approver answers what workflows wait for too, an operator may do all."""

_RANKS: Final[Mapping[Role, int]] = {"viewer": 0, "approver": 1, "operator": 2}
_LONGEST: Final = 80


class Visitor(msgspec.Struct, frozen=True):
    """Somebody who was recognised: the name under which changes are recorded, and the role."""

    name: str
    role: Role = "viewer"

    def may(self, needed: Role) -> bool:
        """Tell whether the role suffices."""
        return _RANKS[self.role] >= _RANKS[needed]


Authenticate: TypeAlias = Callable[[Request], Awaitable[Visitor | None] | Visitor | None]
"""Tells who sent a request; None where that is not known, which is refused."""


def checked(visitor: object) -> Visitor | None:
    """Give what an `Authenticate` of a user's gave; `UsageError` where that is no visitor, so that nobody gets in."""
    if visitor is None:
        return None
    if not isinstance(visitor, Visitor):
        raise UsageError(f"auth must give a Visitor or None, got {type(visitor).__name__}")
    name = cast("object", visitor.name)  # users without a type checker give anything
    printable = isinstance(name, str) and name.isprintable()
    if not printable or not 0 < len(visitor.name) <= _LONGEST or visitor.role not in _RANKS:
        raise UsageError(
            f"a Visitor has a printable name of at most {_LONGEST} characters and the role viewer, approver or "
            f"operator, got {visitor!r}"
        )
    return visitor
