"""Unions: which member a value or a piece of recorded data belongs to. Also `Shape`, the compiled form of any type.

A member whose data could be mistaken for another's is recorded with its name, `{"$type": "Approve", "$value": ...}`,
the others as they are. Data without a name, such as was recorded before the union had that other member, is given
to the first member, in the declared order, that it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from everlog.core.plain import Convert, Trouble, is_list, is_object, misread, scalar_check, unfit
from everlog.core.records import UNION_TYPE, UNION_VALUE

EVERYTHING: Final = frozenset({"anything"})
"""The kinds of a shape whose data may look like any other's."""

_NULL: Final = frozenset({"null"})


class Shape:
    """How values of one declared type are encoded and decoded.

    `types` are the exact Python types that it takes (None: any), `kinds` the kinds of data that it gives, `members`
    the shapes that it chooses from, if it is a union. `full` tells apart shapes of the same name. `is_plain` tells
    whether a value is its own plain data, so that it need not be converted on either way; it may say no to one that is.
    `scalars` are the scalar types of which such values are.
    """

    __slots__ = ("decode", "encode", "full", "is_plain", "kinds", "members", "name", "scalars", "types")

    def __init__(
        self,
        name: str,
        types: Iterable[type] | None,
        kinds: Iterable[str],
        encode: Convert,
        decode: Convert,
        *,
        full: str = "",
        members: Sequence[Shape] = (),
        scalars: Iterable[type] = (),
        is_plain: Callable[[object], bool] | None = None,
    ) -> None:
        self.name = name
        self.full = full or name
        self.types = None if types is None else frozenset(types)
        self.kinds: frozenset[str] = EVERYTHING if kinds is EVERYTHING else frozenset(kinds)
        self.encode = encode
        self.decode = decode
        self.members = members or (self,)
        self.scalars = frozenset(scalars)
        self.is_plain = is_plain or (scalar_check(self.scalars) if self.scalars else None)


class Branch(NamedTuple):
    """A member of a union, and the name that it is recorded with where its data is not plain enough."""

    shape: Shape
    tag: str | None

    def encode(self, value: object) -> object:
        plain = self.shape.encode(value)
        return plain if self.tag is None else {UNION_TYPE: self.tag, UNION_VALUE: plain}


def kind_of(plain: object) -> str:
    """Give the kind of a piece of plain data: JSON's kinds, with floats apart from integers and each tag its own."""
    if plain is None:
        return "null"
    if is_object(plain):
        return f"${plain['$']}" if "$" in plain else "object"
    return type(plain).__name__


def union_of(shapes: Sequence[Shape]) -> Shape:
    """Give the shape of a union of these; where that is only one, itself."""
    members: list[Shape] = []
    for shape in shapes:
        members.extend(member for member in shape.members if member not in members)
    if len(members) == 1:
        return members[0]
    if len(members) == 2 and any(member.kinds == _NULL for member in members):
        other = members[0] if members[1].kinds == _NULL else members[1]
        if "null" not in other.kinds and other.kinds is not EVERYTHING:
            return _optional(other, members)
    union = _Union(members)
    types = [member.types for member in members]
    taken = None if None in types else frozenset[type]().union(*(kinds for kinds in types if kinds is not None))
    kinds = frozenset({"object"}).union(*(member.kinds for member in members))
    if any(member.kinds is EVERYTHING for member in members):
        kinds = EVERYTHING
    return Shape(union.name, taken, kinds, union.encode, union.decode, members=members, scalars=union.scalars)


def _optional(shape: Shape, members: Sequence[Shape]) -> Shape:
    inner_encode, inner_decode = shape.encode, shape.decode

    def encode(value: object) -> object:
        return None if value is None else inner_encode(value)

    def decode(plain: object) -> object:
        return None if plain is None else inner_decode(plain)

    types = None if shape.types is None else shape.types | {type(None)}
    scalars = shape.scalars | {type(None)} if shape.scalars else ()
    kinds = shape.kinds | {"null"}
    return Shape(f"{shape.name} | None", types, kinds, encode, decode, members=members, scalars=scalars)


class _Union:
    def __init__(self, members: Sequence[Shape]) -> None:
        self.name = " | ".join(member.name for member in members)
        tags = _tags(members)
        self._branches = [
            Branch(member, tags[place] if _is_ambiguous(member, members) else None)
            for place, member in enumerate(members)
        ]
        self._by_tag = dict(zip(tags, members, strict=True))
        self._by_type: dict[type, list[Branch]] = {}
        for branch in self._branches:
            for kind in branch.shape.types or ():
                self._by_type.setdefault(kind, []).append(branch)
        self._open = [branch for branch in self._branches if branch.shape.types is None]
        self.scalars = frozenset[type]().union(*(b.shape.scalars for b in self._branches if b.tag is None))
        if int not in self._by_type:
            self._by_type[int] = self._by_type.get(float, [])

    def encode(self, value: object) -> object:
        branches = self._by_type.get(type(value), ())
        if len(branches) == 1 and not self._open:
            return branches[0].encode(value)
        deepest: Trouble | None = None
        best: tuple[int, object] | None = None
        for branch in (*branches, *self._open):
            try:
                plain = branch.encode(value)
            except Trouble as trouble:
                deepest = trouble if deepest is None or len(trouble.path) > len(deepest.path) else deepest
                continue
            floats = _count_floats(plain)
            if floats == 0:
                return plain
            if best is None or floats < best[0]:  # the others made floats of ints
                best = floats, plain
        if best is not None:
            return best[1]
        raise deepest or unfit(self.name, value)

    def decode(self, plain: object) -> object:
        if is_object(plain) and UNION_TYPE in plain:
            tag = plain[UNION_TYPE]
            member = self._by_tag.get(tag) if isinstance(tag, str) else None
            if member is None:
                raise misread(self.name, tag)
            return member.decode(plain.get(UNION_VALUE))
        kind = kind_of(plain)
        likely = [b.shape for b in self._branches if kind in b.shape.kinds or b.shape.kinds is EVERYTHING]
        if len(likely) == 1:
            return likely[0].decode(plain)
        for member in likely or [branch.shape for branch in self._branches]:
            try:
                return member.decode(plain)
            except Trouble:
                continue
        raise misread(self.name, plain)


def _count_floats(plain: object) -> int:
    if is_list(plain):
        return sum(map(_count_floats, plain))
    if is_object(plain):
        return sum(map(_count_floats, plain.values()))
    return type(plain) is float


def _tags(members: Sequence[Shape]) -> list[str]:
    short = [member.name for member in members]
    full = [member.full if short.count(member.name) > 1 else member.name for member in members]
    return [f"{tag}#{place}" if full.count(tag) > 1 else tag for place, tag in enumerate(full)]


def _is_ambiguous(member: Shape, members: Sequence[Shape]) -> bool:
    return any(
        other is not member
        and (member.kinds is EVERYTHING or other.kinds is EVERYTHING or not member.kinds.isdisjoint(other.kinds))
        for other in members
    )
