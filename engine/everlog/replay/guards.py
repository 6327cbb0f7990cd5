"""Guards: notice workflow code that reads a clock, chance, a file or the environment, which a replay cannot repeat.

Two nets, both only while workflow code runs on the thread, and only for calls that come from the user's code, straight
or by way of a module that only passes them on: functions of `time`, `random`, `uuid`, `secrets` and `os` are
exchanged while an engine is open, and an audit hook sees files, sockets and processes. `datetime.now` cannot be
exchanged; the testing kit sees it (`everlog.testing.watch_calls`). A line is warned of once.

Not meant is what is done for the workflow by the way: importing a module, logging, making a warning or a traceback,
reading the zones of `zoneinfo`, a finaliser, a callback of the garbage collector, a debugger.
"""

from __future__ import annotations

import functools
import gc
import os
import random
import secrets
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterable
from inspect import currentframe
from types import FrameType
from typing import Any, Final, Literal

from everlog.errors import WrongContext
from everlog.replay.collector import is_collecting
from everlog.replay.context import active
from everlog.replay.places import is_drain, is_of_users, package_of

Setting = Literal["off", "warn", "raise"]

CLOCK: Final = "a replay would see another time; use everlog.now()"
CHANCE: Final = "a replay would draw something else; use everlog.random()"
IN_A_STEP: Final = "a replay would do it again, and see something else; do it in a step"
UUIDS: Final = "a replay would draw another; use everlog.uuid4()"
SLEEP: Final = (
    "it holds up all workflows of this engine, and is no durable sleep; use asyncio.sleep, in a def workflow sync.sleep"
)
OF_THE_MACHINE: Final = (
    "a replay would see something else; read it before the workflow starts and pass it in, or read it in a step"
)
_CLOCKS: Final = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
_DRAWS: Final = (
    *("random", "randint", "randrange", "randbytes", "getrandbits", "choice", "choices", "shuffle", "sample"),
    *("uniform", "triangular", "betavariate", "binomialvariate", "expovariate", "gammavariate", "gauss"),
    *("lognormvariate", "normalvariate", "paretovariate", "vonmisesvariate", "weibullvariate"),
)
_SECRETS: Final = ("token_bytes", "token_hex", "token_urlsafe", "choice", "randbelow", "randbits")
GUARDED: Final[list[tuple[Any, str, str, str]]] = [
    *((time, clock, f"time.{clock}", CLOCK) for name in _CLOCKS for clock in (name, f"{name}_ns")),
    (time, "sleep", "time.sleep", SLEEP),
    *((random, name, f"random.{name}", CHANCE) for name in _DRAWS),
    *((secrets, name, f"secrets.{name}", CHANCE) for name in _SECRETS),
    *((uuid, name, f"uuid.{name}", UUIDS) for name in ("uuid1", "uuid4", "uuid6", "uuid7")),
    *((os, name, f"os.{name}", CHANCE) for name in ("urandom", "getrandom")),
    *((os, name, f"os.{name}", OF_THE_MACHINE) for name in ("getpid", "getcwd", "cpu_count")),
    (type(os.environ), "__getitem__", "os.environ", OF_THE_MACHINE),
]
"""Owner, attribute, name for people, advice. What this Python does not have is left out."""

_FILES: Final = ("chmod", "chown", "link", "listdir", "mkdir", "remove", "rename", "rmdir", "scandir", "symlink")
_PROCESSES: Final = ("exec", "fork", "forkpty", "posix_spawn", "spawn", "startfile", "system")
_SOCKETS: Final = ("bind", "connect", "getaddrinfo", "gethostbyname", "gethostname", "sendto")
_AUDITED: Final = {
    **dict.fromkeys(("open", "os.truncate", "os.utime", "sqlite3.connect", "urllib.Request"), IN_A_STEP),
    **dict.fromkeys([f"os.{name}" for name in (*_FILES, *_PROCESSES)], IN_A_STEP),
    **dict.fromkeys([f"socket.{name}" for name in _SOCKETS], IN_A_STEP),
    "subprocess.Popen": IN_A_STEP,
}

_THROUGH: Final = frozenset(
    [
        *("_collections_abc", "collections", "concurrent", "genericpath", "multiprocessing", "ntpath", "os", "pathlib"),
        *("bz2", "configparser", "fileinput", "ftplib", "gzip", "http", "lzma", "posixpath", "shelve", "shutil"),
        *("smtplib", "socket", "sqlite3", "ssl", "subprocess", "tarfile", "tempfile", "threading", "urllib", "zipfile"),
    ]
)
"""Modules of the standard library that open files, sockets, processes and threads for whoever calls them."""

_BY_THE_WAY: Final = frozenset(
    [
        *("importlib", "_frozen_importlib", "_frozen_importlib_external", "linecache", "logging", "traceback"),
        *("warnings", "coverage", "debugpy", "pydevd", "_pydevd_bundle", "_pydevd_frame_eval"),
    ]
)
"""Modules that do what they do beside the workflow: its story is the same whatever they find."""

_settings: Final[list[Setting]] = []
_noticed: Final[set[tuple[str, int]]] = set()
_originals: Final[list[tuple[Any, str, Any]]] = []
_vouched_for: Final[set[str]] = set()
_hooked = False


def vouch_for(packages: Iterable[str]) -> None:
    """Say that what the code of these packages itself reads is harmless, or made so. What it calls is still seen."""
    _vouched_for.update(packages)


def install_guards(setting: Setting) -> Callable[[], None]:
    """Begin to guard; give what ends it. The strictest setting of all open engines holds."""
    if setting not in ("off", "warn", "raise"):
        raise WrongContext(f"guards must be 'off', 'warn' or 'raise', got {setting!r}")
    if setting == "off":
        return lambda: None
    if not _settings:
        _exchange()
    _settings.append(setting)
    installed: list[Setting] = [setting]

    def remove() -> None:
        if installed:
            _settings.remove(installed.pop())
            if not _settings:
                _restore()

    return remove


def _exchange() -> None:
    global _hooked
    for owner, name, told, advice in GUARDED:
        original = getattr(owner, name, None)
        if original is not None:
            _originals.append((owner, name, original))
            guarding = _guarded_clock if advice is CLOCK else _guarded
            setattr(owner, name, guarding(original, told, advice))
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True


def _restore() -> None:
    for owner, name, original in _originals:
        setattr(owner, name, original)
    _originals.clear()
    _noticed.clear()


def _guarded(original: Any, told: str, advice: str) -> Any:
    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if active.execution is not None:
            notice(told, advice, _caller(currentframe()))
        return original(*args, **kwargs)

    return guarded


def _guarded_clock(original: Any, told: str, advice: str) -> Any:
    """The same for what takes no arguments: the user's own event loop asks for the time at every turn."""

    @functools.wraps(original)
    def guarded() -> Any:
        if active.execution is not None:
            notice(told, advice, _caller(currentframe()))
        return original()

    return guarded


def _audit(event: str, args: tuple[Any, ...]) -> None:
    advice = _AUDITED.get(event) if _settings and active.execution is not None else None
    if advice is not None and not (event == "open" and _is_zone(args[0])):
        notice(event, advice, _caller(currentframe()))


def _is_zone(path: object) -> bool:
    """Tell whether a file says what a time zone is: `ZoneInfo` reads it for whoever asks, and keeps it."""
    zones: tuple[str, ...] = getattr(sys.modules.get("zoneinfo"), "TZPATH", ())
    return isinstance(path, str) and path.startswith(zones)


def _caller(frame: FrameType | None) -> FrameType | None:
    return None if frame is None else frame.f_back


def notice(what: str, advice: str, frame: FrameType | None) -> None:
    """Warn of, or refuse, what code of a workflow calls in that frame.

    In replay only what is refused is refused again: the code went on from there.
    """
    execution = active.execution
    if execution is None or is_collecting() or execution.torn_down:
        return
    while frame is not None and package_of(frame) in _THROUGH:
        frame = frame.f_back
    if frame is None or not is_of_users(frame) or package_of(frame) in _vouched_for:
        return
    place = (frame.f_code.co_filename, frame.f_lineno)
    refuses = "raise" in _settings
    if (not refuses and (execution.replaying or place in _noticed)) or _is_by_the_way(frame):
        return
    message = f"workflow {execution.workflow_id!r} calls {what} at {place[0]}:{place[1]}{_called_from(frame)}: {advice}"
    if refuses:
        raise WrongContext(message)
    _noticed.add(place)
    outer, active.execution = active.execution, None
    try:
        warnings.warn_explicit(message, NondeterminismWarning, *place, module=frame.f_globals.get("__name__"))
    finally:
        active.execution = outer


def _is_by_the_way(frame: FrameType | None) -> bool:
    """Tell whether the code runs beside the workflow: an import, a handler of logging, a finaliser, a debugger.

    So do callbacks of the garbage collector: of those some come before it is known to collect, and some after.
    """
    callbacks = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    while frame is not None and not is_drain(frame):
        if frame.f_code.co_name == "__del__" or frame.f_code in callbacks or package_of(frame) in _BY_THE_WAY:
            return True
        frame = frame.f_back
    return False


def _called_from(frame: FrameType) -> str:
    """Give the user's own line where the call is made by a library."""
    if "site-packages" not in frame.f_code.co_filename:
        return ""
    caller = frame.f_back
    while caller is not None and not is_drain(caller):
        if is_of_users(caller) and "site-packages" not in caller.f_code.co_filename:
            return f", called from {caller.f_code.co_filename}:{caller.f_lineno}"
        caller = caller.f_back
    return ""


class NondeterminismWarning(UserWarning):
    """Workflow code did what a replay cannot repeat."""
