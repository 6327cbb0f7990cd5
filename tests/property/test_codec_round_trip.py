"""Every value of every supported type comes back with its type and value, or is refused with a path."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from everlog.core.codec import JsonCodec, canonical
from everlog.errors import NotEncodable

codec = JsonCodec()


class Suit(enum.Enum):
    HEARTS = "h"
    SPADES = 2


class Leaf(msgspec.Struct, frozen=True):
    a: int
    b: str = "x"


class Pair(NamedTuple):
    left: float
    right: bytes


@dataclass
class Tree:
    value: int | str | None
    children: list[Tree] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def same(left: object, right: object) -> bool:
    """Equal, with equal types at every level, NaN being itself and zeros having signs."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return repr(left) == repr(right)
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))  # type: ignore[arg-type]
    if isinstance(left, dict) and isinstance(right, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, set | frozenset):
        return sorted(map(tagged, left)) == sorted(map(tagged, right))  # type: ignore[call-overload]
    if isinstance(left, Tree) and isinstance(right, Tree):
        return same(vars(left), vars(right))
    if isinstance(left, datetime | time) and isinstance(right, datetime | time):
        return (repr(left), left.fold) == (repr(right), right.fold)
    return left == right


def tagged(value: object) -> str:
    """The value with its type as text, the same for equal sets."""
    if isinstance(value, set | frozenset | tuple):
        items = [tagged(item) for item in value]
        return f"{type(value).__name__} {items if isinstance(value, tuple) else sorted(items)}"
    return f"{type(value).__name__} {value!r}"


# Every character, lone surrogates and NUL among them.
text = st.text(st.characters())
ZONES = st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns"), ZoneInfo("UTC")])
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
datetimes = st.datetimes(timezones=st.none() | ZONES | OFFSETS)
times = st.times(timezones=st.none() | OFFSETS)

BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    bool: st.booleans(),
    int: st.integers() | st.integers(-(10**40), 10**40),
    float: st.floats(),
    str: text,
    bytes: st.binary(),
    datetime: datetimes,
    date: st.dates(),
    time: times,
    timedelta: st.timedeltas(),
    Decimal: st.decimals().filter(lambda number: not number.is_snan()),  # which cannot be hashed
    UUID: st.uuids(),
    Suit: st.sampled_from(Suit),
    Leaf: st.builds(Leaf, st.integers(), text),
    Pair: st.builds(Pair, st.floats(), st.binary()),
    Literal["a", 1, True, None]: st.sampled_from(["a", 1, True, None]),
    PurePosixPath: st.lists(st.text(st.characters(exclude_characters="\0"), max_size=3)).map(
        lambda parts: PurePosixPath("/".join(parts))
    ),
}
HASHABLE = [kind for kind in BY_TYPE if kind is not Pair]

scalars = st.one_of(*(BY_TYPE[kind] for kind in (None, bool, int, float, str, bytes, datetime, date, Decimal, UUID)))
hashables = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
untyped = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashables, max_size=4),
        st.dictionaries(text | st.sampled_from(["$", "$type", "v"]), inner, max_size=3),
        st.dictionaries(hashables, inner, max_size=3),
    ),
    max_leaves=12,
)
trees = st.recursive(
    st.builds(Tree, st.none() | st.integers() | text, st.just([]), st.dictionaries(text, untyped, max_size=1)),
    lambda inner: st.builds(Tree, st.integers(), st.lists(inner, max_size=3)),
    max_leaves=5,
)
BY_TYPE[Tree] = trees


def containers(of: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    def around(drawn: tuple[Any, Any]) -> st.SearchStrategy[tuple[Any, Any]]:
        kind, values = drawn
        return st.sampled_from(
            [
                (list[kind], st.lists(values, max_size=3)),
                (tuple[kind, ...], st.lists(values, max_size=3).map(tuple)),
                (tuple[kind, int], st.tuples(values, st.integers())),
                (dict[str, kind], st.dictionaries(text, values, max_size=3)),
                (dict[int, kind], st.dictionaries(st.integers(), values, max_size=3)),
                (kind | None if kind is not None else None, st.none() | values),
                (kind | Leaf | Tree if kind is not None else Leaf | Tree, values if kind else BY_TYPE[Leaf]),
            ]
        )

    return of.flatmap(around)


simple = st.sampled_from(list(BY_TYPE.items()))
declared_types = st.recursive(simple, containers, max_leaves=3)


@given(untyped)
def test_values_without_a_declared_type_come_back(value: object) -> None:
    payload = codec.encode(value)
    assert same(codec.decode(payload), value)
    payload.decode()
    assert codec.encode(value) == payload


@given(st.data())
def test_values_of_a_declared_type_come_back(data: st.DataObject) -> None:
    declared, values = data.draw(declared_types)
    value = data.draw(values)
    payload = codec.encode(value, declared)
    back = codec.decode(payload, declared)
    assert same(back, value), (declared, payload, back)


@given(st.data())
def test_a_value_of_another_type_is_refused_with_a_path_or_comes_back_too(data: st.DataObject) -> None:
    declared, _ = data.draw(declared_types)
    value = data.draw(untyped)
    try:
        payload = codec.encode(value, declared, what="the value")
    except NotEncodable as error:
        assert str(error).startswith("the value, at $")  # noqa: PT017 - both outcomes are allowed
        return
    back = codec.decode(payload, declared)
    assert same(back, value) or codec.encode(back, declared) == payload


@given(st.data())
def test_sets_of_declared_items_come_back_in_one_order(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(HASHABLE))
    values = data.draw(st.lists(BY_TYPE[kind], max_size=5))
    declared = set[kind]  # type: ignore[valid-type]
    left = set(values)
    right = set[Any]()
    for value in sorted(left, key=tagged, reverse=True):  # the same members, in another order
        right.add(value)
    payload = codec.encode(left, declared)
    assert codec.encode(right, declared) == payload
    assert same(codec.decode(payload, declared), left)


@given(untyped)
def test_the_canonical_form_is_one_and_means_the_same(value: object) -> None:
    payload = codec.encode(value)
    assert canonical(canonical(payload)) == canonical(payload)
    back = codec.decode(canonical(payload))
    assert canonical(codec.encode(back)) == canonical(payload)
