"""Layers of codecs alone: what each writes and reads, what it refuses, and what it says where something is missing."""

from __future__ import annotations

import logging
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everlog.codecs import Chain, Compressed, Encrypted, Json, Keys, Layer, Offloaded, Wrapped, chain
from everlog.core.failures import Failure, describe, opened, rebuild, recoded
from everlog.core.sealed import HIDDEN, envelope_of, is_sealed, opened_body, shown_text
from everlog.errors import PayloadUnavailable, UsageError

ONE, TWO = {"one": b"1" * 32}, {"two": b"2" * 32}
LARGE = "large " * 40_000
KEY = b64encode(b"k" * 32).decode()


def sealing(keys: dict[str, bytes] = ONE) -> Chain:
    return chain(Json(), Compressed(), Encrypted(keys))


def by(payload: bytes) -> list[str]:
    envelope = envelope_of(payload)
    return [] if envelope is None else [name for name, _ in envelope.by]


def test_an_envelope_is_as_the_page_says() -> None:
    payload = chain(Json(), Encrypted(ONE)).encode({"cents": 500})
    plain = msgspec.json.decode(payload)
    assert list(plain) == ["$", "by", "v"]
    assert plain["$"] == "sealed"
    assert [(name, note.partition(":")[0]) for name, note in plain["by"]] == [("aes-256-gcm", "one")]
    assert msgspec.json.decode(chain(Json(), Compressed(over=0)).encode("a" * 99))["by"] == [["zlib", ""]]


def test_what_no_layer_has_touched_is_the_json_that_it_was() -> None:
    made = chain(Json(), Compressed(over=100), Offloaded("never", over=1000))
    assert made.encode({"small": 1}) == b'{"small":1}'
    assert made.mark == "", "what it can open depends on no key"


@pytest.mark.parametrize(("method", "other"), [("zlib", "zstd"), ("zstd", "zlib")])
def test_compressed_payloads_are_small_and_read_by_the_other_method(method: Any, other: Any) -> None:
    payload = chain(Json(), Compressed(method)).encode(LARGE)
    assert by(payload) == [method]
    assert len(payload) < len(LARGE) / 50
    assert chain(Json(), Compressed(other)).decode(payload) == LARGE
    envelope = envelope_of(payload)
    assert envelope is not None
    for broken in (envelope.v[:-8], b"nothing compressed", b""):
        with pytest.raises(PayloadUnavailable, match="compressed"):
            Compressed(other).unwrap(broken, method, "")


def test_what_does_not_become_smaller_is_left_as_it_is() -> None:
    assert Compressed(over=0).wrap(b"\x00\x01\x02") is None


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Compressed("lzma"), "'zlib' and 'zstd', got 'lzma'"),  # type: ignore[arg-type]  # that is the test
        (lambda: Compressed(level=10), "from 1 to 9, got 10"),
        (lambda: Compressed(over=-1), "at least 0 bytes, got -1"),
        (lambda: Offloaded("x", over=-1), "at least 0 bytes, got -1"),
        (lambda: Offloaded("no-such-scheme://x"), "cannot open no-such-scheme://x"),
        (lambda: Encrypted({}), "at least one key"),
        (lambda: Encrypted({"one": b"short"}), "key 'one' must be 32 bytes"),
        (lambda: Encrypted({"with space": b"1" * 32}), "got 'with space'"),
        (lambda: chain(Json(), Encrypted(ONE), Compressed()), "an order that is of no use"),
        (lambda: chain(Json(), Offloaded("x"), Encrypted(ONE)), "an order that is of no use"),
        (lambda: chain(Json(), Json()), "as a layer"),  # type: ignore[arg-type]  # that is the test
        (lambda: chain(sealing()), "give Json\\(\\) there"),
    ],
)
def test_what_would_be_of_no_use_is_refused(make: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        make()


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("zstandard", lambda: Compressed("zstd"), "zstd"),
        ("cryptography.hazmat.primitives.ciphers.aead", lambda: Encrypted(ONE), "crypto"),
        ("fsspec.core", lambda: Offloaded("memory://x"), "fsspec"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"everlog\[{extra}\]"):
        make()


def test_zstandard_that_is_not_installed_is_said_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = chain(Json(), Compressed("zstd")).encode(LARGE)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(PayloadUnavailable, match=r"the input: .*everlog\[zstd\]"):
        chain(Json(), Compressed()).decode(payload, what="the input")


# -- keys


def test_the_first_key_seals_and_all_open() -> None:
    both = sealing({**TWO, **ONE})
    assert both.decode(sealing(ONE).encode(5)) == 5
    assert sealing(TWO).decode(both.encode(5)) == 5
    with pytest.raises(PayloadUnavailable, match="value: it was sealed with key 'two', and the keys here are one;"):
        sealing(ONE).decode(both.encode(5))


def test_another_key_of_the_same_id_is_told_from_damage_and_opens_under_any_id() -> None:
    payload, wrong = sealing(ONE).encode(5), {"one": b"x" * 32}
    with pytest.raises(PayloadUnavailable, match="there is another of that id"):
        sealing(wrong).decode(payload)
    assert sealing({**wrong, "found-again": ONE["one"]}).decode(payload) == 5


def test_the_mark_says_what_can_be_opened_and_nothing_of_the_keys() -> None:
    marks = [sealing(keys).mark for keys in (ONE, TWO, {**ONE, **TWO}, {"one": b"x" * 32})]
    assert len(set(marks)) == 4
    assert all(len(mark) == 8 for mark in marks)
    assert sealing({**TWO, **ONE}).mark == marks[2], "in which order makes no difference to what can be opened"


def test_the_json_codec_and_chains_without_the_layer_say_what_is_missing() -> None:
    payload = sealing().encode(5)
    for declared in (int, Any, dict[str, Any], Failure):
        with pytest.raises(PayloadUnavailable, match="the input: it was sealed by aes-256-gcm"):
            Json().decode(payload, declared, what="the input")
    with pytest.raises(PayloadUnavailable, match="written through 'aes-256-gcm', and the chain of codecs here undoes"):
        chain(Json(), Compressed()).decode(payload)


def test_keys_are_read_from_text_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"# ours\n2026-02 = {KEY}   # since May\n\n2026-01={b64encode(b'o' * 32).decode()}\n"
    (tmp_path / "keys").write_text(text)
    monkeypatch.setenv("EVERLOG_KEYS", text)
    for keys in (Keys.from_text(text), Keys.from_file(tmp_path / "keys"), Keys.from_environment()):
        assert list(keys) == ["2026-02", "2026-01"]
        assert (keys.first, len(keys), keys["2026-01"]) == ("2026-02", 2, b"o" * 32)
        assert repr(keys) == "<Keys 2026-02, 2026-01>"
        assert KEY not in repr(Encrypted(keys))
    monkeypatch.setenv("EVERLOG_KEYS", f"a={KEY},b={KEY}")
    assert list(Keys.from_environment()) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no keys"),
        ("# only a remark", "has no keys"),
        (f"a={KEY}\nb=secret", "line 2: what stands there is no id=secret"),
        (f"a={KEY}\na={KEY}", "line 2: a is there twice"),
        (KEY, "line 1: what stands there"),
        (f"with space={KEY}", "got 'with space'"),
    ],
)
def test_keys_that_cannot_be_read_are_refused_without_showing_them(text: str, match: str) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        Keys.from_text(text)
    assert KEY not in str(caught.value)
    assert "secret=" not in str(caught.value)


def test_keys_that_are_not_there_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERLOG_KEYS", raising=False)
    with pytest.raises(UsageError, match="the variable EVERLOG_KEYS has no keys"):
        Keys.from_environment()
    with pytest.raises(UsageError, match="cannot be read from"):
        Keys.from_file(tmp_path / "none")


# -- files


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_large_payloads_are_files_named_by_what_they_hold(tmp_path: Path) -> None:
    made = chain(Json(), Offloaded(tmp_path / "payloads", over=1000))
    payload = made.encode(LARGE)
    assert len(payload) < 200
    assert made.encode(LARGE) == payload
    assert made.encode("small") == b'"small"'
    (file,) = files(tmp_path)
    assert file.read_bytes() == Json().encode(LARGE)
    again = chain(Json(), Offloaded(tmp_path / "payloads"))
    assert again.decode(payload) == LARGE
    file.write_bytes(b"something else")
    with pytest.raises(PayloadUnavailable, match="was changed or cut off"):
        again.decode(payload)
    file.unlink()
    with pytest.raises(PayloadUnavailable, match="cannot be read in"):
        again.decode(payload)
    assert made.encode(LARGE) == payload, "it is written again"
    assert again.decode(payload) == LARGE


def test_what_lies_in_files_is_encrypted_before(tmp_path: Path) -> None:
    made = chain(Json(), Compressed("zstd"), Encrypted(ONE), Offloaded(tmp_path, over=0))
    payload = made.encode(LARGE)
    assert by(payload) == ["zstd", "aes-256-gcm", "file"]
    (file,) = files(tmp_path)
    assert b"large" not in file.read_bytes()
    assert made.decode(payload) == LARGE


def test_places_of_fsspec_work_as_directories_do() -> None:
    made = chain(Json(), Offloaded("memory://everlog-test-of-codecs", over=1000))
    payload = made.encode(LARGE)
    assert by(payload) == ["file"]
    assert chain(Json(), Offloaded("memory://everlog-test-of-codecs")).decode(payload) == LARGE
    with pytest.raises(PayloadUnavailable, match="cannot be read in memory://elsewhere"):
        chain(Json(), Offloaded("memory://elsewhere")).decode(payload)


def test_where_no_file_can_be_written_the_payload_is_kept_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in the way").write_text("a file, where the directory should be")
    made = chain(Json(), Offloaded(tmp_path / "in the way", over=10))
    with caplog.at_level(logging.WARNING, "everlog"):
        payload = made.encode("a payload that is not lost")
    assert payload == b'"a payload that is not lost"'
    assert "is kept in the log instead" in caplog.text
    assert "not lost" not in caplog.text


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63 + "/"])
def test_a_file_that_the_log_names_otherwise_than_we_do_is_not_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(PayloadUnavailable, match="no name that is given here"):
        Offloaded(tmp_path).unwrap(b"", "file", name)


# -- layers of users, texts, and what people see


class Reversed(Layer):
    names = ("reversed",)

    def wrap(self, data: bytes) -> Wrapped:
        return Wrapped(data[::-1], "reversed")

    def unwrap(self, data: bytes, name: str, note: str) -> bytes:
        return data[::-1]


def test_a_layer_of_a_user_stands_anywhere() -> None:
    made = chain(Json, Reversed(), Encrypted(ONE))
    assert by(made.encode("ab")) == ["reversed", "aes-256-gcm"]
    assert made.decode(made.encode("ab")) == "ab"


class Impostor(Json):
    """Writes what looks like an envelope."""

    def encode(self, value: object, declared: object = Any, *, what: str = "value") -> bytes:
        return b'{"$":"sealed","by":[],"v":""}'


def test_what_only_looks_like_an_envelope_is_put_into_one() -> None:
    made = chain(Impostor(), Compressed())
    assert made.open(made.encode(1)) == Impostor().encode(1)


def test_texts_of_exceptions_are_sealed_with_all_their_causes() -> None:
    made = sealing()

    def raised() -> Exception:
        try:
            try:
                raise KeyError("hidden cause")
            except KeyError as cause:
                error = ExceptionGroup("hidden group", [ValueError("hidden", 42)])
                error.add_note("hidden note")
                raise error from cause
        except ExceptionGroup as error:
            return error

    failure = describe(raised(), made)
    assert "hidden" not in msgspec.json.encode(failure).decode()
    assert failure.type == "builtins:ExceptionGroup"
    assert shown_text(failure.message) == HIDDEN
    assert opened(failure, made).message == "hidden group"
    back = rebuild(failure, made, may_import=lambda package: False)
    assert isinstance(back, ExceptionGroup)
    assert back.args[0] == "hidden group"
    assert back.exceptions[0].args == ("hidden", 42)
    assert "hidden note" in back.__notes__
    assert isinstance(back.__cause__, KeyError)
    for codec in (Json(), sealing(TWO)):
        with pytest.raises(PayloadUnavailable, match="the message of an exception"):
            rebuild(failure, codec, may_import=lambda package: False)
    plain = describe(raised(), Json())
    moved = recoded(plain, Json(), made)
    assert "hidden" not in msgspec.json.encode(moved).decode()
    assert rebuild(moved, made, may_import=lambda package: False).args[0] == "hidden group"


def test_where_nothing_conceals_texts_stay_as_they_are() -> None:
    made = chain(Json(), Compressed(over=0))
    assert describe(ValueError("seen"), made).message == "seen"


def test_an_exception_whose_text_looks_sealed_hurts_nobody() -> None:
    text = sealing().seal_text("another database's")
    failure = describe(ValueError(text), Json())
    assert not is_sealed(failure.message)
    assert rebuild(failure, Json(), may_import=lambda package: False).args == (text,)


def test_events_are_opened_for_people_as_far_as_the_key_goes() -> None:
    old, new = sealing(ONE), sealing(TWO)
    body = msgspec.json.encode(
        {
            "type": "step_completed",
            "input": msgspec.Raw(old.encode({"n": 1})),
            "result": msgspec.Raw(new.encode([2, "two"])),
            "error": {"message": old.seal_text("why")},
            "items": [msgspec.Raw(old.encode(3)), 4],
        }
    )
    opened_by_old = msgspec.json.decode(opened_body(body, old))
    assert opened_by_old["input"] == {"n": 1}
    assert opened_by_old["result"]["$"] == "sealed"
    assert opened_by_old["error"] == {"message": "why"}
    assert opened_by_old["items"] == [3, 4]
    assert msgspec.json.decode(opened_body(body, new))["error"] == {"message": HIDDEN}
    assert opened_body(body, Json()) is body
