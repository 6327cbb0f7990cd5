"""Prometheus: numbers as text in the exposition format 0.0.4. It serves nothing, and needs no library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from everlog.runtime.metrics import EngineMetrics, Histogram, Metrics, QueueMetrics, StoreMetrics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
Labels = Mapping[str, str]
_NONE: Final[Labels] = {}


def prometheus_text(metrics: Metrics) -> str:
    """Give all numbers as Prometheus and OpenMetrics collectors read them; the last line ends with a line break."""
    lines = [] if metrics.engine is None else list(_engine(metrics.engine))
    lines.extend(_store(metrics.store))
    return "".join(f"{line}\n" for line in lines)


def _engine(engine: EngineMetrics) -> Iterator[str]:
    yield from _single("everlog_lease_held", "gauge", "1 while this engine may begin work.", engine.holds_lease)
    yield from _single("everlog_workflows_held", "gauge", "Workflows in the memory of this engine.", engine.held)
    running = engine.running_attempts
    yield from _single("everlog_attempts_running", "gauge", "Attempts of steps that run on this engine.", running)
    began = [({"workflow": name}, count) for name, count in engine.workflows_began.items()]
    yield from _family("everlog_workflows_began_total", "counter", "Workflows that began on this engine.", began)
    ended = _nested(engine.workflows_ended, "workflow", "state")
    yield from _family("everlog_workflows_ended_total", "counter", "Workflows that ended on this engine.", ended)
    stuck = "Times that a workflow got stuck on this engine."
    yield from _single("everlog_workflows_stuck_total", "counter", stuck, engine.workflows_stuck)
    takeovers = "Workflows taken over from workers that died."
    yield from _single("everlog_takeovers_total", "counter", takeovers, engine.takeovers)
    attempts = _nested(engine.attempts, "step", "outcome")
    yield from _family("everlog_attempts_total", "counter", "Attempts of steps that ended on this engine.", attempts)
    took = "Seconds from the beginning of an attempt until its end was taken."
    yield from _histograms(
        "everlog_attempt_seconds", took, [({"step": name}, one) for name, one in engine.attempt_seconds.items()]
    )
    yield from _single("everlog_commits_total", "counter", "Transactions that were written.", engine.commits)
    failures = "Transactions that failed, or whose outcome is unknown."
    yield from _single("everlog_commit_failures_total", "counter", failures, engine.commit_failures)
    seconds = "Seconds that a transaction took."
    yield from _histograms("everlog_commit_seconds", seconds, [(_NONE, engine.commit_seconds)])
    parts = "Creations, commits of workflows and messages in one transaction."
    yield from _histograms("everlog_commit_parts", parts, [(_NONE, engine.commit_parts)])
    yield from _single("everlog_events_total", "counter", "Events that were written to histories.", engine.events)


def _store(store: StoreMetrics) -> Iterator[str]:
    states = _nested(store.workflows.by_name, "workflow", "state")
    yield from _family("everlog_workflows", "gauge", "Workflows in the database that have not ended.", states)
    oldest = "Seconds for which the first workflow has waited that could begin."
    yield from _single("everlog_oldest_queued_seconds", "gauge", oldest, store.oldest_queued_seconds)
    places = [place for name, queue in store.queues.items() for place in _places(name, queue)]
    yield from _family("everlog_queue_workflows", "gauge", "What stands in a queue, and the slots taken.", places)
    paused = [({"queue": name}, float(queue.paused)) for name, queue in store.queues.items()]
    yield from _family("everlog_queue_paused", "gauge", "1 while a queue is paused.", paused)
    ages = [(name, queue.oldest_seconds) for name, queue in store.queues.items()]
    waits = [({"queue": name}, age) for name, age in ages if age is not None]
    yield from _family("everlog_queue_oldest_seconds", "gauge", "Seconds for which the first of a queue waits.", waits)
    leases = [({"worker": name}, left) for name, left in store.workers.items()]
    yield from _family("everlog_worker_lease_seconds", "gauge", "Seconds until the lease of a worker is over.", leases)


def _places(name: str, queue: QueueMetrics) -> Iterator[tuple[Labels, float]]:
    for state, count in (("queued", queue.queued), ("delayed", queue.delayed), ("admitted", queue.admitted)):
        yield {"queue": name, "state": state}, count


def _nested(counts: Mapping[str, Mapping[Any, int]], outer: str, inner: str) -> list[tuple[Labels, float]]:
    return [({outer: name, inner: what}, count) for name, whats in counts.items() for what, count in whats.items()]


def _single(name: str, kind: Kind, text: str, value: float) -> Iterator[str]:
    return _family(name, kind, text, [(_NONE, value)])


def _family(name: str, kind: Kind, text: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {_number(value)}"


def _histograms(name: str, text: str, samples: Iterable[tuple[Labels, Histogram]]) -> Iterator[str]:
    yield from _head(name, "histogram", text)
    for labels, histogram in samples:
        for bound, count in histogram.buckets.items():
            yield f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {count}"
        yield f"{name}_sum{_labels(labels)} {_number(histogram.sum)}"
        yield f"{name}_count{_labels(labels)} {histogram.count}"


def _head(name: str, kind: Kind, text: str) -> Iterator[str]:
    yield f"# HELP {name} {_escaped(text)}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: Labels) -> str:
    quoted = [f'{name}="{_quoted(value)}"' for name, value in labels.items()]
    return f"{{{','.join(quoted)}}}" if quoted else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
