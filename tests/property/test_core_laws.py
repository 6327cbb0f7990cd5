"""Laws of the core: a history may be folded in parts, and delays of retries keep their bounds."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import asdict

from everlog import RetryPolicy
from everlog.core import events
from everlog.core.event_parts import CarriedChild, CarriedMessage
from everlog.core.events import AnyEvent, WorkflowCreated
from everlog.core.failures import Failure
from everlog.core.retry import next_delay
from everlog.core.state import EMPTY, WorkflowState, evolve, fold

SECOND = 1_000_000
BEGINNING = 1_700_000_000 * SECOND
TIMES = st.integers(BEGINNING, BEGINNING + 10**12)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "operation": st.sampled_from(["a", "b", "c#2"]),
    "attempt": st.integers(1, 5),
    "due_at": TIMES,
    "retry_at": TIMES,
    "started_at": TIMES,
    "arrived_at": TIMES,
    "number": st.integers(1, 9),
    "format": st.just(1),
    "error": st.just(Failure(type="builtins:ValueError", message="no")),
    "input": st.just(Raw(b"1")),
    "result": st.just(Raw(b"1")),
    "message": st.just(Raw(b"1")),
    "large_input": st.none(),
    "large_items": st.none(),
    "value": st.just(Raw(b"1")),
    "items": st.just(Raw(b"[1]")),
    "offset": st.integers(0, 5),
    "count": st.integers(1, 3),
    "timeout": st.none() | st.integers(1, 10**12),
    "deadline": st.none() | TIMES,
    "asked_at": TIMES,
    "to": st.integers(1, 12),
    "at": st.integers(1, 12),
    "terminated": st.booleans(),
    "existed": st.booleans(),
    "control": st.booleans(),
    "ask": st.booleans(),
    "title": st.none() | st.just("May I?"),
    "metadata": st.just(Raw(b"{}")),
    "schema": st.just(Raw()),
    "just_this": st.booleans(),
    "sent_as": st.none() | st.integers(1, 9),
    "answer": st.just(Raw(b"1")),
    "rewind_to": st.none() | st.integers(1, 12),
    "attributes": st.dictionaries(st.sampled_from(["tenant", "tags"]), st.sampled_from(["acme", 1, ("a", "b")])),
    "created": st.builds(WorkflowCreated, name=st.just("flow"), input=st.just(Raw(b"1")), seed=st.just("0")),
    "began_at": TIMES,
    "children": st.just(()) | st.just((CarriedChild(child="x/a", operation="a", name="flow", since=BEGINNING),)),
    "messages": st.just(())
    | st.just((CarriedMessage(source="x", number=1, topic="y", arrived_at=BEGINNING, message=Raw(b"1")),)),
    "closed": st.just(()) | st.just(("x",)),
    "told": st.just(()) | st.just((("x", 1),)),
    "inherited": st.booleans(),
}


def events_of_every_kind() -> st.SearchStrategy[AnyEvent]:
    """Give events of every type; their order need make no sense."""
    text = st.sampled_from(["x", "y"])
    return st.one_of(
        *(
            st.builds(kind, **{name: FIELDS.get(name, text) for name in kind.__struct_fields__})
            for kind in get_args(AnyEvent)
        )
    )


@given(st.lists(events_of_every_kind(), max_size=12), st.integers(0, 12))
def test_a_history_may_be_folded_in_parts(parts: list[AnyEvent], cut: int) -> None:
    history = [(seq, BEGINNING + seq, event) for seq, event in enumerate(parts, start=1)]
    whole = fold(history)
    assert fold(history[cut:], fold(history[:cut])) == whole
    assert whole.seq == len(history)
    assert fold(iter(history)) == whole


@given(events_of_every_kind())
def test_one_more_event_changes_no_earlier_state(event: AnyEvent) -> None:
    before = fold([(1, BEGINNING, events.WorkflowCreated(name="n", input=Raw(b"{}"), seed="s"))])
    copied = asdict(before)
    assert evolve(before, 2, BEGINNING + 1, event).seq == 2
    assert asdict(before) == copied
    assert WorkflowState() == EMPTY


POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.none() | st.integers(1, 20),
    first_delay=st.floats(0, 1e6),
    backoff=st.floats(1, 1e6),
    max_delay=st.floats(0, 1e9),
    jitter=st.floats(0, 1),
)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(POLICIES, st.integers(1, 10**6), CHANCES)
def test_a_delay_is_whole_and_never_over_the_longest(policy: RetryPolicy, attempt: int, chance: float) -> None:
    delay = next_delay(policy, attempt, ValueError(), chance)
    if policy.max_attempts is not None and attempt >= policy.max_attempts:
        assert delay is None
    else:
        assert isinstance(delay, int)
        assert 0 <= delay <= policy.max_delay


@given(POLICIES, st.integers(1, 50))
def test_without_chance_delays_never_shrink(policy: RetryPolicy, attempt: int) -> None:
    one, next_one = (next_delay(policy, number, ValueError(), 0.5) for number in (attempt, attempt + 1))
    if one is not None and next_one is not None:
        assert one <= next_one


@given(st.integers(1, 9), CHANCES)
def test_a_delay_is_within_its_jitter(attempt: int, chance: float) -> None:
    policy = RetryPolicy(max_attempts=10, first_delay=1, backoff=2, jitter=0.25)
    delay = next_delay(policy, attempt, ValueError(), chance)
    assert delay is not None
    assert 0.75 * 2 ** (attempt - 1) * SECOND - 1 <= delay <= 1.25 * 2 ** (attempt - 1) * SECOND + 1
