"""What an association with a peer is on our broker; made, mended and taken away through the management API."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from distren.amqp import peers
from distren.broker.management import Management
from distren.errors import NotFound
from distren.storage.peers import Peer

_PREFETCH = 64
"""messages of up to 1 MiB that a shovel may have in hand"""
_RECONNECT = 2
"""seconds"""
_ALL = ".*"


def establish(management: Management, own: str, peer: Peer, *, farm_user: str) -> None:
    """Make what is missing of the association with `peer`; `farm_user` is the user that the server connects as."""
    name = peers.vhost(own, peer.name)
    if name not in management.vhosts():
        management.create_vhost(name)
    management.permit(farm_user, name, configure=_ALL, write=_ALL, read=_ALL)
    for exchange in peers.EXCHANGES:
        management.declare_exchange(exchange.name, exchange.kind, name)
    for queue in (peers.outbound(peer.name), peers.inbound(peer.name)):
        management.declare_queue(queue.name, name, queue.bindings)
    if peer.secret is not None:
        management.put_user(name, peer.secret)
        management.permit(name, name, **rights(peer.name))
    for shovel, definition in shovels(own, peer).items():
        management.put_shovel(shovel, name, definition)


def rights(peer: str) -> dict[str, str]:
    """What a peer's user may do: publish to the queues of its virtual host, of which there are two, and read one."""
    outbound = re.escape(peers.outbound(peer).name)
    return {"configure": "^$", "write": r"^amq\.default$", "read": f"^{outbound}$"}


def dissolve(management: Management, own: str, peer: str) -> None:
    """Take the association away: virtual host with queues and shovels, and the user."""
    name = peers.vhost(own, peer)
    for shovel in (to_peer(peer), from_peer(peer)):
        _if_there(management, "DELETE", f"parameters/shovel/{quote(name, safe='')}/{shovel}")
    _if_there(management, "DELETE", f"vhosts/{quote(name, safe='')}")
    _if_there(management, "DELETE", f"users/{quote(name, safe='')}")


def to_peer(peer: str) -> str:
    """The name of the shovel that takes our messages to the peer."""
    return f"to-{peer}"


def from_peer(peer: str) -> str:
    """The name of the shovel that brings the peer's messages."""
    return f"from-{peer}"


def shovels(own: str, peer: Peer) -> dict[str, dict[str, Any]]:
    """The definitions of the two shovels to a peer whose broker we reach; none where it reaches ours."""
    if peer.address is None:
        return {}
    # Without a host it is a connection inside the node itself.
    here = {"uri": f"amqp:///{quote(peers.vhost(own, peer.name), safe='')}"}
    there = {"uri": peer.address if urlsplit(peer.address).query else f"{peer.address}?heartbeat=20"}
    return {
        to_peer(peer.name): _shovel(here, peers.outbound(peer.name).name, there, peers.inbound(own).name),
        from_peer(peer.name): _shovel(there, peers.outbound(own).name, here, peers.inbound(peer.name).name),
    }


def _shovel(source: dict[str, str], take: str, target: dict[str, str], put: str) -> dict[str, Any]:
    return {
        "src-protocol": "amqp091",
        "src-uri": source["uri"],
        "src-queue": take,
        "src-prefetch-count": _PREFETCH,
        "dest-protocol": "amqp091",
        "dest-uri": target["uri"],
        "dest-queue": put,
        "ack-mode": "on-confirm",
        "reconnect-delay": _RECONNECT,
    }


def _if_there(management: Management, method: str, path: str) -> None:
    with suppress(NotFound):
        management.request(method, path)
