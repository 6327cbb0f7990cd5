"""What users gave is taken out of histories that have ended, everywhere; and a redaction is told from tampering."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import everlog
from everlog import NotFound, UsageError, step, sync, workflow
from everlog.cli.main import main
from everlog.core.event_codec import decode_event
from everlog.core.events import AnyEvent
from everlog.core.redacting import ERASED, emptied, holds_something
from everlog.memory import MemoryStore
from everlog.runtime.backends import open_store
from everlog.runtime.portable import export_lines, import_lines
from everlog.runtime.seals import make_seal, read_seal, verify_seal
from everlog.runtime.verifying import verify
from everlog.store import Store
from everlog.testing import HistoryDiverges, replay
from tests.postgres import needs_postgres, new_schema

SECRET = "4711-0815"
TOLD = frozenset(
    [
        "redacted",
        "name",
        "seed",
        "parent",
        "parent_operation",
        "timeout",
        "deadline",
        "begins_at",
        "tick",
        "tick_offset",
        "forked_from",
        "by",
        "operation",
        "format",
        "everlog",
        "python",
        "build",
        "worker",
        "step",
        "attempt",
        "started_at",
        "retry_at",
        "due_at",
        "topic",
        "asked",
        "source",
        "number",
        "arrived_at",
        "just_this",
        "to",
        "control",
        "ask",
        "sent_as",
        "reply_to",
        "child",
        "when_parent_ends",
        "existed",
        "deduplicated",
        "queue",
        "needs_our_slot",
        "stream",
        "offset",
        "count",
        "asked_at",
        "at",
        "patch",
        "retired",
        "began_at",
        "inherited",
        "children",
        "closed",
        "told",
        "replaced",
        "void",
        "rewind_to",
        "terminated",
    ]
)
"""The fields of events that say what happened: no values of users."""


@step
async def fails(name: str) -> None:
    raise ValueError(name)


@step
async def greets(name: str) -> str:
    await everlog.emit("notes", name)
    return f"hello {name}"


@workflow(name="redacted_child")
async def child(name: str) -> str:
    return await greets(name)


@workflow(name="redacted_main")
async def main_workflow(name: str) -> str:
    await everlog.set_value("name", name)
    await everlog.emit("names", name, name)
    with contextlib.suppress(ValueError):
        await fails(name)
    news = await everlog.recv("news")
    request = await everlog.recv("ask", type=everlog.Request[str])
    await request.reply(f"{request.value} {name}")
    await child(name)
    return f"{news} {await greets(name)}"


@workflow(name="redacted_failing")
async def failing(name: str) -> None:
    await greets(name)
    raise ValueError(name)


CODE = [main_workflow, child, failing]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Store]:
    """Give what an engine is opened with: a store that stays, or a URL."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        yield f"sqlite:///{tmp_path}/shop.db" if request.param == "sqlite" else new_schema()


def filled(engine: sync.Engine) -> None:
    """Have a workflow see the secret in every way."""
    attributes = {"customer": SECRET}
    handle = engine.start(main_workflow.options(id="main", attributes=attributes), SECRET)
    handle.send("news", SECRET, key=SECRET)
    assert handle.ask("ask", SECRET, timeout=30) == f"{SECRET} {SECRET}"
    handle.result()
    engine.start(failing.options(id="failing"), SECRET).status()
    with pytest.raises(everlog.WorkflowFailed):
        engine.handle("failing").result()


def opened(where: str | Store) -> Any:
    """Give the store."""
    return open_store(where) if isinstance(where, str) else where


def test_every_field_of_every_event_either_stays_or_goes() -> None:
    fields = {name for kind in get_args(AnyEvent) for name in kind.__struct_fields__}
    assert fields == set(ERASED) | TOLD, "say of a new field whether it is erased"


def test_nothing_that_users_gave_is_left_anywhere(where: str | Store) -> None:
    with sync.Engine(where, workflows=CODE) as engine:
        filled(engine)
        store = opened(where)
        before = {rows.head.workflow_id: list(export_lines(rows)) for rows in store.workflow_rows()}
        assert sum(SECRET in line for line in before["main"]) > 10
        for found in engine.workflows():
            assert engine.redact(found.id, reason="request of 3 May") > 0
            assert engine.redact(found.id) == 0, "nothing is left to redact"
        for rows in store.workflow_rows():
            assert SECRET not in repr(rows), rows.head.workflow_id
            assert [row.type for row in rows.events] == [
                str(msgspec.json.decode(line)["event"]["type"])
                for line in before[rows.head.workflow_id]
                if line.startswith('{"seq"')
            ]
            again = import_lines(export_lines(rows))
            assert [row.payload for row in again.events] == [row.payload for row in rows.events]
        assert [one for one in verify(store, store) if not one.is_on_record] == []
        main_events = [decode_event(row.payload) for row in store.read("main")]
        assert all(event.redacted is not None or not holds_something(event) for event in main_events)
        assert [emptied(event) for event in main_events] == main_events
        with pytest.raises(NotFound, match=r"is gone: it was redacted by client-\w+ at .* UTC: request of 3 May"):
            engine.handle("main").result()
        with pytest.raises(everlog.WorkflowFailed, match="redacted"):
            engine.handle("failing").result()
        with pytest.raises(UsageError, match="cannot be retried: event 1 was redacted"):
            engine.handle("failing").retry()
        assert list(engine.workflows(attributes={"customer": SECRET})) == []
        assert engine.handle("main").status().state == "completed"
    if isinstance(where, str):
        store.close()


def test_one_event_may_go_and_a_fork_before_it_goes_on(where: str | Store) -> None:
    with sync.Engine(where, workflows=CODE) as engine:
        with pytest.raises(everlog.WorkflowFailed):
            engine.run(failing.options(id="failing"), SECRET)
        last = engine.handle("failing").status().history_length
        (done,) = [one.seq for one in engine.handle("failing").history() if one.type == "step_completed"]
        with pytest.raises(UsageError, match="holds nothing"):
            engine.redact("failing", 2)
        with pytest.raises(NotFound, match=f"none of seq {last + 1}"):
            engine.redact("failing", last + 1)
        with pytest.raises(NotFound):
            engine.redact("nobody")
        assert engine.redact("failing", done) == 1
        store = opened(where)
        (rows,) = store.rows_of(["failing"])
        told = [seq for seq, row in enumerate(rows.events, start=1) if SECRET in row.payload.decode()]
        assert done not in told
        assert (told[0], told[-1]) == (1, last)
        assert [one for one in verify(store, store) if not one.is_on_record] == []
        before = engine.handle("failing").fork(at=done - 1, id="before")
        with pytest.raises(everlog.WorkflowFailed, match=SECRET):
            before.result()
        after = engine.handle("failing").fork(at=done, id="after")
        while after.status().state != "stuck":
            time.sleep(0.01)
        assert f"cannot be replayed past seq {done}" in str(after.status().why)
    if isinstance(where, str):
        store.close()


def test_who_has_not_ended_or_is_held_is_not_redacted(where: str | Store) -> None:
    with sync.Engine(where, workflows=CODE) as engine:
        engine.start(main_workflow.options(id="main"), SECRET)
        with pytest.raises(UsageError, match="has not ended"):
            engine.redact("main")
        engine.handle("main").cancel()
        with pytest.raises(everlog.WorkflowCancelled):
            engine.handle("main").result()
        engine.hold("main", reason="case 12")
        with pytest.raises(UsageError, match=r"is held by client-\w+ \(case 12\)"):
            engine.redact("main")
        engine.release("main")
        assert engine.redact("main") > 0


def test_a_seal_tells_a_redaction_from_tampering(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/shop.db"
    with sync.Engine(where, workflows=CODE) as engine:
        filled(engine)
        engine.run(child.options(id="pruned"), SECRET)
    store = opened(where)
    seal = read_seal(list(make_seal(store, store, previous=None)))
    with sync.Engine(where, workflows=CODE) as engine:
        engine.redact("main", reason="asked")
        assert engine.prune(older_than=0, id_prefix="pruned").ids == ["pruned"]
    said = list(verify_seal(store, store, seal))
    assert [one for one in said if not one.is_on_record] == []
    assert sum("redacted by client-" in one.what for one in said) == 1
    assert sum("pruned by client-" in one.what for one in said) == 1
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        # Somebody gives what was redacted other values, and leaves the mark.
        changed = connection.execute(
            'UPDATE events SET payload = replace(payload, \'{"everlog":"redacted"}\', \'"paid"\')'
            " WHERE type = 'workflow_completed' AND payload LIKE '%\"redacted\":{%'"
        )
        assert changed.rowcount == 1
    said = [one for one in verify_seal(store, store, seal) if not one.is_on_record]
    assert any("holds something nevertheless" in one.what for one in said)
    assert any("not what was sealed" in one.what for one in said)
    assert [one for one in verify(store, store) if not one.is_on_record] != []
    store.close()


def test_without_links_a_seal_knows_nothing_of_what_follows(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/shop.db"
    with sync.Engine(where, workflows=CODE) as engine:
        engine.run(child.options(id="child"), SECRET)
    store = opened(where)
    seal = read_seal(list(make_seal(store, store, previous=None)))
    with sync.Engine(where, workflows=CODE) as engine:
        engine.redact("child", keep_links=False)
    (found,) = [one for one in verify_seal(store, store, seal) if not one.is_on_record]
    assert "redacted without its link" in found.what
    anew = read_seal(list(make_seal(store, store, previous=None)))
    assert [one for one in verify_seal(store, store, anew) if not one.is_on_record] == []
    store.close()


def test_what_was_redacted_is_no_history_to_check_code_against(tmp_path: Path) -> None:
    store = MemoryStore()
    with sync.Engine(store, workflows=CODE) as engine:
        engine.run(child.options(id="child"), SECRET)
        engine.redact("child")
        (rows,) = store.rows_of(["child"])
    history = tmp_path / "child.jsonl"
    history.write_text("".join(export_lines(rows)))
    with pytest.raises(HistoryDiverges, match="cannot be replayed past"):
        replay(history, workflow=child)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sync.Engine("sqlite:///shop.db", workflows=CODE) as engine:
        engine.run(child.options(id="child"), SECRET)
    assert main(["seal", "shop.seal", "--db", "shop.db"]) == 0
    assert main(["redact", "child", "--event", "1", "--reason", "asked", "--db", "shop.db"]) == 0
    assert main(["redact", "child", "--reason", "asked again", "--db", "shop.db"]) == 0
    assert main(["verify", "shop.db", "--seal", "shop.seal"]) == 0
    assert "on record: workflow 'child', seq 1: this event was redacted by" in capsys.readouterr().out
    assert main(["seal", "shop.seal", "--db", "shop.db"]) == 0
    assert main(["redact", "nobody", "--db", "shop.db"]) == 2
    capsys.readouterr()
    assert main(["audit", "shop.db", "--id", "child"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "seq 1: asked" in first
    assert "all: asked again" in second
