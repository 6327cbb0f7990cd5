"""Codecs of commands: what opens sealed payloads for people who look at a database, by the keys that they name."""

from __future__ import annotations

import argparse
import os
from typing import Final

from everlog.cli.code import load_object
from everlog.core.codec import Codec

_KEY_FILE: Final = "key-file="
_KEYS: Final = "EVERLOG_KEYS"


def add_codec(command: argparse.ArgumentParser) -> None:
    """Add the options by which a codec is named."""
    which = command.add_mutually_exclusive_group()
    which.add_argument("--codec", metavar="MODULE:NAME", help="the codec of the engine, where it has one of its own")
    which.add_argument(
        "--key-file",
        metavar="FILE",
        help=f"the keys that payloads were encrypted with, ID=SECRET on each line (default: ${_KEYS}, if it is set)",
    )


def codec_named(chosen: argparse.Namespace) -> str | None:
    """Give as text which codec a command was given; None where none was."""
    named: str | None = _KEY_FILE + chosen.key_file if chosen.key_file else chosen.codec
    return named


def codec_of(named: str | None) -> Codec | None:
    """Give the codec that `codec_named` has named; with None, that of the keys in the environment. `UsageError`."""
    if named is not None and not named.startswith(_KEY_FILE):
        codec: Codec = load_object(named, "--codec")
        return codec
    if named is None and not os.environ.get(_KEYS):
        return None
    from everlog.codecs import Compressed, Encrypted, Json, Keys, chain

    keys = Keys.from_environment(_KEYS) if named is None else Keys.from_file(named.removeprefix(_KEY_FILE))
    return chain(Json(), Compressed(), Encrypted(keys))
