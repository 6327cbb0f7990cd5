"""The example of a backend, as a package that somebody installed: found by its URL, and it keeps the contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "backend"
PATIENCE = 240

PROGRAM = """
import asyncio
from everlog import Engine, step, workflow

@step
async def greeting(name: str) -> str:
    return f"hello {name}"

@workflow
async def greet(name: str) -> str:
    return await greeting(name)

async def main() -> None:
    async with Engine("jsonl:///shop.jsonl") as engine:
        print(await engine.run(greet.options(id="first"), "ann"))

asyncio.run(main())
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the example stands on flock, which Windows has not")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Leave behind what an installer does: the package, and its entry points. No network, no build tool."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "everlog_jsonl", site / "everlog_jsonl")
    about = site / f"everlog_jsonl-{project['version']}.dist-info"
    about.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (about / "METADATA").write_text(metadata)
    entries = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(entries))
    return site


def run(site: Path, folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def test_an_engine_finds_it_by_its_url(site: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(site, tmp_path, "program.py") == "hello ann\n"
    assert run(site, tmp_path, "program.py") == "hello ann\n"
    assert run(site, tmp_path, "-m", "everlog.cli", "ls", "jsonl:///shop.jsonl").count("first") == 1


def test_it_keeps_the_contract(site: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    said = run(site, tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "tests")
    assert " passed" in said
    assert str(site) in run(site, tmp_path, "-c", "import everlog_jsonl; print(everlog_jsonl.__file__)")
