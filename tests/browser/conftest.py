"""A real Chromium before a real server: the fixtures of the tests in this directory.

The engine runs here, the inspector in a process of its own, so that it can be killed. Where there is no Chromium, or
no Selenium, the tests say so and are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everlog import sync

TOKEN = "browserbrowserbrowserbrowser"
PATIENCE = 60
AXE = "EVERLOG_AXE"
"""The variable that names axe.min.js, of the npm package axe-core."""


class Server:
    """`everlog ui` in a process of its own, always at the same port."""

    def __init__(self, database: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._database = database
        self.url = f"http://localhost:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "everlog.cli", "ui", self._database, "--port", str(self.port)]
        environment = {**os.environ, "EVERLOG_UI_TOKEN": TOKEN, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment["LOGNAME"] = "ada"
        self._process = subprocess.Popen(
            [*command, "--module", "tests.browser.shop"], env=environment, stdout=subprocess.DEVNULL
        )
        until(self._answers, "the server answers")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{self.url}/static/icon.svg", timeout=PATIENCE) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def until(is_so: Callable[[], Any], what: str) -> Any:
    """Wait until something is so, and give it."""
    end = time.monotonic() + PATIENCE
    while not (found := is_so()):
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sync.Engine]:
    # Imported here: what a module defines while tests are collected is known to tests that have nothing to do with it.
    from tests.browser import shop

    url = f"sqlite:///{tmp_path_factory.mktemp('browser')}/shop.db"
    # Named one by one, since each test module sees only the workflows that it defines itself.
    with sync.Engine(url, workflows=shop.ALL, queues=[shop.kitchen], durability="process") as opened:
        opened.start(shop.order.options(id="order-1", attributes={"region": "eu"}), "tea", "gold")
        opened.start(shop.order.options(id="order-2"), "coffee", "broken")
        opened.start(shop.order.options(id="order-3", attributes={"region": "us"}), "table", "gold", 48_000)
        opened.start(shop.assistant.options(id="question-1"), "Where is my order?")
        for name in ("order-1", "question-1"):
            opened.handle(name).result(timeout=PATIENCE)
        until(lambda: opened.handle("order-2").status().state == "failed", "the broken card is refused")
        until(lambda: list(opened.waits()), "somebody is asked")
        for number in range(6):
            opened.start(
                shop.slow.options(id=f"slow-{number}", queue=shop.kitchen, partition="north" if number % 3 else "south")
            )
        opened.url = url  # type: ignore[attr-defined]
        yield opened


@pytest.fixture(scope="session")
def server(engine: Any) -> Iterator[Server]:
    opened = Server(engine.url)
    yield opened
    opened.kill()


@pytest.fixture(scope="session")
def driver(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `browser` is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no Chromium is installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for one in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-gpu"):
        options.add_argument(one)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))
    opened.set_window_size(1280, 900)
    opened.get(f"{server.url}/?token={TOKEN}")
    yield opened
    opened.quit()


@pytest.fixture
def axe() -> str:
    given = os.environ.get(AXE, "")
    if not given or not Path(given).is_file():
        pytest.skip(f"{AXE} names no axe.min.js: run `make test-browser`, which fetches it")
    return Path(given).read_text(encoding="utf-8")
