"""Pruning: which workflows that have ended may be removed, and removing them, a page at a time. It waits for nobody.

What is never removed: what has not ended; what is held; a child that its parent, which has not ended, may still ask
for; and a workflow of which a child stays. The last keeps families whole from below: the ids of children come from that
of their parent, so that a parent started anew under its old id would take what is left of its predecessor's children
for its own. So children go first, and pages are read newest first, since children are younger than their parents.

An archive is complete before anything is removed. What is removed is so on the condition that its history is still the
one that was archived; whoever is stopped in between leaves files that the next one writes again, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from everlog.core import events
from everlog.core.attributes import PARENT, texts_of
from everlog.core.event_codec import TAGS, decode_event
from everlog.core.heads import ENDED
from everlog.core.retention import AuditRow
from everlog.errors import UsageError
from everlog.runtime.archives import Archive
from everlog.store import EventRow, Head, Store, SupportsFinding, WorkflowQuery
from everlog.store_forks import SupportsForks
from everlog.store_moving import SupportsMoving
from everlog.store_retention import SupportsRetention

MOST_EVENTS: Final = 5_000
"""So many events are removed in one transaction, or those of one workflow."""
_CHILDREN: Final = 500


class Retains(Store, SupportsRetention, SupportsFinding, SupportsMoving, Protocol):
    """A store of which something can be pruned."""


class Rule(Struct, frozen=True, kw_only=True):
    """What is pruned: workflows of `query`, whose states are those of workflows that have ended; of each name the last
    `keep_last` stay, by their creation. `said` says it in words."""

    query: WorkflowQuery
    said: str
    keep_last: int = 0
    batch: int = 100


class Step(Struct, frozen=True, kw_only=True):
    """What became of one page. `needed` stay for the sake of others, `changed` were written to meanwhile."""

    removed: Sequence[str] = ()
    events: int = 0
    archived: int = 0
    held: int = 0
    needed: int = 0
    changed: int = 0


def retaining(store: Store) -> Retains:
    """Give the store as one of which something can be pruned. Raises `UsageError` where it is none."""
    if (
        isinstance(store, SupportsRetention)
        and isinstance(store, SupportsFinding)
        and isinstance(store, SupportsMoving)
    ):
        retains: Retains = store
        return retains
    raise UsageError(
        f"this store, {type(store).__name__}, holds, prunes and redacts nothing (it is no SupportsRetention); use"
        " another store, or delete() workflows that have ended"
    )


class Pruning:
    """One pass over what a rule means. `steps` gives what became of each page, when that is done."""

    def __init__(
        self, store: Retains, rule: Rule, *, by: str, archive: Archive | None = None, dry_run: bool = False
    ) -> None:
        self._store = store
        self._rule = rule
        self._by = by
        self._archive = archive
        self._dry_run = dry_run
        self._known: dict[tuple[str, int], frozenset[str]] = {}
        """The children that a living parent knows, by its id and its seq."""

    def steps(self) -> Iterator[Step]:
        """Remove page after page. Between two of them nothing is held up; it may be left at any of them."""
        if not self._rule.keep_last:
            yield from self._pages(self._rule.query, 0)
            return
        for name in self._names():
            query = replace(self._rule.query, names=[name], ended_until=None)
            yield from self._pages(query, self._rule.keep_last)

    def _names(self) -> list[str]:
        query = replace(self._rule.query, limit=1)
        counted = {row.name for row in self._store.counts(query)}
        return sorted(counted)

    def _pages(self, query: WorkflowQuery, spared: int) -> Iterator[Step]:
        ended_until = self._rule.query.ended_until
        query = replace(query, newest_first=True, limit=self._rule.batch)
        while heads := self._store.workflows(query):
            query = replace(query, after=(heads[-1].created_at, heads[-1].workflow_id))
            rest, spared = heads[spared:], max(0, spared - len(heads))
            old = [one for one in rest if ended_until is None or (one.ended_at or 0) < ended_until]
            if old:
                yield self._step(old)
            if len(heads) < self._rule.batch:
                return

    def _step(self, heads: Sequence[Head]) -> Step:
        """Remove those of a page that may go."""
        ids = [head.workflow_id for head in heads]
        held = {row.workflow_id for row in self._store.holds(ids, limit=len(ids))}
        free = {one for one in ids if one not in held}
        free -= self._needed_by_parents(sorted(free))
        free -= self._with_children_that_stay(free)
        going = [head for head in heads if head.workflow_id in free]
        step = Step(held=len(held), needed=len(ids) - len(held) - len(going))
        for chunk in _chunks(going):
            step = _added(step, self._removed(chunk))
        return step

    def _removed(self, heads: Sequence[Head]) -> Step:
        if self._dry_run:
            return Step(removed=[head.workflow_id for head in heads], events=sum(head.seq for head in heads))
        seqs = {head.workflow_id: head.seq for head in heads}
        archived = 0
        said = self._rule.said
        if self._archive is not None:
            found = self._store.rows_of(list(seqs))
            seqs = {one.head.workflow_id: one.head.seq for one in found if one.head.state in ENDED}
            archived = self._archive.keep(one for one in found if one.head.workflow_id in seqs)
            said = f"{said}; archived in {self._archive.folder}"
        audit = AuditRow(at=self._store.now(), by=self._by, action="pruned", said=said)
        removed = self._store.remove(list(seqs.items()), audit)
        return Step(
            removed=removed,
            events=sum(seqs[one] for one in removed),
            archived=archived,
            changed=len(heads) - len(removed),
        )

    # -- families ----------------------------------------------------------------------------------------------------

    def _parents(self, ids: Sequence[str]) -> dict[str, str]:
        kept = zip(ids, self._store.attributes(ids), strict=True)
        return {one: str(attributes[PARENT]) for one, attributes in kept if PARENT in attributes}

    def _needed_by_parents(self, ids: Sequence[str]) -> set[str]:
        """Give those that were started by one that has not ended, and knows them still."""
        parents = self._parents(ids)
        wanted = sorted(set(parents.values()))
        heads = {one: head for one, head in zip(wanted, self._store.heads(wanted), strict=True) if head is not None}
        living = {one: head for one, head in heads.items() if head.state not in ENDED}
        return {one for one, parent in parents.items() if parent in living and one in self._children_of(living[parent])}

    def _children_of(self, parent: Head) -> frozenset[str]:
        """Give the children of a workflow since it last continued as new, and those that it carried over."""
        place = parent.workflow_id, parent.seq
        if place not in self._known:
            self._known[place] = frozenset(_children_in(self._rows_of(parent)))
        return self._known[place]

    def _rows_of(self, parent: Head) -> Sequence[EventRow]:
        after = parent.first_seq - 1
        if isinstance(self._store, SupportsForks):
            return self._store.read_types(parent.workflow_id, sorted(_STARTING), after=after)
        return [row for row in self._store.read(parent.workflow_id, after=after) if row.type in _STARTING]

    def _with_children_that_stay(self, going: set[str]) -> set[str]:
        """Give those of which a child is there that does not go, and theirs."""
        asked, staying = set(going), set[str]()
        query = WorkflowQuery(limit=_CHILDREN)
        while asked:
            texts = [text for one in sorted(asked) for text in texts_of(one)]
            found = self._store.workflows(replace(query, attributes={PARENT: texts}))
            children = [head.workflow_id for head in found]
            parents = self._parents(children)
            new = {parents[one] for one in children if one in parents and one not in going}
            while new:  # who stays keeps its parent as well
                staying |= new
                going = going - new
                new = {parent for parent in self._parents(sorted(new)).values() if parent in going}
            asked -= staying
            if len(found) < _CHILDREN:
                return staying
            query = replace(query, after=(found[-1].created_at, found[-1].workflow_id))
        return staying


_STARTING: Final = frozenset({TAGS[events.ChildStarted], TAGS[events.WorkflowContinued]})


def _children_in(rows: Sequence[EventRow]) -> Iterator[str]:
    for row in rows:
        match decode_event(row.payload):
            case events.ChildStarted(child=child):
                yield child
            case events.WorkflowContinued(children=carried):
                yield from (one.child for one in carried)
            case _:
                pass


def _chunks(heads: Sequence[Head]) -> Iterator[list[Head]]:
    chunk: list[Head] = []
    events_in_it = 0
    for head in heads:
        if chunk and events_in_it + head.seq > MOST_EVENTS:
            yield chunk
            chunk, events_in_it = [], 0
        chunk.append(head)
        events_in_it += head.seq
    if chunk:
        yield chunk


def _added(one: Step, other: Step) -> Step:
    return Step(
        removed=[*one.removed, *other.removed],
        events=one.events + other.events,
        archived=one.archived + other.archived,
        held=one.held + other.held,
        needed=one.needed + other.needed,
        changed=one.changed + other.changed,
    )
