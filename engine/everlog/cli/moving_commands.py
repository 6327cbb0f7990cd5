"""The arguments of the commands that move and verify: export, import, copy, seal, verify, audit. No command is here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from everlog.cli import audit, moving, verifying
from everlog.errors import UsageError

if TYPE_CHECKING:
    from everlog.cli.arguments import Commands

NAMES: Final = ("export", "import", "copy", "seal", "verify", "audit")
_DATABASE: Final = "the database, a file or a URL; by default $EVERLOG_DB, then everlog.db"


def run(chosen: argparse.Namespace) -> int:
    """Run one of these commands and give its exit code."""
    match chosen.command:
        case "export":
            moving.export(chosen.id, chosen.db, folder=chosen.dir, everything=chosen.all)
        case "import":
            moving.import_files(chosen.file, chosen.db, run=chosen.run)
        case "copy" if chosen.undo:
            moving.take_back(chosen.source)
        case "copy":
            if chosen.destination is None:
                raise UsageError("copy it to where? `everlog copy FROM TO`, two databases")
            moving.copy_database(chosen.source, chosen.destination, wait=chosen.wait, force=chosen.force)
        case "seal":
            verifying.seal(chosen.file, chosen.db)
        case "audit":
            audit.print_audit(chosen.db or chosen.url, only=chosen.id, as_json=chosen.json)
        case _:
            return verifying.verify_database(
                chosen.db or chosen.url, seal_file=chosen.seal, expected=chosen.expect, unchanged=chosen.unchanged
            )
    return 0


def add(commands: Commands) -> None:
    """Add these commands."""
    _add_export(commands)
    _add_import(commands)
    _add_copy(commands)
    _add_seal(commands)
    _add_verify(commands)
    _add_audit(commands)


def _add_export(commands: Commands) -> None:
    command = commands.add_parser(
        "export",
        help="write workflows as files of JSON lines",
        description="Write a workflow as lines of JSON, with its history, unread messages and streams. The database is"
        " only read: who wants it elsewhere and not here copies it. Example: everlog export order-42 > order-42.jsonl",
    )
    command.add_argument("id", nargs="*", help="the ids of the workflows")
    command.add_argument("--all", action="store_true", help="all workflows of the database, with --dir")
    command.add_argument("--dir", help="write a file for each of them into this directory")
    command.add_argument("--db", help=_DATABASE)


def _add_import(commands: Commands) -> None:
    command = commands.add_parser(
        "import",
        help="bring workflows from such files",
        description="Bring workflows from files that export wrote. One that is there with the same history is left as"
        " it is; with another history it is refused. Example: everlog import order-42.jsonl --db test.db",
    )
    command.add_argument("file", nargs="+", help="the files; - is stdin")
    command.add_argument("--run", action="store_true", help="also those that have not ended, which go on here")
    command.add_argument("--db", help=_DATABASE)


def _add_copy(commands: Commands) -> None:
    command = commands.add_parser(
        "copy",
        help="move a whole database to another, SQLite to Postgres or back",
        description="Move all that is in a database to another, empty one: workflows with their timers and unread"
        " messages, queues, schedules. The source is closed from the beginning on, so that nothing is run twice."
        " Whatever stops it, the same command goes on. Example: everlog copy app.db postgresql://localhost/app",
    )
    command.add_argument("source", metavar="FROM", help="the database that is moved")
    command.add_argument("destination", metavar="TO", nargs="?", help="the database that it is moved to")
    command.add_argument(
        "--wait",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for engines to end (default: 30)",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="wait for no engine: those that run lose what they hold, as if they had died",
    )
    command.add_argument("--undo", action="store_true", help="open FROM again, whose move has not come to its end")


def _add_seal(commands: Commands) -> None:
    command = commands.add_parser(
        "seal",
        help="write down what a database holds, as digests",
        description="Write a seal: the hash chain of each history and digests of the rest. Keep it where those who can"
        " write to the database cannot. A file that is there is verified, and replaced by its successor."
        " Example: everlog seal app.seal --db app.db",
    )
    command.add_argument("file", help="the file of the seal")
    command.add_argument("--db", help=_DATABASE)


def _add_verify(commands: Commands) -> None:
    command = commands.add_parser(
        "verify",
        help="find what somebody edited, removed or reordered",
        description="Find what is not as Everlog wrote it, or, with a seal, as it was when that was made. Exit code 1"
        " if something is found. Example: everlog verify app.db --seal app.seal",
    )
    command.add_argument("url", nargs="?", help=_DATABASE)
    command.add_argument("--db", help="the same, as in the other commands")
    command.add_argument("--seal", metavar="FILE", help="a seal that was made before")
    command.add_argument("--expect", metavar="DIGEST", help="what the seal is called, where that was kept elsewhere")
    command.add_argument("--unchanged", action="store_true", help="nothing at all may have changed since the seal")


def _add_audit(commands: Commands) -> None:
    command = commands.add_parser(
        "audit",
        help="say who cancelled, paused, retried or changed workflows",
        description="Print what was done to workflows from outside, when, by whom and why, from their histories."
        " Example: everlog audit app.db --id order-42",
    )
    command.add_argument("url", nargs="?", help=_DATABASE)
    command.add_argument("--db", help="the same, as in the other commands")
    command.add_argument("--id", help="only of this workflow")
    command.add_argument("--json", action="store_true", help="one JSON object per line")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"expected seconds of at least 0, got {text!r}")
    return seconds
