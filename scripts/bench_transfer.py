#!/usr/bin/env python3
"""Measures the way of a seed: client to server, server to worker, and beside it curl from a sendfile server.

    scripts/bench_transfer.py --broker amqp://guest:guest@localhost/ [--size 500] [--runs 3] [--small 2000]

Prints one line of JSON. Rates are MB/s (10^6 bytes); every leg checks the SHA-256 and writes a file; memory is MiB
that a process took at its peak above what it had when idle.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from distren.amqp import topology
from distren.amqp.blobs import BlobReceiver, BlobSender
from distren.amqp.link import Link
from distren.amqp.mailbox import Mailbox
from distren.domain.job import Blob
from distren.server.blobs import BlobService
from distren.storage.blobstore import BlobStore

STEP = 2**20


# -- the processes: each says "ready", does what a line of its input names, and answers with a line of JSON ------------


def serve(url: str, folder: Path) -> None:
    service = BlobService(url, "bench", BlobStore(folder))
    service.start()
    _obey({})
    service.stop()


def send(url: str, folder: Path) -> None:
    link, mailbox = _party(url)
    sender = BlobSender(link, mailbox, mailbox.queue_name)

    def upload(source: str) -> float:
        path = Path(source)
        files = [path] if path.is_file() else sorted(path.iterdir())
        blobs = [(_blob(file), file) for file in files]
        began = time.monotonic()
        sender.offer_all(blobs)
        return time.monotonic() - began

    _start(link, mailbox)
    _obey({"upload": upload})
    link.close()


def receive(url: str, folder: Path) -> None:
    link, mailbox = _party(url)
    receiver = BlobReceiver(link, mailbox, mailbox.queue_name, BlobStore(folder, durable=False))

    def download(digest: str, size: str) -> float:
        began = time.monotonic()
        receiver.fetch(Blob(digest=digest, size=int(size)))
        return time.monotonic() - began

    def download_all(source: str) -> float:
        blobs = [_blob(file) for file in sorted(Path(source).iterdir())]
        began = time.monotonic()
        with ThreadPoolExecutor(8) as executor:
            list(executor.map(receiver.fetch, blobs))
        return time.monotonic() - began

    _start(link, mailbox)
    _obey({"download": download, "download_all": download_all})
    link.close()


def _party(url: str) -> tuple[Link, Mailbox]:
    queue = topology.client_queue(uuid.uuid4().hex)
    return Link(url, name="bench", queues=[queue]), Mailbox(queue.name)


def _start(link: Link, mailbox: Mailbox) -> None:
    link.consume(mailbox.consumer())
    link.start()


def _obey(orders: dict[str, Any]) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        name, *arguments = line.split()
        print(json.dumps(orders[name](*arguments)), flush=True)


def _blob(path: Path) -> Blob:
    with path.open("rb") as file:
        return Blob(digest=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


class Part:
    """One of the processes, and the memory that it takes."""

    def __init__(self, role: str, url: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--role", role, "--broker", url, "--folder", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._hear() == "ready"
        self._seen = psutil.Process(self._process.pid)
        self.pid = self._process.pid
        self._idle = self._peak = self._seen.memory_info().rss
        self._watching = True
        threading.Thread(target=self._watch, daemon=True).start()

    def do(self, *order: object) -> float:
        assert self._process.stdin is not None
        print(*order, file=self._process.stdin, flush=True)
        return float(json.loads(self._hear()))

    def end(self) -> int:
        """End the process; MiB that it took above what it had when idle."""
        self._watching = False
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        return (self._peak - self._idle) // 2**20

    def cpu(self) -> float:
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _watch(self) -> None:
        while self._watching:
            try:
                self._peak = max(self._peak, self._seen.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.02)


# -- curl --------------------------------------------------------------------------------------------------------------


class SendFile(http.server.SimpleHTTPRequestHandler):
    """Serves files with sendfile(2)."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        self.wfile.flush()
        self.connection.sendfile(source)

    def log_message(self, *_: Any) -> None:
        pass


def curl(path: Path, target: Path) -> float:
    """Seconds that curl and sha256sum take, side by side, to fetch and check `path`."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(SendFile, directory=str(path.parent))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{path.name}"
        seconds = []
        for command in (
            f"curl -sS {address} | tee {target} | sha256sum",
            f"curl -sS -o {target} {address} && sha256sum {target}",
        ):
            target.unlink(missing_ok=True)
            began = time.monotonic()
            checked = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
            seconds.append(time.monotonic() - began)
            assert checked.split()[0] == _blob(path).digest
        server.shutdown()
    return min(seconds)


# -- the measurement ---------------------------------------------------------------------------------------------------


def measure(url: str, folder: Path, *, size: int, runs: int, small: int) -> dict[str, Any]:
    parts = {role: Part(role, url, folder / role) for role in ("serve", "send", "receive")}
    seconds: dict[str, list[float]] = {"upload": [], "download": [], "curl": []}
    cpu: dict[str, float] = {}
    try:
        for number in range(runs):
            seed = _seed(folder / "seed", size)
            blob = _blob(seed)
            before = {role: part.cpu() for role, part in parts.items()}
            seconds["upload"].append(parts["send"].do("upload", seed))
            middle = {role: part.cpu() for role, part in parts.items()}
            seconds["download"].append(parts["receive"].do("download", blob.digest, blob.size))
            cpu = {f"upload {role}": round(middle[role] - before[role], 2) for role in parts} | {
                f"download {role}": round(part.cpu() - middle[role], 2) for role, part in parts.items()
            }
            seconds["curl"].append(curl(seed, folder / f"curl{number}"))
            for role in ("serve", "receive"):
                BlobStore(folder / role, durable=role == "serve").delete(blob.digest)
            (folder / f"curl{number}").unlink()
        many = _many(folder / "many", small)
        small_up = parts["send"].do("upload", many)
        small_down = parts["receive"].do("download_all", many)
    finally:
        memory = {role: part.end() for role, part in parts.items()}
    rate = {leg: size / statistics.median(taken) for leg, taken in seconds.items()}
    whole = size / statistics.median(up + down for up, down in zip(seconds["upload"], seconds["download"], strict=True))
    return {
        "MB/s": {leg: round(value) for leg, value in rate.items()} | {"client to worker": round(whole)},
        "of curl": {
            "upload": round(rate["upload"] / rate["curl"], 2),
            "download": round(rate["download"] / rate["curl"], 2),
            "client to worker": round(whole / rate["curl"], 2),
        },
        "small files/s": {"upload": round(small / small_up), "download": round(small / small_down)},
        "MiB above idle": memory,
        "CPU seconds of the last run": cpu,
    }


def _seed(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size):
            file.write(os.urandom(10**6))
    return path


def _many(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / str(number)).write_bytes(os.urandom(10_000))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--size", type=int, default=500, help="10^6 bytes of the seed")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--small", type=int, default=2_000, help="files of 10 kB that are sent as well")
    parser.add_argument("--folder", type=Path, help="where the files go; default: a temporary folder")
    parser.add_argument("--role", choices=["serve", "send", "receive"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        {"serve": serve, "send": send, "receive": receive}[given.role](given.broker, given.folder)
        return
    folder = Path(tempfile.mkdtemp(prefix="distren-bench-", dir=given.folder))
    try:
        print(json.dumps(measure(given.broker, folder, size=given.size, runs=given.runs, small=given.small)))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
