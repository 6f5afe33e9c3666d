"""The names of what belongs to a peer on our broker: a virtual host of its own, two queues, an exchange, two shovels.

| name | what |
|---|---|
| peer_<own>_<peer> | virtual host, and on the side that accepts also the user that is confined to it |
| distren.outbound | direct exchange: messages for the peer, with its name as routing key |
| outbound.<peer> | classic queue: what waits until a shovel takes it to the peer |
| inbound.<peer> | classic queue: what the peer's messages arrive in |
| to-<peer>, from-<peer> | shovels, both on the broker of the side that adds |

'_' is in no server name, so a virtual host's name tells which two servers it is for.
"""

from __future__ import annotations

from distren.amqp.topology import Exchange, Queue
from distren.errors import InputError

OUTBOUND = "distren.outbound"
ANSWERS = "distren.answers"
"""the address of a server's own questions: replies, receipts, pieces of blobs"""


def vhost(own: str, peer: str) -> str:
    """The virtual host for `peer` on the broker of `own`; also the user's name."""
    return f"peer_{own}_{peer}"


def names(vhost: str) -> tuple[str, str]:
    """Which server made a virtual host, and for which peer. Raises InputError."""
    parts = vhost.split("_")
    if len(parts) != 3 or parts[0] != "peer" or not all(parts):
        raise InputError(f"the virtual host '{vhost}' is none that 'distren peer accept' makes: peer_SERVER_PEER")
    return parts[1], parts[2]


def outbound(peer: str) -> Queue:
    return Queue(name=f"outbound.{peer}", bindings=((OUTBOUND, peer),))


def inbound(peer: str) -> Queue:
    return Queue(name=f"inbound.{peer}")


MESSAGES = "distren.messages"
"""the address of messages that must arrive"""

EXCHANGES = (Exchange(name=OUTBOUND, kind="direct"),)
