"""Stores whose payloads are sealed: nobody reads their files, keys rotate, and without a key nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sqlite3
from base64 import b64encode
from contextvars import copy_context
from pathlib import Path
from typing import Any

import msgspec
import pytest

import everlog
from everlog import (
    Client,
    Engine,
    Handle,
    IdInUse,
    PayloadUnavailable,
    Request,
    RetryPolicy,
    WorkflowFailed,
    step,
    workflow,
)
from everlog.cli.codecs import codec_of
from everlog.cli.main import main as cli
from everlog.codecs import Chain, Compressed, Encrypted, Json, Offloaded, chain
from everlog.core.failures import rebuild
from everlog.core.log_lines import Exported
from everlog.errors import StepFailed
from everlog.memory import MemoryStore
from everlog.replay.attempts import Attempt
from everlog.runtime.process_steps import failure_of, request_of, run_here
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import verdict_of
from everlog.testing.simulation import SimulatedHost
from tests.inspecting import visiting_as
from tests.support import in_state, make_store, on_both_stores, simulate

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}
HIDDEN = "pl41n"
"""In every payload, and in nothing that is said to stay in the open."""
RAN: list[str] = []
PATIENCE = 30


def sealing(*keys: dict[str, bytes], over: int = 512) -> Chain:
    ring = {name: secret for one in keys for name, secret in one.items()}
    return chain(Json(), Compressed(over=over), Encrypted(ring))


def _in_a_process(said: str) -> None:
    raise ValueError(f"{said} is refused")


class HiddenError(Exception):
    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.held = f"{HIDDEN} attribute"


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    RAN.clear()


# -- what every payload is


@step(name="codecs.step")
async def answers(said: str) -> str:
    RAN.append("codecs.step")
    return f"{HIDDEN} result of {said}"


@step(name="codecs.emitting")
async def emits(said: str) -> None:
    await everlog.emit("of a step", f"{HIDDEN} {said}")


@step(name="codecs.failing", retry=RetryPolicy(max_attempts=2, first_delay=0.01))
async def fails(said: str) -> None:
    error = HiddenError(f"{HIDDEN} message of {said}")
    error.add_note(f"{HIDDEN} note")
    raise error from ValueError(f"{HIDDEN} cause")


@step(name="codecs.transaction", transaction=True)
def pays(said: str) -> str:
    connection = everlog.connection(type=sqlite3.Connection)
    connection.execute("CREATE TABLE IF NOT EXISTS paid (at TEXT)")
    connection.execute("INSERT INTO paid VALUES ('x')")
    return f"{HIDDEN} receipt of {said}"


@workflow(name="codecs.child")
async def child(said: str) -> str:
    if "fails" in said:
        raise HiddenError(f"{HIDDEN} failure of a child")
    return f"{HIDDEN} result of a child, {said}"


@workflow(name="codecs.everything")
async def everything(said: str, rounds: int = 1) -> str:
    await answers(f"{HIDDEN} argument")
    await answers(f"{HIDDEN} large argument " + "x" * 100_000)
    await emits("argument")
    with contextlib.suppress(StepFailed, HiddenError):
        await fails(f"{HIDDEN} argument")
    await everlog.call(pays, f"{HIDDEN} argument")
    await everlog.set_value("said", f"{HIDDEN} value")
    await everlog.emit("said", f"{HIDDEN} item", {"of": f"{HIDDEN} items"})
    await everlog.emit("large", *(f"{HIDDEN} item {number} {'y' * 1000}" for number in range(100)))
    await child(f"{HIDDEN} input of a child")
    with contextlib.suppress(StepFailed, HiddenError, WorkflowFailed):
        await child(f"{HIDDEN} fails")
    await everlog.send("codecs-listener", "news", f"{HIDDEN} message")
    assert (
        await everlog.ask("codecs-listener", "question", f"{HIDDEN} question", type=str, timeout=60)
        == f"{HIDDEN} answer"
    )
    await everlog.recv("go", type=str, title="Go on?", metadata={"why": f"{HIDDEN} metadata"})
    if rounds:
        everlog.continue_as_new(everything, f"{HIDDEN} again", 0)
    raise HiddenError(f"{HIDDEN} failure of {said}")


@workflow(name="codecs.listener")
async def listener() -> str:
    for _ in range(2):
        asked = await everlog.recv("question", type=Request[str])
        await asked.reply(f"{HIDDEN} answer")
    return await everlog.recv("news", type=str)


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def answered(engine: Engine, workflow_id: str, *, before: str = "") -> str:
    """Wait until the workflow waits for somebody, otherwise than before, and answer; give the token."""
    while True:
        for wait in await engine.waits(workflow_id=workflow_id):
            if wait.token != before:
                assert wait.metadata == {"why": f"{HIDDEN} metadata"}
                await engine.answer(wait.token, f"{HIDDEN} go")
                return wait.token
        await asyncio.sleep(0.01)


async def do_everything(url: str, codec: Chain | None) -> Handle[str]:
    async with Engine(url, codec=codec, durability="process") as engine:
        await engine.start(listener.options(id="codecs-listener"))
        handle = await engine.start(everything.options(id="codecs-all"), f"{HIDDEN} input")
        async with asyncio.timeout(PATIENCE):
            token = await answered(engine, "codecs-all")
            await answered(engine, "codecs-all", before=token)
        with pytest.raises(WorkflowFailed, match=f"{HIDDEN} failure of {HIDDEN} again") as caught:
            await handle.result(timeout=PATIENCE)
        assert isinstance(caught.value.__cause__, HiddenError)
        assert caught.value.__cause__.held == f"{HIDDEN} attribute"
        assert caught.value.error is not None
        assert HIDDEN in caught.value.error.message
        assert (await handle.get_value("said"), HIDDEN in str(await handle.history())) == (f"{HIDDEN} value", True)
        items = [item async for item in handle.stream("of a step", type=str)]
        assert items == [f"{HIDDEN} argument"] * 2
        return handle


def test_no_payload_can_be_read_in_the_files_of_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sealed.db'}"
    asyncio.run(do_everything(url, sealing(NEW)))
    held = contents(tmp_path)
    assert b'"$":"sealed"' in held
    assert b"codecs.everything" in held, "names stay in the open"
    places = [held[found - 60 : found + 60] for found in _places(held, HIDDEN.encode())]
    assert places == []


def test_the_same_program_without_a_codec_leaves_every_payload_to_be_read(tmp_path: Path) -> None:
    """So that the test above cannot pass because it looks in the wrong place."""
    asyncio.run(do_everything(f"sqlite:///{tmp_path / 'plain.db'}", None))
    held = contents(tmp_path)
    kinds = """argument, large argument, result of, message of, note, cause, attribute, receipt, value, item,
        failure of, input of a child, result of a child, failure of a child, message, question, answer, metadata, go,
        again, input"""
    assert [kind for kind in re.split(r",\s+", kinds) if f"{HIDDEN} {kind}".encode() not in held] == []


def _places(held: bytes, what: bytes) -> list[int]:
    found, at = [], held.find(what)
    while at >= 0:
        found.append(at)
        at = held.find(what, at + 1)
    return found


def test_steps_in_processes_leave_nothing_in_the_open() -> None:
    """What comes back from a child process, which has no keys, is sealed as if it had happened here."""
    attempt = Attempt(workflow_id="w", step="s", identity="s", key=None, number=1, name="codecs.none", started_at=0)
    made, codec = step(_in_a_process, name="codecs.in a process", process=True), sealing(NEW)
    given = made.signature.encode(codec, (f"{HIDDEN} argument",), {}, what="input")
    answer = copy_context().run(run_here, request_of(made, attempt, given, codec), lambda said: None)
    failure = failure_of(answer, codec)
    assert failure is not None
    assert HIDDEN.encode() not in msgspec.json.encode(failure)
    with pytest.raises(ValueError, match=f"{HIDDEN} argument is refused"):
        raise rebuild(failure, codec, may_import=lambda package: True)


# -- keys that are not here, and keys that come


@step(name="codecs.first")
async def first(said: str) -> str:
    RAN.append("first")
    return f"{said}, done"


@workflow(name="codecs.waits")
async def waits(said: str) -> str:
    done = await first(said)
    large = await first("x" * 100_000 + said)
    try:
        await everlog.recv("go", type=str)
    except Exception:  # what cannot be read must not come here, where it would change what is done
        return "caught"
    return f"{done}, {len(large)}"


async def until_it_waits(store: Any, host: SimulatedHost, codec: Any) -> None:
    async with Engine(store, host=host, codec=codec) as engine:
        handle = await engine.start(waits.options(id="w"), HIDDEN)
        await in_state(handle, "waiting")


@pytest.mark.parametrize("other", [None, sealing(NEW), sealing({"old": b"x" * 32}), chain(Json(), Compressed())])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_without_the_key_a_workflow_is_left_for_who_has_it(kind: str, other: Any, tmp_path: Path) -> None:
    async def program(host: SimulatedHost) -> tuple[Any, list[str], str]:
        store = make_store(host, kind, tmp_path)
        await until_it_waits(store, host, sealing(OLD))
        async with Client(store, host=host, codec=sealing(OLD)) as client:
            await client.send("w", "go", HIDDEN)
        before = store.read("w")
        async with Engine(store, host=host, codec=other) as engine:
            handle = engine.handle("w", waits)
            await in_state(handle, "stuck")
            stuck = await handle.status()
            with pytest.raises(TimeoutError):
                await handle.result(timeout=5)
        assert store.read("w") == before, "its history is untouched"
        async with Engine(store, host=host, codec=sealing(NEW, OLD)) as engine:
            return stuck, list(RAN), await engine.handle("w", waits).result(timeout=60)

    stuck, ran, result = simulate(program)
    assert result == f"{HIDDEN}, done, 100011"
    assert ran == ["first", "first"], "nothing was done again"
    assert "a payload cannot be opened here: input of workflow 'w'" in stuck.why
    assert "An engine that can open it takes it up by itself" in stuck.why


@on_both_stores
def test_a_message_that_cannot_be_opened_does_not_reach_the_code(kind: str, tmp_path: Path) -> None:
    """The code of `waits` would catch it, and go on otherwise than it should."""

    async def program(host: SimulatedHost) -> str:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, codec=sealing(OLD)) as engine:
            handle = await engine.start(waits.options(id="w"), HIDDEN)
            await in_state(handle, "waiting")
            async with Client(store, host=host, codec=sealing(NEW)) as client:
                await client.send("w", "go", "sealed with another key")
            await in_state(handle, "stuck")
            assert "message on topic 'go': it was sealed with key 'new'" in (await handle.status()).why
        async with Engine(store, host=host, codec=sealing(OLD, NEW)) as engine:
            return await engine.handle("w", waits).result(timeout=60)

    assert simulate(program) == f"{HIDDEN}, done, 100011"


@on_both_stores
def test_keys_rotate_while_workflows_run(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All engines get the new key, then they seal with it; what the old one has sealed is compared as ever."""

    async def program(host: SimulatedHost) -> str:
        store = make_store(host, kind, tmp_path)
        await until_it_waits(store, host, sealing(OLD, over=10**9))
        await until_it_waits(store, host, sealing(OLD, NEW, over=10**9))
        await until_it_waits(store, host, sealing(NEW, OLD, over=10**9))
        async with Engine(store, host=host, codec=sealing(NEW, OLD, over=10**9)) as engine:
            handle = await engine.start(waits.options(id="w"), HIDDEN)  # the same id, function and input
            with pytest.raises(IdInUse):
                await engine.start(waits.options(id="w"), "another input")
            await handle.send("go", "on")
            return await handle.result(timeout=60)

    with caplog.at_level(logging.WARNING, "everlog"):
        assert simulate(program) == f"{HIDDEN}, done, 100011"
    assert RAN == ["first", "first"]
    assert caplog.text == "", "the large input is known again in its older form"


def test_who_has_no_key_is_told_so_and_starts_nothing_twice() -> None:
    async def program(host: SimulatedHost) -> None:
        store = MemoryStore(clock=host.wall)
        async with Engine(store, host=host, codec=sealing(OLD)) as engine:
            handle = await engine.start(everything_fails.options(id="w"), HIDDEN)
            with pytest.raises(WorkflowFailed, match=HIDDEN):
                await handle.result()
        async with Client(store, host=host, codec=sealing(NEW)) as client:
            with pytest.raises(PayloadUnavailable, match="key 'old', and the keys here are new"):
                await client.handle("w", everything_fails).result()
            with pytest.raises(PayloadUnavailable, match="input of workflow"):
                await client.start(everything_fails.options(id="w"), HIDDEN)
            assert (await client.handle("w").status()).why.endswith("HiddenError: (sealed)")

    simulate(program)


@workflow(name="codecs.fails")
async def everything_fails(said: str) -> str:
    raise HiddenError(f"{HIDDEN} failure of {said}")


# -- what is done with histories


@step(name="codecs.flaky")
async def flaky(said: str) -> str:
    RAN.append(said)
    if said == f"{HIDDEN} bad":
        raise HiddenError(said)
    return f"{said}, checked"


@workflow(name="codecs.checks")
async def checks(said: str) -> str:
    begun = await first(said)
    return f"{begun}; {await flaky(said)}"


@on_both_stores
def test_forks_retries_redaction_and_moves_work_on_sealed_histories(kind: str, tmp_path: Path) -> None:
    codec = sealing(NEW, OLD)

    async def program(host: SimulatedHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host, codec=sealing(OLD)) as engine:
            handle = await engine.start(checks.options(id="w"), f"{HIDDEN} bad")
            with pytest.raises(WorkflowFailed):
                await handle.result()
        async with Engine(store, host=host, codec=codec) as engine:
            handle = engine.handle("w", checks)
            other = await handle.fork(at="codecs.flaky", replace={"codecs.first": f"{HIDDEN} other"}, id="f")
            with pytest.raises(WorkflowFailed):
                await other.result()
            mended = await handle.fork(replace={"codecs.flaky": f"{HIDDEN} mended"}, id="m")
            assert await mended.result() == f"{HIDDEN} bad, done; {HIDDEN} mended"
            changed = await handle.fork(at="codecs.first", replace={"input": {"said": f"{HIDDEN} good"}}, id="c")
            assert await changed.result() == f"{HIDDEN} good, done; {HIDDEN} good, checked"
            again = await handle.fork(replace={"codecs.flaky": f"{HIDDEN} mended"}, id="m")
            assert again.id == "m", "asked for again, it is the same"
            for name in ("w", "f", "m", "c"):
                assert all(HIDDEN.encode() not in row.payload for row in store.read(name))
                rows = [(row.seq, row.recorded_at, row.payload) for row in store.read(name)]
                exported = Exported(workflow_id=name, name="codecs.checks", rows=rows)
                verdict = verdict_of(exported, known_workflows(), replay_environment(codec))
                assert verdict.is_clean, verdict
                without = verdict_of(exported, known_workflows(), replay_environment(sealing({"x": b"x" * 32})))
                assert not without.is_clean

    simulate(program)
    assert ["first", f"{HIDDEN} bad", f"{HIDDEN} bad", "first", f"{HIDDEN} good"] == RAN


def key_file(folder: Path, keys: dict[str, bytes]) -> Path:
    path = folder / "keys"
    path.write_text("".join(f"{name}={b64encode(secret).decode()}\n" for name, secret in keys.items()))
    return path


@pytest.fixture(scope="module")
def sealed_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "everlog.db"

    async def fill() -> None:
        async with Engine(f"sqlite:///{path}", codec=sealing(NEW), durability="process") as engine:
            with contextlib.suppress(WorkflowFailed):
                await engine.run(checks.options(id="w"), f"{HIDDEN} bad")
            await engine.run(publishes.options(id="p"), HIDDEN)

    asyncio.run(fill())
    return path


@workflow(name="codecs.publishes")
async def publishes(said: str) -> None:
    await everlog.set_value("progress", f"{said} value")
    await everlog.emit("words", f"{said} item")


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli([str(one) for one in arguments]) == 0
    return capsys.readouterr().out


READS = ["log w", "log w --json", "show w", "show p", "diff w p --json", f"state w --at 2 --module {__name__}"]


@pytest.mark.parametrize("command", [one.split() for one in READS], ids=READS)
def test_the_log_is_read_with_the_key_and_says_nothing_without(
    command: list[str], sealed_database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    keys = key_file(tmp_path, NEW)
    assert HIDDEN in printed(capsys, *command, "--db", sealed_database, "--key-file", keys)
    monkeypatch.setenv("EVERLOG_KEYS", keys.read_text())
    assert HIDDEN in printed(capsys, *command, "--db", sealed_database)
    monkeypatch.setenv("EVERLOG_KEYS", key_file(tmp_path, OLD).read_text())
    if command[0] == "state":
        assert "sealed with key 'new'" in printed(capsys, *command, "--db", sealed_database)
    assert HIDDEN not in printed(capsys, *command, "--db", sealed_database)


def test_check_tells_its_processes_which_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("everlog.cli.replaying.check", lambda one: asked.append(one) or 0)
    assert cli(["check", "x.db", "--module", __name__, "--key-file", str(key_file(tmp_path, NEW))]) == 0
    codec = codec_of(asked[0].codec)
    assert codec is not None
    assert codec.decode(sealing(NEW).encode(HIDDEN)) == HIDDEN


def test_a_key_file_that_cannot_be_read_is_one_line(
    sealed_database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["log", "w", "--db", str(sealed_database), "--key-file", str(tmp_path / "none")]) == 2
    assert "the keys cannot be read from" in capsys.readouterr().err


def test_the_inspector_shows_payloads_to_who_has_the_key(sealed_database: Path) -> None:
    async def pages(codec: Any) -> str:
        addresses = ("/workflow?id=w", "/workflow?id=p", "/event?id=w&seq=3")
        async with Client(f"sqlite:///{sealed_database}", codec=codec) as client, visiting_as(client) as browser:
            found = [await browser.get(address) for address in addresses]
        assert [one.status_code for one in found] == [200, 200, 200]
        return "".join(one.text for one in found)

    shown = asyncio.run(pages(sealing(NEW)))
    for what in (f"{HIDDEN} bad", f"{HIDDEN} value", f"{HIDDEN} item"):
        assert what in shown
    assert HIDDEN not in asyncio.run(pages(sealing(OLD)))


@step(name="codecs.streams")
async def streams() -> None:
    await everlog.emit("of a step", f"{HIDDEN} item of a step")


@workflow(name="codecs.streams_and_waits")
async def streams_and_waits() -> None:
    await streams()
    await everlog.recv("never")


def test_the_inspector_opens_what_lies_in_streams_and_inboxes(tmp_path: Path) -> None:
    async def page(codec: Any) -> str:
        url = f"sqlite:///{tmp_path}/everlog.db"
        async with Client(url, codec=codec) as client, visiting_as(client) as browser:
            return (await browser.get("/workflow?id=waiting")).text

    async def program() -> tuple[str, str]:
        async with Engine(f"sqlite:///{tmp_path}/everlog.db", codec=sealing(NEW), durability="process") as engine:
            handle = await engine.start(streams_and_waits.options(id="waiting"))
            stream = aiter(handle.stream("of a step"))
            assert await anext(stream) == f"{HIDDEN} item of a step"
            await handle.send("another", f"{HIDDEN} unread")
            return await page(sealing(NEW)), await page(sealing(OLD))

    shown, hidden = asyncio.run(program())
    assert f"{HIDDEN} item of a step" in shown
    assert f"{HIDDEN} unread" in shown
    assert HIDDEN not in hidden


def test_a_file_of_an_exported_workflow_is_as_sealed_as_the_database(
    sealed_database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = printed(capsys, "export", "w", "--db", sealed_database)
    assert HIDDEN not in exported
    (tmp_path / "w.jsonl").write_text(exported)
    other = f"sqlite:///{tmp_path / 'other.db'}"

    async def moved() -> Any:
        async with Engine(other, codec=sealing(NEW), durability="process") as engine:
            assert cli(["import", str(tmp_path / "w.jsonl"), "--db", other]) == 0
            with pytest.raises(WorkflowFailed, match=f"{HIDDEN} bad"):
                await engine.handle("w", checks).result()
            assert await engine.redact("w") > 0
            return await engine.handle("w").history()

    assert HIDDEN not in str(asyncio.run(moved()))


def test_large_payloads_lie_in_files_and_without_them_nothing_is_lost(tmp_path: Path) -> None:
    def codec(folder: str) -> Chain:
        return chain(Json(), Encrypted(NEW), Offloaded(tmp_path / folder, over=50_000))

    async def program(host: SimulatedHost) -> str:
        store = make_store(host, "sqlite", tmp_path)
        await until_it_waits(store, host, codec("files"))
        assert sum(len(row.payload) for row in store.read("w")) < 50_000
        async with Engine(store, host=host, codec=codec("elsewhere")) as engine:
            handle = engine.handle("w", waits)
            await handle.send("go", "on")
            await in_state(handle, "stuck")
            assert "cannot be read in" in (await handle.status()).why
        async with Engine(store, host=host, codec=codec("files")) as engine:
            await engine.retry("w")
            return await engine.handle("w", waits).result(timeout=60)

    assert simulate(program) == f"{HIDDEN}, done, 100011"
    assert RAN == ["first", "first"]
