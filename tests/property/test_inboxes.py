"""The unread messages of a workflow in memory: whatever comes and goes, they are found as in a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from everlog.core.heads import InboxRow
from everlog.replay.inbox import Inbox

TOPICS = ["a", "b", "c"]


def row(number: int, topic: str, control: bool) -> InboxRow:
    return InboxRow(
        row=number,
        destination="order",
        source="client",
        number=number,
        topic=topic,
        payload=b"1",
        control=control,
        arrived_at=number,
    )


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.sampled_from(TOPICS), st.booleans()),
            st.tuples(st.just("add before all"), st.sampled_from(TOPICS), st.just(False)),
            st.tuples(st.just("take"), st.lists(st.integers(-5, 60), max_size=3), st.none()),
        ),
        max_size=60,
    ),
    st.dictionaries(st.sampled_from(TOPICS), st.none() | st.integers(0, 3)),
)
def test_messages_are_found_as_in_a_plain_list(
    changes: list[tuple[str, str | list[int], bool | None]], most: dict[str, int | None]
) -> None:
    inbox, plain, last = Inbox(), list[InboxRow](), 0
    for what, about, control in changes:
        if isinstance(about, list):
            inbox.take(about)
            plain = [message for message in plain if message.row not in about]
        elif what == "add":
            last += 1
            inbox.add(row(last, about, bool(control)))
            plain.append(row(last, about, bool(control)))
        else:
            before = inbox.before_all()
            assert before < min(0, *(message.row for message in plain), 0)
            inbox.add(row(before, about, False))
            plain.insert(0, row(before, about, False))
        assert list(inbox) == plain
        assert len(inbox) == len(plain)
        assert inbox.last_row == last
        assert inbox.orders == [message for message in plain if message.control]
        for topic in TOPICS:
            on_topic = [message for message in plain if not message.control and message.topic == topic]
            assert list(inbox.on(topic)) == on_topic
    chosen = [message for message in plain if message.control]
    for topic, number in most.items():
        chosen += [message for message in plain if not message.control and message.topic == topic][:number]
    assert list(inbox.reaching(most)) == sorted(chosen, key=lambda message: message.row)
