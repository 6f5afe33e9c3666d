"""Messages to bytes and back: msgpack maps that carry their `type` and `version`.

Whatever arrives is hostile until it is decoded: the size is capped before unpacking, lengths are capped while
unpacking, extension types are refused, and the fields are checked strictly. What a DecodeError quotes of it is cut.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import msgpack
from pydantic import BaseModel, ConfigDict, ValidationError

from distren.errors import DecodeError, DistrenError

LARGEST_MESSAGE = 8 * 2**20
"""bytes; under the 16 MiB that RabbitMQ 4 takes by default"""
_LONGEST_LIST = 200_000
_LONGEST_QUOTE = 80
_KINDS: dict[str, type[Message]] = {}


class Message(BaseModel):
    """The base of every message; a subclass names its type: `class Report(Message, type="worker.report")`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False, protected_namespaces=())
    type: ClassVar[str]
    version: ClassVar[int] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, *, type: str | None = None, version: int = 1, **more: Any) -> None:  # noqa: A002
        super().__pydantic_init_subclass__(**more)
        if type is not None:
            cls.type = type
            cls.version = version
            _KINDS[type] = cls

    def __init_subclass__(cls, *, type: str | None = None, version: int = 1, **more: Any) -> None:  # noqa: A002
        super().__init_subclass__(**more)

    def encode(self) -> bytes:
        """The message as msgpack; raises DistrenError for one that no receiver would take, as it is too large."""
        packed: bytes = msgpack.packb(
            {"type": self.type, "version": self.version, **self.model_dump()}, use_bin_type=True
        )
        if len(packed) > LARGEST_MESSAGE:
            raise DistrenError(
                f"a message of type {self.type} takes {len(packed)} bytes, more than the limit of {LARGEST_MESSAGE}"
            )
        return packed

    @classmethod
    def expect(cls, body: bytes) -> Self:
        """Decode `body`, which must hold a message of this very type; raises DecodeError."""
        message = decode(body)
        if not isinstance(message, cls):
            raise DecodeError(f"expected a message of type {cls.type}, got {message.type}")
        return message


def decode(body: bytes) -> Message:
    """The message that `body` holds; raises DecodeError that says why it can not be understood."""
    if len(body) > LARGEST_MESSAGE:
        raise DecodeError(f"a message of {len(body)} bytes is larger than the limit of {LARGEST_MESSAGE}")
    fields = _unpack(body)
    kind = _KINDS.get(str(fields.pop("type", None)))
    version = fields.pop("version", None)
    if kind is None:
        raise DecodeError("the message names no type that this version of DistRen knows")
    if type(version) is not int or version != kind.version:
        raise DecodeError(f"{kind.type} has version {_quoted(version)}; this version of DistRen reads {kind.version}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DecodeError(f"{kind.type}: field {_quoted(where)}: {first['msg'].lower()}") from error


def _unpack(body: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            ext_hook=_no_extension,
            max_array_len=_LONGEST_LIST,
            max_map_len=_LONGEST_LIST,
            max_ext_len=0,  # a timestamp is an extension that the hook is not asked about
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        why = str(error) or type(error).__name__
        raise DecodeError(f"the message is not msgpack as DistRen writes it: {why}") from error
    if not isinstance(fields, dict):
        raise DecodeError("the message is no msgpack map")
    return fields


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def _quoted(text: object) -> str:
    """`text` as a sender wrote it, on one line and cut: it may be anything, of any length."""
    quoted = repr(text[:_LONGEST_QUOTE] if isinstance(text, str | bytes) else text)
    return quoted if len(quoted) <= 2 * _LONGEST_QUOTE else f"{quoted[: 2 * _LONGEST_QUOTE]}..."
