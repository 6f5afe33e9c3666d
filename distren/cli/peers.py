"""`distren peers` and `distren peer`: the servers that this one shares jobs with.

`accept`, `add` and `remove` are for the operator, on the server's machine; whoever reaches the broker can look.
"""

from __future__ import annotations

import json
import sys
import time
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import click

from distren.cli import human, tables
from distren.cli.context import Cli, json_option, pass_cli, warn
from distren.errors import BrokerUnavailable, InputError, NoAnswer
from distren.urls import server_name
from distren.wire.peers import PeerInfo

if TYPE_CHECKING:
    from distren.client.farm import Farm

_ANSWER_WITHIN = 30.0
_SERVER_ANSWERS_WITHIN = 5.0
_LOOK_EVERY = 0.2
"""seconds"""
_HERE = ("127.0.0.1", "localhost", "::1")


@click.command(short_help="List the servers that this one shares jobs with.")
@json_option
@pass_cli
def peers(cli: Cli) -> None:
    """List the servers that this one shares jobs with, and how they are."""
    with cli.farm() as farm:
        found = farm.peers()
    cli.show(
        [one.model_dump() for one in found],
        lambda: tables.peers(found, time.time()) if found else "no peers yet: 'distren peer add' associates with one",
    )


@click.group(short_help="Associate with another server, or end that.")
def peer() -> None:
    """Associate with another server, or end that; for the operator, on the server's machine.

    One command on each side: on beta, 'distren peer accept alpha' prints an address; on alpha, 'distren peer add beta'
    takes it. Only beta's broker has to be reachable.
    """


@peer.command(short_help="Let another server in, and print the address for it.")
@click.argument("name", metavar="SERVER")
@click.option("--address", "place", metavar="HOST:PORT", help="Where the other server reaches this one's broker.")
@json_option
@pass_cli
def accept(cli: Cli, name: str, place: str | None) -> None:
    """Let SERVER in, and print the address that its operator gives to 'distren peer add'.

    The address holds a password: hand it on in a safe way, for example straight into the other command over ssh.
    """
    from distren.federation import operator

    settings = cli.settings()
    given = operator.accept(settings, server_name(name), place)
    _tell_server(cli)
    cli.show({"peer": server_name(name), "address": given}, lambda: given)
    if place is None and settings.address is None and urlsplit(given).hostname in _HERE:
        warn("the address leads to this machine only: for a server elsewhere, add --address HOST:PORT")


@peer.command(short_help="Associate with a server that has accepted this one.")
@click.argument("name", metavar="SERVER")
@click.argument("given", metavar="[ADDRESS|-]", required=False)
@click.option("--file", type=click.File("r"), metavar="FILE", help="A file that holds the address.")
@json_option
@pass_cli
def add(cli: Cli, name: str, given: str | None, file: IO[str] | None) -> None:
    """Associate with SERVER, by the address that 'distren peer accept' printed there.

    '-' reads the address from standard input, and without ADDRESS it is asked for: as an argument, other users of this
    machine may see it among the processes.
    """
    from distren.federation import operator

    name = server_name(name)
    operator.add(cli.settings(), name, _given(given, file))
    info = _await_answer(cli, name) if _tell_server(cli) else None
    record = {"peer": name, "state": None, "software": None, "reason": ""}
    if info is not None:
        record |= {"state": info.state, "software": info.software, "reason": info.reason}
    cli.show(record, lambda: _told(name, info))


@peer.command(short_help="End an association.")
@click.argument("name", metavar="SERVER")
@json_option
@pass_cli
def remove(cli: Cli, name: str) -> None:
    """End the association with SERVER: its user, virtual host, queues and shovels go from this broker.

    What it was still owed is forgotten. Do the same on the other side.
    """
    from distren.federation import operator

    settings, name = cli.settings(), server_name(name)
    owed = operator.remove(settings, name)
    _tell_server(cli)
    operator.dissolve(settings, name)
    lost = f"; {human.plural(owed, 'message')} for it went as well" if owed else ""
    cli.show({"removed": name, "forgotten": owed}, lambda: f"'{name}' is no peer any more{lost}")


@peer.command(short_help="Print the associations as a RabbitMQ definitions file.")
@json_option
@pass_cli
def definitions(cli: Cli) -> None:
    """Print what has to be on the broker as a RabbitMQ definitions file, for a broker that the server may not manage.

    It holds the passwords of the peers.
    """
    from distren.federation import operator

    click.echo(json.dumps(operator.definitions(cli.settings()), indent=None if cli.json else 2))


def _given(given: str | None, file: IO[str] | None) -> str:
    if file is not None and given is not None:
        raise InputError("give the address once: as an argument, on standard input, or in a file")
    if file is not None:
        return file.read()
    if given == "-" or (given is None and not sys.stdin.isatty()):
        return sys.stdin.read()
    return str(click.prompt("address", hide_input=True, err=True)) if given is None else given


def _tell_server(cli: Cli) -> bool:
    """Have the server read its peers again; False where none runs: it will when it starts."""
    try:
        with cli.farm() as farm:
            farm.reload_peers(_SERVER_ANSWERS_WITHIN)
    except (NoAnswer, BrokerUnavailable):
        return False
    return True


def _await_answer(cli: Cli, name: str) -> PeerInfo | None:
    """How the peer is once it has answered, or has not for a while."""
    deadline = time.monotonic() + _ANSWER_WITHIN
    with cli.farm() as farm:
        while True:
            info = _one(farm, name)
            if info is None or info.state in ("up", "refused") or time.monotonic() > deadline:
                return info
            time.sleep(_LOOK_EVERY)


def _one(farm: Farm, name: str) -> PeerInfo | None:
    return next((one for one in farm.peers() if one.peer == name), None)


def _told(name: str, info: PeerInfo | None) -> str:
    if info is None:
        return f"'{name}' is a peer from the next start of this server on"
    if info.state == "up":
        off = "" if info.clock is None else f", clock {info.clock:+.1f} s"
        return f"'{name}' is a peer and up: DistRen {info.software}{off}"
    return f"'{name}' is a peer, and has not answered yet: {info.reason}"
