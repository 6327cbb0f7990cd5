"""What the codec and the signature promise: exact types back, or an error that names the path."""

from __future__ import annotations

import enum
import inspect
import json
import socket
import subprocess
import sys
from collections import ChainMap, Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from pathlib import Path, PurePosixPath
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
    Unpack,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import AnyUrl, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, field_validator
from typing_extensions import ReadOnly, TypeAliasType
from typing_extensions import TypedDict as NewTypedDict

from everlog.core.codec import ANY, JsonCodec, Mismatch, canonical, digest
from everlog.core.signature import Signature
from everlog.errors import CorruptLog, NotEncodable
from tests.property.values import same

T = TypeVar("T")
Cents = NewType("Cents", int)
codec = JsonCodec()


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.StrEnum):
    A = "a"


Dollars = TypedDict("Dollars", {"$": int, "$type": int})


class Line(msgspec.Struct):
    sku: str
    count: int = 1


class Order(msgspec.Struct, kw_only=True):
    id: str
    lines: list[Line]
    note: str | None = None
    when: datetime | None = None


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str


class Clamped(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        self.value = min(self.value, 10)


@dataclass
class Base:
    a: int


@dataclass
class Derived(Base):
    b: int = 0


@dataclass
class Node:
    value: int
    children: list[Node] = field(default_factory=list)
    parent: Optional[Node] = None


@dataclass(frozen=True, slots=True)
class Prepared:
    cents: int
    factor: InitVar[int] = 1
    doubled: int = field(init=False, default=0)


@dataclass
class Doubling:
    cents: int
    label: str = field(init=False)

    def __post_init__(self) -> None:
        self.cents *= 2
        self.label = f"{self.cents} cents"
        self.cache = {self.cents}


@dataclass
class Listed(list[int]):
    a: int


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Crate(Box[int]):
    size: int = 0


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Options(TypedDict):
    url: str
    depth: NotRequired[int]


class Person(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(alias="fullName")
    born: date | None = None
    tags: tuple[str, ...] = ()
    home: AnyUrl | None = None

    @field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return name + "!"


class Meeting(BaseModel):
    at: AwareDatetime
    room: int = Field(validation_alias="Room", default_factory=lambda: 7)


class Approve(msgspec.Struct):
    by: str


@dataclass
class Reject:
    by: str
    why: str = ""


class Socket(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    socket: Any


class Secret(BaseModel):
    key: SecretStr


def round_trip(value: object, declared: object = ANY) -> object:
    back = codec.decode(codec.encode(value, declared), declared)
    assert type(back) is type(value)
    return back


def refused(value: object, declared: object = ANY) -> str:
    with pytest.raises(NotEncodable) as caught:
        codec.encode(value, declared, what="result of step fetch")
    return str(caught.value)


BERLIN = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (None, None),
        (True, bool),
        (5, int),
        (-(2**200), int),
        pytest.param(10**6000, int, id="long"),
        (1.5, float),
        (float("inf"), float),
        ("x", str),
        ("\ud800\\x\0é", str),
        (b"\x00\xff", bytes),
        (bytearray(b"ab"), bytearray),
        ([1, 2], list[int]),
        ([], list),
        ((1, "a"), tuple[int, str]),
        ((), tuple[()]),
        ((1, 2, 3), tuple[int, ...]),
        ((1, [2]), tuple),
        ({"b", "a"}, set[str]),
        (frozenset({(1, 2)}), frozenset[tuple[int, int]]),
        ({"a": 1}, dict[str, int]),
        ({"$": 1, "$type": 2}, dict[str, int]),
        ({"\ud800": 1}, dict[str, int]),
        ({1: "a", 2: "b"}, dict[int, str]),
        ({Color.RED: 1}, dict[Color, int]),
        ({(1, 2): {"x"}}, Mapping[tuple[int, int], set[str]]),
        (datetime(2024, 1, 2, 3, 4, 5, 6), datetime),
        (datetime(2024, 1, 2, tzinfo=UTC), datetime),
        (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-3, seconds=7))), datetime),
        (BERLIN, datetime),
        (date(2024, 1, 2), date),
        (time(1, 2, 3, tzinfo=UTC), time),
        (time(1, 2, tzinfo=ZoneInfo("Asia/Tokyo")), time),
        (timedelta(days=-3, microseconds=7), timedelta),
        (Decimal("1.10"), Decimal),
        (UUID(int=5), UUID),
        (Path("/tmp/x"), Path),
        (PurePosixPath("a/b"), PurePosixPath),
        (Color.RED, Color),
        (Access.READ | Access.WRITE, Access),
        ("a", Literal["a", 1]),
        (Color.BLUE, Literal[Color.BLUE]),
        (b"x", Literal[b"x", None]),
        (Order(id="1", lines=[Line("s")]), Order),
        (Renamed("Ann"), Renamed),
        (Node(1, [Node(2), Node(3, [Node(4)])]), Node),
        (Point(1.0, 2.0), Point),
        ({"url": "x"}, Options),
        ({"url": "x", "depth": 2}, Options),
        (Box([1]), Box[list[int]]),
        (Box({1, 2}), Box),
        (Crate(5, 1), Crate),
        (5, Cents),
        (5, Annotated[int, ["unhashable"]]),
        (5, T),
        (None, int | None),
        (5, Optional[int]),
        (None, Optional[Any]),
        (Line("x"), Union[Line, None]),
        (1, int | float),
        (1.0, int | float),
        (True, int | bool),
        ("2024-01-01", str | date),
        (date(2024, 1, 1), str | date),
        ([1], list[int] | list[str]),
        (["a"], list[int] | list[str]),
        ({"a": Line("x")}, dict[str, Line | Order | int]),
        ((Line("a"), Line("b")), Sequence[Line]),
        ({1, 2}, Iterable[int]),
        ("text", Sequence[str]),
        ([{"a": (1, 2)}, {3, 4}, b"x", {1: 2}, Decimal(1), BERLIN], Any),
        ({"$": {"$": "tuple", "v": []}}, object),
        (5, "Unresolvable"),
        (5, socket.socket),
        (1 - 2j, complex),
        (complex("-0j"), ANY),
        (Fraction(-1, 3), Fraction),
        (range(5, 0, -2), range),
        (ip_address("1.2.3.4"), IPv4Address),
        (ip_address("fe80::1%eth0"), ANY),
        (ip_network("10.0.0.0/8"), ANY),
        (ip_interface("10.0.0.1/8"), ANY),
        (ZoneInfo("Europe/Berlin"), ZoneInfo),
        (deque([1, 2], maxlen=5), deque[int]),
        (deque([Line("a")]), Sequence[Line]),
        (deque(), deque),
        (OrderedDict(b=1, a=2), OrderedDict[str, int]),
        (OrderedDict([((1, 2), Line("a"))]), Mapping[tuple[int, int], Line]),
        (Counter(a=2, b=-1), Counter[str]),
        (Counter({1: 2}), ANY),
        (defaultdict(list, a=[1]), defaultdict[str, list[int]]),
        (defaultdict(None, {1: 2}), ANY),
        ({"$": 1, "$type": 2}, Dollars),
        (Level.A, Literal["A", Level.A]),
        ("A", Literal["A", Level.A] | int),
        (Level.A, Literal["A", Level.A] | int),
        ([1], list[float] | list[int]),
        ({"a": [1]}, dict[str, list[float | str]] | dict[str, list[int | str]]),
        ([1, "x", 2**70, 1.5, None, True], list[int | str | float | bool | None]),
        ([2**70], list[int]),
        ({"a": 1, "é": 2}, dict[str, int]),
    ],
)
def test_a_value_comes_back_as_what_it_was(value: object, declared: object) -> None:
    back = round_trip(value, declared)
    assert back == value
    assert same(back, value)
    assert codec.encode(back, declared) == codec.encode(value, declared)


def test_no_dict_of_a_user_is_written_as_if_it_bore_a_tag() -> None:
    written = b'{"$":"dict","v":[["$",1],["a",2]]}'
    for declared in (dict[str, int], dict[str, Any], Mapping[str, int], ANY):
        assert codec.encode({"$": 1, "a": 2}, declared) == written
        assert codec.encode({"a$": 1}, declared) == b'{"a$":1}'


def test_numbers_that_equal_nothing_come_back() -> None:
    assert (
        repr(round_trip([float("nan"), Decimal("NaN"), Decimal("sNaN12")]))
        == "[nan, Decimal('NaN'), Decimal('sNaN12')]"
    )


def test_members_of_a_union_that_look_alike_are_recorded_with_their_names() -> None:
    assert codec.encode(Approve("a"), Approve | Reject) == b'{"$type":"Approve","$value":{"by":"a"}}'
    assert round_trip(Reject("a"), Approve | Reject) == Reject("a")
    assert codec.encode(Approve("a"), Approve | None) == b'{"by":"a"}'


def test_a_union_reads_what_was_recorded_before_it_was_one_and_the_other_way_round() -> None:
    assert codec.decode(b'{"by":"a"}', Approve | Reject) == Approve("a")
    assert codec.decode(codec.encode(Reject("a"), Approve | Reject), Reject) == Reject("a")
    with pytest.raises(Mismatch, match="Approve"):
        codec.decode(b'{"$type":"Gone","$value":{}}', Approve | Reject)


def test_a_zoned_time_keeps_zone_fold_and_offset() -> None:
    back = round_trip(BERLIN)
    assert isinstance(back, datetime)
    assert (back.tzinfo, back.fold, back.utcoffset()) == (BERLIN.tzinfo, 1, timedelta(hours=1))
    naive = round_trip(datetime(2024, 1, 1, fold=1))
    assert isinstance(naive, datetime)
    assert naive.fold == 1


def test_what_would_come_back_as_another_type_is_refused_with_its_path() -> None:
    assert "at $: declared list[int], found tuple" in refused((1, 2), list[int])
    assert "declare test_codec.Base | test_codec.Derived" in refused(Derived(1, 2), Base).replace("tests.unit.", "")
    assert "beside its fields" in refused(Listed(1), Listed)
    assert "$.a: a defaultdict whose factory is" in refused({"a": defaultdict(lambda: 1)})
    assert "declared collections.deque" in refused([1], deque[int])
    assert "$.lines[1].count: declared int, found bool" in refused(
        Order(id="1", lines=[Line("a"), Line("b", True)]), Order
    )
    assert "declared str" in refused(enum.StrEnum("S", "A")("a"), str)
    assert "declared int" in refused(1.0, int)
    assert "declared float" in refused(2**53 + 1, float)
    assert "declared Line | Order" in refused(5, Line | Order)
    assert "['$x'][0]" in refused({"$x": [socket.socket]})
    assert "extra" in refused({"url": "x", "dept": 2}, Options)
    assert "missing" in refused({"depth": 2}, Options)


def test_an_int_for_a_float_becomes_one() -> None:
    assert type(codec.decode(codec.encode(3, float), float)) is float
    assert codec.encode([3], list[float | None]) == b"[3.0]"


def test_what_has_no_encoding_is_refused_and_told_what_to_do() -> None:
    with socket.socket() as open_socket:
        message = refused({"pages": [1, Socket(socket=open_socket)]}, dict[str, list[int | Socket]])
    assert message.startswith("result of step fetch, at $.pages[1].socket: socket.socket has no encoding; pass what")
    assert "annotate the parameter" in refused([Line("a")])
    assert "annotate the parameter" in refused({"x": Color.RED})
    assert "no encoding" in refused(ChainMap())
    assert "pydantic" in refused(Secret(key=SecretStr("x")), Secret)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "contains itself" in refused(loop)


def test_a_new_field_takes_its_default_and_an_unknown_one_is_ignored() -> None:
    assert codec.decode(b'{"sku":"a","colour":1}', Line) == Line("a")
    assert codec.decode(b'{"value":1,"gone":2}', Node) == Node(1)
    assert codec.decode(b'{"x":1.0}', Point) == Point(1.0)
    person = codec.decode(b'{"name":"Ann"}', Person)
    assert isinstance(person, Person)
    assert (person.name, person.tags, person.model_fields_set) == ("Ann", (), {"name"})


@pytest.mark.parametrize(
    ("payload", "declared", "path", "expected"),
    [
        (b'{"id":"1","lines":[{"sku":5}]}', Order, "$.lines[0].sku", "str"),
        (b'{"children":[]}', Node, "$", "test_codec.Node"),
        (b"{}", Line, "$", "test_codec.Line"),
        (b'{"a":[1,"x"]}', dict[str, list[int]], "$.a[1]", "int"),
        (b'"GREEN"', Color, "$", "test_codec.Color"),
        (b'"nonsense"', datetime, "$", "datetime.datetime"),
        (b'{"$":"nonsense","v":1}', ANY, "$", "a tag of this version of Everlog"),
        (b"[1]", tuple[int, int], "$", "tuple[int, int]"),
        (b"true", int, "$", "int"),
    ],
)
def test_what_does_not_fit_is_a_mismatch_with_its_path(
    payload: bytes, declared: object, path: str, expected: str
) -> None:
    with pytest.raises(Mismatch) as caught:
        codec.decode(payload, declared, what="input of w")
    assert caught.value.path == path
    assert caught.value.expected.endswith(expected)
    assert str(caught.value).startswith(f"input of w, at {path}: ")


def test_what_is_not_json_is_a_corrupt_log() -> None:
    for payload in (b"", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(CorruptLog):
            codec.decode(payload)


def test_what_was_recorded_without_a_type_is_read_once_it_has_one() -> None:
    for value, declared in [
        (date(2024, 1, 1), date),
        ((1, 2), tuple[int, int]),
        ({1}, set[int]),
        (b"x", bytes | None),
        ({1: 2}, dict[int, int]),
        (float("inf"), float),
    ]:
        assert codec.decode(codec.encode(value), declared) == value


def test_fields_come_back_as_recorded_whatever_the_class_does_to_them() -> None:
    clamped = Clamped(5)
    clamped.value = 50
    assert round_trip(clamped, Clamped) == clamped
    doubling = Doubling(2)
    back = round_trip(doubling, Doubling)
    assert isinstance(back, Doubling)
    assert (back.cents, back.label) == (4, "4 cents")
    assert back.cache
    assert round_trip(Prepared(3), Prepared) == Prepared(3)


def test_numbers_keep_their_types_and_signs_at_every_depth() -> None:
    values = [0.0, -0.0, float("inf"), float("nan"), 1e308, 5e-324]
    assert repr(round_trip(values, list[float])) == repr(values)
    assert repr(round_trip([1, 2.0], list[float] | list[int])) == "[1.0, 2.0]"  # no member takes both
    assert repr(round_trip({"a": -0.0}, dict[str, float])) == "{'a': -0.0}"


def test_what_the_order_of_a_dict_means_is_kept() -> None:
    first, second = OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)
    assert digest(codec.encode(first)) != digest(codec.encode(second))
    assert list(round_trip(second)) == ["b", "a"]  # type: ignore[call-overload]
    assert list(round_trip({"depth": 1, "url": "x"}, Options)) == ["depth", "url"]  # type: ignore[call-overload]


def test_a_type_that_was_met_at_the_end_of_the_stack_is_read_again_later() -> None:
    def down(depth: int, kind: Any) -> None:
        if depth == 0:
            codec.encode(kind(1), kind)
        else:
            down(depth - 1, kind)

    refusals = 0
    for left in range(5, 120):
        kind = dataclass(type("Deep", (), {"__annotations__": {"a": "list[int] | int"}}))
        try:
            down(sys.getrecursionlimit() - len(inspect.stack(0)) - left, kind)
        except (NotEncodable, RecursionError):
            refusals += 1
        assert codec.encode(kind(1), kind) == b'{"a":1}'
        with pytest.raises(NotEncodable, match=r"declared .*list\[int\]"):  # in the order of who met the union first
            codec.encode(kind("x"), kind)
    assert refusals


Bounded = TypeVar("Bounded", bound="Node")
Alias = TypeAliasType("Alias", "Node | list[Alias]")


class Older(NewTypedDict, total=False):
    node: ReadOnly[NotRequired[Node]]
    url: Required[str]


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        (Node(1), Bounded),
        ([Node(1), [Node(2)]], Alias),
        ({"url": "x", "node": Node(1)}, Older),
        ({"url": "x"}, Older),
    ],
)
def test_names_in_type_variables_and_aliases_are_found_where_they_were_written(value: object, declared: object) -> None:
    assert round_trip(value, declared) == value


def test_the_marks_of_a_typed_dict_are_seen_inside_of_each_other() -> None:
    assert "missing ['url']" in refused({"node": Node(1)}, Older)


def test_a_class_made_by_attrs_comes_back() -> None:
    attrs = pytest.importorskip("attrs")

    @attrs.frozen
    class Part:
        sku: str
        count: int = attrs.field(default=1, converter=lambda count: count + 1)
        notes: list[str] = attrs.field(factory=list)

    made = Part("a", 5, ["x"])
    assert round_trip(made, Part) == made
    assert codec.decode(b'{"sku":"a"}', Part) == codec.decode(b'{"sku":"a","count":1,"notes":[]}', Part)
    with pytest.raises(Mismatch, match="'sku' is missing"):
        codec.decode(b"{}", Part)


@dataclass
class Doubled:
    cents: int

    def __post_init__(self) -> None:
        self.cents *= 2
        if self.cents > 10:
            raise ValueError("too much")


class DoubledStruct(msgspec.Struct):
    cents: int

    def __post_init__(self) -> None:
        self.cents *= 2
        if self.cents > 10:
            raise ValueError("too much")


class DoubledModel(BaseModel):
    cents: int

    def model_post_init(self, context: object) -> None:
        self.cents *= 2
        if self.cents > 10:
            raise KeyError("too much")


@pytest.mark.parametrize("kind", [Doubled, DoubledStruct, DoubledModel])
def test_a_class_that_does_not_take_its_own_fields_back_is_refused_when_it_is_recorded(kind: Any) -> None:
    assert round_trip([kind(cents=2)], list[kind])
    message = refused([kind(cents=4)], list[kind])
    assert "at $[0]" in message
    assert "cannot be rebuilt from its own fields" in message
    assert "too much" in message
    with pytest.raises(Mismatch, match="too much"):
        codec.decode(b'{"cents":8}', kind)


class Picky(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        raise TypeError("no name is good enough")


def test_whatever_a_validator_raises_is_a_mismatch() -> None:
    made = Picky.model_construct(name="x")
    assert round_trip(made, Picky) == made
    with pytest.raises(Mismatch, match="expected str"):
        codec.decode(b'{"name":5}', Picky)


def test_a_class_with_a_constructor_of_its_own_comes_back_without_it() -> None:
    @dataclass(init=False)
    class Made:
        a: int

        def __new__(cls, *, given: int) -> Made:
            made = super().__new__(cls)
            made.a = given
            return made

        def __init__(self, *, given: int) -> None: ...

    assert round_trip(Made(given=5), Made) == Made(given=5)


def test_a_pydantic_model_comes_back_exactly_and_is_validated_only_where_it_does_not_fit() -> None:
    person = Person(fullName="Ann", home="https://a.example/", nick=("x", 1))
    back = round_trip(person, Person)
    assert isinstance(back, Person)
    assert back == person
    assert back.name == "Ann!"
    assert back.model_fields_set == person.model_fields_set == {"name", "home", "nick"}
    assert type(back.home) is AnyUrl
    meeting = Meeting.model_validate_json('{"at":"2024-01-01T00:00:00Z"}')
    assert round_trip(meeting, Meeting) == meeting
    older = codec.decode(b'{"fullName":"Bob"}', Person)
    assert isinstance(older, Person)
    assert older.name == "Bob!"


def test_canonical_forms_are_equal_where_the_meaning_is() -> None:
    assert canonical(b'{"b":1,"a":{"d":1,"c":2}}') == b'{"a":{"c":2,"d":1},"b":1}'
    assert digest(codec.encode({"a": 1, "b": 2})) == digest(codec.encode({"b": 2, "a": 1}))
    assert digest(codec.encode([{1: "a", 2: "b"}])) == digest(codec.encode([{2: "b", 1: "a"}]))
    assert digest(codec.encode({1: 1.0})) != digest(codec.encode({1: 1}))
    assert len(digest(b"1")) == 32


def test_encoding_does_not_depend_on_the_process() -> None:
    program = (
        "from everlog.core.codec import JsonCodec\n"
        "values = {'a', 'b', 'c', 1, None, (1, 'x'), frozenset({'p', 'q'}), b'z'}\n"
        "print(JsonCodec().encode([values, {'k': frozenset(map(str, range(20)))}]).decode())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


# ---- signatures


def pay(card: str, cents: int, *, note: str | None = None) -> str:
    return f"{card} {cents} {note}"


def anything(first: int, /, second: int = 2, *rest: Line, flag: bool = False, **more: float) -> None: ...


class More(TypedDict):
    depth: int


class Shop:
    def sell(self, line: Line, at: date | None = None) -> Line: ...  # type: ignore[empty-body]

    def crawl(self, **more: Unpack[More]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "recorded"),
    [
        (pay, ("x", 5), {}, {"card": "x", "cents": 5}),
        (pay, ("x",), {"note": "n", "cents": 5}, {"card": "x", "cents": 5, "note": "n"}),
        (anything, (1,), {}, {"first": 1}),
        (anything, (1, 3, Line("a")), {"flag": True, "x": 1}, None),
        (anything, (1,), {"second": 5, "first": 1.5}, None),
    ],
)
def test_a_call_is_recorded_by_parameter_name(fn: Any, args: Any, kwargs: Any, recorded: Any) -> None:
    signature = Signature(fn)
    payload = signature.encode(codec, args, kwargs, what="input")
    if recorded is not None:
        assert json.loads(payload) == recorded
        assert list(json.loads(payload)) == list(recorded)
    back_args, back_kwargs = signature.decode(codec, payload, what="input")
    assert signature.encode(codec, back_args, back_kwargs, what="input") == payload


def test_a_method_is_recorded_without_self() -> None:
    signature = Signature(Shop.sell, skip_first=True)
    payload = signature.encode(codec, (Line("a"),), {"at": date(2024, 1, 1)}, what="input")
    assert signature.decode(codec, payload, what="input") == ((Line("a"), date(2024, 1, 1)), {})
    assert signature.result_type is Line
    crawl = Signature(Shop.crawl, skip_first=True)
    assert crawl.decode(codec, crawl.encode(codec, (), {"depth": 3}, what=""), what="") == ((), {"depth": 3})


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        (("x",), {}, "cents"),
        (("x", 1), {"extra": 1}, "extra"),
        (("x", 1, 2), {}, "too many"),
        ((), {"cents": 1}, "card"),
    ],
)
def test_a_wrong_call_is_a_type_error_that_names_the_argument(args: Any, kwargs: Any, named: str) -> None:
    with pytest.raises(TypeError, match=rf"pay\(\).*{named}"):
        Signature(pay).encode(codec, args, kwargs, what="input")


def test_the_path_of_an_argument_begins_with_its_name() -> None:
    with pytest.raises(NotEncodable, match=r"input of pay, at \$.cents: declared int, found str"):
        Signature(pay).encode(codec, ("x", "5"), {}, what="input of pay")
    with pytest.raises(NotEncodable, match=r"at \$.rest\[0\]"):
        Signature(anything).encode(codec, (1, 2, 3), {}, what="input of anything")


def test_parameters_may_come_and_go() -> None:
    old = Signature(pay).encode(codec, ("x", 5), {}, what="input")

    def without(card: str) -> None: ...
    def defaulted(card: str, currency: str = "EUR", cents: int = 0) -> None: ...
    def positional(card: str, currency: str = "EUR", cents: int = 0, /) -> None: ...
    def variadic(card: str, cents: int, unit: str = "c", *rest: int) -> None: ...
    def required(card: str, cents: int, currency: str) -> None: ...

    assert Signature(without).decode(codec, old, what="input") == (("x",), {})
    assert Signature(defaulted).decode(codec, old, what="input") == (("x",), {"cents": 5})
    assert Signature(positional).decode(codec, old, what="input") == (("x", "EUR", 5), {})
    with_rest = b'{"card":"x","cents":5,"rest":[1]}'
    assert Signature(variadic).decode(codec, with_rest, what="input") == (("x", 5, "c", 1), {})
    with pytest.raises(Mismatch, match="'currency'"):
        Signature(required).decode(codec, old, what="input")


def test_an_annotation_that_cannot_be_resolved_counts_as_none() -> None:
    def odd(known: Line, unknown: Nowhere) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

    signature = Signature(odd)
    payload = signature.encode(codec, (Line("a"), (1, 2)), {}, what="input")
    assert signature.decode(codec, payload, what="input") == ((Line("a"), (1, 2)), {})
    assert signature.result_type is Any


def test_annotations_of_local_classes_are_found_where_the_function_sees_them() -> None:
    @dataclass
    class Local:
        x: int

    def use(local: Local) -> Local:
        return Local(local.x)

    signature = Signature(use)
    payload = signature.encode(codec, (Local(1),), {}, what="input")
    assert signature.decode(codec, payload, what="input") == ((Local(1),), {})


def test_none_is_taken_where_it_is_the_default() -> None:
    def old_style(x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert Signature(old_style).encode(codec, (None,), {}, what="input") == b'{"x":null}'


@pytest.mark.parametrize(("text", "declared"), [("10", int), ("ff", int), ("no", int), ("nan", float), ("1.5", float)])
def test_a_text_is_never_taken_for_a_number(text: str, declared: type) -> None:
    with pytest.raises(Mismatch) as caught:
        JsonCodec().decode(JsonCodec().encode(text), declared)
    assert caught.value.expected == declared.__name__
