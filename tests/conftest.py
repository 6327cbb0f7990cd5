"""How many examples Hypothesis tries: few by default, many where EVERLOG_LONG=1; a registry for each module; and byte
code for the many processes that tests start.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from compileall import compile_dir
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from everlog.replay import registry
from tests.postgres import take_back_schemas

if not hasattr(sys.modules["__main__"], "__file__"):
    # Where several tests run at once each process is a program without a file, which is what tells a notebook.
    sys.modules["__main__"].__file__ = pytest.__file__

# A shared machine may stop for seconds at any moment, which says nothing about the code: no deadline, no such check.
PATIENT = settings(deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", parent=PATIENT, max_examples=25, stateful_step_count=25)
settings.register_profile("long", parent=PATIENT, max_examples=2_000, stateful_step_count=100)
settings.load_profile("long" if os.environ.get("EVERLOG_LONG") == "1" else "fast")


# Hundreds of processes are started by tests, and each would compile Everlog anew where Python is told to write no byte
# code, or where they begin at once on a fresh tree: that costs twice what the rest of their start does.
sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        root = Path(__file__).parents[1]
        for sources in ("engine", "backends"):
            compile_dir(root / sources, maxlevels=10, quiet=2)


LONG_ONES = ("tests/crash/", "tests/property/", "tests/typing/")
"""Where the tests stand that take seconds each."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests, have each begin with its part of the long ones, not end with them.

    Each process is given as many as the others, in the order in which they stand, and takes from the others when it has
    done its own.
    """
    parts = getattr(config, "workerinput", {}).get("workercount", 1)
    if parts == 1:
        return
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    long_ones = [modules.pop(name) for name in list(modules) if name.startswith(LONG_ONES)]
    short_ones = [item for module in modules.values() for item in module]
    left = len(items)
    items.clear()
    for part in range(parts):
        number = left // (parts - part)
        first = [item for module in long_ones[part::parts] for item in module]
        more = max(0, number - len(first)) if part < parts - 1 else len(short_ones)
        items += first + short_ones[:more]
        del short_ones[:more]
        left -= number


@pytest.fixture
def burial() -> Iterator[None]:
    """Have what a test left suspended end with it. `buries_its_dead` asks for it."""
    yield
    gc.collect()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        take_back_schemas()


def _register(own: tuple[dict[Any, Any], dict[Any, Any]]) -> None:
    for place, registered in enumerate((registry._registry, registry._steps)):
        registered.clear()
        registered.update(_shared[place] | own[place])
    registry._defined_steps += 1
