"""The store's work where the tables are distributed over several servers, as far as it differs. No SQL of its own.

Two things differ. What is one statement elsewhere takes a transaction of some. And rows can be locked without waiting
only one by one: so at first heads are changed as if nobody had locked them, and are waited for, but briefly. If that
was in vain, it is tried of each whether it can be locked, and only those are changed.

A claim is optimistic: candidates are found without a lock, and then taken on the condition that they still are what
they were. Who comes second finds that they are not, and tries others.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NoReturn, TypeVar

from everlog.errors import SchemaMismatch, StoreUnavailable, UsageError
from everlog.store import WORKER_DIED, ClaimRequest
from everlog_postgres.arrays import bigints, slices, texts
from everlog_postgres.connection import Ask, Connection, Question, Rows
from everlog_postgres.distributed_commits import SegmentWriter
from everlog_postgres.segments import Segment
from everlog_postgres.statements import DistributedStatements, Statements

_BRIEFLY: Final = 0.1
_PATIENTLY: Final = 0.5
"""Seconds for which a lock is waited for: of a head, and of a creation or a message that is just being written."""

_TRIES: Final = 4
"""So often candidates are taken when others take them first."""

_Result = TypeVar("_Result")
_Candidate = tuple[Any, ...]
"""A row of find_ready and its like: the id, since when it is runnable, when it was created, and the head as it was."""


class Distributed:
    """Writes, claims and retires through the connection of a store whose tables are distributed."""

    def __init__(self, connection: Connection, sql: Statements) -> None:
        self._connection: Final = connection
        self._sql: Final = sql
        self._apart: Final = DistributedStatements(sql.schema)

    def require_durability(self) -> None:
        """Raise `SchemaMismatch` where a server does not wait for its disk; on others than this one we set nothing."""
        if not self._connection.ask(Question(self._apart.find_citus))[0]:
            return
        hasty = [str(name) for (name,) in self._connection.ask(Question(self._apart.find_hasty))[0]]
        if hasty:
            raise SchemaMismatch(
                f"{self._connection.name}: synchronous_commit is off on {', '.join(hasty)} of its cluster: switch it on"
                " there, or use durability='process'"
            )

    def refuse_queues(self) -> NoReturn:
        """Raise `UsageError`: who takes a slot would have to hold rows on several servers without waiting."""
        raise UsageError(
            f"{self._connection.name} is distributed over several servers, where there are no queues yet: start the"
            " workflow without a queue, or keep the tables on one server (docs/scaling.md)"
        )

    def write(self, split: Sequence[Segment], now: int) -> list[Rows] | None:
        """Write segments in one transaction, and give for each the rows that `commit_batch` would.

        None, and nothing written, where another transaction's lock was in the way.
        """

        def write_all(ask: Ask, free: Collection[str]) -> tuple[list[Rows], bool]:
            writer = SegmentWriter(self._sql, self._apart, ask, now=now)
            return [writer.write(segment, free) for segment in split], writer.wrote

        ids = [commit.workflow_id for segment in split for commit in segment.commits]
        return self._past_locks(self._connection, lambda _: ids, write_all)

    def write_within(self, ask: Ask, segment: Segment, now: int) -> Rows:
        """Write a segment that only creates, within the transaction of whoever asks; give what `commit_batch` would."""
        return SegmentWriter(self._sql, self._apart, ask, now=now).write(segment, ())

    def claim(self, request: ClaimRequest, names: object, now: int, of_each: int) -> Rows:
        """Take runnable workflows and give their heads, longest runnable first. It may have taken some when it raises.

        So many candidates are looked for as are said for each that is wanted.
        """
        if not request.tokens:
            return []
        if request.only is not None:
            token = request.tokens[0]
            only = {"workflow_id": request.only, "token": token, "worker": request.worker}
            return [row[1:] for row in self._connection.write(Question(self._sql.take_head, only))[0]]
        candidates = self._candidates(request, names, now, of_each * len(request.tokens))
        place = {candidate[0]: number for number, candidate in enumerate(candidates)}
        tokens, taken = list(request.tokens), Rows()
        for _ in range(_TRIES):
            tried, candidates = candidates[: len(tokens)], candidates[len(tokens) :]
            if not tried:
                break
            taken.extend(self._take(request.worker, tokens, tried))
            used = {row[7] for row in taken}
            tokens = [token for token in tokens if token not in used]
            # The next to try are others than those that others try next.
            candidates.sort(key=lambda candidate: zlib.crc32(f"{request.tokens[0]} {candidate[0]}".encode()))
        return sorted(taken, key=lambda row: place[row[0]])

    def _candidates(self, request: ClaimRequest, names: object, now: int, limit: int) -> list[_Candidate]:
        asked = {"names": names, "now": now, "build": request.build, "candidates": limit}
        apart = self._apart
        statements = (apart.find_ready, apart.find_due, apart.find_woken, apart.find_stuck)
        found: dict[str, _Candidate] = {}
        for rows in self._connection.ask(*[Question(statement, asked) for statement in statements]):
            for row in rows:
                known = found.get(row[0])
                if known is None or row[1] < known[1]:
                    found[row[0]] = row
        return sorted(found.values(), key=lambda row: (row[1], row[2], row[0]))[:limit]

    def _take(self, worker: str, tokens: Sequence[str], candidates: Sequence[_Candidate]) -> Rows:
        def take(ask: Ask, free: Collection[str]) -> tuple[Rows, bool]:
            free_ones = [candidate for candidate in candidates if candidate[0] in free]
            columns = _guards(free_ones, tokens[: len(free_ones)])
            return ask(Question(self._apart.take_candidates, {**columns, "worker": worker}))[0], False

        ids = [candidate[0] for candidate in candidates]
        taken = self._past_locks(self._connection, lambda _: ids, take)
        return [] if taken is None else taken

    def read_claimed(self, names: object, workflow_ids: Sequence[str], whole: Sequence[str]) -> tuple[Rows, Rows, Rows]:
        """Give histories of the `whole`, the inboxes of all that was claimed, and when the next is due."""
        histories, inboxes, due = self._connection.ask(
            Question(self._apart.read_histories, {"workflow_ids": texts(whole)}),
            Question(self._apart.read_inboxes, {"workflow_ids": texts(workflow_ids)}),
            Question(self._apart.next_due, {"names": names}),
        )
        return histories, inboxes, due

    def unread(self, worker: str) -> Rows:
        """Give all that is unread of what a worker holds."""
        return self._connection.ask(Question(self._apart.unread, {"worker": worker}))[0]

    def list_workers(self, leases: Connection) -> Rows:
        """Give what list_workers gives."""
        return leases.ask(Question(self._apart.list_workers))[0]

    def retire(self, leases: Connection, worker: str) -> int:
        """Remove a worker and the tokens of what it held and nobody has locked; give how many."""
        named = {"worker": worker, "worker_died": WORKER_DIED}

        def held(ask: Ask) -> Sequence[str]:
            return [workflow_id for (workflow_id,) in ask(Question(self._apart.find_held, named))[0]]

        def free_them(ask: Ask, free: Collection[str]) -> tuple[int, bool]:
            freed, *_ = ask(
                Question(self._apart.free_held, {**named, "workflow_ids": texts(sorted(free))}),
                Question(self._apart.remove_worker, named),
            )
            return len(freed), True

        freed = self._past_locks(leases, held, free_them)
        if freed is None:
            raise StoreUnavailable(
                f"{leases.name}: another transaction is just changing worker {worker!r}; nothing was written, try again"
            )
        return freed

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Remove those that have ended, with all that is kept of them; give their ids."""

        def remove(ask: Ask) -> tuple[list[str], bool]:
            heads = ask(Question(self._apart.delete_heads, {"workflow_ids": texts(workflow_ids)}))[0]
            removed = [str(workflow_id) for (workflow_id,) in heads]
            if removed:
                ask(*[Question(statement, {"removed": texts(removed)}) for statement in self._apart.delete_the_rest])
            return removed, bool(removed)

        removed = self._connection.transacts_or_is_locked(remove, patience=_PATIENTLY, note=self._apart.note)
        if removed is None:
            raise StoreUnavailable(
                f"{self._connection.name}: another transaction holds one of the workflows that are to be deleted;"
                " nothing was deleted, end it, it may be idle, or try again"
            )
        return removed

    def _past_locks(
        self,
        connection: Connection,
        ids_of: Callable[[Ask], Sequence[str]],
        write: Callable[[Ask, Collection[str]], tuple[_Result, bool]],
    ) -> _Result | None:
        """Change heads without waiting long for any: `write` is told which nobody else has locked.

        None, and nothing written, where something else is locked that it writes to.
        """

        def write_as_if_free(ask: Ask) -> tuple[_Result, bool]:
            return write(ask, set(ids_of(ask)))

        def write_what_is_free(ask: Ask) -> tuple[_Result, bool]:
            ids = sorted(ids_of(ask))
            locked = ask(*[Question(self._apart.lock_head, {"workflow_id": workflow_id}) for workflow_id in ids])
            return write(ask, {row[0] for rows in locked for row in rows})

        note = self._apart.note
        at_once = connection.transacts_or_is_locked(write_as_if_free, patience=_BRIEFLY, note=note)
        if at_once is not None:
            return at_once
        return connection.transacts_or_is_locked(write_what_is_free, patience=_PATIENTLY, note=note)


def _guards(candidates: Sequence[_Candidate], tokens: Sequence[str]) -> dict[str, object]:
    """Give the columns that say what candidates are to be still, and the tokens for them."""
    topics, firsts, lasts = slices([candidate[6] for candidate in candidates])
    return {
        "ids": texts([candidate[0] for candidate in candidates]),
        "tokens": texts(tokens),
        "states": texts([candidate[3] for candidate in candidates]),
        "seqs": bigints([candidate[4] for candidate in candidates]),
        "wake_ats": bigints([candidate[5] for candidate in candidates]),
        "topics": topics,
        "first_topics": firsts,
        "last_topics": lasts,
        "builds": texts([candidate[7] for candidate in candidates]),
    }
