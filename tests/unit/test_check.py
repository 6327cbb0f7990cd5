"""`everlog check` and `everlog state` on a real database and on files, as programs of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from everlog import Engine, recv, step, workflow
from everlog.cli import check
from everlog.cli.check import Asked
from everlog.errors import UsageError
from everlog.testing import Verdict, history_of, save_history

CODE = """
import everlog
from everlog import step, workflow


@step(name="checked_charge")
async def charge(cents: int) -> int:
    return cents


@workflow(name="checked_order")
async def order(cents: int) -> str:
    print("this is run again")
    paid = await charge(cents)
    secret = "hunter2"
    {body}
    return await everlog.recv("go", type=str)


def hide(name: str, value: object) -> object:
    return "***" if name == "secret" else value
"""
SAME = "pass"
OTHER = "await charge.options(name='bill')(paid)\n    await charge.options(name='send')(paid)"
ENDLESS = "while paid: pass"
RAISES = "raise LookupError('not here')"
DIES = "__import__('os').kill(__import__('os').getpid(), 9)"


@step(name="checked_charge")
async def charge(cents: int) -> int:
    return cents


@workflow(name="checked_order")
async def order(cents: int) -> str:
    await charge(cents)
    return await recv("go", type=str)


@workflow(name="checked_elsewhere")
async def elsewhere() -> str:
    return await recv("go", type=str)


async def until_they_wait(engine: Engine) -> None:
    async with asyncio.timeout(20):
        while True:
            if {(await engine.handle(f"order-{number}").status()).state for number in range(3)} == {"waiting"}:
                return
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database of open and ended workflows, and the histories of some in files."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "histories").mkdir()

    async def fill() -> None:
        async with Engine(f"sqlite:///{folder / 'shop.db'}", workflows=[order, elsewhere]) as engine:
            for number in range(4):
                await engine.start(order.options(id=f"order-{number}"), 100 + number)
            await engine.send("order-3", "go", "on")
            await engine.handle("order-3").result()
            await engine.start(elsewhere.options(id="elsewhere-1"))
            await until_they_wait(engine)
            for number in (0, 3):
                history = await history_of(engine, f"order-{number}")
                save_history(history, folder / "histories" / f"{number}.jsonl")

    asyncio.run(fill())
    return folder


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def everlog(shop: Path, body: str, *arguments: str) -> Said:
    """Run a command where the module `shop_code` has that body."""
    (shop / "shop_code.py").write_text(CODE.format(body=body))
    environment = {**os.environ, "EVERLOG_MODULE": "shop_code", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "everlog.cli", *arguments],
        cwd=shop,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Said(ran.returncode, ran.stdout, ran.stderr)


def test_code_that_fits_all_open_workflows_is_told_so(shop: Path) -> None:
    said = everlog(shop, SAME, "check", "shop.db", "--name", "checked_order")
    assert (said.code, said.out) == (0, "3 replay clean\n")


def test_workflows_whose_code_is_not_here_are_reported_unless_they_are_let_pass(shop: Path) -> None:
    said = everlog(shop, SAME, "check", "shop.db", "--all")
    assert said.code == 1
    assert "elsewhere-1 (checked_elsewhere) has no code here\n" in said.out
    assert said.out.endswith("4 replay clean, 1 have no code here\n")
    passed = everlog(shop, SAME, "check", "shop.db", "--known-only")
    assert (passed.code, passed.out) == (0, "3 replay clean, 1 have no code here\n")


def test_code_that_does_not_fit_is_reported_with_both_sides(shop: Path) -> None:
    said = everlog(shop, OTHER, "check", "--db", "shop.db", "--name", "checked_order", "--limit", "1")
    assert said.code == 1
    assert said.out.count("diverges at event 4\n") == 1
    assert "> " in said.out
    assert "wait_started recv" in said.out
    assert "bill: step bill" in said.out
    assert "... and 2 more that do not fit; --limit 0 shows all" in said.out
    assert said.out.endswith("0 replay clean, 3 diverge at event 4\n")


def test_the_report_can_be_read_by_a_program(shop: Path) -> None:
    said = everlog(shop, OTHER, "check", "histories", "--json", "--processes", "1")
    assert said.code == 1
    found: list[dict[str, Any]] = [json.loads(line) for line in said.out.splitlines()]
    assert sorted((one["workflow_id"], one["outcome"], one["seq"]) for one in found) == [
        ("order-0", "diverges", 4),
        ("order-3", "diverges", 4),
    ]


def test_exported_histories_are_checked_from_a_directory_or_a_file(shop: Path) -> None:
    assert everlog(shop, SAME, "check", "histories").out == "2 replay clean\n"
    assert everlog(shop, SAME, "check", "histories/3.jsonl").out == "1 replay clean\n"
    broken = shop / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "a.jsonl").write_text((shop / "histories" / "0.jsonl").read_text())
    (broken / "b.jsonl").write_text("hello\n")
    said = everlog(shop, SAME, "check", "broken")
    assert said.code == 1
    assert "b.jsonl (a file) cannot be read" in said.out
    assert said.out.endswith("1 replay clean, 1 cannot be read\n")


def test_code_that_raises_after_the_last_event_is_reported(shop: Path) -> None:
    cut = shop / "cut"
    cut.mkdir(exist_ok=True)
    lines = (shop / "histories" / "0.jsonl").read_text().splitlines(keepends=True)
    (cut / "0.jsonl").write_text("".join(lines[:4]))  # up to the step
    said = everlog(shop, RAISES, "check", "cut")
    assert said.code == 1
    assert "LookupError: not here" in said.out
    assert said.out.endswith("0 replay clean, 1 would fail at once\n")


def test_code_that_kills_its_process_is_reported_and_the_others_go_on(shop: Path) -> None:
    said = everlog(shop, f"if cents == 101: {DIES}", "check", "shop.db", "--name", "checked_order")
    assert said.code == 1
    assert "order-1 (unknown) did not come to an end" in said.out
    assert said.out.endswith("2 replay clean, 1 did not come to an end\n")


def test_code_that_never_ends_is_given_up(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "endless_code.py").write_text(CODE.format(body=ENDLESS))
    monkeypatch.setattr(check, "PATIENCE", 3.0)
    monkeypatch.chdir(shop)
    monkeypatch.syspath_prepend(str(shop))
    found: list[Verdict] = []
    monkeypatch.setattr(check, "told", lambda verdict, columns: found.append(verdict) or [])
    assert check.check(asked(modules=["endless_code"], place="histories/0.jsonl")) == 1
    (verdict,) = found
    assert (verdict.outcome, verdict.workflow_id) == ("endless", "histories/0.jsonl")
    assert "still being replayed after 3 s" in verdict.why


def asked(**given: Any) -> Asked:
    return Asked(
        **{
            "codec": None,
            "names": None,
            "whole": False,
            "known_only": False,
            "processes": 1,
            "as_json": False,
            "most": 0,
            **given,
        }
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("check", "shop.db", "--module", "nowhere"), "cannot import 'nowhere': ModuleNotFoundError"),
        (("check", "shop.db", "--module", "shop/code"), "is no name of a module"),
        (("check", "empty"), "so nothing would be checked"),
        (("check", "shop.db", "--codec", "shop_code"), "takes MODULE:NAME"),
        (("state", "order-0", "--db", "shop.db", "--at", "77"), "has no event 77"),
        (("state", "order-0", "--db", "shop.db", "--redact", "shop_code:nobody"), "has no 'nobody'"),
        (("state", "elsewhere-1", "--db", "shop.db"), "the code of workflow 'elsewhere-1' is not here"),
    ],
)
def test_what_cannot_be_done_is_one_line(shop: Path, arguments: tuple[str, ...], told: str) -> None:
    (shop / "empty").mkdir(exist_ok=True)
    said = everlog(shop, SAME, *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert told in said.err


def test_without_a_module_the_command_says_so(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from everlog.cli.code import modules_of

    monkeypatch.delenv("EVERLOG_MODULE", raising=False)
    with pytest.raises(UsageError, match="by --module"):
        modules_of(None)
    monkeypatch.setenv("EVERLOG_MODULE", "one, two")
    assert modules_of(None) == ["one", "two"]
    assert modules_of(["three"]) == ["three"]


def test_state_shows_stacks_variables_and_what_is_pending(shop: Path) -> None:
    said = everlog(shop, SAME, "state", "order-0", "--db", "shop.db", "--redact", "shop_code:hide")
    assert said.code == 0
    assert "task 1, checked_order, waits for recv" in said.out
    assert f"{shop / 'shop_code.py'}:" in said.out
    assert "paid = 100" in said.out
    assert "secret = '***'" in said.out
    assert "recv: recv('go')" in said.out
    assert "this is run again" in said.err
    assert "this is run again" not in said.out
    earlier = everlog(shop, SAME, "state", "histories/0.jsonl", "--at", "2", "--json")
    state = json.loads(earlier.out)
    assert (state["seq"], state["type"]) == (2, "workflow_began")
    assert [one["operation"] for one in state["pending"]] == ["checked_charge"]
