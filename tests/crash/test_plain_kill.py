"""Blocking code in real processes on SQLite, killed again and again: nothing recorded is repeated, nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from everlog import NotFound, sync

PROGRAM = Path(__file__).with_name("plain.py")
PATIENCE = 120.0
KILLS = 12


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder / "everlog.db"), str(folder / "notes")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def noted(folder: Path) -> list[str]:
    return (folder / "notes").read_text().splitlines()


def recorded(folder: Path) -> dict[str, str]:
    """Give the operations that have ended, each with the name of its step, and insist that none ended twice."""
    with sync.Client(f"sqlite:///{folder / 'everlog.db'}") as client:
        try:
            ended = [one.data for one in client.handle("etl").history() if one.type == "step_completed"]
        except NotFound:
            return {}
    assert len({one["operation"] for one in ended}) == len(ended)
    return {one["operation"]: one["step"] for one in ended}


def test_a_plain_workflow_that_is_killed_again_and_again_does_each_recorded_step_once(tmp_path: Path) -> None:
    chance = random.Random(7)
    (tmp_path / "notes").touch()
    steps_before: list[tuple[int, dict[str, str]]] = []
    for _ in range(KILLS):
        process, lines = start(tmp_path), len(noted(tmp_path))
        until = time.monotonic() + PATIENCE
        while len(noted(tmp_path)) == lines:  # until it does something
            assert time.monotonic() < until
            assert process.poll() in (None, 0), process.communicate()[1]
            time.sleep(0.002)
        time.sleep(chance.random() * 0.08)
        process.kill()
        process.communicate()
        steps_before.append((len(noted(tmp_path)), recorded(tmp_path)))
    out, error = start(tmp_path).communicate(timeout=PATIENCE)
    counts = [len(f"{region}.csv") for region in ("north", "east", "south", "west", "centre")]
    assert (out, error) == (f"result {[counts, f'{sum(counts)} audited', 'nobody']}\n", "")

    assert len({len(known) for _, known in steps_before}) >= 3, "it was killed at different places"
    ended = recorded(tmp_path)
    assert sorted(ended.values()) == ["audit"] + ["clean_up"] + ["download"] * 5 + ["load"] * 5
    attempts = [line for line in noted(tmp_path) if line != "open"]
    assert len(set(attempts)) == 12, "every step ran, with the same arguments in every process"
    for lines, known in steps_before:
        later = [line.split()[0] for line in noted(tmp_path)[lines:] if line != "open"]
        for name in ("audit", "clean_up", "download", "load"):
            left = list(ended.values()).count(name) - list(known.values()).count(name)
            distinct = {line for line in noted(tmp_path)[lines:] if line.split()[0] == name}
            assert len(distinct) <= left, f"{name}: {later} after {known}"
