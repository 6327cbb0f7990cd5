"""`everlog ui`: a database in the browser. What is served there is in `everlog.inspector`."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
from typing import Final

from everlog.cli.arguments import Commands, count
from everlog.cli.code import VARIABLE, load_modules, load_object
from everlog.cli.codecs import add_codec, codec_named, codec_of
from everlog.cli.places import store_url
from everlog.errors import UsageError

TOKEN: Final = "EVERLOG_UI_TOKEN"  # the name of a variable, no token
_HELP: Final = (
    "Look at a database in the browser, and act on what is there. It is served on this machine alone, to whoever has "
    "the address that is printed. Example: everlog ui shop.db --module shop.orders"
)


def add_ui(commands: Commands, place: str) -> None:
    """Add the command; `place` says how a database is named."""
    ui = commands.add_parser("ui", help="look at a database in the browser", description=_HELP)
    ui.add_argument("url", nargs="?", help=f"the database: {place}")
    ui.add_argument("--db", help="the same, as in the other commands")
    ui.add_argument("--host", default="127.0.0.1", help="the address to serve at (default: 127.0.0.1)")
    ui.add_argument("--port", type=count, default=8700, help="the port (default: 8700; 0: any that is free)")
    ui.add_argument("--allow-remote", action="store_true", help="allow an address that other machines can reach")
    ui.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="another name by which it may be reached"
    )
    ui.add_argument("--read-only", action="store_true", help="change nothing")
    ui.add_argument("--hide-payloads", action="store_true", help="show nothing that users gave")
    ui.add_argument("--redact", metavar="MODULE:NAME", help="a function that hides values: redact(name, value)")
    add_codec(ui)
    ui.add_argument(
        "--module",
        action="append",
        help=f"the module that defines the workflows, or these, for states, checks and forks (default: ${VARIABLE})",
    )


def run_ui(chosen: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    try:
        from everlog.inspector.serving import Serving, serve
    except ModuleNotFoundError as error:
        raise UsageError(f"the inspector needs {error.name}: pip install 'everlog[ui]'") from error
    load_modules(chosen.module or os.environ.get(VARIABLE, "").replace(",", " ").split())
    wanted = Serving(
        url=store_url(chosen.db or chosen.url),
        host=chosen.host,
        port=chosen.port,
        remote=chosen.allow_remote,
        hosts=tuple(chosen.allow_host),
        person=_person(),
        read_only=chosen.read_only,
        hide_payloads=chosen.hide_payloads,
        redact=None if chosen.redact is None else load_object(chosen.redact, "--redact"),
        codec=codec_of(codec_named(chosen)),
        token=os.environ.get(TOKEN) or None,
    )
    asyncio.run(serve(wanted, _tell))
    return 0


def _tell(address: str) -> None:
    print(f"Everlog: {address}\nThe address lets in whoever has it. Ctrl-C ends it.", flush=True)


def _person() -> str:
    """Give the name under which changes are recorded: that of the user of this system."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # who has none, as in some containers
        name = ""
    return "".join(one for one in name if one.isprintable())[:80] or "operator"
