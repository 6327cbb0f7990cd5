"""What is promised of large values: step inputs are kept short, others are kept whole, remarked on, and bounded."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import everlog
from everlog import Engine, NotEncodable, RetryPolicy, WorkflowFailed, step, workflow
from everlog.cli.main import main as command
from everlog.replay import sizes
from tests.support import FlakyStore, PausableHost, events_of, in_state, kill, make_store, opened, run, simulate

KB = 1024
SIZE = {"now": 100_000}
TRIES: list[int] = []


@step(retry=RetryPolicy(max_attempts=3, first_delay=5))
async def measure(text: str) -> int:
    TRIES.append(len(text))
    if len(TRIES) == 1:
        raise ConnectionError("the first time fails")
    return len(text)


@step
async def give(size: int) -> str:
    return "x" * size


@workflow
async def measures() -> int:
    result = await measure("x" * SIZE["now"])
    await asyncio.sleep(10)
    return result


@workflow
async def gives(size: int) -> int:
    return len(await give(size))


@workflow
async def returns(size: int) -> str:
    return "x" * size


@workflow
async def takes(text: str) -> int:
    return len(text)


@workflow
async def sends(size: int) -> None:
    await everlog.send("nobody", "box", "x" * size)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    TRIES.clear()
    SIZE["now"] = 100_000
    monkeypatch.setattr(sizes, "_remarked", set())


def died_after(state_to_reach: str, change: Any = None) -> tuple[int, list[Any]]:
    """Give the result of `measures` when its process died in between, and the events that carry its input."""

    async def program(host: PausableHost) -> tuple[int, list[Any]]:
        plain = make_store(host)
        first = await opened(Engine(FlakyStore(plain), host=host.sibling(), workflows=[measures], lease=1))
        handle = await first.start(measures.options(id="large"))
        await in_state(handle, state_to_reach)
        if state_to_reach == "waiting" and change is None:
            assert len(TRIES) == 1, "it waits for its second attempt"
        else:
            await asyncio.sleep(6)
        kill(first)
        if change is not None:
            SIZE["now"] = change
        async with Engine(plain, host=host, workflows=[measures]) as second:
            result = await second.handle("large").result()
            return result, [
                *await events_of(second, "large", "step_attempt_failed"),
                *await events_of(second, "large", "step_completed"),
            ]

    return simulate(program)


def test_a_step_with_a_large_input_is_tried_again_after_a_crash() -> None:
    result, (failed, completed) = died_after("waiting")
    assert result == 100_000
    assert TRIES == [100_000, 100_000], "the code gives the whole input again"
    assert failed.data["large_input"]["size"] > 100_000
    assert failed.data["large_input"]["preview"].startswith('{"text":"xxx')
    assert "input" not in failed.data
    assert not {"input", "large_input"} & completed.data.keys(), "an earlier row has it"


def test_a_large_input_that_has_changed_is_warned_of_and_let_pass(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "everlog"):
        result, _ = died_after("waiting", change=200_000)
    assert result == 100_000, "the step had ended: its result stands"
    warnings = [record.getMessage() for record in caplog.records if "recorded digest" in record.getMessage()]
    assert len(warnings) == 1
    assert "'large'" in warnings[0]
    assert "measure" in warnings[0]


def test_a_large_input_that_is_the_same_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "everlog"):
        died_after("waiting", change=100_000)
    assert not [record for record in caplog.records if "digest" in record.getMessage()]


def test_the_log_shows_how_a_large_input_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TRIES.append(0)
    path = tmp_path / "large.db"

    @workflow(name="measures once")
    async def measures_once() -> int:
        return await measure("x" * 100_000)

    async def program() -> int:
        async with Engine(f"sqlite:///{path}") as engine:
            return await engine.run(measures_once.options(id="large"))

    assert asyncio.run(program()) == 100_000
    command(["log", "large", "--db", str(path)])
    printed = capsys.readouterr().out
    assert 'input=(100,011 bytes) {"text":' in printed
    command(["log", "large", "--db", str(path), "--json"])
    printed = capsys.readouterr().out
    assert '"size":100011' in printed
    assert "x" * 201 not in printed
    command(["show", "large", "--db", str(path)])
    assert "100000" in capsys.readouterr().out


def test_the_input_of_a_workflow_is_kept_whole() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(takes, "x" * 300_000)
        assert await handle.result() == 300_000
        (created,) = await events_of(engine, handle.id, "workflow_created")
        assert len(created.data["input"]["text"]) == 300_000

    run(program, workflows=[takes])


def test_what_is_large_is_remarked_on_once_for_each_definition(caplog: pytest.LogCaptureFixture) -> None:
    async def program(engine: Engine) -> None:
        for _ in range(3):
            assert await engine.run(gives, sizes.LARGE) == sizes.LARGE
        await engine.run(returns, sizes.LARGE)
        await engine.run(takes, "x" * sizes.LARGE)
        await engine.run(gives, sizes.LARGE - 100)

    with caplog.at_level(logging.WARNING, "everlog"):
        run(program, workflows=[gives, returns, takes])
    remarks = [record.getMessage() for record in caplog.records if "takes 1.0 MB" in record.getMessage()]
    assert [remark.partition(" takes 1.0 MB ")[0] for remark in remarks] == [
        "the result of step give",
        "the result of workflow returns",
        "the input of workflow takes",
    ]
    assert "1.0 MB" in remarks[0]
    assert "record what names it" in remarks[0]


def test_what_is_too_large_is_refused_and_nothing_of_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true limit is only looked at once, since it takes long; the rule is the same at any size."""
    assert sizes.MOST == 64 * 1024 * KB
    monkeypatch.setattr(sizes, "MOST", sizes.LARGE)
    too_much = sizes.LARGE + 1

    async def program(engine: Engine) -> None:
        for flow in (gives, returns, sends):
            with pytest.raises(WorkflowFailed, match="keep the data in a file") as failed:
                await engine.run(flow, too_much)
            assert isinstance(failed.value.__cause__, NotEncodable)
            assert "1.0 MB" in str(failed.value.__cause__)
        with pytest.raises(NotEncodable, match=r"input of workflow takes: it takes 1\.0 MB"):
            await engine.start(takes.options(id="never"), "x" * too_much)
        with pytest.raises(everlog.NotFound):
            await engine.handle("never").status()
        waiting = await engine.start(measures.options(id="w"))
        with pytest.raises(NotEncodable, match="message on topic 'box'"):
            await engine.send("w", "box", "x" * too_much)
        await waiting.cancel()
        (failed_step,) = [
            event for one in await engine.workflows() for event in await events_of(engine, one.id, "step_failed")
        ]
        assert failed_step.data["error"]["type"] == "everlog.errors:NotEncodable"

    run(program, workflows=[gives, returns, sends, takes, measures])
