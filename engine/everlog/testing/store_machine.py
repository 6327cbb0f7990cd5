"""StoreMachine: one random history of operations on several stores, which must agree with the memory store throughout.

A Hypothesis state machine. After every operation the outcomes, and then all heads, histories, inboxes and workers of
every store are compared with those of `MemoryStore`, which was written independently and is the specification.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from msgspec.structs import replace

from everlog.store import (
    Batch,
    ClaimRequest,
    Commit,
    EventRow,
    NewMessage,
    NewWorkflow,
    QueueLimits,
    State,
    Store,
    StreamQuestion,
    StreamRow,
    SupportsDeletion,
    SupportsStreams,
    SupportsValues,
    SupportsWaits,
    ValueRow,
    WaitQuery,
    WaitRow,
    WorkerRow,
)
from everlog.testing import machine_words as words
from everlog.testing.comparing import content_of
from everlog.testing.finding_machine import FindingRules
from everlog.testing.fork_rules import ForkRules
from everlog.testing.machine_queues import QueueRules, without_second_keys
from everlog.testing.machine_stores import plain
from everlog.testing.machine_words import (
    IDS,
    NAMES,
    QUEUES,
    STATES,
    STREAMS,
    TOPICS,
    VALUES,
    WORKERS,
    Creation,
    Emitted,
    Intent,
    Placed,
    Sent,
)
from everlog.testing.retention_rules import RetentionRules
from everlog.testing.schedule_rules import ScheduleRules


class StoreMachine(QueueRules, ScheduleRules, FindingRules, ForkRules, RetentionRules):
    """Subclass it, and give `open_stores`; its `TestCase` is the test."""

    @initialize()
    def open(self) -> None:
        """Open all stores, and create a few workflows, so that even short runs meet held ones."""
        self.stores = dict(self.open_stores(self.clock))
        self.write([Creation("a", NAMES[0], "queued")], [], [])
        self.write([Creation(name, NAMES[0], "running", worker=WORKERS[0]) for name in "bcd"], [], [])
        self.write([Creation("e", NAMES[1], "running", 2, WORKERS[1])], [], [])
        if self.have_queues:
            self.declare_queue(QUEUES[0], QueueLimits())

    def teardown(self) -> None:
        """Close all stores."""
        for store in self.stores.values():
            store.close()

    @rule(creations=st.lists(words.creations, min_size=1, max_size=3))
    def create(self, creations: list[Creation]) -> None:
        """Create workflows."""
        self.write(creations, [], [])

    @rule(intents=st.lists(words.intents, min_size=1, max_size=4))
    def commit(self, intents: list[Intent]) -> None:
        """Commit for workflows, most of them held."""
        self.write([], intents, [])

    @rule(posts=st.lists(words.sent, min_size=1, max_size=3))
    def post(self, posts: list[Sent]) -> None:
        """Post messages."""
        self.write([], [], posts)

    @rule(
        creations=st.lists(words.creations, max_size=2),
        intents=st.lists(words.intents, max_size=3),
        posts=st.lists(words.sent, max_size=2),
    )
    def write(self, creations: list[Creation], intents: list[Intent], posts: list[Sent]) -> None:
        """Write a batch; the consumed rows are named by each store as it numbered them."""
        self.time += 10
        creates = [self.creation(creation) for creation in creations]
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
            assert plain(store.commit(_with_rows(store, batch, places))) == plain(expected), name

    @rule(worker=st.sampled_from(WORKERS), count=st.integers(1, 4))
    def claim_any(self, worker: str, count: int) -> None:
        """Claim as a worker does."""
        self.claim(worker, count, list(NAMES), None, "build-3", 16_000_000, None)

    @rule(
        worker=st.sampled_from(WORKERS),
        count=st.integers(0, 3),
        names=st.lists(st.sampled_from(NAMES), unique=True),
        only=st.sampled_from((None, None, None, *IDS)),
        build=st.sampled_from(("build-1", "build-2")),
        max_bytes=st.sampled_from((0, 20, 16_000_000, 16_000_000)),
        queues=st.none() | st.lists(st.sampled_from(QUEUES), unique=True),
    )
    def claim(
        self,
        worker: str,
        count: int,
        names: list[str],
        only: str | None,
        build: str,
        max_bytes: int,
        queues: list[str] | None,
    ) -> None:
        """Claim some, or one in particular."""
        self.time += 1
        tokens = [self.new_token() for _ in range(count)]
        request = ClaimRequest(
            worker=worker, tokens=tokens, build=build, names=names, only=only, queues=queues, max_bytes=max_bytes
        )
        expected = self.model.claim(request)
        self.remember(expected.claimed)
        for name, store in self.stores.items():
            assert plain(store.claim(request)) == plain(expected), name

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
        placed=st.none() | words.places,
    )
    def write_from_outside(
        self, workflow_id: str, state: State, count: int, topics: Sequence[str], seq_error: int, placed: Placed | None
    ) -> None:
        """Write to a workflow without a token, held or not, ended or not."""
        self.time += 10
        head = self.model.heads([workflow_id])[0]
        seq = (head.seq if head is not None else 0) + seq_error
        written = self._events(seq + 1, count)
        state = self.can_be(state)
        is_put = state in ("enqueued", "paused") and self.have_queues
        commit = Commit(
            workflow_id=workflow_id,
            token=None,
            seq=seq,
            state=state,
            events=written,
            topics=topics,
            place=self.place(placed) if placed is not None and is_put else None,
        )
        expected = self.model.commit(Batch(commits=[commit]))
        for name, store in self.stores.items():
            assert plain(store.commit(Batch(commits=[commit]))) == plain(expected), name

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
        sleeps = Intent(
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
        self.claim(worker, len(IDS), list(NAMES), None, "build-3", 16_000_000, None)

    @rule()
    def close_and_open(self) -> None:
        """Open the stores anew; what was durable is all there."""
        for name, store in list(self.stores.items()):
            self.stores[name] = self.reopen(name, store, self.clock)

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
        expected = plain(self.model.find_values(wanted))
        for name, store in self.stores.items():
            if isinstance(store, SupportsValues):
                assert plain(store.find_values(wanted)) == expected, name

    @rule(
        asked=st.lists(
            st.tuples(st.sampled_from((*IDS[:5], "nobody")), st.sampled_from(STREAMS), st.integers(0, 9)), max_size=4
        ),
        limit=st.integers(1, 3),
    )
    def read_streams(self, asked: list[tuple[str, str, int]], limit: int) -> None:
        """Read parts of streams."""
        questions = [StreamQuestion(workflow_id=i, stream=stream, start=start) for i, stream, start in asked]
        expected = plain(self.model.read_streams(questions, limit=limit))
        for name, store in self.stores.items():
            if isinstance(store, SupportsStreams):
                assert plain(store.read_streams(questions, limit=limit)) == expected, name

    @rule(
        topic=st.none() | st.sampled_from(TOPICS),
        workflow_id=st.none() | st.sampled_from(IDS),
        last=st.none() | st.integers(0, 5),
        limit=st.integers(1, 3),
    )
    def list_waits(self, topic: str | None, workflow_id: str | None, last: int | None, limit: int) -> None:
        """List a page of waits, from the beginning or after one of them."""
        listed = self.model.list_waits(WaitQuery())
        one = None if last is None or last >= len(listed) else listed[last]
        after = None if one is None else (one.wait.opened_at, one.workflow_id, one.wait.seq)
        query = WaitQuery(topic=topic, workflow_id=workflow_id, after=after, limit=limit)
        for name, store in self.stores.items():
            if isinstance(store, SupportsWaits):
                assert plain(store.list_waits(query)) == plain(self.model.list_waits(query)), name

    @invariant()
    def all_agree(self) -> None:
        """Compare everything that can be read."""
        expected = content_of(self.model, IDS, WORKERS)
        for name, store in self.stores.items():
            found = content_of(store, IDS, WORKERS)
            for part, value in found.items():
                assert expected[part] == value, (name, part)

    def creation(self, drawn: Creation) -> NewWorkflow:
        """Give what creates a workflow as it was drawn."""
        state = self.can_be(drawn.state)
        token = None if drawn.worker is None or state == "enqueued" else self.new_token()
        if token is not None:
            self.tokens.setdefault(drawn.workflow_id, []).append(token)
        self.time += 10
        return NewWorkflow(
            workflow_id=drawn.workflow_id,
            name=drawn.name,
            state=state,
            events=self._events(1, drawn.count),
            token=token,
            worker=None if token is None else drawn.worker,
            place=self.place(drawn.placed) if state == "enqueued" else None,
            wake_at=None if drawn.wake_in is None or state != "waiting" else self.time + drawn.wake_in,
            attributes=self.attributes_of(drawn.workflow_id),
        )

    def _choose(self, intents: Sequence[Intent], *, taken: set[str]) -> dict[str, Intent]:
        heads = {head.workflow_id: head for head in self.model.heads(IDS) if head is not None}
        held = [workflow_id for workflow_id, head in heads.items() if head.token is not None]
        order = (held * len(IDS))[: len(IDS) - 2]
        order += IDS[len(order) :]
        chosen = {order[intent.place]: intent for intent in intents}
        return {workflow_id: intent for workflow_id, intent in chosen.items() if workflow_id not in taken}

    def _commit(self, workflow_id: str, intent: Intent, committed: set[str]) -> Commit:
        head = self.model.heads([workflow_id])[0]
        known = self.tokens.get(workflow_id, ["never given"])
        current = head.token if head is not None and head.token is not None else known[-1]
        token = {"current": current, "old": known[0], "wrong": "never given"}[intent.token]
        seq = (head.seq if head is not None else 0) + intent.seq_error
        self.time += 10
        creates = [self.creation(creation) for creation in intent.creates if creation.workflow_id not in committed]
        state = self.can_be(intent.state)
        is_put = intent.placed is not None and state in ("enqueued", "paused") and self.have_queues
        place = self.place(intent.placed) if intent.placed is not None and is_put else None
        return Commit(
            workflow_id=workflow_id,
            token=token,
            seq=seq,
            state=state,
            events=self._events(seq + 1, intent.events),
            wake_at=None if intent.wake_in is None else self.time + intent.wake_in,
            topics=intent.topics,
            creates=without_second_keys(creates, place),
            release=intent.release,
            progress=intent.progress,
            build=intent.build,
            why=None if intent.build is None else f"because of {intent.build}",
            first_seq=seq + 2 if intent.events == 3 else None,
            name=NAMES[intent.place % 2] if intent.events == 3 else None,
            values=[
                ValueRow(name=name, seq=seq + 1, recorded_at=self.time, payload=b"%d" % self.time)
                for name in sorted(intent.values)
            ],
            items=[self._row(workflow_id, emitted) for emitted in intent.items],
            place=place,
            waits=[self._wait(seq + one) for one in range(1, min(intent.waits, intent.events) + 1)],
            closes=self._closes(workflow_id, intent.closes),
            attributes=self.change_of(workflow_id),
        )

    def _wait(self, seq: int) -> WaitRow:
        topic = TOPICS[seq % 2]
        return WaitRow(seq=seq, operation=f"recv#{seq}", topic=topic, title="May I?", opened_at=self.time // 50)

    def _closes(self, workflow_id: str, places: frozenset[int]) -> list[int]:
        listed = self.model.list_waits(WaitQuery(workflow_id=workflow_id))
        return [one.wait.seq for place, one in enumerate(listed) if place in places]

    def _row(self, workflow_id: str, emitted: Emitted) -> StreamRow:
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

    def _message(self, source: str, sent: Sent) -> NewMessage:
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
