"""The examples run as programs, each in a directory of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 60

SAID = {
    "booking.py": "given back: train for 30 nights",
    "fan_out.py": "here.txt",
    "nightly.py": "monday: 18 rows from 4 regions\n18 rows",
}
"""A piece of what each says where it needs nobody."""


def run(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("name", sorted(SAID))
def test_an_example_says_what_it_should(tmp_path: Path, name: str) -> None:
    (tmp_path / "here.txt").write_text("a file")
    ended = run(tmp_path, name)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert SAID[name] in ended.stdout


def test_the_approval_comes_from_another_process(tmp_path: Path) -> None:
    submitting = [sys.executable, str(EXAMPLES / "approval.py"), "submit", "lunch", "1800"]
    submitted = subprocess.Popen(submitting, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        # Until the first process has made the database and the workflow, there is nobody to send to.
        while run(tmp_path, "approval.py", "approve", "lunch").returncode != 0:
            assert submitted.poll() is None
        out, _ = submitted.communicate(timeout=PATIENCE)
    finally:
        submitted.kill()
    assert out == "paid 18.00 for lunch, reference expense-lunch/pay\n"


def test_an_agent_that_is_killed_goes_on(tmp_path: Path) -> None:
    program = [sys.executable, str(EXAMPLES / "agent.py")]
    waiting = subprocess.Popen(program, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said: list[str] = []
    with waiting:
        assert waiting.stdout is not None
        for line in waiting.stdout:
            said.append(line)
            if line == "Shall it? [y/n]\n":
                break
        waiting.kill()
    again = subprocess.run(
        program, cwd=tmp_path, input="y\n", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.endswith("=> This is what became of it: paid back 19.00 for order 42.\n")
    ran = [line.strip() for line in [*said, *again.stdout.splitlines()] if line.strip().endswith(" runs]")]
    assert sorted(ran) == ["[look_up runs]", "[refund runs]", "[rules runs]"]


def test_every_example_is_tried() -> None:
    elsewhere = {"breakfast.py"}  # the program of the README, which test_docs.py runs
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SAID, "agent.py", "approval.py"} | elsewhere
