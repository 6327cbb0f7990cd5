"""Fork plans: what a store is asked for so that a fork comes to be. They read the source, and write nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from everlog.core import asks, events, forking
from everlog.core.attributes import kept
from everlog.core.codec import to_json
from everlog.core.event_codec import decode_event, encode_event, type_of
from everlog.core.event_forks import KeptMessages, OpenChildren
from everlog.core.events import AnyEvent, WorkflowForked
from everlog.core.forking import Replacement, Written
from everlog.core.heads import InboxRow
from everlog.core.rewinding import folded
from everlog.core.state import earlier, fold
from everlog.core.versions import versioned, workflow_of
from everlog.errors import UsageError
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.instances import runnable
from everlog.replay.registry import registered_workflows
from everlog.replay.trying import Tried, try_out
from everlog.runtime.claims import creation
from everlog.runtime.fork_previews import ForkPreview, preview_of
from everlog.runtime.fork_sources import At, Source
from everlog.runtime.places import place_anew, place_of
from everlog.runtime.siblings import Sibling, siblings_of
from everlog.store import EventRow, NewWorkflow, Store, SupportsInboxes
from everlog.store_forks import Fork

if TYPE_CHECKING:
    from everlog.runtime.client import Client


class Wanted(Struct, frozen=True, kw_only=True):
    """What a fork is asked for with."""

    source: str
    workflow_id: str
    at: At
    replace: Mapping[int | str, object]
    messages: KeptMessages
    children: OpenChildren
    version: str | None = None
    """That of the code which is to run it; None: as the source."""
    asked: str
    """The digest of all that."""


class ForkPlan:
    """All that one fork is made of, as it is found out step by step."""

    def __init__(self, client: Client, store: Store, wanted: Wanted) -> None:
        self._client = client
        self._wanted = wanted
        self._now = store.now()
        self._source = Source(store, wanted.source, wanted.at)
        self._input: Replacement | None = None
        self._replacements: dict[int, Replacement] = {}
        self._changed: dict[int, AnyEvent] = {}
        """The rows up to the cut that say something else in the fork, by seq."""
        self._tried = Tried({}, [], [])

    @property
    def again(self) -> Sequence[str]:
        """The operations that do not keep their outcomes."""
        return self._tried.again

    def fork(self) -> Fork:
        """Give what the store is asked for. Raises `UsageError` and `NotEncodable`."""
        source, wanted = self._source, self._wanted
        if wanted.replace:
            self._choose()
        state = folded(source.noted)
        name = state.name if wanted.version is None else versioned(workflow_of(state.name), wanted.version)
        deadline = earlier(self._now, None if state.began_seq is None else state.timeout, None)
        siblings = self._siblings(deadline)
        self._change_creation({sibling.child for sibling in siblings})
        self._try(siblings)
        creates = self._take(siblings)
        place = None if state.place is None else place_anew(state.place, self._now)
        inbox, told = self._messages()
        own = WorkflowForked(
            source=wanted.source,
            at=source.until,
            by=self._client.name,
            asked_at=self._now,
            asked=wanted.asked,
            replaced=tuple(sorted({*self._replacements, *self._input_seqs()})),
            void=tuple(sorted({*source.void, *self._tried.left_out})),
            messages=wanted.messages,
            children=wanted.children,
            told=told,
            deadline=deadline,
            place=place,
            name=None if wanted.version is None else name,
        )
        return Fork(
            new=NewWorkflow(
                workflow_id=wanted.workflow_id,
                name=name,
                state="queued" if place is None else "enqueued",
                events=self._own_rows(own),
                place=None if place is None else place_of(place),
                attributes=kept(state.attributes, None, wanted.source),
            ),
            source=wanted.source,
            until=source.until,
            first_seq=source.first,
            inbox=inbox,
            values=source.values(),
            streams_until=source.noted[-1][1],
            stream_bounds=source.stream_bounds(),
            creates=creates,
        )

    def preview(self) -> ForkPreview:
        """Tell what the fork would keep and do again. Raises what `fork` does."""
        planned, source = self.fork(), self._source
        own = decode_event(planned.new.events[-1].payload)
        assert isinstance(own, WorkflowForked), own
        left_out, replaced = set(own.void), {*self._replacements}
        has_input = self._input is not None
        return preview_of(source.all_rows(), source.until, left_out, replaced, has_input=has_input)

    # -- what is replaced --------------------------------------------------------------------------------------------

    def _choose(self) -> None:
        """Find the rows that are to say something else; where the code is not known, cut behind them."""
        source, wanted = self._source, self._wanted
        rows = source.lived(source.whole)
        self._replacements, self._input = forking.chosen(rows, wanted.replace, wanted.source)
        if self._definition() is not None:
            return
        began = next((seq for seq, _, event in rows if isinstance(event, events.WorkflowBegan)), source.until)
        changed = [*self._replacements, *([began] if self._input is not None else [])]
        first: int = min(changed)
        later = [seq for seq in self._replacements if seq > first]
        if later or (wanted.at is not None and source.until > first):
            raise UsageError(
                f"what follows event {first} of workflow {wanted.source!r} may depend on what is replaced there, and"
                f" its code, which could tell, is not known here: cut it at={first}, replace nothing later, or fork"
                " it in a program that has the code"
            )
        source.cut_at(first)
        for seq, replacement in self._replacements.items():
            event = next(event for at, _, event in rows if at == seq)
            assert isinstance(event, forking.Outcome)
            self._changed[seq] = forking.replaced(event, replacement.value, self._client.codec)

    def _definition(self) -> AnyWorkflow[..., object] | None:
        name = creation(self._wanted.source, self._source.noted).name
        if self._wanted.version is not None:
            name = versioned(workflow_of(name), self._wanted.version)
        return runnable(registered_workflows()).get(name)

    def _change_creation(self, open_children: set[str]) -> None:
        """Have the fork begin as a workflow of its own, with another input perhaps."""
        source = self._source
        begins = source.noted[0][2]
        if isinstance(begins, events.WorkflowContinued):
            created = forking.own_creation(begins.created, source.workflow_id)
            still_open = fold(source.lived(source.noted)).children
            children = tuple(one for one in begins.children if one.asked or one.child not in still_open)
            begins = structs.replace(begins, created=created, inherited=False, children=children)
        else:
            assert isinstance(begins, events.WorkflowCreated), type_of(begins)
            begins = forking.own_creation(begins, source.workflow_id)
        self._changed[source.first] = begins
        if self._input is not None:
            (seq,) = self._input_seqs()
            event = self._changed.get(seq) or next(event for at, _, event in source.noted if at == seq)
            self._changed[seq] = forking.with_input(event, self._other_input(self._input.value))

    def _input_seqs(self) -> list[int]:
        """Give the seq of the row whose input the workflow began with, where that is to be another."""
        if self._input is None:
            return []
        given = [seq for seq, _, event in self._source.noted if isinstance(event, events.InputReplaced)]
        return given[-1:] or [self._source.first]

    def _other_input(self, value: object) -> bytes:
        source, codec = self._source, self._client.codec
        payload = bytes(creation(source.workflow_id, source.noted).input)
        changes, what = forking.arguments_of(value), f"input of workflow {source.workflow_id!r}"
        definition = self._definition()
        if definition is None:
            return forking.plain_input(payload, changes, codec, what)
        written = value.json if isinstance(value, Written) else None
        return definition.signature.changed(codec, payload, changes, what=what, written=written)

    def _try(self, siblings: Sequence[Sibling]) -> None:
        """Find what does not fit any more, where anything may not."""
        source, definition = self._source, self._definition()
        mentioned = self._mentioned(siblings)
        if definition is None:
            if mentioned is not None:
                raise UsageError(
                    f"workflow {source.workflow_id!r} has named its child {mentioned!r} to others, which the fork would"
                    " start under another id, and its code is not known here: fork it with children='keep', or in a"
                    " program that has the code"
                )
            return
        changes_code = self._wanted.version is not None
        if self._input is None and not self._replacements and mentioned is None and not changes_code:
            return
        changed = {**self._changed, **{sibling.seq: sibling.event for sibling in siblings}}
        history = [(seq, at, changed.get(seq, event)) for seq, at, event in source.whole if seq not in source.void]
        self._tried = try_out(
            self._wanted.workflow_id,
            creation(source.workflow_id, history),
            definition,
            self._client.environment(),
            history,
            self._replacements,
        )
        self._changed.update(self._tried.rows)

    # -- children ----------------------------------------------------------------------------------------------------

    def _siblings(self, deadline: int | None) -> list[Sibling]:
        """Give what stands for the children that are open at the cut."""
        source, wanted = self._source, self._wanted
        rows = source.lived(source.noted)
        open_now = fold(rows).children
        started = {
            event.child: (seq, event)
            for seq, _, event in rows
            if isinstance(event, events.ChildStarted) and event.child in open_now and not event.existed
        }
        asked = [child for child, one in open_now.items() if one.asked]
        return siblings_of(source.store, wanted.workflow_id, started, wanted.children, asked, deadline, self._now)

    def _mentioned(self, siblings: Sequence[Sibling]) -> str | None:
        """Give a child that the fork is to have under another id, and that the history names after it was started."""
        renamed = {to_json(one.child)[1:-1]: one for one in siblings if one.new is not None}
        if not renamed:
            return None
        common = min(renamed).partition(b"/")[0]
        for row in self._source.raw:
            if common in row.payload:
                for name, one in renamed.items():
                    if row.seq > one.seq and name in row.payload:
                        return one.child
        return None

    def _take(self, siblings: Sequence[Sibling]) -> list[NewWorkflow]:
        """Have the rows of children say which the fork has; give those that it starts."""
        gone = set(self._tried.left_out)
        taken = [sibling for sibling in siblings if sibling.seq not in gone]
        self._changed.update((sibling.seq, sibling.event) for sibling in taken)
        return [sibling.new for sibling in taken if sibling.new is not None]

    # -- rows and messages -------------------------------------------------------------------------------------------

    def _own_rows(self, own: WorkflowForked) -> list[EventRow]:
        source = self._source
        times = {seq: at for seq, at, _ in source.noted}
        if source.first > 1:
            self._changed[1] = forking.own_creation(source.creation(), source.workflow_id)
        times[1] = self._now  # when this workflow was created
        rows = [EventRow(seq, type_of(event), times[seq], encode_event(event)) for seq, event in self._changed.items()]
        at = max(self._now, source.noted[-1][1])
        rows.append(EventRow(source.until + 1, type_of(own), at, encode_event(own)))
        return sorted(rows, key=lambda row: row.seq)

    def _messages(self) -> tuple[list[InboxRow], tuple[tuple[str, int], ...]]:
        """Give the messages that lie in the inbox of the fork, and the asks that are not its to answer."""
        source = self._source
        received = [event for _, _, event in source.noted if isinstance(event, events.MessageReceived)]
        told = {(one.source, one.number): None for one in received if one.topic.startswith(asks.ASK)}
        if self._wanted.messages == "drop":
            return [], tuple(told)
        had = {(one.source, one.number) for one in received}
        begins = source.noted[0][2]
        if isinstance(begins, events.WorkflowContinued):
            had.update((message.source, message.number) for message in begins.messages)
        rows = [_lying(event) for event in source.received_later()]
        if isinstance(source.store, SupportsInboxes):
            rows += [self._unread(row) for row in source.store.inbox(source.workflow_id) if not row.control]
        found = {(row.source, row.number): row for row in reversed(rows) if forking.is_kept(row.topic, source.until)}
        kept_rows = sorted([row for name, row in found.items() if name not in had], key=_in_order)
        told.update(((row.source, row.number), None) for row in kept_rows if row.topic.startswith(asks.ASK))
        return kept_rows, tuple(told)

    def _unread(self, row: InboxRow) -> InboxRow:
        """Give an unread message; one for just one wait is for that wait of the fork."""
        number = row.topic.removeprefix(asks.ANSWER)
        if not row.topic.startswith(asks.ANSWER) or not number.isdigit():
            return row
        operation = self._source.operation_at(int(number))
        return row if operation is None else structs.replace(row, topic=asks.answered_again(operation))


def _in_order(row: InboxRow) -> tuple[int, str, int]:
    return row.arrived_at, row.source, row.number


def _lying(event: events.MessageReceived) -> InboxRow:
    return InboxRow(
        row=0,
        destination="",
        source=event.source,
        number=event.number,
        topic=asks.answered_again(event.operation) if event.just_this else event.topic,
        payload=bytes(event.message),
        control=False,
        arrived_at=event.arrived_at,
    )
