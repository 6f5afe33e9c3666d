"""The farm, as a program sees it.

from distren import Farm

with Farm() as farm:
    job = farm.submit("scene.pov", frames="1-24")
    job.wait()
    job.fetch("out/")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distren import config, urls
from distren.amqp.blobs import BlobSender
from distren.amqp.requests import PATIENCE
from distren.broker.locate import broker_url
from distren.client import seed, upload
from distren.client.connection import Connection, ServerConnection
from distren.client.job import FrameNumbers, Job, frame_numbers
from distren.client.results import Results
from distren.client.upload import Ahead, OnUpload
from distren.client.wishes import Wishes
from distren.domain.groups import Output
from distren.errors import UrlError
from distren.urls import Url
from distren.wire.jobs import (
    Describe,
    Description,
    JobInfo,
    Jobs,
    ListJobs,
    ListWorkers,
    ReleaseWorker,
    WorkerInfo,
    Workers,
)
from distren.wire.peers import ListPeers, PeerInfo, Peers, PeersChanged

__all__ = ["Farm", "Job"]
_PAGE = 100


class Farm:
    """A connection to the server behind a broker. Use it in a `with`, or `close` it.

    `broker` is an amqp:// URL; without it the settings decide, and without those it is the private broker in the data
    folder. `at` names the server that is meant where a reference names none: the one behind the broker by default, else
    a peer of it. `settings` are those of `distren.config`. Raises BrokerUnavailable, AccessRefused, SettingsError.
    """

    def __init__(self, broker: str | None = None, *, at: str | None = None, **settings: Any) -> None:
        self.settings = config.load(broker=broker, **settings)
        url = broker_url(self.settings)
        self._connection = Connection(url)
        self._results = Results(url)
        self._sender = BlobSender(self._connection.link, self._connection.mailbox, self._connection.queue)
        self._at = None if at is None else urls.server_name(at)
        self._own: str | None = None
        self._connection.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; jobs go on without it."""
        self._sender.close()
        self._connection.close()

    # -- the farm ----------------------------------------------------------------------------------------------------

    def describe(self, timeout: float = PATIENCE) -> Description:
        """The server's name and version, and how many workers have each renderer now."""
        return self._to(self.server).ask(Describe(), Description, timeout)

    @property
    def server(self) -> str:
        """The name of the server that is meant where a reference names none."""
        return self._at or self._behind

    @property
    def _behind(self) -> str:
        """The name of the server behind the broker."""
        if self._own is None:
            self._own = self._connection.ask(Describe(), Description).server
        return self._own

    def _to(self, server: str) -> ServerConnection:
        return ServerConnection(self._connection, None if server == self._behind else server)

    def workers(self) -> list[WorkerInfo]:
        """The workers that have reported of late, those at work first."""
        return self._to(self.server).ask(ListWorkers(), Workers).workers

    def release(self, worker: str) -> WorkerInfo:
        """Let a worker go on that is in quarantine. Raises NotFound, and Conflict for one that is not."""
        return self._connection.ask(ReleaseWorker(worker=worker), Workers).workers[0]

    def peers(self) -> list[PeerInfo]:
        """The servers that this one shares jobs with, by name."""
        return self._connection.ask(ListPeers(), Peers).peers

    def reload_peers(self, timeout: float = PATIENCE) -> None:
        """Tell the server that an operator has changed its peers. Raises NoAnswer where none runs."""
        self._connection.ask(PeersChanged(), Peers, timeout)

    # -- jobs --------------------------------------------------------------------------------------------------------

    def jobs(self) -> Iterator[JobInfo]:
        """Every job, newest first."""
        before = None
        while True:
            page = self._to(self.server).ask(ListJobs(before=before, limit=_PAGE), Jobs)
            yield from page.jobs
            if len(page.jobs) < _PAGE:
                return
            before = page.jobs[-1].job

    def job(self, reference: int | str) -> Job:
        """The job that `17`, `alpha/17` or `distren://alpha/17` names; its existence is not asked for here.

        Raises UrlError.
        """
        url = self.resolve(str(reference))
        if url.job is None:
            raise UrlError(f"'{reference}' names no job: write for example 17, or distren://alpha/17")
        if url.frame is not None or url.file is not None:
            what = "frame" if url.file is None else "file"
            raise UrlError(f"'{reference}' names a {what}, where a job is wanted: write {url.job}")
        return self._job(url)

    def frame(self, reference: str) -> tuple[Job, int]:
        """The job and the frame number that `17/frame/3` or `distren://alpha/17/frame/3` names."""
        url = self.resolve(reference)
        if url.frame is None:
            raise UrlError(f"'{reference}' names no frame: write for example 17/frame/3")
        return self._job(url), url.frame

    def file(self, reference: str) -> tuple[Job, int]:
        """The job and the file id that `17/file/2` or `distren://alpha/17/file/2` names."""
        url = self.resolve(reference)
        if url.file is None:
            raise UrlError(f"'{reference}' names no file: write for example 17/file/2")
        return self._job(url), url.file

    def resolve(self, reference: str) -> Url:
        """What a reference in any of its forms names; existence is not asked for here. Raises UrlError."""
        url = urls.parse(reference)
        if url.server is None and url.job is None:
            raise UrlError("the reference is empty: write for example 17, or distren://alpha/17")
        return url.at(self.server)

    def _job(self, url: Url) -> Job:
        assert url.server is not None
        assert url.job is not None
        return self._job_of(url.server, url.job)

    def _job_of(self, server: str, job: int) -> Job:
        return Job(self._way, server=server, job=job)

    def _way(self, server: str) -> tuple[ServerConnection, Results]:
        """How a server is asked, and how results come from it."""
        connection = self._to(server)
        return connection, self._results.at(connection.peer)

    # -- submitting --------------------------------------------------------------------------------------------------

    def submit(
        self,
        source: Path | str,
        frames: FrameNumbers = None,
        *,
        renderer: str | None = None,
        width: int | None = None,
        height: int | None = None,
        name: str | None = None,
        pool: str | None = None,
        priority: int | None = None,
        time_limit: str | int | None = None,
        silence_limit: str | int | None = None,
        memory_limit: str | int | None = None,
        output_limit: str | int | None = None,
        attempts: int | None = None,
        outputs: Iterable[Output | str] = (),
        settings: Mapping[str, str] | None = None,
        scene: str | None = None,
        tiles: str | None = None,
        video: Mapping[str, str] | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Hand in a scene, a directory or a tarball; only files that the server lacks travel.

        What is None is taken from the job file or the scene; `scene` names the one that is meant in a folder that holds
        several. Limits are text as in a job file (`20m`, `4G`), or seconds and bytes; `outputs` are files that each
        frame must produce beyond its renderer's own (`depth{frame:04}.exr`). `tiles` (`4x4`) divides each image among
        workers; `video` adds a frame that makes a video, with these settings of the renderer encode
        (`{"name": "film.mp4", "fps": "25"}`). `on_upload` is told how the upload goes. Raises InputError and its kinds,
        RendererUnavailable where nobody knows the renderer, OutputError where the server has no room.
        """
        wishes = Wishes(
            renderer=renderer,
            frames=frame_numbers(frames),
            width=width,
            height=height,
            name=name,
            pool=pool,
            priority=priority,
            time_limit=time_limit,
            silence_limit=silence_limit,
            memory_limit=memory_limit,
            output_limit=output_limit,
            attempts=attempts,
            outputs=[output if isinstance(output, Output) else Output(path=output) for output in outputs],
            settings=settings or {},
            scene=scene,
            tiles=tiles,
            video=video,
        )
        ahead = Ahead(self._sender, on_upload)
        with seed.pack(Path(source), wishes, ahead.begin) as packed:
            reply = upload.hand_in(self._to(self.server), self._sender, packed, ahead, on_upload)
        return self._job_of(reply.server, reply.job)
