"""Guards: workflow code that a replay cannot repeat is told so, with its line; nobody else is bothered."""

from __future__ import annotations

import asyncio
import datetime
import gc
import gzip
import importlib
import logging
import os
import random
import re
import secrets
import socket
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import everlog
from everlog import Engine, NondeterminismWarning, WorkflowFailed, step, workflow
from everlog.memory import MemoryStore
from everlog.replay import guards
from everlog.replay.guards import install_guards
from everlog.testing import watch_calls
from everlog.testing.simulation import SimulatedHost
from tests.support import kill, make_store, opened, run


@pytest.fixture(autouse=True)
def a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reads_the_clock_at_import.py").write_text("import time\nAT = time.time()\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture(autouse=True)
def no_other_engines() -> None:
    """Forget the engines that other tests killed: they never closed."""
    guards._settings.clear()
    guards._restore()


ADVICE = {
    "everlog.now()": {"reads_the_clock", "reads_another_clock", "asks_for_today"},
    "asyncio.sleep, in a def workflow sync.sleep": {"sleeps_for_real"},
    "everlog.random()": {"draws", "chooses", "draws_bytes", "draws_a_secret"},
    "everlog.uuid4()": {"draws_an_id"},
    "pass it in": {"reads_the_environment", "looks_into_the_environment", "reads_its_process"},
}


def advice(name: str) -> str:
    """What a warning about that function has to say."""
    return next((told for told, names in ADVICE.items() if name in names), "do it in a step")


def reads_the_clock() -> Any:
    return time.time()


def reads_another_clock() -> Any:
    return time.monotonic_ns()


def asks_for_today() -> Any:
    return datetime.date.today()  # noqa: DTZ011 - it calls time.time


def sleeps_for_real() -> Any:
    return time.sleep(0)


def draws() -> Any:
    return random.random()


def chooses() -> Any:
    return random.choice([1, 2])


def draws_an_id() -> Any:
    return uuid.uuid4()


def draws_bytes() -> Any:
    return os.urandom(4)


def draws_a_secret() -> Any:
    return secrets.token_hex()


def reads_the_environment() -> Any:
    return os.getenv("HOME")


def looks_into_the_environment() -> Any:
    return os.environ["PATH"]


def reads_its_process() -> Any:
    return os.getpid()


def opens_an_archive() -> Any:
    try:
        return gzip.open("/nowhere/at/all")
    except OSError:
        return None


def opens_a_file() -> Any:
    with open(__file__) as file:
        return file.readable()


def opens_a_path() -> Any:
    return Path(__file__).read_bytes()


def lists_a_directory() -> Any:
    return os.listdir(".")


def connects() -> Any:
    with socket.socket() as connection:
        connection.settimeout(0.01)
        return connection.connect_ex(("127.0.0.1", 1))


def looks_a_name_up() -> Any:
    return socket.getaddrinfo("127.0.0.1", 1)


def starts_a_process() -> Any:
    return subprocess.run([sys.executable, "-c", ""], check=False).returncode


IMPURE: dict[str, Callable[[], Any]] = {
    one.__name__: one
    for one in (
        reads_the_clock,
        reads_another_clock,
        asks_for_today,
        sleeps_for_real,
        draws,
        chooses,
        draws_an_id,
        draws_bytes,
        draws_a_secret,
        reads_the_environment,
        looks_into_the_environment,
        reads_its_process,
        opens_an_archive,
        opens_a_file,
        opens_a_path,
        lists_a_directory,
        connects,
        looks_a_name_up,
        starts_a_process,
    )
}


def logs() -> Any:
    logging.getLogger("tests.guards").warning("a workflow may log")


def makes_a_zone() -> Any:
    return ZoneInfo.no_cache("UTC")


def imports() -> Any:
    sys.modules.pop("this_is_not_imported", None)
    import colorsys

    return colorsys.ONE_THIRD


def formats_a_traceback() -> Any:
    import traceback

    try:
        raise ValueError("here")
    except ValueError:
        return traceback.format_exc()


def draws_from_the_log() -> Any:
    return [everlog.now(), everlog.random().random(), everlog.uuid4()]


def draws_from_its_own_generator() -> Any:
    return random.Random(5).random()


def computes_a_time() -> Any:
    return [time.gmtime(0), time.strftime("%Y", time.gmtime(0))]


class ReadsTheClock(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        record.at = time.time()
        with open(__file__) as file:
            file.readable()


def logs_by_a_handler_of_its_own() -> Any:
    logger, handler = logging.getLogger("tests.guards.handler"), ReadsTheClock()
    logger.addHandler(handler)
    logger.warning("a workflow may log")
    logger.removeHandler(handler)


def imports_a_module_that_reads_the_clock() -> Any:
    sys.modules.pop("reads_the_clock_at_import", None)
    return importlib.import_module("reads_the_clock_at_import").AT > 0


def warns() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("a workflow may warn", UserWarning, stacklevel=1)


class Finalised:
    def __del__(self) -> None:
        time.time()


def drops_what_has_a_finaliser() -> Any:
    Finalised()


def _at_each_collection(phase: str, told: dict[str, int]) -> None:
    time.perf_counter()


def is_interrupted_by_the_collector() -> Any:
    """Of two callbacks one hears of the beginning before we do, and one of the end after us."""
    gc.callbacks.insert(0, _at_each_collection)
    gc.callbacks.append(_at_each_collection)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(_at_each_collection)
        gc.callbacks.remove(_at_each_collection)


def prints() -> Any:
    print("a workflow may print")


PURE: dict[str, Callable[[], Any]] = {
    one.__name__: one
    for one in (
        logs_by_a_handler_of_its_own,
        imports_a_module_that_reads_the_clock,
        warns,
        drops_what_has_a_finaliser,
        is_interrupted_by_the_collector,
        prints,
        logs,
        makes_a_zone,
        imports,
        formats_a_traceback,
        draws_from_the_log,
        draws_from_its_own_generator,
        computes_a_time,
    )
}


@workflow
async def calls(name: str, times: int = 1) -> None:
    for _ in range(times):
        (IMPURE.get(name) or PURE[name])()
    await asyncio.sleep(1)
    for _ in range(times):
        (IMPURE.get(name) or PURE[name])()


@step
async def in_an_async_step(name: str) -> None:
    IMPURE[name]()


@step
def in_a_thread(name: str) -> None:
    IMPURE[name]()


@workflow
async def calls_steps(name: str) -> None:
    await in_an_async_step(name)
    await everlog.call(in_a_thread, name)


def noticed(program: Callable[[Engine], Any], **options: Any) -> list[warnings.WarningMessage]:
    """Run a program and give the warnings of the guards."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(program, workflows=[calls, calls_steps], **options)
    return [one for one in caught if one.category is NondeterminismWarning]


# -- warnings


@pytest.mark.parametrize("name", IMPURE)
def test_what_a_replay_cannot_repeat_is_warned_of_once_with_its_line(name: str) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(calls, name, 3)

    (warning,) = noticed(program)
    code = IMPURE[name].__code__
    assert warning.filename == __file__
    assert code.co_firstlineno < warning.lineno <= code.co_firstlineno + 4
    assert advice(name) in str(warning.message)
    assert f"{__file__}:{warning.lineno}" in str(warning.message)


@pytest.mark.parametrize("name", IMPURE)
def test_it_is_an_error_where_that_was_asked_for(name: str) -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match=re.escape(advice(name))):
            await engine.run(calls, name)

    assert noticed(program, guards="raise") == []


@pytest.mark.parametrize("name", ["reads_the_clock", "opens_a_file"])
def test_it_is_nothing_where_that_was_asked_for(name: str) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(calls, name)

    assert noticed(program, guards="off") == []


@pytest.mark.parametrize("name", PURE)
@pytest.mark.parametrize("setting", ["warn", "raise"])
def test_what_the_standard_library_does_for_itself_is_nobodys_business(name: str, setting: str) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(calls, name)

    assert noticed(program, guards=setting) == []


@pytest.mark.parametrize("name", IMPURE)
def test_steps_may_do_anything(name: str) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(calls_steps, name)
        IMPURE[name]()

    assert noticed(program, guards="raise") == []


def test_a_replay_warns_of_nothing_again() -> None:
    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[calls]))
        await first.start(calls.options(id="w"), "reads_the_clock")
        await asyncio.sleep(0.5)
        assert len(caught) == 1
        kill(first)
        remove_guards(first)
        async with Engine(store, host=host.sibling(), workflows=[calls]) as second:
            await second.handle("w").result(timeout=60)
        # What came after the replay is another process's first.
        assert len([one for one in caught if one.category is NondeterminismWarning]) == 2

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        host.run(main())


def remove_guards(engine: Engine) -> None:
    removing: Any = engine._remove_guards
    removing()


def test_a_replay_raises_what_was_raised() -> None:
    @workflow
    async def goes_on() -> str:
        try:
            time.time()
        except everlog.WrongContext:
            await asyncio.sleep(5)
            return "refused"
        return "read"

    host = SimulatedHost(1)

    async def main() -> None:
        store = make_store(host)
        async with Engine(store, host=host.sibling(), workflows=[goes_on], guards="raise") as first:
            await first.start(goes_on.options(id="w"))
            await asyncio.sleep(1)
        async with Engine(store, host=host.sibling(), workflows=[goes_on], guards="raise") as second:
            assert await second.handle("w", goes_on).result(timeout=60) == "refused"

    host.run(main())


def test_an_imported_function_is_seen_if_it_was_imported_while_an_engine_was_open() -> None:
    @workflow
    async def imports_it() -> float:
        from time import time as now

        return now()

    async def program(engine: Engine) -> None:
        await engine.run(imports_it)

    with pytest.warns(NondeterminismWarning, match="a replay would"):
        run(program, workflows=[imports_it])


# -- engines


def bare() -> list[Any]:
    environment = type(os.environ).__getitem__
    return [time.time, time.sleep, random.random, random.choice, uuid.uuid4, os.urandom, environment, secrets.token_hex]


def test_everything_is_as_before_when_the_last_engine_has_closed() -> None:
    before = bare()

    async def main() -> None:
        async with Engine(MemoryStore(), workflows=[calls]):
            async with Engine(MemoryStore(), workflows=[calls]):
                assert not any(one is other for one, other in zip(bare(), before, strict=True))
            assert not any(one is other for one, other in zip(bare(), before, strict=True))
        assert bare() == before
        async with Engine(MemoryStore(), workflows=[calls], guards="off"):
            assert bare() == before

    asyncio.run(main())
    assert bare() == before


def test_an_engine_that_could_not_open_leaves_everything_as_it_was(tmp_path: Path) -> None:
    before = bare()

    async def main() -> None:
        with pytest.raises(everlog.StoreUnavailable):
            async with Engine(f"sqlite:///{tmp_path}/nowhere/everlog.db", workflows=[calls]):
                pass

    asyncio.run(main())
    assert bare() == before


def notices() -> str:
    """Say what happens now to workflow code that reads the clock."""
    guards._noticed.clear()

    async def program(engine: Engine) -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                await engine.run(calls, "reads_the_clock")
            except WorkflowFailed:
                return "raise"
            return "warn" if caught else "off"

    return run(program, workflows=[calls], guards="off")


def test_the_strictest_setting_of_the_open_engines_holds_in_whatever_order_they_close() -> None:
    assert notices() == "off"
    warning = install_guards("warn")
    assert notices() == "warn"
    raising = install_guards("raise")
    assert notices() == "raise"
    off = install_guards("off")
    assert notices() == "raise"
    warning()
    assert notices() == "raise"
    off()
    another = install_guards("warn")
    raising()
    assert notices() == "warn"
    raising()  # a second time, of no effect
    assert notices() == "warn"
    another()
    assert notices() == "off"


# -- the testing kit, which sees more


NOW_UNDER_ANOTHER_NAME = time.time


@workflow
async def asks_for_the_date(how: str) -> str:
    match how:
        case "now":
            return str(datetime.datetime.now())  # noqa: DTZ005 - naive or not, it is a clock
        case "utc":
            return str(datetime.datetime.now(datetime.UTC))
        case "bare":
            return str(NOW_UNDER_ANOTHER_NAME())
        case "exists":
            return str(os.path.exists("/tmp"))  # noqa: ASYNC240 - what the test is about
        case "log":
            logging.getLogger("tests.guards").warning("at %s", everlog.now())
            return str(datetime.datetime.fromtimestamp(0, datetime.UTC))
        case _:
            raise AssertionError


@step
async def reads_the_date() -> str:
    return str(datetime.datetime.now(datetime.UTC))


@workflow
async def has_the_date_read() -> str:
    return await reads_the_date()


@pytest.mark.parametrize("how", ["now", "utc", "bare", "exists"])
def test_in_tests_calls_are_seen_that_cannot_be_exchanged(how: str) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(asks_for_the_date, how)

    with pytest.raises(WorkflowFailed, match="a replay would") as failed, watch_calls():
        run(program, workflows=[asks_for_the_date])
    assert f"{__file__}:" in str(failed.value)
    run(program, workflows=[asks_for_the_date])
    with pytest.warns(NondeterminismWarning, match="a replay would"), watch_calls("warn"):
        run(program, workflows=[asks_for_the_date])


def test_in_tests_steps_and_the_standard_library_may_do_as_ever() -> None:
    async def program(engine: Engine) -> None:
        await engine.run(asks_for_the_date, "log")
        await engine.run(has_the_date_read)

    with watch_calls():
        run(program, workflows=[asks_for_the_date, has_the_date_read])
    assert sys.getprofile() is None
