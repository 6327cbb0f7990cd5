"""Explored checks: what has to hold of every run that is explored. They run nothing but replays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from everlog.core.event_codec import decode_event
from everlog.core.events import (
    AnyEvent,
    MessageSent,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepStarted,
    WorkflowFailed,
    WorkflowRewound,
)
from everlog.core.log_lines import Exported
from everlog.core.rewinding import Lived
from everlog.errors import WorkflowCancelled, WrongContext
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import Verdict, verdict_of
from everlog.testing.explored_failures import ExplorationFailed
from everlog.testing.explored_runs import ExploredRun
from everlog.testing.hash_seeds import other_process, place_of

Invariant = Callable[[ExploredRun], object]
REFUSED: Final = f"{WrongContext.__module__}:{WrongContext.__qualname__}"


class Checks:
    """What is insisted on, in the order in which it says most about what is wrong."""

    def __init__(
        self,
        name: str,
        *,
        invariant: Invariant | None,
        may_raise: tuple[type[Exception], ...],
        same: bool,
        seeds: Sequence[int],
        begin_anew: Callable[[], None],
    ) -> None:
        self._name = name
        self._invariant = invariant
        self._may_raise = may_raise
        self._same = same
        self._seeds = seeds
        self._begin_anew = begin_anew
        """Has the modules of the user as they were at first."""
        self._environment = replay_environment()
        self._definitions = known_workflows()

    def check(self, run: ExploredRun, calm: ExploredRun | None) -> None:
        """Raise `ExplorationFailed` where a run is wrong in itself, or came to something else than the calm one."""
        broken = self._broken(run)  # first, since replays run code of workflows, which may change what it looks at
        self._check_replays(run)
        if run.repeated and not any(map(was_rewound, run.histories.values())):
            what = f"a step whose end was recorded is run again: {', '.join(run.repeated)}; that is a defect of Everlog"
            raise self._failed(what, run)
        if run.never_awaited:
            raise self._failed(
                f"{self._name} calls what it never awaits, so that it is not run: {'; '.join(run.never_awaited)}", run
            )
        if run.endless:
            what = f"{self._name} has not ended after ten years: is it a message that nobody sends? (see drive=)"
            raise self._failed(what, run, details=[f"{one} is {state}" for one, state in run.states.items()])
        self._check_error(run)
        if broken is not None:
            told = f": {broken}" if str(broken) else ""
            raise self._failed(f"the invariant does not hold{told}", run) from broken
        if self._same and calm is not None:
            self._check_same(run, calm)

    # -- one run -------------------------------------------------------------------------------------------------------

    def _broken(self, run: ExploredRun) -> Exception | None:
        if self._invariant is None or run.endless or run.stuck is not None:
            return None
        try:
            holds = self._invariant(run)
        except Exception as error:  # noqa: BLE001 - it is the user's, who says so by any of them
            return error
        return AssertionError("it gave False") if holds is False else None

    def _check_error(self, run: ExploredRun) -> None:
        error = run.error
        if error is None or isinstance(error, (WorkflowCancelled, *self._may_raise)):
            return
        refused = [failed for failed in self._failures(run) if failed.error.type == REFUSED]
        if refused:
            raise self._failed(refused[0].error.message, run) from error
        trace = [line for failed in self._failures(run) for line in failed.error.traceback.splitlines()]
        what = f"{self._name} raises {type(error).__name__}: {error}; if it may, say may_raise={type(error).__name__}"
        raise self._failed(what, run, details=trace) from error

    def _failures(self, run: ExploredRun) -> list[WorkflowFailed]:
        return [last for *_, last in map(_events, run.histories.values()) if isinstance(last, WorkflowFailed)]

    # -- replays -------------------------------------------------------------------------------------------------------

    def _check_replays(self, run: ExploredRun) -> None:
        for history in run.histories.values():
            verdict = self._replayed_here(history)
            if not verdict.is_clean:
                when = "after a crash" if run.stuck is not None else "when it is replayed in the same process"
                raise self._differs(run, verdict, when)
        if run.stuck is not None:
            what = f"{self._name} is stuck after a crash"
            raise self._failed(what, run, details=(run.stuck.why or "").splitlines())
        if self._seeds:
            for seed in self._seeds:
                self._check_elsewhere(run, seed)
            return
        self._begin_anew()
        for history in run.histories.values():
            verdict = self._replayed_here(history)
            if not verdict.is_clean:
                raise self._differs(run, verdict, "when its modules are as after their import")

    def _check_elsewhere(self, run: ExploredRun, seed: int) -> None:
        for history in run.histories.values():
            definition = self._definitions.get(history.name)
            if definition is None:  # a step that was started by itself
                continue
            verdict = other_process(seed).replay(history, [place_of(definition)])
            if not verdict.is_clean:
                raise self._differs(run, verdict, f"in another process, with PYTHONHASHSEED={seed}")

    def _replayed_here(self, history: Exported) -> Verdict:
        return verdict_of(history, self._definitions, self._environment)

    def _differs(self, run: ExploredRun, verdict: Verdict, when: str) -> ExplorationFailed:
        return self._failed(f"{verdict.name} does not do the same again {when}", run, verdict=verdict)

    # -- beside the calm run -------------------------------------------------------------------------------------------

    def _check_same(self, run: ExploredRun, calm: ExploredRun) -> None:
        told, expected = _told_outcome(run), _told_outcome(calm)
        if told != expected and not _is_equal(run, calm):
            raise self._failed(
                f"{self._name} comes to something else than undisturbed; if it may, say same=False",
                run,
                details=[f"undisturbed  it {expected}", f"here         it {told}"],
            )
        done, before = _done(run), _done(calm)
        if done != before:
            differing = sorted({*done, *before} - {one for one in done if done[one] == before[one]})
            raise self._failed(
                f"{self._name} does something else than undisturbed; if it may, say same=False",
                run,
                details=[f"{one}: undisturbed {before[one]}, here {done[one]}" for one in differing],
            )

    def _failed(
        self, what: str, run: ExploredRun, *, details: Sequence[str] = (), verdict: Verdict | None = None
    ) -> ExplorationFailed:
        return ExplorationFailed(what, run, self._name, details=details, verdict=verdict)


def _told_outcome(run: ExploredRun) -> str:
    if run.error is not None:
        return f"raises {type(run.error).__name__}: {run.error}"
    return f"returns {run.result!r}"


def _is_equal(run: ExploredRun, calm: ExploredRun) -> bool:
    """Tell whether both returned, and the same; what is equal need not be written alike."""
    return run.error is None and calm.error is None and bool(run.result == calm.result)


def _events(history: Exported) -> list[AnyEvent]:
    return [decode_event(payload) for _, _, payload in history.rows]


def _done(run: ExploredRun) -> Counter[str]:
    """Count what was done, by what it is and how it ended; not by its inputs, which may have times and ids in them."""
    done: Counter[str] = Counter()
    for workflow_id, history in run.histories.items():
        done[f"workflow {history.name} {run.states[workflow_id]}"] += 1
        done.update(_done_in(history))
    return done


def _done_in(history: Exported) -> Iterator[str]:
    names: dict[str, str] = {}
    rows = [(seq, at, decode_event(payload)) for seq, at, payload in history.rows]
    for _, _, event in Lived(rows).rows:
        if isinstance(event, StepStarted):
            names[event.operation] = event.step
        elif isinstance(event, StepCompleted):
            yield f"step {event.step} completed"
        elif isinstance(event, StepFailed):
            yield f"step {event.step} failed"
        elif isinstance(event, StepCancelled):
            yield f"step {names.get(event.operation, event.operation)} cancelled"
        elif isinstance(event, MessageSent) and not event.control:
            yield f"message on {event.topic} sent"


def was_rewound(history: Exported) -> bool:
    """Tell whether a part of the history is void, so that its steps were run again on purpose."""
    return any(isinstance(event, WorkflowRewound) for event in _events(history))
