"""`everlog fork` and `everlog diff` on a real database file."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from everlog import Client, Engine, WorkflowFailed, step, workflow
from everlog.cli.main import main


@step(name="ask_model")
async def ask_model(question: str) -> str:
    return f"about {question}"


@step(name="carry_out")
async def carry_out(plan: str) -> str:
    return f"done: {plan}"


@workflow(name="cli_agent")
async def agent(questions: list[str]) -> list[str]:
    plans = [await ask_model.options(key=question)(question) for question in questions]
    return [await carry_out(plan) for plan in plans]


@dataclass
class Answer:
    text: str
    sure: float


@step(name="cli_guess")
async def guess(hint: Answer) -> Answer:
    return Answer(f"{'a long way ' * 8}{hint.text}", 0.5)


@workflow(name="cli_fails")
async def fails(hint: Answer) -> str:
    answer = await guess(hint)
    if answer.sure < 1:
        raise ValueError(answer.text)
    return answer.text


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = f"{tmp_path}/agents.db"

    async def begin() -> None:
        async with Engine(f"sqlite:///{path}") as engine:
            await engine.run(agent.options(id="first"), ["a", "b"])
            with suppress(WorkflowFailed):
                await engine.run(fails.options(id="failed"), Answer("x", 0.1))

    asyncio.run(begin())
    return path


def run_forks(path: str) -> dict[str, list[str]]:
    async def go_on() -> dict[str, list[str]]:
        async with Engine(f"sqlite:///{path}") as engine:
            forks = [one.id for one in await engine.workflows(forked_from="first")]
            return {one: await engine.handle(one, agent).result() for one in forks}

    return asyncio.run(go_on())


def test_a_fork_is_made_and_told(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fork", "first", "--replace", 'ask_model@a="other"', "--id", "second", "--db", database]) == 0
    said = capsys.readouterr().out
    assert "fork      second" in said
    assert "replaced  ask_model@a" in said
    assert "again     carry_out" in said
    assert f"everlog diff first second --db {database}" in said
    assert run_forks(database) == {"second": ["done: other", "done: about b"]}


def test_it_is_cut_at_a_seq_or_an_operation(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    for at, until in (("3", 3), ("carry_out", 4), ("ask_model@b", 3)):
        assert main(["fork", "first", "--at", at, "--db", database]) == 0
        assert f"first, whose events up to {until} it has" in capsys.readouterr().out
    assert len(run_forks(database)) == 3


def test_input_and_messages_are_options_of_it(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["fork", "first", "--replace", 'input={"questions":["a","c"]}', "--messages", "drop", "--children", "keep"]
    assert main([*order, "--db", database]) == 0
    assert "replaced  input" in capsys.readouterr().out
    assert list(run_forks(database).values()) == [["done: about a", "done: about c"]]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["nobody"], "there is no workflow 'nobody'"),
        (["first", "--replace", "ask_model"], "KEY=JSON"),
        (["first", "--replace", "ask_model@a=yes"], "is no JSON"),
        (["first", "--replace", "nothing=1"], "no outcome of an operation 'nothing'"),
        (["first", "--at", "77"], "none of seq 77"),
        (["first", "--module", "no_such_module"], "cannot import "),
    ],
)
def test_what_cannot_be_done_is_one_line(
    database: str, order: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fork", *order, "--db", database]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_two_histories_are_shown_side_by_side(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fork", "first", "--replace", 'ask_model@a="other"', "--id", "second", "--db", database])
    run_forks(database)
    capsys.readouterr()
    assert main(["diff", "first", "second", "--db", database]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    marked = next(place for place, line in enumerate(lines) if line.startswith("---- the first difference"))
    assert "created" in lines[1]
    assert "~" in lines[marked + 1]
    assert '"other"' in lines[marked + 1]
    assert main(["diff", "first", "first", "--db", database]) == 0
    assert "they are the same" in capsys.readouterr().out


def test_json_is_read_as_the_type_that_is_declared(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    def forked(replacement: str, name: str) -> str:
        assert main(["fork", "failed", "--replace", replacement, "--id", name, "--db", database]) == 0

        async def go_on() -> str:
            async with Engine(f"sqlite:///{database}") as engine:
                return await engine.handle(name, fails).result()

        return asyncio.run(go_on())

    assert forked('cli_guess={"text":"y","sure":1}', "sure") == "y"
    with pytest.raises(WorkflowFailed, match="a long way z"):
        forked('input={"hint":{"text":"z","sure":1}}', "other")
    for replacement, wrong in (("cli_guess", "the result of cli_guess"), ("input", "input of workflow 'failed'")):
        order = {"cli_guess": '{"text":"y"}', "input": '{"hint":{"text":"y"}}'}[replacement]
        assert main(["fork", "failed", "--replace", f"{replacement}={order}", "--db", database]) == 2
        error = capsys.readouterr().err
        assert wrong in error
        assert "'sure'" in error


def test_where_long_texts_differ_is_seen(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    long = {"text": f"{'a long way ' * 8}y", "sure": 0.5}
    main(["fork", "failed", "--replace", f"cli_guess={json.dumps(long)}", "--id", "second", "--db", database])
    capsys.readouterr()
    main(["diff", "failed", "second", "--db", database])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "cli_guess completed" in line]
    left, right = line.split(" ~ ")
    assert 'way x","s' in left
    assert 'way y","s' in right


def test_a_fork_is_replayed_from_the_command_line(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before an engine has run it, and after; and an event without which it was made is none of its own."""
    main(["fork", "first", "--replace", 'ask_model@a="other"', "--id", "second", "--db", database])
    assert main(["state", "second", "--module", __name__, "--db", database]) == 0
    assert "pending\n  carry_out: step carry_out" in capsys.readouterr().out
    run_forks(database)
    assert main(["state", "second", "--module", __name__, "--db", database]) == 0
    assert "The code has ended" in capsys.readouterr().out
    assert main(["state", "second", "--at", "5", "--module", __name__, "--db", database]) == 2
    assert "event 5 of workflow 'second' does not count" in capsys.readouterr().err


def test_show_says_what_may_be_done_about_a_failure(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["show", "failed", "--db", database])
    said = capsys.readouterr().out
    assert f"everlog fork failed --db {database} --replace KEY=JSON" in said
    assert "raise ValueError(answer.text)" in said
    assert "execution.py" not in said
    main(["show", "first", "--db", database])
    assert "everlog fork" not in capsys.readouterr().out


def test_the_whole_comparison_is_there_as_json(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fork", "first", "--at", "3", "--id", "second", "--db", database])
    capsys.readouterr()
    assert main(["diff", "first", "second", "--json", "--db", database]) == 0
    pairs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [pair["mark"] for pair in pairs][:3] == ["same"] * 3
    lefts = [pair["left"]["seq"] for pair in pairs if pair["left"] is not None]

    async def length() -> int:
        async with Client(f"sqlite:///{database}") as client:
            return len(await client.handle("first").history())

    assert lefts == list(range(1, asyncio.run(length()) + 1))
    assert [pair["right"]["kind"] for pair in pairs if pair["mark"] == "right"] == ["workflow_forked"]
