"""Seeds are examined in processes of their own: what takes too much there is refused, and harms nobody."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from waiting import PATIENCE, wait_for

from distren.domain.job import Blob
from distren.errors import DistrenError, JobFileError, NotFound
from distren.limits import Limits
from distren.server.examiner import Examiner
from distren.server.seeds import Seed
from distren.storage.blobstore import BlobStore
from distren.wire.jobs import Manifest, ManifestFile

JOB = """<job xmlns="urn:distren:job:1" name="a" renderer="povray">{inside}
<settings xmlns="urn:distren:renderer:povray:1" scene="a.pov"/></job>"""
PLAIN = '<frames ids="1-3"/>'


@contextmanager
def examining(folder: Path, **limits: int) -> Iterator[Examiner]:
    examiner = Examiner(BlobStore(folder, durable=False), Limits(**limits))
    examiner.start()
    try:
        yield examiner
    finally:
        examiner.close()


def manifest(folder: Path, inside: str = PLAIN) -> Blob:
    store = BlobStore(folder, durable=False)
    blobs = {"distrenjob.xml": store.put(JOB.format(inside=inside).encode()), "a.pov": store.put(b"sphere { 0, 1 }")}
    listed = [ManifestFile(path=path, digest=blob.digest, size=blob.size) for path, blob in blobs.items()]
    return store.put(Manifest(files=listed).encode())


def test_a_good_seed_comes_back_and_a_bad_one_with_its_error(tmp_path: Path) -> None:
    with examining(tmp_path) as examiner:
        seed = examiner.examine(manifest(tmp_path))
        assert (seed.spec.name, str(seed.spec.frames), [file.path for file in seed.inputs]) == (
            "a",
            "1-3",
            ["distrenjob.xml", "a.pov"],
        )
        with pytest.raises(JobFileError, match=r"distrenjob\.xml, line 1, column .*ends before it starts"):
            examiner.examine(manifest(tmp_path, '<frames ids="3-1"/>'))
        bad = '<frames ids="3"><settings xmlns="urn:distren:renderer:povray:1" quality="high"/></frames>'
        refused = manifest(tmp_path, PLAIN + bad)
        with pytest.raises(JobFileError, match="quality"):
            examiner.examine(refused)
        with pytest.raises(NotFound, match="the manifest was not uploaded"):
            examiner.examine(Blob(digest="ab" * 32, size=1))


def test_a_seed_that_takes_too_much_memory_is_refused_in_one_line(tmp_path: Path) -> None:
    large = manifest(tmp_path, '<frames ids="0-1899999,5"/><needs frames="7" all="frame/5"/>')
    with examining(tmp_path, examination_memory=2**26, examination_seconds=60, examination_patience=300) as examiner:
        with pytest.raises(JobFileError, match="of memory") as caught:
            examiner.examine(large)
        assert "\n" not in str(caught.value)
        assert examiner.examine(manifest(tmp_path)).spec.name == "a"


def test_a_seed_that_takes_too_long_is_refused_and_others_are_examined_meanwhile(tmp_path: Path) -> None:
    slow = manifest(tmp_path, '<frames ids="0-1000000"/><needs frames="0-999999" each="frame/1-1000000"/>')
    with examining(tmp_path, examination_seconds=1, examination_memory=2**30, examination_patience=300) as examiner:
        answers: queue.SimpleQueue[Seed | DistrenError] = queue.SimpleQueue()
        examiner.ask(slow, answers.put)
        assert examiner.examine(manifest(tmp_path)).spec.name == "a"
        assert "takes more than 1 s of processor time" in str(answers.get(timeout=300))


def test_the_number_of_frames_can_be_limited(tmp_path: Path) -> None:
    with examining(tmp_path, frames=2) as examiner, pytest.raises(JobFileError, match="3 frames, above the limit of 2"):
        examiner.examine(manifest(tmp_path))


def test_a_process_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    with examining(tmp_path) as examiner:
        assert examiner.examine(manifest(tmp_path)).spec.name == "a"
        assert examiner._process is not None
        os.kill(examiner._process.pid, signal.SIGKILL)
        examiner._process.wait()
        assert examiner.examine(manifest(tmp_path)).spec.name == "a"


def test_a_process_that_is_killed_before_it_has_begun_says_nothing_against_the_seed(tmp_path: Path) -> None:
    good = manifest(tmp_path)
    with examining(tmp_path) as examiner:
        assert examiner.examine(good).spec.name == "a"
        process = examiner._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        answers: queue.SimpleQueue[Seed | DistrenError] = queue.SimpleQueue()
        examiner.ask(good, answers.put)
        wait_for(lambda: unread(examiner))
        process.kill()
        found = answers.get(timeout=PATIENCE)
        assert isinstance(found, Seed), found


def unread(examiner: Examiner) -> bool:
    """Whether a request has been sent that the process has not taken."""
    assert examiner._requests is not None
    return bool(fcntl.ioctl(examiner._requests, termios.TIOCOUTQ, b"\0" * 4).strip(b"\0"))
