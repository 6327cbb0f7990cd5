"""What both type checkers say of programs against the public API: of the accepted ones nothing, and of the refused ones
an error on each line that ends in `# error`, and on no other.

`# error: mypy` or `# error: basedpyright` marks a line on which one of them sees less; the reason stands above it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACCEPTED = sorted((HERE / "accepted").glob("*.py"))
REFUSED = sorted((HERE / "refused").glob("*.py"))
SOURCES = [str(ROOT / "engine"), str(ROOT / "backends" / "sqlite")]
PATIENCE = 200
MARK = re.compile(r"# error(?:: (\w+))?$")

Found = dict[tuple[str, int], list[str]]
"""The messages of a checker by file and line."""


def place(path: str) -> str:
    found = Path(path)
    return (found if found.is_absolute() else ROOT / found).relative_to(HERE).as_posix()


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode in (0, 1), f"{command[2]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def mypy(folder: Path) -> Found:
    # Its incremental cache would be written by every run, so it lives in the folder of the tests.
    command = ["-m", "mypy", "--strict", "--python-version=3.11", "--no-error-summary", "--output=json"]
    config = folder / "mypy.ini"
    config.write_text(
        f"[mypy]\nmypy_path = {':'.join(SOURCES)}\nexplicit_package_bases = true\n"
        f"cache_dir = {ROOT / '.mypy_cache'}\nenable_error_code = unused-awaitable, unused-coroutine\n"
    )
    programs = [str(path) for path in (*ACCEPTED, *REFUSED)]
    found: Found = {}
    for line in run(sys.executable, *command, f"--config-file={config}", *programs, cwd=ROOT).splitlines():
        told = json.loads(line)
        if told["severity"] == "error":
            found.setdefault((place(told["file"]), told["line"]), []).append(told["message"])
    return found


def basedpyright(folder: Path) -> Found:
    project = folder / "pyrightconfig.json"
    settings = {
        "include": [str(HERE / "accepted"), str(HERE / "refused")],
        "extraPaths": SOURCES,
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    project.write_text(json.dumps(settings))
    command = ["-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(project)]
    found: Found = {}
    for told in json.loads(run(sys.executable, *command, cwd=folder))["generalDiagnostics"]:
        if told["severity"] == "error":
            line = told["range"]["start"]["line"] + 1
            found.setdefault((place(told["file"]), line), []).append(told["message"])
    return found


def marked(checker: str) -> set[tuple[str, int]]:
    """The lines of the refused programs on which this checker is to find an error."""
    lines = set()
    for path in REFUSED:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            mark = MARK.search(line)
            if mark is not None and mark[1] in (None, checker):
                lines.add((place(str(path)), number))
    return lines


@pytest.mark.parametrize("checker", [mypy, basedpyright])
def test_the_checkers_refuse_what_is_wrong_and_nothing_else(checker: Any, tmp_path: Path) -> None:
    pytest.importorskip(checker.__name__)
    found, expected = checker(tmp_path), marked(checker.__name__)
    assert expected, "there is nothing that could be refused"
    wrongly = {where: told for where, told in found.items() if where not in expected}
    assert not wrongly, "refused, and is right:\n" + "\n".join(f"{where}: {told}" for where, told in wrongly.items())
    missed = sorted(expected - found.keys())
    assert not missed, f"accepted, and is wrong: {missed}"


def load(path: Path) -> ModuleType:
    """Import a program under a name by which the processes of its steps can import it too."""
    name = f"tests.typing.accepted.{path.stem}"
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


RUNNABLE = [path for path in ACCEPTED if "\nEXPECTED = " in path.read_text()]


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.stem)
def test_the_accepted_programs_run(path: Path, tmp_path: Path) -> None:
    program = load(path)
    assert asyncio.run(program.main(f"sqlite:///{tmp_path / 'everlog.db'}")) == program.EXPECTED
