"""Explain: the sentence that says why a workflow is where it is."""

from __future__ import annotations

from typing import Any

import pytest

from everlog.core.explain import why
from everlog.core.failures import Failure
from everlog.core.state import OpenChild, OpenOperation, WorkflowState

SECOND = 1_000_000
BEGINNING = 1_700_000_000 * SECOND
NOW = BEGINNING + 90 * SECOND
IN_AN_HOUR = NOW + 3600 * SECOND
FAILURE = Failure(type="builtins:ValueError", message="no")


def at(**changes: Any) -> WorkflowState:
    base: dict[str, Any] = {"name": "shop", "status": "begun", "created_at": BEGINNING, "began_at": BEGINNING}
    return WorkflowState(**{**base, **changes})


def opened(kind: Any, *names: str, **changes: Any) -> dict[str, OpenOperation]:
    return {name: OpenOperation(kind=kind, operation=name, name=name, since=BEGINNING, **changes) for name in names}


def children(*names: str) -> dict[str, OpenChild]:
    return {
        name: OpenChild(child=name, operation=name, name="ship", since=BEGINNING, when_parent_ends="cancel")
        for name in names
    }


SENTENCES: list[tuple[str, str | None, WorkflowState, str]] = [
    ("queued", None, at(), "It has waited 90 s for a worker that knows 'shop'."),
    ("running", None, at(), "It is running."),
    ("waiting", None, at(), "It waits, but for no step, timer, message or child."),
    ("waiting", None, at(children=children("a")), "It has had a child, 'a', for 90 s, which goes on."),
    (
        "waiting",
        None,
        at(children=children(*"abcde"), open=opened("wait", "n")),
        (
            "It has waited 90 s for a message on topic 'n'; it has 5 children that go on, the first for 90 s: 'a', 'b',"
            " 'c' and 2 more."
        ),
    ),
    ("stuck", "the code changed", at(), "It is stuck: the code changed"),
    ("stuck", None, at(), "It is stuck: no reason was recorded"),
    ("cancelled", None, at(), "It was cancelled."),
    ("cancelled", "no money", at(), "It was cancelled: no money"),
    (
        "completed",
        None,
        at(ended_at=BEGINNING + 5 * SECOND, steps_completed=2),
        "It returned after 5 s, having run 2 steps.",
    ),
    (
        "completed",
        None,
        at(ended_at=BEGINNING + 5 * SECOND, steps_completed=1),
        "It returned after 5 s, having run 1 step.",
    ),
    ("failed", "ValueError: no", at(ended_at=BEGINNING + SECOND // 2), "It failed after 500 ms: ValueError: no"),
    ("waiting", None, at(open=opened("timer", "t", due_at=IN_AN_HOUR)), "It sleeps until 2023-11-14 23:14:50 UTC."),
    ("waiting", None, at(open=opened("wait", "news")), "It has waited 90 s for a message on topic 'news'."),
    (
        "waiting",
        None,
        at(open=opened("wait", "news", due_at=IN_AN_HOUR), cancel_requested=True),
        "It has waited 90 s for a message on topic 'news', until 2023-11-14 23:14:50 UTC. It was asked to stop.",
    ),
    ("running", None, at(open=opened("step", "charge")), "It has run step 'charge' for 90 s."),
    ("running", None, at(open=opened("step", "charge", attempt=2)), "It has run step 'charge' (attempt 2) for 90 s."),
    (
        "waiting",
        None,
        at(open=opened("step", "charge", attempt=3, due_at=IN_AN_HOUR, failure=FAILURE)),
        "It tries step 'charge' for the 3rd time at 2023-11-14 23:14:50 UTC (no).",
    ),
    (
        "running",
        None,
        at(open=opened("step", "a", "b", "c", "d", "e")),
        "It has run step 'a' for 90 s; it has run step 'b' for 90 s; it has run step 'c' for 90 s, and 2 more.",
    ),
]


@pytest.mark.parametrize(("state", "summary", "folded", "sentence"), SENTENCES)
def test_why_is_a_sentence(state: str, summary: str | None, folded: WorkflowState, sentence: str) -> None:
    assert why(state, summary, folded, NOW) == sentence


@pytest.mark.parametrize(
    ("attempt", "word"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st"), (112, "112th")]
)
def test_attempts_are_counted_as_people_do(attempt: int, word: str) -> None:
    folded = at(open=opened("step", "charge", attempt=attempt, due_at=IN_AN_HOUR))
    assert f"for the {word} time" in why("waiting", None, folded, NOW)
