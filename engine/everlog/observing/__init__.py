"""Observing: what an engine says of itself to the tools of others: numbers, health, traces. It is never needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everlog.errors import UsageError
from everlog.observing.endpoints import endpoints
from everlog.observing.health import Health, live, ready
from everlog.observing.prometheus import prometheus_text
from everlog.runtime.metrics import EngineMetrics, Histogram, Metrics, QueueMetrics, StoreMetrics
from everlog.runtime.observers import Observer

if TYPE_CHECKING:
    from everlog.observing.tracing import Tracing

__all__ = [
    "EngineMetrics",
    "Health",
    "Histogram",
    "Metrics",
    "Observer",
    "QueueMetrics",
    "StoreMetrics",
    "Tracing",
    "endpoints",
    "live",
    "prometheus_text",
    "ready",
]


def __getattr__(name: str) -> object:
    """Give `Tracing`, which needs what the rest does not."""
    if name != "Tracing":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from everlog.observing.tracing import Tracing
    except ModuleNotFoundError as error:
        raise UsageError(f"tracing needs {error.name}: pip install 'everlog[otel]'") from error
    return Tracing
