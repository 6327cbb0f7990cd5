"""The kit for tests of workflows and of stores. Nothing of it runs in production.

Names are imported when they are asked for, since some of them need pytest or hypothesis, which users may not have.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everlog.testing.calls import watch_calls
    from everlog.testing.conformance import (
        DeletionConformance,
        FindingConformance,
        ForksConformance,
        MovingConformance,
        OutboxConformance,
        QueuesConformance,
        SchedulesConformance,
        StoreConformance,
        StreamsConformance,
        ValuesConformance,
        WaitsConformance,
    )
    from everlog.testing.faults import Crash, FaultyStore
    from everlog.testing.store_machine import StoreMachine

__all__ = [
    "Crash",
    "DeletionConformance",
    "FaultyStore",
    "FindingConformance",
    "ForksConformance",
    "MovingConformance",
    "OutboxConformance",
    "QueuesConformance",
    "SchedulesConformance",
    "StoreConformance",
    "StoreMachine",
    "StreamsConformance",
    "ValuesConformance",
    "WaitsConformance",
    "watch_calls",
]

_MODULES = {
    "Crash": "everlog.testing.faults",
    "DeletionConformance": "everlog.testing.conformance",
    "FaultyStore": "everlog.testing.faults",
    "FindingConformance": "everlog.testing.conformance",
    "ForksConformance": "everlog.testing.conformance",
    "MovingConformance": "everlog.testing.conformance",
    "OutboxConformance": "everlog.testing.conformance",
    "QueuesConformance": "everlog.testing.conformance",
    "SchedulesConformance": "everlog.testing.conformance",
    "StoreConformance": "everlog.testing.conformance",
    "StoreMachine": "everlog.testing.store_machine",
    "StreamsConformance": "everlog.testing.conformance",
    "ValuesConformance": "everlog.testing.conformance",
    "WaitsConformance": "everlog.testing.conformance",
    "watch_calls": "everlog.testing.calls",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'everlog.testing' has no attribute {name!r}")
    found: object = getattr(import_module(_MODULES[name]), name)
    return found
