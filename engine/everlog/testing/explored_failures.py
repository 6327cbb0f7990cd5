"""Explored failures: what was found wrong in a run, told so that it can be understood, and seen again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from everlog.core.log_lines import Exported
from everlog.runtime.verdicts import Verdict, told
from everlog.testing.disturbances import Disturbance
from everlog.testing.explored_runs import ExploredRun

MOST: Final = 60
"""So many lines are shown of what happened."""
NEXT_LINE: Final = "\n"


class ExplorationFailed(AssertionError):
    """What `explore` found, in the smallest form of it: its text tells what happened, and how to see it again.

    `run` is the run in which it was seen, with its histories; `disturbance` what was done to it. `verdict` has both
    sides where history and code part, and `history` is the one that its code does not fit, for `save_history`.
    """

    def __init__(
        self, what: str, run: ExploredRun, name: str, *, details: Sequence[str] = (), verdict: Verdict | None = None
    ) -> None:
        self.what = what
        self.run = run
        self.name = name
        self.details = list(details)
        self.verdict = verdict
        super().__init__(NEXT_LINE.join(self._lines()))

    @property
    def disturbance(self) -> Disturbance:
        """What was done to the run; nothing, where it went wrong undisturbed."""
        return self.run.disturbance

    @property
    def history(self) -> Exported | None:
        """The history that the code does not fit; None where nothing is wrong with replays."""
        return None if self.verdict is None else self.run.histories.get(self.verdict.workflow_id)

    def _lines(self) -> list[str]:
        run = self.run
        happened = run.happened
        if len(happened) > MOST:
            left_out = f"{'':>12}    ... {len(happened) - MOST} more ..."
            happened = [*happened[: MOST // 2], left_out, *happened[-MOST // 2 :]]
        lines = [self.what, "", f"called with  {_call(run.args, run.kwargs)}", "what happened", *happened]
        if self.details:
            lines += ["", *self.details]
        if self.verdict is not None:
            lines += ["", *told(self.verdict)]
        return [*lines, "", "to see it again", f"  {self._again()}"]

    def _again(self) -> str:
        inputs = f"inputs={_strategy(self.run.args, self.run.kwargs)}" if self.run.args or self.run.kwargs else ""
        again = f"disturbance={self.disturbance!r}"
        return f"explore({', '.join(filter(None, [self.name, inputs, again, '...']))})"


def _call(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]) or "nothing"


def _strategy(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    if kwargs:
        return "{" + ", ".join(f"{name!r}: just({value!r})" for name, value in kwargs.items()) + "}"
    if len(args) == 1:
        return f"just({args[0]!r})"
    return "(" + ", ".join(f"just({value!r})" for value in args) + ")"
