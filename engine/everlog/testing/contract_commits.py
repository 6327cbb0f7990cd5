"""What a store promises of creations and commits, as tests. Part of `everlog.testing.StoreConformance`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from everlog.errors import InternalError
from everlog.store import Batch, Commit, Done, EventRow, Exists, Refused, State, Store
from everlog.testing.making import claim, commit, create, ended, event, events, head, held, message, new, post, waiting

ODD_TEXTS = ['o\'hara "x"', "naïve ☃ 🐍", "A", "a", " a", "a ", "a/../b%2F", "x" * 512, "line\nline", "0", "1e3"]

ODD_PAYLOADS = [
    b"{}",
    b"null",
    b'  {"spaces": [ 1 ,2 ],  "order": 1, "a": 2}\n',
    b'"\\u0000 escaped"',
    '"snow ☃, snake 🐍, line separators \u2028 \u2029, delete \x7f"'.encode(),
    b'"quotes \\" and \\\\ and \\/ and \'"',
    b"12345678901234567890123456789.000",
    b'"' + b"x" * 1_000_000 + b'"',
]

LATE_KINDS = ["goes on", "waits", "goes on and waits", "releases", "ends"]

FIELDS: dict[str, object] = {"state": "waiting", "wake_at": 7, "topics": ["news"], "build": "b", "why": "so"}
"""What a commit may change of a head without an event, each with a value that no new head has."""


class CommitContract:
    """Creations and commits."""

    def test_a_created_workflow_is_there_with_its_first_events(self, store: Store) -> None:
        assert create(store, new("order", seq=3)) == Done()
        found = head(store, "order")
        assert (found.name, found.state, found.seq) == ("checkout", "queued", 3)
        assert list(store.read("order")) == events(1, 3)

    def test_created_at_is_the_time_of_the_first_event(self, store: Store) -> None:
        create(store, new("order", seq=3))
        assert head(store, "order").created_at == event(1).recorded_at
        assert head(store, "order").ended_at is None

    def test_creating_an_id_again_gives_the_head_that_was_there_and_writes_nothing(self, store: Store) -> None:
        create(store, new("order"))
        before = head(store, "order")
        assert create(store, new("order", name="other", state="running", seq=2, token="t")) == Exists(head=before)
        assert head(store, "order") == before
        assert list(store.read("order")) == events(1, 1)

    def test_an_id_that_occurs_twice_among_the_creations_is_created_once(self, store: Store) -> None:
        outcome = store.commit(Batch(creates=[new("order"), new("order", seq=2), new("other")]))
        assert outcome.creates == [Done(), Exists(head=head(store, "order")), Done()]
        assert head(store, "order").seq == 1

    def test_a_workflow_created_with_a_token_is_held_from_the_start(self, store: Store) -> None:
        held(store, "order", token="mine", worker="worker-7")
        assert (head(store, "order").token, head(store, "order").worker) == ("mine", "worker-7")
        assert not claim(store, "other").claimed
        assert commit(store, Commit(workflow_id="order", token="mine", seq=1, state="running")) == Done()

    def test_a_workflow_created_without_a_token_is_unheld(self, store: Store) -> None:
        create(store, new("order"))
        assert (head(store, "order").token, head(store, "order").worker) == (None, None)

    def test_a_commit_appends_its_events_and_moves_the_head(self, store: Store) -> None:
        token = held(store, "order", seq=2)
        assert commit(store, _commit("order", token, seq=2, count=3)) == Done()
        assert head(store, "order").seq == 5
        assert list(store.read("order")) == events(1, 5)

    def test_commits_one_after_the_other_make_one_dense_history(self, store: Store) -> None:
        token = held(store, "order")
        for seq in range(1, 20):
            assert commit(store, _commit("order", token, seq=seq, count=1)) == Done()
        assert list(store.read("order")) == events(1, 20)

    @pytest.mark.parametrize("state", ["queued", "running", "waiting", "stuck"])
    def test_the_head_takes_state_wake_at_topics_build_and_why_as_given(self, store: Store, state: State) -> None:
        token = held(store, "order")
        topics = ["news", "o'hara ☃"]
        given = Commit(
            workflow_id="order", token=token, seq=1, state=state, wake_at=7, topics=topics, build="b", why="so"
        )
        assert commit(store, given) == Done()
        found = head(store, "order")
        assert (found.state, found.wake_at, list(found.topics)) == (state, 7, topics)
        assert (found.build, found.why) == ("b", "so")
        assert commit(store, Commit(workflow_id="order", token=token, seq=1, state="running")) == Done()
        found = head(store, "order")
        assert (found.state, found.wake_at, list(found.topics)) == ("running", None, [])
        assert (found.build, found.why) == (None, None)

    @pytest.mark.parametrize("field", FIELDS)
    def test_the_head_takes_each_as_given_also_where_nothing_else_changes(self, store: Store, field: str) -> None:
        token = held(store, "order")
        plain = _commit("order", token, seq=1, count=1)
        assert commit(store, plain) == Done()
        before = head(store, "order")
        only = Commit(workflow_id="order", token=token, seq=2, state="running")
        assert commit(store, replace(only, **{field: FIELDS[field]})) == Done()
        found = getattr(head(store, "order"), field)
        assert (list(found) if field == "topics" else found) == FIELDS[field]
        assert commit(store, only) == Done()
        assert head(store, "order") == before

    def test_a_commit_keeps_the_workflow_held_unless_it_releases(self, store: Store) -> None:
        token = held(store, "order")
        commit(store, _commit("order", token, seq=1, count=1))
        assert head(store, "order").token == token
        assert commit(store, Commit(workflow_id="order", token=token, seq=2, state="running", release=True)) == Done()
        assert (head(store, "order").token, head(store, "order").worker) == (None, None)
        assert commit(store, _commit("order", token, seq=2, count=1)) == Refused()

    @pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
    def test_an_end_is_final_and_leaves_the_workflow_unheld(self, store: Store, state: State) -> None:
        token = held(store, "order")
        last = Commit(workflow_id="order", token=token, seq=1, state=state, events=events(2, 2))
        assert commit(store, last) == Done()
        found = head(store, "order")
        assert (found.state, found.token, found.worker) == (state, None, None)
        assert found.ended_at == event(2).recorded_at
        assert commit(store, _commit("order", token, seq=2, count=1)) == Refused()
        assert not claim(store, "other").claimed

    def test_ended_at_is_the_time_of_the_last_event(self, store: Store) -> None:
        token = held(store, "order")
        last = Commit(workflow_id="order", token=token, seq=1, state="failed", events=events(2, 4))
        assert commit(store, last) == Done()
        assert head(store, "order").ended_at == event(4).recorded_at
        create(store, new("stillborn", state="cancelled", seq=3))
        assert head(store, "stillborn").ended_at == event(3).recorded_at

    def test_the_end_of_a_workflow_without_an_event_is_now(self, store: Store) -> None:
        token = held(store, "order")
        before = store.now()
        assert commit(store, Commit(workflow_id="order", token=token, seq=1, state="failed")) == Done()
        ended_at = head(store, "order").ended_at
        assert ended_at is not None
        assert before <= ended_at <= store.now()

    def test_a_commit_with_another_token_is_refused(self, store: Store) -> None:
        held(store, "order")
        _assert_refused_without_trace(store, _commit("order", "not the token", seq=1, count=1))

    def test_a_commit_with_another_seq_is_refused(self, store: Store) -> None:
        token = held(store, "order", seq=3)
        _assert_refused_without_trace(store, _commit("order", token, seq=2, count=1))
        _assert_refused_without_trace(store, _commit("order", token, seq=4, count=1))

    def test_a_commit_without_events_is_refused_as_well(self, store: Store) -> None:
        held(store, "order")
        parks = Commit(workflow_id="order", token="not the token", seq=1, state="waiting", release=True)
        _assert_refused_without_trace(store, parks)

    def test_a_commit_for_an_unheld_an_ended_or_an_unknown_workflow_is_refused(self, store: Store) -> None:
        create(store, new("unheld"))
        ended(store, "ended")
        for workflow_id, seq in (("unheld", 1), ("ended", 2), ("unknown", 1)):
            assert commit(store, _commit(workflow_id, "token", seq=seq, count=1)) == Refused()

    @pytest.mark.parametrize("kind", LATE_KINDS)
    def test_a_commit_after_retire_is_refused(self, store: Store, peer: Store, kind: str) -> None:
        token = held(store, "order")
        peer.retire("worker-1")
        _assert_refused_without_trace(store, _late_commit(kind, "order", token, seq=1))

    @pytest.mark.parametrize("kind", LATE_KINDS)
    def test_a_commit_after_another_claim_is_refused(self, store: Store, peer: Store, kind: str) -> None:
        token = held(store, "order")
        peer.retire("worker-1")
        claim(peer, "second", worker="worker-2")
        _assert_refused_without_trace(store, _late_commit(kind, "order", token, seq=1))
        assert commit(peer, _commit("order", "second", seq=1, count=1)) == Done()

    @pytest.mark.parametrize("kind", LATE_KINDS)
    def test_a_token_counts_whoever_of_the_peers_claimed_with_it(self, store: Store, peer: Store, kind: str) -> None:
        """A store that remembers heads must not refuse from memory."""
        token = held(store, "order")
        assert commit(store, _commit("order", token, seq=1, count=1)) == Done()
        peer.retire("worker-1")
        claim(peer, "second", worker="worker-2")
        assert commit(peer, _commit("order", "second", seq=2, count=1)) == Done()
        assert commit(store, _late_commit(kind, "order", "second", seq=3)) == Done()

    @pytest.mark.parametrize("kind", LATE_KINDS)
    def test_what_a_peer_took_does_not_hold_the_rest_of_a_batch(self, store: Store, peer: Store, kind: str) -> None:
        """Whatever of the batch was tried before that was found out leaves no trace either."""
        tokens = {name: held(store, name, worker=f"worker of {name}") for name in ("a", "b", "c")}
        first = [_commit(name, token, seq=1, count=1) for name, token in tokens.items()]
        assert list(store.commit(Batch(commits=first)).commits) == [Done()] * 3
        peer.retire("worker of b")
        second = [
            _commit("a", tokens["a"], seq=2, count=1),
            _late_commit(kind, "b", tokens["b"], seq=2),
            _late_commit(kind, "c", tokens["c"], seq=2),
        ]
        assert list(store.commit(Batch(commits=second)).commits) == [Done(), Refused(), Done()]
        assert list(store.read("a")) == events(1, 3)
        assert list(store.read("b")) == events(1, 2)
        assert head(store, "c").seq == (2 if kind == "waits" else 3)

    def test_a_zombie_cannot_release_what_another_holds(self, store: Store, peer: Store) -> None:
        zombie = held(store, "order")
        peer.retire("worker-1")
        claim(peer, "second", worker="worker-2")
        parks = Commit(workflow_id="order", token=zombie, seq=1, state="waiting", release=True)
        _assert_refused_without_trace(store, parks)
        assert not claim(store, "third").claimed

    def test_of_a_zombies_overlapping_events_none_is_inserted(self, store: Store, peer: Store) -> None:
        zombie = held(store, "order")
        peer.retire("worker-1")
        claim(peer, "second", worker="worker-2")
        assert commit(peer, _commit("order", "second", seq=1, count=1)) == Done()
        _assert_refused_without_trace(store, _commit("order", zombie, seq=1, count=3))
        assert list(store.read("order")) == events(1, 2)

    @pytest.mark.parametrize("kind", LATE_KINDS)
    def test_a_commit_sees_what_a_peer_wrote_with_the_same_token(self, store: Store, peer: Store, kind: str) -> None:
        token = held(store, "order")
        assert commit(store, _commit("order", token, seq=1, count=1)) == Done()
        assert commit(peer, _commit("order", token, seq=2, count=1)) == Done()
        _assert_refused_without_trace(store, _late_commit(kind, "order", token, seq=2))

    def test_a_head_that_a_peer_moved_without_events_is_moved_on(self, store: Store, peer: Store) -> None:
        token = held(store, "order")
        for moved in (
            Commit(workflow_id="order", token=token, seq=1, state="waiting"),
            Commit(workflow_id="order", token=token, seq=1, state="running", topics=["news"]),
            Commit(workflow_id="order", token=token, seq=1, state="running", wake_at=5),
            Commit(workflow_id="order", token=token, seq=1, state="running", build="b"),
            Commit(workflow_id="order", token=token, seq=1, state="running", why="so"),
        ):
            plain = Commit(workflow_id="order", token=token, seq=1, state="running")
            assert commit(store, plain) == Done()
            before = head(store, "order")
            assert commit(peer, moved) == Done()
            assert head(store, "order") != before
            assert commit(store, plain) == Done()
            assert head(peer, "order") == before

    def test_a_repeated_commit_is_refused_and_the_head_shows_that_the_first_was_done(self, store: Store) -> None:
        token = held(store, "order")
        assert commit(store, _commit("order", token, seq=1, count=2)) == Done()
        _assert_refused_without_trace(store, _commit("order", token, seq=1, count=2))
        assert (head(store, "order").token, head(store, "order").seq) == (token, 3)

    def test_a_refused_commit_leaves_no_trace(self, store: Store) -> None:
        token = held(store, "order")
        held(store, "destination", worker="worker-2")
        post(store, message("order"))
        row = store.unread("worker-1")[0].row
        for wrong in (
            _commit("order", "not the token", seq=1, count=1),
            _commit("order", token, seq=2, count=1),
        ):
            sent = message("destination", source="order", key="k")
            given = Commit(
                workflow_id="order",
                token=wrong.token,
                seq=wrong.seq,
                state="completed",
                events=wrong.events,
                consumed=[row],
                messages=[sent],
            )
            _assert_refused_without_trace(store, given)
        assert [found.row for found in store.unread("worker-1")] == [row]
        assert not store.unread("worker-2")
        assert post(store, message("destination", source="order", key="k")) == Done()

    def test_parts_that_are_refused_do_not_hold_the_others(self, store: Store) -> None:
        tokens = {name: held(store, name) for name in ("a", "b", "c")}
        batch = Batch(
            creates=[new("a"), new("d")],
            commits=[
                _commit("c", tokens["c"], seq=1, count=1),
                _commit("b", "not the token", seq=1, count=1),
                Commit(workflow_id="e", token="unknown", seq=1, state="running"),
            ],
            posts=[message("unknown"), message("d")],
        )
        outcome = store.commit(batch)
        assert [type(part) for part in outcome.creates] == [Exists, Done]
        assert outcome.commits == [Done(), Refused(), Refused()]
        assert outcome.posts[1] == Done()
        assert [head(store, name).seq for name in ("a", "b", "c", "d")] == [1, 1, 2, 1]

    def test_an_empty_batch_is_done(self, store: Store) -> None:
        outcome = store.commit(Batch())
        assert (list(outcome.creates), list(outcome.commits), list(outcome.posts)) == ([], [], [])

    def test_one_batch_may_carry_very_many_workflows(self, store: Store) -> None:
        ids = [f"order-{number:05}" for number in range(700)]
        created = [new(workflow_id, state="running", token=f"t{workflow_id}") for workflow_id in ids]
        assert list(store.commit(Batch(creates=created)).creates) == [Done()] * len(ids)
        commits = [_commit(workflow_id, f"t{workflow_id}", seq=1, count=2) for workflow_id in ids]
        commits[300] = _commit(ids[300], "not the token", seq=1, count=2)
        outcomes = list(store.commit(Batch(commits=commits)).commits)
        assert outcomes == [Done()] * 300 + [Refused()] + [Done()] * 399
        found = [0 if one is None else one.seq for one in store.heads(ids)]
        assert found == [3] * 300 + [1] + [3] * 399

    def test_one_commit_may_carry_very_many_events(self, store: Store) -> None:
        token = held(store, "order")
        assert commit(store, _commit("order", token, seq=1, count=1_500)) == Done()
        assert list(store.read("order")) == events(1, 1_501)

    def test_a_gap_in_a_history_is_never_written(self, store: Store) -> None:
        token, other = held(store, "order"), held(store, "other")
        gap = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(3, 3))
        with pytest.raises(InternalError, match="seq 2"):
            store.commit(Batch(commits=[_commit("other", other, seq=1, count=1), gap]))
        assert (head(store, "order").seq, head(store, "other").seq) == (1, 1)

    def test_a_creation_without_a_first_event_is_never_written(self, store: Store) -> None:
        with pytest.raises(InternalError):
            create(store, new("order", seq=0))
        assert list(store.heads(["order"])) == [None]

    def test_a_workflow_that_occurs_twice_in_a_batch_is_never_written(self, store: Store) -> None:
        token = held(store, "order")
        twice = [_commit("order", token, seq=1, count=1), _commit("order", token, seq=2, count=1)]
        with pytest.raises(InternalError):
            store.commit(Batch(commits=twice))
        with pytest.raises(InternalError):
            store.commit(Batch(creates=[new("order")], commits=twice[:1]))
        assert head(store, "order").seq == 1

    def test_progress_forgets_takeovers_and_other_commits_keep_them(self, store: Store) -> None:
        held(store, "order")
        store.retire("worker-1")
        claim(store, "second")
        commit(store, Commit(workflow_id="order", token="second", seq=1, state="running"))
        assert head(store, "order").takeovers == 1
        idle = Commit(workflow_id="order", token="second", seq=1, state="running", events=events(2, 2), progress=False)
        commit(store, idle)
        assert head(store, "order").takeovers == 1
        commit(store, _commit("order", "second", seq=2, count=1))
        assert head(store, "order").takeovers == 0

    @pytest.mark.parametrize("progress", [True, False])
    def test_a_commit_that_parks_forgets_takeovers_as_well(self, store: Store, progress: bool) -> None:
        held(store, "order")
        store.retire("worker-1")
        claim(store, "second")
        parks = Commit(
            workflow_id="order",
            token="second",
            seq=1,
            state="waiting",
            events=events(2, 2),
            topics=["news"],
            release=True,
            progress=progress,
        )
        assert commit(store, parks) == Done()
        assert head(store, "order").takeovers == (0 if progress else 1)

    def test_payloads_come_back_byte_for_byte(self, store: Store) -> None:
        token = held(store, "order")
        rows = [EventRow(2 + n, "happened", 5, payload) for n, payload in enumerate(ODD_PAYLOADS)]
        assert commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", events=rows)) == Done()
        assert list(store.read("order", after=1)) == rows
        for number, payload in enumerate(ODD_PAYLOADS):
            post(store, message("order", number, payload=payload))
        assert [row.payload for row in store.unread("worker-1")] == ODD_PAYLOADS

    def test_odd_texts_come_back_as_they_were_and_no_two_are_one(self, store: Store) -> None:
        for text in ODD_TEXTS:
            assert create(store, new(text, name=text, token=text, worker=text)) == Done()
        for text in ODD_TEXTS:
            found = head(store, text)
            assert (found.workflow_id, found.name, found.token, found.worker) == (text, text, text, text)
            assert post(store, message(text, source=text, topic=text, key=text)) == Done()
            row = store.unread(text)[0]
            assert (row.destination, row.source, row.topic) == (text, text, text)

    def test_times_and_numbers_may_be_large(self, store: Store) -> None:
        waiting(store, "order", wake_at=2**53)
        post(store, message("order", 2**53))
        assert head(store, "order").wake_at == 2**53
        assert claim(store).next_due == 2**53


def _commit(workflow_id: str, token: str, *, seq: int, count: int) -> Commit:
    return Commit(workflow_id=workflow_id, token=token, seq=seq, state="running", events=events(seq + 1, seq + count))


def _late_commit(kind: str, workflow_id: str, token: str, *, seq: int) -> Commit:
    """Give a commit that a worker may try which does not know that it lost the workflow."""
    ends: State = "completed" if kind == "ends" else "running"
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state="waiting" if "waits" in kind else ends,
        events=() if kind == "waits" else events(seq + 1, seq + 1),
        topics=["news"] if "waits" in kind else (),
        release=kind == "releases",
    )


def _assert_refused_without_trace(store: Store, refused: Commit) -> None:
    before = head(store, refused.workflow_id), list(store.read(refused.workflow_id))
    assert commit(store, refused) == Refused()
    assert (head(store, refused.workflow_id), list(store.read(refused.workflow_id))) == before
