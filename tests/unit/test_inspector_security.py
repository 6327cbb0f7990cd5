"""The inspector lets in whom it knows, from where it may be reached, and shows what users gave as text alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx
import pytest
from starlette.requests import Request

import everlog
from everlog import Client, Engine, UsageError, step, workflow
from everlog.inspector import Change, Visitor, inspector
from everlog.inspector.serving import Serving, serve
from everlog.inspector.settings import hosts_of
from everlog.inspector.tickets import StartToken
from everlog.memory import MemoryStore
from tests.inspecting import HOST, Parts, as_ada, form_token, open_waits, post, visiting, visiting_as
from tests.support import in_state, run

SCRIPT = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
PAGES = ["/", "/workflows", "/inbox", "/queues", "/schedules", "/workers", "/definitions"]
TOKEN = "a" * 32


@step(name=f"inspector {SCRIPT}")
async def hostile_step(given: str) -> dict[str, str]:
    return {SCRIPT: given}


@workflow(name=f"inspector {SCRIPT}", attributes={"region": SCRIPT})
async def hostile(given: str) -> str:
    await hostile_step(given)
    await everlog.set_value(SCRIPT, given)
    await everlog.emit(SCRIPT, given)
    await everlog.recv(SCRIPT, type=str, title=SCRIPT, metadata={SCRIPT: given})
    raise ValueError(given)


@workflow(name="inspector_quiet")
async def quiet(secret: str) -> str:
    return await everlog.recv("go", type=str, title="Go?")


# -- who gets in


def test_an_answer_to_a_stranger_says_nothing_of_what_is_there() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(quiet.options(id="secret-id"), "x")
        async with visiting(inspector(engine, auth=lambda request: None)) as browser:
            for path in [
                *PAGES,
                "/workflow?id=secret-id",
                "/event?id=secret-id&seq=1",
                "/live?id=secret-id",
                "/nowhere",
            ]:
                answer = await browser.get(path)
                assert answer.status_code == 401
                assert "secret-id" not in answer.text.replace("id=secret-id", "")
            assert (
                await browser.post("/act/control", data={"id": "secret-id"}, headers={"Origin": HOST})
            ).status_code == 401
            assert (await browser.get("/static/inspector.css")).status_code == 200

    run(program)


def test_a_start_token_is_exchanged_for_a_strict_cookie_and_leaves_the_address() -> None:
    async def program(engine: Engine) -> None:
        now = [1_700_000_000_000_000]
        auth = StartToken(TOKEN, Visitor("ada", "operator"), lambda: now[0])
        async with visiting(inspector(engine, auth=auth)) as browser:
            assert (await browser.get("/workflows")).status_code == 401
            assert (await browser.get("/workflows?token=" + "b" * 32)).status_code == 401
            answer = await browser.get(f"/workflows?state=failed&token={TOKEN}")
            assert (answer.status_code, answer.headers["location"]) == (303, "/workflows?state=failed")
            cookie = answer.headers["set-cookie"].lower()
            assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
            assert TOKEN not in cookie
            assert (await browser.get("/workflows")).status_code == 200
            name, value = next(iter(browser.cookies.items()))
            for forged in (
                value[:-1] + ("A" if value[-1] != "A" else "B"),
                "9" + value,
                value.partition(".")[0] + ".",
                "x.y",
                "",
            ):
                browser.cookies.clear()
                answer = await browser.get("/workflows", headers={"Cookie": f"{name}={forged}"})
                assert answer.status_code == 401, forged
            now[0] += 13 * 3600 * 1_000_000
            answer = await browser.get("/workflows", headers={"Cookie": f"{name}={value}"})
            assert answer.status_code == 401, "a cookie lasts half a day"

    run(program)


def test_the_cookie_of_a_token_is_secure_where_the_connection_is_and_leads_to_no_other_host() -> None:
    async def program(engine: Engine) -> None:
        auth = StartToken(TOKEN, Visitor("ada"), lambda: 0)
        async with visiting(inspector(engine, auth=auth)) as browser:
            answer = await browser.get(f"https://localhost/?token={TOKEN}")
            assert "secure" in answer.headers["set-cookie"].lower()
            answer = await browser.get(f"http://localhost//evil.example/?token={TOKEN}")
            assert not answer.headers.get("location", "/").startswith("//")

    run(program)


def test_who_may_what() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(quiet.options(id="one"), "x")
        await engine.start(quiet.options(id="two"), "x")
        await open_waits(engine, 2)
        waits = await engine.waits(workflow_id="one")
        answer = {"token": waits[0].token, "id": "one", "field.value": "yes"}
        for role, may_control, may_answer in (("viewer", 403, 403), ("approver", 403, 303), ("operator", 303, 404)):
            async with visiting_as(engine, Visitor("bo", role)) as browser:  # type: ignore[arg-type]
                assert (await browser.get("/workflow?id=one")).status_code == 200
                headers = {"Origin": HOST}
                token = await token_for(engine, Visitor("bo", role), browser)  # type: ignore[arg-type]
                control = {"form_token": token, "id": "one", "action": "pause"}
                assert (await browser.post("/act/control", data=control, headers=headers)).status_code == may_control
                given = {"form_token": token, **answer}
                assert (await browser.post("/act/answer", data=given, headers=headers)).status_code == may_answer

    run(program)


async def token_for(engine: Engine, visitor: Visitor, browser: httpx.AsyncClient) -> str:
    """Give the token of somebody's forms, though a page may show them none."""
    page = (await browser.get("/inbox")).text
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    return found[1] if found else "none"


def test_read_only_changes_nothing_for_anybody() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(quiet.options(id="one"), "x")
        async with visiting_as(engine) as browser:
            token = await form_token(browser)
        async with visiting_as(engine, read_only=True, secret="s" * 20) as browser:
            page = await browser.get("/workflow?id=one")
            assert not Parts(page.text).all("button")
            fields = {"form_token": token, "id": "one", "action": "cancel"}
            assert (await browser.post("/act/control", data=fields, headers={"Origin": HOST})).status_code == 403
        assert (await engine.handle("one").status()).state != "cancelled"

    run(program)


@pytest.mark.parametrize(
    "given", [object(), Visitor("", "viewer"), Visitor("a\nb"), Visitor("x" * 81), Visitor("ada", "root")]
)  # type: ignore[arg-type]
def test_who_is_no_visitor_does_not_get_in(given: Any) -> None:
    async def program(engine: Engine) -> None:
        async with visiting(inspector(engine, auth=lambda request: given)) as browser:
            with pytest.raises(UsageError, match="Visitor"):
                await browser.get("/")

    run(program)


# -- from where


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "",
        "localhost:80@evil.example",
    ],
)
def test_another_host_is_refused_so_that_no_name_can_be_bound_anew(host: str) -> None:
    async def program(engine: Engine) -> None:
        async with visiting(inspector(engine, auth=as_ada)) as browser:
            assert (await browser.get("/workflows", headers={"Host": host})).status_code == 421
            assert (await browser.get("/static/inspector.css", headers={"Host": host})).status_code == 421

    run(program)


def test_the_hosts_that_are_given_are_those_that_are_answered_for() -> None:
    async def program(engine: Engine) -> None:
        async with visiting(inspector(engine, auth=as_ada, hosts=["Ops.example.com"])) as browser:
            for host, status in (("ops.example.com", 200), ("OPS.example.com:8443", 200), ("localhost", 421)):
                assert (await browser.get("/", headers={"Host": host})).status_code == status
        async with visiting(inspector(engine, auth=as_ada)) as browser:
            for host in ("localhost:8700", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8700"):
                assert (await browser.get("/", headers={"Host": host})).status_code == 200

    run(program)


@pytest.mark.parametrize("hosts", ["localhost", ["*"], ["*.example.com"], [""], ["http://localhost/"]])
def test_hosts_that_name_none_are_refused(hosts: Any) -> None:
    with pytest.raises(UsageError, match="host"):
        hosts_of(hosts)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "file://localhost"},
        {"Origin": HOST, "Sec-Fetch-Site": "cross-site"},
        {"Origin": HOST, "Sec-Fetch-Site": "same-site"},
        {"Referer": HOST},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_right_token(headers: dict[str, str]) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(quiet.options(id="one"), "x")
        async with visiting_as(engine) as browser:
            fields = {"form_token": await form_token(browser), "id": "one", "action": "cancel"}
            assert (await browser.post("/act/control", data=fields, headers=headers)).status_code == 403
        assert (await engine.handle("one").status()).state != "cancelled"

    run(program)


@pytest.mark.parametrize("token", [None, "", "x", "é", "both"])
def test_a_form_without_its_token_is_refused(token: str | None) -> None:
    async def program(engine: Engine) -> None:
        await engine.start(quiet.options(id="one"), "x")
        async with visiting_as(engine) as browser:
            right = await form_token(browser)
            fields: dict[str, Any] = {"id": "one", "action": "cancel"}
            if token is not None:
                fields["form_token"] = [right, right] if token == "both" else token
            assert (await browser.post("/act/control", data=fields, headers={"Origin": HOST})).status_code == 403
        async with visiting_as(engine, Visitor("eve", "operator")) as other:
            fields["form_token"] = right
            assert (await other.post("/act/control", data=fields, headers={"Origin": HOST})).status_code == 403
        assert (await engine.handle("one").status()).state != "cancelled"

    run(program)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
def test_pages_are_read_by_their_own_site_alone(headers: dict[str, str], status: int) -> None:
    async def program(engine: Engine) -> None:
        async with visiting_as(engine) as browser:
            answer = await browser.get("/workflows", headers=headers)
            assert answer.status_code == status
            assert not [name for name in answer.headers if name.startswith("access-control-")]

    run(program)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_refused(method: str) -> None:
    async def program(engine: Engine) -> None:
        async with visiting_as(engine) as browser:
            assert (await browser.request(method, "/workflows", headers={"Origin": HOST})).status_code == 405

    run(program)


# -- what is sent


def test_bodies_are_bounded_whether_they_say_how_long_they_are_or_not() -> None:
    async def program(engine: Engine) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b"message=" + b"x" * 100 + b"&"

        async with visiting_as(engine, max_body=2000) as browser:
            headers = {"Origin": HOST, "Content-Type": "application/x-www-form-urlencoded"}
            for body in (b"x" * 2001, parts()):
                assert (await browser.post("/act/send", content=body, headers=headers)).status_code == 413
            lying = {**headers, "Content-Length": "9" * 30}
            assert (await browser.post("/act/send", content=b"", headers=lying)).status_code == 413
            many = "&".join(f"a{number}=" for number in range(150))
            assert (await browser.post("/act/send", content=many, headers=headers)).status_code == 403
        async with visiting_as(engine) as browser:
            many = "&".join(f"a{number}=" for number in range(3000))
            assert (await browser.post("/act/send", content=many, headers=headers)).status_code == 400

    run(program)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
def test_only_plain_forms_are_read(kind: str) -> None:
    async def program(engine: Engine) -> None:
        async with visiting_as(engine) as browser:
            headers = {"Origin": HOST, "Content-Type": kind}
            assert (await browser.post("/act/control", content=b"{}", headers=headers)).status_code == 415

    run(program)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/..%2fsite.py",
        "/static/%2e%2e/site.py",
        "/static//inspector.css",
        "/static/templates/base.html",
        "/static/",
        "/static/inspector.css%00",
        "//workflows",
        "/workflows/",
        "/act/control",
        "/WORKFLOWS",
        "/workflow%3Fid=x",
    ],
)
def test_no_path_leads_elsewhere(path: str) -> None:
    async def program(engine: Engine) -> None:
        async with visiting_as(engine) as browser:
            request = browser.build_request("GET", HOST)
            request.url = httpx.URL(HOST).copy_with(raw_path=path.encode())
            assert (await browser.send(request)).status_code == 404

    run(program)


def test_an_id_may_be_any_text() -> None:
    async def program(engine: Engine) -> None:
        for workflow_id in ("../../etc/passwd", "a/b?c#d&e=f%20", "\n\t", "日本語 🎉", SCRIPT):
            await engine.start(quiet.options(id=workflow_id), "x")
            async with visiting_as(engine) as browser:
                found = await browser.get("/workflow", params={"id": workflow_id})
                assert found.status_code == 200
                links = [one["href"] for one in Parts((await browser.get("/workflows")).text).all("a")]
                (link,) = [one for one in links if one is not None and httpx.URL(one).params.get("id") == workflow_id]
                titles = [
                    re.search(r"<h1>(.*?)</h1>", page.text, re.DOTALL) for page in (found, await browser.get(link))
                ]
                assert [title and unescape(title[1]) for title in titles] == [workflow_id, workflow_id]
                answer = await post(browser, "/act/control", id=workflow_id, action="pause")
                assert answer.status_code == 303
                assert httpx.URL(answer.headers["location"]).params["id"] == workflow_id

    run(program)


# -- what is shown


def test_what_users_gave_is_text_wherever_it_is_shown() -> None:
    async def program(engine: Engine) -> None:
        workflow_id = f"id {SCRIPT}"
        await engine.start(hostile.options(id=workflow_id), SCRIPT)
        waits = await open_waits(engine)
        async with visiting_as(engine) as browser:
            await look_everywhere(browser, workflow_id)
            await engine.answer(waits[0].token, SCRIPT)
            await in_state(engine.handle(workflow_id), "failed")
            await look_everywhere(browser, workflow_id)

    run(program)


async def look_everywhere(browser: httpx.AsyncClient, workflow_id: str) -> None:
    last = (await browser.get("/workflow", params={"id": workflow_id})).text.count("data-seq=")
    visits: list[tuple[str, dict[str, Any]]] = [(page, {}) for page in PAGES]
    visits += [("/workflow", {"id": workflow_id}), ("/compare", {"left": workflow_id, "right": workflow_id})]
    visits += [("/workflow", {"id": SCRIPT}), ("/workflows", {"name": SCRIPT, "id_prefix": SCRIPT, "after": SCRIPT})]
    for seq in range(1, last + 1):
        visits += [("/event", {"id": workflow_id, "seq": seq, "state": 1}), ("/fork", {"id": workflow_id, "at": seq})]
    seen = 0
    for path, query in visits:
        answer = await browser.get(path, params=query)
        page = Parts(answer.text)
        assert not page.all("img"), path
        assert [one["src"] for one in page.all("script")] in ([], ["/static/live.js"]), path
        handlers = {name for _, given in page.elements for name in given if name.startswith(("on", "style"))}
        assert not handlers, "the policy allows neither scripts nor styles inside of a page"
        assert not page.all("style"), path
        seen += SCRIPT in page.text
    assert seen > 10, "it was looked for where it is"


def test_every_answer_forbids_what_the_pages_do_not_need() -> None:
    async def program(engine: Engine) -> None:
        async with visiting_as(engine) as browser:
            for path in ("/", "/static/live.js", "/nowhere", "/workflow?id=nobody"):
                headers = (await browser.get(path)).headers
                policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
                assert policy["default-src"] == "'none'"
                assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
                assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["cache-control"] == "no-store"
            other = await browser.get("/", headers={"Host": "evil.example"})
            assert "content-security-policy" in other.headers

    run(program)


def test_payloads_can_be_hidden_or_redacted_everywhere() -> None:
    word = "hunter2"

    def redact(name: str, value: object) -> object:
        return value.replace(word, "***") if isinstance(value, str) else value

    async def program(engine: Engine) -> None:
        await engine.start(hostile.options(id="one"), word)
        waits = await open_waits(engine)
        await engine.answer(waits[0].token, word)
        await in_state(engine.handle("one"), "failed")
        last = (await engine.handle("one").status()).history_length
        for settings in ({"hide_payloads": True}, {"redact": redact}, {"redact": lambda name, value: 1 / 0}):
            async with visiting_as(engine, **settings) as browser:
                paths = ["/", "/workflows", "/workflow?id=one", "/compare?left=one&right=one"]
                paths += [
                    f"/{page}?id=one&seq={seq}&at={seq}&state=1"
                    for page in ("event", "fork")
                    for seq in range(1, last + 1)
                ]
                for path in paths:
                    answer = await browser.get(path)
                    assert answer.status_code == 200, path
                    assert word not in answer.text, (settings, path)
        async with visiting_as(engine) as browser:
            assert word in (await browser.get("/workflow?id=one")).text

    run(program)


# -- where it is served


def test_only_this_machine_is_served_unless_others_are_allowed(tmp_path: Any) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        with pytest.raises(UsageError, match="--allow-remote"):
            asyncio.run(serve(Serving(url=f"sqlite:///{tmp_path}/none.db", host=host), print))


@pytest.mark.parametrize("token", ["short", "spaces in it " * 4, "ä" * 40 + "!"])
def test_a_start_token_that_could_be_guessed_is_refused(token: str, tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="token"):
        asyncio.run(serve(Serving(url=f"sqlite:///{tmp_path}/none.db", token=token), print))


def test_an_inspector_needs_somebody_who_tells_who_is_there() -> None:
    with pytest.raises(TypeError, match="auth"):
        inspector(Client(MemoryStore()))  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="auth"):
        inspector(Client(MemoryStore()), auth=None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Engine or a Client"):
        inspector("sqlite:///x.db", auth=as_ada)  # type: ignore[arg-type]


# -- what is recorded


def test_every_change_says_who_did_it() -> None:
    changes: list[Change] = []

    async def program(engine: Engine) -> None:
        await engine.start(quiet.options(id="one"), "x")
        await open_waits(engine)
        async with visiting_as(engine, on_change=changes.append) as browser:
            await post(browser, "/act/control", id="one", action="pause")
            await in_state(engine.handle("one"), "paused")
            await post(browser, "/act/send", id="nobody", topic="go", message="1")
        said = [event.data["by"] async for event in engine.handle("one").history() if event.type == "workflow_paused"]
        assert [by.partition(" ")[0] for by in said] == ["ada"]
        assert [(one.by, one.action, one.target, one.problem is None) for one in changes] == [
            ("ada", "pause", "one", True),
            ("ada", "send go", "nobody", False),
        ]

    run(program)


def test_auth_may_wait() -> None:
    async def auth(request: Request) -> Visitor:
        await asyncio.sleep(0.01)
        return Visitor(request.headers.get("X-User", "nobody"))

    async def program(engine: Engine) -> None:
        async with visiting(inspector(engine, auth=auth)) as browser:
            assert "grace" in (await browser.get("/", headers={"X-User": "grace"})).text

    run(program)
