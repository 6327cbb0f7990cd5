"""The checker of the soak: it holds what is right for right, and each law finds what is planted against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.soak.checker import LAWS, History, Town
from tests.soak.ledger import Entry

EVERY = 2


def history(workflow_id: str, *events: dict[str, Any], state: str = "completed") -> History:
    made = History(workflow_id, state, len(events))
    for seq, event in enumerate(events, start=1):
        made.add(seq, event)
    return made


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def right_town() -> Town:
    order = history(
        "order-1",
        event("workflow_created", name="soak.order"),
        event("workflow_began"),
        event("items_emitted", operation="emit", count=3),
        event("step_completed", operation="pay", step="soak.pay", started_at=5),
        event("workflow_completed", result=16),
    )
    mailbox = history(
        "mailbox-2",
        event("workflow_created", name="soak.mailbox"),
        event("message_received", operation="recv"),
        event("message_received", operation="recv#2"),
        event("workflow_completed", result=[[0, 0], [0, 1]]),
    )
    patient = history(
        "patient-3",
        event("workflow_created", name="soak.patient"),
        event("workflow_began"),
        event("step_completed", operation="undo", step="soak.undo", started_at=6),
        event("workflow_cancelled"),
        state="cancelled",
    )
    ticks = [
        history(
            f"tick-{at}", event("workflow_created", name="soak.tick", tick=at), event("workflow_completed", result=0)
        )
        for at in (0, EVERY * 1_000_000, 2 * EVERY * 1_000_000)
    ]
    ledger = [
        Entry(1, 7, "started", ["order-1", 16]),
        Entry(2, 7, "started", ["mailbox-2", None]),
        Entry(3, 7, "sent", ["mailbox-2", 0, 0]),
        Entry(4, 7, "sent", ["mailbox-2", 0, 1]),
        Entry(5, 7, "cancelled", ["patient-3"]),
        Entry(6, 8, "begins", ["narrow", "a"]),
        Entry(7, 7, "gone", [8]),
        Entry(8, 9, "begins", ["narrow", "a"]),
        Entry(9, 9, "ends", ["narrow", "a"]),
    ]
    return Town(
        {one.id: one for one in [order, mailbox, patient, *ticks]},
        Counter({"order-1": 1}),
        ledger,
        {"narrow": 1},
        EVERY,
    )


def lose_workflow(town: Town) -> None:
    del town.histories["mailbox-2"]


def return_another(town: Town) -> None:
    town.histories["order-1"].events[-1]["result"] = 17


def leave_one_stuck(town: Town) -> None:
    town.histories["order-1"].state = "stuck"


def leave_a_gap(town: Town) -> None:
    town.histories["order-1"].seqs[2] = 4


def move_the_head(town: Town) -> None:
    town.histories["order-1"].seq += 1


def end_twice(town: Town) -> None:
    town.histories["order-1"].events[-2] = event("workflow_failed")


def end_an_operation_twice(town: Town) -> None:
    town.histories["mailbox-2"].events[2]["operation"] = "recv"


def lose_a_letter(town: Town) -> None:
    town.ledger.append(Entry(10, 7, "sent", ["mailbox-2", 0, 2]))


def receive_in_another_order(town: Town) -> None:
    town.histories["mailbox-2"].events[-1]["result"].reverse()


def pay_twice(town: Town) -> None:
    town.payments["order-1"] += 1


def pay_without_a_record(town: Town) -> None:
    town.payments["order-9"] += 1


def forget_to_undo(town: Town) -> None:
    town.histories["patient-3"].events[2]["step"] = "another"


def end_what_was_cancelled_well(town: Town) -> None:
    town.histories["patient-3"].state = "completed"


def lose_a_tick(town: Town) -> None:
    del town.histories[f"tick-{EVERY * 1_000_000}"]


def exceed_a_limit(town: Town) -> None:
    town.ledger.insert(-1, Entry(9, 10, "begins", ["narrow", "b"]))


def emit_twice(town: Town) -> None:
    town.histories["order-1"].events[2]["count"] = 4


PLANTED: dict[Callable[[Town], None], str] = {
    lose_workflow: "acknowledged_workflows_are_there",
    return_another: "acknowledged_workflows_are_there",
    leave_one_stuck: "all_have_ended",
    leave_a_gap: "histories_are_dense",
    move_the_head: "histories_are_dense",
    end_twice: "there_is_one_end",
    end_an_operation_twice: "operations_end_once",
    lose_a_letter: "letters_are_received_once_in_order",
    receive_in_another_order: "letters_are_received_once_in_order",
    pay_twice: "rows_are_paid_once",
    pay_without_a_record: "rows_are_paid_once",
    forget_to_undo: "what_was_cancelled_is_undone",
    end_what_was_cancelled_well: "what_was_cancelled_is_undone",
    lose_a_tick: "ticks_come_once",
    exceed_a_limit: "limits_hold",
    emit_twice: "streams_are_whole",
}


def broken_laws(town: Town) -> set[str]:
    return {law.__name__ for law in LAWS if list(law(town))}


def test_what_is_right_breaks_no_law() -> None:
    assert broken_laws(right_town()) == set()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(plant: Callable[[Town], None]) -> None:
    town = right_town()
    plant(town)
    assert PLANTED[plant] in broken_laws(town)


def test_every_law_has_something_planted_against_it() -> None:
    assert set(PLANTED.values()) == {law.__name__ for law in LAWS}
