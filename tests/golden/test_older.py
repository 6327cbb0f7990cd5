"""What is promised to histories that an older release, or older code of the user, has written.

`older.json` stands for one of both: its bodies of `step_completed` have the result under another name than today, and
its types have fewer fields than the code below.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from everlog import CorruptLog, send, step, workflow
from everlog.core import upcast
from everlog.core.event_codec import decode_event, encode_event
from everlog.core.events import StepCompleted
from everlog.core.upcast import Body
from everlog.replay.divergence import CannotGoOn
from tests.property.replay_worker import Stirrer, replay

OLDER = json.loads((Path(__file__).parent / "older.json").read_text())


@dataclass
class Parcel:
    item: str
    grams: int
    fragile: bool = False  # is not in the history


@dataclass
class Label:
    number: int
    parcel: Parcel
    colours: list[str] = field(default_factory=lambda: ["white"])  # nor is this


@step
async def weigh(parcel: Parcel, *, scale: str = "exact") -> int:
    raise AssertionError("it has run")


@step
async def print_label(parcel: Parcel, copies: int) -> Label:
    raise AssertionError("it has run")


async def shipping(parcel: Parcel) -> Label:
    assert not parcel.fragile
    grams = await weigh(parcel, scale="exact")
    label = await print_label(Parcel(parcel.item, grams), 2)
    assert label.colours == ["white"]
    await asyncio.sleep(5)
    return label


def renamed(body: Body) -> Body:
    """Turn the older body of `step_completed` into today's."""
    return {("result" if name == "output" else name): held for name, held in body.items()}


@pytest.fixture
def upcasting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(upcast.UPCASTERS, "step_completed", renamed)  # type: ignore[arg-type] # is a dict at heart


def replayed(code: Callable[..., Any], change: Callable[[str], str] = lambda payload: payload) -> None:
    """Replay the older history with this code."""
    workflow(code, name="older shipping")
    recorded = copy.deepcopy(OLDER)
    recorded["rows"] = [[seq, at, change(payload)] for seq, at, payload in recorded["rows"]]
    replay(recorded, Stirrer(1))


@pytest.mark.usefixtures("upcasting")
def test_a_history_with_older_bodies_and_fewer_fields_replays() -> None:
    replayed(shipping)


def test_without_its_upcaster_an_older_body_is_refused_and_not_guessed() -> None:
    with pytest.raises(CorruptLog, match="result"):
        replayed(shipping)


def test_an_upcaster_touches_its_own_tag_and_no_payload() -> None:
    payload = OLDER["rows"][3][2].encode()
    today = upcast.upcast(payload, {"step_completed": renamed})
    assert json.loads(today) == renamed(json.loads(payload))
    event = decode_event(today)
    assert isinstance(event, StepCompleted)
    assert bytes(event.result) == b'{"number":7,"parcel":{"item":"cup","grams":250}}'
    assert event.attempt == 1, "a field that the body lacks takes its default"
    assert encode_event(event) == today
    other = OLDER["rows"][0][2].encode()
    assert upcast.upcast(other, {"step_completed": renamed}) is other
    exact = b'{"type":"step_completed","output":[1.0,-0.0,123456789012345678901234567890,"\\u00e9"]}'
    assert json.loads(upcast.upcast(exact, {"step_completed": renamed}))["result"] == json.loads(exact)["output"]


def test_a_field_that_only_a_newer_release_knows_is_ignored_and_a_newer_event_is_refused() -> None:
    known = OLDER["rows"][5][2]
    assert decode_event(known[:-1].encode() + b',"since_2_0":true}') == decode_event(known.encode())
    with pytest.raises(CorruptLog, match="if a newer version wrote it, use that version"):
        decode_event(b'{"type":"step_teleported","operation":"x"}')


# -- changed meanings


async def weighs_in_kilos(parcel: Parcel) -> Label:
    grams = await weigh(parcel)
    label = await print_label(Parcel(parcel.item, grams // 1000), 2)
    await asyncio.sleep(5)
    return label


async def returns_another_default(parcel: Parcel) -> Label:
    grams = await weigh(parcel)
    label = await print_label(Parcel(parcel.item, grams), 2)
    await asyncio.sleep(5)
    return Label(label.number, label.parcel, ["red"])


@dataclass
class Priced:
    number: int
    parcel: Parcel
    price: Decimal


async def prints_a_price(parcel: Parcel) -> Any:
    grams = await weigh(parcel)

    async def priced(parcel: Parcel, copies: int) -> Priced:
        raise AssertionError("it has run")

    return await step(priced, name="print_label")(Parcel(parcel.item, grams), 2)


async def takes_a_number(parcel: int) -> None:
    raise AssertionError("its input does not fit")


async def passes_a_required_field(parcel: Parcel) -> Any:
    async def weigh(parcel: Parcel, *, scale: str) -> int:
        raise AssertionError("it has run")

    return await step(weigh, name="weigh")(parcel, scale="exact")


@pytest.mark.usefixtures("upcasting")
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (weighs_in_kilos, ["seq 4", "print_label", '"grams":250', '"grams":0']),
        (returns_another_default, ["seq 7", "the code ended otherwise", "red"]),
        (prints_a_price, ["does not fit the code", "result of step print_label", "'price' is missing", "default"]),
        (takes_a_number, ["the recorded input no longer fits workflow", "$.parcel", "expected int"]),
        (passes_a_required_field, ["seq 3", "weigh", '"scale":"exact"']),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_changed_meaning_is_refused_and_the_message_says_what_differs(
    code: Callable[..., Any], told: list[str]
) -> None:
    with pytest.raises(CannotGoOn) as stuck:
        replayed(code)
    assert [part for part in told if part not in stuck.value.why] == [], stuck.value.why


@pytest.mark.usefixtures("upcasting")
@pytest.mark.parametrize(("message", "goes_on"), [(Parcel("cup", 1), True), (Parcel("cup", 1, True), False)])
def test_a_message_whose_class_has_a_new_field_is_the_same_message(message: Parcel, goes_on: bool) -> None:
    """The history has the message as the older class gave it."""

    async def sends(parcel: Parcel) -> None:
        await send("other", "box", message)

    sent = (
        '{"type":"message_sent","operation":"send","to":"other","topic":"box",'
        '"message":{"$type":"Parcel","$value":{"item":"cup","grams":1}}}'
    )
    ended = '{"type":"workflow_completed","result":null}'
    rows = [*OLDER["rows"][:2], [3, OLDER["rows"][1][1], sent], [4, OLDER["rows"][1][1], ended]]
    workflow(sends, name="older shipping")
    if goes_on:
        replay({**OLDER, "rows": rows}, Stirrer(1))
    else:
        with pytest.raises(CannotGoOn, match="seq 3"):
            replay({**OLDER, "rows": rows}, Stirrer(1))
