"""A small client of RabbitMQ's management API.

Its paths are those of https://www.rabbitmq.com/docs/management#http-api. Figures there are up to 5 s old: read a
queue's length for a decision over AMQP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from distren.broker.credentials import Credentials
from distren.errors import AccessRefused, BrokerUnavailable, Conflict, NotFound

if TYPE_CHECKING:
    import httpx

_TIMEOUT = 30.0  # seconds; a loaded broker takes its time for a virtual host
_REFUSED, _NOT_FOUND = (401, 403), 404


class Management:
    """The API at `url` (http://host:port), as `user`; one connection, kept open until `close`.

    Every call raises BrokerUnavailable when nobody answers, AccessRefused for a wrong user, password or missing
    right, NotFound, and Conflict when RabbitMQ refuses what was asked.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        import httpx  # 0.1 s of processor time, for a worker and most commands in vain

        self.url = url.rstrip("/")
        self._user = user
        # No proxy and no .netrc of the environment: the broker is where the URL says.
        self._http = httpx.Client(auth=(user, password), timeout=_TIMEOUT, trust_env=False)

    @classmethod
    def of(cls, credentials: Credentials) -> Management:
        """The API of a private broker."""
        return cls(credentials.management_url, credentials.user, credentials.password)

    def __enter__(self) -> Management:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def overview(self) -> dict[str, Any]:
        """Version, cluster name, totals."""
        return self._object("overview")

    def version(self) -> str:
        """RabbitMQ's version, such as `4.0.5`."""
        return str(self.overview()["rabbitmq_version"])

    def cluster_name(self) -> str:
        """The name that federation and the UI show for this broker."""
        return str(self._object("cluster-name")["name"])

    def set_cluster_name(self, name: str) -> None:
        """Name the broker; without a name federation looks the host name up for each message."""
        self.request("PUT", "cluster-name", {"name": name})

    def queues(self, vhost: str = "/") -> list[dict[str, Any]]:
        """All queues of a virtual host."""
        return self._list(f"queues/{_part(vhost)}")

    def queue(self, name: str, vhost: str = "/") -> dict[str, Any]:
        """One queue."""
        return self._object(f"queues/{_part(vhost)}/{_part(name)}")

    def connections(self) -> list[dict[str, Any]]:
        """All connections of clients."""
        return self._list("connections")

    def vhosts(self) -> list[str]:
        """The names of the virtual hosts."""
        return [str(each["name"]) for each in self._list("vhosts")]

    def create_vhost(self, name: str) -> None:
        """Create a virtual host, with all rights on it for this client's user."""
        self.request("PUT", f"vhosts/{_part(name)}", {})
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        self.request("PUT", f"permissions/{_part(name)}/{_part(self._user)}", rights)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with everything in it; its clients are disconnected."""
        self.request("DELETE", f"vhosts/{_part(name)}")

    def put_user(self, name: str, password: str) -> None:
        """Make a user without tags, or give it another password."""
        self.request("PUT", f"users/{_part(name)}", {"password": password, "tags": ""})

    def delete_user(self, name: str) -> None:
        self.request("DELETE", f"users/{_part(name)}")

    def permit(self, user: str, vhost: str, *, configure: str, write: str, read: str) -> None:
        """Give a user rights in a virtual host, as regular expressions of names, in place of those that it had."""
        rights = {"configure": configure, "write": write, "read": read}
        self.request("PUT", f"permissions/{_part(vhost)}/{_part(user)}", rights)

    def declare_exchange(self, name: str, kind: str, vhost: str) -> None:
        """Declare a durable exchange."""
        self.request("PUT", f"exchanges/{_part(vhost)}/{_part(name)}", {"type": kind, "durable": True})

    def declare_queue(self, name: str, vhost: str, bindings: Iterable[tuple[str, str]] = ()) -> None:
        """Declare a durable queue and bind it to (exchange, routing key)."""
        self.request("PUT", f"queues/{_part(vhost)}/{_part(name)}", {"durable": True, "arguments": {}})
        for exchange, key in bindings:
            path = f"bindings/{_part(vhost)}/e/{_part(exchange)}/q/{_part(name)}"
            self.request("POST", path, {"routing_key": key})

    def put_shovel(self, name: str, vhost: str, definition: Mapping[str, Any]) -> None:
        """Make a dynamic shovel, or start one with another definition anew."""
        self.request("PUT", f"parameters/shovel/{_part(vhost)}/{_part(name)}", {"value": dict(definition)})

    def shovels(self, vhost: str) -> list[dict[str, Any]]:
        """The shovels of a virtual host with their state, without passwords."""
        return self._list(f"shovels/{_part(vhost)}")

    def restart_shovel(self, name: str, vhost: str) -> None:
        self.request("DELETE", f"shovels/vhost/{_part(vhost)}/{_part(name)}/restart")

    def close_connections(self, vhost: str, reason: str = "closed by an operator") -> int:
        """Close every client connection to a virtual host; how many there were."""
        closed = 0
        for each in self.connections():
            if each.get("vhost") == vhost:
                with suppress(NotFound):  # it has ended by itself: what is listed may be 5 s old
                    self.request("DELETE", f"connections/{_part(str(each['name']))}", headers={"X-Reason": reason})
                    closed += 1
        return closed

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """Any call of the API; `path` is what follows /api/, escaped. The decoded answer, None when it is empty."""
        import httpx

        try:
            answer = self._http.request(
                method, f"{self.url}/api/{path}", headers=headers, json=body if body is not None else None
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BrokerUnavailable(
                f"the management API at {self.url} does not answer ({error}): is the broker running, with the "
                "management plugin?"
            ) from error
        if answer.status_code in _REFUSED:
            raise AccessRefused(f"the management API at {self.url} refuses user '{self._user}'")
        if answer.status_code == _NOT_FOUND:
            raise NotFound(f"the management API at {self.url} has no {path}")
        if answer.is_error:
            raise Conflict(f"the management API at {self.url} refuses {method} {path}: {_reason(answer)}")
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise BrokerUnavailable(f"what answers at {self.url} is no management API") from error

    def _object(self, path: str) -> dict[str, Any]:
        found = self.request("GET", path)
        if not isinstance(found, dict):
            raise BrokerUnavailable(f"what answers at {self.url} is no management API")
        return found

    def _list(self, path: str) -> list[dict[str, Any]]:
        found = self.request("GET", path)
        if not isinstance(found, list):
            raise BrokerUnavailable(f"what answers at {self.url} is no management API")
        return found


def _part(name: str) -> str:
    return quote(name, safe="")


def _reason(answer: httpx.Response) -> str:
    try:
        return " ".join(str(answer.json().get("reason")).split())
    except (ValueError, AttributeError):
        return f"status {answer.status_code}"
