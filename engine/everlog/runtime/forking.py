"""Forking: how a client has a workflow made of the first part of another's history. What is replaced is decided elsewhere.

What is read of the source grows with what the fork has of its own, not with its length: only where something is
replaced, or an operation is named, is all of it read since it last continued as new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw, Struct, structs

from everlog.core import asks, events, forking
from everlog.core.attributes import kept
from everlog.core.codec import SELF, canonical, digest, to_json
from everlog.core.event_codec import decode_event, encode_event, type_of
from everlog.core.event_forks import KeptMessages, OpenChildren
from everlog.core.events import AnyEvent, WorkflowForked
from everlog.core.failures import describe
from everlog.core.forking import Replacement, tags_of
from everlog.core.heads import InboxRow
from everlog.core.names import check_id, time_ordered_id
from everlog.core.rewinding import Stored, folded
from everlog.core.state import WorkflowState, earlier
from everlog.errors import IdInUse, NotFound, StoreUnavailable, UsageError
from everlog.replay.instances import runnable
from everlog.replay.registry import registered_workflows
from everlog.replay.trying import Tried, try_out
from everlog.runtime.claims import creation
from everlog.runtime.places import place_anew, place_of
from everlog.runtime.siblings import Sibling, siblings_of
from everlog.store import (
    ChildExists,
    EventRow,
    Exists,
    Head,
    NewWorkflow,
    Refused,
    State,
    Store,
    SupportsInboxes,
    SupportsStreams,
    SupportsValues,
    ValueRow,
)
from everlog.store_forks import Fork, SupportsForks

if TYPE_CHECKING:
    from everlog.runtime.client import Client

At = int | str | None
"""Where a fork is cut: after the event of a seq, before the outcome of an operation, or before the end."""
PAGE: Final = 64
"""Rows that are read to find where an end begins, at first."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a fork is asked for with."""

    source: str
    workflow_id: str
    at: At
    replace: Mapping[int | str, object]
    messages: KeptMessages
    children: OpenChildren
    asked: str
    """The digest of all that."""


async def fork(
    client: Client,
    source: str,
    *,
    at: At,
    replace: Mapping[int | str, object] | None,
    messages: KeptMessages,
    children: OpenChildren,
    id: str | None,
) -> str:
    """Make a fork and give its id; see `Handle.fork`."""
    wanted = _checked(client, source, at, {} if replace is None else replace, messages, children, id)
    return await client.on_thread(partial(_fork_here, client, wanted))


def _checked(
    client: Client,
    source: str,
    at: At,
    replace: Mapping[int | str, object],
    messages: KeptMessages,
    children: OpenChildren,
    id: str | None,
) -> Wanted:
    if at is not None and (isinstance(at, bool) or not isinstance(at, int | str)):
        raise UsageError(f"a fork is cut at the seq of an event or at an operation, got at={at!r}")
    if not isinstance(replace, Mapping) or not all(isinstance(name, int | str) for name in replace):
        raise UsageError(f"replace is a mapping of seqs or operations to what is to be there instead, got {replace!r}")
    for name, value, known in (("messages", messages, ("keep", "drop")), ("children", children, ("rerun", "keep"))):
        if value not in known:
            raise UsageError(f"{name} of a fork must be {known[0]!r} or {known[1]!r}, got {value!r}")
    workflow_id = time_ordered_id(client.host.wall(), client.host.token()) if id is None else check_id(id)
    if workflow_id == source:
        raise IdInUse(f"{source!r} is the id of the workflow that is to be forked; choose another for the fork")
    given = [[at], [[name, _told(client, value)] for name, value in replace.items()], [messages, children]]
    asked = digest(canonical(to_json([source, *given])))
    return Wanted(
        source=source,
        workflow_id=workflow_id,
        at=at,
        replace=replace,
        messages=messages,
        children=children,
        asked=asked,
    )


def _told(client: Client, value: object) -> str:
    """Give a value as text by which two of them are compared."""
    if isinstance(value, BaseException):
        return encode_event(
            events.WorkflowFailed(error=describe(value, client.codec, traceback=False))
        ).decode()
    return client.codec.encode(value, SELF, what="what is to be there instead").decode()


def _fork_here(client: Client, wanted: Wanted) -> str:
    """On the engine's thread."""
    store = client.store
    if not isinstance(store, SupportsForks):
        raise UsageError(f"{type(store).__name__} copies no histories (it is no SupportsForks); use another store")
    (head,) = store.heads([wanted.source])
    if head is None:
        raise NotFound(f"there is no workflow {wanted.source!r} in this store")
    outcome = store.fork(Plan(client, store, head, wanted).fork())
    if isinstance(outcome, Exists):
        _must_be_the_same(store, wanted)
    elif isinstance(outcome, ChildExists):
        raise IdInUse(
            f"workflow {outcome.head.workflow_id!r} is there, and fork {wanted.workflow_id!r} was to start a child of that"
            " id; choose another id for the fork"
        )
    elif isinstance(outcome, Refused):
        raise NotFound(f"workflow {wanted.source!r} was deleted before it was forked")
    else:
        client.wrote(wanted.workflow_id, None)
    return wanted.workflow_id


def _must_be_the_same(store: SupportsForks, wanted: Wanted) -> None:
    rows = store.read_types(wanted.workflow_id, tags_of(WorkflowForked))
    own = [event for event in map(decode_event, [row.payload for row in rows]) if isinstance(event, WorkflowForked)]
    if not any(event.asked == wanted.asked for event in own):
        raise IdInUse(
            f"there is a workflow {wanted.workflow_id!r} already, and it is not this fork of {wanted.source!r}; choose"
            " another id"
        )


class Plan:
    """All that one fork is made of, as it is found out step by step."""

    def __init__(self, client: Client, store: Any, head: Head, wanted: Wanted) -> None:
        self._client = client
        self._store: Store = store
        self._forks: SupportsForks = store
        self._head = head
        self._wanted = wanted
        self._now = store.now()
        self._rows: list[Stored] = []
        """What was read of the history from `_first` on."""
        self._first = head.first_seq
        self._rest: tuple[int, list[Stored]] | None = None
        """What was read of the history after the cut, and what that was."""
        self._until = self._cut()
        if self._until < self._first:
            before = self._typed(events.WorkflowContinued, until=self._until)
            self._first = before[-1][0] if before else 1
        self._input: Replacement | None = None
        self._replacements: dict[int, Replacement] = {}
        self._changed: dict[int, AnyEvent] = {}
        self._tried = Tried({}, [], [])

    def fork(self) -> Fork:
        """Give what the store is asked for."""
        wanted, source = self._wanted, self._wanted.source
        whole = bool(wanted.replace)
        self._rows = self._read() if whole else self._noted()
        if whole:
            self._replacements, self._input = forking.chosen(self._lived(), wanted.replace, source)
        state = folded(self._rows)
        deadline = earlier(self._now, None if state.began_seq is None else state.timeout, None)
        siblings = self._siblings(state, deadline)
        self._change_creation()
        self._try(siblings)
        creates = self._take_siblings(siblings)
        place = None if state.place is None else place_anew(state.place, self._now)
        inbox, told = self._messages()
        own = WorkflowForked(
            source=source,
            at=self._until,
            by=self._client.name,
            asked_at=self._now,
            asked=wanted.asked,
            replaced=tuple(sorted(self._replacements.keys() | self._input_seqs())),
            void=tuple(sorted({*self._void_before(), *self._tried.left_out})),
            messages=wanted.messages,
            children=wanted.children,
            told=told,
            deadline=deadline,
            place=place,
        )
        return Fork(
            new=NewWorkflow(
                workflow_id=wanted.workflow_id,
                name=state.name,
                state="queued" if place is None else "enqueued",
                events=self._own_rows(own),
                place=None if place is None else place_of(place),
                attributes=kept(state.attributes, None, source),
            ),
            source=source,
            until=self._until,
            first_seq=self._first,
            inbox=inbox,
            values=self._values(),
            streams_until=self._rows[-1][1],
            stream_bounds=self._stream_bounds(),
            creates=creates,
        )

    # -- the cut -----------------------------------------------------------------------------------------------------

    def _cut(self) -> int:
        at, head = self._wanted.at, self._head
        if isinstance(at, str):
            rows = self._stored(self._store.read(head.workflow_id, after=head.first_seq - 1))
            return forking.outcome_named(forking.lived(rows), at, head.workflow_id)[0] - 1
        if at is not None and not 1 <= at <= head.seq:
            raise UsageError(f"workflow {head.workflow_id!r} has the events 1 to {head.seq}, and none of seq {at}")
        until, before = at or head.seq, PAGE
        while True:
            after = max(0, until - before)
            rows = self._stored(self._store.read(head.workflow_id, after=after, limit=2 * before))
            cut = forking.before_the_end(rows, until)
            if cut > after + 1 or after == 0:
                return cut
            before *= 8

    # -- what is read ------------------------------------------------------------------------------------------------

    def _stored(self, rows: Iterable[EventRow]) -> list[Stored]:
        return [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]

    def _typed(self, *kinds: type[Any], after: int = 0, until: int | None = None) -> list[Stored]:
        return self._stored(
            self._forks.read_types(self._head.workflow_id, tags_of(*kinds), after=after, until=until)
        )

    def _read(self) -> list[Stored]:
        limit = self._until - self._first + 1
        return self._stored(self._store.read(self._head.workflow_id, after=self._first - 1, limit=limit))

    def _noted(self) -> list[Stored]:
        """Give the rows that are looked at for any fork, and the last, whatever it is."""
        workflow_id, after = self._head.workflow_id, self._first - 1
        rows = self._stored(self._forks.read_types(workflow_id, forking.NOTED, after=after, until=self._until))
        last = self._stored(self._store.read(workflow_id, after=self._until - 1, limit=1))
        return rows if rows and rows[-1][0] == self._until else [*rows, *last]

    def _later(self) -> list[Stored]:
        """Give the rows after the cut that say something of what is before, or what the fork has beside its log."""
        if self._rest is None or self._rest[0] != self._until:
            kinds = (WorkflowForked, events.MessageReceived, events.ItemsEmitted, events.StreamClosed)
            self._rest = (self._until, self._typed(*kinds, after=self._until))
        return self._rest[1]

    def _void_before(self) -> list[int]:
        forks = [event for _, _, event in self._later() if isinstance(event, WorkflowForked)]
        return forking.void_before(forks, self._first, self._until)

    def _lived(self) -> list[Stored]:
        void = set(self._void_before())
        return [row for row in forking.lived(self._rows) if row[0] not in void]

    # -- what is changed ---------------------------------------------------------------------------------------------

    def _change_creation(self) -> None:
        """Have the fork begin as a workflow of its own, with another input perhaps."""
        begins = self._rows[0][2]
        source = self._wanted.source
        if isinstance(begins, events.WorkflowContinued):
            created = forking.own_creation(begins.created, source)
            self._changed[self._first] = structs.replace(begins, created=created, inherited=False, children=())
        else:
            assert isinstance(begins, events.WorkflowCreated)
            self._changed[self._first] = forking.own_creation(begins, source)
        if self._input is not None:
            seq = self._input_seqs().pop()
            event = self._changed.get(seq) or next(event for at, _, event in self._rows if at == seq)
            self._changed[seq] = forking.with_input(event, self._other_input(self._input.value))

    def _input_seqs(self) -> set[int]:
        """Give the seq of the row whose input the workflow began with, where that is to be another."""
        if self._input is None:
            return set()
        given = [seq for seq, _, event in self._rows if isinstance(event, events.InputReplaced)]
        return {given[-1] if given else self._first}

    def _other_input(self, value: object) -> bytes:
        workflow_id, codec = self._wanted.source, self._client.codec
        created = creation(workflow_id, self._rows)
        payload, what = bytes(created.input), f"input of workflow {workflow_id!r}"
        definition = runnable(registered_workflows()).get(created.name)
        if definition is None or not isinstance(value, Mapping):
            return forking.plain_input(payload, value, codec, workflow_id)
        changes = {str(name): argument for name, argument in value.items()}
        return definition.signature.changed(codec, payload, changes, what=what)

    def _siblings(self, state: WorkflowState, deadline: int | None) -> list[Sibling]:
        """Give what becomes of the children that are open at the cut."""
        void = set(self._void_before())
        rows = [row for row in self._rows if row[0] not in void]
        started = {
            event.child: (seq, event)
            for seq, _, event in forking.lived(rows)
            if isinstance(event, events.ChildStarted) and event.child in state.children
        }
        asked = [child for child, one in state.children.items() if one.asked]
        wanted = self._wanted
        return siblings_of(self._store, wanted.workflow_id, started, wanted.children, asked, deadline, self._now)

    def _try(self, siblings: Sequence[Sibling]) -> None:
        """Find what does not fit any more, where anything may not."""
        first = min([*self._replacements, *self._input_seqs(), *self._first_mentions(siblings)], default=None)
        if first is None:
            return
        rest = [seq for seq, _, event in self._rows if seq > first and seq not in self._replacements]
        definition = runnable(registered_workflows()).get(creation(self._wanted.source, self._rows).name)
        if definition is None:
            self._cut_unknown(first, bool(rest))
            return
        for sibling in siblings:
            self._changed[sibling.seq] = sibling.event
        void = set(self._void_before())
        history = [(seq, at, self._changed.get(seq, event)) for seq, at, event in self._rows if seq not in void]
        created = creation(self._wanted.source, history)
        self._tried = try_out(
            self._wanted.workflow_id, created, definition, self._client.environment(), history, self._replacements
        )
        self._changed.update(self._tried.rows)

    def _cut_unknown(self, first: int, follows: bool) -> None:
        """Cut after what is replaced: what of the rest still fits only the code could tell."""
        if first not in self._replacements:
            raise UsageError(
                f"workflow {self._wanted.source!r} has rows that depend on what is to be changed at event {first}, and its"
                " code, which could tell which, is not known here: fork it in a program that has the code"
            )
        if follows and self._wanted.at is not None:
            raise UsageError(
                f"the rows after event {first} of workflow {self._wanted.source!r} may depend on what is replaced there, and"
                f" its code, which could tell, is not known here: cut at={first}, or fork it in a program that has the code"
            )
        later = [seq for seq in self._replacements if seq > first]
        if follows and later:
            raise UsageError(
                f"event {later[0]} of workflow {self._wanted.source!r} comes after event {first}, and may depend on it: its"
                " code, which could tell, is not known here; replace one of them, or fork it in a program that has the code"
            )
        self._until = max(self._replacements)
        self._rows = [row for row in self._rows if row[0] <= self._until]
        for seq, replacement in self._replacements.items():
            event = next(event for at, _, event in self._rows if at == seq)
            assert isinstance(event, forking.Outcome)
            self._changed[seq] = forking.replaced(event, replacement.value, self._client.codec)

    def _first_mentions(self, siblings: Sequence[Sibling]) -> list[int]:
        """Give where the history first names a child that the fork is to have under another id."""
        renamed = [one for one in siblings if one.new is not None]
        if not renamed:
            return []
        if len(self._rows) < self._until - self._first + 1:
            self._rows = self._read()
        found: list[int] = []
        for row in self._store.read(self._head.workflow_id, after=min(one.seq for one in renamed)):
            named = [one for one in renamed if row.seq > one.seq and to_json(one.child)[1:-1] in row.payload]
            if row.seq <= self._until and named:
                found.append(min(one.seq for one in named))
                break
        return found

    def _take_siblings(self, siblings: Sequence[Sibling]) -> list[NewWorkflow]:
        """Have the rows of children say which the fork has; give those that it starts."""
        creates: list[NewWorkflow] = []
        gone = set(self._tried.left_out)
        for sibling in siblings:
            if sibling.seq in gone or sibling.seq > self._until:
                self._changed.pop(sibling.seq, None)
                continue
            self._changed[sibling.seq] = sibling.event
            if sibling.new is not None:
                creates.append(sibling.new)
        return creates

    def _own_rows(self, own: WorkflowForked) -> list[EventRow]:
        times = {seq: at for seq, at, _ in self._rows}
        rows = [EventRow(seq, type_of(event), times[seq], encode_event(event)) for seq, event in self._changed.items()]
        if self._first > 1:
            (row,) = self._store.read(self._head.workflow_id, limit=1)
            first = decode_event(row.payload)
            assert isinstance(first, events.WorkflowCreated)
            created = forking.own_creation(first, self._wanted.source)
            rows.append(EventRow(1, row.type, self._now, encode_event(created)))
        rows = [EventRow(row.seq, row.type, self._now, row.payload) if row.seq == 1 else row for row in rows]
        at = max(self._now, self._rows[-1][1])
        rows.append(EventRow(self._until + 1, type_of(own), at, encode_event(own)))
        return sorted(rows, key=lambda row: row.seq)

    # -- what is beside the log --------------------------------------------------------------------------------------

    def _messages(self) -> tuple[list[InboxRow], tuple[tuple[str, int], ...]]:
        """Give the messages that lie in the inbox of the fork, and the asks that are not its to answer."""
        had = {_name(event) for _, _, event in self._rows if isinstance(event, events.MessageReceived)}
        begins = self._rows[0][2]
        if isinstance(begins, events.WorkflowContinued):
            had.update((message.source, message.number) for message in begins.messages)
        asked = [event for _, _, event in self._rows if isinstance(event, events.MessageReceived)]
        told = {_name(event): None for event in asked if event.topic.startswith(asks.ASK)}
        if self._wanted.messages == "drop":
            return [], tuple(told)
        found: dict[tuple[str, int], InboxRow] = {}
        for _, _, event in self._later():
            if isinstance(event, events.MessageReceived):
                topic = asks.answered_again(event.operation) if event.just_this else event.topic
                found.setdefault(_name(event), _lying(event, topic))
        if isinstance(self._store, SupportsInboxes):
            for row in self._store.inbox(self._head.workflow_id):
                if not row.control:
                    found.setdefault((row.source, row.number), self._unread(row))
        rows = [row for name, row in found.items() if name not in had and forking.is_kept(row.topic, self._until)]
        told.update({(row.source, row.number): None for row in rows if row.topic.startswith(asks.ASK)})
        return sorted(rows, key=lambda row: row.arrived_at), tuple(told)

    def _unread(self, row: InboxRow) -> InboxRow:
        """Give an unread message; one for just one wait is for that wait of the fork."""
        number = row.topic.removeprefix(asks.ANSWER)
        if not row.topic.startswith(asks.ANSWER) or not number.isdigit():
            return row
        opened = self._stored(self._store.read(self._head.workflow_id, after=int(number) - 1, limit=1))
        wait = opened[0][2] if opened else None
        return structs.replace(row, topic=asks.answered_again(forking.operation_of(wait) or "")) if wait else row

    def _values(self) -> list[ValueRow]:
        """Give the values as they were at the cut."""
        store, workflow_id = self._store, self._head.workflow_id
        if not isinstance(store, SupportsValues):
            return []
        rows = {row.name: row for row in store.values(workflow_id) if not row.name.startswith(asks.REPLY)}
        if any(row.seq > self._until for row in rows.values()):
            rows = {name: row for name, row in rows.items() if row.seq <= self._until}
            for seq, at, event in self._typed(events.ValueSet, until=self._until):
                assert isinstance(event, events.ValueSet)
                rows[event.name] = ValueRow(name=event.name, seq=seq, recorded_at=at, payload=bytes(event.value))
        return [rows[name] for name in sorted(rows)]

    def _stream_bounds(self) -> list[tuple[str, int]]:
        if not isinstance(self._store, SupportsStreams):
            return []
        bounds: dict[str, int] = {}
        for _, _, event in self._later():
            if isinstance(event, events.ItemsEmitted | events.StreamClosed):
                bounds[event.stream] = min(event.offset, bounds.get(event.stream, event.offset))
        return sorted(bounds.items())


def _name(event: events.MessageReceived) -> tuple[str, int]:
    return event.source, event.number


def _lying(event: events.MessageReceived, topic: str) -> InboxRow:
    return InboxRow(
        row=0,
        destination="",
        source=event.source,
        number=event.number,
        topic=topic,
        payload=bytes(event.message),
        control=False,
        arrived_at=event.arrived_at,
    )
