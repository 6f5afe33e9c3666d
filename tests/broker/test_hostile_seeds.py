"""Seeds and messages as a hostile client would send them over the broker: each is refused soon, in one line.

The server is a process of its own, so that its memory can be measured; it must go on answering others meanwhile.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import psutil
import pytest

from distren.amqp import topology
from distren.amqp.blobs import BlobSender
from distren.amqp.link import Outgoing
from distren.broker.management import Management
from distren.client.connection import Connection
from distren.domain.job import Blob
from distren.errors import DistrenError, NoAnswer
from distren.storage import schema
from distren.storage.blobstore import BlobStore
from distren.wire import fields
from distren.wire.codec import LARGEST_MESSAGE
from distren.wire.jobs import Describe, Description, Manifest, ManifestFile, Submit, Submitted

if TYPE_CHECKING:
    import brokers

READY_WITHIN = 60.0
SOON = 2.0
"""seconds of processor time that the server may spend on one hostile seed, as the process that examines it"""
PATIENT = 30 * SOON
"""seconds until its answer, on a machine that others load"""
MEMORY = 256 * 2**20
"""bytes that the server may grow, and the process that examines"""
GOOD = b"""<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:distren:job:1" name="Good" renderer="povray"><frames ids="1-2"/>
<settings xmlns="urn:distren:renderer:povray:1" scene="a.pov"/></job>
"""


@dataclass
class Hostile:
    """A client that says whatever it likes, and the server that it says it to."""

    url: str
    data: Path
    process: psutil.Process
    folder: Path
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = Connection(self.url)
        self.connection.start()
        self.sender = BlobSender(self.connection.link, self.connection.mailbox, self.connection.queue)
        self.store = BlobStore(self.folder, durable=False)

    def close(self) -> None:
        self.sender.close()
        self.connection.close()

    def outside(self) -> set[Path]:
        """What lies around the server's own folder, and is none of what this client made."""
        around, own = self.data.parent, (self.data / "server", self.folder, self.data.parent / "server.log")
        return {path for path in around.rglob("*") if not any(path.is_relative_to(one) for one in own)}

    def upload(self, *contents: bytes) -> list[Blob]:
        blobs = [self.store.put(data) for data in contents]
        self.sender.offer_all([(blob, self.store.path(blob.digest)) for blob in dict.fromkeys(blobs)])
        return blobs

    def submit(self, manifest: Blob) -> Submitted:
        request = Submit(manifest=fields.Blob.of(manifest), key=secrets.token_hex(16))
        return self.connection.ask(request, Submitted, timeout=60)

    def submit_listed(self, files: list[ManifestFile]) -> Submitted:
        return self.submit(self.upload(Manifest(files=files).encode())[0])

    def submit_seed(self, contents: dict[str, bytes]) -> Submitted:
        blobs = self.upload(*contents.values())
        return self.submit_listed([listed(path, blob) for path, blob in zip(contents, blobs, strict=True)])


def listed(path: str, blob: Blob) -> ManifestFile:
    return ManifestFile(path=path, digest=blob.digest, size=blob.size)


@pytest.fixture(scope="module")
def hostile(
    broker: brokers.Broker, management: Management, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hostile]:
    """A server as a process, and a client of it."""
    vhost, folder = f"hostile-{secrets.token_hex(6)}", tmp_path_factory.mktemp("hostile")
    data = folder / "data"
    management.create_vhost(vhost)
    url = broker.url_of(vhost)
    (data / "server").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISTREN_")}
    environment |= {"DISTREN_BROKER": url, "DISTREN_DATA": str(data), "DISTREN_SERVER": "alpha"}
    from distren.config import load

    schema.upgrade(load(data=data).database_url)
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "distren.cli.server"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        made = Hostile(url, data, psutil.Process(process.pid), folder / "sent")
        await_answer(made)
        made.submit_seed({"distrenjob.xml": GOOD, "a.pov": b"sphere { 0, 1 }"})  # everything is imported and warm
        yield made
        made.close()
        assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
        assert "Traceback" not in (folder / "server.log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        management.delete_vhost(vhost)


def await_answer(client: Hostile) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            client.connection.ask(Describe(), Description, timeout=2)
        except DistrenError:
            assert time.monotonic() < deadline, "the server does not answer"
            assert client.process.is_running()
        else:
            return


@dataclass
class Watch:
    """What the server did while something hostile was under way."""

    seconds: float = 0.0
    processor: float = 0.0
    grown: int = 0
    examining: int = 0
    slowest: float = 0.0
    answers: int = 0


def watched(hostile: Hostile, act: Callable[[], object]) -> Watch:
    """Do something, with another client that asks all the while, and an eye on the server's memory."""
    watch, over = Watch(), threading.Event()
    other = Connection(hostile.url)
    other.start()
    idle = hostile.process.memory_info().rss
    child_idle = max(child.memory_info().rss for child in hostile.process.children())

    def ask() -> None:
        while not over.is_set():
            asked = time.monotonic()
            other.ask(Describe(), Description, timeout=60)
            watch.slowest = max(watch.slowest, time.monotonic() - asked)
            watch.answers += 1
            over.wait(0.05)

    def look() -> None:
        while not over.wait(0.005):
            watch.grown = max(watch.grown, hostile.process.memory_info().rss - idle)
            for child in hostile.process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    watch.examining = max(watch.examining, child.memory_info().rss - child_idle)

    threads = [threading.Thread(target=one) for one in (ask, look)]
    for thread in threads:
        thread.start()
    began, used = time.monotonic(), sum(hostile.process.cpu_times()[:2])
    try:
        act()
    finally:
        watch.seconds = time.monotonic() - began
        watch.processor = sum(hostile.process.cpu_times()[:2]) - used
        over.set()
        for thread in threads:
            thread.join()
        other.close()
    return watch


def refused(hostile: Hostile, act: Callable[[], object]) -> str:
    """The one line with which the server refuses, soon and without growing; others are answered meanwhile."""
    said: list[DistrenError] = []
    before = hostile.outside()

    def attempt() -> None:
        try:
            act()
        except DistrenError as error:
            said.append(error)

    watch = watched(hostile, attempt)
    assert said, "it was accepted"
    text = str(said[0])
    assert not isinstance(said[0], NoAnswer), text
    assert "\n" not in text
    assert len(text) < 1_000
    assert type(said[0]) is not DistrenError, text  # that would be a failure of the server
    assert watch.processor < SOON, watch
    assert watch.seconds < PATIENT, watch
    assert watch.slowest < PATIENT, watch
    assert watch.answers > 0
    assert watch.grown < MEMORY, watch
    assert watch.examining < MEMORY, watch
    assert "takes more than" not in text, f"only the kernel ended it: {watch}"
    assert hostile.outside() == before
    return text


# -- manifests --

BAD_PATHS = {
    "absolute": "/etc/passwd",
    "parent": "../../outside",
    "parent inside": "a/../../outside",
    "dot": "a/./b",
    "empty part": "a//b",
    "empty": "",
    "trailing slash": "a/",
    "backslash": "..\\outside",
    "drive": "C:\\outside",
    "zero": "a\x00b",
    "newline": "a\nb",
    "escape": "a\x1b[2Jb",
    "long": "a" * 5_000,
    "long part": "a" * 300,
    "case clash": "A.POV",
    "twice": "a.pov",
    "below a file": "a.pov/b",
    "second job file": "folder/distrenjob.xml",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_a_manifest_with_a_bad_path_is_refused(hostile: Hostile, path: str) -> None:
    job, scene = hostile.upload(GOOD, b"sphere { 0, 1 }")
    named = {"distrenjob.xml": job, "a.pov": scene}
    files = [raw_file(one, blob.digest, blob.size) for one, blob in [*named.items(), (path, scene)]]
    manifest = hostile.upload(packed_manifest(files))[0]
    assert "seed" in refused(hostile, lambda: hostile.submit(manifest))
    assert not (hostile.data.parent / "outside").exists()


def test_two_job_files_at_the_root_are_refused(hostile: Hostile) -> None:
    job = hostile.upload(GOOD)[0]
    files = [listed("distrenjob.xml", job)] * 2
    assert "distrenjob.xml" in refused(hostile, lambda: hostile.submit_listed(files))
    other_case = [listed("distrenjob.xml", job), listed("DistRenJob.XML", job)]
    assert refused(hostile, lambda: hostile.submit_listed(other_case))


def test_a_manifest_without_a_job_file_is_refused(hostile: Hostile) -> None:
    scene = hostile.upload(b"sphere {}")[0]
    assert "no distrenjob.xml" in refused(hostile, lambda: hostile.submit_listed([listed("a.pov", scene)]))
    assert "no distrenjob.xml" in refused(hostile, lambda: hostile.submit_listed([]))


def test_files_that_were_not_uploaded_are_refused(hostile: Hostile) -> None:
    job = hostile.upload(GOOD)[0]
    missing = Blob(digest=hashlib.sha256(b"never sent").hexdigest(), size=10)
    files = [listed("distrenjob.xml", job), listed("a.pov", missing)]
    assert "'a.pov' was not uploaded" in refused(hostile, lambda: hostile.submit_listed(files))
    assert "manifest was not uploaded" in refused(hostile, lambda: hostile.submit(missing))


@pytest.mark.parametrize("size", [0, 1, 14, 2**40, 2**53])
def test_a_size_that_is_not_the_file_s_is_refused(hostile: Hostile, size: int) -> None:
    job, scene = hostile.upload(GOOD, b"sphere { 0, 1 }")
    files = [listed("distrenjob.xml", job), listed("a.pov", Blob(digest=scene.digest, size=size))]
    assert "a.pov" in refused(hostile, lambda: hostile.submit_listed(files))


def test_a_digest_that_other_bytes_have_is_refused(hostile: Hostile, tmp_path: Path) -> None:
    lie = Blob(digest=hashlib.sha256(secrets.token_bytes(8)).hexdigest(), size=5)
    (tmp_path / "lie").write_bytes(b"other")
    text = refused(hostile, lambda: hostile.sender.offer_all([(lie, tmp_path / "lie")]))
    assert lie.digest[:12] in text
    files = [listed("distrenjob.xml", hostile.upload(GOOD)[0]), listed("a.pov", lie)]
    assert "not uploaded" in refused(hostile, lambda: hostile.submit_listed(files))


def packed_manifest(files: Any, **more: Any) -> bytes:
    body: bytes = msgpack.packb({"type": "manifest", "version": 1, "files": files, **more})
    return body


def raw_file(path: Any = "distrenjob.xml", digest: Any = "0" * 64, size: Any = 1) -> dict[str, Any]:
    return {"path": path, "digest": digest, "size": size}


MANIFESTS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no msgpack": lambda: b"\xc1" * 100,
    "a text": lambda: b"distrenjob.xml",
    "another type": lambda: msgpack.packb({"type": "server.describe", "version": 1}),
    "another version": lambda: packed_manifest([], version=2),
    "version of text": lambda: packed_manifest([], version="1"),
    "a map for a list": lambda: packed_manifest({"a": 1}),
    "a number for a path": lambda: packed_manifest([raw_file(path=7)]),
    "a number for a digest": lambda: packed_manifest([raw_file(digest=7)]),
    "a path for a digest": lambda: packed_manifest([raw_file(digest="../" * 21 + "a")]),
    "a negative size": lambda: packed_manifest([raw_file(size=-1)]),
    "a float for a size": lambda: packed_manifest([raw_file(size=1.5)]),
    "a forged length": lambda: b"\x83\xa4type\xa8manifest\xa7version\x01\xa5files\xdd\xff\xff\xff\xff",
    "a forged text": lambda: b"\x83\xa4type\xdb\xff\xff\xff\xff" + b"a" * 50,
    "an extension": lambda: b"\x83\xa4type\xa8manifest\xa7version\x01\xa5files\xd6\xff\x00\x00\x00\x00",
    "deep": lambda: b"\x83\xa4type\xa8manifest\xa7version\x01\xa5files" + b"\x91" * 100_000 + b"\x00",
    "cut off": lambda: packed_manifest([raw_file()])[:-3],
    "something behind": lambda: packed_manifest([raw_file()]) + b"\x00",
    "not in UTF-8": lambda: packed_manifest([raw_file()]).replace(b"distrenjob", b"distr\xff\xfejob"),
    "a million entries": lambda: packed_manifest([0] * 10**6),
    "many files": lambda: packed_manifest([raw_file(path=f"{n}", size=0) for n in range(80_000)]),
    "many equal files": lambda: packed_manifest([raw_file(path="a") for _ in range(80_000)]),
    "a million files": lambda: packed_manifest([{"path": f"{n}"} for n in range(10**6)]),
    "larger than a message": lambda: packed_manifest([raw_file(path="a" * LARGEST_MESSAGE)]),
}


@pytest.mark.parametrize("make", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_manifest_that_is_none_is_refused(hostile: Hostile, make: Callable[[], bytes]) -> None:
    manifest = hostile.upload(make())[0]
    assert refused(hostile, lambda: hostile.submit(manifest))


# -- job files --


def job_of(inside: bytes, head: bytes = b"") -> bytes:
    start = b'<job xmlns="urn:distren:job:1" name="Bad" renderer="povray"><frames ids="1"/>'
    return head + start + inside + b"</job>"


LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, (b"&l%d;" % (n - 1)) * 10) for n in range(1, 10))
JOB_FILES: dict[str, Callable[[], bytes]] = {
    "billion laughs": lambda: job_of(b"&l9;", b'<!DOCTYPE job [<!ENTITY l0 "ha">' + LAUGHS + b"]>"),
    "quadratic": lambda: job_of(b"&a;" * 50_000, b'<!DOCTYPE job [<!ENTITY a "' + b"a" * 50_000 + b'">]>'),
    "external entity": lambda: job_of(b"&x;", b'<!DOCTYPE job [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    "external dtd": lambda: job_of(b"", b'<!DOCTYPE job SYSTEM "http://127.0.0.1:1/job.dtd">'),
    "parameter entity": lambda: job_of(b"", b'<!DOCTYPE job [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>'),
    "plain dtd": lambda: job_of(b"", b"<!DOCTYPE job>"),
    "unknown entity": lambda: job_of(b"&nbsp;"),
    "inclusion": lambda: job_of(b'<include xmlns="urn:distren:job:1" href="file:///etc/passwd"/>'),
    "utf-16": lambda: job_of(b"").decode().encode("utf-16"),
    "utf-32": lambda: job_of(b"").decode().encode("utf-32"),
    "utf-7": lambda: job_of(b"", b'<?xml version="1.0" encoding="UTF-7"?>'),
    "latin-1": lambda: job_of(b"", b'<?xml version="1.0" encoding="ISO-8859-1"?>'),
    "ebcdic": lambda: job_of(b"").decode().encode("cp500"),
    "bytes": lambda: job_of(b"\xff\xfe\xc0\x80"),
    "deep": lambda: job_of(b"<a>" * 10_000 + b"</a>" * 10_000),
    "deeper": lambda: b"<a>" * 2_000_000,
    "a million elements": lambda: job_of(b"<a/>" * 10**6),
    "a million frames": lambda: job_of(b'<frames ids="1"/>' * 400_000),
    "a large attribute": lambda: job_of(b'<a b="' + b"x" * (7 * 2**20) + b'"/>'),
    "an attribute of 12 MB": lambda: job_of(b'<a b="' + b"x" * (12 * 10**6) + b'"/>'),
    "many attributes": lambda: job_of(b"<a " + b"".join(b'a%d="" ' % n for n in range(500_000)) + b"/>"),
    "many namespaces": lambda: job_of(b"<a " + b"".join(b'xmlns:a%d="u" ' % n for n in range(300_000)) + b"/>"),
    "many comments": lambda: job_of(b"<!---->" * 10**6),
    "a long name": lambda: job_of(b"<" + b"a" * (7 * 2**20) + b"/>"),
    "many frames": lambda: job_of(b"").replace(b'ids="1"', b'ids="0-9223372036854775807"'),
    "a forged range": lambda: job_of(b"").replace(b'ids="1"', b'ids="' + b"1-2," * 200_000 + b'"'),
    "a huge number": lambda: job_of(b"").replace(b'ids="1"', b'ids="' + b"9" * 1_000_000 + b'"'),
    "a settings element": lambda: job_of(b'<settings xmlns="urn:distren:renderer:povray:1" scene="../../etc/passwd"/>'),
    "nothing": lambda: b"",
    "zeroes": lambda: bytes(2**20),
}


@pytest.mark.parametrize("make", JOB_FILES.values(), ids=JOB_FILES.keys())
def test_a_hostile_job_file_is_refused(hostile: Hostile, make: Callable[[], bytes]) -> None:
    job, scene = hostile.upload(make(), b"sphere { 0, 1 }")
    files = [listed("distrenjob.xml", job), listed("a.pov", scene)]
    text = refused(hostile, lambda: hostile.submit_listed(files))
    assert "root:" not in text
    assert "distrenjob.xml" in text or "POV-Ray" in text or "povray" in text


# -- messages --

FORGED = {
    "empty": b"",
    "noise": bytes(range(256)) * 10,
    "no type": msgpack.packb({"version": 1}),
    "unknown type": msgpack.packb({"type": "job.explode", "version": 1}),
    "unknown version": msgpack.packb({"type": "job.list", "version": 99}),
    "no request": msgpack.packb({"type": "frame.completed", "version": 1}),
    "forged length": b"\x82\xa4type\xdf\xff\xff\xff\xff",
    "forged binary": b"\x82\xa4type\xc6\xff\xff\xff\xffabc",
    "wrong types": msgpack.packb({"type": "job.show", "version": 1, "job": "17; DROP TABLE jobs"}),
    "too large an id": msgpack.packb({"type": "job.show", "version": 1, "job": 2**64 - 1}),
    "a negative id": msgpack.packb({"type": "job.show", "version": 1, "job": -1}),
    "too many": msgpack.packb({"type": "file.list", "version": 1, "job": 1, "limit": 10**9}),
    "deep": b"\x81\xa4type" + b"\x91" * 1_000_000,
    "large": b"\x81\xa4type\xc6\x00\xf0\x00\x00" + bytes(15 * 2**20),
}


@pytest.mark.parametrize("queue", [topology.REQUESTS, topology.BLOBS])
@pytest.mark.parametrize("body", FORGED.values(), ids=FORGED.keys())
def test_a_forged_message_harms_nobody(hostile: Hostile, queue: str, body: bytes) -> None:
    link = hostile.connection.link
    forged = Outgoing(
        exchange=topology.DEFAULT, key=queue, body=body, reply_to=hostile.connection.queue, correlation_id="forged"
    )

    def act() -> None:
        link.publish_all([forged] * 3, 30.0)
        hostile.connection.ask(Describe(), Description, timeout=60)
        hostile.upload(secrets.token_bytes(10))  # behind it in the other queue

    watch = watched(hostile, act)
    assert watch.grown < MEMORY, watch
    assert watch.seconds < PATIENT, watch
    assert watch.processor < SOON, watch


def test_after_all_that_a_good_seed_is_taken(hostile: Hostile) -> None:
    taken = hostile.submit_seed({"distrenjob.xml": GOOD, "a.pov": b"sphere { 0, 1 }"})
    assert (taken.server, taken.frames) == ("alpha", 2)
