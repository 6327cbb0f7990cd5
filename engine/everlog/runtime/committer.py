"""The committer: collects what all workflows and callers want written and commits it together. One per engine.

Nobody is waited for: what is there when the engine's thread comes by goes into one transaction, and what arrives
meanwhile into the next. Each part is answered apart. A database that cannot be reached delays commits of workflows,
which are sent again unchanged, and fails the calls of users. A commit whose row another transaction has locked is sent
again unchanged after a growing pause, apart from the rest. An error that is no outcome splits the batch until its cause
stands alone.
"""

from __future__ import annotations

import heapq
import logging
from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import Final, TypeVar

from msgspec import Struct

from everlog.core.durations import SECOND
from everlog.errors import EverlogError, InternalError, StoreUnavailable
from everlog.store import (
    Batch,
    BatchOutcome,
    Busy,
    ChildDeduplicated,
    ChildExists,
    Commit,
    CreateOutcome,
    Deduplicated,
    Done,
    Exists,
    Head,
    NewMessage,
    NewWorkflow,
    PostOutcome,
    Refused,
    Store,
    Undeliverable,
)

log: Final = logging.getLogger("everlog")
MOST_PARTS: Final = 1000
MOST_BYTES: Final = 8_000_000
FIRST_PAUSE: Final = 50_000
FIRST_BUSY_PAUSE: Final = 5_000
LONGEST_PAUSE: Final = SECOND

CommitAnswer = Done | Refused | ChildExists | ChildDeduplicated | Deduplicated | Undeliverable
"""What comes of a commit in the end; one that is busy is sent again."""


class PendingCreate(Struct, eq=False):
    """A creation and who wants to know how it went."""

    new: NewWorkflow
    answer: Callable[[CreateOutcome | EverlogError], None]
    is_repeated: bool = False
    """Whether it was sent before, and nobody heard what came of it."""


class PendingPost(Struct, eq=False):
    """A message from outside and who wants to know how it went."""

    message: NewMessage
    answer: Callable[[PostOutcome | EverlogError], None]


class PendingCommit(Struct, eq=False):
    """A workflow's commit and who wants to know how it went. An error is never a refusal: nothing was written."""

    commit: Commit
    answer: Callable[[CommitAnswer | EverlogError], None]
    busy_pause: int = 0
    """Microseconds that it waited when its row was last found locked."""
    is_repeated: bool = False
    """Whether it was sent before, and nobody heard what came of it: what stands in its way then may be itself."""


Part = TypeVar("Part")


class Committer:
    """Group commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.write: Callable[[Batch], BatchOutcome] = store.commit
        self._creates: deque[PendingCreate] = deque()
        self._posts: deque[PendingPost] = deque()
        self._commits: deque[PendingCommit] = deque()
        self._busy: list[tuple[int, int, PendingCommit]] = []
        """A heap: when each is to be sent again, and a number that keeps those of one time in order."""
        self._found_busy = 0
        self._uncertain: deque[PendingCreate | PendingCommit] = deque()
        """Sent, and the answer was lost: each is looked up before anything is sent again."""
        self._pause = 0
        self.paused_until = 0
        """Store time before which commits are not sent again, after the database could not be reached."""

    def create(self, pending: PendingCreate) -> None:
        """Have a workflow created in the next batch."""
        self._creates.append(pending)

    def post(self, pending: PendingPost) -> None:
        """Have a message posted in the next batch."""
        self._posts.append(pending)

    def commit(self, pending: PendingCommit) -> None:
        """Have a commit written in the next batch."""
        self._commits.append(pending)

    def commit_alone(
        self, commit: Commit, then: Callable[[], None] = lambda: None, over: Callable[[], None] = lambda: None
    ) -> None:
        """Have a commit written of a workflow that is not in memory, and then go on; `over` is called in any case."""

        def answer(outcome: CommitAnswer | EverlogError) -> None:
            over()
            if isinstance(outcome, Done):
                then()
            elif isinstance(outcome, EverlogError):
                log.error("workflow %r could not be marked as %s: %s", commit.workflow_id, commit.state, outcome)

        self.commit(PendingCommit(commit, answer))

    def waits(self) -> bool:
        """Tell whether something is to be written."""
        return bool(self._commits or self._creates or self._posts or self._uncertain or self._busy)

    def next_flush(self) -> int:
        """Give the store time at which something can be written; to be asked only where something waits."""
        if self._commits or self._creates or self._posts or self._uncertain:
            return self.paused_until
        return max(self.paused_until, self._busy[0][0])

    def close(self, error: EverlogError) -> None:
        """Write nothing more; tell all who wait that it is over."""
        self._commits.extend(pending for _, _, pending in self._busy)
        self._busy.clear()
        for waiting in (self._uncertain, self._creates, self._commits, self._posts):
            while waiting:
                waiting.popleft().answer(error)

    def flush(self, now: int) -> bool:
        """Write one batch and answer its parts; False where there was nothing that could be written now."""
        if now < self.paused_until:
            creates, posts = _taken(self._creates), _taken(self._posts)
            if creates or posts:
                self._write(creates, [], posts, now)
            return bool(creates or posts)
        did = bool(self._uncertain) and self._look_up(now)
        commits = _first(self._commits) if self._commits and now >= self.paused_until else []
        if commits or self._creates or self._posts:
            creates = _taken(self._creates) if self._creates else []
            posts = _taken(self._posts) if self._posts else []
            self._write(creates, commits, posts, now)
            did = True
        if self._busy and now >= self.paused_until:
            did = self._write_busy(now) or did
        return did

    def _write_busy(self, now: int) -> bool:
        """Try those again whose rows were locked: apart from the others, since a store may wait for the locks."""
        due: deque[PendingCommit] = deque()
        while self._busy and self._busy[0][0] <= now and len(due) < MOST_PARTS:
            due.append(heapq.heappop(self._busy)[2])
        again = bool(due)
        while due:
            self._write([], _first(due), [], now)
        return again

    def _write(
        self, creates: list[PendingCreate], commits: list[PendingCommit], posts: list[PendingPost], now: int
    ) -> None:
        if len(commits) > 1:
            commits.sort(key=_by_workflow)
        batch = Batch(
            creates=[pending.new for pending in creates] if creates else (),
            commits=[pending.commit for pending in commits],
            posts=[pending.message for pending in posts] if posts else (),
        )
        try:
            outcome = self.write(batch)
        except StoreUnavailable as error:
            if error.of_one_part:
                self._write_without(error, creates, commits, posts, now)
            else:
                self._unavailable(error, creates, commits, posts, now)
            return
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, one part must not hold the others
            self._split(error, creates, commits, posts, now)
            return
        self._pause = 0
        if creates:
            for create, created in zip(creates, outcome.creates, strict=True):
                create.answer(Done() if isinstance(created, Exists) and _is_ours(create, created.head) else created)
        for commit, committed in zip(commits, outcome.commits, strict=True):
            if isinstance(committed, Busy):
                self._wait_for_row(commit)
            elif commit.is_repeated and isinstance(committed, Refused):
                self._uncertain.append(commit)  # the database went on with the first after its connection was lost
            else:
                commit.answer(committed)
        if posts:
            for post, posted in zip(posts, outcome.posts, strict=True):
                post.answer(posted)

    def _write_without(
        self,
        error: StoreUnavailable,
        creates: list[PendingCreate],
        commits: list[PendingCommit],
        posts: list[PendingPost],
        now: int,
    ) -> None:
        """Write the rest without the part that is in its way, which alone is told so; the database can be used."""
        outside = [one.answer for one in creates] + [one.answer for one in posts]
        if not commits and len(outside) == 1:
            outside[0](error)
            return
        if not outside:
            self._unavailable(error, creates, commits, posts, now)
            return
        if commits:
            self._write([], commits, [], now)
        for create in creates:
            self._write([create], [], [], now)
        for post in posts:
            self._write([], [], [post], now)

    def _unavailable(
        self,
        error: StoreUnavailable,
        creates: list[PendingCreate],
        commits: list[PendingCommit],
        posts: list[PendingPost],
        now: int,
    ) -> None:
        self._wait(error, now)
        for post in posts:
            post.answer(error)
        if error.unknown_outcome:
            self._uncertain.extend((*creates, *commits))
            return
        for create in creates:
            create.answer(error)
        self._commits.extendleft(reversed(commits))

    def _wait_for_row(self, pending: PendingCommit) -> None:
        before = pending.busy_pause
        pending.busy_pause = min(max(FIRST_BUSY_PAUSE, 2 * before), LONGEST_PAUSE)
        if before < LONGEST_PAUSE == pending.busy_pause:
            log.warning(
                "workflow %r waits: another transaction, idle perhaps, has locked its row of the database or sends a"
                " message of its; end that transaction",
                pending.commit.workflow_id,
            )
        self._found_busy += 1
        heapq.heappush(self._busy, (self._store.now() + pending.busy_pause, self._found_busy, pending))

    def _wait(self, error: StoreUnavailable, now: int) -> None:
        if not self._pause:
            log.warning("the database cannot be written, workflows wait: %s", error)
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self.paused_until = now + self._pause

    def _look_up(self, now: int) -> bool:
        """Find out what became of writes whose answer was lost; False where that cannot be found out now."""
        while self._uncertain:
            pending = self._uncertain[0]
            try:
                (head,) = self._store.heads([_id_of(pending)])
            except StoreUnavailable as error:
                self._wait(error, now)
                return False
            self._uncertain.popleft()
            pending.is_repeated = True
            if isinstance(pending, PendingCreate):
                if not _answer_create(pending, head):
                    self._creates.appendleft(pending)
            elif not _answer_commit(pending, head):
                self._commits.appendleft(pending)
        return True

    def _split(
        self,
        error: Exception,
        creates: list[PendingCreate],
        commits: list[PendingCommit],
        posts: list[PendingPost],
        now: int,
    ) -> None:
        if len(creates) + len(commits) + len(posts) == 1:
            known = error if isinstance(error, EverlogError) else InternalError(f"the store failed: {error!r}")
            known.__cause__ = None if known is error else error
            answers = [one.answer for one in creates] + [one.answer for one in commits] + [one.answer for one in posts]
            answers[0](known)
            return
        for create in creates:
            self._write([create], [], [], now)
        for commit in commits:
            self._write([], [commit], [], now)
        for post in posts:
            self._write([], [], [post], now)


def _first(waiting: deque[PendingCommit]) -> list[PendingCommit]:
    """Take as many as one batch may have."""
    commits: list[PendingCommit] = []
    size = 0
    for _ in range(min(len(waiting), MOST_PARTS)):
        if size >= MOST_BYTES:
            break
        pending = waiting.popleft()
        commits.append(pending)
        commit = pending.commit
        for row in commit.events:
            size += len(row.payload)
        if commit.items:
            size += sum(len(item.payload) for item in commit.items)
    return commits


def _taken(waiting: deque[Part]) -> list[Part]:
    return [waiting.popleft() for _ in range(min(len(waiting), MOST_PARTS))] if waiting else []


_by_workflow: Final = attrgetter("commit.workflow_id")


def _id_of(pending: PendingCreate | PendingCommit) -> str:
    return pending.new.workflow_id if isinstance(pending, PendingCreate) else pending.commit.workflow_id


def _answer_create(pending: PendingCreate, head: Head | None) -> bool:
    """A workflow that is there under our token is ours; any other may be: who asked compares the inputs. None: False,
    it is created again, since the first try may still be under way."""
    if head is None:
        return False
    pending.answer(Done() if head.token is not None and head.token == pending.new.token else Exists(head))
    return True


def _is_ours(pending: PendingCreate, head: Head) -> bool:
    return pending.is_repeated and head.token is not None and head.token == pending.new.token


def _answer_commit(pending: PendingCommit, head: Head | None) -> bool:
    """My token and my seq: it was done. My token and the seq before: False, it is sent again. Another: refused."""
    commit = pending.commit
    written = commit.seq + len(commit.events)
    if head is not None and (head.token, head.seq) == (commit.token, commit.seq):
        return False  # or it was done and changed nothing but the state, which does no harm twice
    held = head is not None and head.token == commit.token
    freed = head is not None and head.token is None and (commit.release or head.ended_at is not None)
    if head is not None and head.seq == written and (held or freed):
        pending.answer(Done())
    else:
        pending.answer(Refused())
    return True
