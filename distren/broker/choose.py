"""Picks what runs the private broker: the machine's rabbitmq-server, else a container engine."""

from __future__ import annotations

from pathlib import Path

from distren.broker import credentials, engine, server_program
from distren.broker.container import Container
from distren.broker.node import Node
from distren.broker.private import PrivateBroker
from distren.errors import BrokerUnavailable


def private_broker(folder: Path, *, cluster_name: str = "distren") -> PrivateBroker:
    """The private broker of `folder`: of the kind that it has been, or of the first kind that this machine can run.

    Starts nothing. Raises BrokerUnavailable when the machine can run neither, SettingsError for damaged credentials.
    """
    known = credentials.read(folder)
    if known is not None:
        kind = known.kind
    elif server_program.find() is not None:
        kind = "node"
    elif engine.find() is not None:
        kind = "container"
    else:
        raise BrokerUnavailable(
            "this machine can not run a broker: install the package rabbitmq-server (or docker or podman), or name "
            "a broker that runs elsewhere with --broker URL"
        )
    return Node(folder, cluster_name=cluster_name) if kind == "node" else Container(folder, cluster_name=cluster_name)
