"""The silence of an engine's thread: how long it has not come back, by which its lease lives or dies."""

from __future__ import annotations

from everlog.memory import MemoryStore
from everlog.runtime.committer import PendingPost
from everlog.runtime.shell import Shell
from everlog.store import Batch, BatchOutcome
from everlog.testing.making import message
from everlog.testing.simulation import SimulatedHost


class SlowHost(SimulatedHost):
    """A host whose clock goes on only where the test says so."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


class SlowStore(MemoryStore):
    """A store in which each commit takes half a second, and is followed by another."""

    host: SlowHost
    shell: Shell

    def commit(self, batch: Batch) -> BatchOutcome:
        self.host.at += 0.5
        silences.append(self.shell.silence())
        return super().commit(batch)


silences: list[float] = []


def test_a_thread_that_is_busy_without_a_rest_but_comes_back_after_each_commit_is_not_silent() -> None:
    """Many rounds one after the other, each with a slow commit, are no reason to let the lease lapse."""
    silences.clear()
    host = SlowHost(1)
    store = SlowStore(clock=host.wall)
    shell = Shell(store, host)
    store.host, store.shell = host, shell

    def post(_: object = None) -> None:
        if len(silences) < 50:
            shell.committer.post(PendingPost(message("nobody"), post))

    shell.submit(post)
    shell.pump()
    host.loop.close()
    assert silences == [0.5] * 50
    assert shell.silence() == 0.0
