"""What a renderer prints is followed while it prints it: a server, workers and a client on a real broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
from brokers import Broker
from sites import Site, site
from waiting import PATIENCE, wait_for
from worker_farm import Shell

from distren.broker.management import Management
from distren.client.farm import Farm
from distren.client.job import Job
from distren.client.logs import LogPiece
from distren.config import Settings
from distren.domain import frameset
from distren.domain.job import JobSpec, Limits
from distren.errors import NotFound
from distren.jobfile.writer import write_jobfile
from distren.worker.agent import Worker

SLOWLY = 'echo begin; while [ ! -e "{go}" ]; do sleep 0.02; done; echo end; echo x >out'


class Running:
    """A worker in a thread of this process, whose renders see the test's folder."""

    def __init__(self, farm: Site, folder: Path, name: str, pool: str = "default") -> None:
        settings = Settings(data=folder / name, sandbox="off", free_space=0)  # type: ignore[arg-type]
        adapters = {"shell": Shell()}
        self.worker = Worker(settings, broker_url=farm.url, name=name, pool=pool, slots=1, adapters=adapters)
        self._thread = threading.Thread(target=self.worker.run)
        self._thread.start()

    def end(self) -> None:
        self.worker.give_back()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def alpha(broker: Broker, management: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site("alpha", tmp_path_factory.mktemp("logs"), broker, management) as made:
        yield made


@pytest.fixture
def farm(alpha: Site) -> Iterator[Farm]:
    with alpha.farm() as made:
        yield made


class Reader:
    """Follows a frame in a thread, as a client does."""

    def __init__(self, job: Job) -> None:
        self.pieces: SimpleQueue[LogPiece | BaseException | None] = SimpleQueue()
        self.waits: SimpleQueue[str] = SimpleQueue()
        self._job = job
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for piece in self._job.follow_log(1, on_wait=self.waits.put):
                self.pieces.put(piece)
            self.pieces.put(None)
        except BaseException as error:
            self.pieces.put(error)

    def next(self) -> tuple[int, str, str] | None:
        piece = self.pieces.get(timeout=PATIENCE)
        if isinstance(piece, BaseException):
            raise piece
        return None if piece is None else (piece.attempt, piece.text, piece.state)

    def rest(self) -> list[tuple[int, str, str]]:
        return list(iter(self.next, None))


def submit(farm: Farm, folder: Path, script: str, *, attempts: int = 1, pool: str = "default") -> Job:
    folder.mkdir()
    spec = JobSpec(
        name="log",
        renderer="shell",
        frames=frameset.parse("1"),
        settings={"script": script},
        limits=Limits(attempts=attempts),
        pool=pool,
    )
    (folder / "distrenjob.xml").write_bytes(write_jobfile(spec))
    return farm.submit(folder)


@pytest.fixture
def worker(alpha: Site, farm: Farm, tmp_path: Path) -> Iterator[None]:
    """A worker of the default pool that is at work."""
    running = Running(alpha, tmp_path, "w1")
    try:
        wait_for(lambda: any(one.state == "working" for one in farm.workers()))
        yield
    finally:
        running.end()


@pytest.mark.usefixtures("worker")
def test_a_frame_is_followed_through_every_attempt_to_its_end(farm: Farm, tmp_path: Path) -> None:
    go, again = tmp_path / "go", tmp_path / "again"
    once = f'if [ ! -e "{again}" ]; then echo first; touch "{again}"; exit 3; fi; '
    job = submit(farm, tmp_path / "job", once + SLOWLY.format(go=go), attempts=2)
    reader = Reader(job)
    heard = [reader.next()]
    while heard[-1] is not None and heard[-1][0] == 1:
        heard.append(reader.next())
    first = [one for one in heard if one is not None and one[0] == 1]
    assert "".join(text for _, text, _ in first) == "first\n"
    assert first[-1][2] == "failed"
    assert heard[-1] == (2, "begin\n", "rendering")
    late = Reader(job)
    assert late.next() == (2, "begin\n", "rendering")
    go.touch()
    for one in (reader, late):
        rest = one.rest()
        assert "".join(text for _, text, _ in rest) == "end\n"
        assert rest[-1] == (2, "", "done")
    assert Reader(job).rest() == [(2, "begin\nend\n", "done")]


@pytest.mark.usefixtures("worker")
def test_a_frame_that_has_not_begun_says_what_it_waits_for_and_is_followed_then(
    alpha: Site, farm: Farm, tmp_path: Path
) -> None:
    job = submit(farm, tmp_path / "job", SLOWLY.format(go=tmp_path / "go"), pool="night")
    reader = Reader(job)
    assert "waits: no worker of pool 'night' can run 'shell' now" in reader.waits.get(timeout=PATIENCE)
    night = Running(alpha, tmp_path, "w2", pool="night")
    try:
        assert reader.next() == (1, "begin\n", "rendering")
        job.cancel()
        rest = reader.rest()
        assert [(number, text) for number, text, _ in rest] == [(1, "")]
        assert rest[-1][2] != "rendering"
    finally:
        night.end()


@pytest.mark.usefixtures("worker")
def test_there_must_be_such_a_frame(farm: Farm, tmp_path: Path) -> None:
    job = submit(farm, tmp_path / "job", "echo x >out")
    with pytest.raises(NotFound, match="has no frame 7"):
        next(job.follow_log(7))
