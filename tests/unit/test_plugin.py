"""The pytest plugin, in a pytest of its own: the engine on virtual time, and exported histories as tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import asyncio

import everlog
from everlog import step, workflow


@step
async def charge(cents: int) -> int:
    return cents


@workflow(name="plugged_order")
async def order(cents: int) -> str:
    paid = await charge(cents)
    await asyncio.sleep(30 * 86_400)
    return await everlog.recv("go", type=str) + str(paid)
"""


class Ran:
    def __init__(self, code: int, out: str) -> None:
        self.code, self.out = code, out


def run(folder: Path, tests: str, *arguments: str, code: str = CODE) -> Ran:
    """Run pytest, with the plugin and no other, on one file of tests."""
    (folder / "shop_code.py").write_text(code)
    (folder / "test_shop.py").write_text(tests)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-p", "everlog.testing.plugin", "-p", "no:cacheprovider", *arguments]
    ran = subprocess.run(
        [*command, "--strict-markers", "-rA", f"--rootdir={folder}", "test_shop.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(ran.returncode, ran.stdout + ran.stderr)


ENGINE = """
import pytest
from shop_code import order

import everlog
from everlog.testing import VirtualEngine, save_history, state_at

seen = [0]


@everlog.workflow(name="plugged_careless")
async def careless() -> None:
    seen[0] += 1
    await everlog.send("nobody-at-all", "count", seen[0])


def test_a_month_takes_no_time(everlog_engine: VirtualEngine) -> None:
    begun = everlog_engine.now()
    handle = everlog_engine.start(order.options(id="order-1"), 5)
    everlog_engine.sleep(86_400)
    assert state_at(everlog_engine.history("order-1")).pending[0].kind == "timer"
    save_history(everlog_engine.history("order-1"), "histories/sleeping.jsonl")
    everlog_engine.restart()
    everlog_engine.send("order-1", "go", "paid ")
    assert everlog_engine.handle("order-1").result() == "paid 5"
    assert (everlog_engine.now() - begun).days == 30
    save_history(everlog_engine.history("order-1"), "histories/ended.jsonl")


def test_what_never_comes_is_not_waited_for(everlog_engine: VirtualEngine) -> None:
    with pytest.raises(everlog.UsageError, match="ten years"):
        everlog_engine.run(order, 5)


def test_a_workflow_that_is_not_repeated_exactly(everlog_engine: VirtualEngine) -> None:
    with pytest.raises(everlog.WorkflowFailed):
        everlog_engine.run(careless)


class TestWithoutReplay:
    @pytest.fixture
    def everlog_options(self) -> dict[str, object]:
        return {"replays": False, "seed": 7}

    def test_it_is_let_pass(self, everlog_engine: VirtualEngine) -> None:
        with pytest.raises(everlog.WorkflowFailed):
            everlog_engine.run(careless)
"""

HISTORIES = """
import pytest
import shop_code

from everlog.testing import Exported


@pytest.mark.everlog_histories("histories")
def test_old_histories_replay() -> None:
    pass


@pytest.mark.everlog_histories("histories")
def test_they_are_orders(everlog_history: Exported) -> None:
    assert everlog_history.name == "plugged_order"
"""


def test_the_engine_skips_time_and_replays_all_that_ran(tmp_path: Path) -> None:
    (tmp_path / "histories").mkdir()
    ran = run(tmp_path, ENGINE)
    assert "4 passed, 1 error" in ran.out
    assert "ERROR test_shop.py::test_a_workflow_that_is_not_repeated_exactly" in ran.out
    assert "(plugged_careless) diverges at event 3" in ran.out

    ran = run(tmp_path, HISTORIES)
    assert ran.code == 0
    for test in ("test_old_histories_replay", "test_they_are_orders"):
        assert {f"PASSED test_shop.py::{test}[{name}]" for name in ("ended", "sleeping")} <= set(ran.out.splitlines())

    ran = run(tmp_path, HISTORIES, code=CODE.replace("charge(cents)", "charge(cents + 1)"))
    assert ran.code == 1
    assert "4 failed" in ran.out, ran.out
    assert "order-1 (plugged_order) diverges at event 3" in ran.out
    assert '{"cents":6}' in ran.out
    assert "plugin.py" not in ran.out


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        (HISTORIES, "so nothing would be tested"),
        (HISTORIES.replace('"histories"', ""), "everlog_histories takes one directory"),
        ("def test_it(everlog_history) -> None: pass", "for tests that are marked"),
    ],
)
def test_what_would_test_nothing_is_refused(tmp_path: Path, tests: str, told: str) -> None:
    ran = run(tmp_path, tests)
    assert ran.code != 0
    assert told in ran.out


def test_other_tests_pay_nothing_for_the_plugin(tmp_path: Path) -> None:
    """Neither the engine's fixtures nor what they need is imported where no test asks for them."""
    tests = (
        "import sys\ndef test_it() -> None: assert not {'everlog.testing.virtual', 'everlog.memory'} & {*sys.modules}"
    )
    assert run(tmp_path, tests).code == 0


def test_the_plugin_is_declared() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\neverlog = "everlog.testing.plugin"' in project
