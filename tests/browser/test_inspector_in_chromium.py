"""The inspector in a real Chromium: what people do there, what they see when things go wrong, and who can use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import PATIENCE, until

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
PICTURES = "EVERLOG_PICTURES"
"""Set to anything, it has the pictures of the documentation taken anew."""
LARGEST = 150_000

PAGES = {
    "overview": "/",
    "workflows": "/workflows",
    "filters": "/workflows?queue=kitchen",
    "completed": "/workflow?id=order-1&inside=tea-cake",
    "failed": "/workflow?id=order-2",
    "waiting": "/workflow?id=order-3",
    "event": "/event?id=order-1&seq=6&state=1",
    "conversation": "/conversation?id=question-1",
    "test": "/test?id=order-1",
    "fork": "/fork?id=order-1&at=5",
    "import": "/import",
    "compare": "/compare?left=order-1&right=order-2",
    "inbox": "/inbox",
    "queues": "/queues",
    "schedules": "/schedules",
    "workers": "/workers",
    "definitions": "/definitions",
    "none": "/nothing-here",
}


def css(driver: Any, selector: str) -> list[Any]:
    return list(driver.find_elements("css selector", selector))


def text(driver: Any) -> str:
    return str(driver.find_element("tag name", "main").text)


def press(driver: Any, label: str) -> None:
    """Press the button or follow the link that says so, and wait for the next page."""
    before = driver.find_element("tag name", "html")
    found = next(one for one in css(driver, "button, a") if one.text.strip() == label and one.is_displayed())
    found.click()
    until(lambda: driver.find_element("tag name", "html") != before, f"{label} leads on")


def seqs(driver: Any) -> list[int]:
    script = "return [...document.querySelectorAll('#rows tr')].map((row) => Number(row.dataset.seq))"
    return [int(seq) for seq in driver.execute_script(script)]


def prefers(driver: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


# -- what people do


def test_what_failed_is_found_and_read(driver: Any, server: Any) -> None:
    driver.get(f"{server.url}/workflows")
    driver.find_element("css selector", "input[value=failed]").click()
    press(driver, "Show")
    assert "state=failed" in driver.current_url
    rows = [one.text for one in css(driver, "tbody tr")]
    assert len(rows) == 1
    assert "order-2" in rows[0]
    press(driver, "order-2")
    assert "card 'broken' is not known to the bank" in text(driver)
    driver.find_element("css selector", ".failure summary").click()
    assert "in charge" in text(driver)


def test_the_variables_of_the_code_are_seen_at_an_event(driver: Any, server: Any) -> None:
    driver.get(f"{server.url}/event?id=order-1&seq=7")
    press(driver, "State of the code here")
    shown = driver.find_element("css selector", ".variables").text
    assert "'gold'" in shown
    assert "reserved" in shown
    assert "await charge(card, cents)" in text(driver)


def test_a_result_is_edited_and_its_fork_compared(driver: Any, server: Any, engine: Any) -> None:
    history = engine.handle("order-1").history()
    seq = next(one.seq for one in history if one.type == "step_completed" and one.data["operation"] == "charge")
    driver.get(f"{server.url}/event?id=order-1&seq={seq}")
    press(driver, "Fork from here …")
    outcome = driver.find_element("id", "fork-outcome")
    edited = outcome.get_attribute("value").replace("R-1250", "R-edited")
    outcome.clear()
    outcome.send_keys(edited)
    driver.find_element("id", "fork-id").send_keys("order-1-edited")
    press(driver, "Check …")
    assert f"the outcome of event {seq}" in text(driver)
    assert "replays all" in text(driver)
    (button,) = css(driver, "main form button.primary")
    press(driver, button.text)
    assert engine.handle("order-1-edited").result(timeout=PATIENCE) == "tea is on its way (R-edited)"
    driver.get(f"{server.url}/compare?left=order-1&right=order-1-edited")
    assert "R-edited" in driver.find_element("id", "first").text


def test_a_wait_is_answered(driver: Any, server: Any, engine: Any) -> None:
    fork = engine.handle("order-3").fork(id="order-3-answered")
    until(lambda: list(engine.waits(workflow_id=fork.id)), "the fork waits")
    driver.get(f"{server.url}/workflow?id={fork.id}")
    assert "Send an order of 480.00 €?" in text(driver)
    next(one for one in css(driver, "label.choice") if one.text == "approve").click()
    press(driver, "Answer")
    assert fork.result(timeout=PATIENCE).startswith("table is on its way")


def test_a_page_is_live_and_misses_nothing_while_the_server_is_killed(driver: Any, server: Any, engine: Any) -> None:
    from tests.browser import shop

    handle = engine.start(shop.counter.options(id="watched"))
    driver.get(f"{server.url}/workflow?id=watched")

    def shows_all() -> bool:
        return seqs(driver)[-1:] == [handle.status().history_length]

    for life in range(3):
        for _ in range(3):
            handle.send("next", "go")
        until(shows_all, "the page shows what has happened")
        if life == 2:
            break
        server.kill()
        handle.send("next", "nobody is there to tell")
        until(lambda: "connection is gone" in driver.find_element("id", "connection").text, "the page says so")
        handle.send("next", "nor now")
        server.start()
    handle.send("next", "stop")
    assert handle.result(timeout=PATIENCE) == 3 * 3 + 2 * 2
    until(lambda: "has ended" in driver.find_element("id", "connection").text, "the page knows the end")
    assert seqs(driver) == list(range(1, handle.status().history_length + 1)), "none is missed, none doubled"
    assert "completed" in driver.find_element("id", "summary").text


def test_all_can_be_reached_by_the_keyboard(driver: Any, server: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    driver.get(f"{server.url}/workflows")
    driver.find_element("tag name", "body").send_keys(Keys.TAB)
    assert driver.switch_to.active_element.text == "Skip to the page"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    reached: list[Any] = []
    for _ in range(200):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if driver.switch_to.active_element.tag_name == "body":
            break
        reached.append(driver.switch_to.active_element)
    script = (
        "return [...document.querySelectorAll('main a, main button, main input, main summary')]"
        ".filter((one) => one.checkVisibility() && one.type !== 'hidden')"
    )
    missed = [one.get_attribute("outerHTML") for one in driver.execute_script(script) if one not in reached]
    assert missed == []


# -- what the pages are


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(driver: Any, server: Any, axe: str, scheme: str) -> None:
    prefers(driver, scheme)
    found = {}
    for name, path in PAGES.items():
        driver.get(server.url + path)
        # Given by the debugger, it is no script of the page, which the policy of the page would refuse.
        driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
        answer = driver.execute_cdp_cmd(
            "Runtime.evaluate",
            {
                "expression": "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', "
                "'best-practice']}).then((found) => found.violations.flatMap((one) => "
                "one.nodes.map((node) => one.id + ': ' + node.html.slice(0, 200))))",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )["result"]["value"]
        if answer:
            found[name] = answer
    prefers(driver, "light")
    assert found == {}


@pytest.mark.parametrize("width", [320, 375])
def test_nothing_is_cut_off_on_a_phone_or_at_four_times_the_size(driver: Any, server: Any, width: int) -> None:
    """320 points are what 400 % leave of a screen of 1280."""
    metrics = {"width": width, "height": 640, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        wide = []
        for name, path in PAGES.items():
            driver.get(server.url + path)
            if driver.execute_script("return document.documentElement.scrollWidth") > width:
                wide.append(name)
        assert wide == []
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_paper_there_is_what_happened_and_no_buttons(driver: Any, server: Any) -> None:
    driver.get(f"{server.url}/workflow?id=order-1")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert [one.text for one in css(driver, "button, nav, footer") if one.is_displayed()] == []
        assert "order-1" in text(driver)
        assert len([one for one in css(driver, "#rows tr") if one.is_displayed()]) > 5
        assert driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# -- pictures


PICTURED = {
    "inspector-workflows": ("/workflows?id_prefix=order", "light", 620),
    "inspector-workflow": ("/workflow?id=order-1&inside=tea-cake", "light", 1000),
    "inspector-workflow-dark": ("/workflow?id=order-2", "dark", 900),
    "inspector-event": ("/event?id=order-1&seq=7&state=1", "light", 860),
    "inspector-conversation": ("/conversation?id=question-1", "light", 800),
    "inspector-queues": ("/queues", "light", 400),
}


@pytest.mark.skipif(not os.environ.get(PICTURES), reason=f"{PICTURES} is not set")
@pytest.mark.parametrize("name", PICTURED)
def test_the_pictures_are_taken_anew(driver: Any, server: Any, name: str) -> None:
    path, scheme, height = PICTURED[name]
    driver.set_window_size(1200, height)
    prefers(driver, scheme)
    driver.get(server.url + path)
    # The code lies elsewhere on each machine.
    driver.execute_script(
        "const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);"
        "while (walk.nextNode()) walk.currentNode.data = walk.currentNode.data.replaceAll(arguments[0], 'shop/');",
        f"{ROOT}/tests/browser/",
    )
    IMAGES.mkdir(exist_ok=True)
    assert driver.save_screenshot(str(IMAGES / f"{name}.png"))
    prefers(driver, "light")
    driver.set_window_size(1280, 900)


def test_the_pictures_are_small() -> None:
    found = {path.name: path.stat().st_size for path in IMAGES.glob("*.png")}
    assert set(found) == {f"{name}.png" for name in PICTURED}
    assert {name: size for name, size in found.items() if size > LARGEST} == {}
