"""Idempotency keys of requests: one workflow for each, its result for all, and no other's."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from everlog import Duplicate, Engine, UsageError, step, workflow
from everlog.web import IdempotencyKeys, id_for_key, workflow_id

SHOP = "/orders"
CHARGED: list[str] = []


@step(name="web.charges")
async def charges(item: str) -> str:
    CHARGED.append(item)
    return f"{item} paid"


@workflow(name="web.orders")
async def orders(item: str) -> str:
    return await charges(item)


class Shop:
    """An application without a framework, which starts a workflow for each request and answers with its result."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"].decode()
        if body == "twice":
            raise Duplicate("it is there", workflow_id="another")
        if body == "late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise Duplicate("too late to say so", workflow_id="another")
        text = (
            "read" if scope["method"] == "GET" else await self._engine.run(orders.options(id=workflow_id(scope)), body)
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})


def visit(program: Any, **options: Any) -> Any:
    """Run a program with a browser that looks at the shop."""

    async def main() -> Any:
        async with Engine("memory://", workflows=[orders]) as engine:
            transport = httpx.ASGITransport(app=IdempotencyKeys(Shop(engine), **options))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
                return await program(browser)

    CHARGED.clear()
    return asyncio.run(main())


async def order(browser: httpx.AsyncClient, key: str | None, item: str = "cup", **headers: str) -> httpx.Response:
    given = headers if key is None else {"Idempotency-Key": key, **headers}
    return await browser.post(SHOP, content=item, headers=given)


def test_requests_with_one_key_are_one_workflow_and_get_its_result() -> None:
    async def program(browser: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(order(browser, key) for key in ("a", '"a"', "a", "b")))

    found = visit(program)
    assert [(one.status_code, one.text) for one in found] == [(200, "cup paid")] * 4
    assert CHARGED == ["cup", "cup"], "once for each key"


def test_a_key_that_is_used_for_another_request_is_refused() -> None:
    async def program(browser: httpx.AsyncClient) -> httpx.Response:
        await order(browser, "a")
        return await order(browser, "a", "another cup")

    found = visit(program)
    assert found.status_code == 422
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json() == {"title": "this Idempotency-Key was used for another request; take a new key", "status": 422}
    assert CHARGED == ["cup"]


@pytest.mark.parametrize("key", [None, "", '""', "x" * 256, "tab\there", "ümlaut"])
def test_a_request_without_a_readable_key_is_refused(key: str | None) -> None:
    async def program(browser: httpx.AsyncClient) -> httpx.Response:
        return await browser.post(
            SHOP, content="cup", headers=[] if key is None else [(b"Idempotency-Key", key.encode())]
        )

    found = visit(program)
    assert found.status_code == 400
    assert CHARGED == []


def test_two_keys_of_one_request_are_none() -> None:
    async def program(browser: httpx.AsyncClient) -> httpx.Response:
        return await browser.post(SHOP, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])

    assert visit(program, required=False).status_code == 400


def test_callers_do_not_share_keys() -> None:
    async def program(browser: httpx.AsyncClient) -> list[str]:
        return [(await order(browser, "a", item, user=item)).text for item in ("cup", "pot")]

    def caller(scope: Any) -> str:
        return dict(scope["headers"])[b"user"].decode()

    assert visit(program, caller=caller) == ["cup paid", "pot paid"]


def test_other_methods_and_what_needs_no_key_pass() -> None:
    async def program(browser: httpx.AsyncClient) -> list[Any]:
        with pytest.raises(UsageError, match="it came without idempotency-key"):
            await order(browser, None)
        return [(await browser.get(SHOP, headers={"Idempotency-Key": "a"})).text, (await order(browser, "a")).text]

    assert visit(program, required=False) == ["read", "cup paid"]


def test_what_is_under_way_is_a_conflict_unless_the_answer_has_begun() -> None:
    async def program(browser: httpx.AsyncClient) -> int:
        with pytest.raises(Duplicate):
            await order(browser, "b", "late")
        return (await order(browser, "a", "twice")).status_code

    assert visit(program) == 409


def test_the_id_without_asgi_is_the_same() -> None:
    scope = {"type": "http", "method": "POST", "path": SHOP, "headers": [(b"idempotency-key", b"a")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert workflow_id(scope) == id_for_key("a", caller="ada", path=SHOP)
        assert workflow_id(scope) != id_for_key("a", caller="bob", path=SHOP)
        assert workflow_id(scope) != id_for_key("a", caller="ada", path="/other")

    async def never() -> Any:
        raise AssertionError

    asyncio.run(IdempotencyKeys(app, caller=lambda scope: "ada")(scope, never, lambda message: never()))
    for wrong in ("", "x" * 256, "tab\there"):
        with pytest.raises(UsageError, match="1 to 255 visible characters"):
            id_for_key(wrong, path=SHOP)


def test_one_method_is_not_taken_for_its_letters() -> None:
    with pytest.raises(UsageError, match="names of methods"):
        IdempotencyKeys(lambda *given: None, methods="POST")  # type: ignore[arg-type, return-value]  # that is the test
