"""A step with a transaction is killed at each of its boundaries: what it wrote is there once, as its result is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import needs_postgres, new_schema, server_url

ROOT = Path(__file__).parents[2]
PATIENCE = 400

ways = pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("own", "async"),
        ("own", "plain"),
        pytest.param("sqlalchemy", "async", marks=pytest.mark.long),
        pytest.param("sqlalchemy", "plain", marks=pytest.mark.long),
    ],
)


@ways
@pytest.mark.parametrize("store", ["sqlite", pytest.param("postgres", marks=needs_postgres)])
def test_each_boundary(store: str, way: str, kind: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/crash.db" if store == "sqlite" else new_schema()
    place = url if store == "sqlite" else server_url()
    command = [sys.executable, "-m", "tests.crash.transactions_program", url, place, way, kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["deaths"] > 12, "so many boundaries there are at least"
    assert len(told["paid"]) == told["deaths"] + 1
    assert set(told["paid"].values()) == {2}, "each workflow pays twice"
    assert told["kept"] == told["paid"]
