"""Declaring: schedules that workflows have in code, written to the store when an engine starts. It makes no tick.

Code wins where it changed since it was last written; what was changed at run time stays as long as it did not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Raw, json
from msgspec.structs import replace

from everlog.core.codec import Codec, digest
from everlog.core.event_parts import ABSENT, QueuePlace
from everlog.core.names import check_name
from everlog.core.ticks import LONGEST_NAME, StoredSchedule, decode, with_timing
from everlog.core.versions import version_of, versioned
from everlog.errors import UsageError
from everlog.host import Host
from everlog.replay.definitions import AnyWorkflow
from everlog.runtime.places import queue_place
from everlog.runtime.ticking import schedule_row
from everlog.store import Refused, Store
from everlog.store_schedules import ScheduleRow, ScheduleWrite, SupportsSchedules

log: Final = logging.getLogger("everlog")
Known = Mapping[str, AnyWorkflow[..., Any]]


class Declarations:
    """What the workflows of an engine declare."""

    def __init__(self, store: Store, host: Host, known: Callable[[], Known], codec: Codec) -> None:
        self._store = store
        self._host = host
        self._known = known
        self._codec = codec
        self._written: Known = {}

    def write(self) -> bool:
        """Write what was not before, also of workflows that were defined since then; tell whether there was anything.

        Raises `StoreError`, and `UsageError` where a schedule cannot be kept.
        """
        known = {name: one for name, one in self._known().items() if version_of(name) is None}
        fresh = {name: one for name, one in known.items() if self._written.get(name) is not one}
        changed = self._write(fresh)
        self._written = known
        return changed

    def _write(self, fresh: Known) -> bool:
        store, changed = self._store, False
        if not isinstance(store, SupportsSchedules):
            scheduled = [name for name, one in fresh.items() if one.schedule is not None]
            if scheduled:
                raise no_schedules(store, f"workflow {scheduled[0]!r} has one")
            return False
        names = list(fresh)
        while names:
            rows = {row.name: row for row in store.schedules(names, limit=len(names))}
            declared = [self._declared(fresh[name], rows.get(name), self._store.now()) for name in names]
            writes = [write for write in declared if write is not None]
            if not writes:
                break
            outcomes, changed = store.write_schedules(writes), True
            # Where another engine was faster it is looked at again what is there now.
            names = [one.name for one, done in zip(writes, outcomes, strict=True) if isinstance(done, Refused)]
        return changed

    def _declared(self, one: AnyWorkflow[..., Any], row: ScheduleRow | None, now: int) -> ScheduleWrite | None:
        """Give what becomes of the schedule that has the name of a workflow; None where it is as it is to be."""
        name, before = one.name, None if row is None else decode(row.payload, row.name)
        revision = None if row is None else row.revision
        if one.schedule is None:
            if before is None or before.declared is None:
                return None
            log.info("schedule %r is removed: the code of its workflow declares none any more", name)
            return ScheduleWrite(name=name, revision=revision, row=None)
        check_schedule_name(name)
        timing = one.schedule.timing
        place = scheduled_place(one)
        declared = digest(
            json.encode([timing, one.timeout, place, *[given for given in (one.attributes, one.version) if given]])
        )
        if before is None:
            after = StoredSchedule(
                workflow=name, input=Raw(b"{}"), timing=timing, created_at=now, next_tick=timing.after(now)
            )
        elif before.declared == declared:
            return None
        else:
            after = with_timing(before, timing, now)
            if before.declared is None:
                log.warning("schedule %r was made at run time, and is now what the code of its workflow declares", name)
        after = replace(
            after,
            workflow=versioned(name, one.version),
            input=Raw(one.signature.encode(self._codec, (), {}, what=f"input of workflow {name}")),
            instance=ABSENT,
            timeout=one.timeout,
            attributes=dict(one.attributes),
            place=place,
            declared=declared,
        )
        return ScheduleWrite(name=name, revision=revision, row=schedule_row(name, after, self._host))


def scheduled_place(definition: AnyWorkflow[..., Any]) -> QueuePlace | None:
    """Give where the workflows of a schedule stand in a queue, if they do; `UsageError` for what cannot be there."""
    placing = definition.placing
    given = [name for name in ("delay", "dedup_key") if getattr(placing, name) is not None]
    if given:
        raise UsageError(
            f"workflow {definition.name!r} is scheduled with {given[0]}=, and its ticks have times and ids of their "
            "own; leave it out"
        )
    name = placing.queue_name()
    return None if name is None else queue_place(placing, name, 0)


def no_schedules(store: Store, why: str) -> UsageError:
    """Give the error of who wants a schedule kept by a store that keeps none."""
    return UsageError(f"this store, {type(store).__name__}, keeps no schedules, and {why}; use a store that does")


def check_schedule_name(name: str) -> str:
    """Give the name of a schedule back; `UsageError` where it cannot be one."""
    if len(check_name(name, "the name of a schedule")) > LONGEST_NAME:
        raise UsageError(
            f"the name of a schedule must have at most {LONGEST_NAME} characters, since it is in the ids of its"
            f" workflows, got {len(name)}: {name[:40]!r}..."
        )
    return name
