"""Every exchange and queue by name, and what is declared: the only place that names them.

| name | kind | holds |
|---|---|---|
| distren.frames | direct exchange | frames on their way to a class of workers |
| frames.<pool>.<class> | quorum queue | issued frames that wait for a worker of the class |
| distren.events | topic exchange | what workers say |
| distren.results | quorum queue | frame.completed and frame.failed, for the server |
| distren.reports | classic queue | frame.started, frame.progress, worker.report: may be lost |
| distren.requests | quorum queue | what clients ask the server |
| distren.blobs | classic queue | reads and offers of blobs, for the server |
| distren.control | fanout exchange | what the server tells all workers |
| distren.news | topic exchange | what changed, for whoever listens: job.<id>, frame.<id>; of a peer job.<peer>.<id> |
| distren.mark | classic queue | one message of the server: a broker without it has lost its data |
| distren.lead | classic queue | one message, which the server process holds that acts; a single active consumer |
| distren.dead | quorum queue | messages that nobody could handle, with the reason |
| worker.<name> | exclusive queue | what one worker is told and sent |
| client.<name> | exclusive queue | replies to one client |
| server.<name>.<part> | exclusive queue | replies to a part of the server |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FRAMES = "distren.frames"
EVENTS = "distren.events"
RESULTS = "distren.results"
REPORTS = "distren.reports"
REQUESTS = "distren.requests"
BLOBS = "distren.blobs"
CONTROL = "distren.control"
NEWS = "distren.news"
DEAD = "distren.dead"
LEAD = "distren.lead"
MARK = "distren.mark"
SERVER_HEADER = "distren-server"
"""Header of a request, or of a read of a blob, that is for a peer of the server that is here: which one."""
DEFAULT = ""
"""The exchange that routes by queue name."""

_QUORUM = {"x-queue-type": "quorum"}
_DELIVERY_LIMIT = 20
"""Deliveries before a frame counts as poison: RabbitMQ 4's default, set so that 3.10 has it as well."""
_LONGEST_REPORTS = 20_000


@dataclass(frozen=True, kw_only=True)
class Exchange:
    name: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue to declare; `bindings` are (exchange, routing key). An exclusive queue goes with its connection."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    exclusive: bool = False
    bindings: tuple[tuple[str, str], ...] = ()


EXCHANGES = (
    Exchange(name=FRAMES, kind="direct"),
    Exchange(name=EVENTS, kind="topic"),
    Exchange(name=CONTROL, kind="fanout"),
    Exchange(name=NEWS, kind="topic"),
    Exchange(name=DEAD, kind="direct"),
)
SERVER_QUEUES = (
    Queue(
        name=RESULTS,
        arguments=_QUORUM | {"x-single-active-consumer": True},
        bindings=((EVENTS, "frame.completed"), (EVENTS, "frame.failed")),
    ),
    Queue(
        name=REPORTS,
        arguments={"x-max-length": _LONGEST_REPORTS},
        bindings=((EVENTS, "frame.started"), (EVENTS, "frame.progress"), (EVENTS, "worker.#")),
    ),
    Queue(name=REQUESTS, arguments=_QUORUM | {"x-single-active-consumer": True}),
    Queue(name=BLOBS),
    Queue(name=MARK, arguments={"x-max-length": 1}),
    Queue(name=DEAD, arguments=_QUORUM, bindings=((DEAD, "frames"), (DEAD, "unreadable"))),
)

LEAD_QUEUE = Queue(name=LEAD, arguments={"x-single-active-consumer": True, "x-max-length": 1})


def frames_queue(name: str) -> Queue:
    """The queue of a class of workers; a frame that is delivered too often goes to the dead."""
    return Queue(
        name=name,
        arguments=_QUORUM
        | {
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-routing-key": "frames",
        },
        bindings=((FRAMES, name),),
    )


def class_queue_name(pool: str, renderers: Mapping[str, str], extra: str = "") -> str:
    """`frames.<pool>.<class>`: the class spells out renderers and versions, so that an operator can read it."""
    skills = "+".join(f"{name}-{version}" for name, version in sorted(renderers.items()))
    return f"frames.{pool}.{skills or 'none'}{extra}"[:250]


def worker_queue(name: str) -> Queue:
    return Queue(name=f"worker.{name}", exclusive=True, bindings=((CONTROL, ""),))


def client_queue(name: str) -> Queue:
    return Queue(name=f"client.{name}", exclusive=True)


def server_queue(server: str, part: str) -> Queue:
    return Queue(name=f"server.{server}.{part}", exclusive=True)


def job_news(job: int, server: str | None = None) -> str:
    """Routing key of the news of a job, of the server that is here or of a peer."""
    return f"job.{job}" if server is None else f"job.{server}.{job}"


def frame_news(job: int, server: str | None = None) -> str:
    """Routing key of the news of a job's frames, of the server that is here or of a peer."""
    return f"frame.{job}" if server is None else f"frame.{server}.{job}"
