"""Run the benchmarks: `python -m benchmarks [--repetitions N] [--json FILE]`. Interleaved repetitions, medians."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
from pathlib import Path
from statistics import median

from benchmarks.check import EVENTS, HISTORIES
from benchmarks.measuring import FLIGHT, STEPS, measured

SUBJECTS = ("benchmarks.raw_sqlite", "benchmarks.everlog_sqlite", "benchmarks.dbos_sqlite")


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks")
    arguments.add_argument("--repetitions", type=int, default=5)
    arguments.add_argument("--json", type=Path, help="also write all figures to this file")
    given = arguments.parse_args()
    figures: dict[str, dict[str, list[float]]] = {subject: {} for subject in SUBJECTS}
    for repetition in range(given.repetitions):
        for subject in SUBJECTS:
            for name, value in measured(subject).items():
                figures[subject].setdefault(name, []).append(value)
        print(f"repetition {repetition + 1} of {given.repetitions} done", flush=True)
    raw, ours, peer = ({name: median(values) for name, values in figures[subject].items()} for subject in SUBJECTS)
    print(f"\nPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL; medians\n")
    print(f"{'':44}{'Everlog':>10}{'DBOS':>10}{'raw':>10}{'x DBOS':>9}{'x raw':>8}")
    row(f"{FLIGHT} workflows of {STEPS} steps in flight, steps/s", ours["flight"], peer["flight"], raw["raw_commits"])
    row("one workflow alone, sequential steps/s", ours["lone"], peer["lone"], raw["raw_commits"])
    print(f"\nItems that one step emits one by one and a reader reads meanwhile: {ours['emitted']:,.0f}/s")
    print(f"CPU of Everlog per step in flight, all threads: {ours['cpu_us']:.0f} us")
    print(f"CPU of Everlog with nothing to do: {ours['idle_percent']:.2f} % of a core")
    print(f"Replay of a history of 10,000 steps: {1000 / measured('benchmarks.replay')['replays']:.0f} ms")
    check = measured("benchmarks.check")
    print(
        f"Check of {HISTORIES:,} histories of {EVENTS} events, on {check['cores']:.0f} cores: {check['seconds']:.0f} s"
    )
    print(f"DBOS is the better of its APIs: blocking {peer['flight_blocking']:.0f}, async {peer['flight_async']:.0f}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))


def row(what: str, ours: float, peer: float, raw: float) -> None:
    print(f"{what:44}{ours:10,.0f}{peer:10,.0f}{raw:10,.0f}{ours / peer:9.1f}{ours / raw:8.2f}")


if __name__ == "__main__":
    main()
