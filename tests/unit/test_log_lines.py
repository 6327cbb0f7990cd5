"""Log lines: a history comes back from its lines as it was, and what is no such lines is refused by number."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlog.core.log_lines import Exported, read_lines, write_lines
from everlog.errors import CorruptLog

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
BODIES = st.dictionaries(st.text(), VALUES, max_size=4).map(msgspec.json.encode)


@given(
    workflow_id=st.text(min_size=1),
    name=st.text(min_size=1),
    first=st.integers(1, 10**6),
    bodies=st.lists(st.tuples(st.integers(0, 2**53), BODIES), max_size=6),
)
def test_a_history_comes_back_byte_for_byte(
    workflow_id: str, name: str, first: int, bodies: list[tuple[int, bytes]]
) -> None:
    rows = [(first + place, at, body) for place, (at, body) in enumerate(bodies)]
    lines = list(write_lines(workflow_id, name, rows))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert read_lines(lines) == Exported(workflow_id=workflow_id, name=name, rows=rows)
    assert read_lines("".join(lines).split("\n")) == Exported(workflow_id=workflow_id, name=name, rows=rows)


FIRST = '{"everlog":1,"workflow":{"id":"a","name":"b"}}'


def test_lines_and_fields_of_other_kinds_are_passed_over() -> None:
    lines = ['{"everlog":1,"workflow":{"id":"a","name":"b","state":"waiting"}}', '{"message":{"seq":1}}']
    lines.append('{"seq":4,"at":5,"event":{"type":"x"},"hash":"00"}')
    assert read_lines(lines).rows == [(4, 5, b'{"type":"x"}')]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "no lines"),
        (["hello"], "line 1"),
        (['{"seq":1,"at":1,"event":{}}'], "line 1"),
        (['{"everlog":2,"workflow":{"id":"a","name":"b"}}'], "form 2"),
        ([FIRST, '{"seq":1,"at":1}'], "line 2"),
        ([FIRST, '{"seq":1,"at":1,"event":{}}', '{"seq":1,"at'], "line 3"),
        ([FIRST, '{"seq":1,"at":1,"event":{}}', '{"seq":3,"at":1,"event":{}}'], "seq 3 after seq 1"),
    ],
)
def test_what_is_no_exported_history_is_refused(lines: list[str], told: str) -> None:
    with pytest.raises(CorruptLog, match=told):
        read_lines(lines)
