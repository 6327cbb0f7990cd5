"""The process that replays with another hash seed: one line with a history comes in, one with its verdict goes out.

What modules of users hold is put back before each replay, so that none sees what another left.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

import msgspec

from everlog.replay.environment import Environment
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import Verdict, verdict_of
from everlog.testing import hash_seeds
from everlog.testing.calls import watch_calls
from everlog.testing.hash_seeds import Place, Question, Reply
from everlog.testing.module_state import ModuleState

MAIN = "__mp_main__"
"""What the main module of the other process is called here, so that it does nothing but define things."""


class Replays:
    """The code that was loaded, and what it held then."""

    def __init__(self) -> None:
        self._loaded: dict[Place, ModuleType] = {}
        self._state = ModuleState(())
        self._environment: Environment = replay_environment()

    def replay(self, question: Question) -> Verdict:
        """Replay one history from the state in which modules are after their import."""
        for entry in question.path:
            if entry not in sys.path:
                sys.path.append(entry)
        self._state.put_back()
        missing = [place for place in question.places if place not in self._loaded]
        if missing:
            for place in missing:
                self._loaded[place] = load(place)
            self._state = ModuleState(self._loaded.values())
        with watch_calls():
            return verdict_of(question.history, known_workflows(), self._environment)


def load(place: Place) -> ModuleType:
    """Import a module by its name, or where that leads elsewhere from its file."""
    if place.module != "__main__":
        try:
            module = importlib.import_module(place.module)
        except ImportError:
            if place.file is None:
                raise
        else:
            if place.file is None or os.path.realpath(getattr(module, "__file__", None) or "") == place.file:
                return module
    assert place.file is not None, f"module {place.module} has a name or a file"
    name = MAIN if place.module == "__main__" else place.module
    spec = importlib.util.spec_from_file_location(name, place.file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place.file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if name == MAIN:
        sys.modules["__main__"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer until the input ends."""
    hash_seeds.is_one_of_them = True
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the code of workflows prints is no answer
    replays = Replays()
    for line in sys.stdin.buffer:
        question: Any = msgspec.json.decode(line, type=Question)
        try:
            reply = Reply(verdict=replays.replay(question))
        except Exception as error:  # noqa: BLE001 - the user's code is imported, which may raise anything
            where = ", ".join(place.module for place in question.places)
            reply = Reply(
                error=f"the code of workflow {question.history.workflow_id!r} ({where}) cannot be had in another "
                f"process: {type(error).__name__}: {error}; let it be imported, or give hash_seeds=()"
            )
        answers.write(msgspec.json.encode(reply) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
