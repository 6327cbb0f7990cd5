"""The numbers of messages: what became visible later has a greater one than what was given before it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from everlog_postgres.records import Numbering
from everlog_postgres.snapshots import NOTHING

_messages = st.integers(1, 12).map(lambda position: ("ab"[position % 2], position))


def row(workflow_id: str, position: int) -> tuple[Any, ...]:
    return (workflow_id, position, "client", position, "news", "1", False, 1, "1")


@given(st.lists(st.tuples(st.sets(_messages), st.booleans()), max_size=6))
def test_without_snapshots_a_later_reading_gives_greater_numbers(
    readings: list[tuple[set[tuple[str, int]], bool]],
) -> None:
    """Each reading finds what was there and some more, at any position, all of it or (a claim) of one workflow."""
    numbering = Numbering()
    visible: set[tuple[str, int]] = set()
    given_up_to, greatest_of = 0, {"a": 0, "b": 0}
    numbers: dict[tuple[str, int], int] = {}
    for more, is_claim in readings:
        visible |= more
        after = 0 if is_claim else given_up_to
        read = [row(*message) for message in visible if not is_claim or message[0] == "a"]
        found = numbering.number(read, NOTHING, after=after)
        assert [message.row for message in found] == sorted({message.row for message in found})
        new = [message for message in found if (message.destination, message.number) not in numbers]
        for message in new:
            assert message.row > max(after, greatest_of[message.destination])
        for message in found:
            assert numbers.setdefault((message.destination, message.number), message.row) == message.row
            greatest_of[message.destination] = max(greatest_of[message.destination], message.row)
        for name in "ab":
            ours = [message.number for message in new if message.destination == name]
            assert ours == sorted(ours)
        if not is_claim and found:
            given_up_to = max(given_up_to, found[-1].row)
