"""The part of the store machine that finds: attributes that are drawn for what is written next, and questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from everlog.core.attributes import AttributeChange, Attributes, changed, checked, sought
from everlog.core.finding import Place
from everlog.core.heads import STATES
from everlog.store import SupportsFinding, WorkflowQuery
from everlog.testing import machine_words as words
from everlog.testing.machine_stores import Stores
from everlog.testing.machine_words import IDS

NAMES = ("tenant", "Tenant", "o'hara ☃")
VALUES = ("x", "X", "", 'say "☃"\n', 1, "1", True, 1.5, -3, [1, True], ["x", "y", 1], ["x"])
SOUGHT: tuple[object, ...] = ("x", "y", 1, 1.0, True, ["X", 1.5], [], ["x", "y", 1, -3])

_given = st.dictionaries(st.sampled_from(NAMES), st.none() | st.sampled_from(VALUES), max_size=3)
_asked = st.dictionaries(st.sampled_from(NAMES), st.none() | st.sampled_from(SOUGHT), max_size=2)
_queries = st.builds(
    WorkflowQuery,
    states=st.none() | st.lists(st.sampled_from(STATES), unique=True),
    names=st.none() | st.lists(st.sampled_from(words.NAMES), unique=True),
    id_prefix=st.sampled_from(("", "", "", "a", "b", "x")),
    newest_first=st.booleans(),
    limit=st.integers(0, 4),
)


class FindingRules(Stores):
    """Rules for a machine that has these, and takes what it writes of attributes from `attributes_of`."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn: dict[str, AttributeChange] = {}

    @rule(given=st.dictionaries(st.sampled_from(IDS), _given, max_size=4))
    def draw_attributes(self, given: Mapping[str, object]) -> None:
        """Choose what is written of some workflows, when they are next created or committed to."""
        self._drawn.update({workflow_id: checked(one, what="attributes") for workflow_id, one in given.items()})

    def change_of(self, workflow_id: str) -> AttributeChange:
        """Give what a commit is to change."""
        return self._drawn.pop(workflow_id, {})

    def attributes_of(self, workflow_id: str) -> Attributes:
        """Give what a creation is to have."""
        return changed({}, self.change_of(workflow_id))

    @rule(
        query=_queries,
        asked=_asked,
        created=st.none() | st.tuples(st.integers(0, 8), st.integers(0, 8)),
        ended=st.none() | st.tuples(st.integers(0, 8), st.integers(0, 8)),
        after=st.none() | st.sampled_from(IDS) | st.tuples(st.integers(0, 8), st.sampled_from(IDS)),
    )
    def find(
        self,
        query: WorkflowQuery,
        asked: Mapping[str, object],
        created: tuple[int, int] | None,
        ended: tuple[int, int] | None,
        after: str | tuple[int, str] | None,
    ) -> None:
        """Ask for a page, and how many there are. Times are chosen among those of the workflows that are there."""
        heads = [head for head in self.model.heads(IDS) if head is not None]
        times = sorted({time for head in heads for time in (head.created_at, head.ended_at) if time is not None}) or [0]
        for name, store in self.stores.items():
            full = replace(
                query,
                created_from=None if created is None else _one(times, created[0]),
                created_until=None if created is None else _one(times, created[1]),
                ended_from=None if ended is None else _one(times, ended[0]),
                ended_until=None if ended is None else _one(times, ended[1]) + 1,
                attributes=sought(asked, what="attributes") if isinstance(store, SupportsFinding) else {},
                after=self._place(times, after),
            )
            assert list(store.workflows(full)) == list(self.model.workflows(full)), name
            if isinstance(store, SupportsFinding):
                assert list(store.counts(full)) == list(self.model.counts(full)), name

    def _place(self, times: Sequence[int], after: str | tuple[int, str] | None) -> Place | None:
        if isinstance(after, tuple):
            return _one(times, after[0]), after[1]
        (head,) = [None] if after is None else self.model.heads([after])
        return None if head is None else (head.created_at, head.workflow_id)


def _one(times: Sequence[int], number: int) -> int:
    return times[number % len(times)]
