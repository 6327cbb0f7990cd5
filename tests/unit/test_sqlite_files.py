"""The SQLite file itself: opening, bad files, migrations, locks of workers, house-keeping."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from everlog.errors import CorruptLog, InternalError, SchemaMismatch, StoreUnavailable, UsageError
from everlog.store import Batch, Commit, Done, EventRow, SupportsMaintenance
from everlog.testing.making import claim, commit, create, event, events, head, held, message, new, post, worker
from everlog_sqlite import SqliteStore, checkpoints, connection, migrations, open_store, statements

Open = Callable[..., SqliteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ever log%.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens the file, as often as asked, and closes all at the end."""
    stores: list[SqliteStore] = []

    def open_it(**options: object) -> SqliteStore:
        stores.append(open_store(f"sqlite:///{path}", **options))  # type: ignore[arg-type] # passed on as they are
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.05)


# Opening


def test_what_was_written_is_there_when_the_file_is_opened_again(opened: Open, path: Path) -> None:
    first = opened()
    held(first, "order", seq=3)
    first.close()
    assert path.exists()
    assert not path.with_name(f"{path.name}-wal").exists()
    assert list(opened().read("order")) == events(1, 3)


def test_a_relative_path_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///relative.db")
    held(store, "order")
    monkeypatch.chdir("/")
    assert head(store, "order").seq == 1
    store.register(worker())
    store.maintain()
    store.close()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["relative.db", "relative.db-workers"]


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:shop.db", "postgresql:///x", "shop.db", "sqlite:///shop.db?mode=ro"]
)
def test_a_bad_url_is_refused_with_the_right_forms(url: str) -> None:
    with pytest.raises(UsageError, match=r"sqlite:////absolute\.db"):
        open_store(url)


def test_without_create_a_missing_file_is_named_and_not_made(opened: Open, path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"ever log%\.db.*check the path"):
        opened(create=False)
    assert not path.exists()


def test_without_create_an_empty_file_is_refused_and_left_empty(opened: Open, path: Path) -> None:
    path.touch()
    with pytest.raises(SchemaMismatch, match="is empty"):
        opened(create=False)
    assert path.stat().st_size == 0


def test_with_create_an_empty_file_is_used(opened: Open, path: Path) -> None:
    path.touch()
    held(opened(), "order")
    assert head(opened(create=False), "order").seq == 1


def test_an_up_to_date_file_is_opened_without_sqlite_utils(opened: Open, path: Path) -> None:
    opened().close()
    program = (
        "import sys; from everlog_sqlite import open_store\n"
        "open_store(sys.argv[1]).close()\n"
        "assert 'sqlite_utils' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, f"sqlite:///{path}"], check=True)


def test_many_processes_may_make_the_same_file_at_once(path: Path) -> None:
    program = (
        "import sys; from everlog_sqlite import open_store\n"
        "from everlog.testing.making import held\n"
        "sys.stdin.readline()\n"
        "store = open_store(sys.argv[1]); held(store, sys.argv[2]); store.close()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, f"sqlite:///{path}", f"order-{n}"], stdin=subprocess.PIPE)
        for n in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait() for process in started] == [0] * 4
    store = open_store(f"sqlite:///{path}")
    assert [one is not None for one in store.heads([f"order-{n}" for n in range(4)])] == [True] * 4
    store.close()


def test_many_threads_may_open_the_same_new_file_at_once(opened: Open) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            opened()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_settings_are_those_that_durability_asks_for(opened: Open) -> None:
    for durability, level in (("full", 2), ("process", 1)):
        store = opened(durability=durability)
        assert store._connection.value("PRAGMA synchronous") == level
        assert store._connection.value("PRAGMA journal_mode") == "wal"


def test_a_file_can_be_read_with_any_sqlite_tool(opened: Open, path: Path) -> None:
    create(opened(), new("order"))
    with sqlite3.connect(path) as reader:
        rows = reader.execute(
            "SELECT workflow_id, events.seq, type, payload FROM events JOIN heads ON number = workflow"
        ).fetchall()
    reader.close()
    assert rows == [("order", 1, "happened", '{"n":1}')]


# Bad files and places


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"directory of .*nowhere/shop\.db.* does not exist"):
        open_store(f"sqlite:///{tmp_path}/nowhere/shop.db")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is a directory; name a file"):
        open_store(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    "content", [b"this is a letter, not a database\n" * 100, b"\x00\xff" * 4096, b"SQLite format 4"]
)
def test_a_file_of_something_else_is_refused_and_left_as_it_was(opened: Open, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SchemaMismatch, match=r"ever log%\.db.* is not a SQLite database"):
        opened()
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_as_it_was(opened: Open, path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch, match=r"is not an Everlog database.*name another file"):
        opened()
    assert path.read_bytes() == before


def test_a_file_of_a_later_version_is_refused_with_both_versions(opened: Open, path: Path) -> None:
    opened().close()
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(SchemaMismatch, match=f"has schema 99.*knows {len(migrations.MIGRATIONS)}"):
        opened()


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8])
def test_a_truncated_file_is_an_error_that_names_it(opened: Open, path: Path, keep: float) -> None:
    store = opened()
    for number in range(50):
        held(store, f"order-{number}", seq=20)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises((CorruptLog, SchemaMismatch), match=r"ever log%\.db"):
        _read_all(opened())


def test_damaged_pages_are_an_error_that_names_the_file(opened: Open, path: Path) -> None:
    store = opened()
    for number in range(50):
        held(store, f"order-{number}", seq=20)
    store.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = b"\xa5" * (len(content) - 3 * 4096)
    path.write_bytes(content)
    with pytest.raises(CorruptLog, match=r"ever log%\.db.*restore a backup"):
        _read_all(opened())


def test_a_history_with_a_gap_is_never_given(opened: Open, path: Path) -> None:
    store = opened()
    create(store, new("broken", seq=5))
    create(store, new("whole", seq=5))
    with sqlite3.connect(path) as vandal:
        vandal.execute("DELETE FROM events WHERE workflow = 1 AND seq = 3")
    vandal.close()
    with pytest.raises(CorruptLog, match="'broken' has a gap"):
        store.read("broken")
    claimed = {one.head.workflow_id: len(one.history) for one in claim(store, "t", "u").claimed}
    assert claimed == {"broken": 0, "whole": 5}


def test_a_missing_table_is_a_schema_mismatch(opened: Open, path: Path) -> None:
    store = opened()
    with sqlite3.connect(path) as vandal:
        vandal.execute("DROP TABLE workers")
    vandal.close()
    with pytest.raises(SchemaMismatch, match="no such table: workers"):
        store.workers()


@pytest.mark.usefixtures("impatient")
def test_a_write_lock_of_another_process_is_named_and_nothing_is_lost(opened: Open, path: Path) -> None:
    store = opened()
    token = held(store, "order")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))
    with pytest.raises(StoreUnavailable, match=r"ever log%\.db.*another process holds the write lock") as caught:
        commit(store, one)
    assert caught.value.unknown_outcome is False
    with pytest.raises(StoreUnavailable):
        store.renew("worker-1", lease_until=1)
    assert head(store, "order").seq == 1
    other.execute("ROLLBACK")
    other.close()
    assert commit(store, one) == Done()


def test_a_short_lock_of_another_process_is_waited_for(opened: Open, path: Path) -> None:
    store = opened()
    token = held(store, "order")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, other.execute, ["COMMIT"])
    timer.start()
    assert commit(store, Commit(workflow_id="order", token=token, seq=1, state="running")) == Done()
    timer.join()
    other.close()


def test_a_full_disk_is_named_and_nothing_is_lost(opened: Open) -> None:
    store = opened()
    token = held(store, "order")
    pages = store._connection.value("PRAGMA page_count")
    store._connection.value(f"PRAGMA max_page_count = {pages + 5}")
    large = [EventRow(2, "happened", 1, b'"' + b"x" * 1_000_000 + b'"')]
    with pytest.raises(StoreUnavailable, match="the disk is full") as caught:
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", events=large))
    assert caught.value.unknown_outcome is False
    assert (head(store, "order").seq, len(store.read("order"))) == (1, 1)
    small = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))
    assert commit(store, small) == Done()
    store._connection.value("PRAGMA max_page_count = 1000000")
    commit(store, Commit(workflow_id="order", token=token, seq=2, state="running", events=[event(3, large[0].payload)]))
    assert head(store, "order").seq == 3


def test_a_read_only_database_is_named(opened: Open) -> None:
    store = opened()
    token = held(store, "order")
    store._connection.value("PRAGMA query_only = ON")
    with pytest.raises(StoreUnavailable, match="read-only"):
        commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2)))
    assert head(store, "order").seq == 1


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_file_that_may_not_be_written_is_named(opened: Open, path: Path, what: str) -> None:
    opened().close()
    target = path if what == "file" else path.parent
    target.chmod(0o500)
    try:
        if os.access(target, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(StoreUnavailable, match=r"writable|read-only"):
            opened()
    finally:
        target.chmod(0o700)


def test_an_old_sqlite_is_named(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(SchemaMismatch, match=r"needs SQLite 3\.35\.0"):
        opened()


def test_text_that_is_no_utf8_is_not_written(opened: Open) -> None:
    store = opened()
    token = held(store, "order")
    for wrong in ([event(2, b"\xff\xfe")], [EventRow(2, "lone \ud800 surrogate", 1, b"{}")]):
        with pytest.raises(InternalError, match="UTF-8"):
            commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", events=wrong))
    assert head(store, "order").seq == 1


def test_the_schema_itself_refuses_states_that_cannot_be(opened: Open, path: Path) -> None:
    held(opened(), "order")
    with sqlite3.connect(path) as vandal:
        for impossible in ("state = 'completed'", "state = 'odd'", "worker = NULL", "seq = 0", "takeovers = -1"):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
                vandal.execute(f"UPDATE heads SET {impossible}")
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            vandal.execute(
                "INSERT INTO events (workflow, seq, type, recorded_at, payload)"
                " SELECT workflow, seq, type, recorded_at, payload FROM events"
            )
    vandal.close()


# Writing


def test_a_failure_in_the_middle_of_a_batch_leaves_nothing(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    token = held(store, "order")
    held(store, "other", worker="worker-2")

    def fail(*_: object) -> int:
        raise sqlite3.OperationalError("as the test asked for")

    monkeypatch.setattr(statements.INSERT_MESSAGE_KEYS, "run", fail)
    sends = Commit(
        workflow_id="order",
        token=token,
        seq=1,
        state="waiting",
        events=events(2, 2),
        messages=[message("other", key="k")],
        release=True,
    )
    with pytest.raises(InternalError, match="as the test asked for"):
        store.commit(Batch(creates=[new("third")], commits=[sends]))
    monkeypatch.undo()
    assert (head(store, "order").seq, head(store, "order").token) == (1, token)
    assert list(store.heads(["third"])) == [None]
    assert not store.unread("worker-2")
    assert commit(store, sends) == Done()


def test_remembered_heads_never_outvote_the_file(opened: Open) -> None:
    """One store object commits, another takes the workflow away, the first tries again."""
    first, second = opened(), opened()
    token = held(first, "order")
    one = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))
    assert commit(first, one) == Done()
    second.retire("worker-1")
    claim(second, "theirs", worker="worker-2")
    late = Commit(workflow_id="order", token=token, seq=2, state="running", events=events(3, 3))
    others = held(first, "other")
    fine = Commit(workflow_id="other", token=others, seq=1, state="running", events=events(2, 2))
    assert [type(part).__name__ for part in first.commit(Batch(commits=[late, fine])).commits] == ["Refused", "Done"]
    assert head(second, "order").seq == 2


def test_a_commit_of_one_event_takes_four_calls_into_sqlite(opened: Open) -> None:
    """Each call gives up the interpreter's lock; beside a busy thread that is what commits cost."""
    store = opened()
    tokens = {f"order-{n}": held(store, f"order-{n}") for n in range(100)}
    calls: list[str] = []
    store._connection.driver.set_trace_callback(calls.append)
    for count in (1, 100):
        calls.clear()
        commits = [
            Commit(workflow_id=workflow_id, token=token, seq=head_seq, state="running", events=[event(head_seq + 1)])
            for (workflow_id, token), head_seq in zip(
                list(tokens.items())[:count], [2 if count == 100 and n == 0 else 1 for n in range(count)], strict=True
            )
        ]
        assert list(store.commit(Batch(commits=commits)).commits) == [Done()] * count
        assert len(calls) == 4


def test_what_ended_workflows_left_unread_is_out_of_the_way_of_claims(opened: Open) -> None:
    store = opened()
    token = held(store, "order")
    held(store, "other")
    for destination in ("order", "other"):
        post(store, message(destination))
    commit(store, Commit(workflow_id="order", token=token, seq=1, state="failed", events=events(2, 2)))
    assert store._connection.rows("SELECT workflow, closed FROM inbox ORDER BY row") == [(1, 1), (2, 0)]


def test_every_statement_is_used_and_says_what_it_does() -> None:
    directory = Path(statements.__file__).parent / "sql"
    code = Path(statements.__file__).read_text(encoding="utf-8")
    for file in directory.glob("*.sql"):
        assert file.read_text(encoding="utf-8").startswith("-- "), file
        assert f'"{file.stem}"' in code, file


def test_claims_ask_indexes_and_never_scan_all_heads(opened: Open) -> None:
    store = opened()
    question = {
        "names": "[]",
        "queues": None,
        "build": "b",
        "now": 1,
        "limit": 1,
        "numbers": "[]",
        "workflow_id": "a",
    }
    for sql in (statements.FIND_RUNNABLE, statements.NEXT_DUE, statements.READ_HISTORIES, statements.FIND_UNHELD):
        plan = [row[3] for row in store._connection.rows(f"EXPLAIN QUERY PLAN {sql}", question)]
        tables = ("heads", "events", "ready", "due", "woken", "stuck")
        assert not [step for step in plan if step.startswith("SCAN") and step.split()[1] in tables], plan


# Workers


def test_a_worker_whose_store_was_closed_is_gone(opened: Open) -> None:
    first, second = opened(), opened()
    first.register(worker("a/b worker" * 30))
    second.register(worker("worker-2"))
    assert [one.gone for one in second.workers()] == [False, False]
    first.close()
    assert sorted((one.worker, one.gone) for one in second.workers()) == [
        ("a/b worker" * 30, True),
        ("worker-2", False),
    ]
    second.retire("a/b worker" * 30)
    assert [one.worker for one in second.workers()] == ["worker-2"]


def test_retire_removes_the_lock_and_a_worker_may_come_back(opened: Open, path: Path) -> None:
    first, second = opened(), opened()
    locks = path.with_name(f"{path.name}-workers")
    first.register(worker())
    assert len(list(locks.iterdir())) == 1
    second.retire("worker-1")
    assert list(locks.iterdir()) == []
    first.register(worker())
    assert [one.gone for one in second.workers()] == [False]


def test_a_worker_that_registers_through_two_stores_is_there_until_both_are_closed(opened: Open) -> None:
    first, second, third = opened(), opened(), opened()
    first.register(worker())
    second.register(worker())
    assert [one.gone for one in third.workers()] == [False]
    second.close()
    assert [one.gone for one in third.workers()] == [False]
    first.close()
    assert [one.gone for one in third.workers()] == [True]


def test_without_the_directory_of_locks_nobody_is_said_to_be_gone(opened: Open, path: Path) -> None:
    first, second = opened(), opened()
    first.register(worker())
    first.close()
    locks = path.with_name(f"{path.name}-workers")
    for file in locks.iterdir():
        file.unlink()
    locks.rmdir()
    assert [one.gone for one in second.workers()] == [False]
    locks.touch()
    second.register(worker("worker-2"))
    assert [one.gone for one in second.workers()] == [False, False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_keep_its_parents_lock_nor_use_its_store(path: Path) -> None:
    parent = (
        "import os, sys, time; from everlog_sqlite import open_store\n"
        "from everlog.testing.making import worker\n"
        "from everlog.errors import StoreUnavailable\n"
        "store = open_store(sys.argv[1]); store.register(worker())\n"
        "if os.fork():\n"
        "    os._exit(0)\n"
        "try:\n"
        "    store.changes()\n"
        "except StoreUnavailable as error:\n"
        "    assert 'fork' in str(error)\n"
        "    print('refused', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, f"sqlite:///{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"refused\n"
    assert process.wait() == 0
    store = open_store(f"sqlite:///{path}")
    assert [one.gone for one in store.workers()] == [True]
    store.close()
    process.stdin.close()
    process.stdout.close()


def test_leases_do_not_wait_for_the_committers_lock(opened: Open) -> None:
    store = opened()
    store.register(worker())
    with store._connection.using:
        thread = threading.Thread(target=store.renew, args=["worker-1"], kwargs={"lease_until": 5})
        thread.start()
        thread.join(timeout=2)
        assert not thread.is_alive()


def test_leases_are_renewed_in_time_beside_a_committer_that_never_pauses(opened: Open) -> None:
    store = opened(durability="process")
    store.register(worker())
    tokens = {f"order-{n}": held(store, f"order-{n}") for n in range(100)}
    stop = threading.Event()

    def commit_all() -> None:
        seq = 1
        while not stop.is_set():
            commits = [
                Commit(workflow_id=workflow_id, token=token, seq=seq, state="running", events=[event(seq + 1)])
                for workflow_id, token in tokens.items()
            ]
            store.commit(Batch(commits=commits))
            seq += 1

    thread = threading.Thread(target=commit_all)
    thread.start()
    try:
        for number in range(5):
            began = time.monotonic()
            assert store.renew("worker-1", lease_until=number)
            assert time.monotonic() - began < 4
    finally:
        stop.set()
        thread.join()


# House-keeping


def test_the_write_ahead_log_is_moved_into_the_file_off_the_commit_path(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(durability="process")
    assert isinstance(store, SupportsMaintenance)
    token = held(store, "order")
    payload = b'"' + b"x" * 100_000 + b'"'
    log = path.with_name(f"{path.name}-wal")
    for seq in range(1, 61):
        commit(
            store, Commit(workflow_id="order", token=token, seq=seq, state="running", events=[event(seq + 1, payload)])
        )
    before = path.stat().st_size
    assert log.stat().st_size > 6_000_000
    store.maintain()
    assert path.stat().st_size > before + 5_000_000
    post(store, message("order"))
    assert len(store.read("order")) == 61
    monkeypatch.setattr(checkpoints, "_MOST_ROOM_BYTES", 1_000_000)
    store.maintain()
    assert log.stat().st_size == 0


def test_a_very_long_log_begins_anew_in_the_room_that_it_has(
    opened: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(durability="process")
    assert isinstance(store, SupportsMaintenance)
    token = held(store, "order")
    payload = b'"' + b"x" * 100_000 + b'"'

    def append(seqs: range) -> None:
        for seq in seqs:
            rows = [event(seq + 1, payload)]
            commit(store, Commit(workflow_id="order", token=token, seq=seq, state="running", events=rows))

    append(range(1, 61))
    log = path.with_name(f"{path.name}-wal")
    room = log.stat().st_size
    monkeypatch.setattr(checkpoints, "_LONGEST_LOG", 1_000)
    store.maintain()
    append(range(61, 120))
    assert log.stat().st_size == room
    assert [row.seq for row in store.read("order")] == list(range(1, 121))


def test_house_keeping_of_a_database_in_memory_does_nothing() -> None:
    store = open_store("sqlite:///:memory:")
    store.maintain()
    store.close()


def _read_all(store: SqliteStore) -> None:
    for number in range(50):
        assert list(store.read(f"order-{number}")) == events(1, 20)
        assert head(store, f"order-{number}").seq == 20
