"""The loop: an asyncio event loop whose only wake-ups are facts of the log. No clock, no I/O, no threads of its own.

A *drain* runs everything that is ready until nothing is, or until only the same callbacks keep coming back (polling
with `sleep(0)`, anyio's repeated cancellation): those wait for the next fact. Outside a drain, and from another
thread, the loop accepts nothing: whatever woke it would be a wake-up that no row of the log explains.
Time is the log's: the time of the fact that is being delivered, in integer microseconds.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from itertools import count
from threading import get_ident
from typing import Any, Final, NoReturn, Protocol, TypeVar, TypeVarTuple
from zlib import crc32

from msgspec import Struct

from everlog.core.durations import LONGEST
from everlog.errors import WrongContext
from everlog.replay.branches import Branch, TaskBranch
from everlog.replay.budgets import Interrupted, drain_within_budget
from everlog.replay.collector import collecting, refuse_in_collector
from everlog.replay.divergence import TornDown
from everlog.replay.generators import GeneratorsHeld, are_held
from everlog.replay.stdlib import adapt_libraries
from everlog.replay.tasks import WorkflowFuture, WorkflowTask

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Callback = Callable[..., object]

REPEATS: Final = 1000
"""So many rounds in a row with known callbacks only, and nothing asked for, end a drain. Part of the log's format."""
MOST_ROUNDS: Final = 20_000
"""So many rounds in a row with nothing asked for end any drain: also one where no fact is awaited. Likewise."""

_branch: contextvars.ContextVar[TaskBranch | None] = contextvars.ContextVar("everlog_branch", default=None)


class Handle(Struct, eq=False):
    """A callback that was called for; `cancel` takes it back."""

    callback: Callback
    args: tuple[Any, ...]
    context: contextvars.Context
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Take the callback back."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Tell whether the callback was taken back."""
        return self.is_cancelled


class TimerHandle(Handle, eq=False, kw_only=True):
    """A callback at a time of the log; `cancel` also cancels the timer that waits for it."""

    at: float
    on_cancel: Callable[[], None] | None = None

    def when(self) -> float:
        """Give the time, in seconds of `loop.time()`."""
        return self.at

    def cancel(self) -> None:
        """Take the callback back, and the timer with it."""
        self.is_cancelled = True
        on_cancel, self.on_cancel = self.on_cancel, None
        if on_cancel is not None:
            on_cancel()


class LoopOwner(Protocol):
    """What the loop asks of the workflow that it runs."""

    workflow_id: str

    def awaits_facts(self) -> bool:
        """Tell whether anything is open that a fact will end."""
        ...

    def set_timer(self, due_at: int, handle: TimerHandle) -> None:
        """Open a timer operation that makes the handle ready when it fires."""
        ...

    def call_in_thread(self, function: Callback, args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        """Give the operation for a function that was handed to an executor, or refuse it."""
        ...

    def was_touched(self, why: str) -> None:
        """Take note that something outside changed what the workflow waits for, which its history does not explain."""
        ...

    def report(self, context: dict[str, Any]) -> None:
        """Take note of an exception that no code of the workflow can see."""
        ...


class WorkflowLoop(asyncio.AbstractEventLoop):
    """The event loop of one workflow."""

    def __init__(self, owner: LoopOwner, *, seed: str = "") -> None:
        self._owner = owner
        self.salt = crc32(seed.encode()) << 16
        """Added to the hashes of tasks: asyncio holds those of all loops in one set. The same in every replay."""
        self._ready: deque[Handle] = deque()
        self.next_number: Final[Callable[[], int]] = count(1).__next__
        """Draws the next creation number of a future or a generator."""
        self._task_number = 0
        self._thread: int | None = None
        # For `budgets`: which thread drains it, the number of that drain, whether it is interrupted, and whether it
        # may be, which is not so where the code runs on threads of its own.
        self.drained_by: int | None = None
        self.drain_number = 0
        self.interrupted = False
        self.interruptible = True
        self._context = contextvars.Context()  # empty: that of whoever drives the engine is not in the log
        self._generators: dict[int, Any] = {}
        self._tasks: dict[int, WorkflowTask[Any]] = {}
        self._prune_at = 64
        self._exception_handler: Callable[..., object] | None = None
        self.log_time = 0
        self.progress = 0
        self.root = Branch()

    # -- what asyncio calls ------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Give log time in seconds."""
        return self.log_time / 1_000_000

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Any:
        """Run the callback later in this drain."""
        if self._thread != get_ident():
            self._refuse_foreign(callback)
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Any:
        """Run the callback later in this drain; refused from any other thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Any:
        """Run the callback when `delay` seconds of log time are over: a durable timer."""
        return self._call_when(self.log_time + _rounded(delay * 1_000_000), callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Any:
        """Run the callback at this time of the log: a durable timer."""
        return self._call_when(_rounded(when * 1_000_000), callback, args, context)

    def create_future(self) -> asyncio.Future[Any]:
        """Give a future that hashes by its creation number."""
        return WorkflowFuture(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: object | None = None,
        context: contextvars.Context | None = None,
        **eager: Any,
    ) -> Any:
        """Start a task in a branch of its own."""
        if eager.get("eager_start"):
            raise WrongContext(f"{self.name()}: eager tasks are not supported in a workflow; leave eager_start out")
        if self._thread != get_ident():
            self._refuse_foreign(coro)
        inner = contextvars.copy_context() if context is None else context
        task: WorkflowTask[Any] = WorkflowTask(
            coro, loop=self, parent=self.branch(), name=None if name is None else str(name), context=inner
        )
        if context is None:
            inner.run(_branch.set, task.own_branch)
        self.progress += 1
        self._tasks[task.number] = task
        if len(self._tasks) > self._prune_at:
            self._tasks = {number: task for number, task in self._tasks.items() if not task.done()}
            self._prune_at = 2 * len(self._tasks) + 64
        return task

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> Any:
        """Run a plain step: what `asyncio.to_thread` comes down to. Anything else is refused."""
        if executor is not None:
            raise WrongContext(
                f"{self.name()}: an executor of one's own does not survive a restart; "
                "make the function a step and await everlog.call(step, ...)"
            )
        return self.create_task(self._owner.call_in_thread(func, args))

    def is_running(self) -> bool:
        """Tell whether the loop is being drained."""
        return self._thread is not None

    def is_closed(self) -> bool:
        """A workflow loop is never closed: it is dropped."""
        return False

    def get_debug(self) -> bool:
        """Debug mode would read clocks."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Do nothing: debug mode would read clocks."""

    def set_exception_handler(self, handler: Callable[..., object] | None) -> None:
        """Have exceptions that no code can see given to `handler(loop, context)`."""
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        """Give the handler that was set."""
        return self._exception_handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Have the exception logged, unless the workflow is being replayed."""
        self._owner.report(context)

    def get_task_factory(self) -> Any:
        """Tasks are made by the loop itself."""
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an exception that no code can see.

        One that nobody retrieved is noticed when the collector comes by, so the code's own handler is not told of it.
        """
        collected = any(words in str(context.get("message")) for words in ("never retrieved", "was destroyed"))
        if self._exception_handler is None or self._thread is None or collected:
            self._owner.report(context)
        else:
            self._exception_handler(self, context)

    # -- what the runtime calls --------------------------------------------------------------------------------------

    def name(self) -> str:
        """Give the name of the workflow, for a person."""
        return f"workflow {self._owner.workflow_id!r}"

    def code_thread(self) -> int | None:
        """Give the thread in which the code of the workflow runs now."""
        return self._thread

    def next_task_number(self) -> int:
        """Draw the next creation number of a task: apart, as versions of asyncio differ in the futures they make."""
        self._task_number += 1
        return self._task_number

    def branch(self) -> Branch:
        """Give the branch of the code that is running: of its task, or of the task that registered the callback."""
        if collecting.now:
            refuse_in_collector()
        task = asyncio.current_task(self)
        if isinstance(task, WorkflowTask):
            return task.own_branch.innermost
        registered = _branch.get()
        return self.root if registered is None else registered.innermost

    def drain(self, first: Callable[[], object] | None = None) -> None:
        """Run `first`, then all that is ready, as the running loop of this thread."""
        if not are_held():
            with GeneratorsHeld():
                self.drain(first)
            return
        outer = events._get_running_loop()
        events._set_running_loop(self)
        self._thread = thread = get_ident()
        adapt_libraries()
        try:
            drain_within_budget(self, thread, self._run_rounds, first)
        except Interrupted:
            pass  # its workflow was told that it is stuck
        finally:
            self._thread = None
            events._set_running_loop(outer)

    def run_on(self, thread: int) -> None:
        """Have the running drain go on in another thread, while this one stands still."""
        self._thread = thread

    def let_go(self) -> None:
        """Forget the workflow, which has ended here, so that it need not wait for the garbage collector."""
        self._owner = _Gone(self._owner.workflow_id)
        self._tasks.clear()

    def was_interrupted(self, why: str) -> None:
        """Take note that a drain is being interrupted, so that the workflow is stuck."""
        self.interrupted = True
        self._owner.was_touched(why)

    def make_ready(self, handle: TimerHandle) -> None:
        """Put a handle that waited for a timer among the ready ones."""
        handle.on_cancel = None
        self._ready.append(handle)

    def ready_length(self) -> int:
        """Give how many callbacks are ready."""
        return len(self._ready)

    def take_ready(self, after: int, name: str) -> list[Handle]:
        """Take back the ready handles of the callbacks of this qualified name, save the first `after` of all."""
        ready = list(self._ready)
        taken = [handle for handle in ready[after:] if getattr(handle.callback, "__qualname__", "") == name]
        self._ready.clear()
        self._ready.extend(handle for handle in ready if handle not in taken)
        return taken

    def has_ready(self) -> bool:
        """Tell whether callbacks were left over by a drain that only repeated itself."""
        return bool(self._ready)

    def unfinished_tasks(self) -> list[WorkflowTask[Any]]:
        """Give the tasks that are not done, oldest first."""
        return [task for task in self._tasks.values() if not task.done()]

    def open_generators(self) -> list[Any]:
        """Give the async generators that were begun and not finished, oldest first. They are held until they are."""
        self._generators = {number: held for number, held in self._generators.items() if held.ag_frame is not None}
        return list(self._generators.values())

    # -- inside ------------------------------------------------------------------------------------------------------

    def _run_rounds(self, first: Callable[[], object] | None) -> None:
        if first is not None:
            self._context.run(first)
        ready = self._ready
        rounds = repeats = 0
        known: dict[int, object] = {}
        while ready and not self.interrupted:
            progress = self.progress
            handles = list(ready)
            ready.clear()
            for handle in handles:
                if not handle.is_cancelled:
                    try:
                        handle.context.run(handle.callback, *handle.args)
                    except BaseException as error:  # noqa: BLE001 - it must not end the drain for the others
                        self._report_from(handle, error)
            if self.progress != progress:
                if rounds:
                    rounds = repeats = 0
                    known.clear()
                continue
            before = len(known)
            for handle in handles:
                owner = _owner_of(handle.callback)
                known[id(owner)] = owner  # held, so that no other object gets its address
            rounds += 1
            repeats = repeats + 1 if len(known) == before else 0
            if rounds >= MOST_ROUNDS or (repeats >= REPEATS and self._owner.awaits_facts()):
                return

    def _report_from(self, handle: Handle, error: BaseException) -> None:
        if not isinstance(error, SystemExit | KeyboardInterrupt):
            self.call_exception_handler({"message": f"Exception in callback {handle.callback!r}", "exception": error})
        # A task that asks to exit has that as its outcome, and the engine's thread goes on.
        elif not isinstance(getattr(handle.callback, "__self__", None), WorkflowTask):
            self.call_exception_handler({"message": f"{handle.callback!r} asked to exit", "exception": error})

    def _call_when(
        self, due_at: float, callback: Callback, args: tuple[Any, ...], context: contextvars.Context | None
    ) -> TimerHandle:
        if self._thread != get_ident():
            self._refuse_foreign(callback)
        if context is None:
            context = contextvars.copy_context()
        handle = TimerHandle(callback, args, context, at=due_at / 1_000_000)
        if due_at <= self.log_time:
            self._ready.append(handle)
        elif due_at - self.log_time <= LONGEST:  # what is further off never rings, as with an infinite delay
            self._owner.set_timer(int(due_at), handle)
        return handle

    def hold_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Hold an async generator that was begun, so that the collector never finds it."""
        if len(self._generators) >= self._prune_at:
            self._generators = {number: held for number, held in self._generators.items() if held.ag_frame is not None}
            self._prune_at = 2 * len(self._generators) + 64
        self._generators[self.next_number()] = generator

    def _refuse_foreign(self, what: object) -> NoReturn:
        why = (
            f"{self.name()} was to be woken by something that is not in its log: {what!r}. An asyncio primitive "
            "(Event, Lock, Queue, Future, ...) is shared with another workflow, a step or another thread; "
            "create it inside the workflow, and wait for others with everlog.recv"
        )
        self._owner.was_touched(why)
        raise WrongContext(why)


def _rounded(time: float) -> float:
    return time if math.isinf(time) else round(time)


class _Gone:
    """Stands for a workflow that has left the memory of this process."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id

    def set_timer(self, due_at: int, handle: TimerHandle) -> None:
        raise TornDown

    def call_in_thread(self, function: Callback, args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        raise TornDown

    def awaits_facts(self) -> bool:
        return False

    def was_touched(self, why: str) -> None:
        pass

    def report(self, context: dict[str, Any]) -> None:
        pass


def _owner_of(callback: Callback) -> object:
    """Give what comes back when the callback is called for again: its task or other object, or its code."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner: object = getattr(callback, "__self__", None)
    return owner if owner is not None else getattr(callback, "__code__", callback)


def _refusal(name: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(self: WorkflowLoop, *args: object, **kwargs: object) -> NoReturn:
        raise WrongContext(f"{self.name()}: loop.{name} cannot be replayed; {advice}")

    return refuse


_IN_A_STEP: Final = "do it in a step"
for _name in [
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "start_tls",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "sendfile",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_shell",
    "subprocess_exec",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
    "add_signal_handler",
    "remove_signal_handler",
]:
    setattr(WorkflowLoop, _name, _refusal(_name, _IN_A_STEP))
for _name in [
    "run_forever",
    "run_until_complete",
    "stop",
    "close",
    "shutdown_asyncgens",
    "shutdown_default_executor",
    "set_default_executor",
    "set_task_factory",
]:
    setattr(WorkflowLoop, _name, _refusal(_name, "the loop of a workflow belongs to the engine"))
# The methods set by name above are no longer abstract, which only ABCMeta may say.
WorkflowLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
