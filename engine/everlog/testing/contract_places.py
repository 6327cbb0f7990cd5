"""What a store promises of queues and of those who stand in them, as tests. Part of `QueuesConformance`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from everlog.errors import InternalError
from everlog.store import (
    Batch,
    ChildDeduplicated,
    ChildExists,
    Commit,
    Deduplicated,
    Done,
    Exists,
    NewWorkflow,
    Place,
    PlaceRow,
    QueueCounts,
    QueueLimits,
    QueueRow,
    Rate,
    Refused,
    State,
    Store,
    Undeliverable,
)
from everlog.store_forks import Fork, SupportsForks
from everlog.testing.making import (
    HOUR,
    admit,
    claim,
    claim_only,
    claimed_ids,
    commit,
    create,
    declare,
    ended,
    enqueued,
    events,
    head,
    held,
    message,
    new,
    place_of,
    post,
    take,
    waiting,
    with_queues,
)

LIMITS = QueueLimits(
    concurrency=7,
    rate_limit=Rate(100, 60_000_000),
    partition_concurrency=2,
    partition_rate_limit=Rate(10, 1_000_000),
    worker_concurrency=3,
    partition_worker_concurrency=4,
)


class PlaceContract:
    """Queues, and places in them."""

    def test_a_declared_queue_is_listed_with_its_limits(self, store: Store) -> None:
        queues = with_queues(store)
        assert list(queues.queues()) == []
        queues.declare_queues([("mail", LIMITS), ("a", QueueLimits())])
        assert list(queues.queues()) == [
            QueueRow(name="a", limits=QueueLimits(), declared=QueueLimits()),
            QueueRow(name="mail", limits=LIMITS, declared=LIMITS),
        ]

    def test_a_fork_that_has_a_place_stands_in_its_queue(self, store: Store) -> None:
        if not isinstance(store, SupportsForks):
            pytest.skip("it copies no histories")
        declare(store)
        held(store, "order", seq=3)
        made = replace(enqueued("fork"), events=[*events(1, 1), *events(3, 3)])
        assert store.fork(Fork(new=made, source="order", until=2)) == Done()
        assert claim(store, "t").claimed == []
        (admitted,) = admit(store, "t").claimed
        assert (admitted.head.workflow_id, admitted.head.queue) == ("fork", "mail")
        assert [one.seq for one in admitted.history] == [1, 2, 3]
        assert [one.taken for one in with_queues(store).count_queues(["mail"])] == [1]

    def test_queues_are_listed_in_order_of_their_names(self, store: Store, peer: Store) -> None:
        for name in ("b", "ä", "B", "a b", "a"):
            declare(store, name)
        assert [row.name for row in with_queues(peer).queues()] == ["B", "a", "a b", "b", "ä"]

    def test_the_same_declaration_again_leaves_what_was_changed(self, store: Store) -> None:
        queues = with_queues(store)
        queues.declare_queues([("mail", LIMITS)])
        assert queues.change_queue("mail", limits=QueueLimits(concurrency=1))
        assert queues.change_queue("mail", paused=True)
        queues.declare_queues([("mail", LIMITS)])
        changed = QueueRow(name="mail", limits=QueueLimits(concurrency=1), declared=LIMITS, paused=True)
        assert list(queues.queues()) == [changed]

    def test_another_declaration_replaces_what_was_changed(self, store: Store) -> None:
        queues = with_queues(store)
        queues.declare_queues([("mail", LIMITS)])
        queues.change_queue("mail", limits=QueueLimits(concurrency=1), paused=True)
        less = QueueLimits(concurrency=6)
        queues.declare_queues([("mail", less)])
        assert list(queues.queues()) == [QueueRow(name="mail", limits=less, declared=less, paused=True)]

    def test_what_is_not_given_is_not_changed(self, store: Store) -> None:
        queues = with_queues(store)
        queues.declare_queues([("mail", LIMITS), ("other", LIMITS)])
        assert queues.change_queue("mail", paused=True)
        assert queues.change_queue("mail", limits=QueueLimits())
        assert queues.change_queue("mail")
        mail, other = queues.queues()
        assert mail == QueueRow(name="mail", limits=QueueLimits(), declared=LIMITS, paused=True)
        assert other == QueueRow(name="other", limits=LIMITS, declared=LIMITS)
        assert queues.change_queue("mail", paused=False)
        assert not queues.queues()[0].paused

    def test_an_unknown_queue_is_neither_changed_nor_deleted(self, store: Store) -> None:
        queues = with_queues(store)
        assert not queues.change_queue("mail", paused=True)
        assert not queues.delete_queue("mail")
        assert list(queues.queues()) == []

    def test_a_queue_that_is_used_is_not_deleted(self, store: Store) -> None:
        queues = with_queues(store)
        for name in ("standing", "admitted", "step", "free"):
            declare(store, name)
        create(store, enqueued("a", "standing", due_at=store.now() + HOUR))
        create(store, enqueued("b", "admitted"))
        assert claimed_ids(admit(store, "t", queues=["admitted"])) == ["b"]
        assert take(store, "slot", queue="step") == [True]
        assert [queues.delete_queue(name) for name in ("standing", "admitted", "step", "free")] == [False] * 3 + [True]
        assert [row.name for row in queues.queues()] == ["admitted", "standing", "step"]
        _end(store, "b", "t")
        queues.free_slots("worker-1", ["slot"])
        assert queues.delete_queue("admitted")
        assert queues.delete_queue("step")

    def test_a_deleted_queue_forgets_who_started(self, store: Store) -> None:
        for _ in range(2):
            declare(store, rate_limit=(1, HOUR))
            assert take(store, "slot", "another") == [True, False]
            with_queues(store).free_slots("worker-1", ["slot"])
            assert with_queues(store).delete_queue("mail")

    @pytest.mark.parametrize("kind", ["declare", "change", "delete", "free"])
    def test_a_change_of_a_queue_is_seen_by_others(self, store: Store, peer: Store, kind: str) -> None:
        declare(store)
        take(store, "slot")
        before = peer.changes()
        queues = with_queues(store)
        if kind == "declare":
            declare(store, concurrency=3)
        elif kind == "change":
            queues.change_queue("mail", paused=True)
        else:
            queues.free_slots("worker-1", ["slot"])
        if kind == "delete":
            before = peer.changes()
            assert queues.delete_queue("mail")
        assert peer.changes() != before
        assert list(with_queues(peer).queues()) == list(queues.queues())

    def test_who_is_enqueued_has_a_head_and_a_place(self, store: Store, peer: Store) -> None:
        place = Place(queue="mail", partition="o'hara ☃", priority=-3, due_at=17, dedup_key="k")
        new_one = replace(enqueued("order"), place=replace(place, takes_key=True))
        assert create(store, new_one) == Done()
        found = head(peer, "order")
        assert (found.state, found.queue, found.seq, found.token) == ("enqueued", "mail", 1, None)
        row = PlaceRow(workflow_id="order", name="checkout", state="enqueued", place=place, has_slot=False)
        assert list(with_queues(peer).places(["nobody", "order"])) == [None, row]
        assert with_queues(peer).find_place("mail", "k") == row
        assert with_queues(peer).find_place("mail", "K") is None
        assert with_queues(peer).find_place("other", "k") is None
        assert list(store.read("order")) == events(1, 1)

    def test_who_stands_in_no_queue_has_no_place(self, store: Store) -> None:
        create(store, new("order"))
        assert place_of(store, "order") is None
        assert head(store, "order").queue is None

    def test_what_is_enqueued_is_claimed_for_a_control_message_only(self, store: Store) -> None:
        create(store, enqueued("order"))
        post(store, message("order", 1))
        assert claimed_ids(claim(store, "t")) == []
        post(store, message("order", 2, control=True))
        (claimed,) = claim(store, "u").claimed
        assert (claimed.head.state, claimed.head.token) == ("enqueued", "u")
        assert [row.number for row in claimed.inbox] == [1, 2]

    def test_what_is_enqueued_can_be_claimed_by_its_id(self, store: Store) -> None:
        create(store, enqueued("order"))
        assert [one.head.state for one in claim_only(store, "order", "t")] == ["enqueued"]

    @pytest.mark.parametrize(
        "wrong",
        [
            replace(new("order"), place=Place(queue="mail")),
            replace(new("order"), state="waiting", place=Place(queue="mail")),
            replace(enqueued("order"), place=None),
            replace(enqueued("order"), token="t", worker="worker-1"),
            replace(new("order"), wake_at=17),
        ],
        ids=lambda one: f"{one.state}-{one.place is not None}-{one.token}-{one.wake_at}",
    )
    def test_a_creation_that_makes_no_sense_is_an_internal_error(self, store: Store, wrong: NewWorkflow) -> None:
        token = held(store, "parent")
        with pytest.raises(InternalError):
            create(store, wrong)
        with pytest.raises(InternalError):
            commit(store, _creating("parent", token, wrong))
        assert store.heads(["order"]) == [None]

    @pytest.mark.parametrize("state", ["queued", "running", "waiting", "completed"])
    def test_a_place_with_another_state_is_an_internal_error(self, store: Store, state: State) -> None:
        token = held(store, "order")
        one = Commit(workflow_id="order", token=token, seq=1, state=state, place=Place(queue="mail"))
        with pytest.raises(InternalError):
            commit(store, one)
        assert place_of(store, "order") is None

    def test_one_who_is_created_waiting_sleeps_until_wake_at(self, store: Store) -> None:
        now = store.now()
        create(store, replace(new("later", state="waiting"), wake_at=now + HOUR))
        create(store, replace(new("now", state="waiting"), wake_at=now - 1))
        answer = claim(store, "t", "u")
        assert claimed_ids(answer) == ["now"]
        assert answer.next_due == head(store, "later").wake_at == now + HOUR

    def test_of_one_key_only_the_first_is_enqueued(self, store: Store, peer: Store) -> None:
        assert create(store, enqueued("a", dedup_key="k")) == Done()
        assert create(peer, enqueued("b", dedup_key="k")) == Deduplicated(head=head(store, "a"))
        assert store.heads(["b"]) == [None]
        assert list(store.read("b")) == []
        assert place_of(store, "b") is None
        assert create(store, enqueued("c", "other", dedup_key="k")) == Done()
        assert create(store, enqueued("d", dedup_key="K")) == Done()

    def test_of_one_key_in_one_batch_the_first_is_enqueued(self, store: Store) -> None:
        news = [enqueued(name, dedup_key="k") for name in ("b", "a", "c")]
        first, *others = store.commit(Batch(creates=news)).creates
        assert first == Done()
        assert others == [Deduplicated(head=head(store, "b"))] * 2
        assert store.heads(["a", "c"]) == [None, None]

    def test_an_id_that_is_taken_comes_before_a_key(self, store: Store) -> None:
        create(store, enqueued("a", dedup_key="k"))
        create(store, new("b"))
        assert create(store, enqueued("a", dedup_key="k")) == Exists(head=head(store, "a"))
        assert create(store, enqueued("b", dedup_key="k")) == Exists(head=head(store, "b"))

    def test_a_key_is_kept_until_the_end(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("a", dedup_key="k"))
        admit(store, "t")
        _goes(store, "a", "t", "waiting", release=True)
        assert create(store, enqueued("b", dedup_key="k")) == Deduplicated(head=head(store, "a"))
        assert claim_only(store, "a", "u")
        _end(store, "a", "u", seq=2)
        assert with_queues(store).find_place("mail", "k") is None
        assert create(store, enqueued("b", dedup_key="k")) == Done()

    def test_an_end_in_the_same_batch_frees_the_key_for_those_after_it_only(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("a", dedup_key="k"))
        admit(store, "t")
        parent = held(store, "parent")
        last = Commit(workflow_id="a", token="t", seq=1, state="completed", events=events(2, 2))
        before = head(store, "a")
        batch = Batch(
            creates=[enqueued("b", dedup_key="k")],
            commits=[last, _creating("parent", parent, enqueued("c", dedup_key="k"))],
        )
        outcome = store.commit(batch)
        assert outcome.creates == [Deduplicated(head=before)]
        assert outcome.commits == [Done(), Done()]
        assert store.heads(["b"]) == [None]
        found = with_queues(store).find_place("mail", "k")
        assert found is not None
        assert found.workflow_id == "c"

    def test_a_key_is_taken_from_who_was_admitted_only(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("a", dedup_key="k"))
        assert create(store, enqueued("b", dedup_key="k", takes_key=True)) == Deduplicated(head=head(store, "a"))
        admit(store, "t")
        assert create(store, enqueued("b", dedup_key="k", takes_key=True)) == Done()
        found = with_queues(store).find_place("mail", "k")
        assert found is not None
        assert found.workflow_id == "b"
        former = place_of(store, "a")
        assert former is not None
        assert (former.has_slot, former.place.dedup_key) == (True, None)
        _end(store, "a", "t")
        assert create(store, enqueued("c", dedup_key="k")) == Deduplicated(head=head(store, "b"))

    def test_who_is_paused_before_it_was_admitted_keeps_its_key(self, store: Store) -> None:
        create(store, enqueued("a", dedup_key="k"))
        claim_only(store, "a", "t")
        _goes(store, "a", "t", "paused", release=True)
        assert create(store, enqueued("b", dedup_key="k", takes_key=True)) == Deduplicated(head=head(store, "a"))

    def test_a_child_whose_key_is_taken_is_answered_and_nothing_is_written(self, store: Store) -> None:
        create(store, enqueued("a", dedup_key="k"))
        token = held(store, "parent")
        there = head(store, "a")
        children = [new("first"), enqueued("second", dedup_key="k"), enqueued("third", dedup_key="k2")]
        one = replace(_creating("parent", token, *children), messages=[message("nobody")])
        assert commit(store, one) == ChildDeduplicated(index=1, head=there)
        assert store.heads(["first", "second", "third"]) == [None] * 3
        assert head(store, "parent").seq == 1
        assert with_queues(store).find_place("mail", "k2") is None

    def test_a_child_whose_id_is_taken_comes_before_one_whose_key_is(self, store: Store) -> None:
        create(store, enqueued("a", dedup_key="k"))
        token = held(store, "parent")
        one = _creating("parent", token, enqueued("b", dedup_key="k"), enqueued("a"))
        assert commit(store, one) == ChildExists(index=1, head=head(store, "a"))

    def test_children_stand_in_the_queues_they_were_put_into(self, store: Store) -> None:
        declare(store)
        token = held(store, "parent")
        children = [enqueued("b", priority=1), enqueued("a", priority=1), new("child"), enqueued("c", "other")]
        assert commit(store, _creating("parent", token, *children)) == Done()
        assert claimed_ids(admit(store, "t", "u", "v")) == ["b", "a"]
        assert [one and one.queue for one in store.heads(["a", "b", "child", "c"])] == ["mail", "mail", None, "other"]

    def test_who_is_refused_puts_nobody_anywhere(self, store: Store) -> None:
        held(store, "parent")
        one = replace(_creating("parent", "wrong", enqueued("a", dedup_key="k")), state="paused")
        assert commit(store, replace(one, place=Place(queue="mail"))) == Refused()
        assert place_of(store, "parent") is None
        assert with_queues(store).find_place("mail", "k") is None
        assert store.heads(["a"]) == [None]

    def test_one_dedup_key_twice_in_one_commit_is_an_internal_error(self, store: Store) -> None:
        token = held(store, "parent")
        with pytest.raises(InternalError):
            commit(store, _creating("parent", token, enqueued("a", dedup_key="k"), enqueued("b", dedup_key="k")))
        own = replace(_creating("parent", token, enqueued("a", dedup_key="k")), state="enqueued")
        with pytest.raises(InternalError):
            commit(store, replace(own, place=Place(queue="mail", dedup_key="k")))
        assert commit(store, replace(own, place=Place(queue="other", dedup_key="k"))) == Done()

    def test_a_commit_puts_its_workflow_into_a_queue_or_moves_it(self, store: Store) -> None:
        declare(store)
        declare(store, "other")
        create(store, enqueued("order", "mail", dedup_key="k"))
        claim_only(store, "order", "t")
        place = Place(queue="other", partition="p", priority=2, due_at=9, dedup_key="k2")
        moves = Commit(
            workflow_id="order", token="t", seq=1, state="enqueued", events=events(2, 2), place=place, release=True
        )
        assert commit(store, moves) == Done()
        row = PlaceRow(workflow_id="order", name="checkout", state="enqueued", place=place, has_slot=False)
        assert place_of(store, "order") == row
        assert head(store, "order").queue == "other"
        assert with_queues(store).find_place("mail", "k") is None
        assert claimed_ids(admit(store, "u")) == []
        assert claimed_ids(admit(store, "u", queues=["other"])) == ["order"]

    def test_who_is_moved_keeps_a_key_of_its_own(self, store: Store) -> None:
        create(store, enqueued("order", dedup_key="k"))
        claim_only(store, "order", "t")
        later = Commit(
            workflow_id="order",
            token="t",
            seq=1,
            state="enqueued",
            place=Place(queue="mail", due_at=store.now() + HOUR, dedup_key="k"),
        )
        assert commit(store, later) == Done()
        assert create(store, enqueued("b", dedup_key="k")) == Deduplicated(head=head(store, "order"))

    def test_who_ended_is_put_back_into_a_queue(self, store: Store) -> None:
        declare(store, concurrency=1)
        ended(store, "order", "failed")
        back = Commit(
            workflow_id="order", token=None, seq=2, state="enqueued", events=events(3, 3), place=Place(queue="mail")
        )
        assert commit(store, back) == Done()
        assert head(store, "order").ended_at is None
        assert claimed_ids(admit(store, "t")) == ["order"]

    @pytest.mark.parametrize("takes_key", [False, True])
    def test_a_commit_whose_place_has_a_key_of_another_is_answered(self, store: Store, takes_key: bool) -> None:
        create(store, enqueued("a", dedup_key="k"))
        ended(store, "order", "failed")
        back = Commit(
            workflow_id="order",
            token=None,
            seq=2,
            state="enqueued",
            events=events(3, 3),
            messages=[message("nobody")],
            place=Place(queue="mail", dedup_key="k", takes_key=takes_key),
        )
        assert commit(store, back) == Deduplicated(head=head(store, "a"))
        assert (head(store, "order").state, head(store, "order").seq) == ("failed", 2)
        assert place_of(store, "order") is None
        without = replace(back, place=Place(queue="mail"))
        assert commit(store, without) == Undeliverable(index=0, reason="unknown")

    def test_a_workflow_keeps_its_place_and_slot_until_it_ends(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("order"))
        admit(store, "t")
        states: list[State] = ["running", "waiting", "paused", "stuck", "queued"]
        for seq, state in enumerate(states, start=1):
            _goes(store, "order", "t", state, seq=seq)
            found = place_of(store, "order")
            assert found is not None
            assert (found.state, found.has_slot, found.place) == (state, True, Place(queue="mail"))
        _end(store, "order", "t", seq=6)
        assert place_of(store, "order") is None
        assert head(store, "order").queue == "mail"

    def test_who_was_paused_and_resumed_stands_where_it_stood(self, store: Store) -> None:
        declare(store)
        for name in ("a", "b"):
            create(store, enqueued(name))
        claim_only(store, "a", "t")
        _goes(store, "a", "t", "paused", release=True)
        assert claimed_ids(admit(store, "u", "v")) == ["b"]
        create(store, enqueued("c"))
        claim_only(store, "a", "w")
        _goes(store, "a", "w", "enqueued", seq=2, release=True)
        assert claimed_ids(admit(store, "x", "y")) == ["a", "c"]

    def test_what_stands_in_a_queue_is_counted(self, store: Store) -> None:
        queues = with_queues(store)
        for name in ("mail", "other"):
            declare(store, name)
        for name in ("a", "b", "c", "paused"):
            create(store, enqueued(name))
        create(store, enqueued("d", "other"))
        create(store, enqueued("later", due_at=store.now() + HOUR))
        claim_only(store, "paused", "t")
        _goes(store, "paused", "t", "paused", release=True)
        assert claimed_ids(admit(store, "u")) == ["a"]
        take(store, "slot")
        assert list(queues.count_queues(["nothing", "other", "mail"])) == [
            QueueCounts(name="nothing"),
            QueueCounts(name="other", due=1),
            QueueCounts(name="mail", due=2, delayed=1, taken=2),
        ]
        waiting(store, "elsewhere")
        _end(store, "a", "u")
        queues.free_slots("worker-1", ["slot"])
        assert queues.count_queues(["mail"])[0].taken == 0


def _creating(parent: str, token: str, *children: NewWorkflow) -> Commit:
    """Make the second commit of a workflow, which creates children."""
    return Commit(workflow_id=parent, token=token, seq=1, state="running", events=events(2, 2), creates=children)


def _goes(store: Store, workflow_id: str, token: str, state: State, *, seq: int = 1, release: bool = False) -> None:
    """Commit one event and a state."""
    on = Commit(
        workflow_id=workflow_id, token=token, seq=seq, state=state, events=events(seq + 1, seq + 1), release=release
    )
    assert commit(store, on) == Done()


def _end(store: Store, workflow_id: str, token: str, *, seq: int = 1) -> None:
    """End a workflow."""
    _goes(store, workflow_id, token, "completed", seq=seq)
