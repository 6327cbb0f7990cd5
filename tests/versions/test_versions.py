"""Histories recorded under one Python replay under every other.

EVERLOG_OTHER_PYTHONS names the other interpreters, each of an environment that has Everlog, separated as on the PATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.property.recording import Replayer

pytestmark = pytest.mark.versions

ROOT = Path(__file__).parents[2]
LONG = os.environ.get("EVERLOG_LONG") == "1"
PYTHONS = [sys.executable, *filter(None, os.environ.get("EVERLOG_OTHER_PYTHONS", "").split(os.pathsep))]


@pytest.fixture(scope="module", params=PYTHONS)
def recorded(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]]]:
    """Histories of random programs, and the Python that they were recorded under."""
    python: str = request.param
    command = [python, "-W", "ignore", "-m", "tests.versions.record_programs", "0", "3000" if LONG else "300", "30"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return python, [json.loads(line) for line in done.stdout.splitlines()]


def test_there_is_another_python() -> None:
    assert len(PYTHONS) > 1, "EVERLOG_OTHER_PYTHONS names no interpreter: nothing would be tested"


@pytest.mark.parametrize("python", PYTHONS)
def test_a_history_replays_under_another_python(recorded: tuple[str, list[dict[str, Any]]], python: str) -> None:
    recorder, histories = recorded
    if python == recorder:
        pytest.skip("the same Python")
    replayer = Replayer(2, python=python)
    try:
        assert replayer.check(histories) == len(histories) >= 600
    finally:
        replayer.close()
