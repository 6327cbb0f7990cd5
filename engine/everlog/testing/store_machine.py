"""StoreMachine: one random history of operations on several stores, which must agree with the memory store throughout.

A Hypothesis state machine. After every operation the outcomes, and then all heads, histories, inboxes and workers of
every store are compared with those of `MemoryStore`, which was written independently and is the specification.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from msgspec.structs import replace

from everlog.memory import MemoryStore
from everlog.store import (
    Batch,
    ClaimRequest,
    Commit,
    EventRow,
    NewMessage,
    NewWorkflow,
    State,
    Store,
    StreamKind,
    StreamQuestion,
    StreamRow,
    SupportsDeletion,
    SupportsFinding,
    SupportsStreams,
    SupportsValues,
    ValueRow,
    WorkerRow,
    WorkflowQuery,
)
from everlog.testing.finding_machine import IDS, FindingRules

NAMES = ("checkout", "report")
WORKERS = ("worker-1", "worker-2")
TOPICS = ("news", "o'hara ☃")
STATES: tuple[State, ...] = ("queued", "running", "waiting", "paused", "stuck", "completed", "failed", "cancelled")
VALUES = ("state", "o'hara ☃")
STREAMS = ("log", "Log", "o'hara ☃")
KINDS: tuple[StreamKind, ...] = ("items", "items", "reset", "closed")
LATER = (None, None, None, -3, 0, 40, 500)
"""When `wake_at` lies, seen from now."""


_Creation = tuple[str, str, State, int, str | None]


class _Sent(msgspec.Struct, frozen=True):
    destination: str
    number: int
    topic: str
    control: bool
    key: str | None
    optional: bool


class _Emitted(msgspec.Struct, frozen=True):
    stream: str
    count: int
    kind: StreamKind
    again: bool
    """Whether the last row of the stream is written again, as after an answer that was lost."""


class _Intent(msgspec.Struct, frozen=True):
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
    creates: Sequence[_Creation]
    messages: Sequence[_Sent]
    release: bool
    progress: bool
    build: str | None
    values: frozenset[str] = frozenset()
    items: Sequence[_Emitted] = ()


_sent = st.builds(
    _Sent,
    st.sampled_from((*IDS[:6], "nobody")),
    st.integers(1, 3),
    st.sampled_from(TOPICS),
    st.booleans(),
    st.sampled_from((None, None, None, "k1", "k2")),
    st.booleans(),
)
_creation = st.tuples(
    st.sampled_from(IDS),
    st.sampled_from(NAMES),
    st.sampled_from(("queued", "running", "waiting") * 4 + STATES),
    st.integers(1, 3),
    st.sampled_from((None, *WORKERS)),
)
_emitted = st.builds(
    _Emitted,
    st.sampled_from(STREAMS),
    st.integers(1, 3),
    st.sampled_from(KINDS),
    st.sampled_from((False, False, True)),
)
_intent = st.builds(
    _Intent,
    st.integers(0, len(IDS) - 1),
    st.sampled_from(("current",) * 8 + ("old", "wrong")),
    st.sampled_from((0,) * 8 + (-1, 1)),
    st.sampled_from(("running", "waiting") * 4 + STATES),
    st.integers(0, 3),
    st.sampled_from(LATER),
    st.lists(st.sampled_from(TOPICS), unique=True),
    st.frozensets(st.integers(0, 3)),
    st.lists(_creation, max_size=2, unique_by=lambda creation: creation[0]) | st.just([]),
    st.lists(_sent, max_size=2),
    st.booleans(),
    st.booleans(),
    st.sampled_from((None, None, None, "build-1", "build-2")),
    st.frozensets(st.sampled_from(VALUES)),
    st.lists(_emitted, max_size=3, unique_by=lambda one: one.stream),
)


class StoreMachine(FindingRules):
    """Subclass it, and give `open_stores`; its `TestCase` is the test."""

    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        """Open new, empty stores, by name, that go by this clock."""
        raise NotImplementedError

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        """Close a store and open it again. Here: do neither, for stores that would lose everything."""
        return store

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_700_000_000_000_000
        self.model = MemoryStore(self._clock)
        self.stores: dict[str, Store] = {}
        self.tokens: dict[str, list[str]] = {}
        self.last_token = 0

    def _clock(self) -> int:
        return self.time

    @initialize()
    def open(self) -> None:
        """Open all stores, and create a few workflows, so that even short runs meet held ones."""
        self.stores = dict(self.open_stores(self._clock))
        self.write([("a", NAMES[0], "queued", 1, None)], [], [])
        self.write([(name, NAMES[0], "running", 1, WORKERS[0]) for name in "bcd"], [], [])
        self.write([("e", NAMES[1], "running", 2, WORKERS[1])], [], [])

    def teardown(self) -> None:
        """Close all stores."""
        for store in self.stores.values():
            store.close()

    @rule(creations=st.lists(_creation, min_size=1, max_size=3))
    def create(self, creations: list[_Creation]) -> None:
        """Create workflows."""
        self.write(creations, [], [])

    @rule(intents=st.lists(_intent, min_size=1, max_size=4))
    def commit(self, intents: list[_Intent]) -> None:
        """Commit for workflows, most of them held."""
        self.write([], intents, [])

    @rule(posts=st.lists(_sent, min_size=1, max_size=3))
    def post(self, posts: list[_Sent]) -> None:
        """Post messages."""
        self.write([], [], posts)

    @rule(
        creations=st.lists(_creation, max_size=2),
        intents=st.lists(_intent, max_size=3),
        posts=st.lists(_sent, max_size=2),
    )
    def write(self, creations: list[_Creation], intents: list[_Intent], posts: list[_Sent]) -> None:
        """Write a batch; the consumed rows are named by each store as it numbered them."""
        self.time += 10
        creates = [self._creation(*creation) for creation in creations]
        chosen = self._choose(intents, taken={new.workflow_id for new in creates})
        committed = set(chosen)
        batch = Batch(
            creates=creates,
            commits=[self._commit(workflow_id, intent, committed) for workflow_id, intent in chosen.items()],
            posts=[self._message("client", sent) for sent in posts],
        )
        places = [intent.consumed for intent in chosen.values()]
        expected = self.model.commit(_with_rows(self.model, batch, places))
        for name, store in self.stores.items():
            assert _plain(store.commit(_with_rows(store, batch, places))) == _plain(expected), name

    @rule(worker=st.sampled_from(WORKERS), count=st.integers(1, 4))
    def claim_any(self, worker: str, count: int) -> None:
        """Claim as a worker does."""
        self.claim(worker, count, list(NAMES), None, "build-3", 16_000_000)

    @rule(
        worker=st.sampled_from(WORKERS),
        count=st.integers(0, 3),
        names=st.lists(st.sampled_from(NAMES), unique=True),
        only=st.sampled_from((None, None, None, *IDS)),
        build=st.sampled_from(("build-1", "build-2")),
        max_bytes=st.sampled_from((0, 20, 16_000_000, 16_000_000)),
    )
    def claim(self, worker: str, count: int, names: list[str], only: str | None, build: str, max_bytes: int) -> None:
        """Claim some, or one in particular."""
        self.time += 1
        tokens = [self._new_token() for _ in range(count)]
        request = ClaimRequest(worker=worker, tokens=tokens, build=build, names=names, only=only, max_bytes=max_bytes)
        expected = self.model.claim(request)
        for claimed in expected.claimed:
            self.tokens.setdefault(claimed.head.workflow_id, []).append(str(claimed.head.token))
        for name, store in self.stores.items():
            assert _plain(store.claim(request)) == _plain(expected), name

    @rule(worker=st.sampled_from(WORKERS), lease=st.integers(0, 9))
    def register(self, worker: str, lease: int) -> None:
        """Register a worker, again perhaps."""
        for store in (self.model, *self.stores.values()):
            store.register(WorkerRow(worker=worker, process="here", lease_until=lease))

    @rule(worker=st.sampled_from(WORKERS), lease=st.integers(0, 9))
    def renew(self, worker: str, lease: int) -> None:
        """Renew a lease."""
        expected = self.model.renew(worker, lease_until=lease)
        for name, store in self.stores.items():
            assert store.renew(worker, lease_until=lease) == expected, name

    @rule(worker=st.sampled_from(WORKERS))
    def retire(self, worker: str) -> None:
        """Retire a worker."""
        expected = self.model.retire(worker)
        for name, store in self.stores.items():
            assert store.retire(worker) == expected, name

    @rule(
        workflow_id=st.sampled_from(IDS),
        state=st.sampled_from(STATES),
        count=st.integers(1, 2),
        topics=st.lists(st.sampled_from(TOPICS), unique=True),
        seq_error=st.sampled_from((0, 0, 0, 1)),
    )
    def write_from_outside(
        self, workflow_id: str, state: State, count: int, topics: Sequence[str], seq_error: int
    ) -> None:
        """Write to a workflow without a token, held or not, ended or not."""
        self.time += 10
        head = self.model.heads([workflow_id])[0]
        seq = (head.seq if head is not None else 0) + seq_error
        written = self._events(seq + 1, count)
        commit = Commit(workflow_id=workflow_id, token=None, seq=seq, state=state, events=written, topics=topics)
        expected = self.model.commit(Batch(commits=[commit]))
        for name, store in self.stores.items():
            assert _plain(store.commit(Batch(commits=[commit]))) == _plain(expected), name

    @rule(workflow_ids=st.lists(st.sampled_from((*IDS, "nobody")), max_size=4))
    def delete(self, workflow_ids: list[str]) -> None:
        """Delete those of some workflows that have ended, where all stores can."""
        stores = {name: store for name, store in self.stores.items() if isinstance(store, SupportsDeletion)}
        if len(stores) == len(self.stores):
            expected = sorted(self.model.delete(workflow_ids))
            for name, store in stores.items():
                assert sorted(store.delete(workflow_ids)) == expected, name

    @rule(by=st.sampled_from((1, 30, 1_000)))
    def wait(self, by: int) -> None:
        """Let time pass."""
        self.time += by

    @rule(
        place=st.integers(0, 4),
        worker=st.sampled_from(WORKERS),
        by=st.sampled_from((5, 40)),
        too_early=st.sampled_from((0, 0, 1)),
    )
    def sleep_until_due(self, place: int, worker: str, by: int, too_early: int) -> None:
        """Park a workflow, and claim at the very moment when it is due, or just before."""
        sleeps = _Intent(
            place=place,
            token="current",
            seq_error=0,
            state="waiting",
            events=1,
            wake_in=by,
            topics=(),
            consumed=frozenset(),
            creates=(),
            messages=(),
            release=True,
            progress=True,
            build=None,
        )
        self.write([], [sleeps], [])
        self.time += by - 1 - too_early  # the claim takes the last moment
        self.claim(worker, len(IDS), list(NAMES), None, "build-3", 16_000_000)

    @rule()
    def close_and_open(self) -> None:
        """Open the stores anew; what was durable is all there."""
        for name, store in list(self.stores.items()):
            self.stores[name] = self.reopen(name, store, self._clock)

    @rule(workflow_id=st.sampled_from(IDS), after=st.integers(0, 4), limit=st.none() | st.integers(0, 3))
    def read_page(self, workflow_id: str, after: int, limit: int | None) -> None:
        """Read a part of a history."""
        expected = list(self.model.read(workflow_id, after=after, limit=limit))
        for name, store in self.stores.items():
            assert list(store.read(workflow_id, after=after, limit=limit)) == expected, name

    @rule(
        wanted=st.lists(st.tuples(st.sampled_from((*IDS, "nobody")), st.sampled_from(VALUES)), max_size=4),
    )
    def find_values(self, wanted: list[tuple[str, str]]) -> None:
        """Look for values."""
        expected = _plain(self.model.find_values(wanted))
        for name, store in self.stores.items():
            if isinstance(store, SupportsValues):
                assert _plain(store.find_values(wanted)) == expected, name

    @rule(
        asked=st.lists(
            st.tuples(st.sampled_from((*IDS[:5], "nobody")), st.sampled_from(STREAMS), st.integers(0, 9)), max_size=4
        ),
        limit=st.integers(1, 3),
    )
    def read_streams(self, asked: list[tuple[str, str, int]], limit: int) -> None:
        """Read parts of streams."""
        questions = [StreamQuestion(workflow_id=i, stream=stream, start=start) for i, stream, start in asked]
        expected = _plain(self.model.read_streams(questions, limit=limit))
        for name, store in self.stores.items():
            if isinstance(store, SupportsStreams):
                assert _plain(store.read_streams(questions, limit=limit)) == expected, name

    @invariant()
    def all_agree(self) -> None:
        """Compare everything that can be read."""
        expected = _content(self.model)
        for name, store in self.stores.items():
            found = _content(store)
            for part, value in found.items():
                assert expected[part] == value, (name, part)

    def _creation(self, workflow_id: str, name: str, state: State, count: int, worker: str | None) -> NewWorkflow:
        token = None if worker is None else self._new_token()
        if token is not None:
            self.tokens.setdefault(workflow_id, []).append(token)
        self.time += 10
        return NewWorkflow(
            workflow_id=workflow_id,
            name=name,
            state=state,
            events=self._events(1, count),
            token=token,
            worker=worker,
            attributes=self.attributes_of(workflow_id),
        )

    def _choose(self, intents: Sequence[_Intent], *, taken: set[str]) -> dict[str, _Intent]:
        heads = {head.workflow_id: head for head in self.model.heads(IDS) if head is not None}
        held = [workflow_id for workflow_id, head in heads.items() if head.token is not None]
        order = (held * len(IDS))[: len(IDS) - 2]
        order += IDS[len(order) :]
        chosen = {order[intent.place]: intent for intent in intents}
        return {workflow_id: intent for workflow_id, intent in chosen.items() if workflow_id not in taken}

    def _commit(self, workflow_id: str, intent: _Intent, committed: set[str]) -> Commit:
        head = self.model.heads([workflow_id])[0]
        known = self.tokens.get(workflow_id, ["never given"])
        current = head.token if head is not None and head.token is not None else known[-1]
        token = {"current": current, "old": known[0], "wrong": "never given"}[intent.token]
        seq = (head.seq if head is not None else 0) + intent.seq_error
        self.time += 10
        return Commit(
            workflow_id=workflow_id,
            token=token,
            seq=seq,
            state=intent.state,
            events=self._events(seq + 1, intent.events),
            wake_at=None if intent.wake_in is None else self.time + intent.wake_in,
            topics=intent.topics,
            creates=[self._creation(*creation) for creation in intent.creates if creation[0] not in committed],
            messages=[self._message(workflow_id, sent) for sent in intent.messages],
            release=intent.release,
            progress=intent.progress,
            build=intent.build,
            why=None if intent.build is None else f"because of {intent.build}",
            values=[
                ValueRow(name=name, seq=seq + 1, recorded_at=self.time, payload=b"%d" % self.time)
                for name in sorted(intent.values)
            ],
            items=[self._row(workflow_id, emitted) for emitted in intent.items],
            attributes=self.change_of(workflow_id),
        )

    def _row(self, workflow_id: str, emitted: _Emitted) -> StreamRow:
        """Give a row that continues its stream, or its last one again."""
        question = StreamQuestion(workflow_id=workflow_id, stream=emitted.stream, start=0)
        written = self.model.read_streams([question], limit=10_000)[0].rows
        if emitted.again and written:
            return written[-1]
        return StreamRow(
            stream=emitted.stream,
            offset=written[-1].offset + written[-1].count if written else 0,
            count=emitted.count,
            kind=emitted.kind,
            written_at=self.time,
            operation=None if emitted.kind == "closed" else "talk",
            attempt=emitted.count,
            payload=b"[%d]" % self.time,
        )

    def _events(self, first: int, count: int) -> list[EventRow]:
        return [EventRow(seq, "happened", self.time + seq, b'{"n":%d}' % seq) for seq in range(first, first + count)]

    def _message(self, source: str, sent: _Sent) -> NewMessage:
        return NewMessage(
            destination=sent.destination,
            source=source,
            number=sent.number,
            topic=sent.topic,
            payload=b'"%d at %d"' % (sent.number, self.time),
            control=sent.control,
            key=sent.key,
            optional=sent.optional,
        )

    def _new_token(self) -> str:
        self.last_token += 1
        return f"token-{self.last_token}"


def _with_rows(store: Store, batch: Batch, places: Sequence[frozenset[int]]) -> Batch:
    """Name the rows to be consumed as this store numbered them: by their places in each inbox."""
    unread = [row for worker in WORKERS for row in store.unread(worker)]
    commits: list[Commit] = []
    for commit, wanted in zip(batch.commits, places, strict=True):
        rows = [row.row for row in unread if row.destination == commit.workflow_id]
        consumed = [row for place, row in enumerate(rows) if place in wanted]
        items = commit.items if isinstance(store, SupportsStreams) else ()
        commits.append(replace(commit, consumed=consumed, items=items))
    return replace(batch, commits=commits)


def _content(store: Store) -> dict[str, object]:
    """Everything that can be read of a store, in comparable form."""
    content: dict[str, object] = {
        "heads": _plain(store.heads(IDS)),
        "listing": _plain(store.workflows(WorkflowQuery())),
        "histories": {workflow_id: _plain(store.read(workflow_id)) for workflow_id in IDS},
        "unread": {worker: _plain(store.unread(worker)) for worker in WORKERS},
        # Whether a worker is gone depends on the process, not on the database.
        "workers": sorted(_plain(replace(worker, gone=False)) for worker in store.workers()),
    }
    if isinstance(store, SupportsValues):
        content["values"] = {workflow_id: _plain(store.values(workflow_id)) for workflow_id in IDS}
    if isinstance(store, SupportsFinding):
        content["attributes"] = _plain(store.attributes(IDS))
    if isinstance(store, SupportsStreams):
        content["streams"] = {workflow_id: _plain(store.streams(workflow_id)) for workflow_id in IDS}
    return content


def _plain(value: object) -> str:
    """Give any answer as text, in which tuples and lists are alike and rows have no numbers: those differ by store."""
    return json.dumps(_without_rows(msgspec.to_builtins(value)), sort_keys=True)


def _without_rows(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: _without_rows(field) for key, field in fields.items() if key != "row"}
    if isinstance(value, list | tuple):
        return [_without_rows(item) for item in cast("Sequence[Any]", value)]
    return value
