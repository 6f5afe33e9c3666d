#!/usr/bin/env python3
"""Computes what a federation of farms costs at each part, from figures measured on one machine; no farm is started.

    scripts/scale_model.py [--servers 100] [--workers 10000] [--frames 1000000] [--seconds 60] [--result 2]
                           [--input 50] [--job 1000] [--lent 0.1]

`--seconds` is what a frame takes on a slot (a worker has two), `--result` and `--input` are MB of a frame tarball and
of a job's files, `--job` is frames in a job, `--lent` the share of frames that a peer renders. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

# Measured on two shared cores with RabbitMQ 3.10.8 and SQLite with full synchronous; docs/figures.md has the sources.
FRAMES = 342.0
"""frames/s through one server with a broker and a worker on the same two cores: dispatch"""
STATES = 5_100.0
"""frames/s that one server's database takes when 20 events come in a turn"""
WRITES_PER_FRAME = 9.0
"""rows: frame queued, rendering, done (3), outbox in and out (2), attempt begun and ended (2), job's counts (2)"""
WRITES = STATES * WRITES_PER_FRAME
MESSAGES = 8_000.0
"""messages/s that a quorum queue takes with confirms in windows, and gives at the same time"""
BLOBS = 176.0
"""MB/s through one server: pulled, hashed, written, and sent on"""
BETWEEN = 100.0
"""MB/s of a gigabit line between two sites; two brokers on one machine move more"""
PEER_WRITES = 4.0
"""rows for each message that must arrive: written, removed, its number given, its number handled"""

SLOTS = 2
REPORT_EVERY, HELLO_EVERY, CAPACITY_EVERY, PROGRESS_EVERY = 5.0, 15.0, 15.0, 1.0
"""seconds between what a worker reports, servers say hello and tell what is free, and a frame says how far it is"""
HELLO_BYTES, REPORT_BYTES, EVENT_BYTES = 600.0, 600.0, 400.0
"""bytes on the wire, properties and acknowledgements included"""
LENT_MESSAGES = 4.0
"""messages that must arrive for each lent frame: lent, taken, done, confirmed by receipt"""


@dataclass(frozen=True, kw_only=True)
class Farm:
    """The whole federation, and what one of its equal servers does per second while all slots are busy."""

    servers: int
    workers: int
    frames: int
    seconds: float
    result: float
    inputs: float
    job: int
    lent: float

    @property
    def frames_per_s(self) -> float:
        return self.workers * SLOTS / self.seconds / self.servers

    @property
    def hours(self) -> float:
        return self.frames / (self.frames_per_s * self.servers) / 3_600

    @property
    def local_messages(self) -> float:
        """Issued, started, completed, with their confirms and acknowledgements as one each; progress; reports."""
        return self.frames_per_s * (3 + self.seconds / PROGRESS_EVERY) + self.workers_here / REPORT_EVERY

    @property
    def workers_here(self) -> float:
        return self.workers / self.servers

    @property
    def chunks(self) -> float:
        """Messages/s with pieces of blobs: results in; inputs of each job once to each host."""
        return self.blob_bytes * 1e6 / 2**20

    @property
    def blob_bytes(self) -> float:
        """MB/s into and out of the server: results, and each job's files to every worker that renders it."""
        jobs_per_s = self.frames_per_s / self.job
        return self.frames_per_s * self.result + jobs_per_s * self.inputs * min(self.workers_here, self.job)

    @property
    def writes(self) -> float:
        return (
            self.frames_per_s * WRITES_PER_FRAME
            + self.workers_here / REPORT_EVERY / 12  # a report is stored once a minute, unless something changes
            + self.frames_per_s * self.lent * LENT_MESSAGES * PEER_WRITES
        )

    @property
    def peer_messages(self) -> float:
        """Messages/s to and from all other servers, where each knows each."""
        others = self.servers - 1
        return 2 * others * (1 / HELLO_EVERY + 1 / CAPACITY_EVERY) + 2 * self.frames_per_s * self.lent * LENT_MESSAGES

    @property
    def peer_bytes(self) -> float:
        """MB/s to and from all other servers: hellos, lent frames' results, their inputs once for each job and peer."""
        idle = 2 * (self.servers - 1) * HELLO_BYTES * (1 / HELLO_EVERY + 1 / CAPACITY_EVERY) / 1e6
        jobs_per_s = self.frames_per_s / self.job
        peers_of_a_job = min(self.servers - 1, self.job * self.lent)
        return idle + self.frames_per_s * self.lent * self.result + jobs_per_s * peers_of_a_job * self.inputs

    def limits(self) -> dict[str, float]:
        """Each part's share of what was measured to be possible: 1 is the limit."""
        return {
            "server: changes of frames": self.frames_per_s / FRAMES,
            "server: bytes of results and inputs": self.blob_bytes / BLOBS,
            "database: rows written": self.writes / WRITES,
            "broker: messages of workers": self.local_messages / MESSAGES,
            "broker: messages of peers": self.peer_messages / MESSAGES,
            "line between sites: bytes": self.peer_bytes / BETWEEN,
        }


def main() -> None:
    farm = _farm()
    print(f"{farm.servers} servers, {farm.workers:,} workers, {farm.frames:,} frames of {farm.seconds:g} s: ", end="")
    print(f"all slots busy for {farm.hours:.1f} h, {farm.frames_per_s * farm.servers:,.0f} frames/s in all.\n")
    print("| at each server | per second |\n|---|---|")
    for name, value, unit in (
        ("frames done", farm.frames_per_s, "frames"),
        ("broker: messages of its workers", farm.local_messages, "messages"),
        ("broker: pieces of blobs", farm.chunks, "messages"),
        ("broker: messages to and from peers", farm.peer_messages, "messages"),
        ("bytes of results and inputs", farm.blob_bytes, "MB"),
        ("bytes to and from peers", farm.peer_bytes, "MB"),
        ("database: rows written", farm.writes, "rows"),
    ):
        print(f"| {name} | {value:,.1f} {unit} |")
    print("\n| part | share of its limit | its limit is met at frames of |\n|---|---|---|")
    shares = sorted(farm.limits().items(), key=lambda one: -one[1])
    for name, share in shares:
        print(f"| {name} | {100 * share:.1f} % | {_shortest(farm, name)} |")
    print(f"\nFirst to give way: {shares[0][0]}.")


def _shortest(farm: Farm, part: str) -> str:
    """The length of a frame at which `part` is at its limit, everything else being equal."""
    low, high = 1e-4, farm.seconds * 1e3
    if _at(farm, low).limits()[part] < 1:
        return "any length"
    if _at(farm, high).limits()[part] > 1:
        return "none"
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _at(farm, middle).limits()[part] > 1 else (low, middle)
    return f"{high:.2g} s"


def _at(farm: Farm, seconds: float) -> Farm:
    return Farm(**{**vars(farm), "seconds": seconds})


def _farm() -> Farm:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=100)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--result", type=float, default=2.0)
    parser.add_argument("--input", type=float, default=50.0)
    parser.add_argument("--job", type=int, default=1_000)
    parser.add_argument("--lent", type=float, default=0.1)
    given = parser.parse_args()
    return Farm(
        servers=given.servers,
        workers=given.workers,
        frames=given.frames,
        seconds=given.seconds,
        result=given.result,
        inputs=given.input,
        job=given.job,
        lent=given.lent,
    )


if __name__ == "__main__":
    main()
