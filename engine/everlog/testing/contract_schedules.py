"""What a store promises of schedules, as tests: `everlog.testing.SchedulesConformance`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from everlog.errors import StoreUnavailable
from everlog.store import Done, Exists, NewWorkflow, Refused, Store
from everlog.store_schedules import ScheduleRow, ScheduleWrite, SupportsSchedules
from everlog.testing.making import claim, claimed_ids, create, ended, head, held, new


class KeepsSchedules(Store, SupportsSchedules, Protocol):
    """A store that keeps schedules."""


class ScheduleContract:
    """Schedules, and the workflows that come to be with their ticks."""

    def test_a_schedule_is_there_as_it_was_written(self, store: KeepsSchedules) -> None:
        one = row("o'hara ☃", due_at=5, payload='{"a": 1.50, "b" : "\\u0000 ☃"}'.encode())
        assert write(store, one) == Done()
        assert list(store.schedules()) == [one]

    def test_schedules_are_given_page_by_page_in_order_of_their_names(self, store: KeepsSchedules) -> None:
        names = ["b", "A", "a", "a ", "ä", "o'hara ☃", "{a}", "0"]
        for name in names:
            write(store, row(name))
        assert [found.name for found in store.schedules()] == sorted(names)
        assert [found.name for found in store.schedules(limit=2)] == ["0", "A"]
        assert [found.name for found in store.schedules(after="A", limit=3)] == ["a", "a ", "b"]
        assert [found.name for found in store.schedules(["nobody", "ä", "a", "b"], after="a")] == ["b", "ä"]
        assert list(store.schedules([])) == []

    def test_one_that_is_there_is_not_written_as_new(self, store: KeepsSchedules) -> None:
        write(store, row("daily", payload=b"1"))
        assert write(store, row("daily", "r2", payload=b"2"), creates=[new("tick")]) == Refused()
        assert [found.payload for found in store.schedules()] == [b"1"]
        assert store.heads(["tick"]) == [None]

    def test_of_two_that_build_on_one_revision_the_first_is_written(
        self, store: KeepsSchedules, peer: KeepsSchedules
    ) -> None:
        write(store, row("daily", "r1", due_at=1))
        first = write(store, row("daily", "r2", due_at=2), after="r1", creates=[new("tick-1")])
        second = write(peer, row("daily", "r3", due_at=3), after="r1", creates=[new("tick-2")])
        assert (first, second) == (Done(), Refused())
        assert [(found.revision, found.due_at) for found in peer.schedules()] == [("r2", 2)]
        assert [found is not None for found in peer.heads(["tick-1", "tick-2"])] == [True, False]

    def test_one_that_is_gone_is_neither_changed_nor_removed(self, store: KeepsSchedules) -> None:
        write(store, row("daily", "r1"))
        assert remove(store, "daily", "r0") == Refused()
        assert remove(store, "daily", "r1") == Done()
        assert remove(store, "daily", "r1") == Refused()
        assert write(store, row("daily", "r2"), after="r1", creates=[new("tick")]) == Refused()
        assert list(store.schedules()) == []
        assert store.heads(["tick"]) == [None]
        assert write(store, row("daily", "r3")) == Done()

    def test_what_a_write_creates_can_be_claimed(self, store: KeepsSchedules, peer: KeepsSchedules) -> None:
        creates = [new("tick-1"), new("tick-2", seq=2), new("held", state="running", token="t")]
        assert write(store, row("daily"), creates=creates) == Done()
        assert sorted(claimed_ids(claim(peer, "a", "b", "c"))) == ["tick-1", "tick-2"]
        assert [event.seq for event in store.read("tick-2")] == [1, 2]
        assert (head(store, "held").token, head(store, "held").worker) == ("t", "worker-1")

    def test_what_was_created_before_is_left_as_it_is(self, store: KeepsSchedules) -> None:
        ended(store, "tick-1")
        token = held(store, "tick-2", seq=3)
        creates = [new("tick-1"), new("tick-2"), new("tick-3")]
        assert write(store, row("daily"), creates=creates) == Done()
        assert [(head(store, one).state, head(store, one).seq) for one in ("tick-1", "tick-2", "tick-3")] == [
            ("completed", 2),
            ("running", 3),
            ("queued", 1),
        ]
        assert head(store, "tick-2").token == token
        assert isinstance(create(store, new("tick-3")), Exists)

    def test_the_parts_of_a_call_are_independent(self, store: KeepsSchedules) -> None:
        write(store, row("a", "a1"))
        write(store, row("b", "b1"))
        write(store, row("c", "c1"))
        outcomes = store.write_schedules(
            [
                ScheduleWrite(name="c", revision="c1", row=None, creates=[new("of c")]),
                ScheduleWrite(name="b", revision="old", row=row("b", "b2"), creates=[new("of b")]),
                ScheduleWrite(name="d", revision=None, row=row("d", "d1"), creates=[new("of d"), new("of c")]),
                ScheduleWrite(name="a", revision="a1", row=row("a", "a2"), creates=[new("of a")]),
            ]
        )
        assert list(outcomes) == [Done(), Refused(), Done(), Done()]
        assert [(one.name, one.revision) for one in store.schedules()] == [("a", "a2"), ("b", "b1"), ("d", "d1")]
        there = store.heads(["of a", "of b", "of c", "of d"])
        assert [one is not None for one in there] == [True, False, True, True]

    def test_no_writes_are_none(self, store: KeepsSchedules) -> None:
        assert list(store.write_schedules([])) == []

    def test_what_is_due_is_given_longest_due_first(self, store: KeepsSchedules) -> None:
        for name, due_at in {"b": 10, "a": 10, "early": 3, "later": 11, "never": None}.items():
            write(store, row(name, due_at=due_at))
        answer = store.due_schedules(["checkout"], now=10, limit=9)
        assert [found.name for found in answer.rows] == ["early", "a", "b"]
        assert answer.next_due == 11
        answer = store.due_schedules(["checkout"], now=10, limit=2)
        assert [found.name for found in answer.rows] == ["early", "a"]
        assert answer.next_due == 11
        assert list(store.due_schedules(["checkout"], now=2, limit=9).rows) == []
        assert store.due_schedules(["checkout"], now=2, limit=9).next_due == 3
        assert store.due_schedules(["checkout"], now=11, limit=9).next_due is None

    def test_only_schedules_of_workflows_that_were_asked_for_are_due(self, store: KeepsSchedules) -> None:
        write(store, row("ours", due_at=5))
        write(store, row("theirs", workflow="report", due_at=4))
        write(store, row("their next", workflow="report", due_at=7))
        write(store, row("our next", due_at=9))
        ours = store.due_schedules(["checkout", "unknown"], now=6, limit=9)
        assert ([found.name for found in ours.rows], ours.next_due) == (["ours"], 9)
        both = store.due_schedules(["checkout", "report", "report"], now=6, limit=9)
        assert ([found.name for found in both.rows], both.next_due) == (["theirs", "ours"], 7)
        assert store.due_schedules([], now=6, limit=9).next_due is None

    def test_a_schedule_may_start_another_workflow_from_now_on(self, store: KeepsSchedules) -> None:
        write(store, row("daily", "r1", due_at=5))
        write(store, row("daily", "r2", workflow="report", due_at=6), after="r1")
        assert list(store.due_schedules(["checkout"], now=9, limit=9).rows) == []
        assert [found.due_at for found in store.due_schedules(["report"], now=9, limit=9).rows] == [6]

    def test_others_are_told_of_a_schedule(self, store: KeepsSchedules, peer: KeepsSchedules) -> None:
        seen = peer.changes()
        write(store, row("daily", "r1"))
        assert peer.changes() != seen
        seen = peer.changes()
        remove(store, "daily", "r1")
        assert peer.changes() != seen

    def test_of_many_that_create_a_schedule_at_once_one_does(self, store: KeepsSchedules, peer: KeepsSchedules) -> None:
        stores = [store] if peer is store else [store, peer]
        with ThreadPoolExecutor(len(stores)) as pool:
            for number in range(10):

                def write_it(place: int, number: int = number) -> Done | Refused:
                    name, tick = f"schedule-{number}", f"tick-{number}-{place}"
                    return write(stores[place], row(name, f"of {place}"), creates=[new(tick)])

                outcomes = list(pool.map(write_it, range(len(stores))))
                assert outcomes.count(Done()) == 1
                ticks = store.heads([f"tick-{number}-{place}" for place in range(len(stores))])
                assert [tick is not None for tick in ticks] == [outcome == Done() for outcome in outcomes]

    def test_a_closed_store_has_no_schedules(self, store: KeepsSchedules) -> None:
        store.close()
        with pytest.raises(StoreUnavailable):
            store.schedules()
        with pytest.raises(StoreUnavailable):
            write(store, row("daily"))


def row(
    name: str, revision: str = "r1", *, workflow: str = "checkout", due_at: int | None = None, payload: bytes = b"{}"
) -> ScheduleRow:
    """Make a schedule."""
    return ScheduleRow(name=name, revision=revision, workflow=workflow, due_at=due_at, payload=payload)


def write(
    store: KeepsSchedules, one: ScheduleRow, *, after: str | None = None, creates: Sequence[NewWorkflow] = ()
) -> Done | Refused:
    """Write one schedule, on the revision `after` or as a new one."""
    return store.write_schedules([ScheduleWrite(name=one.name, revision=after, row=one, creates=creates)])[0]


def remove(store: KeepsSchedules, name: str, revision: str) -> Done | Refused:
    """Remove one schedule."""
    return store.write_schedules([ScheduleWrite(name=name, revision=revision, row=None)])[0]
