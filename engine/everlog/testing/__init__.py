"""The kit for tests of workflows and of stores. Nothing of it runs in production.

Names are imported when they are asked for, since some of them need pytest or hypothesis, which users may not have.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everlog.core.log_lines import Exported
    from everlog.runtime.code_state import CodeState
    from everlog.runtime.replaying import Replay
    from everlog.runtime.verdicts import Verdict
    from everlog.testing.calls import watch_calls
    from everlog.testing.conformance import (
        DeletionConformance,
        FindingConformance,
        ForksConformance,
        MovingConformance,
        OutboxConformance,
        QueuesConformance,
        RetentionConformance,
        SchedulesConformance,
        StoreConformance,
        StreamsConformance,
        ValuesConformance,
        WaitsConformance,
    )
    from everlog.testing.disturbances import Disturbance
    from everlog.testing.explored_failures import ExplorationFailed
    from everlog.testing.explored_runs import ExploredRun
    from everlog.testing.exploring import explore
    from everlog.testing.faults import Crash, FaultyStore
    from everlog.testing.mishaps import Faults, Mishap
    from everlog.testing.replays import (
        HistoryDiverges,
        history_of,
        load_history,
        open_replay,
        replay,
        save_history,
        state_at,
    )
    from everlog.testing.store_machine import StoreMachine
    from everlog.testing.virtual import VirtualEngine
    from everlog.testing.worlds import Simulation, SimulationFailed, simulate

__all__ = [
    "CodeState",
    "Crash",
    "DeletionConformance",
    "Disturbance",
    "ExplorationFailed",
    "ExploredRun",
    "Exported",
    "Faults",
    "FaultyStore",
    "FindingConformance",
    "ForksConformance",
    "HistoryDiverges",
    "Mishap",
    "MovingConformance",
    "OutboxConformance",
    "QueuesConformance",
    "Replay",
    "RetentionConformance",
    "SchedulesConformance",
    "Simulation",
    "SimulationFailed",
    "StoreConformance",
    "StoreMachine",
    "StreamsConformance",
    "ValuesConformance",
    "Verdict",
    "VirtualEngine",
    "WaitsConformance",
    "explore",
    "history_of",
    "load_history",
    "open_replay",
    "replay",
    "save_history",
    "simulate",
    "state_at",
    "watch_calls",
]

_MODULES = {
    "CodeState": "everlog.runtime.code_state",
    "Crash": "everlog.testing.faults",
    "DeletionConformance": "everlog.testing.conformance",
    "Disturbance": "everlog.testing.disturbances",
    "ExplorationFailed": "everlog.testing.explored_failures",
    "ExploredRun": "everlog.testing.explored_runs",
    "Exported": "everlog.core.log_lines",
    "Faults": "everlog.testing.mishaps",
    "FaultyStore": "everlog.testing.faults",
    "FindingConformance": "everlog.testing.conformance",
    "ForksConformance": "everlog.testing.conformance",
    "HistoryDiverges": "everlog.testing.replays",
    "Mishap": "everlog.testing.mishaps",
    "MovingConformance": "everlog.testing.conformance",
    "OutboxConformance": "everlog.testing.conformance",
    "QueuesConformance": "everlog.testing.conformance",
    "RetentionConformance": "everlog.testing.conformance",
    "Replay": "everlog.runtime.replaying",
    "SchedulesConformance": "everlog.testing.conformance",
    "Simulation": "everlog.testing.worlds",
    "SimulationFailed": "everlog.testing.worlds",
    "StoreConformance": "everlog.testing.conformance",
    "StoreMachine": "everlog.testing.store_machine",
    "StreamsConformance": "everlog.testing.conformance",
    "ValuesConformance": "everlog.testing.conformance",
    "Verdict": "everlog.runtime.verdicts",
    "VirtualEngine": "everlog.testing.virtual",
    "WaitsConformance": "everlog.testing.conformance",
    "explore": "everlog.testing.exploring",
    "history_of": "everlog.testing.replays",
    "load_history": "everlog.testing.replays",
    "open_replay": "everlog.testing.replays",
    "replay": "everlog.testing.replays",
    "save_history": "everlog.testing.replays",
    "simulate": "everlog.testing.worlds",
    "state_at": "everlog.testing.replays",
    "watch_calls": "everlog.testing.calls",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'everlog.testing' has no attribute {name!r}")
    found: object = getattr(import_module(_MODULES[name]), name)
    return found
