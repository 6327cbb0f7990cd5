"""What a store promises of admissions and of the slots of steps, as tests. Part of `QueuesConformance`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest

from everlog.errors import NotFound
from everlog.store import (
    Batch,
    Commit,
    Done,
    EventRow,
    NewWorkflow,
    Place,
    QueueLimits,
    SlotWanted,
    State,
    Store,
)
from everlog.testing.making import (
    HOUR,
    admit,
    claim,
    claim_only,
    claimed_ids,
    commit,
    create,
    declare,
    enqueued,
    event,
    events,
    head,
    message,
    new,
    place_of,
    post,
    take,
    waiting,
    with_queues,
    worker,
)


class AdmissionContract:
    """Who is admitted, when, and who has a slot."""

    def test_who_is_admitted_is_held_and_may_begin(self, store: Store, peer: Store) -> None:
        declare(store)
        create(store, enqueued("order"))
        post(store, message("order", 1))
        (admitted,) = admit(peer, "mine", worker="worker-7").claimed
        assert admitted.head == head(store, "order")
        assert (admitted.head.state, admitted.head.seq) == ("queued", 1)
        assert (admitted.head.token, admitted.head.worker, admitted.head.queue) == ("mine", "worker-7", "mail")
        assert list(admitted.history) == events(1, 1)
        assert [row.number for row in admitted.inbox] == [1]
        begins = Commit(workflow_id="order", token="mine", seq=1, state="running", events=events(2, 2))
        assert commit(peer, begins) == Done()
        found = place_of(store, "order")
        assert found is not None
        assert (found.state, found.has_slot) == ("running", True)

    def test_an_admission_takes_as_many_as_it_has_tokens_and_room(self, store: Store) -> None:
        declare(store)
        for number in range(6):
            create(store, enqueued(f"order-{number}"))
        assert claimed_ids(admit(store)) == []
        assert claimed_ids(admit(store, "a", room=0)) == []
        assert claimed_ids(admit(store, "b", "c", "d", room=2)) == ["order-0", "order-1"]
        answer = admit(store, "e", "f", "g", room=9)
        assert claimed_ids(answer) == ["order-2", "order-3", "order-4"]
        assert [one.head.token for one in answer.claimed] == ["e", "f", "g"]

    def test_queues_are_served_in_the_order_of_the_offers(self, store: Store) -> None:
        for queue in ("a", "b", "c"):
            declare(store, queue)
            for number in range(2):
                create(store, enqueued(f"{queue}{number}", queue))
        assert claimed_ids(admit(store, "t", "u", "v", queues=["b", "a"])) == ["b0", "b1", "a0"]
        assert claimed_ids(admit(store, "w", "x", "y", queues=["c", "a"], room=1)) == ["c0", "a1"]

    def test_only_the_names_that_were_asked_for_are_admitted(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("a", name="report"))
        create(store, enqueued("b", name="checkout"))
        create(store, enqueued("c", name="Checkout"))
        assert claimed_ids(admit(store, "t", "u", names=[])) == []
        assert claimed_ids(admit(store, "t", "u", names=["checkout", "other"])) == ["b"]
        assert claimed_ids(admit(store, "v", "w", names=["Checkout", "report", "report"])) == ["a", "c"]

    def test_the_names_that_are_not_asked_for_are_in_nobodys_way(self, store: Store) -> None:
        declare(store, concurrency=1)
        for number in range(20):
            create(store, enqueued(f"other-{number}", name="report", priority=-1, partition="a"))
        create(store, enqueued("order", partition="b"))
        assert claimed_ids(admit(store, "t", "u")) == ["order"]

    def test_a_queue_that_is_paused_or_unknown_gives_nothing(self, store: Store) -> None:
        create(store, enqueued("order", due_at=1))
        create(store, enqueued("later", due_at=store.now() + HOUR))
        unknown = admit(store, "t")
        assert (list(unknown.claimed), unknown.next_due) == ([], None)
        declare(store)
        with_queues(store).change_queue("mail", paused=True)
        paused = admit(store, "t")
        assert (list(paused.claimed), paused.next_due) == ([], None)
        with_queues(store).change_queue("mail", paused=False)
        assert claimed_ids(admit(store, "t")) == ["order"]

    def test_the_lower_priority_then_the_earlier_then_the_first_goes_first(self, store: Store) -> None:
        declare(store)
        places = {
            "last": Place(queue="mail", priority=7, due_at=1),
            "third": Place(queue="mail", due_at=20),
            "fourth": Place(queue="mail", due_at=20),
            "second": Place(queue="mail", due_at=10),
            "first": Place(queue="mail", priority=-1, due_at=30),
        }
        # Neither the ids nor the times of creation decide.
        for number, (name, place) in enumerate(places.items()):
            first = [EventRow(1, "happened", 1_000 - number, b"{}")]
            create(store, NewWorkflow(workflow_id=name, name="checkout", state="enqueued", events=first, place=place))
        assert claimed_ids(admit(store, "a")) == ["first"]
        assert claimed_ids(admit(store, "b", "c", "d", "e")) == ["second", "third", "fourth", "last"]

    def test_who_is_put_there_again_comes_after_its_equals(self, store: Store) -> None:
        declare(store)
        for name in ("a", "b"):
            create(store, enqueued(name))
        claim_only(store, "a", "t")
        again = Commit(workflow_id="a", token="t", seq=1, state="enqueued", place=Place(queue="mail"), release=True)
        assert commit(store, again) == Done()
        assert claimed_ids(admit(store, "u", "v")) == ["b", "a"]

    def test_who_is_delayed_is_not_admitted_and_in_nobodys_way(self, store: Store) -> None:
        declare(store)
        later = store.now() + HOUR
        create(store, enqueued("a", priority=-1, due_at=later + 1))
        create(store, enqueued("b", priority=-1, due_at=later, name="report"))
        create(store, enqueued("c"))
        answer = admit(store, "t", "u")
        assert claimed_ids(answer) == ["c"]
        assert answer.next_due == later + 1
        assert admit(store, "v", names=["checkout", "report"]).next_due == later
        assert admit(store).next_due == later + 1

    def test_who_was_delayed_is_admitted_when_it_is_due(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("b"))
        create(store, enqueued("a", priority=-1, due_at=store.now() + 20_000))
        _wait_until(lambda: store.now() > head_due(store, "a"))
        assert claimed_ids(admit(store, "t", "u")) == ["a", "b"]
        assert admit(store, "v").next_due is None

    def test_who_is_held_or_paused_is_passed_over(self, store: Store) -> None:
        declare(store)
        later = store.now() + HOUR
        for name in ("held", "paused", "free"):
            create(store, enqueued(name))
        create(store, enqueued("paused later", due_at=later))
        for name in ("held", "paused", "paused later"):
            claim_only(store, name, f"token of {name}")
        for name in ("paused", "paused later"):
            paused = Commit(workflow_id=name, token=f"token of {name}", seq=1, state="paused", release=True)
            assert commit(store, paused) == Done()
        answer = admit(store, "t", "u", "v")
        assert (claimed_ids(answer), answer.next_due) == (["free"], None)
        released = Commit(workflow_id="held", token="token of held", seq=1, state="enqueued", release=True)
        assert commit(store, released) == Done()
        assert claimed_ids(admit(store, "w", "x")) == ["held"]

    def test_who_ended_in_the_queue_is_not_admitted(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("order"))
        claim_only(store, "order", "t")
        _goes(store, "order", "t", "cancelled")
        assert claimed_ids(admit(store, "u")) == []
        assert with_queues(store).count_queues(["mail"])[0].due == 0

    def test_no_more_are_admitted_than_the_queue_has_slots(self, store: Store, peer: Store) -> None:
        declare(store, concurrency=2)
        for number in range(4):
            create(store, enqueued(f"order-{number}", partition=f"p{number}"))
        assert claimed_ids(admit(store, "a", "b", "c")) == ["order-0", "order-1"]
        full = admit(peer, "d", worker="worker-2")
        assert (list(full.claimed), full.next_due) == ([], None)
        _goes(store, "order-0", "a", "completed")
        assert claimed_ids(admit(peer, "e", "f", worker="worker-2")) == ["order-2"]

    def test_no_more_are_admitted_than_a_partition_has_slots(self, store: Store) -> None:
        declare(store, partition_concurrency=1)
        for number in range(2):
            for partition in ("a", "b"):
                create(store, enqueued(f"{partition}{number}", partition=partition, priority=number))
        assert claimed_ids(admit(store, "t", "u", "v", "w")) == ["a0", "b0"]
        assert claimed_ids(admit(store, "x")) == []
        _goes(store, "b0", "u", "completed")
        assert claimed_ids(admit(store, "y", "z")) == ["b1"]

    def test_both_limits_hold(self, store: Store) -> None:
        declare(store, concurrency=3, partition_concurrency=2)
        for number in range(3):
            for partition in ("a", "b"):
                create(store, enqueued(f"{partition}{number}", partition=partition))
        assert claimed_ids(admit(store, "t", "u", "v", "w")) == ["a0", "b0", "a1"]

    def test_a_slot_is_kept_through_parking_and_takeovers(self, store: Store) -> None:
        declare(store, concurrency=1)
        for name in ("a", "b"):
            create(store, enqueued(name))
        store.register(worker())
        admit(store, "t")
        store.retire("worker-1")
        assert claimed_ids(admit(store, "u")) == []
        assert claimed_ids(claim(store, "v", "w")) == ["a"]  # admitted before, so it needs no other admission
        assert head(store, "a").takeovers == 0
        _goes(store, "a", "v", "waiting", release=True)
        assert claimed_ids(admit(store, "x")) == []
        assert claim_only(store, "a", "y")
        _goes(store, "a", "y", "failed", seq=2)
        assert claimed_ids(admit(store, "z")) == ["b"]

    @pytest.mark.parametrize("place", [None, Place(queue="mail"), Place(queue="other")])
    def test_who_stands_in_a_queue_again_gives_back_its_slot(self, store: Store, place: Place | None) -> None:
        declare(store, concurrency=1)
        for name in ("a", "b"):
            create(store, enqueued(name))
        admit(store, "t")
        back = Commit(workflow_id="a", token="t", seq=1, state="enqueued", events=events(2, 2), place=place)
        assert commit(store, back) == Done()
        found = place_of(store, "a")
        assert found is not None
        assert not found.has_slot
        assert claimed_ids(admit(store, "u")) == ["b"]  # a is held

    def test_limits_that_are_changed_hold_from_then_on(self, store: Store, peer: Store) -> None:
        declare(store, concurrency=1)
        for number in range(5):
            create(store, enqueued(f"order-{number}"))
        assert len(admit(store, "a", "b").claimed) == 1
        with_queues(peer).change_queue("mail", limits=QueueLimits(concurrency=3))
        assert len(admit(store, "c", "d", "e", "f").claimed) == 2
        with_queues(peer).change_queue("mail", limits=QueueLimits(concurrency=2))
        assert claimed_ids(admit(store, "g")) == []
        with_queues(peer).change_queue("mail", limits=QueueLimits())
        assert len(admit(store, "h", "i", "j").claimed) == 2

    def test_partitions_take_turns(self, store: Store, peer: Store) -> None:
        declare(store)
        for number in range(20):
            create(store, enqueued(f"noisy-{number}", partition="noisy", priority=-5))
        for number in range(2):
            for partition in ("a", "z"):
                create(store, enqueued(f"{partition}-{number}", partition=partition))
        first, rest = admit(store, "t", "u"), admit(peer, *"abcdef")
        assert claimed_ids(first) == ["a-0", "noisy-0"]
        assert claimed_ids(rest) == ["z-0", "a-1", "noisy-1", "z-1", "noisy-2", "noisy-3"]

    def test_a_turn_is_passed_by_who_has_nothing_to_give(self, store: Store) -> None:
        declare(store, partition_concurrency=2)
        for partition in ("a", "b", "c"):
            for number in range(3):
                create(store, enqueued(f"{partition}{number}", partition=partition))
        assert claimed_ids(admit(store, *"tuvw")) == ["a0", "b0", "c0", "a1"]
        create(store, enqueued("d0", partition="d", due_at=store.now() + HOUR))
        assert claimed_ids(admit(store, *"xyz")) == ["b1", "c1"]
        _goes(store, "a0", "t", "completed")
        _goes(store, "b0", "u", "completed")
        assert claimed_ids(admit(store, "1")) == ["a2"]

    def test_no_more_are_admitted_in_a_window_than_the_rate_allows(self, store: Store) -> None:
        declare(store, rate_limit=(2, HOUR))
        for number in range(4):
            create(store, enqueued(f"order-{number}"))
        before = store.now()
        assert claimed_ids(admit(store, "a")) == ["order-0"]
        assert admit(store).next_due is None
        assert claimed_ids(admit(store, "b", "c")) == ["order-1"]
        _goes(store, "order-0", "a", "completed")  # a start counts, whatever became of it
        answer = admit(store, "d")
        assert list(answer.claimed) == []
        assert answer.next_due is not None
        assert before - MINUTE <= answer.next_due - HOUR <= store.now() + MINUTE

    def test_a_rate_says_nothing_where_nobody_is_due(self, store: Store) -> None:
        declare(store, rate_limit=(1, HOUR))
        create(store, enqueued("order"))
        assert claimed_ids(admit(store, "a", "b")) == ["order"]
        assert admit(store, "c").next_due is None

    def test_a_window_moves_on(self, store: Store) -> None:
        declare(store, rate_limit=(1, 20_000), partition_rate_limit=(1, 20_000))
        for number in range(3):
            create(store, enqueued(f"order-{number}"))
        admitted: list[str] = []

        def admit_all() -> bool:
            answer = admit(store, f"token-{store.now()}", "spare")
            assert len(answer.claimed) <= 1
            assert answer.next_due is not None or len(admitted) + len(answer.claimed) == 3
            admitted.extend(claimed_ids(answer))
            return len(admitted) == 3

        _wait_until(admit_all)
        assert admitted == ["order-0", "order-1", "order-2"]

    def test_each_partition_has_a_rate_of_its_own(self, store: Store) -> None:
        declare(store, partition_rate_limit=(1, HOUR))
        for number in range(2):
            for partition in ("a", "b"):
                create(store, enqueued(f"{partition}{number}", partition=partition))
        answer = admit(store, *"tuvw")
        assert claimed_ids(answer) == ["a0", "b0"]
        assert answer.next_due is not None
        create(store, enqueued("c0", partition="c"))
        assert claimed_ids(admit(store, "x", "y")) == ["c0"]

    def test_where_more_than_time_is_needed_a_rate_says_nothing(self, store: Store) -> None:
        declare(store, concurrency=1, rate_limit=(1, HOUR))
        declare(store, "parts", partition_concurrency=1, partition_rate_limit=(1, HOUR))
        for number in range(2):
            create(store, enqueued(f"order-{number}"))
            create(store, enqueued(f"part-{number}", "parts"))
        assert claimed_ids(admit(store, "t", "u", queues=["mail", "parts"])) == ["order-0", "part-0"]
        assert admit(store, "v", queues=["mail", "parts"]).next_due is None

    def test_a_history_that_does_not_fit_comes_empty(self, store: Store) -> None:
        declare(store)
        for name in ("a", "b"):
            first = [event(1, b'"' + b"x" * 1_000 + b'"')]
            create(
                store,
                NewWorkflow(
                    workflow_id=name, name="checkout", state="enqueued", events=first, place=Place(queue="mail")
                ),
            )
        answer = admit(store, "t", "u", max_bytes=1_500)
        assert [len(one.history) for one in answer.claimed] == [1, 0]
        assert len(store.read("b")) == 1

    def test_a_claim_leaves_alone_what_is_of_other_queues(self, store: Store) -> None:
        declare(store)
        create(store, new("free"))
        create(store, enqueued("order"))
        admit(store, "t")
        _goes(store, "order", "t", "running", release=True)
        assert claimed_ids(claim(store, "u", "v", queues=["other"])) == ["free"]
        assert claimed_ids(claim(store, "w", "x", queues=[])) == []
        assert claimed_ids(claim(store, "y", queues=["other", "mail"])) == ["order"]
        _goes(store, "order", "y", "running", seq=2, release=True)
        assert claimed_ids(claim(store, "z")) == ["order"]

    def test_what_is_of_other_queues_is_not_due(self, store: Store) -> None:
        declare(store)
        create(store, enqueued("order"))
        admit(store, "t")
        sleeps = Commit(workflow_id="order", token="t", seq=1, state="waiting", wake_at=17, release=True)
        assert commit(store, sleeps) == Done()
        waiting(store, "free", wake_at=store.now() + HOUR)
        answer = claim(store, "u", queues=[])
        assert (list(answer.claimed), answer.next_due) == ([], head(store, "free").wake_at)
        assert claim(store, queues=["mail"]).next_due == 17
        assert claim(store).next_due == 17

    def test_steps_and_workflows_take_slots_of_one_kind(self, store: Store) -> None:
        declare(store, concurrency=2, partition_concurrency=1)
        for name in ("a", "b"):
            create(store, enqueued(name, partition=name))
        assert take(store, "one", partition="a") == [True]
        assert claimed_ids(admit(store, "t", "u")) == ["b"]
        assert take(store, "two", partition="c") == [False]
        with_queues(store).free_slots("worker-1", ["one", "never taken"])
        assert take(store, "two", "three", partition="c") == [True, False]

    def test_slots_are_taken_in_order_as_far_as_they_go(self, store: Store) -> None:
        declare(store, concurrency=2)
        declare(store, "free")
        wanted = [SlotWanted(slot=f"slot-{n}", queue="free" if n == 3 else "mail") for n in range(4)]
        answer = with_queues(store).take_slots("worker-1", wanted)
        assert (list(answer.taken), answer.next_due) == ([True, True, False, True], None)
        assert [one.taken for one in with_queues(store).count_queues(["mail", "free"])] == [2, 1]

    def test_a_slot_that_is_asked_for_again_is_taken_once(self, store: Store, peer: Store) -> None:
        declare(store, concurrency=2, rate_limit=(2, HOUR))
        assert take(store, "slot", "slot") == [True, True]
        assert take(peer, "slot") == [True]
        assert take(peer, "slot", worker="worker-2") == [True]  # another's of the same name is another
        assert take(store, "slot", "third") == [True, False]

    def test_steps_keep_to_the_rates(self, store: Store) -> None:
        declare(store, rate_limit=(2, HOUR), partition_rate_limit=(1, HOUR))
        queues = with_queues(store)
        assert take(store, "a", "b", partition="p") == [True, False]
        queues.free_slots("worker-1", ["a"])
        assert take(store, "b", partition="p") == [False]
        assert take(store, "c", partition="q") == [True]
        answer = queues.take_slots("worker-1", [SlotWanted(slot="d", queue="mail", partition="r")])
        assert list(answer.taken) == [False]
        assert answer.next_due is not None
        assert -MINUTE <= answer.next_due - HOUR - store.now() <= MINUTE
        create(store, enqueued("order"))
        assert claimed_ids(admit(store, "t")) == []

    def test_a_paused_queue_gives_no_slots_and_takes_none_away(self, store: Store) -> None:
        declare(store)
        assert take(store, "slot") == [True]
        with_queues(store).change_queue("mail", paused=True)
        assert take(store, "slot", "another") == [True, False]

    def test_a_slot_of_an_unknown_queue_is_not_found(self, store: Store) -> None:
        declare(store)
        wanted = [SlotWanted(slot="a", queue="mail"), SlotWanted(slot="b", queue="post")]
        with pytest.raises(NotFound, match="post"):
            with_queues(store).take_slots("worker-1", wanted)
        assert with_queues(store).count_queues(["mail"])[0].taken == 0

    def test_slots_are_freed_by_name_and_of_their_worker_only(self, store: Store, peer: Store) -> None:
        declare(store, concurrency=2)
        assert take(store, "slot") == take(store, "slot", worker="worker-2") == [True]
        with_queues(peer).free_slots("worker-1", ["slot"])
        with_queues(peer).free_slots("worker-1", ["slot"])
        assert take(store, "a", "b") == [True, False]

    def test_who_is_retired_keeps_no_slots_of_steps(self, store: Store) -> None:
        declare(store, concurrency=2)
        store.register(worker())
        take(store, "slot")
        take(store, "slot", worker="worker-2")
        assert store.retire("worker-1") == 0
        assert take(store, "a", "b") == [True, False]

    def test_who_has_a_slot_and_is_not_registered_is_among_the_workers(self, store: Store) -> None:
        declare(store)
        store.register(worker())
        take(store, "slot")
        take(store, "slot", "another", worker="worker-2")
        found = {row.worker: row.process for row in store.workers()}
        assert found == {"worker-1": "process of worker-1", "worker-2": ""}
        store.retire("worker-2")
        assert [row.worker for row in store.workers()] == ["worker-1"]

    def test_who_races_for_slots_never_has_more_than_there_are(self, store: Store, peer: Store) -> None:
        declare(store, concurrency=3, partition_concurrency=2, rate_limit=(25, HOUR))
        ids = [f"order-{number:02}" for number in range(40)]
        store.commit(Batch(creates=[enqueued(one, partition=one[-1:]) for one in ids]))
        admitted: dict[str, list[str]] = {"a": [], "b": []}
        most: list[int] = []

        def work(through: Store, name: str) -> None:
            for number in range(400):
                tokens = [f"{name}{number}.{n}" for n in range(4)]
                answer = admit(through, *tokens, worker=name)
                most.append(with_queues(through).count_queues(["mail"])[0].taken)
                for one in answer.claimed:
                    admitted[name].append(one.head.workflow_id)
                    _goes(through, one.head.workflow_id, str(one.head.token), "completed")
                if len(admitted["a"]) + len(admitted["b"]) >= 25:
                    return

        threads = [Thread(target=work, args=(store, "a")), Thread(target=work, args=(peer, "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        both = admitted["a"] + admitted["b"]
        assert (len(both), len(set(both))) == (25, 25)
        assert max(most) <= 3
        assert with_queues(store).count_queues(["mail"])[0].taken == 0


MINUTE = 60_000_000
"""By how much the clocks of a store and of its database may differ, where a test allows for that."""


def head_due(store: Store, workflow_id: str) -> int:
    """Give when a workflow that stands in a queue is due."""
    found = place_of(store, workflow_id)
    assert found is not None
    return found.place.due_at


def _goes(store: Store, workflow_id: str, token: str, state: State, *, seq: int = 1, release: bool = False) -> None:
    """Commit one event and a state."""
    on = Commit(
        workflow_id=workflow_id, token=token, seq=seq, state=state, events=events(seq + 1, seq + 1), release=release
    )
    assert commit(store, on) == Done()


def _wait_until(is_true: Callable[[], bool]) -> None:
    """Ask again and again, as long as it takes."""
    while not is_true():
        pass
