"""The pages of the inspector show what is in a store, and its forms do what they say, on every store."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.routing import Mount

import everlog
from everlog import Client, Engine, Queue, RetryPolicy, Schedule, WorkflowFailed, step, workflow
from everlog.core.event_codec import decode_event
from everlog.core.schemas import schema_of
from everlog.errors import UsageError
from everlog.inspector import inspector
from everlog.inspector.filters import asked, mark_of
from everlog.inspector.forms import PREFIX, fields_of, value_of
from everlog.inspector.waterfall import MOST, waterfall
from tests.inspecting import HOST, Parts, as_ada, form_token, open_waits, post, visiting, visiting_as
from tests.support import in_state, on_both_stores, run

mail = Queue("inspector_mail", concurrency=1)
failures = {"left": 0}


@dataclass
class Decision:
    verdict: Literal["approve", "reject"]
    cents: int
    note: str | None = None
    urgent: bool = False


@step(name="inspector_charge")
async def charge(card: str, cents: int) -> dict[str, int]:
    return {"paid": cents}


@step(name="inspector_break")
async def break_down() -> str:
    if failures["left"]:
        failures["left"] -= 1
        raise ConnectionError("the bank does not answer")
    return "mended"


@workflow(name="inspector_child")
async def child(number: int) -> int:
    return 2 * number


@workflow(name="inspector_checkout")
async def checkout(card: str, cents: int = 100) -> str:
    paid = await charge(card, cents)
    await everlog.set_value("progress", paid)
    await everlog.emit("lines", "first", "second")
    await child.options(id=f"{card}-child")(1)
    decision = await everlog.recv("decision", type=Decision, title="Send it?", metadata={"card": card})
    return f"{decision.verdict} {decision.cents} of {paid['paid']} {decision.note} {decision.urgent}"


@workflow(name="inspector_mends")
async def mends() -> str:
    return await break_down()


@workflow(name="inspector_sleeps")
async def sleeps() -> None:
    await asyncio.sleep(3600)


@workflow(name="inspector_asks_bool")
async def asks_bool() -> bool:
    return await everlog.recv("ok", type=bool, title="Go on?")


@workflow(name="inspector_ticks")
async def ticks() -> None:
    pass


async def seq_of(client: Client, workflow_id: str, kind: str) -> int:
    return next(event.seq for event in await client.handle(workflow_id).history() if event.type == kind)


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """Give what the form for an action sends if nothing is typed."""
    form = next(form for form in re.findall(r"<form.*?</form>", page, re.DOTALL) if action in form)
    fields = {one["name"]: one.get("value") for one in Parts(form).all("input") if "name" in one}
    for name, text in re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        fields[name] = unescape(text)
    return {str(name): value or "" for name, value in fields.items()}


@on_both_stores
def test_a_workflow_is_shown_with_all_that_happened(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(checkout.options(id="order-1", attributes={"region": "eu"}), "card-1")
        await open_waits(engine, workflow_id="order-1")
        async with visiting_as(engine) as browser:
            page = (await browser.get("/workflow?id=order-1")).text
            for text in (
                "has waited",
                "Send it?",
                "inspector_charge",
                "card-1-child",
                "region",
                "progress",
                "lines",
                "first",
            ):
                assert text in page, text
            seqs = [int(one["data-seq"] or 0) for one in Parts(page).all("tr") if "data-seq" in one]
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) == (await engine.handle("order-1").status()).history_length
            seq = await seq_of(engine, "order-1", "step_completed")
            event = (await browser.get(f"/event?id=order-1&seq={seq}&state=1")).text
            for text in ("&#34;paid&#34;: 100", "&#34;card&#34;: &#34;card-1&#34;"):
                assert text in event, text
            state = (await browser.get(f"/event?id=order-1&seq={seq + 1}&state=1")).text
            assert "State of the code" in state
            assert "&#39;card-1&#39;" in state, "the local variables are there"
            listed = Parts((await browser.get("/workflows?state=waiting&name=inspector_checkout")).text)
            assert "/workflow?id=order-1" in [one["href"] for one in listed.all("a")]
            assert "/workflow?id=card-1-child" not in [one["href"] for one in listed.all("a")]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_wait_is_answered_by_a_form_of_its_type(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(checkout.options(id="order-2"), "card-2")
        await open_waits(engine, workflow_id="order-2")
        async with visiting_as(engine) as browser:
            page = (await browser.get("/inbox")).text
            assert "Send it?" in page
            fields = hidden_fields(page, "/act/answer")
            refused = await browser.post(
                "/act/answer", data={**fields, "field.verdict": '"burn"'}, headers={"Origin": HOST}
            )
            assert refused.status_code == 400
            given = {**fields, "field.verdict": '"approve"', "field.cents": "7", "field.urgent": "true"}
            answer = await browser.post("/act/answer", data=given, headers={"Origin": HOST})
            assert (answer.status_code, answer.headers["location"]) == (303, "/inbox?done=answer")
            assert await handle.result() == "approve 7 of 100 None True"
            again = await browser.post("/act/answer", data=given, headers={"Origin": HOST})
            assert again.status_code == 404
            assert "Nothing waits" in (await browser.get("/inbox")).text
        received = [event for event in await handle.history() if event.type == "message_received"]
        assert [event.data["source"].partition(" ")[0] for event in received] == ["ada"]

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_fork_has_what_was_edited_after_a_check(kind: str, tmp_path: Path) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(checkout.options(id="order-3"), "card-3")
        await open_waits(engine, workflow_id="order-3")
        seq = await seq_of(engine, "order-3", "step_completed")
        async with visiting_as(engine) as browser:
            page = (await browser.get(f"/fork?id=order-3&at={seq}")).text
            fields = hidden_fields(page, "/act/fork")
            assert '"paid": 100' in fields["outcome"]
            fields |= {"outcome": '{"paid": 5}', "new_id": "order-3-again"}
            check = await browser.post("/act/fork", data=fields, headers={"Origin": HOST})
            assert check.status_code == 200
            assert f"the outcome of event {seq}" in check.text
            assert "replays all" in check.text
            assert [one.id async for one in engine.workflows(forked_from="order-3")] == [], "nothing was made yet"
            confirmed = hidden_fields(check.text, "/act/fork")
            made = await browser.post("/act/fork", data=confirmed, headers={"Origin": HOST})
            assert made.headers["location"] == "/workflow?id=order-3-again&done=fork"
            await open_waits(engine, workflow_id="order-3-again")
            event = (await engine.handle("order-3-again").history())[seq - 1]
            assert event.data["result"] == {"paid": 5}
            compared = (await browser.get("/compare?left=order-3&right=order-3-again")).text
            assert "first difference" in compared
            broken = await browser.post("/act/fork", data={**fields, "outcome": "{"}, headers={"Origin": HOST})
            assert broken.status_code == 400

    run(program, kind=kind, folder=tmp_path)


def test_what_is_not_edited_is_not_replaced() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(checkout.options(id="order-4"), "card-4")
        await open_waits(engine, workflow_id="order-4")
        seq = await seq_of(engine, "order-4", "step_completed")
        async with visiting_as(engine) as browser:
            fields = hidden_fields((await browser.get(f"/fork?id=order-4&at={seq}")).text, "/act/fork")
            check = await browser.post("/act/fork", data=fields, headers={"Origin": HOST})
            assert re.search(r"replaced</dt><dd>nothing<", check.text)
            fields["input"] = fields["input"].replace("card-4", "card-5")
            check = await browser.post("/act/fork", data=fields, headers={"Origin": HOST})
            assert re.search(r"replaced</dt><dd>the input<", check.text)
        async with visiting_as(engine, redact=lambda name, value: "***" if name == "card" else value) as browser:
            fields = hidden_fields((await browser.get(f"/fork?id=order-4&at={seq}")).text, "/act/fork")
            assert fields["input"] == "", "what was redacted is not sent back as if it had been recorded"

    run(program)


def test_a_workflow_is_paused_resumed_cancelled_and_retried() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(sleeps.options(id="sleeper"))
        async with visiting_as(engine) as browser:
            for action, state in (
                ("pause", "paused"),
                ("resume", "waiting"),
                ("cancel", "cancelled"),
                ("retry", "waiting"),
            ):
                answer = await post(browser, "/act/control", id="sleeper", action=action)
                assert answer.headers["location"] == f"/workflow?id=sleeper&done={action}"
                await in_state(handle, state)
            assert (await post(browser, "/act/control", id="sleeper", action="explode")).status_code == 400
            assert (await post(browser, "/act/control", id="nobody", action="cancel")).status_code == 404
            assert (
                await post(browser, "/act/control", id="sleeper", action="terminate", reason="enough")
            ).status_code == 303
            await in_state(handle, "cancelled")
        assert "enough" in (await handle.status()).why

    run(program)


def test_a_failed_workflow_is_retried_from_its_page() -> None:
    async def program(engine: Engine) -> None:
        failures["left"] = 1
        handle = await engine.start(mends.options(id="mends-1"))
        with pytest.raises(WorkflowFailed):
            await handle.result()
        async with visiting_as(engine) as browser:
            page = (await browser.get("/workflow?id=mends-1")).text
            assert "the bank does not answer" in page
            assert "Traceback" in page
            assert "mends-1" in (await browser.get("/")).text
            await post(browser, "/act/control", id="mends-1", action="retry")
        await in_state(handle, "completed")
        assert await handle.result() == "mended"

    run(program)


def test_many_are_done_after_their_number_was_shown() -> None:
    async def program(engine: Engine) -> None:
        for number in range(60):
            await engine.start(sleeps.options(id=f"many-{number:02}"))
        async with visiting_as(engine) as browser:
            asked_for = {"action": "cancel", "all": "1", "query": "name=inspector_sleeps&id_prefix=many-1"}
            shown = await post(browser, "/act/many", **asked_for)
            assert shown.status_code == 200
            assert "Cancel 10 workflows?" in shown.text
            assert (await engine.counts(state="cancelled")).total == 0
            stale = await post(browser, "/act/many", **asked_for, confirmed="9")
            assert stale.status_code == 200, "another number than was confirmed is shown anew"
            done = await post(browser, "/act/many", **asked_for, confirmed="10")
            assert done.headers["location"] == "/workflows?done=cancel%3A10"
            chosen = await post(browser, "/act/many", action="pause", id=["many-01", "many-02"])
            assert "Pause 2 workflows?" in chosen.text
            assert (await post(browser, "/act/many", action="pause")).status_code == 400
        for number in range(10, 20):
            await in_state(engine.handle(f"many-{number}"), "cancelled")
        assert (await engine.counts(state="cancelled")).total == 10

    run(program)


def test_the_list_goes_on_page_by_page() -> None:
    async def program(engine: Engine) -> None:
        for number in range(120):
            await engine.start(sleeps.options(id=f"listed-{number:03}"))
        async with visiting_as(engine) as browser:
            found: list[str] = []
            link: str | None = "/workflows?id_prefix=listed-&order=oldest"
            pages = 0
            while link is not None:
                page = Parts((await browser.get(link)).text)
                found += [str(one["value"]) for one in page.all("input") if one.get("name") == "id"]
                link = next((one["href"] for one in page.all("a") if one.get("rel") == "next"), None)
                pages += 1
            assert found == [f"listed-{number:03}" for number in range(120)]
            assert pages == 3
            for query in (
                "after=x",
                "created_after=yesterday",
                "state=gone",
                "attribute=x",
                "after=" + "9" * 40 + "~x",
            ):
                assert (await browser.get(f"/workflows?{query}")).status_code == 400, query

    run(program)


def test_queues_and_schedules_are_shown_and_steered() -> None:
    async def program(engine: Engine) -> None:
        for number in range(3):
            await engine.queue(mail).enqueue(sleeps.options(id=f"mail-{number}"))
        await engine.create_schedule("inspector_daily", Schedule(every=86400), ticks)
        async with visiting_as(engine) as browser:
            assert "inspector_mail" in (await browser.get("/queues")).text
            await post(browser, "/act/queue", name="inspector_mail", action="pause")
            assert (await engine.queue(mail).status()).paused
            await post(browser, "/act/queue", name="inspector_mail", action="resume")
            assert not (await engine.queue(mail).status()).paused
            assert (await post(browser, "/act/queue", name="none", action="pause")).status_code == 404
            page = (await browser.get("/schedules")).text
            assert "The next 10 ticks" in page
            await post(browser, "/act/schedule", name="inspector_daily", action="pause")
            assert (await engine.schedule("inspector_daily").status()).paused
            started = await post(browser, "/act/schedule", name="inspector_daily", action="trigger")
            workflow_id = httpx.URL(started.headers["location"]).params["id"]
            await in_state(engine.handle(workflow_id), "completed")
            assert "running" in (await browser.get("/workers")).text
            definitions = (await browser.get("/definitions")).text
            assert "inspector_ticks" in definitions
            overview = (await browser.get("/")).text
            assert "inspector_mail" in overview or "waits" in overview

    run(program)


def test_a_message_is_sent_from_a_page() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(asks_bool.options(id="asks-1"))
        async with visiting_as(engine) as browser:
            assert (await post(browser, "/act/send", id="asks-1", topic="ok", message="yes")).status_code == 400
            assert (await post(browser, "/act/send", id="asks-1", topic="ok", message="true")).status_code == 303
        assert await handle.result() is True

    run(program)


def test_it_can_be_mounted_below_a_path() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(asks_bool.options(id="mounted"))
        app = Starlette(routes=[Mount("/ops/everlog", inspector(engine, auth=as_ada))])
        async with visiting(app) as browser:
            for path in ("/", "/workflows", "/workflow?id=mounted"):
                page = await browser.get(f"/ops/everlog{path}")
                assert page.status_code == 200
                elements = Parts(page.text).elements
                links = [given.get(name) for _, given in elements for name in ("href", "action", "src", "data-live")]
                assert all(one.startswith(("/ops/everlog/", "#")) for one in links if one is not None)
                for link in {
                    one
                    for one in links
                    if one is not None and one.startswith("/") and "/act/" not in one and "/live" not in one
                }:
                    assert (await browser.get(link)).status_code == 200, link
            fields = {
                "form_token": await form_token(browser, "/ops/everlog/workflows"),
                "id": "mounted",
                "action": "pause",
            }
            answer = await browser.post("/ops/everlog/act/control", data=fields, headers={"Origin": HOST})
            assert answer.headers["location"] == "/ops/everlog/workflow?id=mounted&done=pause"

    run(program)


# -- forms and bars, without pages


@dataclass
class Inner:
    x: int


@dataclass
class Mixed:
    text: str
    count: int
    share: float
    yes: bool
    word: Literal["a", "b", 3]
    inner: Inner
    maybe: int | None = None
    many: list[int] | None = None
    value: str = "standard"


def test_a_form_gives_the_value_that_its_fields_say() -> None:
    schema = schema_of_type(Mixed)
    fields = {one.label: one for one in fields_of(schema)}
    assert {name: one.control for name, one in fields.items()} == {
        "text": "line", "count": "number", "share": "number", "yes": "switch", "word": "choice", "inner": "json",
        "maybe": "number", "many": "json", "value": "line",
    }  # fmt: skip
    given = {
        "text": "t",
        "count": "1",
        "share": "0.5",
        "yes": "false",
        "word": "3",
        "inner": '{"x": 1}',
        "maybe": "",
        "many": "[1]",
    }
    form = {PREFIX + name: [text] for name, text in given.items()}
    assert value_of(schema, form) == {
        "text": "t", "count": 1, "share": 0.5, "yes": False, "word": 3, "inner": {"x": 1}, "many": [1]
    }  # fmt: skip
    for name, wrong in (
        ("count", "one"),
        ("count", "true"),
        ("word", '"c"'),
        ("inner", "{"),
        ("yes", "maybe"),
        ("count", ""),
    ):
        with pytest.raises(UsageError, match=name):
            value_of(schema, {**form, PREFIX + name: [wrong]})


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        (str, "a", "a"),
        (bool, "true", True),
        (int, "7", 7),
        (Literal["a", "b"], '"b"', "b"),
        (list[int], "[1]", [1]),
        (None, "null", None),
    ],
)
def test_a_value_that_is_no_object_has_one_field(declared: Any, text: str, value: object) -> None:
    schema = None if declared is None else schema_of_type(declared)
    (field,) = fields_of(schema)
    assert value_of(schema, {field.name: [text]}) == value


def schema_of_type(declared: Any) -> Any:
    text = schema_of(declared)
    assert text is not None
    return msgspec.json.decode(text)


def test_filters_read_what_they_write() -> None:
    place = (1_700_000_000_000_000, "a~b")
    found = asked(
        QueryParams([("state", "failed"), ("state", "stuck"), ("attribute", "n=7"), ("after", mark_of(place))])
    )
    assert found.filters == {"state": ["failed", "stuck"], "attributes": {"n": ["7", 7]}}
    assert found.after == place


def test_each_operation_has_one_bar_and_all_bars_fit() -> None:
    @step(name="inspector_flaky", retry=RetryPolicy(max_attempts=3, first_delay=1))
    async def flaky(tries: list[int]) -> None:
        if everlog.current().attempt < 3:
            raise ConnectionError("not yet")

    @workflow(name="inspector_flow")
    async def flow() -> None:
        await flaky([])
        await asyncio.sleep(5)
        for _ in range(MOST):
            await everlog.call(len_of, "x")

    async def program(engine: Engine) -> None:
        handle = await engine.start(flow)
        await handle.result()
        rows = await engine.on_thread(lambda: engine.store.read(handle.id))
        history = decoded_rows(rows)
        first = waterfall(history, history[-1][1], ended=True)
        later = waterfall(history, history[-1][1], ended=True, skip=MOST)
        assert (len(first.bars), first.before, first.after) == (MOST, 0, 3)
        assert (len(later.bars), later.before, later.after) == (3, MOST, 0)
        bars = [*first.bars, *later.bars]
        flaky_bar = next(bar for bar in bars if bar.label == "inspector_flaky")
        assert [part.kind for part in flaky_bar.segments] == ["failed", "retrying", "failed", "retrying", "running"]
        for bar in bars:
            assert all(part.begin >= 0 and part.begin + part.size <= 100.1 for part in bar.segments), bar
            assert bar.ending != "open"
        for part, following in zip(flaky_bar.segments, flaky_bar.segments[1:], strict=False):
            assert part.begin + part.size <= following.begin + 0.01

    run(program)


@step(name="inspector_len")
def len_of(text: str) -> int:
    return len(text)


def decoded_rows(rows: Any) -> Any:
    return [(row.seq, row.recorded_at, decode_event(row.payload)) for row in rows]
