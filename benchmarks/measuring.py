"""Measuring: how a subject, run in a process of its own, hands its figures to the run that compares them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

FLIGHT = 100
STEPS = 10
LONE_STEPS = 1000
ROUNDS = 5
IDLE_SECONDS = 5
EMITTED = 200_000
"""Items that one step emits, one by one."""


def report(**figures: float) -> None:
    """Print the figures, each a rate per second, as the last line of a subject."""
    print(json.dumps(figures), flush=True)


def measured(module: str) -> dict[str, float]:
    """Run a subject on a fresh directory and give its figures."""
    with tempfile.TemporaryDirectory(prefix="everlog-bench-") as directory:
        ran = subprocess.run(
            [sys.executable, "-m", module, directory],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("EVERLOG_BENCH_VERBOSE") else None,
            text=True,
            timeout=300,
        )
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return figures
