"""The databases that properties hold on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import needs_postgres
from tests.property.databases import Database

ON_DISK = ["sqlite", pytest.param("postgres", marks=needs_postgres)]


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
