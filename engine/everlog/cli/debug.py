"""`everlog debug`: pdb where the code of a workflow stands at an event of its history, and on from there.

Between two events the code is suspended: then the debugger shows the stack of one of its tasks, which nobody runs. An
event that is applied runs the code on, traced by the debugger where it was asked to stop at a line. It is a replay, so
nothing is recorded and no step runs; going back replays anew.
"""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from inspect import currentframe
from threading import Thread
from types import FrameType, TracebackType
from typing import Any, Final, TextIO

from msgspec import structs

from everlog.cli.text import cut, width
from everlog.core.codec import Codec
from everlog.core.event_codec import type_of
from everlog.core.log_lines import Exported
from everlog.errors import UsageError
from everlog.host import Job
from everlog.replay.places import is_of_users
from everlog.replay.tasks import WorkflowTask
from everlog.runtime.code_state import CodeState, code_state
from everlog.runtime.replaying import Replay, decoded, known_workflows, replay_environment
from everlog.runtime.stacks import stack_of, waits_for
from everlog.runtime.verdicts import told_event

_HELP: Final = (
    "event [SEQ] (ev): on to the next event, or to that one, back or forth; tasks, task N: the tasks, one of them;\n"
    "pending: what is open; step, next, until, continue, break: run the code on as in pdb, from event to event; quit"
)


def debug(
    history: Exported,
    at: int | None,
    *,
    codec: Codec | None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
) -> None:
    """Debug the code of a workflow from the event `at` on, by default from the end of its history."""
    debugger = EventDebugger(history, at, codec=codec, stdin=stdin, stdout=stdout)
    try:
        debugger.debug()
    finally:
        debugger.close()


def debug_with_breakpoint(history: Exported, at: int | None, *, codec: Codec | None) -> None:
    """Replay the history in plain Python and call `breakpoint()` once the event `at` was applied; then go on."""
    with _open(history, at, codec) as replay:
        while replay.next_row() is not None:
            if replay.seq == at:
                _stop(replay, code_state(replay))
            replay.advance()
        if at is None or replay.stuck is not None or replay.seq == at:
            _stop(replay, code_state(replay))


def _stop(replay: Replay, state: CodeState) -> None:
    """Stop where both can be looked at."""
    breakpoint()  # what this is for; the code goes on within `replay.advance()`


def _open(
    history: Exported, at: int | None, codec: Codec | None, run_strand: Callable[[Job], None] | None = None
) -> Replay:
    environment = replay_environment(codec)
    if run_strand is not None:
        environment = structs.replace(environment, run_strand=run_strand)
    return Replay(history.workflow_id, decoded(history), known_workflows(), environment, at=at)


class EventDebugger(pdb.Pdb):
    """Pdb on a replay."""

    def __init__(
        self,
        history: Exported,
        at: int | None,
        *,
        codec: Codec | None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
    ) -> None:
        ours = ["everlog", "everlog.*", "asyncio", "asyncio.*", "contextvars", "threading", "concurrent.*", "bdb"]
        super().__init__(stdin=stdin, stdout=stdout, skip=ours, nosigint=True)
        if stdin is not None:
            self.use_rawinput = False
        self.prompt = "(everlog) "
        self.reset()
        self.botframe = currentframe()  # below it pdb never stops
        self._history, self._codec = history, codec
        self._at = at
        self._replay = self._opened(at)
        self._task: WorkflowTask[Any] | None = None
        self._is_suspended = False
        self._told: int | None = None
        self._wanted: int | None = None
        """The event to stop at; None: stop at the line that pdb was told of."""
        self._quits = False

    def close(self) -> None:
        """Drop the code."""
        sys.settrace(None)
        self._replay.close()

    # -- from event to event -----------------------------------------------------------------------------------------

    def debug(self) -> None:
        """Let the person go on until they quit."""
        self.message(_HELP)
        self._wanted = self._replay.rows[-1][0] if self._at is None else self._at
        self._go()
        while not self._quits:
            self._show()
            self._go()

    def _go(self) -> None:
        """Apply events up to the one that is wanted; with none wanted, until the end, stopping at lines."""
        if self._wanted is not None and not self._leads_to(self._wanted):
            self._replay.close()
            self._replay = self._opened(self._wanted)
        while not self._quits:
            if self._wanted is not None:
                sys.settrace(None)
                if self._replay.seq >= self._wanted or not self._replay.advance():
                    return
            elif not self._advance_traced():
                return

    def _leads_to(self, seq: int) -> bool:
        """Tell whether the event is still to come in this replay: not where it is over, of another life, or void."""
        return self._replay.seq <= seq and any(number == seq for number, _, _ in self._replay.rows)

    def _advance_traced(self) -> bool:
        """Apply the next event while pdb looks for the line to stop at."""
        self.botframe = currentframe()
        sys.settrace(self.trace_dispatch)
        try:
            return self._replay.advance()
        finally:
            sys.settrace(None)

    def _opened(self, at: int | None) -> Replay:
        return _open(self._history, at, self._codec, self._run_strand)

    def _run_strand(self, run: Job) -> None:
        """Run blocking code in a thread of its own that is traced as this one is."""

        def traced() -> None:
            sys.settrace(self._trace_strand)
            after = run()
            sys.settrace(None)
            if after is not None:
                after()

        Thread(target=traced, name="everlog-debug", daemon=True).start()

    def _trace_strand(self, frame: FrameType, event: str, arg: Any) -> Any:
        return None if self._wanted is not None else self.trace_dispatch(frame, event, arg)

    # -- while the code is suspended ---------------------------------------------------------------------------------

    def _tell_event(self) -> None:
        """Say which event was applied last, unless that was said."""
        replay = self._replay
        if self._told != replay.seq:
            self._told = replay.seq
            event = next((event for seq, _, event in replay.rows if seq == replay.seq), None)
            told = "before the first" if event is None else told_event(event)
            self.message(cut(f"--- event {replay.seq} of {replay.rows[-1][0]}: {told}", width()))

    def _show(self) -> None:
        """Let the person look at the suspended code, and say what comes next."""
        replay = self._replay
        self._tell_event()
        if replay.stuck is not None:
            self.message(f"the code that is here cannot go on: {replay.stuck.why}")
        elif replay.next_row() is None:
            outcome = replay.execution.outcome
            self.message("the history ends here" + ("" if outcome is None else f"; the code ended: {type_of(outcome)}"))
        tasks = replay.execution.loop.unfinished_tasks()
        standing = [task for task in tasks if stack_of(replay.execution, task)]
        self._task = self._task if self._task in standing else next(iter(standing), None)
        self._wanted = None
        self._is_suspended = True
        try:
            if self._task is not None:
                for frame in [frame for task in standing for frame in stack_of(replay.execution, task)]:
                    frame.f_trace = self.trace_dispatch  # so that the line at which it goes on is seen
                self.interaction(stack_of(replay.execution, self._task)[-1], None)
            else:
                self.message("no code of yours stands anywhere now")
                self.interaction(currentframe(), None)
        finally:
            self._is_suspended = False

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """Give the stack that commands are about: of the task that is looked at, where the code is suspended."""
        if self._is_suspended:
            execution = self._replay.execution
            frames = [] if self._task is None else stack_of(execution, self._task)
            here = currentframe()
            if not frames and here is not None:
                frames = [here]
            return [(one, one.f_lineno) for one in frames], len(frames) - 1
        stack, index = super().get_stack(f, t)
        users = [one for one in stack if is_of_users(one[0])]
        return (users, len(users) - 1) if users else (stack, index)

    # -- commands ----------------------------------------------------------------------------------------------------

    def do_event(self, arg: str) -> bool:
        """event [SEQ]

        Go on to the next event, or to that one, back or forth.
        """
        replay = self._replay
        following = replay.next_row()
        if not arg.strip():
            if following is None and self._is_suspended:
                self.error("the history ends here; `event SEQ` goes back, `quit` ends")
                return False
            self._wanted = replay.seq if following is None or not self._is_suspended else following[0]
        else:
            try:
                self._check_event(int(arg))
            except (ValueError, UsageError) as error:
                self.error(f"{arg.strip()!r} is no event of this history: {error}")
                return False
            self._wanted = int(arg)
        self.set_continue()
        return True

    do_ev = do_event

    def _check_event(self, seq: int) -> None:
        self._opened(seq).close()

    def do_tasks(self, arg: str) -> None:
        """tasks

        List the tasks of the workflow that are not done.
        """
        execution = self._replay.execution
        for task in execution.loop.unfinished_tasks():
            mark = "->" if task is self._task else "  "
            waits = waits_for(execution, task)
            self.message(f"{mark} {task.number} {task.get_name()}" + (f", waits for {waits}" if waits else ""))

    def do_task(self, arg: str) -> bool:
        """task N

        Look at the stack of that task.
        """
        tasks = {str(task.number): task for task in self._replay.execution.loop.unfinished_tasks()}
        task = tasks.get(arg.strip())
        if task is None or not stack_of(self._replay.execution, task):
            self.error(f"there is no task {arg.strip()!r} with code of yours; `tasks` lists those that there are")
        elif not self._is_suspended:
            self.error("the code is running; `event` goes on to where it is suspended")
        else:
            self._task = task
            self.setup(stack_of(self._replay.execution, task)[-1], None)
            self.print_stack_entry(self.stack[self.curindex])
        return False

    def do_pending(self, arg: str) -> None:
        """pending

        List what the code has asked for and not had yet.
        """
        for one in code_state(self._replay).pending:
            self.message(f"{one.operation}: {one.what}" + (f" at {one.place}" if one.place else ""))

    def do_quit(self, arg: str) -> bool:
        """quit

        End the debugger. Nothing was recorded.
        """
        self._quits = True
        self.set_continue()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool:  # noqa: N802 - pdb finds it by this name
        """End the debugger where the input ends."""
        self.message("")
        return self.do_quit(arg)

    # -- as pdb would, but for our own frames ------------------------------------------------------------------------

    def interaction(self, frame: Any, *rest: Any, **named: Any) -> None:
        """Let the person look, and say first which event it is."""
        self._tell_event()
        super().interaction(frame, *rest, **named)

    def set_continue(self) -> None:
        """Go on without stopping, but at breakpoints."""
        self.stopframe, self.returnframe, self.stoplineno, self.quitting = self.botframe, None, -1, False
