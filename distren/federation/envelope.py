"""What stands on the outside of a message between two servers: AMQP headers, which shovels carry along.

Header names and their meaning are the same in all versions, so that a server can refuse another version politely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distren.errors import DecodeError

VERSION = 1
"""of the whole protocol between servers"""
MOST_HOPS = 4
"""servers that a message may have passed: one that goes further is in a loop"""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """`sender` is a server's name, `instance` tells two servers of one name apart, `to` is an address at the receiver.

    A message that must arrive has a `number`, counted from 1 under its `epoch`, and says from which number on (`floor`)
    messages are still sent; others have none of these. A later epoch is the greater text.
    """

    sender: str
    instance: str
    to: str
    hops: int = 0
    epoch: str | None = None
    number: int | None = None
    floor: int = 0
    version: int = VERSION

    def headers(self) -> dict[str, Any]:
        """As AMQP headers."""
        made = {
            "distren-version": self.version,
            "distren-from": self.sender,
            "distren-instance": self.instance,
            "distren-to": self.to,
            "distren-hops": self.hops,
        }
        if self.number is not None:
            made |= {"distren-epoch": self.epoch, "distren-number": self.number, "distren-floor": self.floor}
        return made


def read(headers: Mapping[str, Any]) -> Envelope:
    """The envelope that a message arrived in; raises DecodeError."""
    numbered = "distren-number" in headers
    return Envelope(
        sender=_text(headers, "distren-from"),
        instance=_text(headers, "distren-instance"),
        to=_text(headers, "distren-to"),
        hops=_number(headers, "distren-hops"),
        epoch=_text(headers, "distren-epoch") if numbered else None,
        number=_number(headers, "distren-number") if numbered else None,
        floor=_number(headers, "distren-floor") if numbered else 0,
        version=_number(headers, "distren-version"),
    )


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise DecodeError(f"a message from a peer without a proper header '{name}'")
    return value


def _number(headers: Mapping[str, Any], name: str) -> int:
    value = headers.get(name)
    if type(value) is not int or not 0 <= value < 2**63:
        raise DecodeError(f"a message from a peer without a proper header '{name}'")
    return value
