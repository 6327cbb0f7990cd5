"""What a step raises is what its workflow catches, live and in replay: type, message, arguments, attributes, causes."""

from __future__ import annotations

import urllib.error
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from everlog import Engine, StepFailed, step, workflow
from everlog.core.codec import JsonCodec
from everlog.core.failures import describe, rebuild
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.property.recording import history
from tests.property.replay_worker import Stirrer, replay
from tests.property.values import form, untyped

RECORDED = "Recorded traceback:"
SEEN: list[str] = []


class Declined(Exception):
    """Takes arguments that its `args` do not have, and holds what has no encoding."""

    def __init__(self, code: int, *, detail: Any) -> None:
        super().__init__(f"declined with {code}")
        self.code = code
        self.detail = detail
        self.socket = object()


class Abort(BaseException):
    """Is caught by no `except Exception`."""


class Hostile(Exception):
    """Has no message, and asks for what is not there."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["missing"]


class Slotted(Exception):
    __slots__ = ("reason",)


@dataclass
class Denied(Exception):
    who: str
    when: int = 0


class Many(ExceptionGroup[Exception]):
    """A group of one's own."""


def slotted(reason: Any) -> Slotted:
    error = Slotted("slotted")
    error.reason = reason
    return error


def noted(error: BaseException, note: str) -> BaseException:
    vars(error).setdefault("__notes__", []).append(note)
    return error


def caused(error: BaseException, cause: BaseException, how: int) -> BaseException:
    """Give the error raised from another, while handling another, or from None."""
    try:
        try:
            raise cause
        except BaseException:
            if how == 0:
                raise error from cause
            if how == 1:
                raise error from None
            raise error  # noqa: B904 - so that there is a context
    except BaseException as raised:
        return raised


text = st.text(max_size=20)
singles: st.SearchStrategy[BaseException] = st.one_of(
    st.builds(ValueError, untyped),
    st.builds(lambda args: RuntimeError(*args), st.lists(untyped, max_size=3)),
    st.builds(KeyError, text),
    st.builds(OSError, st.integers(1, 100), text, text),
    st.builds(UnicodeDecodeError, st.just("utf-8"), st.binary(max_size=3), st.just(0), st.just(1), text),
    st.builds(ModuleNotFoundError, text, name=text),
    st.builds(Declined, st.integers(), detail=untyped),
    st.builds(Denied, text, st.integers()),
    st.builds(slotted, untyped),
    st.builds(Abort, text),
    st.builds(Hostile, text),
    st.builds(lambda code, why: urllib.error.HTTPError("url", code, why, {}, None), st.integers(400, 599), text),
    st.builds(lambda: ValueError("x" * 100_000)),
    st.builds(lambda: ValueError(object())),
)
errors: st.SearchStrategy[BaseException] = st.recursive(
    singles,
    lambda inner: st.one_of(
        st.builds(caused, inner, inner, st.integers(0, 2)),
        st.builds(noted, inner, text),
        st.builds(BaseExceptionGroup, text, st.lists(inner, min_size=1, max_size=3)),
        st.builds(Many, text, st.lists(inner.filter(lambda one: isinstance(one, Exception)), min_size=1, max_size=2)),
    ),
    max_leaves=4,
)


def told(error: BaseException) -> str:
    """Give all that a program can see of an error, without what was left out of it and where it was raised."""
    try:
        message = str(error)
    except Exception:
        message = "hostile"
    held = {name: form(value) for name, value in sorted(vars(error).items()) if name not in ("__notes__", "socket")}
    notes = [note for note in vars(error).get("__notes__", ()) if not note.startswith(RECORDED)]
    parts = [told(part) for part in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    reason = form(error.reason) if isinstance(error, Slotted) else ""
    args = "parts" if parts else form(error.args)
    if "set(" in args:  # the texts of equal sets differ in their order
        message = ""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{type(error)} {message!r} {args} {held} {notes} {parts} {reason} <- {told(cause) if cause else None}"


def is_kept_whole(error: BaseException) -> bool:
    """Tell whether nothing of the error is left out: all its arguments have an encoding, and it is not too long."""
    codec = JsonCodec()
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    inner = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    if isinstance(error, urllib.error.HTTPError):
        return False
    if not inner:
        try:
            codec.encode(error.args)
        except Exception:
            return False
    return all(map(is_kept_whole, [*inner, *([cause] if cause else [])]))


def detached(error: BaseException) -> BaseException:
    """Give the error without the context that catching it here has added."""
    error.__context__ = None
    return error


@given(errors)
def test_an_error_is_described_and_rebuilt_as_it_was(error: BaseException) -> None:
    codec = JsonCodec()
    described = describe(error, codec)
    back = rebuild(described, codec, may_import=lambda package: True)
    assert type(back) is type(error)
    if is_kept_whole(error):
        assert told(back) == told(error)
    twice = rebuild(describe(back, codec), codec, may_import=lambda package: True)
    assert told(twice) == told(back)


@settings(max_examples=settings().max_examples // 2)
@given(errors)
def test_an_error_of_a_step_is_the_same_live_and_in_replay(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    failing = step(fail, name="fail")

    async def carry() -> str:
        caught: BaseException | None = None
        try:
            await failing()
        except BaseException as raised:
            caught = raised
        assert caught is not None
        assert caught is not error
        known = not isinstance(error, urllib.error.HTTPError)  # of a package that defines no step and no workflow
        assert type(caught) is (type(error) if known else StepFailed)
        SEEN.append(told(detached(caught)))
        return SEEN[-1]

    flow = workflow(carry, name="carry error")
    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> str:
        async with Engine(store, host=host, workflows=[flow], guards="off") as engine:
            return await engine.run(flow.options(id="carry"))

    SEEN.clear()
    result = host.run(main())
    replay(history(store, "carry"), Stirrer(1))
    assert [*SEEN] == [result, result]


@given(st.sampled_from([SystemExit(3), KeyboardInterrupt(), GeneratorExit()]))
def test_what_would_end_the_program_comes_back_as_a_failed_step(error: BaseException) -> None:
    codec = JsonCodec()
    back = rebuild(describe(error, codec), codec, may_import=lambda package: True)
    assert type(back) is StepFailed
    assert back.error is not None
    assert back.error.type.endswith(type(error).__name__)
