"""No tick is lost or doubled: over all time zones and their changes of clocks, over engines, restarts and crashes.

The oracle walks through the minutes of a stretch of time and looks at what clocks on a wall would show. It knows the
rule, as a person reads it in the documentation, and neither the library nor the arithmetic of the engine.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everlog
from everlog import Engine, Schedule, workflow
from everlog.core.durations import SECOND, as_datetime, from_datetime
from everlog.core.timing import Timing
from everlog.memory import MemoryStore
from everlog.store import WorkflowQuery
from everlog.testing.faults import Crash, Fault, FaultyStore
from everlog.testing.simulation import EPOCH, SimulatedHost
from tests.postgres import needs_postgres
from tests.property.databases import LONG, Database, Kind
from tests.support import kill, opened

YEARS = range(2020, 2031)
ZONES = sorted(zone for zone in available_timezones() if zone not in ("localtime", "Factory"))
HOSTILE = (
    "Africa/Cairo",  # at midnight
    "Africa/Casablanca",  # four times a year
    "America/Havana",
    "America/Nuuk",
    "America/Santiago",
    "Antarctica/Troll",  # by two hours
    "Asia/Beirut",
    "Asia/Gaza",
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Berlin",
    "Europe/Dublin",  # winter time is the exception
    "Pacific/Apia",
)
EXPRESSIONS = (
    "30 2 * * *",
    "0 0 * * *",
    "59 23 * * 0",
    "*/20 2 * * *",
    "15 1,2,3 * * *",
    "0 */2 * * *",
    "0 0 1 * *",
    "30 * * * *",
    "*/15 * * * *",
    "0 * * * 0",
    "*/30 0-23 29 3,10 *",
    "7 * 31 * 5-7",
)


def numbers(field: str, first: int, last: int) -> set[int]:
    """Give what a field of an expression names."""
    named: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        start, end = (first, last) if span == "*" else (int(low), int(high or low))
        named.update(range(start, end + 1, int(step or 1)))
    return named


class Wall:
    """Clocks on the walls of a time zone, which somebody watches for an expression."""

    def __init__(self, expression: str, zone: str) -> None:
        second, minute, hour, day, month, weekday = fields = ["0", *expression.split()][-6:]
        self.zone = ZoneInfo(zone)
        self.step = timedelta(minutes=1) if second == "0" else timedelta(seconds=1)
        self.seconds = numbers(second, 0, 59)
        self.minutes, self.hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
        self.days, self.months = numbers(day, 1, 31), numbers(month, 1, 12)
        self.weekdays = {one % 7 for one in numbers(weekday, 0, 7)}
        self.both = fields[3].startswith("*") or fields[5].startswith("*")

    def shown(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def is_named(self, shown: datetime) -> bool:
        fits = [shown.day in self.days, shown.isoweekday() % 7 in self.weekdays]
        is_day = (all(fits) if self.both else any(fits)) and shown.month in self.months
        return is_day and shown.hour in self.hours and shown.minute in self.minutes and shown.second in self.seconds

    def ticks(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Give the ticks after a moment, up to and with another."""
        moment, latest = start, self.shown(start)
        while (moment := moment + self.step) <= end:
            shown = self.shown(moment)
            if len(self.hours) == 24:
                due = self.is_named(shown)
            else:  # what was not shown before, with all that was skipped on the way to it
                ahead = (shown - latest) // self.step
                due = any(self.is_named(latest + self.step * number) for number in range(1, ahead + 1))
            latest = max(latest, shown)
            if due:
                yield moment


@cache
def changes(zone: str, year: int) -> Sequence[datetime]:
    """Give the hours of a year after which the clocks of a zone are others than before."""
    clock, found = ZoneInfo(zone), []
    moment = datetime(year, 1, 1, tzinfo=UTC)
    while moment.year == year:
        after = moment + timedelta(hours=6)
        if moment.astimezone(clock).utcoffset() != after.astimezone(clock).utcoffset():
            found.append(moment)
        moment = after
    return found


def check(expression: str, zone: str, change: datetime, around: timedelta) -> int:
    """Compare the ticks around a change of clocks with those that somebody sees; give how many there were."""
    start, end = change - around, change + around + timedelta(hours=6)
    timing = Timing(cron=expression, timezone=zone)
    first, last = from_datetime(start, what="start"), from_datetime(end, what="end")
    found = [as_datetime(tick) for tick in timing.ticks(first, last)]
    assert found == list(Wall(expression, zone).ticks(start, end)), (expression, zone, change)
    # Wherever it is asked, also between two ticks and between two seconds, the next one is the same.
    for before, tick in zip([start, *found], found, strict=False):
        between = before + (tick - before) * 0.37
        assert timing.after(from_datetime(between, what="between")) == from_datetime(tick, what="tick")
    if found:
        one, until = from_datetime(found[0], what="tick"), last
        assert as_datetime(timing.last(one, until)) == found[-1]
    return len(found)


@pytest.mark.parametrize("zone", HOSTILE)
def test_ticks_are_those_that_somebody_sees_on_the_wall(zone: str) -> None:
    chance, found = Random(zone), [change for year in YEARS for change in changes(zone, year)]
    seen = [
        check(expression, zone, change, timedelta(hours=20))
        for change in chance.sample(found, min(3, len(found)))
        for expression in chance.sample(EXPRESSIONS, 4)
    ]
    assert sum(seen) > 0


@pytest.mark.long
@pytest.mark.parametrize("zone", ZONES)
def test_ticks_in_every_zone_are_those_that_somebody_sees_on_the_wall(zone: str) -> None:
    chance = Random(zone)
    for year in YEARS:
        for change in changes(zone, year):
            expressions = EXPRESSIONS if zone in HOSTILE else chance.sample(EXPRESSIONS, 3)
            for expression in expressions:
                check(expression, zone, change, timedelta(hours=30))


minutes = st.sampled_from(["*", "*/7", "0", "30", "59", "0,30", "13-17", "5/20"])
times = st.tuples(
    minutes,
    st.sampled_from(["*", "*/3", "0", "1-3", "2", "23", "0,12", "0-23"]),
    st.sampled_from(["*", "*", "*", "*/2", "1", "29-31", "28"]),
    st.sampled_from(["*", "*", "*/2", "3,10", "11"]),
    st.sampled_from(["*", "*", "0", "7", "1-5", "6,0"]),
)


@settings(max_examples=300 if LONG else 25, deadline=None)
@given(times, st.sampled_from(ZONES), st.sampled_from(YEARS), st.integers(0, 3), st.integers(1, 2))
def test_any_expression_in_any_zone(fields: Sequence[str], zone: str, year: int, which: int, days: int) -> None:
    found = changes(zone, year) or [datetime(year, 2, 28, tzinfo=UTC)]
    fields = [field.replace("5/20", "5-59/20") for field in fields]
    check(" ".join(fields), zone, found[which % len(found)], timedelta(days=days) / 2)


@settings(max_examples=200 if LONG else 12, deadline=None)
@given(
    st.sampled_from(HOSTILE),
    st.integers(0, 99),
    st.sampled_from(["30", "*/20", "7-9"]),
    st.sampled_from(["*/10", "59", "0"]),
    st.sampled_from(["*", "0-3", "2", "23"]),
)
def test_seconds_go_by_the_same_rule(zone: str, which: int, second: str, minute: str, hour: str) -> None:
    found = [change for year in YEARS for change in changes(zone, year)]
    check(f"{second} {minute} {hour} * * *", zone, found[which % len(found)], timedelta(hours=1))


# -- engines -----------------------------------------------------------------------------------------------------------


TICKS: Counter[datetime] = Counter()


@workflow
async def ticked() -> None:
    TICKS[everlog.current().tick] += 1


@pytest.mark.parametrize("seed", range(20 if LONG else 3))
def test_engines_that_come_and_go_over_a_change_of_clocks_make_each_tick_once(seed: int) -> None:
    """Two at a time, on virtual machines whose clocks begin shortly before a change; now and then one is killed."""
    chance = Random(seed)
    zone = chance.choice(HOSTILE)
    years = [year for year in YEARS if changes(zone, year)] or [2021]
    change = chance.choice(changes(zone, chance.choice(years)) or [datetime(2021, 3, 28, tzinfo=UTC)])
    expression = chance.choice([one for one in EXPRESSIONS if " * * " in one])
    start, end = change - timedelta(hours=1), change + timedelta(hours=8)
    host = SimulatedHost(seed)
    ahead = from_datetime(start, what="start") - EPOCH
    speed = 10  # minutes of the store in one of the machines: they need not live through all of them
    store = MemoryStore(clock=lambda: from_datetime(start, what="start") + (host.wall() - EPOCH) * speed)

    async def program() -> None:
        async with everlog.Client(store, host=host) as client:
            await client.create_schedule("s", Schedule(expression, timezone=zone, catch_up="all"), ticked)
        while as_datetime(store.now()) < end:
            one, other = host.sibling(), host.sibling()
            dying = await opened(Engine(store, host=one, workflows=[ticked]))
            async with Engine(store, host=other, workflows=[ticked]):
                await asyncio.sleep(chance.random() * 200)
                kill(dying)
            await asyncio.sleep(chance.random() * 100)

    TICKS.clear()
    assert ahead
    host.run(program())
    wanted = [tick for tick in Wall(expression, zone).ticks(start, end) if tick <= end]
    made = {tick for tick in TICKS if tick <= end}
    assert made == set(wanted)
    ids = [head.workflow_id for head in store.workflows(WorkflowQuery(limit=10_000))]
    assert len(ids) == len(TICKS)
    assert TICKS, (expression, zone)


@pytest.mark.parametrize("kind", ["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)])
def test_a_crash_at_any_commit_neither_loses_nor_repeats_a_tick(kind: Kind) -> None:
    database = Database(kind)
    try:
        commits = life(database, None)
        assert set(made(database)) == set(range(1, 7))
        chance = Random(kind)
        places = [(commit, when) for commit in range(1, commits + 1) for when in ("before", "after")]
        for commit, when in sorted(chance.sample(places, min(len(places), database.few(80)))):
            for how in ("crash", "unavailable"):
                life(database, Fault(commit=commit, when=when, kind=how))  # type: ignore[arg-type] # spelled out above
                assert made(database) == Counter(range(1, 7)), (commit, when, how)
    finally:
        database.end()


def made(database: Database) -> Counter[int]:
    """Give how many workflows there are of each tick, counted in seconds from the start."""
    store = database.open(lambda: EPOCH)
    heads = store.workflows(WorkflowQuery(limit=1000))
    assert all(head.state == "completed" for head in heads)
    database.close(store)
    started = datetime.fromtimestamp(EPOCH / SECOND, UTC)
    ticks = [datetime.fromisoformat(head.workflow_id.partition("@")[2]) for head in heads]
    return Counter(round((tick - started).total_seconds() / 2) for tick in ticks)


def life(database: Database, fault: Fault | None) -> int:
    """Have one engine tick until it fails, if it does, and then another; give how many commits there were."""
    database.clean()
    host = SimulatedHost(7)
    stores: list[FaultyStore] = []

    async def one_engine(until: float, *faults: Fault) -> None:
        own = host.sibling()
        store = FaultyStore(database.open(host.wall), *faults)
        stores.append(store)
        engine = Engine(store, host=own, workflows=[ticked], lease=2)
        try:
            await engine.__aenter__()
            while host.loop.time() < until and not store.crashed:  # noqa: ASYNC110 - the store crashes elsewhere
                await asyncio.sleep(0.1)
        except (Crash, everlog.StoreUnavailable):
            pass
        if store.crashed:
            own.crash()
            database.close(store.store)
        else:
            with suppress(Crash):
                await engine.__aexit__(None, None, None)

    async def program() -> None:
        store = database.open(host.wall)
        async with everlog.Client(store, host=host.sibling()) as client:
            await client.create_schedule("s", Schedule(every=2, catch_up="all"), ticked)
        database.close(store)
        await one_engine(7, *([fault] if fault is not None else []))
        await one_engine(13.4)

    host.run(program())
    return stores[0].commits
