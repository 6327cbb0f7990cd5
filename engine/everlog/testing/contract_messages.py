"""What a store promises of messages and inboxes, as tests. Part of `everlog.testing.StoreConformance`."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread

import pytest

from everlog.store import Batch, Commit, CommitOutcome, Done, Duplicate, NewMessage, PostOutcome, Store, Undeliverable
from everlog.testing.making import claim, commit, create, ended, events, head, held, message, new, post, waiting


class MessageContract:
    """Messages and inboxes."""

    def test_a_posted_message_lies_unread_in_the_inbox(self, store: Store) -> None:
        held(store, "order")
        before = store.now()
        assert post(store, message("order", 7, source="someone", topic="news", payload=b"1")) == Done()
        (row,) = store.unread("worker-1")
        assert (row.destination, row.source, row.number) == ("order", "someone", 7)
        assert (row.topic, row.payload, row.control) == ("news", b"1", False)
        assert before <= row.arrived_at <= store.now()

    def test_a_control_message_says_so(self, store: Store) -> None:
        held(store, "order")
        post(store, message("order", control=True))
        assert store.unread("worker-1")[0].control is True

    def test_a_message_of_a_commit_is_delivered_with_it(self, store: Store) -> None:
        token = held(store, "sender")
        held(store, "order", worker="worker-2")
        assert _send(store, "sender", token, [message("order", 1), message("order", 2)]) == Done()
        assert [row.number for row in store.unread("worker-2")] == [1, 2]
        assert head(store, "sender").seq == 2

    def test_a_workflow_may_send_to_itself(self, store: Store) -> None:
        token = held(store, "order")
        assert _send(store, "order", token, [message("order")]) == Done()
        assert len(store.unread("worker-1")) == 1

    def test_a_message_reaches_a_workflow_created_in_the_same_batch(self, store: Store) -> None:
        token = held(store, "sender")
        sends = Commit(workflow_id="sender", token=token, seq=1, state="running", messages=[message("child")])
        batch = Batch(creates=[new("child")], commits=[sends], posts=[message("child", 2)])
        outcome = store.commit(batch)
        assert (list(outcome.commits), list(outcome.posts)) == ([Done()], [Done()])
        assert [row.number for row in claim(store, "t").claimed[0].inbox] == [1, 2]

    def test_rows_grow_in_the_order_of_delivery_and_keep_each_senders_order(self, store: Store) -> None:
        held(store, "order")
        for number in (5, 3, 9):
            post(store, message("order", number))
        rows = store.unread("worker-1")
        assert [row.number for row in rows] == [5, 3, 9]
        assert [row.row for row in rows] == sorted({row.row for row in rows})

    def test_consumed_rows_are_gone_with_the_commit_and_others_stay(self, store: Store) -> None:
        token = held(store, "order")
        for number in (1, 2, 3):
            post(store, message("order", number))
        rows = store.unread("worker-1")
        takes = Commit(
            workflow_id="order",
            token=token,
            seq=1,
            state="running",
            events=events(2, 3),
            consumed=[rows[0].row, rows[2].row],
        )
        assert commit(store, takes) == Done()
        assert [row.number for row in store.unread("worker-1")] == [2]

    def test_a_commit_consumes_only_from_its_own_inbox(self, store: Store) -> None:
        token = held(store, "order")
        held(store, "other", worker="worker-2")
        post(store, message("other"))
        row = store.unread("worker-2")[0].row
        takes = Commit(workflow_id="order", token=token, seq=1, state="running", consumed=[row])
        assert commit(store, takes) == Done()
        assert [found.row for found in store.unread("worker-2")] == [row]

    def test_a_row_is_never_used_twice(self, store: Store) -> None:
        token = held(store, "order")
        post(store, message("order", 1))
        row = store.unread("worker-1")[0].row
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", consumed=[row]))
        post(store, message("order", 2))
        assert [found.number for found in store.unread("worker-1", after=row)] == [2]

    def test_what_was_read_earlier_in_the_batch_is_no_repetition(self, store: Store) -> None:
        token = held(store, "order")
        post(store, message("order", 1))
        row = store.unread("worker-1")[0].row
        takes = Commit(
            workflow_id="order", token=token, seq=1, state="running", consumed=[row], messages=[message("order", 1)]
        )
        again = message("order", 1)
        outcome = store.commit(Batch(commits=[takes], posts=[again]))
        assert (list(outcome.commits), list(outcome.posts)) == ([Done()], [Duplicate()])
        (found,) = store.unread("worker-1")
        assert (found.number, found.row > row) == (1, True)

    @pytest.mark.parametrize("reason", ["unknown", "ended"])
    def test_a_post_that_nobody_can_take_is_undeliverable(self, store: Store, reason: str) -> None:
        ended(store, "ended")
        outcome = post(store, message(reason))
        assert isinstance(outcome, Undeliverable)
        assert outcome.reason == reason

    @pytest.mark.parametrize("reason", ["unknown", "ended"])
    def test_of_a_commit_with_an_undeliverable_message_nothing_is_written(self, store: Store, reason: str) -> None:
        ended(store, "ended")
        token, other = held(store, "sender"), held(store, "other")
        held(store, "order", worker="worker-2")
        post(store, message("sender"))
        row = store.unread("worker-1")[0].row
        sent = [message("order", key="k"), message(reason, 2), message("unknown", 3)]
        sends = Commit(
            workflow_id="sender",
            token=token,
            seq=1,
            state="waiting",
            events=events(2, 2),
            consumed=[row],
            messages=sent,
            release=True,
        )
        second = Commit(workflow_id="other", token=other, seq=1, state="running", events=events(2, 2))
        before = head(store, "sender")
        outcome = store.commit(Batch(commits=[sends, second])).commits
        assert isinstance(outcome[0], Undeliverable)
        assert (outcome[0].index, outcome[0].reason) == (1, reason)
        assert outcome[1] == Done()
        assert head(store, "sender") == before
        assert list(store.read("sender")) == events(1, 1)
        assert [found.row for found in store.unread("worker-1")] == [row]
        assert not store.unread("worker-2")
        assert post(store, message("order", 4, key="k")) == Done()

    def test_a_workflow_that_ended_earlier_in_the_batch_takes_no_message(self, store: Store) -> None:
        token, other = held(store, "order"), held(store, "sender")
        ends = Commit(workflow_id="order", token=token, seq=1, state="completed", events=events(2, 2))
        sends = Commit(workflow_id="sender", token=other, seq=1, state="running", messages=[message("order")])
        outcome = store.commit(Batch(commits=[ends, sends], posts=[message("order", 2)]))
        assert outcome.commits == [Done(), Undeliverable(index=0, reason="ended")]
        assert isinstance(outcome.posts[0], Undeliverable)

    def test_a_repeated_source_and_number_is_one_message(self, store: Store) -> None:
        token = held(store, "order")
        assert post(store, message("order", 1)) == Done()
        assert post(store, message("order", 1, payload=b'"again"')) == Duplicate()
        assert _send(store, "order", token, [message("order", 1)]) == Done()
        assert [row.payload for row in store.unread("worker-1")] == [b'"hello"']

    def test_another_number_source_or_destination_is_another_message(self, store: Store) -> None:
        held(store, "order")
        held(store, "other")
        post(store, message("order", 1))
        assert post(store, message("order", 2)) == Done()
        assert post(store, message("order", 1, source="another")) == Done()
        assert post(store, message("other", 1)) == Done()
        assert len(store.unread("worker-1")) == 4

    def test_repetitions_within_one_batch_are_one_message(self, store: Store) -> None:
        token = held(store, "order")
        twice = [message("order", 1), message("order", 1), message("order", 2, key="k"), message("order", 3, key="k")]
        sends = Commit(workflow_id="order", token=token, seq=1, state="running", messages=twice)
        outcome = store.commit(Batch(commits=[sends], posts=[message("order", 1), message("order", 4, key="k")]))
        assert (list(outcome.commits), list(outcome.posts)) == ([Done()], [Duplicate(), Duplicate()])
        assert [row.number for row in store.unread("worker-1")] == [1, 2]

    def test_a_keyed_message_is_delivered_once_also_after_it_was_read(self, store: Store) -> None:
        token = held(store, "order")
        assert post(store, message("order", 1, key="k")) == Done()
        assert post(store, message("order", 2, key="k")) == Duplicate()
        row = store.unread("worker-1")[0].row
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", consumed=[row]))
        assert post(store, message("order", 1, key="k")) == Duplicate()
        assert post(store, message("order", 3, source="another", key="k")) == Duplicate()
        assert _send(store, "order", token, [message("order", 4, key="k")]) == Done()
        assert not store.unread("worker-1")

    def test_a_key_counts_for_one_destination(self, store: Store) -> None:
        held(store, "order")
        held(store, "other")
        post(store, message("order", key="k"))
        assert post(store, message("other", key="k")) == Done()

    def test_a_keyed_message_that_was_read_stays_a_duplicate_after_the_end(self, store: Store) -> None:
        token = held(store, "order")
        post(store, message("order", key="k"))
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="completed", events=events(2, 2)))
        assert post(store, message("order", key="k")) == Duplicate()

    def test_unread_gives_what_all_workflows_of_the_worker_have_after_a_row(self, store: Store) -> None:
        held(store, "a")
        held(store, "b")
        held(store, "c", worker="worker-2")
        create(store, new("d"))
        for number, destination in enumerate(["a", "b", "c", "d", "a", "b"]):
            post(store, message(destination, number))
        rows = store.unread("worker-1")
        assert [(row.destination, row.number) for row in rows] == [("a", 0), ("b", 1), ("a", 4), ("b", 5)]
        assert list(store.unread("worker-1", after=rows[1].row)) == list(rows[2:])
        assert list(store.unread("worker-1", after=rows[3].row)) == []
        assert list(store.unread("nobody")) == []

    def test_a_message_that_came_before_the_parking_wakes_as_well(self, store: Store) -> None:
        token = held(store, "order")
        post(store, message("order", topic="news"))
        parks = Commit(workflow_id="order", token=token, seq=1, state="waiting", topics=["news"], release=True)
        assert commit(store, parks) == Done()
        assert len(claim(store, "second").claimed) == 1

    def test_the_end_of_one_leaves_the_messages_of_others_to_wake_them(self, store: Store) -> None:
        waiting(store, "order", topics=["news"])
        post(store, message("order", 1))
        token = held(store, "other")
        post(store, message("other", 1))
        last = Commit(workflow_id="other", token=token, seq=1, state="completed", events=events(2, 2))
        assert commit(store, last) == Done()
        (claimed,) = claim(store, "t").claimed
        assert [row.destination for row in claimed.inbox] == ["order"]

    def test_two_senders_at_once_lose_nothing_and_keep_their_orders(self, store: Store, peer: Store) -> None:
        waiting(store, "order", topics=["news"])
        outcomes: list[PostOutcome] = []

        def send(through: Store, source: str) -> None:
            outcomes.extend([post(through, message("order", number, source=source)) for number in range(40)])

        _at_once(Thread(target=send, args=(store, "a")), Thread(target=send, args=(peer, "b")))
        assert outcomes == [Done()] * 80
        inbox = claim(store, "t").claimed[0].inbox
        for source in ("a", "b"):
            assert [row.number for row in inbox if row.source == source] == list(range(40))

    def test_who_asks_for_what_is_new_misses_nothing(self, store: Store, peer: Store) -> None:
        """A row that becomes visible later is greater than all that were visible before."""
        held(store, "order")
        seen: list[tuple[str, int]] = []
        last = 0

        def send() -> None:
            for number in range(60):
                post(peer, message("order", number, source="b"))

        thread = Thread(target=send)
        thread.start()
        for number in range(60):
            post(store, message("order", number, source="a"))
            for row in store.unread("worker-1", after=last):
                seen.append((row.source, row.number))
                last = row.row
        thread.join()
        seen.extend((row.source, row.number) for row in store.unread("worker-1", after=last))
        assert sorted(seen) == [(source, number) for source in ("a", "b") for number in range(60)]

    def test_senders_of_one_message_at_once_deliver_it_once(self, store: Store, peer: Store) -> None:
        waiting(store, "order", topics=["news"])
        outcomes: list[PostOutcome] = []

        def send(through: Store) -> None:
            outcomes.extend([post(through, message("order", number, key=f"k{number}")) for number in range(20)])

        _at_once(Thread(target=send, args=(store,)), Thread(target=send, args=(peer,)))
        assert (outcomes.count(Done()), outcomes.count(Duplicate())) == (20, 20)
        assert len(claim(store, "t").claimed[0].inbox) == 20


def _send(store: Store, workflow_id: str, token: str, messages: Sequence[NewMessage]) -> CommitOutcome:
    seq = head(store, workflow_id).seq
    return commit(
        store,
        Commit(
            workflow_id=workflow_id,
            token=token,
            seq=seq,
            state="running",
            events=events(seq + 1, seq + 1),
            messages=messages,
        ),
    )


def _at_once(*threads: Thread) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
