"""The command line on a real database file: what it prints, what it refuses, and that it changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from everlog import (
    Client,
    Engine,
    RetryPolicy,
    Schedule,
    WorkflowFailed,
    close_stream,
    continue_as_new,
    emit,
    recv,
    set_value,
    step,
    workflow,
)
from everlog.cli import show
from everlog.cli.main import main
from everlog.core.version import VERSION


@step
async def greeting(name: str) -> str:
    return f"hello {name}"


@step(retry=RetryPolicy(max_attempts=2, first_delay=3600))
async def refuse(why: str) -> None:
    raise ValueError(why)


@workflow(name="cli_greet")
async def greet(names: list[str]) -> list[str]:
    return [await greeting(name) for name in names]


@workflow(name="cli_fail")
async def fail() -> None:
    await refuse.options(retry=None)("no such luck")


@workflow(name="cli_retry")
async def retry() -> None:
    await refuse("not yet")


@workflow(name="cli_wait")
async def wait_for_number() -> int:
    return await recv("number", type=int)


@workflow(name="cli_sleep")
async def sleep_long() -> None:
    await asyncio.sleep(86400)


@workflow(name="cli_unknown")
async def nobody_knows() -> None:
    pass


KNOWN = [greet, fail, retry, wait_for_number, sleep_long]


async def settled(engine: Engine, workflow_id: str, state: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if (await engine.handle(workflow_id).status()).state == state:
                return
            await asyncio.sleep(0.01)


async def fill(url: str) -> None:
    """One workflow in each state that an engine leaves behind."""
    async with Engine(url, workflows=KNOWN, grace=0) as engine:
        await engine.run(greet.options(id="greet-1"), ["ann", "bob"])
        with pytest.raises(WorkflowFailed):
            await engine.run(fail.options(id="fail-1"))
        await engine.start(retry.options(id="retry-1"))
        await engine.start(sleep_long.options(id="sleep-1"))
        await engine.start(wait_for_number.options(id="wait-1"))
        await engine.start(wait_for_number.options(id="stuck-1"))
        await engine.start(nobody_knows.options(id="queued-1"))
        await engine.start(sleep_long.options(id="cancelled-1"))
        await engine.handle("cancelled-1").cancel(reason="no longer wanted")
        await engine.send("stuck-1", "number", "not a number")
        for workflow_id in ("retry-1", "sleep-1", "wait-1"):
            await settled(engine, workflow_id, "waiting")
        await settled(engine, "stuck-1", "stuck")
        await settled(engine, "cancelled-1", "cancelled")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "shop.db"
    asyncio.run(fill(f"sqlite:///{path}"))
    return path


class Printed:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Command = Callable[..., Printed]


@pytest.fixture
def everlog(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("EVERLOG_DB", raising=False)

    def run(*arguments: object) -> Printed:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return run


# -- workflows that continue as new ------------------------------------------------------------------------------------


@workflow(name="cli_rounds")
async def rounds(number: int) -> int:
    await set_value("round", number)
    await set_value(f"in {number}", True)
    if number < 3:
        continue_as_new(rounds, number + 1)
    return number


def test_show_begins_where_a_workflow_last_continued_and_log_has_it_all(tmp_path: Path, everlog: Command) -> None:
    async def fill() -> None:
        async with Engine(f"sqlite:///{tmp_path / 'rounds.db'}", workflows=[rounds]) as engine:
            assert await engine.run(rounds.options(id="rounds"), 1) == 3

    asyncio.run(fill())
    shown = everlog("show", "rounds", "--db", tmp_path / "rounds.db").out
    assert "since it continued as new, at event 9" in shown
    assert "value     in 1: true" in shown
    assert "value     round: 3" in shown
    assert re.search(r'continued +as cli_rounds \{"number":3\}', shown)
    assert "created " not in shown.partition("AFTER")[2]
    whole = everlog("show", "--all", "rounds", "--db", tmp_path / "rounds.db").out
    assert re.search(r'created +\{"number":1\}', whole)
    assert whole.count("continued  ") == 2
    assert everlog("log", "rounds", "--db", tmp_path / "rounds.db").out.count("workflow_continued") == 2


# -- values and streams ------------------------------------------------------------------------------------------------


@step(name="cli_talk")
async def talk() -> None:
    await emit("words", "hello", "you")
    await set_value("progress", 2)


@workflow(name="cli_publish")
async def publish() -> str:
    await set_value("state", {"at": "work"})
    await emit("log", 1, 2, 3)
    await talk()
    await close_stream("log")
    return "done"


def test_values_and_streams_are_shown(everlog: Command, tmp_path: Path) -> None:
    async def fill() -> None:
        async with Engine(f"sqlite:///{tmp_path}/shop.db", workflows=[publish]) as engine:
            await engine.run(publish.options(id="publish-1"))

    asyncio.run(fill())
    shown = everlog("show", "publish-1", "--db", tmp_path / "shop.db")
    assert shown.code == 0
    told = [" ".join(line.split()) for line in shown.lines]
    assert "value progress: 2" in told
    assert 'value state: {"at":"work"}' in told
    assert "stream log: 4 long, closed" in told
    assert "stream words: 2 long" in told
    rows = "\n".join(told)
    assert 'set state {"at":"work"}' in rows
    assert "emit to log 3 items from 0 on: [1,2,3]" in rows
    assert "set progress 2, by step cli_talk" in rows
    assert "close log at 3" in rows
    assert "step cli_talk" in rows
    logged = everlog("log", "publish-1", "--db", tmp_path / "shop.db")
    assert "items_emitted" in logged.out


# -- ls ----------------------------------------------------------------------------------------------------------------


def test_ls_lists_the_newest_first_in_aligned_columns(everlog: Command, database: Path) -> None:
    printed = everlog("ls", database)
    assert printed.code == 0
    assert [line.split()[0] for line in printed.lines[1:]][-1] == "greet-1"
    column = printed.lines[0].index("STATE")
    states = {line.split()[0]: line[column:].split()[0] for line in printed.lines[1:]}
    assert states == {
        "greet-1": "completed",
        "fail-1": "failed",
        "retry-1": "waiting",
        "sleep-1": "waiting",
        "wait-1": "waiting",
        "stuck-1": "stuck",
        "queued-1": "queued",
        "cancelled-1": "cancelled",
    }


def test_every_line_fits_in_a_hundred_columns(everlog: Command, database: Path) -> None:
    for arguments in (["ls", database], ["log", "fail-1", "--db", database], ["show", "wait-1", "--db", database]):
        assert max(len(line) for line in everlog(*arguments).lines) <= 100, arguments


def test_ls_filters_by_state_and_name(everlog: Command, database: Path) -> None:
    assert [line.split()[0] for line in everlog("ls", database, "--state", "stuck").lines[1:]] == ["stuck-1"]
    assert [line.split()[0] for line in everlog("ls", database, "--name", "cli_greet").lines[1:]] == ["greet-1"]
    assert everlog("ls", database, "--name", "cli_nothing").out == "no workflows that fit\n"


def test_ls_says_when_there_are_more(everlog: Command, database: Path) -> None:
    printed = everlog("ls", database, "--limit", 3)
    assert len(printed.lines) == 5
    assert "--limit 0" in printed.lines[-1]
    assert len(everlog("ls", database, "--limit", 0).lines) == 9


def test_ls_as_json_is_one_object_per_line(everlog: Command, database: Path) -> None:
    found = {one["id"]: one for one in map(json.loads, everlog("ls", database, "--json").lines)}
    assert len(found) == 8
    assert found["fail-1"]["state"] == "failed"
    assert "no such luck" in found["fail-1"]["error"]


# -- show --------------------------------------------------------------------------------------------------------------


def test_schedules_are_listed_by_name_in_their_time_zones(everlog: Command, tmp_path: Path) -> None:
    async def fill_with_schedules() -> None:
        async with Client(f"sqlite:///{tmp_path}/shop.db") as client:
            tokyo = Schedule("0 9 1 1 *", timezone="Asia/Tokyo", catch_up="all", jitter=60)
            await client.create_schedule("yearly", tokyo, greet, ["x"])
            await client.create_schedule("often", Schedule(every=1.5), greet, [])
            await client.schedule("often").pause()

    asyncio.run(fill_with_schedules())
    path = tmp_path / "shop.db"
    title, often, yearly = everlog("schedules", path).lines
    assert title.split() == ["NAME", "WORKFLOW", "SCHEDULE", "NEXT", "TICK", "LAST", "TICK", "WHY"]
    assert re.match(r"often +cli_greet +every 1.5 s +- +- +it is paused", often)
    assert re.match(r"yearly +cli_greet +0 9 1 1 \* Asia/Tokyo +2\d\d\d-01-01 09:00:00 +- +", yearly)
    first, second = [json.loads(line) for line in everlog("schedules", "--db", path, "--json").lines]
    assert (first["every"], first["cron"], first["paused"], first["next_tick"]) == (1.5, None, True, None)
    assert (second["cron"], second["timezone"], second["catch_up"], second["jitter"], second["declared"]) == (
        "0 9 1 1 *",
        "Asia/Tokyo",
        "all",
        60.0,
        False,
    )
    assert second["next_tick"].endswith("-01-01T09:00:00+09:00")
    assert second["why"].startswith("its next tick is at 2")


def test_a_database_without_schedules_says_so(everlog: Command, database: Path) -> None:
    assert everlog("schedules", database).lines == ["no schedules"]
    assert everlog("schedules", database, "--json").lines == []


def test_show_tells_how_a_workflow_came_to_its_end(everlog: Command, database: Path) -> None:
    printed = everlog("show", "greet-1", "--db", database)
    assert printed.code == 0
    assert "It returned after" in printed.out
    assert re.search(r'step greeting#2 +"hello bob"', printed.out)
    assert "2 steps completed, 0 failed, 0 messages received" in printed.out
    assert "1 message received" in everlog("show", "stuck-1", "--db", database).out


@pytest.mark.parametrize(
    ("workflow_id", "sentence"),
    [
        ("fail-1", "It failed after"),
        ("retry-1", r"It tries step 'refuse' for the 2nd time at .* UTC \(not yet\)"),
        ("sleep-1", "It sleeps until"),
        ("wait-1", r"It has waited .* for a message on topic 'number'"),
        ("stuck-1", "It is stuck: "),
        ("queued-1", "for a worker that knows 'cli_unknown'"),
        ("cancelled-1", "It was cancelled: no longer wanted"),
    ],
)
def test_show_says_why_in_a_sentence(everlog: Command, database: Path, workflow_id: str, sentence: str) -> None:
    printed = everlog("show", workflow_id, "--db", database)
    assert re.search(sentence, " ".join(printed.out.split())), printed.out


def test_show_gives_the_traceback_of_a_failure(everlog: Command, database: Path) -> None:
    printed = everlog("show", "fail-1", "--db", database)
    assert "ValueError: no such luck" in printed.out
    assert "raise ValueError(why)" in printed.out


def test_show_says_that_no_worker_runs(everlog: Command, database: Path) -> None:
    for workflow_id in ("queued-1", "wait-1"):
        assert "No worker is running on this database" in " ".join(
            everlog("show", workflow_id, "--db", database).out.split()
        )


def test_show_says_that_no_running_worker_knows_a_workflow(
    everlog: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show, "PATIENCE", 0)

    async def program() -> tuple[str, str]:
        async with Engine(f"sqlite:///{tmp_path / 'a.db'}", workflows=[greet, wait_for_number]) as engine:
            await engine.start(nobody_knows.options(id="queued-1"))
            await engine.start(wait_for_number.options(id="wait-1"))
            await settled(engine, "wait-1", "waiting")
            shown = [everlog("show", id, "--db", tmp_path / "a.db").out for id in ("queued-1", "wait-1")]
            await engine.cancel("wait-1")
            return " ".join(shown[0].split()), shown[1]

    queued, waiting = asyncio.run(program())
    assert "not taken by the one running worker: none knows 'cli_unknown'" in queued
    assert "(running)" in waiting
    assert "not taken" not in waiting


def test_show_cuts_a_long_timeline_and_says_how_to_see_all(everlog: Command, tmp_path: Path) -> None:
    async def program() -> None:
        async with Engine(f"sqlite:///{tmp_path / 'a.db'}", workflows=[greet], durability="process") as engine:
            await engine.run(greet.options(id="long"), [str(number) for number in range(60)])

    asyncio.run(program())
    short = everlog("show", "long", "--db", tmp_path / "a.db")
    assert "... 39 more ..." in short.out
    assert f"everlog show --all long --db {tmp_path / 'a.db'}" in short.out
    whole = everlog("show", "long", "--all", "--db", tmp_path / "a.db")
    assert "step greeting#30 " in whole.out


# -- log ---------------------------------------------------------------------------------------------------------------


def test_log_prints_a_line_for_each_event(everlog: Command, database: Path) -> None:
    lines = everlog("log", "greet-1", "--db", database).lines
    assert [line.split()[3] for line in lines] == [
        "workflow_created",
        "workflow_began",
        "step_completed",
        "step_completed",
        "workflow_completed",
    ]
    assert [int(line.split()[0]) for line in lines] == [1, 2, 3, 4, 5]


def test_log_as_json_is_complete(everlog: Command, database: Path) -> None:
    events = [json.loads(line) for line in everlog("log", "fail-1", "--db", database, "--json").lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    failed = next(event for event in events if event["type"] == "step_failed")
    assert failed["workflow_id"] == "fail-1"
    assert failed["data"]["error"]["type"] == "builtins:ValueError"
    assert "raise ValueError(why)" in failed["data"]["error"]["traceback"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", failed["recorded_at"])


# -- where the database is ---------------------------------------------------------------------------------------------


def test_the_database_is_given_by_url_path_variable_or_default(
    everlog: Command, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = everlog("ls", database, "--state", "stuck", "--json").out
    assert everlog("ls", f"sqlite:///{database}", "--state", "stuck", "--json").out == expected
    assert everlog("ls", "--db", database, "--state", "stuck", "--json").out == expected
    monkeypatch.setenv("EVERLOG_DB", str(database))
    assert everlog("ls", "--state", "stuck", "--json").out == expected


def test_without_a_name_the_default_file_is_taken(
    everlog: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def program() -> None:
        async with Client("sqlite:///everlog.db") as client:
            await client.start(greet.options(id="here"), [])

    monkeypatch.chdir(tmp_path)
    asyncio.run(program())
    assert everlog("ls").lines[1].startswith("here")


CASES = [
    "no place",
    "missing",
    "missing folder",
    "folder",
    "text",
    "other",
    "empty",
    "memory",
    "scheme",
    "show unknown",
    "log unknown",
    "log alike",
    "bad state",
    "bad count",
    "no such command",
]


def refusals(tmp_path: Path, database: Path) -> dict[str, tuple[list[object], str]]:
    text, other, empty = tmp_path / "text.db", tmp_path / "other.db", tmp_path / "empty.db"
    text.write_text("this is no database at all, but a text that is long enough to look into")
    empty.touch()
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    connection.close()
    return {
        "no place": (["ls"], "which database"),
        "missing": (["ls", tmp_path / "missing.db"], "there is no database file"),
        "missing folder": (["ls", tmp_path / "no" / "missing.db"], "does not exist"),
        "folder": (["ls", tmp_path], "is a directory"),
        "text": (["ls", text], "is not a SQLite database"),
        "other": (["show", "x", "--db", other], "is not an Everlog database"),
        "empty": (["log", "x", "--db", empty], "is empty"),
        "memory": (["ls", "memory://"], "cannot be seen from another"),
        "scheme": (["ls", "oracle://host/x"], "no backend is installed"),
        "show unknown": (["show", "nobody", "--db", database], "there is no workflow 'nobody'"),
        "log unknown": (["log", "nobody", "--db", database], "everlog ls"),
        "log alike": (["log", "gree", "--db", database], "did you mean greet-1?"),
        "bad state": (["ls", database, "--state", "asleep"], "invalid choice"),
        "bad count": (["ls", database, "--limit", "-3"], "expected a number"),
        "no such command": (["frobnicate"], "invalid choice"),
    }


@pytest.mark.parametrize("case", CASES)
def test_an_error_is_one_line_and_exit_code_2(
    everlog: Command, case: str, tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = refusals(tmp_path, database)[case]
    before = sorted(path.name for path in tmp_path.iterdir())
    printed = everlog(*arguments)
    assert printed.code == 2
    assert message in printed.err
    assert "Traceback" not in printed.err
    if not printed.err.startswith("usage:"):
        assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "a reading command made a file"


# -- the program -------------------------------------------------------------------------------------------------------


def test_the_version_and_the_help(everlog: Command) -> None:
    assert everlog("--version").out.startswith(f"everlog {VERSION}")
    for arguments in ([], ["--help"]):
        printed = everlog(*arguments)
        assert printed.code == 0
        assert all(command in printed.out for command in ("demo", "ls", "show", "log", "exit codes"))


def test_a_reader_that_has_enough_is_no_error(database: Path) -> None:
    program = f"{sys.executable} -m everlog.cli log greet-1 --db '{database}' --json | true"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", program], capture_output=True, text=True, timeout=30)
    assert ended.stderr == ""


def test_looking_leaves_the_database_as_it_is(everlog: Command, database: Path) -> None:
    before = everlog("log", "wait-1", "--db", database, "--json").out
    everlog("show", "wait-1", "--db", database)
    everlog("ls", database)
    assert everlog("log", "wait-1", "--db", database, "--json").out == before
    assert main(["show", "stuck-1", "--db", str(database)]) == 0
