"""Mishaps: what goes wrong in a simulated world, and when. They are drawn from a seed, or given; they do nothing."""

from __future__ import annotations

from random import Random
from typing import Final, Literal, get_args

from msgspec import Struct

from everlog.errors import UsageError

Kind = Literal["crash", "restart", "pause", "cut", "drop", "lose", "late", "repeat", "process clock", "store clock"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
CLIENT: Final = 0
"""The number of the process of the client; workers are numbered from 1."""


class Mishap(Struct, frozen=True):
    """What goes wrong at a time, in seconds of the simulation, for one process, and for how long.

    - `crash`: it dies, with its steps, and another is started so many seconds later.
    - `restart`: it is closed as by a deployment, and another is opened.
    - `pause`: it stands still so long, as by SIGSTOP, and goes on as if no time had passed.
    - `cut`: it cannot reach the store so long.
    - `drop`: its next write does not arrive, and it hears that this is not known.
    - `lose`: its next write is durable, and it hears that this is not known. What is claimed so is given back.
    - `late`: it hears the same, and its next write arrives so many seconds later.
    - `repeat`: its next write arrives a second time, so many seconds later.
    - `process clock`, `store clock`: the clock of the process, or of the store, jumps by so many seconds.
    """

    at: float
    kind: Kind
    process: int
    seconds: float = 0.0


class Faults(Struct, frozen=True, kw_only=True):
    """How mishaps are drawn: about `often` a second for `during` seconds, each kind by its weight.

    0 leaves a kind out. With `client=True` the client's own connection suffers `cut`, `drop`, `lose`, `late` and
    `repeat` as well: then the program must expect `StoreUnavailable`, see `Simulation.insist`.
    """

    during: float = 20.0
    often: float = 0.4
    client: bool = False
    crash: float = 2.0
    restart: float = 0.5
    pause: float = 1.5
    cut: float = 1.0
    drop: float = 0.5
    lose: float = 1.5
    late: float = 1.0
    repeat: float = 1.0
    process_clock: float = 0.3
    store_clock: float = 0.3

    def draw(self, seed: int, *, workers: int, lease: float) -> list[Mishap]:
        """Give the mishaps of a seed, in order."""
        chance = Random(f"mishaps of {seed}")
        weights = [float(getattr(self, kind.replace(" ", "_"))) for kind in KINDS]
        if min(weights) < 0 or self.often < 0 or self.during < 0:
            raise UsageError(f"faults are drawn by weights of at least 0, got {self!r}")
        mishaps: list[Mishap] = []
        at = 0.0
        while self.often and sum(weights):
            at += self._gap(chance)
            if at >= self.during:
                break
            (kind,) = chance.choices(KINDS, weights)
            process = chance.randint(CLIENT if self.client and kind in OF_CONNECTIONS else 1, workers)
            mishaps.append(Mishap(round(at, 6), kind, process, round(_seconds(chance, kind, lease), 6)))
        return mishaps

    def _gap(self, chance: Random) -> float:
        """Mostly a while; sometimes the next comes on its heels."""
        return chance.expovariate(self.often) * chance.choice([0.001, 0.05, 1.0, 1.0, 1.5])


OF_CONNECTIONS: Final = frozenset({"cut", "drop", "lose", "late", "repeat"})


def _seconds(chance: Random, kind: Kind, lease: float) -> float:
    match kind:
        case "crash" | "restart":
            return chance.choice([0.0, 0.1, 1.0, 2.5 * lease]) * chance.random()
        case "pause" | "cut":
            return chance.choice([0.05, 0.5, lease, 3 * lease]) * (0.5 + chance.random())
        case "late" | "repeat":
            return chance.choice([0.001, 0.02, 0.3, 2.0]) * chance.random()
        case "process clock" | "store clock":
            return chance.choice([-1, 1]) * chance.choice([0.01, 1.0, 2 * lease, 3600.0]) * chance.random()
        case "drop" | "lose":
            return 0.0
