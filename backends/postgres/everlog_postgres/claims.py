"""Claims: taking what is runnable, and reading what was taken. What a claim is, `take_heads.sql` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from everlog.errors import EverlogError, StoreUnavailable
from everlog.store import AdmitRequest, ClaimAnswer, Claimed, ClaimRequest, InboxRow
from everlog_postgres import records
from everlog_postgres.admissions import SOON, Admissions
from everlog_postgres.arrays import texts
from everlog_postgres.connection import Connection, Question, Rows
from everlog_postgres.distributed import Distributed
from everlog_postgres.statements import Statements

_CANDIDATES: Final = 4
"""So many workflows are looked at for each that is wanted: others may be taking the first of them just now."""

_ALL_BYTES: Final = 2**62


class Claims:
    """Takes workflows through the connection of a store. `number` gives inbox rows their numbers."""

    def __init__(
        self,
        connection: Connection,
        sql: Statements,
        now: Callable[[], int],
        number: Callable[[Rows], Sequence[InboxRow]],
    ) -> None:
        self._connection: Final = connection
        self._sql: Final = sql
        self._now: Final = now
        self._number: Final = number
        self._unanswered: list[Question] = []
        """What gives back the claims whose answers were lost."""

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take runnable workflows, then read what they are, in one round trip and one transaction."""
        names = texts(sorted(set(request.names)))
        queues = None if request.queues is None else texts(request.queues)
        next_due = Question(self._sql.next_due, {"names": names, "queues": queues})
        if not request.tokens:
            ((due,),) = self._connection.ask(next_due)[0]
            return ClaimAnswer(claimed=[], next_due=due)
        ours = {"worker": request.worker, "tokens": texts(request.tokens)}
        try:
            taken, events, inbox, ((due,),) = self._connection.write(
                self._take(request, names, queues),
                Question(self._sql.read_histories, {**ours, "max_bytes": request.max_bytes}),
                Question(self._sql.read_inboxes, ours),
                next_due,
            )
        except StoreUnavailable as error:
            if error.unknown_outcome:
                self._give_back_later(request.worker, request.tokens)
            raise
        rows = [row[1:] for row in sorted(taken, key=lambda row: int(row[0]))]
        return ClaimAnswer(claimed=self._claimed(request, rows, events, inbox), next_due=due)

    def admit(self, request: AdmitRequest, admissions: Admissions) -> ClaimAnswer:
        """Take workflows from their queues, then read what they are, in one transaction."""
        seen, next_due = admissions.look(request)
        if not seen:
            return ClaimAnswer(claimed=[], next_due=next_due)
        try:
            admitted = admissions.admit(request, seen)
        except StoreUnavailable as error:
            if error.unknown_outcome:
                self._give_back_later(request.worker, request.tokens)
            raise
        if admitted is None:
            return ClaimAnswer(claimed=[], next_due=self._now() + SOON)
        claimed = self._claimed(request, admitted.rows, admitted.events, admitted.inbox)
        return ClaimAnswer(claimed=claimed, next_due=admitted.next_due)

    def claim_distributed(self, distributed: Distributed, request: ClaimRequest) -> ClaimAnswer:
        """Take in transactions of their own, then read: so what is read is younger than the tokens."""
        names = texts(sorted(set(request.names)))
        try:
            rows = distributed.claim(request, names, self._now(), _CANDIDATES)
            whole = [row[0] for row in _that_fit(rows, request.max_bytes)]
            events, inbox, ((due,),) = distributed.read_claimed(names, [row[0] for row in rows], whole)
        except EverlogError:
            self._give_back_later(request.worker, request.tokens)
            raise
        return ClaimAnswer(claimed=self._together(rows, events, inbox), next_due=due)

    def _take(self, request: ClaimRequest, names: object, queues: object) -> Question:
        if request.only is not None:
            only = {"workflow_id": request.only, "token": request.tokens[0], "worker": request.worker}
            return Question(self._sql.take_head, only)
        wanted = len(request.tokens)
        return Question(
            self._sql.take_heads,
            {
                "names": names,
                "queues": queues,
                "build": request.build,
                "now": self._now(),
                "limit": wanted,
                "candidates": _CANDIDATES * wanted,
                "tokens": texts(request.tokens),
                "worker": request.worker,
            },
        )

    def _claimed(self, request: ClaimRequest | AdmitRequest, rows: Rows, events: Rows, inbox: Rows) -> list[Claimed]:
        if not events and rows:
            events = self._read_those_that_fit(request, rows)
        return self._together(rows, events, inbox)

    def _together(self, rows: Rows, events: Rows, inbox: Rows) -> list[Claimed]:
        heads = [records.head(row) for row in rows]
        histories = records.histories(events)
        unread: dict[str, list[InboxRow]] = {}
        for message in self._number(inbox):
            unread.setdefault(message.destination, []).append(message)
        return [
            Claimed(
                head=head,
                history=records.whole(head, histories.get(head.workflow_id, [])),
                inbox=unread.get(head.workflow_id, []),
            )
            for head in heads
        ]

    def _read_those_that_fit(self, request: ClaimRequest | AdmitRequest, rows: Rows) -> Rows:
        """Read the histories for which there is room, of a claim whose histories were too much together."""
        tokens = [str(records.head(row).token) for row in _that_fit(rows, request.max_bytes)]
        question = {"worker": request.worker, "tokens": texts(tokens), "max_bytes": _ALL_BYTES}
        try:
            return self._connection.ask(Question(self._sql.read_histories, question))[0]
        except StoreUnavailable:
            return []  # the heads are ours: each history that is not given is read by itself

    def _give_back_later(self, worker: str, tokens: Sequence[str]) -> None:
        self._unanswered.append(Question(self._sql.free_taken, {"worker": worker, "tokens": texts(tokens)}))

    def give_back(self) -> None:
        """Free what was claimed without our hearing of it."""
        if self._unanswered:
            self._connection.write(*self._unanswered)
            self._unanswered.clear()


def _that_fit(rows: Sequence[Sequence[Any]], max_bytes: int) -> list[Sequence[Any]]:
    """Choose the heads for whose histories there is room together; the first is always one of them."""
    chosen: list[Sequence[Any]] = []
    left = max_bytes
    for row in rows:
        if not chosen or records.size_of(row) <= left:
            chosen.append(row)
            left -= records.size_of(row)
    return chosen
