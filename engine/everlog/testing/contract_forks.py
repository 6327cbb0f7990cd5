"""What a store promises that copies histories. Test names are sentences about guarantees."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from everlog.errors import InternalError
from everlog.store import (
    ChildExists,
    Commit,
    Done,
    EventRow,
    Exists,
    InboxRow,
    NewWorkflow,
    Refused,
    Store,
    StreamQuestion,
    StreamRow,
    SupportsDeletion,
    SupportsFinding,
    SupportsInboxes,
    SupportsStreams,
    SupportsValues,
    ValueRow,
    WorkflowQuery,
)
from everlog.store_forks import Fork, ForkOutcome, SupportsForks
from everlog.testing.making import (
    BEGINNING,
    claim,
    commit,
    ended,
    event,
    events,
    head,
    held,
    message,
    new,
    post,
)


def with_forks(store: Store) -> SupportsForks:
    """Give the same store, as one that copies histories."""
    assert isinstance(store, SupportsForks)
    return store


def own(*seqs: int) -> list[EventRow]:
    """Make events that are a fork's own."""
    return [event(seq, b'{"own":%d}' % seq) for seq in seqs]


def fork_of(
    source: str,
    workflow_id: str,
    until: int,
    *,
    rows: Sequence[EventRow] = (),
    creates: Sequence[NewWorkflow] = (),
    first_seq: int = 1,
) -> Fork:
    """Make a fork with the row of its creation, and one row that follows, of its own."""
    mine = rows or own(1, until + 1)
    made = NewWorkflow(workflow_id=workflow_id, name="checkout", state="queued", events=mine, attributes={"of": source})
    return Fork(new=made, source=source, until=until, creates=creates, first_seq=first_seq)


def fork(store: Store, wanted: Fork) -> ForkOutcome:
    """Make a fork."""
    return with_forks(store).fork(wanted)


class ForkContract:
    """`fork` and `read_types`."""

    def test_a_fork_has_the_rows_up_to_the_cut_and_its_own(self, store: Store, peer: Store) -> None:
        held(store, "order", seq=6)
        assert fork(store, fork_of("order", "fork", 4, rows=own(1, 3, 5, 6))) == Done()
        mine = {one.seq: one for one in own(1, 3, 5, 6)}
        theirs = {one.seq: one for one in events(1, 4)}
        for one in (store, peer):
            assert list(one.read("fork")) == [mine.get(seq, theirs.get(seq)) for seq in range(1, 7)]

    def test_its_head_is_that_of_an_unheld_workflow_which_was_created_now(self, store: Store) -> None:
        held(store, "order", seq=3)
        assert fork(store, fork_of("order", "fork", 2)) == Done()
        made = head(store, "fork")
        assert (made.name, made.state, made.seq, made.first_seq) == ("checkout", "queued", 3, 1)
        assert (made.token, made.worker, made.wake_at, made.takeovers, made.ended_at) == (None, None, None, 0, None)
        assert made.created_at == own(1)[0].recorded_at

    def test_the_source_stays_as_it_was(self, store: Store) -> None:
        token = held(store, "order", seq=5)
        before = (head(store, "order"), store.read("order"))
        assert fork(store, fork_of("order", "fork", 3)) == Done()
        assert (head(store, "order"), store.read("order")) == before
        goes_on = Commit(workflow_id="order", token=token, seq=5, state="running", events=events(6, 6))
        assert commit(store, goes_on) == Done()
        assert len(store.read("fork")) == 4

    def test_a_fork_is_claimed_with_its_history_and_goes_on(self, store: Store) -> None:
        ended(store, "order")
        assert fork(store, fork_of("order", "fork", 1)) == Done()
        (claimed,) = claim(store, "t").claimed
        assert claimed.head.workflow_id == "fork"
        assert list(claimed.history) == own(1, 2)
        last = Commit(workflow_id="fork", token="t", seq=2, state="completed", events=events(3, 3))
        assert commit(store, last) == Done()
        assert [one.seq for one in store.read("fork")] == [1, 2, 3]

    def test_claims_give_its_history_from_where_it_last_continued(self, store: Store) -> None:
        held(store, "order", seq=6)
        assert fork(store, fork_of("order", "fork", 5, rows=own(1, 3, 6), first_seq=3)) == Done()
        (claimed,) = claim(store, "t").claimed
        assert claimed.head.first_seq == 3
        assert [one.seq for one in claimed.history] == [3, 4, 5, 6]

    def test_the_bytes_of_its_history_count_for_claims(self, store: Store) -> None:
        held(store, "order", seq=40)
        for name in ("fork-1", "fork-2"):
            assert fork(store, fork_of("order", name, 39)) == Done()
        first, second = claim(store, "t1", "t2", max_bytes=10).claimed
        assert (len(first.history), len(second.history)) == (40, 0)

    def test_a_second_fork_of_the_same_id_is_told_of_the_first(self, store: Store, peer: Store) -> None:
        held(store, "order", seq=3)
        assert fork(store, fork_of("order", "fork", 2)) == Done()
        before = list(store.read("fork"))
        assert fork(peer, fork_of("order", "fork", 3)) == Exists(head=head(store, "fork"))
        assert list(store.read("fork")) == before

    def test_a_fork_of_what_is_not_there_is_refused(self, store: Store) -> None:
        held(store, "order", seq=3)
        assert fork(store, fork_of("nobody", "fork", 2)) == Refused()
        assert fork(store, fork_of("order", "fork", 4)) == Refused()
        assert store.heads(["fork"]) == [None]

    def test_forks_of_forks_have_the_rows_of_both(self, store: Store) -> None:
        held(store, "order", seq=5)
        assert fork(store, fork_of("order", "one", 4)) == Done()
        assert fork(store, fork_of("one", "two", 5, rows=own(1, 6))) == Done()
        assert list(store.read("two")) == [*own(1), *events(2, 4), *own(5, 6)]

    def test_what_it_creates_is_there_with_it_or_nothing_is(self, store: Store) -> None:
        held(store, "order", seq=3)
        children = [new("child-1"), new("child-2")]
        assert fork(store, fork_of("order", "fork", 2, creates=children)) == Done()
        assert [one is not None for one in store.heads(["child-1", "child-2"])] == [True, True]
        taken = ChildExists(index=1, head=head(store, "child-2"))
        assert fork(store, fork_of("order", "other", 2, creates=[new("child-3"), new("child-2")])) == taken
        assert store.heads(["other", "child-3"]) == [None, None]

    def test_messages_lie_in_its_inbox_in_order_with_the_times_of_their_arrival(self, store: Store) -> None:
        held(store, "order", seq=3)
        sent = [
            InboxRow(
                row=0,
                destination="order",
                source="ann",
                number=number,
                topic="hello",
                payload=b'"%d"' % number,
                control=False,
                arrived_at=BEGINNING + number,
            )
            for number in (5, 3, 4)
        ]
        assert fork(store, replace(fork_of("order", "fork", 2), inbox=sent)) == Done()
        assert post(store, message("fork", number=9)) == Done()
        (claimed,) = claim(store, "t").claimed
        assert [(one.number, one.destination) for one in claimed.inbox] == [(n, "fork") for n in (5, 3, 4, 9)]
        assert [one.arrived_at for one in claimed.inbox[:3]] == [one.arrived_at for one in sent]
        if isinstance(store, SupportsInboxes):
            assert list(store.inbox("order")) == []

    def test_a_message_that_it_has_is_not_delivered_again(self, store: Store) -> None:
        held(store, "order", seq=3)
        one = message("fork", source="ann", number=7)
        lies = InboxRow(
            row=0,
            destination="order",
            source="ann",
            number=7,
            topic=one.topic,
            payload=one.payload,
            control=False,
            arrived_at=BEGINNING,
        )
        assert fork(store, replace(fork_of("order", "fork", 2), inbox=[lies])) == Done()
        assert post(store, one) != Done()
        (claimed,) = claim(store, "t").claimed
        assert [row.number for row in claimed.inbox] == [7]

    def test_its_values_are_those_that_are_given(self, store: Store) -> None:
        if not isinstance(store, SupportsValues):
            pytest.skip("it keeps no values")
        held(store, "order", seq=3)
        values = [ValueRow(name=name, seq=2, recorded_at=BEGINNING, payload=b"1") for name in ("a", "b")]
        assert fork(store, replace(fork_of("order", "fork", 2), values=values)) == Done()
        assert list(store.values("fork")) == values
        assert list(store.values("order")) == []

    def test_its_streams_are_copied_up_to_the_bounds(self, store: Store) -> None:
        if not isinstance(store, SupportsStreams):
            pytest.skip("it keeps no streams")
        token, rows = held(store, "order"), list[StreamRow]()
        for stream, offset, at in (("a", 0, 10), ("a", 2, 30), ("a", 4, 10), ("b", 0, 10), ("b", 2, 10), ("c", 0, 30)):
            rows.append(
                StreamRow(
                    stream=stream,
                    offset=offset,
                    count=2,
                    kind="items",
                    written_at=at,
                    operation="talk",
                    attempt=1,
                    payload=b"[1,2]",
                )
            )
        written = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2), items=rows)
        assert commit(store, written) == Done()
        wanted = replace(fork_of("order", "fork", 2), streams_until=20, stream_bounds=[("b", 2), ("nothing", 1)])
        assert fork(store, wanted) == Done()
        questions = [StreamQuestion(workflow_id="fork", stream=stream, start=0) for stream in ("a", "b", "c")]
        found = [list(page.rows) for page in store.read_streams(questions, limit=10)]
        assert found == [rows[:1], rows[3:4], []]
        assert [(one.stream, one.length) for one in store.streams("order")] == [("a", 6), ("b", 4), ("c", 2)]

    def test_it_is_found_by_its_attributes(self, store: Store) -> None:
        if not isinstance(store, SupportsFinding):
            pytest.skip("it keeps no attributes")
        held(store, "order", seq=3)
        assert fork(store, fork_of("order", "fork", 2)) == Done()
        assert list(store.attributes(["fork", "order"])) == [{"of": "order"}, {}]
        found = store.workflows(WorkflowQuery(attributes={"of": ['"order"']}))
        assert [one.workflow_id for one in found] == ["fork"]

    def test_it_outlives_its_source(self, store: Store) -> None:
        if not isinstance(store, SupportsDeletion):
            pytest.skip("it deletes nothing")
        ended(store, "order")
        assert fork(store, fork_of("order", "fork", 2)) == Done()
        assert list(store.delete(["order"])) == ["order"]
        assert list(store.read("fork")) == [*own(1), *events(2, 2), *own(3)]

    def test_events_are_read_by_their_types(self, store: Store) -> None:
        token = held(store, "order", seq=2)
        others = [replace_type(one, "told") for one in events(3, 6)]
        assert commit(store, Commit(workflow_id="order", token=token, seq=2, state="running", events=others)) == Done()
        read = with_forks(store).read_types
        assert list(read("order", ["told"])) == others
        assert list(read("order", ["told"], after=3, until=5)) == others[1:3]
        assert list(read("order", ["happened", "told"], until=3)) == [*events(1, 2), others[0]]
        assert list(read("order", ["nothing"])) == []
        assert list(read("nobody", ["told"])) == []

    @pytest.mark.parametrize("seqs", [(1,), (2, 4), (1, 5), (1, 4, 6), (1, 4, 4), (4, 1)])
    def test_a_fork_with_a_gap_is_refused_before_anything_is_written(self, store: Store, seqs: tuple[int, ...]) -> None:
        held(store, "order", seq=5)
        with pytest.raises(InternalError):
            fork(store, fork_of("order", "fork", 3, rows=own(*seqs)))
        assert store.heads(["fork"]) == [None]


def replace_type(one: EventRow, kind: str) -> EventRow:
    """Give the same event as one of another type."""
    return EventRow(one.seq, kind, one.recorded_at, one.payload)
