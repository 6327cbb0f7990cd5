"""Taking: what becomes of a workflow that was claimed or admitted, until it is in memory, or is not to be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec import structs

from everlog.core.event_codec import decode_event
from everlog.core.events import EndEvent
from everlog.errors import CorruptLog, InternalError, StoreUnavailable
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.inbox import Inbox
from everlog.runtime.admission import Admission
from everlog.runtime.claims import whole_history
from everlog.runtime.commits import going_on, state_commit
from everlog.runtime.committer import Committer
from everlog.runtime.residents import History
from everlog.runtime.sentences import poisoned
from everlog.runtime.standing import obedient_commit, stands
from everlog.store import WORKER_DIED, Claimed, Commit, Head, Store

log: Final = logging.getLogger("everlog")
MOST_TAKEOVERS: Final = 5

Take = Callable[[str, str, History, Inbox, AnyWorkflow[..., Any], Head, int], None]
"""Takes a workflow that may be run: id, token, history, unread inbox, code, head, and the bytes of the history."""


class Taking:
    """Hands on what may be run, and writes what is to be written of the rest."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        admission: Admission,
        take: Take,
        mark_stuck: Callable[[str, str, int, str], None],
        obeyed: Callable[[str, EndEvent | None], None],
        read_anew: Callable[[], None],
    ) -> None:
        self._store = store
        self._committer = committer
        self._admission = admission
        self._take = take
        self._mark_stuck = mark_stuck
        self._obeyed = obeyed
        self._read_anew = read_anew

    def take(self, claimed: Claimed, definition: AnyWorkflow[..., Any], now: int) -> None:
        """Do with a workflow what its head and its history ask for."""
        head, token = claimed.head, claimed.head.token
        if token is None:
            raise InternalError(f"the store claimed {head.workflow_id!r} without a token")
        left = head.why == WORKER_DIED and head.takeovers < MOST_TAKEOVERS
        if left or head.state == "stuck":  # its head says first that it runs: else what that costs is not counted
            commit, claimed = going_on(claimed, token)
            self._admission.coming += 1
            self._committer.commit_alone(commit, partial(self._take_late, claimed, definition, now), self._came)
            return
        try:
            history, size = whole_history(claimed, self._store)
            if stands(head, history, now):
                commit = obedient_commit(claimed, history, now)
                self._committer.commit_alone(commit, partial(self._tell, commit))
            elif head.takeovers >= MOST_TAKEOVERS:  # its code is not run: it may be what would cost another
                self._mark_stuck(head.workflow_id, token, head.seq, poisoned(head, history))
            else:
                self._take(head.workflow_id, token, history, Inbox(claimed.inbox), definition, head, size)
        except StoreUnavailable as error:
            log.warning("workflow %r was claimed and cannot be read now: %s", head.workflow_id, error)
            as_before = state_commit(head.workflow_id, token, head.seq, head.state, release=True)
            self._committer.commit_alone(structs.replace(as_before, wake_at=head.wake_at, topics=head.topics))
        except CorruptLog as error:
            self._mark_stuck(head.workflow_id, token, head.seq, str(error))

    def _came(self) -> None:
        self._admission.coming -= 1

    def _take_late(self, claimed: Claimed, definition: AnyWorkflow[..., Any], now: int) -> None:
        """Take what is held since an earlier moment: messages that came since then were seen by nobody."""
        self._read_anew()
        self.take(claimed, definition, now)

    def _tell(self, commit: Commit) -> None:
        """Tell what became of one that stands."""
        last = decode_event(commit.events[-1].payload) if commit.events else None
        self._obeyed(commit.workflow_id, last if isinstance(last, EndEvent) else None)
