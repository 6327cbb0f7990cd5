"""What a store promises of claims, as tests. Part of `everlog.testing.StoreConformance`."""

from __future__ import annotations

from threading import Thread

import pytest

from everlog.store import Batch, Commit, Done, EventRow, NewWorkflow, State, Store
from everlog.testing.making import (
    BEGINNING,
    HOUR,
    claim,
    claim_only,
    claimed_ids,
    commit,
    create,
    ended,
    event,
    events,
    head,
    held,
    message,
    new,
    post,
    waiting,
)

WITHOUT_SLEEP: tuple[State, ...] = ("queued", "running", "stuck", "completed", "failed", "cancelled")
"""States in which `wake_at` wakes nobody."""


class ClaimContract:
    """Claims."""

    def test_a_claim_gives_the_workflow_as_it_is_after_the_claim(self, store: Store) -> None:
        create(store, new("order", seq=3))
        post(store, message("order", 1))
        post(store, message("order", 2))
        (claimed,) = claim(store, "mine", worker="worker-7").claimed
        assert (claimed.head.token, claimed.head.worker) == ("mine", "worker-7")
        assert claimed.head == head(store, "order")
        assert list(claimed.history) == events(1, 3)
        assert [row.number for row in claimed.inbox] == [1, 2]
        assert commit(store, Commit(workflow_id="order", token="mine", seq=3, state="running")) == Done()

    def test_a_claim_reads_the_history_that_its_head_ends(self, store: Store) -> None:
        """Also where the last holder wrote, and consumed, just before it let go."""
        token = held(store, "order")
        post(store, message("order", 1))
        row = store.unread("worker-1")[0].row
        last = Commit(
            workflow_id="order",
            token=token,
            seq=1,
            state="running",
            events=events(2, 2),
            consumed=[row],
            release=True,
        )
        commit(store, last)
        (claimed,) = claim(store, "second").claimed
        assert claimed.history[-1].seq == claimed.head.seq == 2
        assert not claimed.inbox

    def test_a_claim_changes_neither_state_nor_seq(self, store: Store) -> None:
        create(store, new("order", seq=2))
        before = head(store, "order")
        claim(store, "mine")
        after = head(store, "order")
        assert (after.state, after.seq, after.takeovers) == (before.state, before.seq, before.takeovers)

    def test_what_is_held_is_not_claimed_again(self, store: Store) -> None:
        create(store, new("order"))
        assert claimed_ids(claim(store, "a")) == ["order"]
        assert claimed_ids(claim(store, "b")) == []
        assert head(store, "order").token == "a"

    def test_a_claim_takes_as_many_as_it_has_tokens_and_each_gets_one(self, store: Store) -> None:
        for number in range(5):
            create(store, new(f"order-{number}"))
        assert claimed_ids(claim(store)) == []
        first, rest = claim(store, "a", "b", "c"), claim(store, "d", "e", "f")
        assert (len(first.claimed), len(rest.claimed)) == (3, 2)
        assert sorted(claimed_ids(first) + claimed_ids(rest)) == [f"order-{number}" for number in range(5)]
        assert {one.head.token for one in first.claimed} == {"a", "b", "c"}
        assert all(list(one.history) == events(1, 1) for one in first.claimed)

    def test_only_the_names_that_were_asked_for_are_claimed(self, store: Store) -> None:
        create(store, new("a", name="checkout"))
        create(store, new("b", name="report"))
        create(store, new("c", name="Checkout"))
        assert claimed_ids(claim(store, "t", "u", names=[])) == []
        assert claimed_ids(claim(store, "t", "u", names=["report", "other"])) == ["b"]
        assert claimed_ids(claim(store, "t", "u", names=["checkout"])) == ["a"]

    @pytest.mark.parametrize("state", ["queued", "running"])
    def test_queued_and_running_workflows_are_runnable(self, store: Store, state: State) -> None:
        create(store, new("order", state=state))
        assert claimed_ids(claim(store, "t")) == ["order"]

    def test_ended_workflows_are_not_runnable(self, store: Store) -> None:
        for state in ("completed", "failed", "cancelled"):
            ended(store, state, state)
        assert claimed_ids(claim(store, "t", "u", "v")) == []

    def test_a_workflow_that_waits_for_nothing_that_came_is_not_runnable(self, store: Store) -> None:
        waiting(store, "order", topics=["news"], wake_at=store.now() + HOUR)
        waiting(store, "other")
        assert claimed_ids(claim(store, "t", "u")) == []

    def test_a_waiting_workflow_is_runnable_when_wake_at_has_come(self, store: Store) -> None:
        waiting(store, "order", wake_at=store.now())
        assert claimed_ids(claim(store, "t")) == ["order"]

    def test_a_waiting_workflow_is_runnable_for_a_message_on_its_topics(self, store: Store) -> None:
        waiting(store, "order", topics=["other", "news"])
        post(store, message("order", 1, topic="unheard of"))
        assert claimed_ids(claim(store, "t")) == []
        post(store, message("order", 2, topic="news"))
        (claimed,) = claim(store, "t").claimed
        assert [row.number for row in claimed.inbox] == [1, 2]

    def test_a_topic_is_compared_whole_and_exactly(self, store: Store) -> None:
        waiting(store, "order", topics=["news", 'a"b'])
        for number, topic in enumerate(["new", "News", "news ", "", '["news"]', "a", 'a\\"b']):
            post(store, message("order", number, topic=topic))
        assert claimed_ids(claim(store, "t")) == []
        post(store, message("order", 99, topic='a"b'))
        assert claimed_ids(claim(store, "t")) == ["order"]

    def test_a_waiting_workflow_is_runnable_for_a_control_message_on_any_topic(self, store: Store) -> None:
        waiting(store, "order", topics=["news"])
        post(store, message("order", topic="unheard of", control=True))
        assert claimed_ids(claim(store, "t")) == ["order"]

    def test_a_held_workflow_is_not_runnable_whatever_it_waits_for(self, store: Store) -> None:
        token = held(store, "order")
        waits = Commit(workflow_id="order", token=token, seq=1, state="waiting", topics=["news"], wake_at=store.now())
        assert commit(store, waits) == Done()
        post(store, message("order", 1))
        post(store, message("order", 2, control=True))
        assert claimed_ids(claim(store, "t", worker="worker-2")) == []
        assert head(store, "order").token == token

    def test_a_message_wakes_no_workflow_of_a_name_that_was_not_asked_for(self, store: Store) -> None:
        waiting(store, "order", topics=["news"], name="report")
        post(store, message("order"))
        assert claimed_ids(claim(store, "t", names=["checkout"])) == []
        assert claimed_ids(claim(store, "t", names=["checkout", "report"])) == ["order"]

    def test_a_message_that_was_read_wakes_nobody(self, store: Store) -> None:
        waiting(store, "order", topics=["news"])
        post(store, message("order"))
        (claimed,) = claim(store, "t").claimed
        again = Commit(
            workflow_id="order",
            token="t",
            seq=1,
            state="waiting",
            events=events(2, 2),
            consumed=[claimed.inbox[0].row],
            topics=["news"],
            release=True,
        )
        assert commit(store, again) == Done()
        assert claimed_ids(claim(store, "u")) == []

    def test_a_stuck_workflow_is_runnable_for_another_build_only(self, store: Store) -> None:
        token = held(store, "order")
        stuck = Commit(workflow_id="order", token=token, seq=1, state="stuck", build="build-1", release=True)
        commit(store, stuck)
        post(store, message("order", control=True))
        assert claimed_ids(claim(store, "t", build="build-1")) == []
        assert claimed_ids(claim(store, "t", build="build-2")) == ["order"]

    def test_a_workflow_that_is_stuck_with_no_build_is_runnable_for_each(self, store: Store) -> None:
        token = held(store, "order")
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="stuck", release=True))
        assert claimed_ids(claim(store, "t", build="build-1")) == ["order"]

    def test_the_longest_runnable_comes_first(self, store: Store) -> None:
        now = store.now()
        for name, due in (("c", now - 10), ("a", now - 30), ("b", now - 20)):
            waiting(store, name, wake_at=due)
        assert claimed_ids(claim(store, "t")) == ["a"]
        assert claimed_ids(claim(store, "u", "v")) == ["b", "c"]

    def test_reasons_of_different_kinds_are_compared(self, store: Store) -> None:
        waiting(store, "sleeper", wake_at=store.now())
        waiting(store, "reader", topics=["news"])
        _let_the_clock_move(store)
        post(store, message("reader"))
        create(store, new("queued"))
        found = [claimed_ids(claim(store, token)) for token in ("t", "u", "v")]
        assert found == [["queued"], ["sleeper"], ["reader"]]

    def test_of_several_reasons_the_oldest_counts(self, store: Store) -> None:
        for name in ("c", "a", "b"):
            waiting(store, name, topics=["news"], wake_at=store.now() - HOUR if name == "a" else None)
        for number, name in enumerate(["b", "a", "c", "b"]):
            post(store, message(name, number))
            _let_the_clock_move(store)
        assert claimed_ids(claim(store, "t", "u", "v")) == ["a", "b", "c"]

    def test_the_oldest_of_the_queued_comes_first(self, store: Store) -> None:
        for name, created_at in (("c", 3), ("a", 1), ("b", 2)):
            first = [EventRow(1, "happened", BEGINNING + created_at, b"{}")]
            create(store, NewWorkflow(workflow_id=name, name="checkout", state="queued", events=first))
        assert claimed_ids(claim(store, "t", "u", "v")) == ["a", "b", "c"]

    def test_of_more_queued_than_can_be_claimed_the_oldest_are_taken(self, store: Store) -> None:
        for name, age in (("c", 1), ("a", 3), ("b", 2)):
            first = [EventRow(1, "happened", BEGINNING - age, b"{}")]
            create(store, NewWorkflow(workflow_id=name, name="checkout", state="queued", events=first))
        assert [claimed_ids(claim(store, token)) for token in ("t", "u", "v")] == [["a"], ["b"], ["c"]]

    def test_next_due_is_when_the_next_unheld_waiting_workflow_is_due(self, store: Store) -> None:
        assert claim(store).next_due is None
        later = store.now() + HOUR
        waiting(store, "a", wake_at=later + 2)
        waiting(store, "b", wake_at=later + 1)
        waiting(store, "c", wake_at=later, name="report")
        waiting(store, "d", topics=["news"])
        assert claim(store, "t").next_due == later + 1
        assert claim(store, "t", names=["report", "checkout"]).next_due == later
        claim_only(store, "b", "t")
        assert claim(store).next_due == later + 2

    def test_only_what_waits_is_due(self, store: Store) -> None:
        for state in WITHOUT_SLEEP:
            token = held(store, state)
            sets = Commit(workflow_id=state, token=token, seq=1, state=state, wake_at=store.now() + HOUR, release=True)
            assert commit(store, sets) == Done()
        assert claim(store).next_due is None

    def test_what_was_just_claimed_is_no_longer_due(self, store: Store) -> None:
        waiting(store, "order", wake_at=store.now())
        assert claim(store, "t").next_due is None

    def test_only_claims_that_workflow_whatever_its_name_and_runnable_or_not(self, store: Store) -> None:
        waiting(store, "order", name="report")
        create(store, new("other"))
        (claimed,) = claim_only(store, "order", "mine", worker="worker-7")
        assert (claimed.head.workflow_id, claimed.head.token) == ("order", "mine")
        assert claimed.head.worker == "worker-7"
        assert list(claimed.history) == events(1, 1)
        assert head(store, "other").token is None

    def test_only_does_not_claim_what_is_held_ended_or_unknown(self, store: Store) -> None:
        token = held(store, "held")
        ended(store, "ended")
        for workflow_id in ("held", "ended", "unknown"):
            assert list(claim_only(store, workflow_id, "mine")) == []
        assert head(store, "held").token == token
        assert head(store, "ended").token is None

    def test_a_history_that_does_not_fit_comes_empty_and_can_be_read(self, store: Store) -> None:
        size = 100_000
        for name in ("a", "b", "c"):
            payload = b'"' + b"x" * (size - 2) + b'"'
            first = [event(seq, payload if seq == 2 else b"{}") for seq in (1, 2)]
            create(store, NewWorkflow(workflow_id=name, name="checkout", state="queued", events=first))
        claimed = claim(store, "t", "u", "v", max_bytes=2 * size + 10).claimed
        assert [len(one.history) for one in claimed] == [2, 2, 0]
        assert [one.head.seq for one in claimed] == [2, 2, 2]
        assert len(store.read(claimed[2].head.workflow_id)) == 2

    def test_a_history_that_just_fits_is_whole(self, store: Store) -> None:
        create(store, new("a", seq=2))
        create(store, new("b", seq=3))
        size = sum(len(one.payload) for one in events(1, 2) + events(1, 3))
        exactly = claim(store, "t", "u", max_bytes=size).claimed
        assert [len(one.history) for one in exactly] == [2, 3]
        store.retire("worker-1")
        too_little = claim(store, "v", "w", max_bytes=size - 1).claimed
        assert [len(one.history) for one in too_little] == [2, 0]

    def test_histories_that_grew_by_commits_count_in_full(self, store: Store) -> None:
        for name in ("a", "b"):
            token = held(store, name)
            for seq in (1, 2):
                long = [event(seq + 1, b'"' + b"x" * 1_000 + b'"')]
                release = seq == 2
                grows = Commit(workflow_id=name, token=token, seq=seq, state="running", events=long, release=release)
                assert commit(store, grows) == Done()
        claimed = claim(store, "t", "u", max_bytes=3_000).claimed
        assert [len(one.history) for one in claimed] == [3, 0]

    def test_the_first_history_is_whole_however_long(self, store: Store) -> None:
        create(store, new("a", seq=50))
        create(store, new("b"))
        claimed = claim(store, "t", "u", max_bytes=1).claimed
        assert [len(one.history) for one in claimed] == [50, 0]

    def test_a_released_workflow_can_be_claimed_at_once(self, store: Store) -> None:
        token = held(store, "order")
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", release=True))
        assert claimed_ids(claim(store, "t")) == ["order"]
        assert head(store, "order").takeovers == 0

    def test_two_claimants_at_once_never_share_a_workflow(self, store: Store, peer: Store) -> None:
        ids = [f"order-{number:03}" for number in range(120)]
        store.commit(Batch(creates=[new(workflow_id) for workflow_id in ids]))
        taken: dict[str, list[str]] = {"a": [], "b": []}

        def take(through: Store, worker: str) -> None:
            for number in range(60):
                tokens = [f"{worker}{number}.{n}" for n in range(3)]
                taken[worker].extend(claimed_ids(claim(through, *tokens, worker=worker)))

        threads = [Thread(target=take, args=(store, "a")), Thread(target=take, args=(peer, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken["a"] + taken["b"]) == ids
        holders = {one.workflow_id: one.worker for one in store.heads(ids) if one is not None}
        assert holders == {workflow_id: worker for worker, got in taken.items() for workflow_id in got}

    def test_a_claim_sees_what_a_peer_wrote(self, store: Store, peer: Store) -> None:
        create(peer, new("order"))
        assert claimed_ids(claim(store, "t")) == ["order"]
        assert claimed_ids(claim(peer, "u")) == []


def _let_the_clock_move(store: Store) -> None:
    before = store.now()
    while store.now() <= before:
        pass
