"""The report: what the demo prints besides its progress. It works nothing out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from everlog.cli.demo.index import Index
from everlog.cli.demo.ledger import Ledger
from everlog.cli.demo.workflow import BRANCHES, Summary

SEARCHES = ("temporary file", "date string", "copy directory", "email address")


MOST_TERMS = 8
"""Of a longer sum only the result is shown."""


def introduce(modules: int, kills: int, workers: int, seed: int, folder: Path) -> None:
    """Say what is going to happen."""
    where = "a process that is" if workers == 1 else f"{workers} processes, one of which, by chance, is"
    print(f"Indexing the {modules} modules of this Python's standard library, tests left out: each is read and parsed,")
    print("and its documented names go to a full-text index.")
    print(f"{BRANCHES} steps of a workflow run at a time, in {where} killed {kills} times.")
    print(f"Seed {seed}; files in {folder}")


def head(text: str) -> None:
    """Print the title of a part."""
    print(f"\n{text}", flush=True)


def show_summary(summaries: Sequence[Summary], seconds: float) -> None:
    """Show what the workflows returned."""
    names, modules = sum(one.names for one in summaries), sum(one.modules for one in summaries)
    who = "The workflow" if len(summaries) == 1 else f"The {len(summaries)} workflows"
    print(f"  {who} returned after {seconds:.1f} s: {names} names in {modules} modules.")
    for refused in [text for one in summaries for text in one.refused][:3]:
        print(f"  A step that failed, and was caught: {refused}")


def show_ledger(ledger: Ledger) -> None:
    """Show the account, and how it adds up."""
    kills, replayed = len(ledger.replayed), sum(ledger.replayed)
    each = f": {' + '.join(map(str, ledger.replayed))}" if replayed and kills <= MOST_TERMS else ""
    rows: Sequence[tuple[int, str]] = (
        (kills, "kills survived"),
        (ledger.taken_over, "times a workflow went on in another process"),
        (ledger.taken_from_the_living, "times it was taken from one that lived (there must be none)"),
        (ledger.attempts, "steps run, each counted by itself in a table beside the index. Of these"),
        (ledger.results, f"  are the results in the log, one for each module, {ledger.refused} of them a failure"),
        (ledger.cut_short, "  were cut short by a kill, and ran again"),
        (ledger.run_twice, "  ran although their effect was there: the kill fell between effect and record"),
        (replayed, f"results replayed from the log after kills, not run{each}"),
        (ledger.run_in_spite_of_record, "steps run again whose result was recorded (there must be none)"),
    )
    size = max(len(str(number)) for number, _ in rows)
    print()
    for number, text in rows:
        print(f"  {number:>{size}}  {text}")
    if not ledger.is_sound:
        print("  THIS DOES NOT ADD UP.")


def show_comparison(equal: bool, names: int) -> None:
    """Say whether the index is the one of the plain loop."""
    if equal:
        print(f"\n  The index equals that of the uninterrupted loop, name for name: {names} names.")
    else:
        print("\n  THE INDEX DIFFERS from that of the uninterrupted loop: compare index.db and measure.db.")


def show_searches(index: Index) -> None:
    """Answer a few questions from the index."""
    for words in SEARCHES:
        found = index.find(words)
        print(f"  {words}" + ("" if found else ": nothing"))
        for module, kind, name, line, summary in found:
            where = name if kind == "module" else f"{module}.{name}"
            print(f"    {where:<38.38}  {f'line {line}':<9}  {summary[:46]}".rstrip())


def show_commands(database: str, folder: Path, workflow_id: str) -> None:
    """Print the commands that look at this run."""
    database = shlex.quote(database)
    print("\nLook at this run:")
    print(f"  everlog ls {database}")
    print(f"  everlog show {workflow_id} --db {database}")
    print(f"  everlog log {workflow_id} --db {database} | less")
    print(f"Remove it: rm -r {shlex.quote(str(folder))}")
