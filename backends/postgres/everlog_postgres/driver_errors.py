"""Translation of the driver's errors into ours. The only place that knows Postgres's error codes."""

from __future__ import annotations

from typing import Final

import psycopg

from everlog.errors import CorruptLog, EverlogError, InternalError, SchemaMismatch, StoreUnavailable

UNAVAILABLE: Final = {
    "08": "the connection failed",
    "25006": "the server is read-only, a standby perhaps; name the primary, or wait until this one is promoted",
    "25": "a transaction was left in a state that nothing can be done in",
    "28": "the server refuses this user; check the name, the password and pg_hba.conf",
    "3D000": "there is no such database; create it, or name another",
    "40": "it could not be done at the same time as another transaction's work; try again",
    "42501": "this user has no right to do that; `everlog migrate` with an owner's URL, or the GRANTs of"
    " docs/postgres.md, give it",
    "53100": "the server's disk is full; free some space, nothing of this write was kept",
    "53300": "the server takes no more connections; end some, or raise max_connections",
    "53": "the server has run out of something",
    "55P03": "another transaction holds what is to be written; end it, it may be idle",
    "55": "the server is not in a state to do that",
    "57014": "it took longer than statement_timeout, or somebody cancelled it",
    "57": "the server is shutting down, starting up or ended this connection",
    "58": "the server's system reported an error; look into its log before you trust its disk",
}
"""What to do, by error code or by its first two characters, the class; the longer key counts."""

MISMATCH: Final = {
    "3F000": "the schema is not there",
    "42P01": "a table is not there",
    "42703": "a column is not there",
    "42883": "a function is not there",
}

_INTERNAL: Final = "XX000"
_OF_FILES: Final = ("md.c", "fd.c", "bufmgr.c", "buffile.c", "slru.c", "xlog.c")
"""The server's modules that write files. What the system says to them has an error code only where it is common: a full
disk has one, and a quota has none."""

CLOSED: Final = "EVL01"
"""What the triggers of a database raise that is closed."""
LOCKED: Final = "55P03"
_UNIQUE: Final = "23505"
_CONFLICTS: Final = ("40001", "40P01")
ONE_HISTORY: Final = "one_history_per_workflow"
ONE_KEY: Final = "a_key_is_remembered_once"
ONE_HEAD: Final = "one_head_per_workflow"
ONE_PLACE: Final = "one_place_per_dedup_key"


def translate(error: psycopg.Error, name: str, *, lost_write: bool = False) -> EverlogError:
    """Give our error for one of the driver's.

    `lost_write` says that the answer to what was being written was lost, mostly with the connection.
    """
    code = error.sqlstate
    said = f"(Postgres says: {_in_one_line(error)})"
    if lost_write:
        return StoreUnavailable(
            f"{name}: the connection was lost before the answer came, so whether this was written is not known {said}",
            unknown_outcome=True,
        )
    if code is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return StoreUnavailable(f"{name} cannot be reached {said}")
        return InternalError(f"{name}: the driver refused a statement: {error}")
    if code == CLOSED:
        return StoreUnavailable(f"{name}: {error.diag.message_primary}")
    advice = UNAVAILABLE.get(code, UNAVAILABLE.get(code[:2]))
    if advice is not None:
        return StoreUnavailable(f"{name}: {advice} {said}")
    if code == "0A000":
        return SchemaMismatch(
            f"{name}: a table is not as it was when this was opened {said}; it was distributed meanwhile, perhaps: open"
            " the database anew"
        )
    if code in MISMATCH:
        return SchemaMismatch(f"{name}: {MISMATCH[code]} {said}; `everlog migrate` makes it, or restore a backup")
    if code == _INTERNAL and error.diag.source_file in _OF_FILES:
        return StoreUnavailable(
            f"{name}: the server could not write a file, or read one; its disk or a quota is full perhaps, nothing of"
            f" this write was kept {said}"
        )
    if code.startswith("XX"):
        return CorruptLog(f"{name}: the server found its data or itself damaged {said}; look into its log")
    if code == _UNIQUE and _violates(error, ONE_HISTORY):
        return CorruptLog(
            f"{name}: a history goes on beyond the seq of its head {said}; somebody wrote to it past Everlog, or the"
            " database was restored in parts"
        )
    return InternalError(f"{name}: Postgres refused a statement with code {code}: {_in_one_line(error)}")


def is_worth_repeating(error: psycopg.Error) -> bool:
    """Say whether the same statement, nothing of which was written, will see at once what it collided with."""
    return is_taken(error) or error.sqlstate in _CONFLICTS


def is_taken(error: psycopg.Error) -> bool:
    """Say whether another has taken an id or a key since the statement began."""
    return error.sqlstate == _UNIQUE and any(_violates(error, one) for one in (ONE_KEY, ONE_HEAD, ONE_PLACE))


def _violates(error: psycopg.Error, constraint: str) -> bool:
    """Say whether it is this constraint; of a part of a table that is distributed, a number follows the name."""
    name = error.diag.constraint_name or ""
    return name == constraint or (name.startswith(f"{constraint}_") and name.rpartition("_")[2].isdigit())


def _in_one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
