"""ScheduleRules: what `StoreMachine` does with schedules, where all of its stores keep them. No machine by itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from everlog.store import NewWorkflow
from everlog.store_schedules import ScheduleRow, ScheduleWrite, SupportsSchedules
from everlog.testing.machine_stores import Stores
from everlog.testing.machine_words import Creation

NAMES = ("daily", "Daily", "o'hara ☃")
WORKFLOWS = ("checkout", "report")


class _Wanted(msgspec.Struct, frozen=True):
    name: str
    builds_on: str
    """`now`: on the revision that is there, if any."""
    removes: bool
    workflow: str
    due_in: int | None
    creates: Sequence[str]


_wanted = st.builds(
    _Wanted,
    st.sampled_from(NAMES),
    st.sampled_from(("now",) * 6 + ("nothing", "another")),
    st.sampled_from((False, False, False, True)),
    st.sampled_from(WORKFLOWS),
    st.sampled_from((None, -3, 0, 0, 1, 40)),
    st.lists(st.sampled_from("abcdefghij"), max_size=2, unique=True),
)


class ScheduleRules(Stores):
    """Writes schedules, and asks for them."""

    def creation(self, drawn: Creation) -> NewWorkflow:
        """Give what creates a workflow as it was drawn."""
        raise NotImplementedError

    def _keeping(self) -> dict[str, SupportsSchedules]:
        found: dict[str, SupportsSchedules] = {
            name: store for name, store in self.stores.items() if isinstance(store, SupportsSchedules)
        }
        return found if len(found) == len(self.stores) else {}

    @rule(wanted=st.lists(_wanted, min_size=1, max_size=3, unique_by=lambda one: one.name))
    def write_schedules(self, wanted: list[_Wanted]) -> None:
        """Write schedules and what their ticks create, most of them on the revision that is there."""
        stores = self._keeping()
        if stores:
            self.time += 10
            writes = [self._write_of(one) for one in wanted]
            expected = list(self.model.write_schedules(writes))
            for name, store in stores.items():
                assert list(store.write_schedules(writes)) == expected, name

    @rule(
        workflows=st.lists(st.sampled_from((*WORKFLOWS, "nobody's")), max_size=3),
        ahead=st.sampled_from((-1, 0, 0, 1, 50)),
        limit=st.integers(1, 3),
    )
    def find_due_schedules(self, workflows: list[str], ahead: int, limit: int) -> None:
        """Ask what is due."""
        expected = self.model.due_schedules(workflows, now=self.time + ahead, limit=limit)
        for name, store in self._keeping().items():
            found = store.due_schedules(workflows, now=self.time + ahead, limit=limit)
            assert (list(found.rows), found.next_due) == (list(expected.rows), expected.next_due), name

    @rule(
        names=st.none() | st.lists(st.sampled_from((*NAMES, "nobody")), unique=True),
        after=st.none() | st.sampled_from(NAMES),
        limit=st.integers(1, 3),
    )
    def list_schedules(self, names: list[str] | None, after: str | None, limit: int) -> None:
        """List a page of schedules."""
        expected = list(self.model.schedules(names, after=after, limit=limit))
        for name, store in self._keeping().items():
            assert list(store.schedules(names, after=after, limit=limit)) == expected, name

    @invariant()
    def schedules_agree(self) -> None:
        """Compare all schedules."""
        for name, store in self._keeping().items():
            assert list(store.schedules()) == list(self.model.schedules()), name

    def _write_of(self, wanted: _Wanted) -> ScheduleWrite:
        there = self.model.schedules([wanted.name])
        revision = {"now": there[0].revision if there else None, "nothing": None, "another": "another"}[
            wanted.builds_on
        ]
        self.last_token += 1
        row = ScheduleRow(
            name=wanted.name,
            revision=f"revision-{self.last_token}",
            workflow=wanted.workflow,
            due_at=None if wanted.due_in is None else self.time + wanted.due_in,
            payload=b'{"n":%d}' % self.last_token,
        )
        return ScheduleWrite(
            name=wanted.name,
            revision=revision,
            row=None if wanted.removes else row,
            creates=[self.creation(Creation(one, wanted.workflow, "queued")) for one in wanted.creates],
        )
