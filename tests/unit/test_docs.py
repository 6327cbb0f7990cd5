"""The programs in the pages run: a fence marked ```python title="name.py" is a whole program, any other an excerpt.

The programs of one page run in the order in which they stand, in one directory, so that one may import another or go
on with its database.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r'^```python title="(?P<name>[\w./-]+)"[^\n]*\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)
PATIENCE = 60


def programs(page: Path) -> list[tuple[str, str]]:
    return [(found["name"], found["text"]) for found in PROGRAM.finditer(page.read_text())]


PAGES = [page for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))] if programs(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_programs_of_a_page_run(page: Path, tmp_path: Path) -> None:
    for name, text in programs(page):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        run = subprocess.run(
            [sys.executable, name], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert run.returncode == 0, f"{name} ended with {run.returncode}\n{run.stdout}\n{run.stderr}"
