"""When schedules tick: cron expressions, clock changes, intervals, jitter, catching up. Without an engine."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from everlog import Schedule, UsageError
from everlog.core.durations import SECOND, as_datetime, from_datetime
from everlog.core.ticks import (
    LATE,
    MOST_MADE_UP,
    StoredSchedule,
    decode,
    due_at,
    encode,
    resumed,
    take_due,
    tick_id,
    with_timing,
)
from everlog.core.timing import Timing
from everlog.errors import CorruptLog

MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(schedule: Schedule, after: str, count: int) -> list[str]:
    return [f"{tick:%d %H:%M:%S%z}" for tick in schedule.upcoming(count, after=at(after))]


def test_an_expression_is_read_in_its_time_zone() -> None:
    weekdays = Schedule("0 9 * * MON-FRI", timezone="Europe/Berlin")
    assert weekdays.upcoming(2, after=at("2026-07-03 06:59:59")) == [at("2026-07-03 07:00"), at("2026-07-06 07:00")]
    assert local(weekdays, "2026-07-03 07:00", 1) == ["06 09:00:00+0200"]
    assert local(Schedule("*/20 30 9 * * *"), "2026-07-03", 3) == [
        "03 09:30:00+0000",
        "03 09:30:20+0000",
        "03 09:30:40+0000",
    ]


def test_a_time_that_clocks_skip_ticks_when_they_have_skipped_it() -> None:
    assert local(Schedule("30 2 * * *", timezone="Europe/Berlin"), "2026-03-28 12:00", 2) == [
        "29 03:00:00+0200",
        "30 02:30:00+0200",
    ]


def test_what_clocks_skip_together_is_one_tick() -> None:
    assert local(Schedule("*/10 1-3 * * *", timezone="Europe/Berlin"), "2026-03-29 00:45", 3) == [
        "29 01:50:00+0100",
        "29 03:00:00+0200",
        "29 03:10:00+0200",
    ]


def test_a_time_that_clocks_show_twice_ticks_the_first_time() -> None:
    berlin = Schedule("30 2 * * *", timezone="Europe/Berlin")
    assert local(berlin, "2026-10-24 12:00", 2) == ["25 02:30:00+0200", "26 02:30:00+0100"]
    assert local(berlin, "2026-10-25 01:10", 1) == ["26 02:30:00+0100"]  # the clocks show 02:10 for the second time


def test_every_hour_goes_by_real_time() -> None:
    berlin = Schedule("30 * * * *", timezone="Europe/Berlin")
    assert local(berlin, "2026-03-29 00:00", 3) == ["29 01:30:00+0100", "29 03:30:00+0200", "29 04:30:00+0200"]
    assert local(berlin, "2026-10-25 00:00", 3) == ["25 02:30:00+0200", "25 02:30:00+0100", "25 03:30:00+0100"]


def test_an_interval_ticks_at_its_multiples() -> None:
    assert Schedule(every=3600).upcoming(2, after=at("2026-07-03 06:59:59")) == [
        at("2026-07-03 07:00"),
        at("2026-07-03 08:00"),
    ]
    assert Schedule(every=timedelta(seconds=1.5)).upcoming(2, after=at("1970-01-01")) == [
        as_datetime(1_500_000),
        as_datetime(3_000_000),
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Schedule("0 25 * * *"), "'0 25 \\* \\* \\*' cannot be read .Bad hour.*'0 9 \\* \\* MON-FRI'"),
        (lambda: Schedule("* * *"), "Wrong number of fields"),
        (lambda: Schedule("@daily"), "Wrong number of fields"),
        (lambda: Schedule("* * */20 * 1L"), "never ticks"),
        (lambda: Schedule("0 9 * * *", timezone="Europe/Bonn"), "no time zone 'Europe/Bonn'.*pip install tzdata"),
        (lambda: Schedule("0 9 * * *", timezone="../UTC"), "no time zone"),
        (lambda: Schedule("0 9 * * *", timezone="Europe"), "no time zone"),
        (lambda: Schedule("0 9 * * *", timezone=""), "no time zone"),
        (lambda: Schedule(every=0.5), "at least a second, got 0.5"),
        (lambda: Schedule(every=-1), "between 0 and 400 years"),
        (lambda: Schedule(every=5, jitter=-1), "jitter must be between"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_users_without_a_type_checker_are_told_what_is_wrong() -> None:
    made: Any = Schedule
    for arguments, options, words in [
        ((), {}, "a cron expression or an interval"),
        (("0 9 * * *",), {"every": 5}, "a cron expression or an interval"),
        ((3600,), {}, "got 3600; an interval is every="),
        (("0 9 * * *",), {"timezone": UTC}, "timezone must be a name"),
        ((), {"every": 5, "timezone": "Europe/Berlin"}, "same in every time zone"),
        ((), {"every": 5, "catch_up": "some"}, "'none', 'last' or 'all', got 'some'"),
        ((), {"every": "5"}, "every must be seconds"),
    ]:
        with pytest.raises(UsageError, match=words):
            made(*arguments, **options)


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(UsageError, match="pip install 'everlog\\[cron\\]'"):
        Schedule("1 2 3 4 *")
    assert Schedule(every=60).upcoming(1, after=at("2026-01-01")) == [at("2026-01-01 00:01")]
    stored = Schedule.stored(Timing(cron="1 2 3 4 *"))  # is looked at, also where it cannot tick
    assert repr(stored) == "Schedule('1 2 3 4 *')"
    with pytest.raises(UsageError, match="cronsim"):
        stored.upcoming(after=at("2026-01-01"))


def test_schedules_are_equal_and_shown_as_they_were_written() -> None:
    one = Schedule("0 9 * * *", timezone="Europe/Berlin", catch_up="all", jitter=30)
    assert one == Schedule("0 9 * * *", timezone="Europe/Berlin", catch_up="all", jitter=timedelta(seconds=30))
    assert len({one, Schedule(every=60), Schedule(every=60), Schedule(every=61)}) == 3
    assert repr(one) == "Schedule('0 9 * * *', timezone='Europe/Berlin', catch_up='all', jitter=30)"
    assert eval(repr(one)) == one
    assert eval(repr(Schedule(every=1.5))) == Schedule(every=1.5)


# -- what is due -------------------------------------------------------------------------------------------------------


def stored(timing: Timing, next_tick: int | None, *, paused: bool = False) -> StoredSchedule:
    return StoredSchedule(
        workflow="report", input=Raw(b"{}"), timing=timing, created_at=0, next_tick=next_tick, paused=paused
    )


def test_before_its_time_nothing_is_due() -> None:
    hourly = Timing(every=HOUR)
    for one in (stored(hourly, HOUR), stored(hourly, HOUR, paused=True), stored(hourly, None)):
        now = HOUR - 1 if not one.paused and one.next_tick else 9 * HOUR
        assert take_due("r", one, now).ticks == []
        assert take_due("r", one, now).stored == one


@pytest.mark.parametrize(
    ("catch_up", "late", "made", "skipped"),
    [
        ("last", 0, [1], None),
        ("last", 5 * HOUR, [6], 1),
        ("all", 5 * HOUR, [1, 2, 3, 4, 5, 6], None),
        ("none", 0, [1], None),
        ("none", LATE, [1], None),
        ("none", LATE + 1, [], 1),
        ("none", 5 * HOUR, [6], 1),
        ("none", 5 * HOUR + LATE + 1, [], 1),
    ],
)
def test_what_was_missed_is_made_up_for_as_asked(
    catch_up: Any, late: int, made: list[int], skipped: int | None
) -> None:
    due = take_due("r", stored(Timing(every=HOUR, catch_up=catch_up), HOUR), HOUR + late)
    assert list(due.ticks) == [tick * HOUR for tick in made]
    assert due.skipped == (None if skipped is None else skipped * HOUR)
    assert due.stored.next_tick == ((HOUR + late) // HOUR + 1) * HOUR
    assert due.stored.last_tick == (made[-1] * HOUR if made else None)


def test_of_all_that_was_missed_the_newest_are_made() -> None:
    now = 10 * DAY
    due = take_due("r", stored(Timing(every=SECOND, catch_up="all"), SECOND), now)
    assert list(due.ticks) == [now - SECOND * ago for ago in reversed(range(MOST_MADE_UP))]
    assert due.skipped == SECOND
    assert (due.stored.next_tick, due.stored.last_tick) == (now + SECOND, now)
    of_cron = take_due("r", stored(Timing(cron="*/2 * * * *", catch_up="all"), 0), now)
    assert list(of_cron.ticks) == [now - 2 * MINUTE * ago for ago in reversed(range(MOST_MADE_UP))]


def test_the_newest_of_rare_ticks_are_all_of_them() -> None:
    yearly = Timing(cron="0 0 29 2 *", catch_up="all")
    due = take_due(
        "r", stored(yearly, from_datetime(at("2020-02-29"), what="")), from_datetime(at("2029-01-01"), what="")
    )
    assert [f"{as_datetime(tick):%Y-%m-%d}" for tick in due.ticks] == ["2020-02-29", "2024-02-29", "2028-02-29"]


def test_jitter_is_the_same_everywhere_and_never_reaches_the_next_tick() -> None:
    timing = Timing(every=HOUR, jitter=10 * DAY)
    delays = [timing.due_at("r", tick) - tick for tick in range(HOUR, 500 * HOUR, HOUR)]
    assert delays == [timing.due_at("r", tick) - tick for tick in range(HOUR, 500 * HOUR, HOUR)]
    assert all(0 <= delay < HOUR for delay in delays)
    assert len({delay // (6 * MINUTE) for delay in delays}) == 10, "spread over the hour"
    assert delays != [timing.due_at("another", tick) - tick for tick in range(HOUR, 500 * HOUR, HOUR)]
    assert due_at("r", stored(timing, HOUR)) == timing.due_at("r", HOUR)


def test_a_delayed_tick_is_not_made_before_its_time_and_those_before_it_are() -> None:
    timing = Timing(every=HOUR, jitter=HOUR, catch_up="all")
    for first in range(HOUR, 50 * HOUR, HOUR):
        one = stored(timing, first)
        third = first + 2 * HOUR
        due = timing.due_at("r", third)
        if due > third:
            assert take_due("r", one, due - 1).ticks == [first, first + HOUR]
            assert take_due("r", one, due - 1).stored.next_tick == third
        assert take_due("r", one, due).ticks == [first, first + HOUR, third]


def test_a_change_takes_over_where_the_old_schedule_was() -> None:
    old = stored(Timing(cron="0 9 * * *"), from_datetime(at("2026-07-03 09:00"), what=""))
    missed = with_timing(old, Timing(cron="5 9 * * *"), from_datetime(at("2026-07-03 09:30"), what=""))
    assert missed.next_tick == from_datetime(at("2026-07-03 09:05"), what=""), "the engine was off when it was due"
    later = with_timing(old, Timing(cron="0 8 * * *"), from_datetime(at("2026-07-02 10:00"), what=""))
    assert later.next_tick == from_datetime(at("2026-07-03 08:00"), what="")


def test_a_pause_leaves_ticks_out() -> None:
    paused = stored(Timing(every=HOUR), HOUR, paused=True)
    assert resumed(paused, 5 * HOUR).next_tick == 6 * HOUR
    assert resumed(resumed(paused, 5 * HOUR), 9 * HOUR).next_tick == 6 * HOUR
    assert with_timing(paused, Timing(every=MINUTE), 5 * HOUR).next_tick == 5 * HOUR + MINUTE


def test_what_is_stored_comes_back_and_what_is_none_is_told() -> None:
    one = stored(Timing(cron="0 9 * * *", timezone="Asia/Tokyo", catch_up="none", jitter=5), 7)
    assert decode(encode(one), "r") == one
    assert msgspec.json.decode(encode(one))["timing"]["cron"] == "0 9 * * *"
    with pytest.raises(CorruptLog, match="schedule 'r' cannot be read"):
        decode(b'{"workflow":5}', "r")


def test_ids_say_the_planned_time() -> None:
    assert tick_id("daily", from_datetime(at("2026-03-29 01:30"), what="")) == "daily@2026-03-29T01:30:00Z"
    assert tick_id("daily", 1_500_000) == "daily@1970-01-01T00:00:01.500000Z"
