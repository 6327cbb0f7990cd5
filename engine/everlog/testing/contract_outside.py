"""What a store promises of writing to what nobody holds, pausing, opening again, deleting. Part of the conformance."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from everlog.errors import InternalError
from everlog.store import (
    Batch,
    Commit,
    CommitOutcome,
    Done,
    Refused,
    State,
    Store,
    SupportsDeletion,
    SupportsStreams,
    SupportsValues,
    Undeliverable,
    WorkflowQuery,
)
from everlog.testing.contract_streams import emits, read, row
from everlog.testing.contract_values import setting
from everlog.testing.making import (
    claim,
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

UNHELD: tuple[State, ...] = ("queued", "running", "waiting", "paused", "stuck", "completed", "failed", "cancelled")
OPEN: tuple[State, ...] = ("queued", "running", "waiting", "paused", "stuck")
ENDS: tuple[State, ...] = ("completed", "failed", "cancelled")


class OutsideContract:
    """Commits without a token, and the state `paused`."""

    @pytest.mark.parametrize("after", OPEN)
    @pytest.mark.parametrize("before", UNHELD)
    def test_what_is_unheld_is_written_to_without_a_token_and_stays_unheld(
        self, store: Store, before: State, after: State
    ) -> None:
        create(store, new("order", state=before))
        assert _outside(store, "order", after, why="so", build="b") == Done()
        found = head(store, "order")
        assert (found.state, found.seq, found.ended_at) == (after, 2, None)
        assert (found.token, found.worker, found.why, found.build) == (None, None, "so", "b")
        assert list(store.read("order")) == events(1, 2)

    @pytest.mark.parametrize("after", ENDS)
    @pytest.mark.parametrize("before", UNHELD)
    def test_what_is_unheld_can_be_ended_without_a_token(self, store: Store, before: State, after: State) -> None:
        create(store, new("order", state=before))
        assert _outside(store, "order", after) == Done()
        found = head(store, "order")
        assert (found.state, found.ended_at, found.token) == (after, event(2).recorded_at, None)

    def test_what_is_held_is_not_written_to_without_a_token(self, store: Store) -> None:
        token = held(store, "order")
        before = head(store, "order")
        assert _outside(store, "order", "cancelled") == Refused()
        assert head(store, "order") == before
        assert commit(store, Commit(workflow_id="order", token=token, seq=1, state="running")) == Done()

    def test_what_is_unheld_is_not_written_to_with_a_token(self, store: Store) -> None:
        create(store, new("order"))
        given = Commit(workflow_id="order", token="mine", seq=1, state="running", events=events(2, 2))
        assert commit(store, given) == Refused()
        assert head(store, "order").seq == 1

    def test_of_two_that_build_on_one_seq_without_a_token_the_second_is_refused(
        self, store: Store, peer: Store
    ) -> None:
        create(store, new("order"))
        given = Commit(workflow_id="order", token=None, seq=1, state="paused", events=events(2, 2))
        assert commit(store, given) == Done()
        assert commit(peer, replace(given, state="cancelled")) == Refused()
        assert (head(store, "order").state, head(store, "order").seq) == ("paused", 2)

    def test_a_workflow_that_is_not_there_is_not_written_to(self, store: Store) -> None:
        assert _outside(store, "nobody", "cancelled") == Refused()
        assert store.heads(["nobody"]) == [None]

    def test_without_a_token_and_events_nothing_is_written(self, store: Store) -> None:
        create(store, new("order"))
        with pytest.raises(InternalError, match="without a token or events"):
            commit(store, Commit(workflow_id="order", token=None, seq=1, state="paused"))
        assert head(store, "order").state == "queued"

    def test_commits_with_and_without_a_token_share_a_batch(self, store: Store) -> None:
        token = held(store, "held")
        create(store, new("free"))
        ended(store, "over", "failed")
        outcome = store.commit(
            Batch(
                commits=[
                    Commit(workflow_id="free", token=None, seq=1, state="paused", events=events(2, 2)),
                    Commit(workflow_id="held", token=token, seq=1, state="running", events=events(2, 2)),
                    Commit(workflow_id="over", token=None, seq=2, state="running", events=events(3, 3)),
                ]
            )
        )
        assert list(outcome.commits) == [Done()] * 3
        assert [head(store, one).state for one in ("free", "held", "over")] == ["paused", "running", "running"]

    @pytest.mark.parametrize("state", ENDS)
    def test_what_was_opened_again_can_be_claimed_and_ended_anew(self, store: Store, state: State) -> None:
        ended(store, "order", state)
        assert commit(store, _opening("order", "queued")) == Done()
        (claimed,) = claim(store, "token").claimed
        assert list(claimed.history) == events(1, 3)
        again = Commit(workflow_id="order", token="token", seq=3, state="completed", events=events(4, 4))
        assert commit(store, again) == Done()
        assert head(store, "order").ended_at == event(4).recorded_at

    def test_what_lay_unread_when_it_ended_counts_again_after_it_was_opened(self, store: Store) -> None:
        token = held(store, "order")
        for number in (1, 2):
            assert post(store, message("order", number)) == Done()
        ending = Commit(workflow_id="order", token=token, seq=1, state="failed", events=events(2, 2))
        assert commit(store, ending) == Done()
        assert post(store, message("order", 3)) == Undeliverable(index=0, reason="ended")
        opening = replace(_opening("order", "waiting"), topics=["news"])
        assert commit(store, opening) == Done()
        (claimed,) = claim(store, "token").claimed
        assert [row.number for row in claimed.inbox] == [1, 2]
        assert post(store, message("order", 4)) == Done()
        assert [row.number for row in store.unread("worker-1")] == [1, 2, 4]

    def test_what_is_paused_is_runnable_for_a_control_message_only(self, store: Store) -> None:
        create(store, new("order"))
        given = Commit(
            workflow_id="order", token=None, seq=1, state="paused", wake_at=1, topics=["news"], events=events(2, 2)
        )
        assert commit(store, given) == Done()
        assert post(store, message("order", 1)) == Done()
        answer = claim(store, "token")
        assert (answer.claimed, answer.next_due) == ([], None)
        assert post(store, message("order", 2, topic="resume", control=True)) == Done()
        (claimed,) = claim(store, "token").claimed
        assert claimed.head.state == "paused"
        assert [row.number for row in claimed.inbox] == [1, 2]

    def test_what_is_paused_and_whose_holder_died_is_not_counted_as_taken_over(self, store: Store) -> None:
        token = held(store, "order")
        assert commit(store, Commit(workflow_id="order", token=token, seq=1, state="paused")) == Done()
        assert store.retire("worker-1") == 1
        assert (head(store, "order").state, head(store, "order").takeovers) == ("paused", 0)
        assert claim(store, "token").claimed == []


class DeletionConformance:
    """The contract of `SupportsDeletion`. A subclass gives the fixture `store`, of a store that supports it."""

    def test_what_has_ended_is_removed_with_all_that_is_kept_of_it(self, store: Store, peer: Store) -> None:
        token = held(store, "order")
        post(store, message("order", 1, key="once"))
        post(store, message("order", 2))
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="completed", events=events(2, 5)))
        before = peer.changes()
        assert _delete(store, "order") == ["order"]
        assert store.heads(["order"]) == peer.heads(["order"]) == [None]
        assert list(store.read("order")) == []
        assert list(store.workflows(WorkflowQuery())) == []
        assert peer.changes() != before or peer is store
        assert post(store, message("order", 3)) == Undeliverable(index=0, reason="unknown")

    def test_an_id_that_was_removed_is_as_new(self, store: Store) -> None:
        token = held(store, "order")
        for number in (1, 2):
            assert post(store, message("order", number, key=f"key {number}")) == Done()
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="failed", events=events(2, 2)))
        _delete(store, "order")
        waiting(store, "order", topics=["news"])
        assert claim(store, "token").claimed == []
        for number in (1, 2):
            assert post(store, message("order", number, key=f"key {number}")) == Done()
        (claimed,) = claim(store, "token").claimed
        assert list(claimed.history) == events(1, 1)
        assert [row.number for row in claimed.inbox] == [1, 2]

    def test_what_has_not_ended_is_left(self, store: Store) -> None:
        token = held(store, "held")
        for state in OPEN:
            create(store, new(state, state=state))
        for state in ENDS:
            ended(store, state, state)
        before = store.heads([*OPEN, "held"])
        assert set(_delete(store, "nobody", "held", *OPEN, *ENDS, *ENDS)) == set(ENDS)
        assert store.heads([*OPEN, "held"]) == before
        assert store.heads(ENDS) == [None] * 3
        assert commit(store, Commit(workflow_id="held", token=token, seq=1, state="running")) == Done()
        assert _delete(store) == []

    def test_its_values_are_removed_with_it(self, store: Store) -> None:
        if not isinstance(store, SupportsValues):
            pytest.skip("this store keeps no values")
        for one in ("order", "other"):
            commit(store, setting(one, held(store, one), 1, {"state": b"1"}, to="completed"))
        _delete(store, "order")
        assert list(store.values("order")) == []
        waiting(store, "order", topics=["news"])
        assert list(store.values("order")) == []
        assert [found.payload for found in store.values("other")] == [b"1"]

    def test_its_streams_are_removed_with_it(self, store: Store) -> None:
        if not isinstance(store, SupportsStreams):
            pytest.skip("this store keeps no streams")
        for one in ("order", "other"):
            token = held(store, one)
            commit(store, emits(one, token, 1, row("log", 0, 2)))
            commit(store, Commit(workflow_id=one, token=token, seq=1, state="completed", events=events(2, 2)))
        _delete(store, "order")
        assert list(store.streams("order")) == []
        token = held(store, "order")
        assert list(store.streams("order")) == []
        assert commit(store, emits("order", token, 1, row("log", 0, 1))) == Done()
        assert read(store, "order", "log") == [row("log", 0, 1)]
        assert read(store, "other", "log") == [row("log", 0, 2)]

    def test_others_are_as_they_were(self, store: Store) -> None:
        for one in ("a", "b", "c"):
            ended(store, one)
        kept = {one: (head(store, one), store.read(one)) for one in ("a", "c")}
        _delete(store, "b")
        assert {one: (head(store, one), store.read(one)) for one in ("a", "c")} == kept
        create(store, new("d"))
        assert claimed_ids(claim(store, "token")) == ["d"]


def _outside(
    store: Store, workflow_id: str, state: State, *, why: str | None = None, build: str | None = None
) -> CommitOutcome:
    given = Commit(workflow_id=workflow_id, token=None, seq=1, state=state, events=events(2, 2), why=why, build=build)
    return commit(store, given)


def _opening(workflow_id: str, state: State) -> Commit:
    return Commit(workflow_id=workflow_id, token=None, seq=2, state=state, events=events(3, 3))


def _delete(store: Store, *workflow_ids: str) -> Sequence[str]:
    assert isinstance(store, SupportsDeletion), f"{type(store).__name__} has no delete()"
    return list(store.delete(workflow_ids))
