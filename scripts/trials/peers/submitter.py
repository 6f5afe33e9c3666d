"""A client of each server that hands jobs in: its own, some of which it then moves to a peer, jobs for a peer, and jobs
that need frames of a peer's jobs."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from distren.domain import frameset
from distren.domain.job import JobSpec
from distren.domain.needs import Needs
from distren.errors import Conflict, DistrenError
from distren.jobfile.writer import write_jobfile
from trials import submitter
from trials.peers.sites import Sites
from trials.submitter import PASSING, Promise

Way = Literal["own", "sent", "needing", "moved"]
_WAYS: tuple[Way, ...] = ("own", "own", "sent", "needing", "moved")
_USUAL = 40
"""frames of a job, in the mean"""
_NEEDED_WITHIN = 15.0
_MOVED_WITHIN = 60.0
_AGAIN_AFTER = 0.5
"""seconds"""


@dataclass(frozen=True, kw_only=True)
class PeerPromise(Promise):
    """A job of `server`, handed in by a client of `by`; `moved` is when its move had ended, 0 without one."""

    server: str
    by: str
    way: Way
    moved: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job to come: whose client hands it in, and for whom or from whom."""

    number: int
    frames: int
    by: str
    way: Way
    peer: str


@dataclass(frozen=True, kw_only=True)
class Doubtful:
    """A job whose submission was not answered: `server` may have it, once, or not."""

    token: str
    frames: int
    server: str
    by: str
    way: Way


def plans(seed: int, frames: int, sites: Sites) -> list[Plan]:
    """What is handed in, in which order."""
    random_ = random.Random(f"peers' jobs {seed} {frames} {len(sites.shape.lines)}")
    made = []
    for number, size in enumerate(submitter.sizes(seed, frames, max(4, frames // _USUAL)), start=1):
        by = random_.choice(sites.shape.names)
        peer = random_.choice(sites.shape.neighbours(by))
        made.append(Plan(number=number, frames=size, by=by, way=random_.choice(_WAYS), peer=peer))
    return made


class PeersSubmitter(threading.Thread):
    """Hands in one job after the other, so that the farms never run dry; `failure` says why it gave up.

    A job that was not answered is not handed in again: another one is, with a scene of its own, for the client's own
    server.
    """

    def __init__(
        self,
        sites: Sites,
        *,
        seed: int,
        plans: list[Plan],
        seconds: tuple[float, float],
        begun: Callable[[], int],
        ahead: int,
    ) -> None:
        """`begun` says how many attempts have begun; a job is handed in once no more than `ahead` frames are left."""
        super().__init__(name="submitter", daemon=True)
        self.promises: list[PeerPromise] = []
        self.doubtful: list[Doubtful] = []
        self.failure: DistrenError | None = None
        self._sites, self._seed, self._plans, self._seconds = sites, seed, plans, seconds
        self._begun, self._ahead = begun, ahead
        self._ending = threading.Event()

    def end(self) -> None:
        """Hand in nothing more."""
        self._ending.set()

    def run(self) -> None:
        handed_in = 0
        clients = []
        for plan in self._plans:
            while handed_in - self._begun() > self._ahead and not self._ending.wait(0.1):
                pass
            if self.failure is not None or self._ending.is_set():
                break
            # A job for a peer that can not be reached takes its time; others are handed in meanwhile.
            clients.append(threading.Thread(target=self._see_in, args=(plan,), daemon=True))
            clients[-1].start()
            handed_in += plan.frames
        for client in clients:
            client.join()

    def _see_in(self, plan: Plan) -> None:
        try:
            self._hand_in(plan)
        except DistrenError as error:
            self.failure = error

    def _hand_in(self, plan: Plan) -> None:
        tries, way = 0, plan.way
        while not self._ending.is_set():
            tries += 1
            token = f"{self._seed}-{plan.number}" + (f"-{tries}" if tries > 1 else "")
            needed = self._needed(plan) if way == "needing" else None
            way = "own" if way == "needing" and needed is None else way
            server = plan.peer if way == "sent" else plan.by
            folder = self._seed_folder(token, plan.frames, needed)
            try:
                with self._sites[plan.by].at(server) as farm:
                    job = farm.submit(folder)
            except PASSING:
                about = {"token": token, "frames": plan.frames, "server": server, "by": plan.by}
                self.doubtful.append(Doubtful(way=way, **about))
                way = "own" if way == "sent" else way
                self._ending.wait(_AGAIN_AFTER)
                continue
            promise = PeerPromise(
                token=token,
                job=job.id,
                frames=plan.frames,
                at=time.time(),
                tries=tries,
                server=server,
                by=plan.by,
                way=way,
            )
            self._promised(promise)
            if way == "moved":
                self._move(promise, plan.peer)
            return

    def _move(self, promise: PeerPromise, peer: str) -> None:
        """Hand a job over to a peer. What became of it where nobody answered is asked in the end."""
        moved = math.inf
        try:
            with self._sites[promise.by].at() as farm:
                farm.job(promise.job).move(peer, timeout=_MOVED_WITHIN)
            moved = time.time()
        except (Conflict, *PASSING):
            pass  # it had ended, or is still on its way
        self.promises[self.promises.index(promise)] = replace(promise, moved=moved)

    def _needed(self, plan: Plan) -> PeerPromise | None:
        """The latest job of the peer that stays there, if there is one before long."""
        until = time.monotonic() + _NEEDED_WITHIN
        while True:
            found = next(
                (one for one in reversed(self.promises) if one.server == plan.peer and one.way != "moved"), None
            )
            if found is not None or time.monotonic() > until or self._ending.wait(0.1):
                return found

    def _seed_folder(self, token: str, frames: int, needed: PeerPromise | None) -> Path:
        scene: dict[str, object] = {"token": token, "seconds": self._seconds}
        needs: tuple[Needs, ...] = ()
        if needed is not None:
            both = frameset.parse(f"1-{min(frames, needed.frames)}")
            needs = (Needs(frames=both, needed=both, pairs=True, job=needed.job, server=needed.server),)
            place = f"{needed.server}/{needed.job}"
            scene["needs"] = {"place": place, "token": needed.token, "frames": min(frames, needed.frames)}
        spec = JobSpec(
            name=token,
            renderer="trial",
            frames=frameset.parse(f"1-{frames}"),
            settings={"scene": "scene.trial"},
            needs=needs,
        )
        folder = self._sites.folder / "jobs" / token
        folder.mkdir(parents=True)
        (folder / "scene.trial").write_text(json.dumps(scene), "utf-8")
        (folder / "distrenjob.xml").write_bytes(write_jobfile(spec))
        return folder

    def _promised(self, promise: PeerPromise) -> None:
        self.promises.append(promise)
        with (self._sites.folder / "submit.log").open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(promise)) + "\n")
