"""Looks after the shovels to a peer: makes those that are missing, starts again those that have stopped, says why."""

from __future__ import annotations

import logging

from distren.amqp import peers
from distren.broker.management import Management
from distren.errors import DistrenError
from distren.federation import address, association
from distren.federation.peerlink import vhost_url
from distren.storage.peers import Peer

log = logging.getLogger(__name__)

_POISON = "PRECONDITION_FAILED"
"""AMQP's 406: the broker at the other end will not take the message at the head of the queue, now or later"""


def check(management: Management, broker_url: str, own: str, peer: Peer) -> str:
    """Mend what can be mended; one line on what is wrong, empty where nothing is. Raises what `Management` raises."""
    if peer.address is None:
        return ""
    name = peers.vhost(own, peer.name)
    found = {str(one.get("name")): one for one in management.shovels(name)}
    trouble = ""
    for shovel, definition in association.shovels(own, peer).items():
        one = found.get(shovel)
        if one is None:
            log.warning("a shovel is missing, made again", extra={"peer": peer.name, "shovel": shovel})
            management.put_shovel(shovel, name, definition)
            trouble = trouble or f"the shovel {shovel} was missing"
        elif one.get("state") == "terminated":
            reason = " ".join(str(one.get("reason", "no reason given")).split()).strip('<>"')[:300]
            _restart(management, broker_url, own, peer, shovel, reason)
            trouble = trouble or f"the shovel {shovel} stopped: {reason}"
        elif one.get("state") != "running":
            trouble = trouble or f"the shovel {shovel} does not run: {_why_not(own, peer)}"
    return trouble


def _why_not(own: str, peer: Peer) -> str:
    """What keeps us, and so our shovels, from the peer's broker."""
    try:
        address.probe(str(peer.address), own)
    except DistrenError as error:
        return str(error)
    return "it is being started"


def _restart(management: Management, broker_url: str, own: str, peer: Peer, shovel: str, reason: str) -> None:
    """Start a shovel again; where a message stops it, without the messages that wait for it.

    Nothing is lost by that: what must arrive is sent again, and the rest is asked for again.
    """
    log.error("a shovel has stopped, started again: %s", reason, extra={"peer": peer.name, "shovel": shovel})
    name = peers.vhost(own, peer.name)
    if _POISON in reason:
        outgoing = shovel == association.to_peer(peer.name)
        where = vhost_url(broker_url, name) if outgoing else str(peer.address)
        queue = peers.outbound(peer.name if outgoing else own).name
        try:
            dropped = address.purge(where, queue, own)
            log.error("a message that stops the shovel was dropped with %d others behind it", max(dropped - 1, 0))
        except DistrenError as error:
            log.error("the message that stops the shovel could not be dropped: %s", error)
    management.restart_shovel(shovel, name)
