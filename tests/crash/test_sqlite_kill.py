"""A process that is killed at any moment loses nothing that it was told is durable, and is known to be gone."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everlog.testing.making import claim, claimed_ids, head
from everlog_sqlite import open_store

PROGRAM = """
import sys
from everlog.store import Batch, Commit, Done
from everlog.testing.making import event, held, message, worker
from everlog_sqlite import open_store

url, name = sys.argv[1:]
store = open_store(url)
store.register(worker(name))
ids = [f"{name}-{n}" for n in range(5)]
tokens = {workflow_id: held(store, workflow_id, worker=name) for workflow_id in ids}
print("ready", flush=True)
seq = 1
while True:
    commits = [
        Commit(
            workflow_id=workflow_id,
            token=tokens[workflow_id],
            seq=seq,
            state="running",
            events=[event(seq + 1), event(seq + 2)],
            messages=[message(ids[0], seq, source=workflow_id)],
        )
        for workflow_id in ids
    ]
    assert list(store.commit(Batch(commits=commits)).commits) == [Done()] * 5
    seq += 2
    print(seq, flush=True)
    if seq % 40 == 1:
        store.maintain()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill so")
def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    chance = random.Random(7)
    for number in range(5):
        name = f"worker-{number}"
        acknowledged = _run_and_kill(url, name, after=chance.uniform(0.01, 0.25))

        with sqlite3.connect(tmp_path / "test.db") as reader:
            assert reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        reader.close()

        store = open_store(url)
        ids = [f"{name}-{n}" for n in range(5)]
        seqs = {head(store, workflow_id).seq for workflow_id in ids}
        assert len(seqs) == 1, "a batch was written in part"
        assert seqs.pop() in (acknowledged, acknowledged + 2)
        for workflow_id in ids:
            assert [row.seq for row in store.read(workflow_id)] == list(range(1, head(store, workflow_id).seq + 1))
        assert len(store.unread(name)) == 5 * (head(store, ids[0]).seq - 1) // 2

        assert [(one.worker, one.gone) for one in store.workers() if one.process] == [(name, True)]
        assert store.retire(name) == 5
        assert sorted(claimed_ids(claim(store, *(f"{name}/{n}" for n in range(5)), worker="survivor"))) == ids
        store.close()


def _run_and_kill(url: str, name: str, *, after: float) -> int:
    """Give the last seq that the process was told is durable."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, url, name], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(after)
    process.kill()
    lines = process.stdout.read().split(b"\n")[:-1]  # what follows the last newline was cut off
    process.stdout.close()
    process.wait()
    return int(lines[-1]) if lines else 1
