"""Any value comes back through any chain of layers, from one form in all processes, and nobody reads or changes it."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlog.codecs import Chain, Compressed, Encrypted, Json, Keys, Layer, Offloaded, chain
from everlog.core.codec import canonical
from everlog.core.sealed import envelope_of
from everlog.errors import PayloadUnavailable
from tests.property.values import same, typed_values, untyped

FILES = tempfile.TemporaryDirectory(prefix="everlog-chains-")
SECRETS = {"a": b"a" * 32, "b": b"b" * 32, "c": b"c" * 32}
MARK = "a mark that only payloads have"


def _layers(draw: st.DrawFn) -> list[Layer]:
    layers: list[Layer] = []
    if draw(st.booleans()):
        layers.append(Compressed(draw(st.sampled_from(["zlib", "zstd"])), over=draw(st.sampled_from([0, 100, 10_000]))))
    if draw(st.booleans()):
        names = draw(st.permutations(sorted(SECRETS)))
        layers.append(Encrypted({name: SECRETS[name] for name in names}))
    if draw(st.booleans()):
        layers.append(Offloaded(FILES.name, over=draw(st.sampled_from([0, 200, 10_000]))))
    return layers


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    return chain(Json(), *_layers(draw))


READS_ALL = chain(Json(), Compressed(), Encrypted(Keys(SECRETS)), Offloaded(FILES.name))


@given(chains(), st.one_of(typed_values(), st.tuples(st.just(Any), untyped)))
def test_any_value_comes_back_through_any_chain(made: Chain, drawn: tuple[Any, Any]) -> None:
    declared, value = drawn
    payload = made.encode(value, declared)
    assert "\n" not in payload.decode(), "an event is one line"
    json.loads(payload)
    assert same(made.decode(payload, declared), value)
    assert same(READS_ALL.decode(payload, declared), value), "what one chain wrote, another reads that has the layers"
    assert made.encode(value, declared) == payload, "inputs are compared as bytes"
    assert made.open(payload) == Json().encode(value, declared)
    assert envelope_of(payload) is not None or payload == made.open(payload)


@given(st.permutations(sorted(SECRETS)), st.lists(untyped, min_size=1, max_size=3))
def test_payloads_are_known_again_in_the_form_that_an_older_key_gave_them(names: list[str], values: list[Any]) -> None:
    before = chain(Json(), Compressed(over=0), Encrypted({name: SECRETS[name] for name in reversed(names)}))
    now = chain(Json(), Compressed(over=0), Encrypted({name: SECRETS[name] for name in names}))
    recorded, current = [before.encode(value) for value in values], [now.encode(value) for value in values]
    assert recorded != current
    assert recorded in [list(form) for form in now.otherwise(current)]


@given(st.text(max_size=50), st.integers(0, 10_000), st.integers(1, 255))
def test_what_is_encrypted_cannot_be_read_or_changed(text: str, place: int, change: int) -> None:
    made = chain(Json(), Compressed(over=0), Encrypted(SECRETS))
    payload = made.encode(MARK + text)
    envelope = envelope_of(payload)
    assert envelope is not None
    assert MARK.encode() not in payload + envelope.v
    data = bytearray(envelope.v)
    data[place % len(data)] ^= change
    forged = payload.replace(_written(envelope.v), _written(bytes(data)))
    assert forged != payload
    with pytest.raises(PayloadUnavailable, match="has been changed since"):
        made.decode(forged)
    assert canonical(forged) != canonical(payload)


def _written(data: bytes) -> bytes:
    return Json().encode(data).partition(b'"v":')[2].rstrip(b"}")
