"""What the store machine draws: ids, commits, places, as plain words. It knows no store."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from everlog.core.heads import STATES as STATES
from everlog.core.heads import State
from everlog.store import QueueLimits, Rate, StreamKind

IDS = tuple("abcdefghij")
NAMES = ("checkout", "report")
WORKERS = ("worker-1", "worker-2")
TOPICS = ("news", "o'hara ☃")
QUEUES = ("mail", "o'hara ☃")
PARTITIONS = ("", "p", "P", "☃")
SLOTS = ("slot-1", "slot-2", "slot-3")
VALUES = ("state", "o'hara ☃")
STREAMS = ("log", "Log", "o'hara ☃")
KINDS: tuple[StreamKind, ...] = ("items", "items", "reset", "closed")
LATER = (None, None, None, -3, 0, 40, 500)
"""When `wake_at` lies, seen from now."""


class Placed(msgspec.Struct, frozen=True):
    """A place as it is drawn: when it is due is said from now."""

    queue: str
    partition: str
    priority: int
    due_in: int | None
    dedup_key: str | None
    takes_key: bool


class Creation(msgspec.Struct, frozen=True):
    """A workflow as it is drawn. One that is enqueued has the place, and no worker; one that waits sleeps."""

    workflow_id: str
    name: str
    state: State
    count: int = 1
    worker: str | None = None
    wake_in: int | None = None
    placed: Placed = Placed("mail", "", 0, None, None, False)


class Sent(msgspec.Struct, frozen=True):
    """A message as it is drawn."""

    destination: str
    number: int
    topic: str
    control: bool
    key: str | None
    optional: bool


class Emitted(msgspec.Struct, frozen=True):
    """A row of a stream as it is drawn."""

    stream: str
    count: int
    kind: StreamKind
    again: bool
    """Whether the last row of the stream is written again, as after an answer that was lost."""


class Intent(msgspec.Struct, frozen=True):
    """A commit as it is drawn; the rest is filled in from what the stores hold by then.

    Most places are those of held workflows.
    """

    place: int
    token: str
    seq_error: int
    state: State
    events: int
    wake_in: int | None
    topics: Sequence[str]
    consumed: frozenset[int]
    creates: Sequence[Creation]
    messages: Sequence[Sent]
    release: bool
    progress: bool
    build: str | None
    values: frozenset[str] = frozenset()
    items: Sequence[Emitted] = ()
    placed: Placed | None = None
    """Where the workflow is put, if its state allows that."""
    waits: int = 0
    """So many of its events, the first ones, open waits that are listed."""
    closes: frozenset[int] = frozenset()
    """Which of its listed waits are closed."""


sent = st.builds(
    Sent,
    st.sampled_from((*IDS[:6], "nobody")),
    st.integers(1, 3),
    st.sampled_from(TOPICS),
    st.booleans(),
    st.sampled_from((None, None, None, "k1", "k2")),
    st.booleans(),
)
places = st.builds(
    Placed,
    st.sampled_from(QUEUES),
    st.sampled_from(PARTITIONS),
    st.integers(-1, 1),
    st.sampled_from(LATER),
    st.sampled_from((None, None, None, "k1", "k2")),
    st.booleans(),
)
creations = st.builds(
    Creation,
    st.sampled_from(IDS),
    st.sampled_from(NAMES),
    st.sampled_from(("queued", "running", "waiting", "enqueued", "enqueued") * 3 + STATES),
    st.integers(1, 3),
    st.sampled_from((None, *WORKERS)),
    st.sampled_from(LATER),
    places,
)
emitted = st.builds(
    Emitted,
    st.sampled_from(STREAMS),
    st.integers(1, 3),
    st.sampled_from(KINDS),
    st.sampled_from((False, False, True)),
)
intents = st.builds(
    Intent,
    st.integers(0, len(IDS) - 1),
    st.sampled_from(("current",) * 8 + ("old", "wrong")),
    st.sampled_from((0,) * 8 + (-1, 1)),
    st.sampled_from(("running", "waiting") * 4 + STATES + ("enqueued",) * 2),
    st.integers(0, 3),
    st.sampled_from(LATER),
    st.lists(st.sampled_from(TOPICS), unique=True),
    st.frozensets(st.integers(0, 3)),
    st.lists(creations, max_size=2, unique_by=lambda creation: creation.workflow_id) | st.just([]),
    st.lists(sent, max_size=2),
    st.booleans(),
    st.booleans(),
    st.sampled_from((None, None, None, "build-1", "build-2")),
    st.frozensets(st.sampled_from(VALUES)),
    st.lists(emitted, max_size=3, unique_by=lambda one: one.stream),
    st.none() | places,
    st.sampled_from((0, 0, 1, 2)),
    st.frozensets(st.integers(0, 3)),
)
limits = st.builds(
    QueueLimits,
    concurrency=st.sampled_from((None, None, 1, 2)),
    rate_limit=st.none() | st.builds(Rate, st.integers(1, 3), st.sampled_from((5, 40, 500))),
    partition_concurrency=st.sampled_from((None, None, 1, 2)),
    partition_rate_limit=st.none() | st.builds(Rate, st.integers(1, 2), st.sampled_from((5, 40, 500))),
)
