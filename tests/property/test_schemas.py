"""Schemas: what fits a type is never refused by the schema of it, however it was encoded."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given

from everlog.core.codec import SELF, JsonCodec
from everlog.core.schemas import misfit, schema_of
from everlog.errors import NotEncodable
from tests.property.values import typed_values


@given(typed_values())
def test_what_fits_a_type_fits_its_schema(drawn: tuple[Any, Any]) -> None:
    declared, value = drawn
    text = schema_of(declared)
    if text is None:
        return
    schema = msgspec.json.decode(text)
    for form in (declared, SELF):
        try:
            payload = JsonCodec().encode(value, form)
        except NotEncodable:  # only under its type
            continue
        assert misfit(schema, payload) is None, (schema, payload)
