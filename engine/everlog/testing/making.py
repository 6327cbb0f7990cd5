"""Short ways to make what a store is given. For tests of stores; every default is the plainest choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlog.store import (
    AdmitRequest,
    Batch,
    ClaimAnswer,
    Claimed,
    ClaimRequest,
    Commit,
    CommitOutcome,
    CreateOutcome,
    Done,
    EventRow,
    Head,
    NewMessage,
    NewWorkflow,
    Place,
    PlaceRow,
    PostOutcome,
    QueueLimits,
    QueueOffer,
    Rate,
    SlotWanted,
    State,
    Store,
    SupportsQueues,
    WorkerRow,
)

HOUR = 3_600_000_000
"""Microseconds."""

BEGINNING = 1_700_000_000_000_000
"""The time of the seq 0 that no history has; each event is a second later."""


def event(seq: int, payload: bytes = b"{}") -> EventRow:
    """Make one event."""
    return EventRow(seq=seq, type="happened", recorded_at=BEGINNING + seq * 1_000_000, payload=payload)


def events(first: int, last: int) -> list[EventRow]:
    """Make the events of a stretch of history, both ends included; no two are alike."""
    return [event(seq, b'{"n":%d}' % seq) for seq in range(first, last + 1)]


def new(
    workflow_id: str,
    *,
    state: State = "queued",
    name: str = "checkout",
    seq: int = 1,
    token: str | None = None,
    worker: str = "worker-1",
) -> NewWorkflow:
    """Make a workflow with a history of `seq` events; with a token it is held by the worker."""
    return NewWorkflow(
        workflow_id=workflow_id,
        name=name,
        state=state,
        events=events(1, seq),
        token=token,
        worker=None if token is None else worker,
    )


def message(
    destination: str,
    number: int = 1,
    *,
    source: str = "client",
    topic: str = "news",
    control: bool = False,
    key: str | None = None,
    payload: bytes = b'"hello"',
) -> NewMessage:
    """Make a message."""
    return NewMessage(
        destination=destination, source=source, number=number, topic=topic, payload=payload, control=control, key=key
    )


def create(store: Store, workflow: NewWorkflow) -> CreateOutcome:
    """Create one workflow."""
    return store.commit(Batch(creates=[workflow])).creates[0]


def commit(store: Store, one: Commit) -> CommitOutcome:
    """Commit for one workflow."""
    return store.commit(Batch(commits=[one])).commits[0]


def post(store: Store, one: NewMessage) -> PostOutcome:
    """Post one message."""
    return store.commit(Batch(posts=[one])).posts[0]


def held(store: Store, workflow_id: str, *, seq: int = 1, worker: str = "worker-1", token: str = "") -> str:
    """Create a running workflow that the worker holds, and give its token."""
    token = token or f"token of {workflow_id}"
    outcome = create(store, new(workflow_id, state="running", seq=seq, token=token, worker=worker))
    assert outcome == Done()
    return token


def waiting(
    store: Store, workflow_id: str, *, topics: Sequence[str] = (), wake_at: int | None = None, name: str = "checkout"
) -> None:
    """Create an unheld workflow that waits."""
    token = f"first token of {workflow_id}"
    assert create(store, new(workflow_id, state="running", name=name, token=token)) == Done()
    parked = Commit(
        workflow_id=workflow_id, token=token, seq=1, state="waiting", topics=topics, wake_at=wake_at, release=True
    )
    assert commit(store, parked) == Done()


def ended(store: Store, workflow_id: str, state: State = "completed") -> None:
    """Create a workflow that has ended."""
    token = held(store, workflow_id)
    last = Commit(workflow_id=workflow_id, token=token, seq=1, state=state, events=events(2, 2))
    assert commit(store, last) == Done()


def enqueued(
    workflow_id: str,
    queue: str = "mail",
    *,
    name: str = "checkout",
    partition: str = "",
    priority: int = 0,
    due_at: int = 0,
    dedup_key: str | None = None,
    takes_key: bool = False,
) -> NewWorkflow:
    """Make a workflow that stands in a queue."""
    place = Place(
        queue=queue,
        partition=partition,
        priority=priority,
        due_at=due_at,
        dedup_key=dedup_key,
        takes_key=takes_key,
    )
    return NewWorkflow(workflow_id=workflow_id, name=name, state="enqueued", events=events(1, 1), place=place)


def declare(
    store: Store,
    queue: str = "mail",
    *,
    concurrency: int | None = None,
    rate_limit: tuple[int, int] | None = None,
    partition_concurrency: int | None = None,
    partition_rate_limit: tuple[int, int] | None = None,
) -> None:
    """Declare a queue."""
    limits = QueueLimits(
        concurrency=concurrency,
        rate_limit=None if rate_limit is None else Rate(*rate_limit),
        partition_concurrency=partition_concurrency,
        partition_rate_limit=None if partition_rate_limit is None else Rate(*partition_rate_limit),
    )
    with_queues(store).declare_queues([(queue, limits)])


def with_queues(store: Store) -> SupportsQueues:
    """Give the same store, as one that has queues."""
    assert isinstance(store, SupportsQueues)
    return store


def admit(
    store: Store,
    *tokens: str,
    worker: str = "worker-1",
    names: Sequence[str] = ("checkout",),
    queues: Sequence[str] = ("mail",),
    room: int | None = None,
    partition_room: int | None = None,
    partition_rooms: Mapping[str, int] | None = None,
    max_bytes: int = 16_000_000,
) -> ClaimAnswer:
    """Admit as many workflows as there are tokens."""
    offers = [
        QueueOffer(queue=queue, room=room, partition_room=partition_room, partition_rooms=partition_rooms or {})
        for queue in queues
    ]
    request = AdmitRequest(worker=worker, tokens=tokens, names=names, offers=offers, max_bytes=max_bytes)
    return with_queues(store).admit(request)


def take(store: Store, *slots: str, worker: str = "worker-1", queue: str = "mail", partition: str = "") -> list[bool]:
    """Take slots for steps, and give which were taken."""
    wanted = [SlotWanted(slot=slot, queue=queue, partition=partition) for slot in slots]
    return list(with_queues(store).take_slots(worker, wanted).taken)


def place_of(store: Store, workflow_id: str) -> PlaceRow | None:
    """Give the place of a workflow."""
    return with_queues(store).places([workflow_id])[0]


def claim(
    store: Store,
    *tokens: str,
    worker: str = "worker-1",
    build: str = "build-1",
    names: Sequence[str] = ("checkout",),
    queues: Sequence[str] | None = None,
    max_bytes: int = 16_000_000,
) -> ClaimAnswer:
    """Claim as many workflows as there are tokens."""
    request = ClaimRequest(worker=worker, tokens=tokens, build=build, names=names, queues=queues, max_bytes=max_bytes)
    return store.claim(request)


def claim_only(store: Store, workflow_id: str, token: str, *, worker: str = "worker-1") -> Sequence[Claimed]:
    """Claim this one workflow."""
    request = ClaimRequest(worker=worker, tokens=[token], build="build-1", only=workflow_id)
    return store.claim(request).claimed


def claimed_ids(answer: ClaimAnswer) -> list[str]:
    """Give the ids of what was claimed, in the order of the answer."""
    return [claimed.head.workflow_id for claimed in answer.claimed]


def head(store: Store, workflow_id: str) -> Head:
    """Give the head of a workflow that is there."""
    found = store.heads([workflow_id])[0]
    assert found is not None
    return found


def worker(name: str = "worker-1", *, lease_until: int = BEGINNING) -> WorkerRow:
    """Make a worker."""
    return WorkerRow(worker=name, process=f"process of {name}", lease_until=lease_until)
