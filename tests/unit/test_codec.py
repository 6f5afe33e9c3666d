"""Messages to bytes and back: whatever a message holds comes back, whatever else arrives is one DecodeError."""

from __future__ import annotations

import contextlib
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import annotated_types
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distren.errors import DecodeError, DistrenError
from distren.wire import blobs, codec, frames, jobs
from distren.wire.codec import LARGEST_MESSAGE, Message, decode

KINDS = sorted(
    {
        kind
        for module in (blobs, frames, jobs)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Message) and "type" in vars(kind)
    },
    key=lambda kind: kind.type,
)
STORED = {"type": "blob.stored", "version": 1, "digest": "a" * 64}
PROGRESS: dict[str, Any] = {
    "type": "frame.progress",
    "version": 1,
    "worker": "render-3",
    "job": 17,
    "frame": 4,
    "issue": 1,
    "token": "0" * 32,
    "started": 1.7e9,
    "percent": 12.5,
}


# -- any message that there is -----------------------------------------------------------------------------------------


def any_of(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any instance of a message or of a record in one, within the limits that its fields declare."""
    fields = {name: values(field.annotation, field.metadata) for name, field in model.model_fields.items()}
    return st.fixed_dictionaries(fields).map(lambda given: model(**given))


def values(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Any value of a field's type; `metadata` are the limits that pydantic found beside it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return values(inner[0], [*_limits(inner[1:]), *metadata])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values(one, metadata) for one in inner))
    if origin is Literal:
        return st.sampled_from(inner)
    if origin is tuple:
        return st.tuples(*(values(one, []) for one in inner))
    if origin is list:
        return st.lists(values(inner[0], []), max_size=4)
    if origin is dict:
        return st.dictionaries(values(inner[0], []), values(inner[1], []), max_size=4)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any_of(annotation)
    return plain(annotation, metadata)


def plain(kind: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Any number, text or bytes within its limits; a field of another type has no strategy and fails the test."""
    low: Any = next((limit.ge for limit in metadata if isinstance(limit, annotated_types.Ge)), None)
    high: Any = next((limit.le for limit in metadata if isinstance(limit, annotated_types.Le)), None)
    shortest = next((limit.min_length for limit in metadata if isinstance(limit, annotated_types.MinLen)), 0)
    pattern = next((limit.pattern for limit in metadata if getattr(limit, "pattern", None)), None)
    strategies: Mapping[Any, st.SearchStrategy[Any]] = {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(-(2**63) if low is None else low, 2**63 - 1 if high is None else high),
        float: st.floats(low, high, allow_nan=False, allow_infinity=False),
        bytes: st.binary(min_size=shortest, max_size=64),
        str: st.from_regex(pattern.replace("$", r"\Z"))
        if pattern and "x00" not in pattern
        else st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=shortest, max_size=64),
    }
    return strategies[kind]


def _limits(metadata: tuple[Any, ...]) -> list[Any]:
    return [limit for one in metadata for limit in (one.metadata if isinstance(one, FieldInfo) else [one])]


def test_the_modules_of_the_wire_hold_all_messages() -> None:
    assert len(KINDS) > 25
    assert set(KINDS) <= set(codec._KINDS.values())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_comes_back_as_it_was(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(any_of(kind))
    assert decode(message.encode()) == message
    assert kind.expect(message.encode()) == message


def test_a_field_that_a_later_version_adds_is_ignored() -> None:
    assert decode(packed(STORED | {"added": [1, {"by": "a later version"}]})) == blobs.Stored(digest="a" * 64)


def test_a_message_of_another_type_than_expected_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"expected a message of type blob\.read, got blob\.stored"):
        blobs.Read.expect(packed(STORED))


def test_a_message_that_no_receiver_would_take_is_refused_by_its_sender() -> None:
    reason = "x" * 2_000
    listing = [
        jobs.FrameInfo(frame=n, state="failed", attempts=3, worker=None, started=None, ended=None, reason=reason)
        for n in range(5_000)
    ]
    with pytest.raises(DistrenError, match=r"frame\.listing takes \d+ bytes, more than the limit"):
        jobs.Frames(frames=listing, more=False).encode()


# -- hostile input -----------------------------------------------------------------------------------------------------


def packed(fields: object) -> bytes:
    body: bytes = msgpack.packb(fields)
    return body


def refusal(body: bytes) -> str:
    """The text of the DecodeError that `body` gives; it is one line of bearable length."""
    with pytest.raises(DecodeError) as caught:
        decode(body)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 500
    return text


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="a byte that msgpack never uses"),
        pytest.param(packed(STORED)[:-1], id="cut short"),
        pytest.param(packed(STORED) + b"\x00", id="a trailing byte"),
        pytest.param(packed(STORED) * 2, id="two messages"),
        pytest.param(packed([STORED]), id="a list"),
        pytest.param(packed("blob.stored"), id="text"),
        pytest.param(packed(None), id="nil"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="a list of forged length"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of forged length"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="text of forged length"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="bytes of forged length"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x05", id="an extension of forged length"),
        pytest.param(b"\x91" * 100_000, id="deep lists"),
        pytest.param(b"\x81\xa1a" * 100_000, id="deep maps"),
        pytest.param(b"\x81\xa1\xff\x01", id="text that is no UTF-8"),
        pytest.param(b"\x81\x91\x01\x01", id="a list as a key"),
        pytest.param(b"\x81\x01\x01", id="a number as a key"),
        pytest.param(packed(STORED | {"more": msgpack.ExtType(5, b"12")}), id="an extension"),
        pytest.param(packed(STORED | {"more": msgpack.Timestamp(1)}), id="a timestamp"),
        pytest.param(packed(STORED | {"more": msgpack.ExtType(5, b"")}), id="an empty extension"),
    ],
)
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    assert "msgpack" in refusal(body)


def test_a_message_over_the_limit_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_unpack", lambda body: pytest.fail("it was unpacked"))
    assert "larger than the limit" in refusal(bytes(LARGEST_MESSAGE + 1))


@pytest.mark.parametrize("kind", [None, "", "job.explode", "x" * 100_000, b"blob.stored", ["blob.stored"], {}, 1, True])
def test_an_unknown_type_is_refused(kind: object) -> None:
    assert "names no type" in refusal(packed(STORED | {"type": kind}))


@pytest.mark.parametrize("version", [None, 0, 2, -1, 2**63, "1", 1.0, True, [1], {}, b"1", "x" * 100_000, [[1] * 999]])
def test_another_version_is_refused(version: object) -> None:
    assert "this version of DistRen reads 1" in refusal(packed(STORED | {"version": version}))


@pytest.mark.parametrize("missing", ["type", "version", "digest"])
def test_a_message_that_lacks_a_field_is_refused(missing: str) -> None:
    refusal(packed({name: value for name, value in STORED.items() if name != missing}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("job", "17"),
        ("job", 17.0),
        ("job", True),
        ("job", -1),
        ("job", 2**63),
        ("job", None),
        ("worker", ""),
        ("worker", b"render-3"),
        ("worker", "x" * 201),
        ("token", "0" * 31),
        ("token", "0" * 32 + "\n"),
        ("token", "G" * 32),
        ("percent", 100.1),
        ("percent", -0.1),
        ("percent", float("nan")),
        ("percent", "12"),
        ("started", float("inf")),
        ("started", float("nan")),
        ("started", -1.0),
    ],
)
def test_a_field_with_a_value_that_it_can_not_have_is_refused_by_name(field: str, value: object) -> None:
    assert f"frame.progress: field '{field}'" in refusal(packed(PROGRESS | {field: value}))


@pytest.mark.parametrize("key", ["x" * 100_000, "two\nlines", "\x1b[2J"])
def test_a_key_that_would_spoil_the_log_is_quoted_and_cut(key: str) -> None:
    render = {
        "type": "frame.render",
        "version": 1,
        "job": 1,
        "frame": 1,
        "issue": 1,
        "renderer": "povray",
        "manifest": {"digest": "a" * 64, "size": 1},
        "first": 1,
        "last": 2,
        "settings": {key: 1},
        "time_limit": 1.0,
    }
    assert "frame.render: field 'settings." in refusal(packed(render))


@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_be_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(body)


@given(data=st.data())
def test_a_message_with_one_damaged_byte_is_another_message_or_refused(data: st.DataObject) -> None:
    body = bytearray(packed(PROGRESS))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        assert isinstance(decode(bytes(body)), Message)
