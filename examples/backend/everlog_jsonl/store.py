"""JsonLinesStore: the Store protocol on one file of JSON lines. What the lines mean is left to `MemoryStore`.

Each call holds the file's lock from beginning to end, and first reads what others appended. So a head that is looked
at is the head that is moved, a claim reads the history that its head ends, and nobody is ever `Busy`.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from everlog.errors import CorruptLog, StoreUnavailable, UsageError
from everlog.memory import MemoryStore
from everlog.store import (
    Attributes,
    Batch,
    BatchOutcome,
    ClaimAnswer,
    ClaimRequest,
    EventRow,
    FoundValue,
    Head,
    InboxRow,
    StreamEnd,
    StreamPage,
    StreamQuestion,
    ValueRow,
    WorkerRow,
    WorkflowCount,
    WorkflowQuery,
)
from everlog_jsonl.lines import Deleted, Line, Registered, Renewed, Retired, Took, Wrote, decode, encode, repeat

Durability = Literal["full", "process"]


def open_store(
    url: str, *, durability: Durability = "full", create: bool = True, clock: Callable[[], int] | None = None
) -> JsonLinesStore:
    """Open the file of a URL: `jsonl:///relative.jsonl` or `jsonl:////absolute.jsonl`.

    With `durability="process"` a commit survives the death of the process, but not that of the machine. Without
    `create` a file that is not there is a `StoreUnavailable`.
    """
    _, separator, name = url.partition(":///")
    if not separator or not name:
        raise UsageError(f"{url!r} names no file: write jsonl:///relative.jsonl or jsonl:////absolute.jsonl")
    return JsonLinesStore(Path(name).absolute(), durability=durability, create=create, clock=clock)


class JsonLinesStore:
    """A store in one file. Several processes may open it, on one machine."""

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "full",
        create: bool = True,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._path = path
        self._syncs = durability == "full"
        self._clock = clock or (lambda: time.time_ns() // 1000)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._begin()
        try:
            self._file = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
            _sync_directory(path)
        except OSError as error:
            raise StoreUnavailable(f"the file {str(path)!r} cannot be opened: {error}") from error

    def _begin(self) -> None:
        """Forget what was read of the file: the next call reads it from the beginning."""
        self._time = 0
        self._end = 0
        self._model = MemoryStore(lambda: self._time)

    @contextmanager
    def _alone(self) -> Generator[MemoryStore]:
        """Hold the file, and give the model of all that is in it. After a failure the model is made anew."""
        if os.getpid() != self._process:  # a fork shares the lock of its parent, so it would not be kept out
            raise StoreUnavailable(f"{str(self._path)!r} was opened by another process; open it again after a fork")
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"{str(self._path)!r} was closed by this program; open it again")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                try:
                    self._catch_up()
                    self._time = self._clock()
                    yield self._model
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            except OSError as error:
                self._begin()
                raise StoreUnavailable(f"{str(self._path)!r}: {error}; nothing of this call was kept") from error
            except BaseException:
                self._begin()
                raise

    def _catch_up(self) -> None:
        """Do again what others appended. A line without an end was cut by a crash: nobody was told that it is done."""
        size = os.fstat(self._file).st_size
        if size < self._end:
            raise CorruptLog(f"{str(self._path)!r} has become shorter than it was; restore a backup")
        whole, end, _ = _read(self._file, self._end, size).rpartition(b"\n")
        for text in whole.split(b"\n") if end else ():
            try:
                line = decode(text)
            except msgspec.MsgspecError as error:
                raise CorruptLog(f"{str(self._path)!r} has a line that nobody wrote: {error}") from error
            self._time = line.at
            repeat(line, self._model)
        self._end += len(whole) + len(end)

    def _append(self, line: Line) -> None:
        """Make it durable. Until the last byte, the end of the line, is in the file, nothing was written."""
        os.ftruncate(self._file, self._end)
        data = encode(line)
        rest = memoryview(data)
        while rest:
            rest = rest[os.pwrite(self._file, rest, self._end + len(data) - len(rest)) :]
        if self._syncs:
            try:
                os.fsync(self._file)
            except OSError as error:
                raise StoreUnavailable(f"{str(self._path)!r}: {error}", unknown_outcome=True) from error
        self._end += len(data)

    def now(self) -> int:
        """Give the time of the store's clock."""
        return self._clock()

    def commit(self, batch: Batch) -> BatchOutcome:
        """Write the batch as one line."""
        with self._alone() as model:
            outcome = model.commit(batch)
            self._append(Wrote(self._time, batch))
            return outcome

    def claim(self, request: ClaimRequest) -> ClaimAnswer:
        """Take runnable workflows; where there are none nothing is written, so that asking wakes nobody."""
        with self._alone() as model:
            answer = model.claim(request)
            requests = [
                ClaimRequest(
                    worker=request.worker,
                    tokens=[str(claimed.head.token)],
                    build=request.build,
                    only=claimed.head.workflow_id,
                )
                for claimed in answer.claimed
            ]
            if requests:
                self._append(Took(self._time, requests))
            return answer

    def read(self, workflow_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[EventRow]:
        """Give the events with seq > `after` in order; empty for an unknown id."""
        with self._alone() as model:
            return model.read(workflow_id, after=after, limit=limit)

    def heads(self, workflow_ids: Sequence[str]) -> Sequence[Head | None]:
        """Give the head of each id, None where there is none."""
        with self._alone() as model:
            return model.heads(workflow_ids)

    def workflows(self, query: WorkflowQuery) -> Sequence[Head]:
        """Give the page of heads that is asked for."""
        with self._alone() as model:
            return model.workflows(query)

    def attributes(self, workflow_ids: Sequence[str]) -> Sequence[Attributes]:
        """Give the attributes of each id, in order of their names."""
        with self._alone() as model:
            return model.attributes(workflow_ids)

    def counts(self, query: WorkflowQuery) -> Sequence[WorkflowCount]:
        """Count all that fit, in order of name and state."""
        with self._alone() as model:
            return model.counts(query)

    def unread(self, worker: str, *, after: int = 0) -> Sequence[InboxRow]:
        """Give the unread messages with `row` > `after` of all workflows that this worker holds, in order of `row`."""
        with self._alone() as model:
            return model.unread(worker, after=after)

    def values(self, workflow_id: str) -> Sequence[ValueRow]:
        """Give the values of a workflow, in order of their names."""
        with self._alone() as model:
            return model.values(workflow_id)

    def find_values(self, wanted: Sequence[tuple[str, str]]) -> Sequence[FoundValue]:
        """Give for each (workflow id, name) its value, and the state of the workflow."""
        with self._alone() as model:
            return model.find_values(wanted)

    def streams(self, workflow_id: str) -> Sequence[StreamEnd]:
        """Give the streams of a workflow, in order of their names."""
        with self._alone() as model:
            return model.streams(workflow_id)

    def read_streams(self, questions: Sequence[StreamQuestion], *, limit: int) -> Sequence[StreamPage]:
        """Give for each question up to `limit` rows, and the state of the workflow."""
        with self._alone() as model:
            return model.read_streams(questions, limit=limit)

    def changes(self) -> int:
        """Give the end of what is in the file: it grows with every write, and with nothing else."""
        with self._alone():
            return self._end

    def register(self, worker: WorkerRow) -> None:
        """Add a worker with its lease."""
        with self._alone() as model:
            model.register(worker)
            self._append(Registered(self._time, worker))

    def renew(self, worker: str, *, lease_until: int) -> bool:
        """Move the lease; False, and nothing written, if the worker was retired."""
        with self._alone() as model:
            renewed = model.renew(worker, lease_until=lease_until)
            if renewed:
                self._append(Renewed(self._time, worker, lease_until))
            return renewed

    def workers(self) -> Sequence[WorkerRow]:
        """Give all registered workers, and holders that are not."""
        with self._alone() as model:
            return model.workers()

    def retire(self, worker: str) -> int:
        """Remove the worker and the tokens of all that it held: one line, so both or neither."""
        with self._alone() as model:
            held = model.retire(worker)
            self._append(Retired(self._time, worker))
            return held

    def delete(self, workflow_ids: Sequence[str]) -> Sequence[str]:
        """Remove those that have ended; the file keeps the lines, and forgets them whenever it is read."""
        with self._alone() as model:
            removed = model.delete(workflow_ids)
            if removed:
                self._append(Deleted(self._time, removed))
            return removed

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._file)


def _read(file: int, begin: int, end: int) -> bytes:
    parts: list[bytes] = []
    while begin < end and (part := os.pread(file, end - begin, begin)):
        parts.append(part)
        begin += len(part)
    return b"".join(parts)


def _sync_directory(path: Path) -> None:
    """Make the name of a new file durable: syncing the file alone does not."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
