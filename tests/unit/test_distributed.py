"""Tables that are distributed over servers: distributing them, claims that lock nothing, what others have locked.

On plain Postgres, where it is done as if they were distributed, and on a Citus cluster if there is one.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

import everlog
from everlog import Client, Engine, step, workflow
from everlog.cli.main import main
from everlog.errors import SchemaMismatch, StoreUnavailable, UsageError
from everlog.store import Batch, Busy, ClaimRequest, Commit, Done, Refused
from everlog.testing.making import (
    admit,
    claim,
    claimed_ids,
    create,
    declare,
    enqueued,
    events,
    head,
    held,
    message,
    new,
    waiting,
    worker,
)
from everlog_postgres import open_store
from everlog_postgres.distributed import Distributed
from everlog_postgres.distribution import BY_WORKFLOW, ON_THE_COORDINATOR
from everlog_postgres.migrations import MIGRATIONS
from everlog_postgres.statements import load, one_by_one
from everlog_postgres.store import PostgresStore
from everlog_postgres.urls import parse
from tests.citus import as_if_distributed, coordinator, distributed, needs_citus, new_citus_schema
from tests.postgres import administrator, needs_postgres, new_schema, with_options

pytestmark = needs_postgres
Driver = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(params=["as if", pytest.param("citus", marks=needs_citus)])
def where(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(where: str) -> str:
    return distributed("push=off") if where == "citus" else as_if_distributed("push=off")


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    store = open_store(url)
    yield store
    store.close()


@pytest.fixture
def other(where: str, url: str, store: PostgresStore) -> Iterator[Driver]:
    """Another's connection, with the store's schema as its search path."""
    with coordinator() if where == "citus" else administrator() as connection:
        connection.execute(f'SET search_path = "{parse(url).schema}"'.encode())
        yield connection


def test_no_workflow_is_handed_out_twice(url: str, store: PostgresStore) -> None:
    """Several claim at once, again and again, until nothing is left; each takes some, and nobody takes another's."""
    names = [f"order-{number}" for number in range(150)]
    store.commit(Batch(creates=[new(name) for name in names]))
    taken: dict[str, list[tuple[str, str]]] = {f"worker-{number}": [] for number in range(4)}
    begin = threading.Barrier(len(taken))

    def take_all(name: str, mine: list[tuple[str, str]]) -> None:
        through = open_store(url)
        begin.wait()
        number = idle = 0
        while idle < 2:
            number += 1
            tokens = [f"{name}-{number}-{one}" for one in range(5)]
            answer = through.claim(ClaimRequest(worker=name, tokens=tokens, build="b", names=["checkout"]))
            idle = 0 if answer.claimed else idle + 1
            mine.extend((one.head.workflow_id, str(one.head.token)) for one in answer.claimed)
        through.close()

    threads = [threading.Thread(target=take_all, args=one) for one in taken.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Who comes second too often gives up; that leaves work for later, and never hands it out twice.
    left = claimed_ids(store.claim(ClaimRequest(worker="last", tokens=names, build="b", names=["checkout"])))
    counts = Counter([*left, *(workflow_id for mine in taken.values() for workflow_id, _ in mine)])
    assert counts == Counter(names)
    for name, mine in taken.items():
        for found, (_, token) in zip(store.heads([one for one, _ in mine]), mine, strict=True):
            assert found is not None
            assert (found.worker, found.token) == (name, token)


def _after_finding(monkeypatch: pytest.MonkeyPatch, meanwhile: Any) -> None:
    """Have something happen once, after a claim has found its candidates and before it takes any."""
    found_before = Distributed._candidates
    happened: list[bool] = []

    def find(self: Distributed, *arguments: Any) -> Sequence[Any]:
        found = found_before(self, *arguments)
        if not happened:
            happened.append(True)
            meanwhile()
        return found

    monkeypatch.setattr(Distributed, "_candidates", find)


def test_there_are_no_queues(store: PostgresStore) -> None:
    with pytest.raises(UsageError, match="queue"):
        declare(store)
    with pytest.raises(UsageError, match="queue"):
        create(store, enqueued("order"))
    token = held(store, "parent")
    births = Commit(workflow_id="parent", token=token, seq=1, state="running", creates=[enqueued("order")])
    with pytest.raises(UsageError, match="queue"):
        store.commit(Batch(commits=[births]))
    assert store.heads(["order"]) == [None]
    assert list(store.queues()) == []
    assert claimed_ids(admit(store, "t")) == []
    assert store.places(["parent"]) == [None]


@needs_citus
def test_a_database_in_which_somebody_stands_in_a_queue_is_not_distributed() -> None:
    store = open_store(new_citus_schema())
    create(store, enqueued("order"))
    with pytest.raises(UsageError, match="1 workflows stand in queues"):
        store.distribute()
    store.close()


def test_who_comes_second_takes_others(url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        create(store, new(f"order-{number}"))
    peer = open_store(url)
    _after_finding(monkeypatch, lambda: claim(peer, "faster", "faster too", worker="worker-2"))
    taken = claimed_ids(claim(store, "t", "u", "v"))
    assert len(taken) == 3
    assert not {"order-0", "order-1"} & set(taken), "they are another's"
    peer.close()


def test_a_candidate_that_went_on_meanwhile_is_left(
    url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was ready; when it is to be taken, it waits for a message, and nobody holds it: what was true need not be."""
    create(store, new("order"))
    peer = open_store(url)

    def take_and_park() -> None:
        claim(peer, "t", worker="worker-2")
        parks = Commit(
            workflow_id="order", token="t", seq=1, state="waiting", events=events(2, 2), topics=["news"], release=True
        )
        assert peer.commit(Batch(commits=[parks])).commits == [Done()]

    _after_finding(monkeypatch, take_and_park)
    assert claimed_ids(claim(store, "u")) == []
    found = head(store, "order")
    assert (found.state, found.token, found.seq) == ("waiting", None, 2)
    peer.close()


def test_what_was_taken_before_an_error_is_given_back(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    create(store, new("order"))

    def fail(*_: object) -> None:
        raise StoreUnavailable("the server went away")

    with monkeypatch.context() as patched:
        patched.setattr(Distributed, "read_claimed", fail)
        with pytest.raises(StoreUnavailable):
            claim(store, "t")
    assert head(store, "order").token == "t"
    assert claimed_ids(claim(store, "u")) == ["order"]


def test_what_another_has_locked_is_busy_and_holds_up_no_other(store: PostgresStore, other: Driver) -> None:
    """Also in a batch that creates and sends: all of the rest is written."""
    tokens = {name: held(store, name) for name in ("a", "b", "c")}
    waiting(store, "reader", topics=["news"])
    commits = [
        Commit(workflow_id=name, token=token, seq=1, state="running", events=events(2, 2))
        for name, token in tokens.items()
    ]
    refused = Commit(workflow_id="nobody", token="t", seq=1, state="running")
    batch = Batch(creates=[new("d")], commits=[*commits, refused], posts=[message("reader")])
    with other.transaction():
        other.execute("SELECT FROM heads WHERE workflow_id = 'b' FOR UPDATE")
        outcome = store.commit(batch)
        assert (outcome.creates, outcome.posts) == ([Done()], [Done()])
        assert outcome.commits[:3] == [Done(), Busy(), Done()]
        assert claimed_ids(claim(store, "t", "u", "v")) == ["d", "reader"]
        store.register(worker("worker-1"))
        assert store.retire("worker-1") == 4
    assert store.commit(Batch(commits=[refused])).commits == [Refused()]
    assert [head(store, name).seq for name in "abc"] == [2, 1, 2]
    assert store.retire("worker-1") == 1


def test_a_message_that_repeats_what_a_commit_of_its_batch_consumes_is_new(store: PostgresStore) -> None:
    """In a batch, too, parts take effect one after the other."""
    token = held(store, "order")
    sent = message("order")
    assert store.commit(Batch(posts=[sent])).posts == [Done()]
    (unread,) = store.unread("worker-1")
    consumes = Commit(
        workflow_id="order", token=token, seq=1, state="running", events=events(2, 2), consumed=[unread.row]
    )
    outcome = store.commit(Batch(commits=[consumes], posts=[sent]))
    assert (outcome.commits, outcome.posts) == ([Done()], [Done()])
    assert [one.row > unread.row for one in store.unread("worker-1")] == [True]


def test_changes_are_noted_after_the_transaction_and_only_where_there_are_some(
    store: PostgresStore, other: Driver
) -> None:
    def notes() -> object:
        return other.execute("SELECT count(*) FROM writes").fetchall()[0][0]

    token = held(store, "order")
    before = notes()
    wrong = Commit(workflow_id="order", token="wrong", seq=1, state="running", events=events(2, 2))
    assert store.commit(Batch(commits=[wrong])).commits == [Refused()]
    claim(store, "t")
    assert notes() == before
    right = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))
    assert store.commit(Batch(commits=[right])).commits == [Done()]
    assert notes() == int(str(before)) + 1


def test_every_table_has_a_place() -> None:
    """A migration that adds a table is to say whether it is distributed."""
    url = new_schema()
    open_store(url).close()
    with administrator() as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'",
            (parse(url).schema,),
        ).fetchall()
    assert sorted(str(name) for (name,) in tables) == sorted((*BY_WORKFLOW, *ON_THE_COORDINATOR))


def test_a_database_without_citus_is_refused_and_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    url = new_schema()
    assert main(["migrate", "--citus", url]) == 2
    assert "no extension citus" in capsys.readouterr().err
    store = open_store(url)
    with pytest.raises(UsageError, match="CREATE EXTENSION"):
        store.distribute()
    assert create(store, new("order")) == Done()
    store.close()


def test_another_kind_of_store_is_refused(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--citus", str(tmp_path / "shop.db")]) == 2
    assert "Postgres" in capsys.readouterr().err


@step(name="distributed.double")
async def double(number: int) -> int:
    return 2 * number


@workflow(name="distributed.passes_on")
async def passes_on(number: int, to: str) -> int:
    """Work, sleep, send what came out to another workflow, which lies on another server perhaps, and wait for one."""
    product = await double(number)
    await asyncio.sleep(0.01)
    await everlog.send(to, "product", product)
    return product + await everlog.recv("product", type=int)


async def pass_on(url: str, count: int) -> list[int]:
    """Run so many workflows on two engines, each of which sends to the one before."""
    async with Client(url) as client:
        starts = [
            client.start(passes_on.options(id=f"order-{number}"), number, f"order-{(number - 1) % count}")
            for number in range(count)
        ]
        handles = await asyncio.gather(*starts)
        async with Engine(url, workflows=[passes_on]), Engine(url, workflows=[passes_on]):
            return [await handle.result(timeout=60) for handle in handles]


def test_engines_run_workflows_that_send_to_each_other(url: str) -> None:
    assert asyncio.run(pass_on(url, 20)) == [2 * number + 2 * ((number + 1) % 20) for number in range(20)]


@needs_citus
def test_tables_are_distributed_once_with_what_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    url = new_citus_schema()
    store = open_store(url)
    for number in range(20):
        create(store, new(f"order-{number}"))
    store.close()
    assert main(["migrate", "--citus", url]) == 0
    assert "have been distributed" in capsys.readouterr().out
    assert main(["migrate", "--citus", url]) == 0
    assert "distributed before" in capsys.readouterr().out
    store = open_store(url, create=False)
    assert len(claimed_ids(claim(store, *[f"t{number}" for number in range(30)]))) == 20
    assert [event.seq for event in store.read("order-7")] == [1]
    with coordinator() as connection:
        found = connection.execute(
            "SELECT split_part(table_name::text, '.', 2), citus_table_type, distribution_column FROM citus_tables"
            " WHERE table_name::text LIKE %s",
            (f"{parse(url).schema}.%",),
        ).fetchall()
    assert sorted(found) == sorted((name, "distributed", "workflow_id") for name in BY_WORKFLOW)
    store.close()


@needs_citus
def test_a_user_with_the_documented_rights_runs_workflows_on_a_cluster() -> None:
    url = distributed()
    schema, role = parse(url).schema, f"{parse(url).schema}_worker"
    with coordinator() as connection:
        for statement in (
            f'CREATE ROLE "{role}" LOGIN',
            f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"',
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO "{role}"',
        ):
            connection.execute(statement.encode())

    least = with_options(url.replace("://postgres@", f"://{role}@"), "migrate=off")
    assert asyncio.run(pass_on(least, 2)) == [2, 2]
    with coordinator() as connection:
        connection.execute(f'DROP OWNED BY "{role}"'.encode())
        connection.execute(f'DROP ROLE "{role}"'.encode())


@needs_citus
def test_a_server_that_does_not_wait_for_its_disk_is_refused() -> None:
    url = distributed()
    role = f"{parse(url).schema}_hasty"
    with coordinator() as connection:
        connection.execute(f'CREATE ROLE "{role}" LOGIN SUPERUSER'.encode())
        connection.execute(f'ALTER ROLE "{role}" SET synchronous_commit = off'.encode())  # on all servers
        hasty = url.replace("://postgres@", f"://{role}@")
        with pytest.raises(SchemaMismatch, match="of its cluster"):
            open_store(hasty)
        open_store(hasty, durability="process").close()
        connection.execute(f'DROP ROLE "{role}"'.encode())


@pytest.mark.parametrize("is_distributed", [True, False])
def test_what_a_server_commits_when_it_is_there_again_is_noticed_within_a_minute(
    is_distributed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody notes it: so everything counts as changed once a minute, however often it is looked."""
    store = open_store(as_if_distributed("push=off") if is_distributed else new_schema("push=off"))
    first, began = store.changes(), time.monotonic()
    seen: list[bool] = []
    for after in (25, 50, 59, 61, 62):
        monkeypatch.setattr(time, "monotonic", lambda at=began + after: at)
        seen.append(store.changes() == first)
    assert seen == ([True, True, True, False, False] if is_distributed else [True] * 5)
    store.close()


def test_a_migration_is_taken_apart_into_its_statements() -> None:
    """Citus hands on a statement to other servers only if it comes alone."""
    for name in MIGRATIONS:
        text = load(f"migrations/{name}")
        code = re.sub(r"--.*", "", text)
        assert len(one_by_one(text)) == code.count(";")


@needs_citus
def test_a_store_that_was_open_when_its_tables_were_distributed_says_so() -> None:
    url = new_citus_schema()
    before, after = open_store(url), open_store(url)
    assert after.distribute()
    with pytest.raises(SchemaMismatch, match="distributed meanwhile"):
        claim(before, "t")
    assert create(after, new("order")) == Done()
    before.close()
    after.close()
