"""A deployment told before and after: code that does not fit is found, what it would stop is listed, and code that fits
has it go on by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FLOW = """
import asyncio
import sys

import everlog
from everlog import Engine, step, workflow


@step
async def price(item: str) -> int:
    return len(item)


@step
async def cost(item: str) -> int:
    return len(item)


@workflow
async def order(item: str) -> str:
    paid = await {step}(item)
    return await everlog.recv("go", type=str) + str(paid)


async def main(wanted: str) -> None:
    async with Engine("sqlite:///shop.db") as engine:
        handle = await engine.start(order.options(id="order-1"), "tea")
        if wanted == "completed":
            print(await handle.result(timeout=20))
            return
        if wanted == "stuck":
            await handle.send("go", "paid ")
        async with asyncio.timeout(20):
            while (await handle.status()).state != wanted:
                await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
"""


def run(folder: Path, *command: str) -> tuple[int, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVERLOG")}
    ran = subprocess.run(
        [sys.executable, "-B", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_code_is_checked_stuck_and_mended(tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    check = ("-m", "everlog.cli", "check", "--module", "flow", "shop.db")
    flow.write_text(FLOW.format(step="price"))
    assert run(tmp_path, "flow.py", "waiting") == (0, "")
    assert run(tmp_path, *check) == (0, "1 replay clean\n")

    flow.write_text(FLOW.format(step="cost"))
    code, said = run(tmp_path, *check)
    assert code == 1
    assert "order-1 (order) diverges at event 3" in said
    assert run(tmp_path, "flow.py", "stuck")[0] == 0  # it was deployed all the same
    code, said = run(tmp_path, "-m", "everlog.cli", "ls", "shop.db", "--state", "stuck")
    assert code == 0
    assert "order-1" in said
    assert "took another path" in said
    assert run(tmp_path, *check)[0] == 1

    flow.write_text("# mended\n" + FLOW.format(step="price"))
    assert run(tmp_path, *check) == (0, "1 replay clean\n")
    assert run(tmp_path, "flow.py", "completed") == (0, "paid 3\n")
