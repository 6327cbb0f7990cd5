"""The program `everlog`: its arguments, exit codes and one-line errors. What its commands do is in their modules."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from everlog.cli import moving_commands, retention_commands, retries
from everlog.cli.arguments import Commands, count, some
from everlog.cli.choosing import add_filters, filters_of, must_choose
from everlog.cli.code import VARIABLE as MODULES
from everlog.cli.code import load_modules, modules_if_any
from everlog.cli.codecs import add_codec, codec_named, codec_of
from everlog.cli.diff import diff_workflows
from everlog.cli.forks import ForkOrder, fork_workflow, replacements
from everlog.cli.listing import asked, count_workflows, list_workflows
from everlog.cli.log import print_log
from everlog.cli.many_forks import DEFAULT_CUT, ManyForks, fork_many
from everlog.cli.metrics import add_metrics, run_metrics
from everlog.cli.migrate import migrate
from everlog.cli.places import DEFAULT, VARIABLE
from everlog.cli.replaying import add_replaying, run_replaying
from everlog.cli.schedules import list_schedules
from everlog.cli.show import show_workflow
from everlog.cli.ui import add_ui, run_ui
from everlog.core.codec import Codec
from everlog.core.version import VERSION
from everlog.errors import EverlogError, InternalError, UsageError
from everlog.runtime.finding import countable, query_of, shown_states
from everlog.runtime.status import SHOWN

WRONG: Final = 2
INTERRUPTED: Final = 130

_PLACE: Final = (
    "a file or a URL (sqlite:///shop.db, postgresql://host/shop); by default"
    f" ${VARIABLE}, then {DEFAULT} if it is in this directory"
)
_EXIT: Final = (
    "exit codes: 0 done, 1 the demo, check or verify found a difference, 2 the command could not be done, "
    "130 interrupted"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. An error is one line on stderr, never a traceback."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 0
    try:
        code = _run(chosen)
        sys.stdout.flush()
        return code
    except InternalError:
        raise
    except EverlogError as error:
        print(f"everlog: {' '.join(str(error).split())}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # `everlog log ... | head`: whoever read has enough, and stdout cannot be flushed any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(chosen: argparse.Namespace) -> int:
    match chosen.command:
        case "demo":
            return _demo(chosen)
        case "ls":
            _list(chosen)
        case "migrate":
            migrate(chosen.db or chosen.url, citus=chosen.citus)
        case "diff":
            diff_workflows(chosen.left, chosen.right, chosen.db, codec=_codec(chosen), as_json=chosen.json)
        case "fork":
            return _fork(chosen)
        case "retry":
            return retries.run(chosen)
        case "schedules":
            list_schedules(chosen.db or chosen.url, as_json=chosen.json)
        case moves if moves in moving_commands.NAMES:
            return moving_commands.run(chosen)
        case keeps if keeps in retention_commands.NAMES:
            return retention_commands.run(chosen)
        case "show":
            show_workflow(chosen.id, chosen.db, codec=_codec(chosen), whole=chosen.all)
        case "ui":
            return run_ui(chosen)
        case "metrics":
            return run_metrics(chosen)
        case "check" | "state" | "debug":
            return run_replaying(chosen)
        case _:
            print_log(chosen.id, chosen.db, codec=_codec(chosen), as_json=chosen.json)
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from everlog.cli.demo.main import Settings, run_demo

    return run_demo(
        Settings(
            kills=chosen.kills,
            seed=chosen.seed,
            folder=chosen.dir,
            keep=chosen.keep,
            limit=chosen.limit,
            workers=chosen.workers,
            database=chosen.db,
        )
    )


def _fork(chosen: argparse.Namespace) -> int:
    if chosen.id is None:
        if chosen.new_id is not None:
            raise UsageError("--id names one fork, and --state many workflows; leave it out: they get ids of their own")
        load_modules(modules_if_any(chosen.module))
        many = ManyForks(
            filters=filters_of(chosen),
            at=chosen.at or DEFAULT_CUT,
            replace=replacements(chosen.replace),
            messages=chosen.messages,
            children=chosen.children,
            version=chosen.version,
            limit=chosen.limit,
            dry_run=chosen.dry_run,
            codec=_codec(chosen),
            yes=chosen.yes,
        )
        return fork_many(many, chosen.db)
    must_choose([chosen.id], filters_of(chosen), "forked")
    order = ForkOrder(
        workflow_id=chosen.id,
        at=chosen.at,
        replace=chosen.replace,
        id=chosen.new_id,
        messages=chosen.messages,
        children=chosen.children,
        modules=modules_if_any(chosen.module),
        version=chosen.version,
        dry_run=chosen.dry_run,
        codec=_codec(chosen),
    )
    fork_workflow(order, chosen.db)
    return 0


def _list(chosen: argparse.Namespace) -> None:
    filters = {
        "state": chosen.state,
        "name": chosen.name,
        "version": chosen.of_version,
        "id_prefix": chosen.id_prefix,
        "parent": chosen.parent,
        "forked_from": chosen.forked_from,
        "created_after": chosen.created_after,
        "created_before": chosen.created_before,
        "ended_after": chosen.ended_after,
        "ended_before": chosen.ended_before,
        "attributes": asked(chosen.attribute),
    }
    place = chosen.db or chosen.url
    if chosen.count:
        count_workflows(place, countable(filters), as_json=chosen.json)
        return
    query = query_of(filters, newest_first=not chosen.oldest_first)
    list_workflows(place, query, shown_states(filters), limit=chosen.limit, as_json=chosen.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="everlog",
        description="Durable workflows as ordinary Python functions: look at what a database holds, or watch a demo.",
        epilog=_EXIT,
    )
    version = f"everlog {VERSION} (Python {platform.python_version()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    _add_demo(commands)
    _add_ls(commands)
    _add_show(commands)
    _add_log(commands)
    _add_fork(commands)
    retries.add(commands, _PLACE)
    _add_diff(commands)
    _add_schedules(commands)
    _add_migrate(commands)
    moving_commands.add(commands)
    retention_commands.add(commands)
    add_replaying(commands, _PLACE)
    add_metrics(commands, _PLACE)
    add_ui(commands, _PLACE)
    return parser


def _codec(chosen: argparse.Namespace) -> Codec | None:
    return codec_of(codec_named(chosen))


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="watch a workflow being killed and going on",
        description="Index every module of the Python standard library in a workflow whose process is killed with "
        "SIGKILL again and again, and compare what comes out with an index made without kills. Exit code 1 if they "
        "differ.",
    )
    demo.add_argument("--kills", type=count, default=5, help="how often the process is killed (default: 5)")
    demo.add_argument("--seed", type=int, help="choose the moments of the kills by this number (default: by chance)")
    demo.add_argument(
        "--dir", help="an empty or new directory for the files (default: a new one among temporary files)"
    )
    demo.add_argument("--keep", action="store_true", help="keep the files also when the demo is stopped by Ctrl-C")
    demo.add_argument("--limit", type=count, default=0, help="index only so many modules, for a quick look (0: all)")
    demo.add_argument(
        "--workers", type=some, default=1, help="share the work among so many processes, as several workflows"
    )
    demo.add_argument("--db", help="the database, a file or a URL (default: a new SQLite file in the directory)")


def _add_ls(commands: Commands) -> None:
    ls = commands.add_parser("ls", help="list workflows, newest first", description="List workflows, newest first.")
    ls.add_argument("url", nargs="?", help=f"the database: {_PLACE}")
    ls.add_argument("--db", help="the same, as in the other commands")
    ls.add_argument("--state", action="append", choices=SHOWN, help="only those in this state, or these")
    ls.add_argument("--name", action="append", help="only those of this workflow function, or these")
    ls.add_argument(
        "--version",
        action="append",
        dest="of_version",
        metavar="V",
        help="only those that this version of the code runs, or these; needs --name",
    )
    ls.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only those with this attribute; of one name that is given twice, those with either value",
    )
    ls.add_argument("--parent", metavar="ID", help="only those that this workflow started")
    ls.add_argument("--forked-from", metavar="ID", help="only forks of this workflow")
    ls.add_argument("--id-prefix", metavar="TEXT", help="only those whose ids begin so")
    for event in ("created", "ended"):
        for side in ("after", "before"):
            moment = "at this time or later" if side == "after" else "before this time"
            ls.add_argument(
                f"--{event}-{side}", type=_moment, metavar="TIME", help=f"only those {event} {moment} (ISO 8601, UTC)"
            )
    ls.add_argument("--oldest-first", action="store_true", help="the other way round")
    ls.add_argument("--count", action="store_true", help="print how many there are, by name and state")
    ls.add_argument("--limit", type=count, default=100, help="at most so many (default: 100; 0: all)")
    ls.add_argument("--json", action="store_true", help="one JSON object per line")


def _add_show(commands: Commands) -> None:
    text = "Show where one workflow is, why, and how it came there."
    show = commands.add_parser("show", help="show one workflow: state, reason, timeline", description=text)
    show.add_argument("id", help="the id of the workflow")
    show.add_argument("--db", help=f"the database: {_PLACE}")
    show.add_argument("--all", action="store_true", help="the whole timeline, however long")
    add_codec(show)


def _add_log(commands: Commands) -> None:
    text = "Print the events of one workflow in order, one line each."
    log = commands.add_parser("log", help="print the events of one workflow", description=text)
    log.add_argument("id", help="the id of the workflow")
    log.add_argument("--db", help=f"the database: {_PLACE}")
    log.add_argument("--json", action="store_true", help="one JSON object per line, complete")
    add_codec(log)


def _add_fork(commands: Commands) -> None:
    text = (
        "Make a new workflow of the first part of another's history, with other outcomes where asked; the other is not"
        " changed. An engine that knows the code runs it. For example: everlog fork order-42 --replace"
        " 'charge=\"payment-7\"' --id order-42-again"
    )
    fork = commands.add_parser("fork", help="make a workflow of the first part of another", description=text)
    fork.add_argument("id", nargs="?", help="the id of the workflow whose history it begins with")
    add_filters(fork, "fork")
    fork.add_argument("--version", metavar="V", help="the version of the code that is to run it")
    fork.add_argument(
        "--at",
        metavar="SEQ|KEY",
        help="the last event that it has, or the operation before whose outcome it is cut,"
        " or failure: where a retry would go on (the default for many)",
    )
    fork.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="another outcome of an operation, or of the event of this seq; input={...} for other arguments",
    )
    fork.add_argument("--id", dest="new_id", metavar="NEW", help="the id of the fork (default: a new one)")
    fork.add_argument(
        "--messages", choices=("keep", "drop"), default="keep", help="those received later, or unread (default: keep)"
    )
    fork.add_argument(
        "--children",
        choices=("rerun", "keep"),
        default="rerun",
        help="those open there: started anew, or waited for (default: rerun)",
    )
    fork.add_argument(
        "--module",
        "--import",
        action="append",
        help="the module that defines the workflow, so that what does not depend on a replacement is kept (default:"
        f" ${MODULES}); without it nothing after the replaced event is",
    )
    fork.add_argument("--db", help=f"the database: {_PLACE}")
    add_codec(fork)


def _add_diff(commands: Commands) -> None:
    text = (
        "Show two histories side by side, with the first difference marked: ~ both have it, with other content; < and >"
        " one has it; (7) it does not count any more. Times and workers are not compared. For example: everlog diff"
        " order-42 order-42-again"
    )
    diff = commands.add_parser("diff", help="show two histories side by side", description=text)
    diff.add_argument("left", metavar="ID", help="the id of a workflow")
    diff.add_argument("right", metavar="OTHER", help="the id of another")
    diff.add_argument("--db", help=f"the database: {_PLACE}")
    diff.add_argument("--json", action="store_true", help="one JSON object per line, complete")
    add_codec(diff)


def _add_schedules(commands: Commands) -> None:
    text = "List schedules, in order of their names, with the times of their time zones."
    schedules = commands.add_parser("schedules", help="list schedules", description=text)
    schedules.add_argument("url", nargs="?", help=f"the database: {_PLACE}")
    schedules.add_argument("--db", help="the same, as in the other commands")
    schedules.add_argument("--json", action="store_true", help="one JSON object per line")


def _add_migrate(commands: Commands) -> None:
    text = "Make the tables of a database, or bring them up to date. Engines do so too, where their user may."
    command = commands.add_parser("migrate", help="make or update the tables of a database", description=text)
    command.add_argument("url", nargs="?", help=f"the database: {_PLACE}")
    command.add_argument("--db", help="the same, as in the other commands")
    command.add_argument(
        "--citus",
        action="store_true",
        help="also distribute the tables over the servers of a Citus cluster, whose coordinator the URL names; engines"
        " on them must be closed meanwhile",
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-11-21T09:30, got {text!r}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
