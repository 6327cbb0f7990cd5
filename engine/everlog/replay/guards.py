"""Guards: notice workflow code that reads a clock, chance, a file or the environment, which a replay cannot repeat.

Two nets, both only while workflow code runs on the thread, and only for calls that come straight from outside the
standard library: functions of `time`, `random`, `uuid`, `secrets` and `os` are exchanged while an engine is open, and
an audit hook sees files, sockets and processes. `datetime.now` cannot be exchanged; the testing kit sees it.
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

_setting: Setting = "off"
_installed = 0
_originals: Final[list[tuple[Any, str, Any]]] = []
_hooked = False


def install_guards(setting: Setting) -> Callable[[], None]:
    """Begin to guard; give what ends it. The strictest setting of all open engines holds."""
    global _installed, _setting
    if setting not in ("off", "warn", "raise"):
        raise WrongContext(f"guards must be 'off', 'warn' or 'raise', got {setting!r}")
    if setting == "off":
        return lambda: None
    if _installed == 0:
        _exchange()
    _installed += 1
    before, _setting = _setting, "raise" if "raise" in (setting, _setting) else setting

    def remove() -> None:
        global _installed, _setting
        _installed -= 1
        _setting = before if _installed else "off"
        if _installed == 0:
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


def _guarded(original: Any, name: str, advice: str) -> Any:
    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if active.execution is not None:
            _notice(name, advice, currentframe())
        return original(*args, **kwargs)

    return guarded


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _AUDITED and _installed and active.execution is not None:
        _notice(event, _AUDITED[event], currentframe())


def _notice(what: str, advice: str, guard: FrameType | None) -> None:
    execution = active.execution
    frame = guard.f_back if guard is not None else None
    if frame is None:
        return
    caller = frame.f_globals.get("__name__", "")
    if execution is None or execution.torn_down or caller.partition(".")[0] in _STANDARD:
        return
    message = (
        f"workflow {execution.workflow_id!r} calls {what} at {frame.f_code.co_filename}:{frame.f_lineno}: "
        f"a replay would see something else; {advice}"
    )
    if _setting == "raise":
        raise WrongContext(message)
    if not execution.replaying:
        outer, active.execution = active.execution, None
        try:
            warnings.warn_explicit(
                message, NondeterminismWarning, frame.f_code.co_filename, frame.f_lineno, module=caller
            )
        finally:
            active.execution = outer


class NondeterminismWarning(UserWarning):
    """Workflow code did what a replay cannot repeat."""
