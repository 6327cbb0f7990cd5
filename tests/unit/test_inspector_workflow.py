"""What the page of one workflow leads to: its children, its conversation, a file, a test, and another database."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.requests import Request

import everlog
from everlog import Engine, Queue, step, workflow
from everlog.inspector import live
from everlog.inspector.conversation import turns_of
from everlog.inspector.payloads import Payloads
from everlog.inspector.settings import Settings
from everlog.inspector.site import Site
from everlog.inspector.waterfall import KINDS
from everlog.store import EventRow
from everlog.testing import HistoryDiverges
from tests.inspecting import ADA, Parts, post, visiting_as
from tests.support import in_state, on_both_stores, run

narrow = Queue("inspector_narrow", concurrency=1)
ODD = "line separators \u2028 and \u2029, quotes ''' \" and a backslash \\"


@step(name="inspector_one_pay")
async def pay(note: str) -> str:
    return note.upper()


@workflow(name="inspector_one_order")
async def order(note: str) -> str:
    return await pay(note)


@workflow(name="inspector_one_works")
async def works() -> str:
    await asyncio.sleep(10)
    return await pay("worked")


@workflow(name="inspector_one_parent")
async def parent() -> None:
    handles = [await narrow.enqueue(works.options(id=f"inner-{number}")) for number in range(2)]
    for handle in handles:
        await handle.result()


@step(name="inspector_one_model")
async def model(messages: list[dict[str, Any]]) -> dict[str, Any]:
    if messages[-1]["role"] == "tool":
        return {"role": "assistant", "content": "It is 4.", "usage": {"input_tokens": 30, "output_tokens": 5}}
    call = {"id": "1", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"choices": [{"message": message}], "usage": {"prompt_tokens": 20, "completion_tokens": 7}}


@workflow(name="inspector_one_agent")
async def agent(question: str) -> str:
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    first = await model(messages)
    messages += [first["choices"][0]["message"], {"role": "tool", "tool_call_id": "1", "content": "4"}]
    return str((await model(messages))["content"])


@workflow(name="inspector_one_waits")
async def waits() -> str:
    return await everlog.recv("go", type=str)


# -- children ----------------------------------------------------------------------------------------------------------


@on_both_stores
def test_children_are_shown_inside_their_parent(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(parent.options(id="parent"))
        await handle.result()
        async with visiting_as(engine) as browser:
            page = (await browser.get("/workflow?id=parent")).text
            assert KINDS["queued"] in page, "the second child waited until the first had ended"
            assert "inspector_one_pay" not in page
            (link,) = [str(one["href"]) for one in Parts(page).all("a") if "inside=inner-1" in str(one["href"])]
            inside = (await browser.get(link.partition("#")[0])).text
            assert "inspector_one_pay" in inside
            assert 'hide inside<span class="unseen"> inner-1' in inside
            assert 'show inside<span class="unseen"> inner-0' in inside
            assert (await browser.get("/workflow?id=parent&inside=nobody")).status_code == 200
            links = [str(one["href"]) for one in Parts(inside).all("a")]
            for one in {one for one in links if one.startswith("/event?id=inner-1")}:
                assert (await browser.get(one)).status_code == 200

    run(program, kind=kind, folder=tmp_path)


# -- files -------------------------------------------------------------------------------------------------------------


@on_both_stores
def test_a_workflow_goes_from_one_database_to_another(kind: str, tmp_path: Path) -> None:
    texts: dict[str, str] = {}

    async def leaves(engine: Engine) -> None:
        await engine.run(order.options(id="moves/1"), ODD)
        await in_state(await engine.start(waits.options(id="waits")), "waiting")
        async with visiting_as(engine) as browser:
            for name in ("moves/1", "waits"):
                answer = await browser.get("/export", params={"id": name})
                assert answer.headers["content-disposition"].startswith('attachment; filename="')
                texts[name] = answer.text
            assert (await browser.get("/export?id=nobody")).status_code == 404

    async def arrives(engine: Engine) -> None:
        async with visiting_as(engine) as browser:
            typed = texts["moves/1"].replace("\n", "\r\n")  # as browsers send what was pasted
            for _ in range(2):  # the second time it is there already
                answer = await post(browser, "/act/import", text=typed)
                assert httpx.URL(answer.headers["location"]).params["id"] == "moves/1"
            assert await engine.handle("moves/1").result() == ODD.upper()
            refused = await post(browser, "/act/import", text=texts["waits"])
            assert refused.status_code == 400
            assert "has not ended" in refused.text
            assert (await post(browser, "/act/import", text=typed.replace("moves", "loves"))).status_code == 400
            assert (await post(browser, "/act/import", text=texts["waits"], run="1")).status_code == 303
            await engine.send("waits", "go", "on")
            assert await engine.handle("waits").result() == "on"

    run(leaves, kind=kind, folder=tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    run(arrives, kind=kind, folder=other)


def test_nothing_leaves_where_payloads_are_kept_from_people() -> None:
    async def program(engine: Engine) -> None:
        await engine.run(order.options(id="kept"), "secret")
        for kept in ({"hide_payloads": True}, {"redact": lambda name, value: value}):
            async with visiting_as(engine, **kept) as browser:
                for page in ("/export?id=kept", "/test?id=kept", "/test?id=kept&download=1"):
                    answer = await browser.get(page)
                    assert answer.status_code == 403, page
                    assert "secret" not in answer.text
                assert "/export" not in (await browser.get("/workflow?id=kept")).text

    run(program)


def test_a_history_is_a_test_that_runs(tmp_path: Path) -> None:
    async def program(engine: Engine) -> tuple[str, str]:
        await engine.run(order.options(id="order 'x'/1"), ODD)
        async with visiting_as(engine) as browser:
            page = (await browser.get("/test", params={"id": "order 'x'/1"})).text
            shown = re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
            assert shown is not None
            download = await browser.get("/test", params={"id": "order 'x'/1", "download": "1"})
            assert 'filename="test_order_x_1.py"' in download.headers["content-disposition"]
            return unescape(shown[1]), download.text

    shown, downloaded = run(program)
    assert shown == downloaded
    module: dict[str, Any] = {}
    exec(downloaded.replace(f"import {__name__}", "", 1).replace(f"assert {__name__}", "", 1), module)
    module["test_order_x_1_replays"](tmp_path)
    module["HISTORY"] = [line.replace("inspector_one_pay", "another") for line in module["HISTORY"]]
    with pytest.raises(HistoryDiverges):
        module["test_order_x_1_replays"](tmp_path)


# -- conversations -----------------------------------------------------------------------------------------------------


@on_both_stores
def test_an_agent_is_shown_as_a_conversation(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await engine.run(agent.options(id="agent"), "2+2?")
        async with visiting_as(engine) as browser:
            assert "/conversation?id=agent" in (await browser.get("/workflow?id=agent")).text
            page = (await browser.get("/conversation?id=agent")).text
            assert "50 tokens in, 12 out" in page
            turns = re.findall(r'<li class="turn role-(\w+)">(.*?)</li>', page, re.DOTALL)
            assert [role for role, _ in turns] == ["user", "assistant", "tool", "assistant"], "nothing is said twice"
            for (_, text), said in zip(turns, ("2+2?", "add", "4", "It is 4."), strict=True):
                assert said in text
        async with visiting_as(engine, hide_payloads=True) as browser:
            assert "2+2?" not in (await browser.get("/conversation?id=agent")).text
        async with visiting_as(engine, redact=lambda name, value: "***" if name == "content" else value) as browser:
            redacted = (await browser.get("/conversation?id=agent")).text
            assert "2+2?" not in redacted
            assert "***" in redacted

    run(program, kind=kind, folder=tmp_path)


def settings(redact: Any = None) -> Settings:
    return Settings(
        hosts=frozenset(),
        read_only=False,
        hide_payloads=False,
        redact=redact,
        max_body=1,
        secret=b"",
        on_change=None,
    )


def turns(*results: object, redact: Any = None) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Give who says what in steps that gave these."""
    rows = [
        EventRow(seq, "step_completed", 0, msgspec.json.encode({"type": "step_completed", "result": result}))
        for seq, result in enumerate(results, 1)
    ]
    return [
        (turn.role, [(part.kind, part.name, part.text) for part in turn.parts])
        for turn in turns_of(rows, Payloads(settings(redact)))
    ]


def test_messages_of_many_shapes_are_told() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "name": "look", "input": {"x": 1}},
        {"type": "image", "url": "u"},
    ]
    assert turns({"role": "assistant", "content": blocks}) == [
        (
            "assistant",
            [
                ("thought", "", "hm"),
                ("text", "", "a"),
                ("call", "look", '{\n  "x": 1\n}'),
                ("data", "", '{\n  "type": "image",\n  "url": "u"\n}'),
            ],
        )
    ]
    parts = [
        {"part_kind": "system-prompt", "content": "be brief"},
        {"part_kind": "user-prompt", "content": "hello"},
        {"part_kind": "tool-return", "tool_name": "look", "content": "found"},
    ]
    assert turns({"kind": "request", "parts": parts}) == [
        ("system", [("text", "", "be brief")]),
        ("user", [("text", "", "hello")]),
        ("tool", [("result", "look", "found")]),
    ]
    assert turns({"role": "admin", "name": "of a user"}, {"role": 7, "content": ""}, [], None) == []
    said = {"role": "assistant", "content": "ok"}
    assert len(turns(said, said)) == 2, "the same was said twice"
    assert len(turns(said, [said, said])) == 2, "a transcript has the first again"
    assert turns({"role": "user", "content": [1, None]})[0][1][0] == ("data", "", "1")
    assert turns(said, redact=lambda name, value: None) == [("", [("data", "", "null")])]


# -- live --------------------------------------------------------------------------------------------------------------


def test_items_that_a_step_emits_reach_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.01)
    go_on = asyncio.Event()

    @step(name="inspector_one_tells")
    async def tells() -> None:
        await everlog.emit("words", "first")
        await everlog.emit("words", "second")
        await go_on.wait()

    @workflow(name="inspector_one_told")
    async def told() -> None:
        await tells()

    async def program() -> None:
        async with Engine("memory://") as engine:
            handle = await engine.start(told.options(id="told"))
            scope = {
                "type": "http",
                "path": "/live",
                "query_string": b"id=told",
                "headers": [],
                "state": {"visitor": ADA},
            }
            seen: set[int] = set()
            async for message in live._messages(Site(engine, settings()), Request(scope), "told", 0):
                if "event: events" in message:
                    seen.add(int(message.partition("id: ")[2].partition("\n")[0]))
                if "second" in message:
                    break
            assert not (await handle.status()).ended_at, "they came while the step ran"
            assert max(seen) == (await handle.status()).history_length
            go_on.set()
            await handle.result()

    asyncio.run(asyncio.wait_for(program(), 30))
