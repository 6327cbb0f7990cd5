"""Versions: the name of a workflow in the log says which version of its code runs it. What code there is is not known.

`checkout@@3` is version 3 of `checkout`: only who knows that name claims it, as with any other name. Without a version
it is whoever knows `checkout`, whatever version of it that is.
"""

from __future__ import annotations

from typing import Final

from everlog.core.names import LONGEST, check_name
from everlog.errors import UsageError

SEPARATOR: Final = "@@"


def versioned(name: str, version: str | None) -> str:
    """Give the name in the log of a workflow that a version of its code runs, or any."""
    return name if version is None else check_name(f"{name}{SEPARATOR}{version}", "the name of a workflow")


def taken_apart(name: str) -> tuple[str, str | None]:
    """Give the name of the workflow, and its version, of a name in the log."""
    workflow, separator, version = name.partition(SEPARATOR)
    return workflow, version if separator else None


def workflow_of(name: str) -> str:
    """Give a name in the log without the version."""
    return name.partition(SEPARATOR)[0]


def version_of(name: str) -> str | None:
    """Give the version that a name in the log says."""
    return taken_apart(name)[1]


def told(name: str) -> str:
    """Give a name in the log for a person."""
    workflow, version = taken_apart(name)
    return repr(workflow) if version is None else f"{workflow!r} version {version!r}"


def check_version(version: object) -> str | None:
    """Give a version back; `UsageError` where it is none."""
    if version is None:
        return None
    if not isinstance(version, str):
        raise UsageError(f'the version of a workflow is text, such as "3", or None for any, got {version!r}')
    if "@" in check_name(version, "the version of a workflow") or len(version) > LONGEST // 4:
        raise UsageError(f"the version of a workflow has at most {LONGEST // 4} characters and no @, got {version!r}")
    return version


def check_unversioned(name: str, what: str) -> str:
    """Give a name back that is to be found without a version; `UsageError` where it would be read as having one."""
    if SEPARATOR in name or name.startswith("@") or name.endswith("@"):
        raise UsageError(
            f"{what} must not contain {SEPARATOR!r}, or begin or end with '@', got {name!r}: what follows on "
            f"{SEPARATOR} is the version of a workflow, which is given as version="
        )
    return name
