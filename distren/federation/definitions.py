"""The associations with all peers as a RabbitMQ definitions file, for brokers that the server may not manage.

The format is that of https://www.rabbitmq.com/docs/definitions; importing it changes nothing else on the broker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distren.amqp import peers
from distren.federation import association
from distren.storage.peers import Peer

_ALL = {"configure": ".*", "write": ".*", "read": ".*"}


def definitions(own: str, associated: Iterable[Peer], farm_user: str) -> dict[str, list[dict[str, Any]]]:
    """What has to be on the broker of `own`; the passwords of peers are in it."""
    made: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("vhosts", "users", "permissions", "exchanges", "queues", "bindings", "parameters")
    }
    for peer in associated:
        vhost = peers.vhost(own, peer.name)
        made["vhosts"].append({"name": vhost})
        made["permissions"].append({"user": farm_user, "vhost": vhost, **_ALL})
        if peer.secret is not None:
            made["users"].append({"name": vhost, "password": peer.secret, "tags": ""})
            made["permissions"].append({"user": vhost, "vhost": vhost, **association.rights(peer.name)})
        for exchange in peers.EXCHANGES:
            kind = {"type": exchange.kind, "durable": True, "auto_delete": False, "internal": False, "arguments": {}}
            made["exchanges"].append({"name": exchange.name, "vhost": vhost, **kind})
        for queue in (peers.outbound(peer.name), peers.inbound(peer.name)):
            durable = {"durable": True, "auto_delete": False, "arguments": dict(queue.arguments)}
            made["queues"].append({"name": queue.name, "vhost": vhost, **durable})
            for source, key in queue.bindings:
                to = {"destination": queue.name, "destination_type": "queue", "routing_key": key, "arguments": {}}
                made["bindings"].append({"source": source, "vhost": vhost, **to})
        for shovel, definition in association.shovels(own, peer).items():
            made["parameters"].append({"component": "shovel", "vhost": vhost, "name": shovel, "value": definition})
    return made
