"""The databases that properties hold on."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.postgres import needs_postgres
from tests.property.databases import Database

ON_DISK = ["sqlite", pytest.param("postgres", marks=needs_postgres)]


@pytest.fixture
def burial() -> Iterator[None]:
    """Have what a test left suspended end with it. `buries_its_dead` asks for it."""
    yield
    gc.collect()


@pytest.fixture(scope="module", params=["memory", *ON_DISK])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One of each kind."""
    yield from _made(request)


@pytest.fixture(scope="module", params=ON_DISK)
def database_on_disk(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One of each kind but memory."""
    yield from _made(request)


def _made(request: pytest.FixtureRequest) -> Iterator[Database]:
    database = Database(request.param)
    yield database
    database.end()
