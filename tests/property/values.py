"""Types and values of them, of every kind that the codec knows, and what it means that two values are the same."""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

T = TypeVar("T")


class Suit(enum.Enum):
    HEARTS = "h"
    SPADES = 2
    ODD = object()


class Rank(enum.IntEnum):
    ACE = 1
    KING = 13


class Grade(enum.StrEnum):
    A = "a"
    B = "HEARTS"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Leaf(msgspec.Struct, frozen=True):
    a: int
    b: str = "x"


class Branch(msgspec.Struct, tag="branch", rename="camel", kw_only=True):
    left_leaf: Leaf
    more: list[Branch | Leaf] = msgspec.field(default_factory=list)
    unset: int | msgspec.UnsetType = msgspec.UNSET


class Pair(NamedTuple):
    left: float
    right: bytes


@dataclass
class Tree:
    value: int | str | None
    children: list[Tree] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    price: Decimal
    factor: InitVar[int] = 1
    total: Decimal = field(init=False, default=Decimal(0))


@dataclass
class Base:
    a: int


@dataclass
class Derived(Base):
    b: str = ""


@dataclass
class Box(Generic[T]):
    item: T
    spare: list[T]


class Options(TypedDict):
    url: str
    depth: NotRequired[int]


Marked = TypedDict("Marked", {"$": int, "$type": str})


class Person(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(alias="fullName")
    age: PositiveInt = 1
    friends: tuple[Person, ...] = ()

    @field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return name + "!"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Home(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


class Page(BaseModel, Generic[T]):
    items: list[T]


# ---- what it means to be the same


def form(value: object) -> str:
    """Give a text that two values share if they are the same: their types at every depth, NaN, signs and order too."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, enum.Enum):
        return f"{name}.{value.name}"
    if isinstance(value, deque):
        return f"{name}({[form(item) for item in value]}, {value.maxlen})"
    if isinstance(value, defaultdict):
        name += f" of {value.default_factory}"
    if isinstance(value, dict):
        return f"{name}({[(form(key), form(item)) for key, item in value.items()]})"
    if isinstance(value, set | frozenset):
        return f"{name}({sorted(map(form, value))})"
    if isinstance(value, list | tuple):
        return f"{name}({[form(item) for item in value]})"
    if isinstance(value, datetime | time):
        return f"{name} {value!r} {value.fold}"
    if isinstance(value, BaseModel):
        held = [(key, form(item)) for key, item in {**vars(value), **(value.model_extra or {})}.items()]
        return f"{name}({held}, {sorted(value.model_fields_set)})"
    if isinstance(value, msgspec.Raw):
        return f"{name} {bytes(value)!r}"
    if isinstance(value, msgspec.Struct):
        return f"{name}({[form(getattr(value, key)) for key in value.__struct_fields__]})"
    if is_dataclass(value):
        return f"{name}({[form(getattr(value, one.name)) for one in fields(value)]})"
    if isinstance(value, int):
        return f"{name} {value:#x}"  # Python refuses to write very long ones in decimal
    return f"{name} {value!r}"


def same(left: object, right: object) -> bool:
    """Tell whether two values are the same in every respect that a program can see."""
    return form(left) == form(right)


# ---- values

text = st.text(st.characters())
"""Every character, lone surrogates and NUL among them."""
plain_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
ZONES = st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns"), ZoneInfo("UTC")])
OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
datetimes = st.datetimes(timezones=st.none() | ZONES | OFFSETS)
times = st.times(timezones=st.none() | OFFSETS)
integers = st.integers() | st.integers(-(10**40), 10**40)
leaves = st.builds(Leaf, integers, text)
people = st.recursive(
    st.builds(lambda name: Person(fullName=name), plain_text),
    lambda inner: st.builds(
        lambda name, age, friends: Person(fullName=name, age=age, friends=friends, nick=[1, (name,)]),
        plain_text,
        st.integers(1, 9),
        st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=3,
)
pets = st.builds(Cat) | st.builds(Cat, lives=st.integers()) | st.builds(Dog)

BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    bool: st.booleans(),
    int: integers,
    float: st.floats(),
    complex: st.complex_numbers(),
    str: text,
    bytes: st.binary(),
    datetime: datetimes,
    date: st.dates(),
    time: times,
    timedelta: st.timedeltas(),
    ZoneInfo: ZONES,
    Decimal: st.decimals().filter(lambda number: not number.is_snan()),  # which cannot be hashed
    Fraction: st.fractions(),
    UUID: st.uuids(),
    range: st.builds(range, st.integers(), st.integers(), st.integers(1)),
    ipaddress.IPv4Address: st.ip_addresses(v=4),
    ipaddress.IPv6Address: st.ip_addresses(v=6),
    ipaddress.IPv4Network: st.ip_addresses(v=4).map(ipaddress.IPv4Network),
    Suit: st.sampled_from(Suit),
    Rank: st.sampled_from(Rank),
    Grade: st.sampled_from(Grade),
    Access: st.sampled_from([Access.READ, Access.READ | Access.WRITE, Access(0)]),
    Leaf: leaves,
    Literal["a", 1, True, None]: st.sampled_from(["a", 1, True, None]),
    Literal["A", Grade.A, Rank.ACE, 1]: st.sampled_from(["A", Grade.A, Rank.ACE, 1]),
    Fixed: st.builds(Fixed, price=st.decimals(allow_nan=False)),
    PurePosixPath: st.lists(st.text(st.characters(exclude_characters="\0"), max_size=3)).map(
        lambda parts: PurePosixPath("/".join(parts))
    ),
}
HASHABLE = list(BY_TYPE)

scalars = st.one_of(*(BY_TYPE[kind] for kind in (None, bool, int, float, str, bytes, datetime, date, Decimal, UUID)))
hashables = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
untyped = st.recursive(
    scalars | st.sampled_from([1j, Fraction(1, 3), range(3), ipaddress.ip_address("::1"), ZoneInfo("UTC")]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(deque),
        st.sets(hashables, max_size=4),
        st.dictionaries(text | st.sampled_from(["$", "$type", "v"]), inner, max_size=3),
        st.dictionaries(hashables, inner, max_size=3),
        st.dictionaries(hashables, inner, max_size=3).map(OrderedDict),
        st.dictionaries(text, inner, max_size=3).map(lambda held: defaultdict(list, held)),
        st.lists(hashables, max_size=3).map(Counter),
    ),
    max_leaves=12,
)
BY_TYPE |= {
    Any: untyped,
    Pair: st.builds(Pair, st.floats(), st.binary()),
    Options: st.fixed_dictionaries({"url": text}, optional={"depth": st.integers()}),
    Marked: st.fixed_dictionaries({"$": st.integers(), "$type": text}),
    Branch: st.builds(Branch, left_leaf=leaves, more=st.lists(leaves, max_size=2)),
    Tree: st.recursive(
        st.builds(Tree, st.none() | st.integers() | text, st.just([]), st.dictionaries(text, untyped, max_size=1)),
        lambda inner: st.builds(Tree, st.integers(), st.lists(inner, max_size=3)),
        max_leaves=5,
    ),
    Person: people,
    Cat | Dog: pets,
    Home: pets.map(lambda pet: Home(pet=pet)),
    bytearray: st.binary().map(bytearray),
    Base | Derived: st.builds(Base, st.integers()) | st.builds(Derived, st.integers(), text),
    Box[int]: st.builds(Box, st.integers(), st.lists(st.integers(), max_size=2)),
    Page[date]: st.lists(st.dates(), max_size=2).map(lambda dates: Page[date](items=dates)),
    list[int] | list[float]: st.lists(st.floats(), max_size=2) | st.lists(st.integers(), max_size=2),
    list[float] | list[int]: st.lists(st.floats(), max_size=2) | st.lists(st.integers(), max_size=2),
    str | date | Grade | bytes: text | st.dates() | st.sampled_from(Grade) | st.binary(),
    dict[str, int] | Leaf | Options: st.dictionaries(text, st.integers(), max_size=2) | leaves,
}


def _around(drawn: tuple[Any, Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    kind, values = drawn
    lists = st.lists(values, max_size=3)
    by_text = st.dictionaries(text, values, max_size=3)
    return st.sampled_from(
        [
            (list[kind], lists),
            (Sequence[kind], lists | lists.map(tuple)),
            (Collection[kind], lists | lists.map(deque)),
            (deque[kind], lists.map(deque) | lists.map(lambda items: deque(items, 5))),
            (tuple[kind, ...], lists.map(tuple)),
            (tuple[kind, int], st.tuples(values, st.integers())),
            (dict[str, kind], by_text),
            (dict[int, kind], st.dictionaries(st.integers(), values, max_size=3)),
            (dict[Grade, kind], st.dictionaries(st.sampled_from(Grade), values, max_size=2)),
            (Mapping[str, kind], by_text | by_text.map(OrderedDict)),
            (OrderedDict[str, kind], by_text.map(OrderedDict)),
            (defaultdict[str, kind], by_text.map(lambda held: defaultdict(None, held))),
            (kind | None if kind is not None else None, st.none() | values),
            (kind | Leaf | Tree if kind is not None else Leaf | Tree, values if kind else BY_TYPE[Leaf]),
        ]
    )


declared_types = st.recursive(
    st.sampled_from(list(BY_TYPE.items())), lambda inner: inner.flatmap(_around), max_leaves=3
)
"""Pairs of a type form and a strategy for values of it."""


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[Any, Any]:
    """Give a type form and a value of it."""
    declared, values = draw(declared_types)
    return declared, draw(values)
