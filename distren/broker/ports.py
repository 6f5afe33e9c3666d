"""Free TCP ports on the loopback address.

A broker listens seconds after its ports were chosen, and does not while it is started again. Meanwhile they are
*claimed*, so that no other broker that is being started chooses one of them: by a socket of the abstract namespace
(unix(7)) each, which ends with the process that has started the broker.
"""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack
from dataclasses import asdict

from distren.broker.credentials import HOST, Ports
from distren.errors import BrokerUnavailable, Conflict

# Below the range that Linux gives to outgoing connections (32768 and up): a port from that range could be in use
# by any client when the broker starts again.
_LOWEST, _HIGHEST = 20000, 32000
_LINGERING = 10.0  # seconds; the kernel closes a killed process's sockets a little after its other files


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    try:
        _bound(port).close()
    except OSError:
        return False
    return True


def _claimed(port: int) -> socket.socket | None:
    """What claims `port` until it is closed; None where another process claims it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0distren-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim


def pick(claims: ExitStack) -> Ports:
    """Free ports for one node, by chance; nobody else picks them before `claims` is closed."""
    chance = random.SystemRandom()
    names = list(Ports.__dataclass_fields__)
    found: list[int] = []
    for port in chance.sample(range(_LOWEST, _HIGHEST), _HIGHEST - _LOWEST):
        claim = _claimed(port)
        if claim is None:
            continue
        if not is_free(port):
            claim.close()
            continue
        claims.enter_context(claim)
        found.append(port)
        if len(found) == len(names):
            return Ports(**dict(zip(names, found, strict=True)))
    raise BrokerUnavailable(f"no free ports for a broker between {_LOWEST} and {_HIGHEST} of {HOST}")


def claim(ports: Ports, claims: ExitStack, *, only: tuple[str, ...] = tuple(Ports.__dataclass_fields__)) -> None:
    """Have nobody else pick the ports before `claims` is closed.

    Raises Conflict that names the first of them that another program listens on.
    """
    end = time.monotonic() + _LINGERING
    for name, port in asdict(ports).items():
        if name not in only:
            continue
        if (claim := _claimed(port)) is not None:
            claims.enter_context(claim)
        while not is_free(port):
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            raise Conflict(
                f"port {port} ({name}) of the private broker is taken by another program: stop that program, or "
                "change the port in broker.json"
            )
