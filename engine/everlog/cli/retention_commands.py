"""The arguments of the commands that keep and remove: prune, hold, release, redact. No command is here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from everlog.cli import retention
from everlog.cli.arguments import some
from everlog.cli.listing import asked
from everlog.core.keeping import END_STATES
from everlog.runtime.status import SHOWN

if TYPE_CHECKING:
    from everlog.cli.arguments import Commands

NAMES: Final = ("prune", "hold", "release", "redact")
_DATABASE: Final = "the database, a file or a URL; by default $EVERLOG_DB, then everlog.db"


def run(chosen: argparse.Namespace) -> int:
    """Run one of these commands and give its exit code."""
    match chosen.command:
        case "prune":
            order = retention.PruneOrder(
                older_than=chosen.older_than,
                keep_last=chosen.keep_last,
                archive=chosen.archive,
                dry_run=chosen.dry_run,
                batch=chosen.batch,
            )
            retention.prune(order, _filters(chosen), chosen.db or chosen.url)
        case "hold" if chosen.list:
            retention.print_holds(chosen.db, as_json=chosen.json)
        case "hold":
            retention.hold(chosen.id, _filters(chosen), chosen.reason, chosen.db)
        case "redact":
            keep_links = not chosen.without_links
            retention.redact(chosen.id, chosen.event, chosen.reason, chosen.db, keep_links=keep_links)
        case _:
            retention.release(chosen.id, _filters(chosen), chosen.reason, chosen.db)
    return 0


def _filters(chosen: argparse.Namespace) -> dict[str, Any]:
    return {
        "state": chosen.state,
        "name": chosen.name,
        "id_prefix": chosen.id_prefix,
        "attributes": asked(chosen.attribute),
    }


def add(commands: Commands) -> None:
    """Add these commands."""
    _add_prune(commands)
    _add_hold(commands)
    _add_release(commands)
    _add_redact(commands)


def _add_prune(commands: Commands) -> None:
    command = commands.add_parser(
        "prune",
        help="remove workflows that ended long ago",
        description="Remove workflows that have ended, for good, with all that is kept of them; those that are held,"
        " and those that others need, are kept. Engines may run meanwhile."
        " Example: everlog prune app.db --older-than 30d --archive old/",
    )
    command.add_argument("url", nargs="?", help=_DATABASE)
    command.add_argument("--db", help="the same, as in the other commands")
    command.add_argument(
        "--older-than", type=_duration, metavar="TIME", help="those that ended longer ago: 30d, 12h, 90m, 45s, 2w, 1y"
    )
    command.add_argument("--keep-last", type=some, metavar="N", help="all but the last so many of each name")
    command.add_argument("--archive", metavar="DIR", help="a folder in which each is kept as a compressed file before")
    command.add_argument("--dry-run", action="store_true", help="remove nothing, and print the ids")
    command.add_argument("--batch", type=some, default=100, metavar="N", help="so many at once (default: 100)")
    _add_filters(command, END_STATES)


def _add_hold(commands: Commands) -> None:
    command = commands.add_parser(
        "hold",
        help="keep workflows from being removed",
        description="Keep workflows from being removed or redacted by anybody, until they are released."
        " Example: everlog hold --attribute customer=4711 --reason 'case 12/26'",
    )
    command.add_argument("id", nargs="*", help="the ids of workflows")
    command.add_argument("--list", action="store_true", help="hold nothing, and print what is held")
    command.add_argument("--json", action="store_true", help="with --list, one JSON object per line")
    _add_rest(command)


def _add_release(commands: Commands) -> None:
    command = commands.add_parser(
        "release",
        help="take back that workflows are held",
        description="Take back that workflows are held. Example: everlog release order-42 --reason 'case closed'",
    )
    command.add_argument("id", nargs="*", help="the ids of workflows")
    _add_rest(command)


def _add_redact(commands: Commands) -> None:
    command = commands.add_parser(
        "redact",
        help="take personal data out of a workflow that has ended",
        description="Take inputs, results, messages, values and all else that users gave out of a workflow that has"
        " ended, for good; what happened and when stays. It cannot be replayed past that any more."
        " Example: everlog redact order-42 --reason 'request of 3 May'",
    )
    command.add_argument("id", help="the id of the workflow")
    command.add_argument(
        "--event", action="append", default=[], type=some, metavar="SEQ", help="only out of this event, or these"
    )
    command.add_argument("--reason", default="", metavar="TEXT", help="why: it is put on record")
    command.add_argument(
        "--without-links",
        action="store_true",
        help="keep no digest of what was taken either; a seal that was made before knows nothing then of what follows",
    )
    command.add_argument("--db", help=_DATABASE)


def _add_rest(command: argparse.ArgumentParser) -> None:
    command.add_argument("--reason", default="", metavar="TEXT", help="why: it is put on record")
    command.add_argument("--db", help=_DATABASE)
    _add_filters(command, SHOWN)


def _add_filters(command: argparse.ArgumentParser, states: Any) -> None:
    command.add_argument("--state", action="append", choices=states, help="only those in this state, or these")
    command.add_argument("--name", action="append", help="only those of this workflow function, or these")
    command.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=VALUE", help="only those with this attribute"
    )
    command.add_argument("--id-prefix", metavar="TEXT", help="only those whose ids begin so")


def _duration(text: str) -> float:
    try:
        return retention.duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
