"""What is handed on without being rebuilt is exactly what would be rebuilt."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from everlog.core.codec import JsonCodec
from everlog.core.plain import LARGEST, SMALLEST
from everlog.core.signature import Signature

CODEC = JsonCodec()
EDGES = st.sampled_from([SMALLEST, SMALLEST - 1, LARGEST, LARGEST + 1, 2**64, -(2**70), 0])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers() | EDGES,
    st.floats() | st.sampled_from([-0.0, 1e300, math.inf, math.nan]),
    st.text() | st.text(st.characters(categories=["Cs"])) | st.sampled_from(["$", "\x00"]),
    st.sampled_from([b"bytes", (1, 2), [1], {"$": 1}, math.pi * 1j]),
)


def one_of_each(
    number: int = 0, text: str = "", real: float = 0, flag: bool = False, maybe: int | None = None, anything: Any = None
) -> Any:
    """Called by nobody."""


def whole(number: int) -> int:
    return number


SIGNATURES = [Signature(one_of_each), Signature(whole)]


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


@given(st.sampled_from(SIGNATURES), st.lists(SCALARS, max_size=7))
def test_plain_arguments_are_what_their_record_gives(signature: Signature, args: list[object]) -> None:
    plain = signature.encode_plain(tuple(args))
    if plain is None:
        return
    assert plain == signature.encode(CODEC, tuple(args), {}, what="input")
    rebuilt, named = signature.decode(CODEC, plain, what="input")
    assert not named
    assert len(rebuilt) == len(args)
    assert all(map(same, rebuilt, args))


@given(st.sampled_from(SIGNATURES), SCALARS)
def test_a_plain_result_is_what_its_record_gives(signature: Signature, result: object) -> None:
    plain = signature.encode_plain_result(result)
    if plain is not None:
        assert plain == CODEC.encode(result, signature.result_type)
        assert same(CODEC.decode(plain, signature.result_type), result)


def test_usual_arguments_are_plain() -> None:
    assert SIGNATURES[0].encode_plain((1, "a", 0.5, True, None, "x")) is not None
    assert SIGNATURES[1].encode_plain((7,)) == b'{"number":7}'
    assert SIGNATURES[1].encode_plain_result(7) == b"7"


def test_what_is_declared_otherwise_is_not_plain() -> None:
    assert SIGNATURES[1].encode_plain(("7",)) is None
    assert SIGNATURES[0].encode_plain((0, "", 1)) is None  # an int becomes a float
    assert SIGNATURES[0].encode_plain((LARGEST + 1,)) is None
    assert SIGNATURES[1].encode_plain(()) is None
