"""The demo as a user runs it: real kills of a real process, and Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.postgres import needs_postgres, new_schema

PROGRAM = [sys.executable, "-m", "everlog.cli"]
PATIENCE = 120


def test_the_demo_survives_its_kills_and_says_so(tmp_path: Path) -> None:
    arguments = ["demo", "--limit", "60", "--kills", "2", "--seed", "7", "--dir", str(tmp_path / "run")]
    ended = subprocess.run(
        [*PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert "kill 2: process" in ended.stdout
    assert re.search(r"^ +2  kills survived$", ended.stdout, re.MULTILINE)
    assert re.search(r"^ +61  +are the results in the log", ended.stdout, re.MULTILINE)
    assert re.search(r"^ +0  steps run again whose result was recorded", ended.stdout, re.MULTILINE)
    assert "equals that of the uninterrupted loop" in ended.stdout
    assert max(map(len, ended.stdout.replace(str(tmp_path), "").splitlines())) <= 120
    assert (tmp_path / "run" / "worker.log").read_text() == ""
    for command in re.findall(r"^  everlog (.*?)(?: \| less)?$", ended.stdout, re.MULTILINE):
        looked = subprocess.run([*PROGRAM, *command.split()], capture_output=True, text=True, timeout=30, check=False)
        assert looked.returncode == 0, looked.stderr
        assert "index" in looked.stdout


@needs_postgres
def test_three_processes_share_the_work_on_postgres(tmp_path: Path) -> None:
    # So many that not all of them hit a process which holds no workflow at that moment.
    arguments = ["--limit", "90", "--kills", "6", "--seed", "7", "--dir", str(tmp_path / "run")]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tools.demo_postgres", new_schema(), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert re.search(r"^ +6  kills survived$", ended.stdout, re.MULTILINE)
    assert re.search(r"^ +[1-9]\d*  times a workflow went on in another process$", ended.stdout, re.MULTILINE)
    assert re.search(r"^ +91  +are the results in the log", ended.stdout, re.MULTILINE)
    assert "equals that of the uninterrupted loop" in ended.stdout
    assert (tmp_path / "run" / "worker.log").read_text() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_ctrl_c_ends_the_demo_and_its_worker(tmp_path: Path) -> None:
    run = tmp_path / "run"
    demo = subprocess.Popen(
        [*PROGRAM, "demo", "--limit", "100", "--kills", "0", "--dir", str(run)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + PATIENCE
        while not (run / "worker.log").exists() and time.monotonic() < until:
            time.sleep(0.01)
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=PATIENCE)
    finally:
        demo.kill()
    assert demo.returncode == 130
    assert err == ""
    assert out.rstrip().endswith(f"Stopped. The files are in {run}")
    assert not workers_of(run)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find the worker")
def test_no_worker_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    demo = subprocess.Popen(
        [*PROGRAM, "demo", "--limit", "100", "--kills", "0", "--dir", str(run)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + PATIENCE
    while not workers_of(run) and time.monotonic() < until:
        time.sleep(0.01)
    demo.kill()
    demo.wait()
    while workers_of(run) and time.monotonic() < until:
        time.sleep(0.01)
    assert not workers_of(run)


def workers_of(run: Path) -> list[str]:
    """The command lines of processes that work in this directory."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "everlog.cli.demo.worker" in line and str(run) in line:
            found.append(line)
    return found
