"""A server as a child process that fetches blobs from its peer when it is told to: `python -m benchmarks.site`.

Orders come as JSON lines on standard input: {"fetch": [[digest, size], ...], "from": peer} is answered with the seconds
that it took; {"put": path} with [digest, size]. The first line that is written says that the server is ready.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from distren.config import Settings
from distren.domain.job import Blob
from distren.server.daemon import Server
from distren.storage import schema
from distren.storage.blobstore import BlobStore

_AT_ONCE = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("name", "folder", "broker", "management"):
        parser.add_argument(name)
    given = parser.parse_args()
    settings = Settings(data=Path(given.folder), server=given.name, broker=given.broker, management=given.management)
    schema.upgrade(settings.database_url)
    server = Server(settings, given.broker)
    thread = threading.Thread(target=server.run)
    thread.start()
    store = BlobStore(settings.blobs)
    print("ready", flush=True)
    try:
        for line in sys.stdin:
            print(json.dumps(_obey(server, store, json.loads(line))), flush=True)
    finally:
        server.stop()
        thread.join()


def _obey(server: Server, store: BlobStore, order: dict[str, Any]) -> Any:
    if "put" in order:
        stored = store.put(Path(order["put"]).read_bytes())
        return [stored.digest, stored.size]
    desk = server.federation.fetcher(order["from"])
    blobs = [Blob(digest=digest, size=size) for digest, size in order["fetch"]]
    began = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        paths = list(executor.map(desk.receiver.fetch, blobs))
    seconds = time.monotonic() - began
    for path in paths:
        path.unlink()
    return seconds


if __name__ == "__main__":
    main()
