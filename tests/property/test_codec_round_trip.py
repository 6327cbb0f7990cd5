"""Every value of every supported type comes back with its type and value, or is refused with a path."""

from __future__ import annotations

from typing import Any, Union

from hypothesis import given
from hypothesis import strategies as st

from everlog.core.codec import JsonCodec, canonical, digest
from everlog.errors import NotEncodable
from tests.property.values import BY_TYPE, HASHABLE, declared_types, form, same, typed_values, untyped

codec = JsonCodec()


@given(untyped)
def test_values_without_a_declared_type_come_back(value: object) -> None:
    payload = codec.encode(value)
    assert same(codec.decode(payload), value)
    payload.decode()
    assert codec.encode(value) == payload


@given(typed_values())
def test_values_of_a_declared_type_come_back(drawn: tuple[Any, Any]) -> None:
    declared, value = drawn
    payload = codec.encode(value, declared)
    back = codec.decode(payload, declared)
    assert same(back, value), (declared, payload, back)
    assert codec.encode(back, declared) == payload
    assert canonical(canonical(payload)) == canonical(payload)
    assert digest(canonical(payload)) == digest(payload)


@given(st.lists(typed_values(), min_size=1, max_size=3), st.permutations(range(3)))
def test_a_member_of_any_union_comes_back(drawn: list[tuple[Any, Any]], order: list[int]) -> None:
    declared: Any = Union[tuple(drawn[place][0] for place in order if place < len(drawn))]
    for _, value in drawn:
        payload = codec.encode(value, declared)
        back = codec.decode(payload, declared)
        assert same(back, value), (declared, payload, back)
        assert codec.encode(back, declared) == payload


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
    for value in sorted(left, key=form, reverse=True):  # the same members, in another order
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
