"""ForkRules: what `StoreMachine` does with forks, where all of its stores copy histories. No machine by itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import rule

from everlog.store import EventRow, InboxRow, NewWorkflow, ValueRow
from everlog.store_forks import Fork, SupportsForks
from everlog.testing.machine_stores import Stores, plain
from everlog.testing.machine_words import IDS, NAMES, STREAMS, TOPICS, VALUES, WORKERS, Creation


class _Wanted(msgspec.Struct, frozen=True):
    """A fork as it is drawn."""

    source: str
    workflow_id: str
    before_the_end: int
    """So many rows of the source it does not have; below 0, more than there are."""
    replaced: frozenset[int]
    more: int
    """So many rows follow."""
    continues: bool
    messages: Sequence[int]
    values: frozenset[str]
    streams_for: int
    bounds: Sequence[tuple[str, int]]
    creates: Sequence[str]


_wanted = st.builds(
    _Wanted,
    st.sampled_from((*IDS, "nobody")),
    st.sampled_from((*IDS, "fork-1", "fork-2", "fork-3")),
    st.sampled_from((0, 0, 0, 1, 2, -1)),
    st.frozensets(st.integers(2, 5), max_size=2),
    st.integers(1, 2),
    st.booleans(),
    st.lists(st.integers(1, 5), max_size=3, unique=True),
    st.frozensets(st.sampled_from(VALUES), max_size=2),
    st.sampled_from((0, 100, 1_000_000)),
    st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(0, 4)), max_size=2, unique_by=lambda one: one[0]),
    st.lists(st.sampled_from(IDS), max_size=1),
)


class ForkRules(Stores):
    """Makes forks, and reads events by their types."""

    def creation(self, drawn: Creation) -> NewWorkflow:
        """Give what creates a workflow as it was drawn."""
        raise NotImplementedError

    def _copying(self) -> dict[str, SupportsForks]:
        found: dict[str, SupportsForks] = {
            name: store for name, store in self.stores.items() if isinstance(store, SupportsForks)
        }
        return found if len(found) == len(self.stores) else {}

    @rule(wanted=_wanted)
    def fork(self, wanted: _Wanted) -> None:
        """Fork a workflow, of which there may be none, under an id that may be taken."""
        stores = self._copying()
        if not stores or wanted.source == wanted.workflow_id or wanted.workflow_id in wanted.creates:
            return
        self.time += 10
        made = self._fork_of(wanted)
        expected = plain(self.model.fork(made))
        for name, store in stores.items():
            assert plain(store.fork(made)) == expected, name
        for name in self.stores:
            found = plain(self.stores[name].read(wanted.workflow_id))
            assert found == plain(self.model.read(wanted.workflow_id)), name

    @rule(
        workflow_id=st.sampled_from((*IDS, "fork-1")),
        types=st.lists(st.sampled_from(("happened", "copied", "never")), max_size=3, unique=True),
        after=st.integers(0, 4),
        until=st.none() | st.integers(0, 6),
    )
    def read_types(self, workflow_id: str, types: list[str], after: int, until: int | None) -> None:
        """Read the events of some types."""
        expected = list(self.model.read_types(workflow_id, types, after=after, until=until))
        for name, store in self._copying().items():
            assert list(store.read_types(workflow_id, types, after=after, until=until)) == expected, name

    def _fork_of(self, wanted: _Wanted) -> Fork:
        until = max(1, len(self.model.read(wanted.source)) - wanted.before_the_end)
        own = {1, *(seq for seq in wanted.replaced if seq <= until), *range(until + 1, until + 1 + wanted.more)}
        rows = [EventRow(seq, "copied", self.time + seq, b'{"own":%d}' % seq) for seq in sorted(own)]
        return Fork(
            new=NewWorkflow(workflow_id=wanted.workflow_id, name=NAMES[0], state="queued", events=rows),
            source=wanted.source,
            until=until,
            first_seq=until if wanted.continues else 1,
            inbox=[self._in_inbox(number) for number in wanted.messages],
            values=[
                ValueRow(name=name, seq=1, recorded_at=self.time, payload=b"%d" % self.time)
                for name in sorted(wanted.values)
            ],
            streams_until=self.time - wanted.streams_for,
            stream_bounds=wanted.bounds,
            creates=[self.creation(Creation(name, NAMES[1], "queued")) for name in wanted.creates],
        )

    def _in_inbox(self, number: int) -> InboxRow:
        return InboxRow(
            row=0,
            destination="",
            source=WORKERS[0],
            number=number,
            topic=TOPICS[number % 2],
            payload=b'"%d"' % number,
            control=False,
            arrived_at=self.time - number,
        )
