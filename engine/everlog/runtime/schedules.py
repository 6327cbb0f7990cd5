"""Schedules as a client sees them: making and changing them, and where they are. It makes no tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from everlog.core.cron import zone
from everlog.core.durations import SECOND, as_datetime, as_local, from_datetime
from everlog.core.numbers import check_count
from everlog.core.schedules import Schedule
from everlog.core.ticks import StoredSchedule, decode, due_at, extra_id, resumed, tick_id, with_timing
from everlog.errors import IdInUse, NotFound, UsageError
from everlog.replay.calling import startable_of
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyWorkflow
from everlog.replay.instances import recorded_instance, startable
from everlog.replay.matching import same_arguments, same_object
from everlog.replay.sizes import check_size
from everlog.replay.starting import check_passed
from everlog.runtime.declaring import check_schedule_name as check_schedule_name
from everlog.runtime.declaring import no_schedules, scheduled_place
from everlog.runtime.handles import Handle
from everlog.runtime.listing import Listing
from everlog.runtime.outside import outside
from everlog.runtime.ticking import created_by, schedule_row
from everlog.store import Refused
from everlog.store_schedules import ScheduleRow, ScheduleWrite, SupportsSchedules

if TYPE_CHECKING:
    from everlog.runtime.client import Client

PAGE: Final = 100
OVERDUE: Final = 10 * SECOND
"""So long after it was due a tick is one that nobody makes."""
MOST_AT_ONCE: Final = 10_000
"""So many ticks are made up for by one call."""
TOGETHER: Final = 100


class ScheduleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a schedule is. `workflow` is the name of the workflow that it starts; `why` is a sentence.

    `next_tick` and `last_tick` are as planned, in the time zone of the schedule; None where there is none. `declared`
    says that the schedule is in the code of its workflow.
    """

    name: str
    workflow: str
    schedule: Schedule
    paused: bool
    declared: bool
    next_tick: datetime | None
    last_tick: datetime | None
    why: str


class ScheduleHandle:
    """One schedule. Making a handle asks nothing; each method says when there is no such schedule by `NotFound`."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __repr__(self) -> str:
        return f"<ScheduleHandle {self._name!r}>"

    @property
    def name(self) -> str:
        """The name of the schedule."""
        return self._name

    @outside
    async def status(self) -> ScheduleStatus:
        """Give where the schedule is, and why."""
        stored = await self._stored()
        return schedule_status(self._name, stored, await self._client.on_thread(lambda: self._client.store.now()))

    @outside
    async def upcoming(self, count: int = 5) -> list[datetime]:
        """Give the next ticks as planned, in the time zone of the schedule; none while it is paused."""
        check_count(count, what="count")
        stored = await self._stored()
        if stored.paused or stored.next_tick is None:
            return []
        following = Schedule.stored(stored.timing).upcoming(count, after=as_datetime(stored.next_tick))
        first = as_datetime(stored.next_tick).astimezone(zone(stored.timing.timezone))
        return [first, *following][:count]

    @outside
    async def pause(self) -> None:
        """Have it tick no more until `resume`. What it has started goes on."""
        await self._change(lambda stored, now: replace(stored, paused=True))

    @outside
    async def resume(self) -> None:
        """Take `pause` back. The ticks of the meantime are not made up for; `backfill` makes them."""
        await self._change(resumed)

    @outside
    async def update(self, schedule: Schedule, /) -> None:
        """Have it tick by another schedule from now on; a pause stays.

        What is declared in code ticks as the code says again when the declaration has changed.
        """
        timing = _checked(schedule).timing
        await self._change(lambda stored, now: with_timing(stored, timing, now))

    @outside
    async def trigger(self) -> Handle[Any]:
        """Start its workflow now, whether it is paused or not, and give the handle. Its plan stays as it is."""
        stored, client = await self._stored(), self._client
        now = await client.on_thread(lambda: client.store.now())
        workflow_id = extra_id(self._name, now, client.host.token())
        await client.create(workflow_id, created_by(stored, now, client.host))
        return Handle(client, workflow_id)

    @outside
    async def backfill(self, start: datetime, end: datetime, /) -> list[Handle[Any]]:
        """Make the ticks from `start` to before `end` that were not made, and give the handles of all of them.

        Both lie in the past. A workflow of each tick is there when this returns; where it raises, some may be, and a
        repetition makes the rest. Raises `UsageError` for more than 10,000 ticks: then make them in parts.
        """
        first, last = from_datetime(start, what="start"), from_datetime(end, what="end") - 1
        stored, client = await self._stored(), self._client
        now = await client.on_thread(lambda: client.store.now())
        if last >= now:
            raise UsageError(f"the ticks of schedule {self._name!r} until {end} are not all past: give an end that is")
        found = islice(stored.timing.ticks(first - 1, last), MOST_AT_ONCE + 1)
        ticks = await client.aside(lambda: list(found))
        if len(ticks) > MOST_AT_ONCE:
            raise UsageError(
                f"schedule {self._name!r} has more than {MOST_AT_ONCE} ticks from {start} to {end}: make them in parts,"
                f" first those before {as_datetime(ticks[-1])}"
            )
        for place in range(0, len(ticks), TOGETHER):
            together = ticks[place : place + TOGETHER]
            created = [(tick_id(self._name, tick), created_by(stored, tick, client.host)) for tick in together]
            await asyncio.gather(*[client.create(workflow_id, event) for workflow_id, event in created])
        return [Handle(client, tick_id(self._name, tick)) for tick in ticks]

    @outside
    async def delete(self) -> None:
        """Remove the schedule; what it has started goes on.

        One that is declared in code is there again when an engine starts that has the code: take it out there, or
        `pause` it.
        """
        await self._change(lambda stored, now: None)

    async def _stored(self) -> StoredSchedule:
        return await self._client.on_thread(lambda: decode(self._row(_kept(self._client)).payload, self._name))

    def _row(self, store: SupportsSchedules) -> ScheduleRow:
        found = store.schedules([self._name])
        if not found:
            raise NotFound(f"there is no schedule {self._name!r} in this store; create_schedule makes one")
        return found[0]

    async def _change(self, change: Callable[[StoredSchedule, int], StoredSchedule | None]) -> None:
        await self._client.on_thread(partial(self._change_here, change))

    def _change_here(self, change: Callable[[StoredSchedule, int], StoredSchedule | None]) -> None:
        """On the engine's thread: write what a schedule becomes, or remove it, whoever else writes it meanwhile."""
        store, outcome = _kept(self._client), None
        while outcome is None or isinstance(outcome, Refused):
            row = self._row(store)
            before = decode(row.payload, row.name)
            after = change(before, self._client.store.now())
            if after == before:
                return
            becomes = None if after is None else schedule_row(row.name, after, self._client.host)
            (outcome,) = store.write_schedules([ScheduleWrite(name=row.name, revision=row.revision, row=becomes)])
        self._client.wrote_schedule()


async def create_schedule(
    client: Client,
    name: str,
    schedule: Schedule,
    fn: Definition[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> ScheduleHandle:
    """Have a workflow started by a schedule; see `Client.create_schedule`."""
    check_schedule_name(name)
    definition = startable_of(fn)
    check_passed(definition, args, kwargs)
    if definition.id is not None or definition.key is not None:
        raise UsageError(f"the workflows of schedule {name!r} get ids of their own; leave id= and key= out")
    definition, timing = startable(definition), _checked(schedule).timing
    what = f"input of workflow {definition.name}"
    payload = definition.signature.encode(client.codec, args, kwargs, what=what)
    check_size(payload, what)
    wanted = StoredSchedule(
        workflow=definition.name,
        input=Raw(payload),
        timing=timing,
        created_at=0,
        next_tick=None,
        instance=recorded_instance(definition, client.codec),
        timeout=definition.timeout,
        attributes=dict(definition.attributes),
        place=scheduled_place(definition),
    )
    if definition.placing.queue is not None:
        await client.queue(definition.placing.queue).status()  # which raises where there is no such queue
    await client.on_thread(partial(_create_here, client, name, wanted, definition))
    return ScheduleHandle(client, name)


def _create_here(client: Client, name: str, wanted: StoredSchedule, definition: AnyWorkflow[..., Any]) -> None:
    """On the engine's thread: write a new schedule, where the same is not there already."""
    store, outcome = _kept(client), None
    while outcome is None or isinstance(outcome, Refused):
        found = store.schedules([name])
        if found:
            _must_be_same(client, decode(found[0].payload, name), wanted, definition, name)
            return
        now = client.store.now()
        new = replace(wanted, created_at=now, next_tick=wanted.timing.after(now))
        (outcome,) = store.write_schedules(
            [ScheduleWrite(name=name, revision=None, row=schedule_row(name, new, client.host))]
        )
    client.wrote_schedule()


def _must_be_same(
    client: Client, found: StoredSchedule, wanted: StoredSchedule, definition: AnyWorkflow[..., Any], name: str
) -> None:
    recorded, given = bytes(found.input), bytes(wanted.input)
    if found.workflow != wanted.workflow:
        differing = (repr(found.workflow), repr(wanted.workflow))
    elif found.timing != wanted.timing:
        differing = (repr(Schedule.stored(found.timing)), repr(Schedule.stored(wanted.timing)))
    elif not same_object(bytes(found.instance), bytes(wanted.instance)):
        differing = ("an object", "another object")
    elif not same_arguments(definition, recorded, given, client.codec):
        differing = (recorded[:200].decode(errors="replace"), given[:200].decode(errors="replace"))
    elif found.timeout != wanted.timeout:
        differing = (f"timeout {found.timeout} us", f"timeout {wanted.timeout} us")
    elif found.attributes != wanted.attributes:
        differing = (f"attributes {found.attributes}", f"attributes {wanted.attributes}")
    elif found.place != wanted.place:
        differing = (repr(found.place), repr(wanted.place))
    else:
        return
    before, now = differing
    raise IdInUse(
        f"schedule {name!r} is there, and another one: recorded {before}, now {now}; schedule({name!r}).update(...)"
        " has it tick otherwise, for another workflow or input delete() it first, or choose another name"
    )


def listed(client: Client) -> Listing[ScheduleStatus]:
    """Give all schedules; see `Client.schedules`."""

    async def page(mark: object) -> tuple[list[ScheduleStatus], object]:
        def read() -> tuple[Sequence[ScheduleRow], int]:
            after = mark if isinstance(mark, str) else None
            return _kept(client).schedules(after=after, limit=PAGE), client.store.now()

        rows, now = await client.on_thread(read)
        found = [schedule_status(row.name, decode(row.payload, row.name), now) for row in rows]
        return found, rows[-1].name if len(rows) == PAGE else None

    return Listing(page)


def schedule_status(name: str, stored: StoredSchedule, now: int) -> ScheduleStatus:
    """Give where a schedule is."""
    return ScheduleStatus(
        name=name,
        workflow=stored.workflow,
        schedule=Schedule.stored(stored.timing),
        paused=stored.paused,
        declared=stored.declared is not None,
        next_tick=None if stored.paused else _shown(stored, stored.next_tick),
        last_tick=_shown(stored, stored.last_tick),
        why=_why(name, stored, now),
    )


def _why(name: str, stored: StoredSchedule, now: int) -> str:
    tick = _shown(stored, stored.next_tick)
    if stored.paused:
        return "it is paused, and goes on from then on when it is resumed"
    if tick is None:
        return "no tick follows"
    due = due_at(name, stored)
    if due is not None and due < now - OVERDUE:
        return (
            f"its tick of {tick} waits for an engine that has the code of workflow {stored.workflow!r} and can tell"
            " when it ticks next"
        )
    return f"its next tick is at {tick}"


def _shown(stored: StoredSchedule, tick: int | None) -> datetime | None:
    """Give a tick in the time zone of its schedule, or in UTC where that is not known here."""
    if tick is None:
        return None
    try:
        return as_local(tick, stored.timing.offset(tick))
    except UsageError:
        return as_datetime(tick)


def _checked(schedule: Schedule) -> Schedule:
    # Users without a type checker give anything.
    if not isinstance(schedule, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a Schedule was expected, got {schedule!r}; write Schedule('0 9 * * *')")
    return schedule


def _kept(client: Client) -> SupportsSchedules:
    store = client.store
    if not isinstance(store, SupportsSchedules):
        raise no_schedules(store, "one was asked for")
    return store
