"""Which parts of a segment are not written, since somebody else has the `dedup_key` of a place. No SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from everlog.store import (
    ChildDeduplicated,
    ChildExists,
    Commit,
    CommitOutcome,
    CreateOutcome,
    Deduplicated,
    Exists,
    Head,
    Place,
    Refused,
)
from everlog_postgres.queue_records import Keeper
from everlog_postgres.segments import Segment

T = TypeVar("T")


class Decided(NamedTuple):
    """The outcomes of those parts of a segment that are not written, by their indexes in it."""

    creates: Mapping[int, CreateOutcome]
    commits: Mapping[int, CommitOutcome]


NOTHING_DECIDED: Final = Decided({}, {})


class Duplicates:
    """The parts of a segment whose keys others have: who has them, by the indexes of the parts."""

    def __init__(self, segment: Segment, keepers: Sequence[Keeper]) -> None:
        self._segment = segment
        self._keepers = {(keeper.queue, keeper.dedup_key): keeper for keeper in keepers}
        self.creates: dict[int, str] = {}
        self.commits: dict[int, tuple[int | None, str]] = {}
        """For each the first of its creations that is a duplicate, None for its own place; and who has the key."""
        for place, new in enumerate(segment.creates):
            keeper = self._keeper(new.place)
            if keeper is not None:
                self.creates[place] = keeper
        for place, commit in enumerate(segment.commits):
            found = self._find(commit)
            if found is not None:
                self.commits[place] = found

    def _find(self, commit: Commit) -> tuple[int | None, str] | None:
        for index, new in enumerate(commit.creates):
            keeper = self._keeper(new.place)
            if keeper is not None:
                return index, keeper
        keeper = self._keeper(commit.place)
        return None if keeper is None or keeper == commit.workflow_id else (None, keeper)

    def _keeper(self, place: Place | None) -> str | None:
        """Give the workflow that has the place's key and keeps it; None where it is free, or can be taken."""
        if place is None or place.dedup_key is None:
            return None
        found = self._keepers.get((place.queue, place.dedup_key))
        return None if found is None or (place.takes_key and found.has_slot) else found.workflow_id

    def ids(self) -> Iterator[str]:
        """Give the workflows whose heads the outcomes depend on."""
        for place, keeper in self.creates.items():
            yield from (self._segment.creates[place].workflow_id, keeper)
        for place, (_, keeper) in self.commits.items():
            commit = self._segment.commits[place]
            yield from (commit.workflow_id, keeper, *(new.workflow_id for new in commit.creates))

    def decide(self, heads: Mapping[str, Head]) -> Decided:
        """Give the outcomes, on these heads."""
        return Decided(
            {place: self._creation(place, keeper, heads) for place, keeper in self.creates.items()},
            {place: self._commit(place, index, keeper, heads) for place, (index, keeper) in self.commits.items()},
        )

    def _creation(self, place: int, keeper: str, heads: Mapping[str, Head]) -> CreateOutcome:
        there = heads.get(self._segment.creates[place].workflow_id)
        return Deduplicated(head=heads[keeper]) if there is None else Exists(head=there)

    def _commit(self, place: int, index: int | None, keeper: str, heads: Mapping[str, Head]) -> CommitOutcome:
        commit = self._segment.commits[place]
        head = heads.get(commit.workflow_id)
        if head is None or (head.token, head.seq) != (commit.token, commit.seq):
            return Refused()
        for taken, new in enumerate(commit.creates):
            if new.workflow_id in heads:
                return ChildExists(index=taken, head=heads[new.workflow_id])
        if index is None:
            return Deduplicated(head=heads[keeper])
        return ChildDeduplicated(index=index, head=heads[keeper])

    def rest(self) -> Segment:
        """Give the segment without these parts."""
        rest = Segment()
        rest.creates = [new for place, new in enumerate(self._segment.creates) if place not in self.creates]
        rest.commits = [commit for place, commit in enumerate(self._segment.commits) if place not in self.commits]
        rest.posts = self._segment.posts
        rest.sent = self._segment.sent
        return rest


def in_order(decided: Mapping[int, T], others: Sequence[T]) -> list[T]:
    """Give the outcomes of all parts of a segment: those that were decided, and those of the others, between them."""
    rest = iter(others)
    return [decided[place] if place in decided else next(rest) for place in range(len(decided) + len(others))]
