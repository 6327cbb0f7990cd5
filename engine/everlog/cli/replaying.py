"""The arguments of the commands that replay: check, state and debug. What they do is in modules of their own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from everlog.cli.arguments import Commands, count, some
from everlog.cli.check import SUFFIX, Asked, check
from everlog.cli.code import VARIABLE, load_modules, load_object, look_here, modules_of
from everlog.cli.codecs import add_codec, codec_named, codec_of
from everlog.cli.places import head_of, opened, store_url
from everlog.core.log_lines import Exported
from everlog.runtime.code_state import Redact
from everlog.testing.replays import load_history

_CHECK: Final = (
    "Replay every open workflow of a database, or exported histories, against the code that is here, without effects "
    "and in parallel, and look for what breaks determinism in the sources of the workflows. Exit code 1 if one does "
    "not fit, or something was found. Example: everlog check --module shop.orders postgresql://db/shop"
)
_STATE: Final = (
    "Show what the code of a workflow was doing when an event was the last: the stack of each task with file and line, "
    "local variables, pending operations. Example: everlog state order-42 --at 17 --module shop.orders"
)
_DEBUG: Final = (
    "Stop in a debugger (pdb) where the code of a workflow stands at an event of its history, and go on from there "
    "event by event or line by line. Nothing that it does is recorded, no step runs. Example: everlog debug order-42 "
    "--at 17 --module shop.orders"
)


def add_replaying(commands: Commands, place: str) -> None:
    """Add the commands; `place` says how a database is named."""
    command = commands.add_parser("check", help="replay workflows against the code that is here", description=_CHECK)
    command.add_argument("url", nargs="?", help=f"a directory or file of exported histories, or the database: {place}")
    command.add_argument("--db", help="the same, as in the other commands")
    command.add_argument("--name", action="append", help="only workflows of this function, or these")
    command.add_argument("--all", action="store_true", help="also workflows that have ended")
    command.add_argument("--known-only", action="store_true", help="let pass workflows whose code is not here")
    command.add_argument("--processes", type=some, help="replay in so many processes (default: one per processor)")
    command.add_argument("--limit", type=count, default=20, help="show at most so many in full (default: 20; 0: all)")
    command.add_argument("--json", action="store_true", help="one JSON object per line for each history or finding")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--static-only", action="store_true", help="look at the sources only: it takes no database")
    which.add_argument("--no-static", action="store_true", help="replay only, do not look at the sources")
    _add_code(command)

    state = commands.add_parser("state", help="show what code was doing at an event", description=_STATE)
    _add_history(state, place)
    state.add_argument("--redact", metavar="MODULE:NAME", help="a function that hides values: redact(name, value)")
    state.add_argument("--json", action="store_true", help="as one JSON object")
    _add_code(state)

    debug = commands.add_parser("debug", help="debug the code of a workflow at an event", description=_DEBUG)
    _add_history(debug, place)
    debug.add_argument(
        "--breakpoint",
        action="store_true",
        help="call breakpoint() there and no pdb of ours: for an editor's debugger, or what PYTHONBREAKPOINT names",
    )
    _add_code(debug)


def _add_history(command: argparse.ArgumentParser, place: str) -> None:
    command.add_argument("id", help=f"the id of the workflow, or the file of an exported history (*{SUFFIX})")
    command.add_argument("--at", type=count, metavar="SEQ", help="the event that is the last one (default: the end)")
    command.add_argument("--db", help=f"the database: {place}")


def _add_code(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--module",
        action="append",
        help=f"the module that defines the workflows, or these (default: ${VARIABLE}, which may name several)",
    )
    add_codec(command)


def run_replaying(chosen: argparse.Namespace) -> int:
    """Run the command that was chosen; give its exit code."""
    modules = modules_of(chosen.module)
    look_here()
    if chosen.command == "check":
        return check(
            Asked(
                modules=modules,
                codec=codec_named(chosen),
                place=chosen.db or chosen.url,
                names=chosen.name,
                whole=chosen.all,
                known_only=chosen.known_only,
                processes=chosen.processes,
                as_json=chosen.json,
                most=chosen.limit,
                sources=not chosen.no_static,
                histories=not chosen.static_only,
            )
        )
    load_modules(modules)
    codec = codec_of(codec_named(chosen))
    history = _history(chosen.id, chosen.db)
    if chosen.command == "state":
        from everlog.cli.state import print_state

        redact: Redact | None = None if chosen.redact is None else load_object(chosen.redact, "--redact")
        print_state(history, chosen.at, codec=codec, redact=redact, as_json=chosen.json)
    else:
        from everlog.cli.debug import debug, debug_with_breakpoint

        (debug_with_breakpoint if chosen.breakpoint else debug)(history, chosen.at, codec=codec)
    return 0


def _history(named: str, place: str | None) -> Exported:
    if named.endswith(SUFFIX) and Path(named).is_file():
        return load_history(named)
    url = store_url(place)
    with opened(url) as store:
        head = head_of(store, named, url)
        rows = [(row.seq, row.recorded_at, row.payload) for row in store.read(named)]
    return Exported(workflow_id=named, name=head.name, rows=rows)
