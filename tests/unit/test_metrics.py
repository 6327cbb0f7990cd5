"""Metrics: what `metrics()` counts, how it is written for Prometheus, and the endpoints that serve it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import everlog
from everlog import Client, Engine, Queue, RetryPolicy, step, sync, workflow
from everlog.cli.main import main
from everlog.errors import UsageError
from everlog.memory import MemoryStore
from everlog.observing import Histogram, Metrics, endpoints, live, prometheus_text, ready
from everlog.runtime.tally import MOST_NAMES, OTHER, Distribution, Tally
from everlog.testing.simulation import SimulatedHost
from tests.inspecting import visiting_as
from tests.support import FlakyStore, in_state, kill, make_store, on_both_stores, opened, run, simulate, until

MAIL = Queue("metrics mail", concurrency=1)


@step(name="metrics.good")
async def good() -> None:
    await asyncio.sleep(0.2)


@step(name="metrics.bad", retry=RetryPolicy(max_attempts=3, first_delay=0.1, jitter=0))
async def bad() -> None:
    raise ConnectionError("no")


@step(name="metrics.slow")
async def slow() -> None:
    await asyncio.sleep(1000)


@workflow(name="metrics.works")
async def works() -> None:
    await good()
    await good()


@workflow(name="metrics.fails")
async def fails() -> None:
    await works()
    await bad()


@workflow(name="metrics.gives_up")
async def gives_up() -> None:
    try:
        async with asyncio.timeout(1):
            await slow()
    except TimeoutError:
        return


@workflow(name="metrics.turns")
async def turns(left: int) -> None:
    if left:
        everlog.continue_as_new(turns, left - 1)


@workflow(name="metrics.sleeps")
async def sleeps() -> None:
    await asyncio.sleep(1000)


@on_both_stores
def test_what_an_engine_did_is_counted(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> Metrics:
        with pytest.raises(everlog.WorkflowFailed):
            await engine.run(fails)
        await engine.run(gives_up)
        await engine.run(turns, 2)
        handle = await engine.start(sleeps)
        await in_state(handle, "waiting")
        await handle.cancel()
        with pytest.raises(everlog.WorkflowCancelled):
            await handle.result()
        return await engine.metrics()

    known = [works, fails, gives_up, turns, sleeps]
    found = run(program, kind=kind, folder=tmp_path, workflows=known).engine
    assert found is not None
    names = ["metrics.fails", "metrics.works", "metrics.gives_up", "metrics.turns", "metrics.sleeps"]
    assert found.workflows_began == dict.fromkeys(names, 1)
    assert found.workflows_ended == {
        "metrics.works": {"completed": 1},
        "metrics.fails": {"failed": 1},
        "metrics.gives_up": {"completed": 1},
        "metrics.turns": {"completed": 1},
        "metrics.sleeps": {"cancelled": 1},
    }
    assert found.attempts == {
        "metrics.good": {"completed": 2},
        "metrics.bad": {"retried": 2, "failed": 1},
        "metrics.slow": {"cancelled": 1},
    }
    assert found.attempt_seconds["metrics.good"].count == 2
    assert found.attempt_seconds["metrics.good"].sum == pytest.approx(0.4, abs=0.1)
    assert found.commits == found.commit_seconds.count == found.commit_parts.count > 5
    assert (found.commit_failures, found.takeovers, found.workflows_stuck) == (0, 0, 0)
    assert (found.held, found.running_attempts, found.holds_lease) == (0, 0, True)


def test_events_are_counted_as_they_are_in_the_histories() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(works)
        await handle.result()
        assert (found := (await engine.metrics()).engine) is not None
        assert found.events == len(await handle.history())

    run(program, workflows=[works])


@pytest.mark.usefixtures("burial")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_replay_counts_nothing_and_a_takeover_is_counted() -> None:
    async def program(host: Any) -> None:
        store = make_store(host)
        first = await opened(Engine(store, host=host.sibling(), workflows=[gives_up, works], lease=2))
        await first.run(works)
        handle = await first.start(gives_up.options(id="one"))
        await until(lambda: _worker(first)._steps.running != {})
        kill(first)
        async with Engine(store, host=host.sibling(), workflows=[gives_up, works], lease=2) as second:
            await second.handle(handle.id).result()
            assert (found := (await second.metrics()).engine) is not None
            assert (found.takeovers, found.workflows_began) == (1, {})
            assert found.workflows_ended == {"metrics.gives_up": {"completed": 1}}

    simulate(program)


def _worker(engine: Engine) -> Any:
    shell: Any = engine._shell
    return shell.worker


@on_both_stores
def test_what_is_in_the_database_is_asked_of_it(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> Metrics:
        for delay in (0, 0, 0, 3600):
            await engine.queue(MAIL).enqueue(sleeps.options(delay=delay))
        await engine.run(works)
        await asyncio.sleep(10)
        return await engine.metrics()

    found = run(program, kind=kind, folder=tmp_path, workflows=[works, sleeps]).store
    assert found.workflows.by_name == {"metrics.sleeps": {"waiting": 1, "queued": 3}}
    mail = found.queues["metrics mail"]
    assert (mail.queued, mail.delayed, mail.admitted, mail.paused) == (2, 1, 1, False)
    assert mail.oldest_seconds == pytest.approx(10, abs=1)
    assert found.oldest_queued_seconds == 0
    assert [left > 0 for left in found.workers.values()] == [True]


def test_a_client_knows_of_the_database_alone_and_blocking_code_asks_the_same(tmp_path: Path) -> None:
    """Of a database with a URL it is asked on a connection of its own, while the engine works."""
    url = f"sqlite:///{tmp_path}/metrics.db"
    with sync.Engine(url, workflows=[works]) as engine, sync.Client(url) as client:
        engine.run(works)
        mine, theirs = engine.metrics(), client.metrics()
    assert mine.engine is not None
    assert mine.engine.workflows_ended == {"metrics.works": {"completed": 1}}
    assert theirs.engine is None
    assert list(theirs.store.workers) == [mine.engine.worker]


def test_names_that_are_made_of_data_do_not_fill_the_memory() -> None:
    tally = Tally()
    for number in range(MOST_NAMES + 7):
        tally._began(f"name {number}")
        tally._step(f"name {number}")
    assert len(tally.began) == len(tally.steps) == MOST_NAMES + 1
    assert tally.began[OTHER] == 7


def test_a_bound_counts_what_equals_it() -> None:
    counted = Distribution([1.0, 5.0])
    for value in (0.5, 1.0, 3.0, 7.0):
        counted.add(value)
    told = Histogram(buckets={1.0: 2, 5.0: 3, float("inf"): 4}, count=4, sum=11.5)
    assert counted.told() == told


# -- as text

SAMPLE = re.compile(r'(?P<name>[a-z_]+)(?:\{(?P<labels>(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (?P<value>\S+)')


def samples(text: str) -> dict[str, float]:
    """Read the text as a collector does: every sample belongs to the family that was announced last."""
    found: dict[str, float] = {}
    family = kind = ""
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            _, _, named, kind = line.split(" ")
            assert named == family
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, line
            endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert sample["name"] in {family + ending for ending in endings}
            assert line.rpartition(" ")[0] not in found
            found[line.rpartition(" ")[0]] = float(sample["value"])
    return found


def test_the_text_is_that_of_prometheus() -> None:
    hostile = 'a "name"\\with\nall'

    @step(name=hostile)
    async def odd() -> None: ...

    @workflow(name="metrics.odd")
    async def oddly() -> None:
        await odd()

    async def program(engine: Engine) -> Metrics:
        await engine.run(oddly)
        return await engine.metrics()

    text = prometheus_text(run(program, workflows=[oddly]))
    told = samples(text)
    escaped = 'a \\"name\\"\\\\with\\nall'
    assert told[f'everlog_attempts_total{{step="{escaped}",outcome="completed"}}'] == 1
    assert told[f'everlog_attempt_seconds_bucket{{step="{escaped}",le="+Inf"}}'] == 1
    assert told[f'everlog_attempt_seconds_count{{step="{escaped}"}}'] == 1
    assert told['everlog_workflows_ended_total{workflow="metrics.odd",state="completed"}'] == 1
    assert told["everlog_lease_held"] == 1
    assert "# TYPE everlog_attempt_seconds histogram\n" in text


def test_the_command_prints_the_numbers_of_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.db"
    with sync.Engine(f"sqlite:///{path}", workflows=[works, sleeps]) as engine:
        engine.start(sleeps)
    assert main(["metrics", str(path)]) == 0
    told = samples(capsys.readouterr().out)
    here = [name for name in told if name.startswith("everlog_workflows{")]
    assert [name.partition(",")[0] for name in here] == ['everlog_workflows{workflow="metrics.sleeps"']
    assert "everlog_commits_total" not in told


# -- endpoints and health


def browser(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


def test_endpoints_alone_and_mounted() -> None:
    async def program(engine: Engine) -> None:
        await engine.run(works)
        mounted = Starlette(routes=[Mount("/ops", endpoints(engine))])
        for app, root in ((endpoints(engine), ""), (mounted, "/ops")):
            async with browser(app) as web:
                metrics = await web.get(f"{root}/metrics")
                assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert samples(metrics.text)['everlog_attempts_total{step="metrics.good",outcome="completed"}'] == 2
                assert (await web.get(f"{root}/health")).json()["ok"] is True
                assert (await web.get(f"{root}/ready")).json()["ok"] is True
                head = await web.head(f"{root}/ready")
                assert (head.status_code, head.text) == (200, "")
                assert (await web.post(f"{root}/ready")).status_code == 405
                assert (await web.get(f"{root}/else")).status_code == 404

    run(program, workflows=[works])


def test_endpoints_say_to_a_server_that_there_is_nothing_to_begin() -> None:
    sent: list[Any] = []
    asked = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(asked)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(endpoints(Client("memory://"))({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_inspector_has_them_for_whoever_it_lets_in() -> None:
    async def program(engine: Engine) -> None:
        async with visiting_as(engine) as web:
            assert "everlog_lease_held 1" in (await web.get("/metrics")).text
            assert (await web.get("/ready")).status_code == 200
            assert (await web.get("/health")).json()["ok"] is True
        nobody: Any = None
        async with visiting_as(engine, nobody) as web:
            assert (await web.get("/metrics")).status_code == 401

    run(program, workflows=[works])


def test_an_engine_without_its_database_lives_and_is_not_ready() -> None:
    async def program(host: SimulatedHost) -> None:
        store = FlakyStore(make_store(host))
        async with Engine(store, host=host, workflows=[works]) as engine:
            assert (await ready(engine)).ok
            store.down = True
            async with browser(endpoints(engine)) as web:
                assert (await web.get("/health")).status_code == 200
                answer = await web.get("/ready")
                assert (answer.status_code, answer.json()["ok"]) == (503, False)
                assert "down" in answer.json()["why"]
                assert (await web.get("/metrics")).status_code == 503
            store.down = False
            assert (await ready(engine)).ok

    simulate(program)


def test_one_past_its_lease_lives_and_is_not_ready() -> None:
    async def program(host: SimulatedHost) -> None:
        store = FlakyStore(make_store(host))
        async with Engine(store, host=host, workflows=[works], lease=2) as engine:
            _worker(engine).may_start = False
            assert (await live(engine)).ok
            found = await ready(engine)
            assert not found.ok
            assert "lease" in found.why

    simulate(program)


def test_one_whose_thread_does_not_answer_is_neither() -> None:
    async def program(host: Any) -> None:
        async with Engine(make_store(host), host=host, workflows=[works]) as engine:
            host.pause()
            assert not (await live(engine)).ok
            assert not (await ready(engine)).ok
            host.resume()
            assert (await live(engine)).ok

    simulate(program)


def test_a_client_is_ready_where_its_database_answers_and_one_that_is_closed_is_not() -> None:
    async def program() -> None:
        client = Client(MemoryStore())
        async with client:
            assert (await ready(client)).ok
        assert not (await live(client)).ok
        assert not (await ready(client)).ok

    asyncio.run(program())


def test_what_is_no_engine_is_refused() -> None:
    nothing: Any = object()
    with pytest.raises(UsageError, match="an Engine or a Client"):
        endpoints(nothing)
    with pytest.raises(UsageError, match="observers="):
        Engine("memory://", observers=[nothing])
