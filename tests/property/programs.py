"""Random concurrent programs as data. They are made here; `interpreter` runs them.

A program is drawn from a `random.Random`: from a seeded one, where one number names one program, or from one that
Hypothesis drives and shrinks.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

Node = dict[str, Any]

MOMENTS = [0, 0.001, 0.01, 0.05, 0.1, 0.1, 0.5, 1, 2]
"""Seconds: few different ones, so that things often fall together."""
LIMITS = [0, 0.01, 0.05, 0.1, 0.5, 1, 2, 5]
TOPICS = ["a", "b"]
MOST_LIVES = 3
"""So often may a program continue as new."""
LEAVES = ["step"] * 8 + ["sleep"] * 3 + ["recv"] * 2 + ["send", "draw", "fail", "put", "get", "set", "event"]
LEAVES += ["join", "cancel", "condition", "barrier", "drained", "everyone", "ended", "ended", "stop", "tell"]
LEAVES += ["publish"] * 3 + ["continue"] * 2 + ["ask", "ask", "answer", "answer"]
INNER = ["sequence"] * 4 + ["gather", "group", "wait", "completed", "timeout", "wait_for", "nursery", "move_on"] * 2
INNER += ["guard", "guard", "swallow", "scope", "spawn", "shield", "later", "callback", "generator", "generator"]
INNER += ["lock", "semaphore", "notify", "poll", "fail_after", "child", "child", "child", "undo", "undo"]
BLOCKING_LEAVES = ["step"] * 8 + ["sleep"] * 3 + ["recv"] * 2 + ["send", "draw", "fail", "join", "cancel", "spread"]
BLOCKING_LEAVES += ["ended", "ended", "stop", "tell"] + ["publish"] * 3 + ["continue"] * 2
BLOCKING_LEAVES += ["ask", "ask", "answer", "answer"]
BLOCKING_INNER = ["sequence"] * 3 + ["map"] * 4 + ["several", "timeout"] * 2 + ["guard", "swallow", "scope", "spawn"]
BLOCKING_INNER += ["generator", "child", "child", "undo"]
"""The kinds that have a blocking form as well; `interpreter` runs them in async code, `blocking_interpreter` not so."""
OF_CHILDREN = ["step"] * 3 + ["sleep"] * 2 + ["ended"] * 3 + ["stop", "tell", "fail", "recv", "send", "continue"]
INNER_OF_CHILDREN = ["child"] * 6 + ["sequence", "gather", "gather", "group", "wait", "completed", "timeout"]
INNER_OF_CHILDREN += ["wait_for", "guard", "swallow", "spawn", "scope", "move_on"]
BLOCKING_OF_CHILDREN = ["child"] * 6 + ["sequence", "map", "map", "several", "timeout", "guard", "swallow", "spawn"]
"""The kinds of programs that are mostly about children."""
BLOCKING_UNTIMED = ["sequence", "map", "guard", "scope", "generator", "child", "undo"]
UNTIMED = ["sequence", "gather", "guard", "scope", "generator", "child", "undo"]
"""The kinds whose outcome does not depend on when things happen, as long as all of a program are of these."""


class Programmer:
    """Draws one program."""

    def __init__(
        self,
        chance: Random,
        nodes: int,
        *,
        timed: bool = True,
        blocking: bool = False,
        family: bool = False,
        queued: bool = False,
    ) -> None:
        self.chance = chance
        self.queued = queued
        self.family = family
        self.blocking = blocking
        self.left = nodes
        self.timed = timed
        self.number = 0
        self.life = 0
        """How often the workflow has continued as new where the node is."""

    def program(self) -> Node:
        """Draw a whole program."""
        of = [self.node(0)]
        while self.left > 0:
            of.append(self.node(0))
        return self.sequence_of(of)

    def sequence_of(self, of: list[Node]) -> Node:
        """Make what is a whole program; some continue as new where they would end."""
        if self.chance.random() < 0.3:
            of.append({"do": "continue", "id": 0, **self.draw_continue(0)})
        return {"do": "sequence", "id": 0, "of": of}

    def node(self, depth: int) -> Node:
        """Draw a node."""
        self.left -= 1
        self.number += 1
        leaf = depth > 5 or self.left <= 0 or self.chance.random() < 0.2 + 0.1 * depth
        if not self.timed:
            inner = BLOCKING_UNTIMED if self.blocking else UNTIMED
            kind = self.chance.choice(["step", "step", "step", "step", "fail", "sleep", "continue"] if leaf else inner)
        elif self.family:
            inner = BLOCKING_OF_CHILDREN if self.blocking else INNER_OF_CHILDREN
            leaves = OF_CHILDREN + ["enqueue"] * 14 if self.queued else OF_CHILDREN
            kind = self.chance.choice(leaves if leaf else inner)
        elif self.blocking:
            kind = self.chance.choice(BLOCKING_LEAVES if leaf else BLOCKING_INNER)
        else:
            kind = self.chance.choice(LEAVES if leaf else INNER)
        drawn = {"do": kind, "id": self.number, **getattr(self, f"draw_{kind}", self.draw_nothing)(depth + 1)}
        if self.life:
            drawn["life"] = self.life
        if self.chance.random() < 0.3 and not self.blocking:
            drawn["name"] = self.chance.choice(["ship", "bill", "a/b#2"])
        return drawn

    def several(self, depth: int) -> list[Node]:
        """Draw some children."""
        return [self.node(depth) for _ in range(self.chance.randint(1, 4))]

    def maybe(self, moments: list[float]) -> float | None:
        """Draw a number of seconds, or none."""
        return self.chance.choice(moments) if self.chance.random() < 0.6 else None

    def index(self) -> int:
        """Draw which of two."""
        return self.chance.randrange(2)

    def draw_nothing(self, depth: int) -> Node:
        return {"index": self.index(), "value": self.chance.randrange(10)}

    def draw_step(self, depth: int) -> Node:
        chance = self.chance
        drawn: Node = {
            "value": chance.randrange(10),
            "seconds": chance.choice(MOMENTS),
            "how": chance.choice(["async"] * 6 + ["call", "thread", "executor", "once"]),
            "attempts": chance.choice([1, 1, 1, 2, 3]),
            "failures": chance.choice([0, 0, 0, 0, 1, 2]),
            "delay": chance.choice([0.01, 0.1, 1]),
        }
        if not self.timed:
            drawn |= {"attempts": 3, "how": "async" if drawn["how"] == "once" else drawn["how"]}
        elif chance.random() < 0.1:
            drawn["limit"] = chance.choice([0.05, 0.5])
        if self.queued and drawn["how"] == "async" and chance.random() < 0.3:
            drawn["limited"] = True
        if self.timed and chance.random() < 0.15:
            drawn["key"] = chance.choice(["k1", "k2"])
        return drawn

    def draw_continue(self, depth: int) -> Node:
        if self.life == MOST_LIVES:
            return {"then": None}
        self.life += 1
        then = self.sequence_of([self.node(0) for _ in range(self.chance.randint(1, 3))])
        self.life -= 1
        return {"then": then}

    def draw_sleep(self, depth: int) -> Node:
        return {"seconds": self.chance.choice(MOMENTS), "ours": self.chance.random() < 0.3}

    def draw_recv(self, depth: int) -> Node:
        return {
            "topic": self.chance.choice(TOPICS),
            "seconds": self.maybe(LIMITS),
            "default": self.chance.random() < 0.5,
            "title": self.chance.choice([None, None, "May I?"]),
        }

    def draw_ask(self, depth: int) -> Node:
        return {
            "to": self.chance.choice(["self", "self", "other", "other", "nobody"]),
            "topic": self.chance.choice(TOPICS),
            "seconds": self.chance.choice(LIMITS),
        }

    def draw_answer(self, depth: int) -> Node:
        return {
            "topic": self.chance.choice(TOPICS),
            "seconds": self.maybe(LIMITS),
            "how": self.chance.choice(["reply", "reply", "reply", "refuse", "keep", "twice"]),
        }

    def draw_send(self, depth: int) -> Node:
        drawn: Node = {
            "to": self.chance.choice(["self", "self", "other", "other", "nobody"]),
            "topic": self.chance.choice(TOPICS),
        }
        if self.chance.random() < 0.2:
            drawn["key"] = self.chance.choice(["m1", "m2"])
        return drawn

    def draw_publish(self, depth: int) -> Node:
        return {
            "what": self.chance.choice(["value", "value", "items", "items", "items", "end"]),
            "under": self.chance.choice(["a", "b"]),
            "count": self.chance.choice([0, 1, 1, 2, 3]),
        }

    def draw_join(self, depth: int) -> Node:
        return {"index": self.chance.randrange(8), "gently": self.blocking}

    draw_cancel = draw_join

    def draw_child(self, depth: int) -> Node:
        chance = self.chance
        drawn: Node = {
            "body": self.node(depth),
            "colour": self.index() if self.blocking else 0,
            "how": "call",
            "when_parent_ends": "cancel",
        }
        if self.timed:
            drawn |= {
                "how": chance.choice(["call", "call", "start", "result", "leave"]),
                "when_parent_ends": chance.choice(["cancel", "cancel", "leave"]),
                "seconds": self.maybe(LIMITS),
            }
        if self.timed and chance.random() < 0.2:
            shared = {"do": "sleep", "id": 0, "seconds": 0.5, "ours": False}
            drawn |= {"body": shared, "colour": 0, "called": "one"}
        if self.queued and chance.random() < 0.8:
            drawn["place"] = self.place()
        return drawn

    def draw_enqueue(self, depth: int) -> Node:
        return {
            "body": {"do": "sleep", "id": 0, "seconds": self.chance.choice([0.05, 0.5]), "ours": False},
            "place": self.place(),
            "waits": self.chance.random() < 0.3,
        }

    def place(self) -> Node:
        """Draw where a child stands, and when it begins."""
        chance = self.chance
        key = chance.choice([None, "one"])
        otherwise = chance.choice(["return", "raise", "replace"]) if key else None
        return {
            "queue": chance.choice(["narrow", "fair", "fair", "fair", "open"]),
            "priority": chance.choice([None, None, -1, 1]),
            "partition": chance.choice([None, "a", "b"]),
            "delay": 0.5 if otherwise == "replace" else chance.choice([None, None, 0.1, 1]),
            "max_delay": 1 if otherwise == "replace" else None,
            "dedup_key": key,
            "if_duplicate": otherwise,
        }

    def draw_ended(self, depth: int) -> Node:
        return {"index": self.chance.randrange(8), "seconds": self.maybe(LIMITS)}

    draw_stop = draw_ended

    def draw_tell(self, depth: int) -> Node:
        return {"index": self.chance.randrange(8), "topic": self.chance.choice(TOPICS)}

    def draw_sequence(self, depth: int) -> Node:
        return {"of": self.several(depth)}

    def draw_scope(self, depth: int) -> Node:
        return {"label": self.chance.choice(["order", "mail"]), "body": self.node(depth)}

    def draw_guard(self, depth: int) -> Node:
        return {"body": self.node(depth), "clean": self.node(depth)}

    def draw_undo(self, depth: int) -> Node:
        return {
            "most": self.chance.randint(0, 3),
            "seconds": self.chance.choice(MOMENTS) if self.timed else 0,
            "failures": self.chance.choice([0, 0, 1]),
            "body": self.node(depth),
        }

    def draw_body(self, depth: int) -> Node:
        return {"body": self.node(depth), "index": self.index(), "most": self.chance.randint(1, 2)}

    draw_swallow = draw_spawn = draw_shield = draw_lock = draw_semaphore = draw_notify = draw_poll = draw_body

    def draw_gather(self, depth: int) -> Node:
        return {
            "of": self.several(depth),
            "all": self.chance.random() < 0.5 or not self.timed,
            "tasks": self.chance.random() < 0.3,
        }

    def draw_map(self, depth: int) -> Node:
        return {
            "of": self.several(depth),
            "all": self.chance.random() < 0.5 or not self.timed,
            "most": self.chance.choice([None, None, 1, 2]),
            "mixed": self.timed and self.chance.random() < 0.3,
        }

    def draw_spread(self, depth: int) -> Node:
        return {"value": self.chance.randrange(10), "index": self.index(), "most": self.chance.choice([None, 1, 2])}

    def draw_several(self, depth: int) -> Node:
        return {"of": self.several(depth), "seconds": self.maybe(LIMITS)}

    def draw_group(self, depth: int) -> Node:
        return {"of": self.several(depth), "body": self.node(depth)}

    def draw_wait(self, depth: int) -> Node:
        return {
            "of": self.several(depth),
            "set": self.chance.random() < 0.5,
            "wrap": self.chance.choice(["task", "task", "gather", "shield"]),
            "seconds": self.maybe(LIMITS),
            "when": self.chance.choice(["FIRST_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]),
            "then": self.chance.choice(["leave", "cancel", "cancel", "await", "all"]),
        }

    def draw_completed(self, depth: int) -> Node:
        return {"of": self.several(depth), "seconds": self.maybe(LIMITS)}

    def draw_later(self, depth: int) -> Node:
        return {
            "seconds": self.chance.choice(MOMENTS),
            "back": self.chance.choice([None, None, None, 0.01, 0.1, 1]),
            "body": self.node(depth),
        }

    def draw_callback(self, depth: int) -> Node:
        return {"body": self.node(depth), "then": self.node(depth)}

    def draw_generator(self, depth: int) -> Node:
        return {
            "of": self.several(depth),
            "most": self.chance.choice([0, 0, 1, 2]) if self.timed else 0,
            "clean": self.node(depth),
        }

    def draw_timeout(self, depth: int) -> Node:
        drawn: Node = {"seconds": self.maybe(LIMITS), "body": self.node(depth), "again": None}
        if not self.blocking and self.chance.random() < 0.3:
            drawn |= {"again": self.chance.choice(LIMITS), "then": self.node(depth)}
        return drawn

    def draw_wait_for(self, depth: int) -> Node:
        return {"seconds": self.maybe(LIMITS), "body": self.node(depth)}

    def draw_fail_after(self, depth: int) -> Node:
        return {"seconds": self.chance.choice(LIMITS), "body": self.node(depth)}

    def draw_nursery(self, depth: int) -> Node:
        return {
            "of": self.several(depth),
            "nested": self.chance.random() < 0.5,
            "limit": self.chance.choice(LIMITS),
            "cancel": self.maybe(MOMENTS),
        }

    def draw_move_on(self, depth: int) -> Node:
        return {
            "seconds": self.chance.choice(LIMITS),
            "shield": self.chance.random() < 0.6,
            "body": self.node(depth),
            "clean": self.node(depth),
        }


def random_recipe(
    chance: Random,
    *,
    nodes: int = 16,
    timed: bool = True,
    alone: bool = False,
    blocking: bool = False,
    family: bool = False,
    queued: bool = False,
) -> dict[str, Any]:
    """Draw one or two programs, and what comes from outside while they run: messages and cancels.

    With `blocking` they are run as blocking code; of two sometimes only one is. With `family` they are mostly about
    children, with `queued` most children stand in queues, and some steps wait for slots of one.
    """
    count = 2 if timed and not alone and chance.random() < 0.3 else 1
    recipe: dict[str, Any] = {
        "seed": chance.randrange(2**32),
        "programs": [
            Programmer(
                chance, chance.randint(1, nodes), timed=timed, blocking=blocking, family=family, queued=queued
            ).program()
            for _ in range(count)
        ],
        "blocking": [blocking and (number == 0 or chance.random() < 0.5) for number in range(count)],
        "timeouts": [chance.choice([*LIMITS, *[None] * 24]) if timed else None for _ in range(count)],
        "outside": [],
    }
    for _ in range(chance.randint(0, 5) if timed else 0):
        recipe["outside"].append(
            {
                "after": chance.choice(MOMENTS),
                "do": chance.choice(["send", "send", "send", "send", "ask", "ask", "answer", "cancel"]),
                "to": chance.randrange(count),
                "topic": chance.choice(TOPICS),
                "value": chance.randrange(10),
            }
        )
    return recipe


def recipes(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Give recipes for Hypothesis, which shrinks them."""
    return st.randoms(use_true_random=False).map(lambda chance: random_recipe(chance, **options))
