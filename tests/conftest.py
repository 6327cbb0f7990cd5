"""How many examples Hypothesis tries: few by default, many where EVERLOG_LONG=1; and a registry for each module."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from everlog.replay import registry

if not hasattr(sys.modules["__main__"], "__file__"):
    # Where several tests run at once each process is a program without a file, which is what tells a notebook.
    sys.modules["__main__"].__file__ = pytest.__file__

# A shared machine may stop for seconds at any moment, which says nothing about the code: no deadline, no such check.
PATIENT = settings(deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", parent=PATIENT, max_examples=25, stateful_step_count=25)
settings.register_profile("long", parent=PATIENT, max_examples=2_000, stateful_step_count=100)
settings.load_profile("long" if os.environ.get("EVERLOG_LONG") == "1" else "fast")


# Each test module is a program of its own: it sees the workflows and steps that it defines, and may name them as others
# do.
_own: dict[str, tuple[dict[Any, Any], dict[Any, Any]]] = {}
_shared: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
"""Workflows, and steps, of modules that tests import."""


def pytest_collectstart(collector: pytest.Collector) -> None:
    if isinstance(collector, pytest.Module):
        _register(({}, {}))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.nodeid.endswith(".py"):
        own = _own.setdefault(report.nodeid, ({}, {}))
        for place, registered in enumerate((registry._registry, registry._steps)):
            for name, definition in list(registered.items()):
                of_a_test = definition.__module__.rpartition(".")[2].startswith("test_")
                (own if of_a_test else _shared)[place][name] = definition


def pytest_runtest_setup(item: pytest.Item) -> None:
    _register(_own.get(item.nodeid.partition("::")[0], ({}, {})))


def _register(own: tuple[dict[Any, Any], dict[Any, Any]]) -> None:
    for place, registered in enumerate((registry._registry, registry._steps)):
        registered.clear()
        registered.update(_shared[place] | own[place])
    registry._defined_steps += 1
