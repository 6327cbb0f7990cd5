"""Exploring: Hypothesis looks for an input, a crash and an order of steps with which a workflow goes wrong.

def test_checkout() -> None:
    explore(checkout, inputs=st.builds(Order), invariant=lambda run: run.times(charge) <= 2)
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from everlog.core.durations import SECOND, Duration, microseconds
from everlog.errors import EverlogError, UsageError
from everlog.replay.definition import Definition
from everlog.replay.definitions import AnyStep, AnyWorkflow
from everlog.replay.queues import Queue
from everlog.replay.registry import registered_workflows
from everlog.runtime.portal import refuse_where_nobody_may_block
from everlog.testing import hash_seeds as other_seeds
from everlog.testing.calls import watch_calls
from everlog.testing.disturbances import RANKS, Choices, Disturbance, When
from everlog.testing.explored_checks import Checks, Invariant
from everlog.testing.explored_failures import ExplorationFailed
from everlog.testing.explored_runs import Drive, ExploredRun, Living, Program
from everlog.testing.module_state import ModuleState

Inputs = st.SearchStrategy[Any] | Sequence[st.SearchStrategy[Any]] | Mapping[str, st.SearchStrategy[Any]]
Failures = Mapping[AnyStep[..., Any], Exception | Sequence[Exception]]
OTHER_SEEDS: Final = (4711,)
MOST_CHOICES: Final = 24
"""So many attempts of one run may be slow, and as many may fail."""
MOST_CRASHES: Final = 2
SELDOM: Final = 9
"""Of so many examples and one more, one crashes at each commit in turn."""
UNHEALTHY: Final = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
"""What is usual where each example is several runs of a workflow."""
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
"""All but the one that runs everything again to explain it, line by line: the failure explains itself."""


def explore(  # long: it has as many options
    workflow: AnyWorkflow[..., Any] | Program,
    /,
    *,
    inputs: Inputs | None = None,
    invariant: Invariant | None = None,
    drive: Drive | None = None,
    may_raise: type[Exception] | tuple[type[Exception], ...] = (),
    same: bool | None = None,
    failures: Failures | None = None,
    crashes: Literal["some", "each", "none"] = "some",
    slowest: Duration = 1,
    hash_seeds: Sequence[int] = OTHER_SEEDS,
    examples: int | None = None,
    queues: Sequence[Queue | str] | None = None,
    before: Callable[[], object] | None = None,
    disturbance: Disturbance | None = None,
) -> None:
    """Run a workflow again and again, in memory and in virtual time; `ExplorationFailed` if it goes wrong somehow.

    Each example draws an input, and runs the workflow undisturbed; then through crashes, each of which ends its process
    before or after some commit so that another one goes on, and with steps that begin late. Of each run it insists that

    - every history replays clean, here and in processes with other orders of sets (`hash_seeds`);
    - no step whose end was recorded is run again, and nothing that was called was never awaited;
    - it ends, and raises nothing but `may_raise`; a workflow that was cancelled is no failure;
    - `invariant(run)` raises nothing and does not give False; see `ExploredRun` for what it may look at;
    - without an invariant, or with `same=True`: it comes to the same result as the undisturbed run, and has taken the
      same steps as often.

    `inputs` is a strategy of the one argument, or a sequence of strategies, one for each, or a mapping by the names of
    parameters; without it, what has no default is drawn by its annotation. `drive(client, handle)` is what others do
    meanwhile, messages and answers for one; no crash touches it. In place of a workflow there may be an async function
    `program(client, ...)` that starts what it likes. `failures` are what attempts of steps may raise instead of
    running. `crashes`: "some", now and then at each commit in turn; "each", always so; or "none". `slowest` is by how
    much an attempt may be late, in seconds. `examples` is by default what the profile of Hypothesis says. Before each
    run what modules of users hold is put back as it was when `explore` was called; `before()` does the same for what
    lies elsewhere. With `disturbance` only that one is tried, as the text of an `ExplorationFailed` has it.
    """
    __tracebackhide__ = True
    refuse_where_nobody_may_block()
    if other_seeds.is_one_of_them:
        raise UsageError(
            'explore() is called while its module is imported; put it under if __name__ == "__main__", or into a test'
        )
    if crashes not in ("some", "each", "none"):
        raise UsageError(f"crashes must be 'some', 'each' or 'none', got {crashes!r}")
    exploration = _Exploration(
        workflow,
        inputs=strategy_of(workflow, inputs),
        drive=drive,
        failures=_failures(failures or {}),
        crashes=crashes,
        slowest=microseconds(slowest, what="slowest") / SECOND,
        queues=queues,
        disturbance=disturbance,
    )
    state = ModuleState([workflow, drive])

    def begin_anew() -> None:
        state.put_back()
        if before is not None:
            before()

    exploration.begin_anew = begin_anew
    exploration.checks = Checks(
        exploration.name,
        invariant=invariant,
        may_raise=may_raise if isinstance(may_raise, tuple) else (may_raise,),
        same=invariant is None if same is None else same,
        seeds=hash_seeds,
        begin_anew=begin_anew,
    )
    try:
        with watch_calls():
            exploration.explore(examples, of=f"{_caller()} {exploration.name} {inputs} {crashes} {disturbance}")
    finally:
        state.put_back()


class _Exploration:
    """All examples of one call."""

    checks: Checks
    begin_anew: Callable[[], None]

    def __init__(
        self,
        workflow: AnyWorkflow[..., Any] | Program,
        *,
        inputs: st.SearchStrategy[tuple[tuple[Any, ...], dict[str, Any]]],
        drive: Drive | None,
        failures: Mapping[str, Sequence[Exception]],
        crashes: Literal["some", "each", "none"],
        slowest: float,
        queues: Sequence[Queue | str] | None,
        disturbance: Disturbance | None,
    ) -> None:
        self.name: str = getattr(workflow, "__name__", type(workflow).__name__)
        self._workflow = workflow
        self._inputs = inputs
        self._drive = drive
        self._failures = failures
        self._crashes = crashes
        self._slowest = slowest
        self._queues = queues
        self._disturbance = disturbance
        own: list[AnyWorkflow[..., Any]] = [workflow] if isinstance(workflow, AnyWorkflow) else []
        others = [one for one in registered_workflows().values() if one.schedule is None]
        self._workflows: list[AnyWorkflow[..., Any]] = list({one.name: one for one in [*others, *own]}.values())

    def explore(self, examples: int | None, of: str) -> None:
        """Have Hypothesis look for a failure, and raise the smallest; `of` tells this exploration from others."""
        __tracebackhide__ = True
        found: list[ExplorationFailed] = []

        def explored(data: st.DataObject) -> None:
            try:
                self._example(data)
            except ExplorationFailed as failed:
                found.append(failed)
                raise

        # By its signature Hypothesis tells what failed here before from what failed elsewhere, and tries that first.
        explored.__signature__ = inspect.signature(explored).replace(return_annotation=of)  # type: ignore[attr-defined]
        chosen = settings(
            max_examples=settings().max_examples if examples is None else examples,
            deadline=None,
            phases=PHASES,
            suppress_health_check=UNHEALTHY,
            print_blob=False,
            report_multiple_bugs=False,
        )
        try:
            chosen(given(st.data())(explored))()
        except ExplorationFailed as failed:
            failed.__notes__ = []  # what Hypothesis says of its draws is said better in the text
            raise failed from failed.__cause__
        except Flaky:
            if not found:
                raise
            smallest = min(found, key=lambda failed: len(str(failed)))
            smallest.add_note(
                "It was not so each time that it was tried: something outside of what explore() puts back makes the "
                "difference; give before= to put that back."
            )
            raise smallest from smallest.__cause__

    def _example(self, data: st.DataObject) -> None:
        args, kwargs = data.draw(self._inputs)
        throws: list[int] = []
        if self._failures and self._disturbance is None:
            most = max(map(len, self._failures.values()))
            throws = data.draw(st.lists(st.integers(0, most), max_size=MOST_CHOICES))
        given = self._disturbance or Disturbance()
        choices = Choices(Disturbance(failing=given.failing), throws=throws, failures=self._failures)
        calm = self._run(args, kwargs, (), choices, None)
        for crashes, ranks, slow in self._disturbances(data, calm):
            disturbed = choices.with_delays(ranks, slow, self._slowest)
            self._run(args, kwargs, crashes, disturbed, calm)

    def _disturbances(
        self, data: st.DataObject, calm: ExploredRun
    ) -> Iterator[tuple[tuple[tuple[int, When], ...], Sequence[int], Mapping[str, float]]]:
        """Give the crashes, and who is slow, of each run that is disturbed."""
        if self._disturbance is not None:
            if self._disturbance.crashes or self._disturbance.slow:
                yield self._disturbance.crashes, (), self._disturbance.slow
            return
        # Each in turn is the simplest choice: then the place of a crash is not in the way of making an input smaller.
        each = self._crashes == "each" or (self._crashes == "some" and data.draw(st.integers(0, SELDOM)) == 0)
        crash = st.tuples(st.integers(1, max(1, calm.commits)), st.sampled_from(WHENS))
        some = self._crashes == "some" and not each
        crashes = tuple(data.draw(st.lists(crash, min_size=1, max_size=MOST_CRASHES))) if some else ()
        ranks = data.draw(st.lists(st.integers(0, RANKS), max_size=min(MOST_CHOICES, len(calm.steps))))
        if crashes or any(ranks):
            yield crashes, ranks, {}
        if each:
            for number in range(1, calm.commits + 1):
                for when in WHENS:
                    yield ((number, when),), (), {}

    def _run(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        crashes: tuple[tuple[int, When], ...],
        choices: Choices,
        calm: ExploredRun | None,
    ) -> ExploredRun:
        """Run it once, and check what came of it."""
        __tracebackhide__ = True
        self.begin_anew()
        living = Living(
            self._workflow,
            args,
            kwargs,
            workflows=self._workflows,
            queues=self._queues,
            drive=self._drive,
            crashes=crashes,
            choices=choices,
        )
        try:
            living.live()
        except EverlogError:
            raise  # it was not run as it ought to be
        except Exception as error:
            what = f"what is done from outside raises {type(error).__name__}: {error}"
            raise ExplorationFailed(what, living.run, self.name) from error
        self.checks.check(living.run, calm)
        return living.run


WHENS: Final[tuple[When, When]] = ("before", "after")


def strategy_of(
    workflow: AnyWorkflow[..., Any] | Program, inputs: Inputs | None
) -> st.SearchStrategy[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Give the strategy of positional and of named arguments."""
    if isinstance(inputs, st.SearchStrategy):
        return inputs.map(lambda one: ((one,), {}))
    if isinstance(inputs, Mapping):
        return st.fixed_dictionaries(dict(inputs)).map(lambda named: ((), named))
    if inputs is not None:
        return st.tuples(*inputs).map(lambda several: (several, {}))
    is_program = not isinstance(workflow, Definition)
    function = workflow.__wrapped__ if isinstance(workflow, Definition) else workflow
    bound = len(workflow.bound) if isinstance(workflow, Definition) else 0
    parameters = list(inspect.signature(function).parameters.values())[1 if is_program else bound :]
    needed = [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    hints = typing.get_type_hints(function) if needed else {}
    unknown = [name for name in needed if name not in hints]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} has no annotation to draw values by; give inputs=")
    return st.fixed_dictionaries({name: st.from_type(hints[name]) for name in needed}).map(lambda named: ((), named))


def _caller() -> str:
    """Name the function that called `explore`, most likely a test."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = None if frame is None else frame.f_back
    return "" if frame is None else f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}"


def _failures(given: Failures) -> dict[str, list[Exception]]:
    return {step.name: [raised] if isinstance(raised, Exception) else list(raised) for step, raised in given.items()}
