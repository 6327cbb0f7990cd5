"""Guards: notice workflow code that reads a clock, chance, a file or the environment, which a replay cannot repeat.

Two nets, both only while workflow code runs on the thread, and only for calls that come from outside the standard
library, straight or by way of a module that only passes them on: functions of `time`, `random`, `uuid`, `secrets` and
`os` are exchanged while an engine is open, and an audit hook sees files, sockets and processes. `datetime.now` cannot
be exchanged; the testing kit sees it. A line is warned of once.
"""

from __future__ import annotations

import functools
import os
import random
import secrets
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from inspect import currentframe
from types import FrameType
from typing import Any, Final, Literal

from everlog.errors import WrongContext
from everlog.replay.context import active

Setting = Literal["off", "warn", "raise"]

_CLOCK: Final = "use everlog.now(), or asyncio.sleep to wait"
_CHANCE: Final = "use everlog.random()"
_STEP: Final = "do it in a step"
_GUARDED: Final[dict[Any, dict[str, str]]] = {
    time: dict.fromkeys(("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"), _CLOCK)
    | {"sleep": "use asyncio.sleep"},
    random: dict.fromkeys(
        [
            "random",
            "randint",
            "randrange",
            "choice",
            "choices",
            "shuffle",
            "sample",
            "uniform",
            "gauss",
            "betavariate",
            "getrandbits",
            "randbytes",
            "expovariate",
            "normalvariate",
            "triangular",
        ],
        _CHANCE,
    ),
    uuid: dict.fromkeys(("uuid1", "uuid4"), "use everlog.uuid4()"),
    secrets: dict.fromkeys(("token_bytes", "token_hex", "token_urlsafe", "choice", "randbelow"), _CHANCE),
    os: {"urandom": _CHANCE, "getenv": "read it before the workflow starts and pass it in, or read it in a step"},
}
_AUDITED: Final = {
    "open": _STEP,
    "socket.connect": _STEP,
    "socket.bind": _STEP,
    "socket.getaddrinfo": _STEP,
    "subprocess.Popen": _STEP,
    "os.system": _STEP,
    "os.listdir": _STEP,
    "os.scandir": _STEP,
    "os.remove": _STEP,
    "os.rename": _STEP,
    "os.mkdir": _STEP,
    "sqlite3.connect": _STEP,
    "urllib.Request": _STEP,
}
_STANDARD: Final = frozenset({*sys.stdlib_module_names, "everlog", "importlib"}) - {"__main__"}

_THROUGH: Final = frozenset({"http", "pathlib", "shutil", "socket", "subprocess", "tempfile", "urllib"})
"""Modules of the standard library that open files, sockets and processes for whoever calls them."""

_settings: Final[list[Setting]] = []
_noticed: Final[set[tuple[str, int]]] = set()
_originals: Final[list[tuple[Any, str, Any]]] = []
_hooked = False


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
    for module, functions in _GUARDED.items():
        for name, advice in functions.items():
            original = getattr(module, name, None)
            if original is not None:
                _originals.append((module, name, original))
                setattr(module, name, _guarded(original, f"{module.__name__}.{name}", advice))
    if not _hooked:
        sys.addaudithook(_audit)
        _hooked = True


def _restore() -> None:
    for module, name, original in _originals:
        setattr(module, name, original)
    _originals.clear()
    _noticed.clear()


def _guarded(original: Any, name: str, advice: str) -> Any:
    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if active.execution is not None:
            _notice(name, advice, currentframe())
        return original(*args, **kwargs)

    return guarded


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _AUDITED and _settings and active.execution is not None:
        frame = currentframe()
        while frame is not None and frame.f_back is not None and _module(frame.f_back) in _THROUGH:
            frame = frame.f_back
        if event != "open" or not _is_zone(args[0]):
            _notice(event, _AUDITED[event], frame)


def _is_zone(path: object) -> bool:
    """Tell whether a file says what a time zone is: `ZoneInfo` reads it for whoever asks, and keeps it."""
    zones: tuple[str, ...] = getattr(sys.modules.get("zoneinfo"), "TZPATH", ())
    return isinstance(path, str) and path.startswith(zones)


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def _notice(what: str, advice: str, guard: FrameType | None) -> None:
    execution = active.execution
    frame = guard.f_back if guard is not None else None
    if execution is None or frame is None or execution.torn_down or _module(frame) in _STANDARD:
        return
    file, line = frame.f_code.co_filename, frame.f_lineno
    message = (
        f"workflow {execution.workflow_id!r} calls {what} at {file}:{line}: a replay would see something else; {advice}"
    )
    if "raise" in _settings:
        raise WrongContext(message)
    if not execution.replaying and (file, line) not in _noticed:
        _noticed.add((file, line))
        outer, active.execution = active.execution, None
        try:
            warnings.warn_explicit(message, NondeterminismWarning, file, line, module=frame.f_globals.get("__name__"))
        finally:
            active.execution = outer


class NondeterminismWarning(UserWarning):
    """Workflow code did what a replay cannot repeat."""
