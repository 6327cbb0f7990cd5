"""What is promised of exceptions as data: describing never fails, rebuilding gives the type or `StepFailed`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import msgspec
import pytest

from everlog import Engine, call, errors, step, workflow
from everlog.core.codec import JsonCodec
from everlog.core.failures import MAX_DEPTH, MAX_PARTS, MAX_TEXT, Failure, describe, rebuild
from tests.support import run

codec = JsonCodec()


class Declined(Exception):
    ran = 0

    def __init__(self, code: int, *, detail: str) -> None:
        Declined.ran += 1
        super().__init__(f"declined with {code}")
        self.code = code
        self.detail = detail
        self.socket = object()


class Slotted(Exception):
    __slots__ = ("reason",)


@dataclass
class Denied(Exception):
    who: str
    when: int = 0


class Hostile(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no")


class WithNew(Exception):
    def __new__(cls, a: int, b: int) -> WithNew:
        return super().__new__(cls, a, b)


class TimeoutOfOurs(errors.EverlogError, TimeoutError):
    pass


def yes(package: str) -> bool:
    return True


def no(package: str) -> bool:
    return False


def stored(failure: Failure) -> Failure:
    """The failure as it is after it was written and read."""
    return msgspec.json.decode(msgspec.json.encode(failure), type=Failure)


def again(error: BaseException, may_import: Callable[[str], bool] = yes) -> BaseException:
    return rebuild(stored(describe(error, codec)), codec, may_import=may_import)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 5, (1, 2)),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "a.txt"),
        OSError("just text"),
        OSError(28, "No space", "a", None, "b"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        StopIteration(5),
        ZeroDivisionError(),
        RecursionError("deep"),
        errors.StepTimeout("step fetch took longer than 5 s"),
        errors.NotEncodable("x"),
        TimeoutOfOurs(5, "x"),
        Denied("ann", 3),
        WithNew(1, 2),
        asyncio.QueueFull("full"),
        asyncio.IncompleteReadError(b"ab", 5),
        json.JSONDecodeError("bad", "doc", 1),
        subprocess.CalledProcessError(3, ["ls"], b"out"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_what_it_was(error: BaseException) -> None:
    back = again(error)
    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)
    assert {name: value for name, value in vars(back).items() if name != "__notes__"} == vars(error)


def test_attributes_beside_the_arguments_come_back() -> None:
    back = again(ImportError("no module", name="shop", path="/x"))
    assert isinstance(back, ImportError)
    assert (back.name, back.path) == ("shop", "/x")
    error = FileNotFoundError(2, "No such file", "a.txt")
    back = again(error)
    assert isinstance(back, FileNotFoundError)
    assert (back.errno, back.filename) == (2, "a.txt")
    slotted = Slotted("x")
    slotted.reason = "why"
    assert again(slotted).reason == "why"  # type: ignore[attr-defined]
    unavailable = again(errors.StoreUnavailable("gone", unknown_outcome=True))
    assert isinstance(unavailable, errors.StoreUnavailable)
    assert unavailable.unknown_outcome


def test_an_exception_is_rebuilt_without_its_init_and_without_what_cannot_be_encoded() -> None:
    error = Declined(51, detail="limit")
    before = Declined.ran
    back = again(error)
    assert isinstance(back, Declined)
    assert Declined.ran == before
    assert (str(back), back.code, back.detail) == ("declined with 51", 51, "limit")
    assert not hasattr(back, "socket")


def test_arguments_that_cannot_be_encoded_are_replaced_by_the_message() -> None:
    back = again(ValueError("bad", object()))
    assert type(back) is ValueError
    assert back.args[0].startswith("('bad', <object")


def test_a_type_that_may_not_be_imported_is_told_as_a_failed_step() -> None:
    back = again(raised(Declined(51, detail="x")), no)
    assert isinstance(back, errors.StepFailed)
    assert str(back).endswith("Declined: declined with 51")
    assert back.error is not None
    assert back.error.message == "declined with 51"


@pytest.mark.parametrize(
    "name",
    ["nowhere.at.all:Gone", "json:loads", "json:JSONDecoder", "json:Gone", "builtins:int", "x", "", "builtins:exec",
     "tests:f.<locals>.E"],
)  # fmt: skip
def test_a_name_that_leads_to_no_exception_is_told_as_a_failed_step(name: str) -> None:
    assert type(rebuild(Failure(type=name, message="m"), codec, may_import=yes)) is errors.StepFailed


def test_local_types_are_unknown() -> None:
    class Local(Exception):
        pass

    assert type(again(Local("x"))) is errors.StepFailed


class Interrupt(KeyboardInterrupt):
    pass


class Cancelled(asyncio.CancelledError):
    pass


@pytest.mark.parametrize(
    "kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, Interrupt, Cancelled]
)
def test_what_steers_the_process_or_the_loop_never_comes_back_as_itself(kind: type[BaseException]) -> None:
    assert type(again(kind("x"))) is errors.StepFailed


def test_causes_come_back_as_causes() -> None:
    try:
        try:
            raise KeyError("k")
        except KeyError as cause:
            raise ValueError("v") from cause
    except ValueError as error:
        explicit = again(error)
    try:
        try:
            raise KeyError("k")
        except KeyError:
            raise ValueError("v")  # noqa: B904 - so that there is a context
    except ValueError as error:
        implicit = again(error)
    try:
        try:
            raise KeyError("k")
        except KeyError:
            raise ValueError("v") from None
    except ValueError as error:
        suppressed = again(error)
    assert type(explicit.__cause__) is KeyError
    assert type(implicit.__cause__) is KeyError
    assert suppressed.__cause__ is None


def test_causes_are_bounded_and_cycles_end() -> None:
    first, second = ValueError(1), ValueError(2)
    first.__cause__, second.__cause__ = second, first
    assert describe(first, codec).cause is not None
    chain = ValueError(0)
    for number in range(50):
        following = ValueError(number)
        following.__cause__ = chain
        chain = following
    depth, failure = 0, describe(chain, codec)
    while failure.cause is not None:
        depth, failure = depth + 1, failure.cause
    assert depth == MAX_DEPTH


def test_groups_come_back_with_their_parts() -> None:
    group = ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])
    back = again(raised(group))
    assert isinstance(back, ExceptionGroup)
    assert back.message == "several"
    assert [type(part) for part in back.exceptions] == [ValueError, ExceptionGroup]
    mixed = again(BaseExceptionGroup("mixed", [KeyboardInterrupt(), ValueError("a")]))
    assert isinstance(mixed, BaseExceptionGroup)
    assert [type(part) for part in mixed.exceptions] == [errors.StepFailed, ValueError]
    assert type(again(BaseExceptionGroup("only", [asyncio.CancelledError()]))) is ExceptionGroup


def test_the_traceback_is_a_note_and_does_not_grow_with_each_repetition() -> None:
    error = raised(ValueError("x"))
    error.add_note("of the user")
    back = again(error)
    assert [note.partition("\n")[0] for note in back.__notes__] == ["of the user", "Recorded traceback:"]
    assert "in raised" in back.__notes__[1]
    twice = again(raised(back))
    assert len(twice.__notes__) == 2
    assert twice.__notes__[1].count("in raised") == 2
    assert describe(error, codec, traceback=False).traceback == ""


def test_describing_survives_hostile_exceptions() -> None:
    assert "RuntimeError" in describe(Hostile("x"), codec).message
    assert describe(ValueError("\ud800"), codec).message == "\\ud800"
    msgspec.json.encode(describe(ValueError("\ud800"), codec))
    assert len(describe(ValueError("x" * 10**6), codec).message) < MAX_TEXT + 100
    weird = ValueError("x")
    weird.__dict__["__notes__"] = 5
    assert describe(weird, codec).message == "x"
    assert isinstance(again(weird), ValueError)


def test_deep_tracebacks_are_cut_in_the_middle() -> None:
    def even(n: int) -> None:
        odd(n)

    def odd(n: int) -> None:
        even(n + 1)

    with pytest.raises(RecursionError) as caught:
        even(0)
    failure = describe(caught.value, codec)
    assert failure.type == "builtins:RecursionError"
    assert len(failure.traceback) < MAX_TEXT + 100
    assert "frames left out" in failure.traceback


def test_describing_at_the_end_of_the_stack_does_not_raise() -> None:
    described: list[Failure] = []

    def down() -> None:
        try:
            down()
        except RecursionError as error:
            if len(described) < 5:
                described.append(describe(error, codec))
            raise

    with pytest.raises(RecursionError):
        down()
    assert {failure.type for failure in described} == {"builtins:RecursionError"}


def test_a_failed_step_of_an_unknown_type_keeps_its_data_when_it_fails_the_workflow() -> None:
    unknown = again(Declined(5, detail="x"), no)
    assert isinstance(unknown, errors.StepFailed)
    twice = again(raised(unknown), no)
    assert isinstance(twice, errors.StepFailed)
    assert twice.error == unknown.error or (twice.error is not None and twice.error.message == "declined with 5")
    failed = again(errors.WorkflowFailed("w", workflow_id="1", error=unknown.error))
    assert isinstance(failed, errors.WorkflowFailed)
    assert failed.workflow_id == "1"
    assert failed.error is not None
    assert failed.error.attributes is not None
    assert json.loads(bytes(failed.error.attributes)) == {"code": 5, "detail": "x"}


def test_the_module_does_not_import_what_it_may_not() -> None:
    assert "antigravity" not in sys.modules
    rebuild(Failure(type="antigravity:Error", message=""), codec, may_import=no)
    assert "antigravity" not in sys.modules


def test_arguments_and_attributes_are_bounded_and_the_error_is_not_hidden() -> None:
    error = ValueError("x" * 10_000_000)
    error.small, error.large = "y", "z" * 10_000_000  # type: ignore[attr-defined]
    failure = describe(error, codec)
    assert len(msgspec.json.encode(failure)) < MAX_TEXT + 1000
    back = again(error)
    assert type(back) is ValueError
    assert vars(back) == {"small": "y"}
    group = again(ExceptionGroup("many", [ValueError(number) for number in range(MAX_PARTS + 5)]))
    assert isinstance(group, ExceptionGroup)
    assert len(group.exceptions) == MAX_PARTS + 1
    assert str(group.exceptions[-1]) == "5 more exceptions left out"


def test_a_class_whose_attributes_cannot_be_asked_for_without_its_init_comes_back() -> None:
    error = raised(urllib.error.HTTPError("url", 404, "Not Found", {}, None))  # type: ignore[arg-type]
    back = again(error)
    assert isinstance(back, urllib.error.HTTPError)
    assert (str(back), back.code) == ("HTTP Error 404: Not Found", 404)
    assert back.__notes__[0].startswith("Recorded traceback:")


class Answered(Exception):
    """Its message is made of what has no encoding."""

    def __init__(self, response: object) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"answered {vars(self)['response'].status}"


def test_a_message_that_can_no_longer_be_made_is_kept_as_the_argument() -> None:
    class Response:
        status = 503

    back = again(Answered(Response()))
    assert type(back) is Answered
    assert back.args == ("answered 503",)
    assert describe(back, codec).message == "answered 503 <no message: its __str__ raised KeyError>"
    assert describe(again(back), codec).message == "answered 503 <no message: its __str__ raised KeyError>"


def test_slots_come_back_also_where_they_hold_none() -> None:
    slotted = Slotted("x")
    slotted.reason = None
    assert again(slotted).reason is None  # type: ignore[attr-defined]
    assert not hasattr(again(Slotted("x")), "reason")


MAIN = """
import asyncio
from everlog import Engine, step, workflow

class Gone(Exception):
    def __init__(self, item, *, left):
        super().__init__(item)
        self.left = left

@step
async def take():
    raise Gone("cup", left=[1])

@workflow
async def shop():
    try:
        await take()
    except Gone as error:
        return f"{error} {error.left}"

async def main():
    async with Engine("memory://") as engine:
        print(await engine.run(shop))

asyncio.run(main())
"""


def test_an_exception_of_the_program_itself_comes_back() -> None:
    done = subprocess.run([sys.executable, "-c", MAIN], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "cup [1]\n"


class Abort(BaseException):
    """Is caught by no `except Exception`."""


def test_a_step_that_raises_no_exception_but_a_base_exception_has_failed() -> None:
    async def on_the_loop() -> None:
        raise Abort("now")

    def in_a_thread() -> None:
        raise Abort("now")

    steps = [step(on_the_loop), step(in_a_thread)]

    async def aborts() -> list[str]:
        told: list[str] = []
        for one in steps:
            try:
                await call(one)
            except Abort as error:
                told.append(str(error))
        return told

    flow = workflow(aborts)

    async def program(engine: Engine) -> list[str]:
        return await engine.run(flow)

    assert run(program, workflows=[flow]) == ["now", "now"]
