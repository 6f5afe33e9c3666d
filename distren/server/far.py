"""Frames that need frames of other servers.

A frame of a peer that one of ours needs stands in a job of ours that stands for the peer's (storage/far.py), so what
follows when it is done, fails or is tried again is what follows for any needed frame. This module makes these frames
follow those of the peers, and tells peers of ours. Cycles are found by probes that walk along what frames wait for.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from sqlalchemy import Connection

from distren.config import Settings
from distren.domain.needs import IN_A_CYCLE, Needs
from distren.domain.states import FRAME_ENDED, FrameState
from distren.errors import JobFileError
from distren.federation.receiver import After
from distren.server import views
from distren.server.changes import Changed
from distren.server.federation import Federation
from distren.server.lifecycle import Lifecycle
from distren.server.moves import Moves
from distren.server.state import State
from distren.storage import far, loans
from distren.storage import frames as frame_rows
from distren.storage.far import FarJob, Watched
from distren.storage.frames import Stored
from distren.urls import Url
from distren.wire.fields import Blob
from distren.wire.frames import Completed
from distren.wire.needs import LONGEST_PATH, MOST_FRAMES, Probe, Unwatch, Watch, WatchedFrame, WatchNews

UNKNOWN = "it has no such frame yet"


class FarNeeds:
    """`fetch` is called when a result is to be fetched from a peer; `note` takes what handlers have changed."""

    def __init__(
        self,
        state: State,
        federation: Federation,
        settings: Settings,
        moves: Moves,
        *,
        note: Callable[[Changed], None],
        fetch: Callable[[], None],
    ) -> None:
        self._state, self._federation, self._note, self._fetch = state, federation, note, fetch
        self._moves = moves
        self.hours = settings.needs_limit
        """for which what a peer lacks, or a peer that is down, is waited for"""
        self._up: set[str] = set()
        self._coming_up: set[str] = set()
        self._probes: list[Probe] = []
        federation.on(Watch, self._hear_watch)
        federation.on(Unwatch, self._hear_unwatch)
        federation.on(WatchNews, self._hear_news)
        federation.on(Probe, self._hear_probe)

    # -- new jobs ----------------------------------------------------------------------------------------------------

    def resolve(self, connection: Connection, rules: Iterable[Needs]) -> tuple[Needs, ...]:
        """The needs of a new job, with jobs of ours in place of those of peers; raises JobFileError for no peer."""
        resolved = []
        new: defaultdict[FarJob, list[int]] = defaultdict(list)
        peers = {member.name for member in self._federation.members()}
        for rule in rules:
            if rule.server in (None, self._state.name):
                if rule.job is not None and (why := self._gone(rule.job)):
                    raise JobFileError(f"a frame needs frames of job {rule.job}: {why}")
                resolved.append(rule)
                continue
            if rule.server not in peers or rule.job is None:
                known = ", ".join(sorted(peers)) or "none"
                raise JobFileError(
                    f"a frame needs frames of the server '{rule.server}', which is no peer of '{self._state.name}'; "
                    f"its peers are: {known}"
                )
            ids = {needed for _, needed in rule}
            job, fresh = far.enter(connection, rule.server, rule.job, ids, self._state.now())
            new[job] += fresh
            resolved.append(replace(rule, server=None, job=job.job))
        for job, fresh in new.items():
            self._watch(connection, job, fresh)
        return tuple(resolved)

    def _gone(self, job: int) -> str:
        """Why no new frame may need frames of a job of ours; empty where they may."""
        if (moved := self._moves.forward(job)) is not None:
            return f"it is {Url(server=moved.server, job=moved.job)} now, need its frames there"
        return self._moves.why(job)

    def _watch(self, connection: Connection, job: FarJob, ids: list[int]) -> None:
        for start in range(0, len(ids), MOST_FRAMES):
            part = ids[start : start + MOST_FRAMES]
            self._federation.send(connection, job.peer, Watch(job=job.of_job, frames=part))

    # -- in the turn's transaction -----------------------------------------------------------------------------------

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """Tell peers what has become of frames of ours that theirs need; then look whether a new need closes a cycle.

        In this order: that a frame is open must not be news to a peer that has found it in a cycle.
        """
        overdue = None
        if tick:
            self._look_around(connection)
            overdue = self._give_up(connection)
        news: defaultdict[str, list[WatchedFrame]] = defaultdict(list)
        for one in far.watched(connection):
            shown = _shown(one)
            if one.state is None and (why := self._gone(one.job)):
                shown = WatchedFrame(job=one.job, frame=one.frame, state="failed", reason=why)
            what = shown.state if shown.result is None else f"{shown.state}:{shown.result.digest}"
            if what != one.told:
                news[one.peer].append(shown)
                far.told(connection, one, what)
        for peer, several in news.items():
            for start in range(0, len(several), 1_000):
                self._federation.send(connection, peer, WatchNews(frames=several[start : start + 1_000]))
        found = [overdue, *(self._probe(connection, probe) for probe in self._probes)]
        return [changed for changed in found if changed is not None]

    def committed(self) -> None:
        """What `follow` did is in the database."""
        self._up = self._coming_up
        self._probes.clear()

    def _look_around(self, connection: Connection) -> None:
        """Watch again at peers that have come up; forget what is needed no more."""
        members = {member.name for member in self._federation.members()}
        self._coming_up = {name for name in members if self._federation.is_up(name)}
        far.forget_peers(connection, members)
        for job in far.unneeded(connection):
            far.forget(connection, job)
            if job.peer in members:
                self._federation.send(connection, job.peer, Unwatch(job=job.of_job))
        for job in far.every(connection).values():
            if job.peer in self._coming_up - self._up:
                self._watch(connection, job, far.frames_of(connection, job))

    def _give_up(self, connection: Connection) -> Changed | None:
        """Fail what has been waited for in vain for too long; where its server has it after all, that revives it."""
        now = self._state.now()
        lifecycle = Lifecycle(connection, now)
        for one in far.overdue(connection, now, now - self.hours * 3600):
            why = UNKNOWN if one.reason == UNKNOWN else ""
            if not self._federation.is_up(one.peer):
                since = self._federation.silent_since(one.peer) or one.since
                why = f"'{one.peer}' is down since {views.clock(since)}" if now - since > self.hours * 3600 else ""
            if why:
                lifecycle.fail_far(one.job, one.frame, f"{why}, and it was waited for for {self.hours:g} h")
        return lifecycle.save()

    # -- what peers say ----------------------------------------------------------------------------------------------

    def _hear_watch(self, connection: Connection, peer: str, message: Watch) -> After:
        far.watch(connection, peer, message.job, message.frames)
        for number in message.frames:
            url = Url(server=self._state.name, job=message.job, frame=number)
            key = message.job, number
            self._probes.append(Probe(server=self._state.name, start=key, at=key, path=[str(url)]))
        return lambda: self._note(Changed())

    def _hear_unwatch(self, connection: Connection, peer: str, message: Unwatch) -> None:
        far.unwatch(connection, peer, message.job)

    def _hear_news(self, connection: Connection, peer: str, message: WatchNews) -> After:
        lifecycle = Lifecycle(connection, self._state.now())
        for one in message.frames:
            job = far.find(connection, peer, one.job)
            stored = None
            if job is not None:
                stored = frame_rows.load(connection, [(job.job, one.frame)]).get((job.job, one.frame))
            if job is not None and stored is not None:
                self._take(connection, lifecycle, job, stored, one)
        changed = lifecycle.save()
        return lambda: self._note(changed)

    def _take(
        self, connection: Connection, lifecycle: Lifecycle, job: FarJob, stored: Stored, news: WatchedFrame
    ) -> None:
        """Make the frame that stands for a peer's what that has become."""
        frame, ids = stored.frame, [range(news.frame, news.frame + 1)]
        old = frame.state is FrameState.DONE and news.state == "done" and news.result is not None
        if old and frame.result == (news.result.value() if news.result else None):
            return
        if frame.state in FRAME_ENDED and (news.state in ("open", "unknown", "done") or frame.starved):
            lifecycle.retry(job.job, ids)
        if news.state == "done" and news.result is not None:
            self._order(connection, job, news.frame, news.result)
        elif news.state == "failed":
            lifecycle.fail_far(job.job, news.frame, news.reason or "it says not why")
        elif news.state == "cancelled":
            lifecycle.cancel(job.job, ids)
        else:
            reason, heard = (UNKNOWN, None) if news.state == "unknown" else (None, self._state.now())
            far.note(connection, job.job, news.frame, reason, heard)

    def _order(self, connection: Connection, job: FarJob, frame: int, result: Blob) -> None:
        """Have the result fetched; with it the frame is done."""
        event = Completed(
            worker=job.peer,
            job=job.job,
            frame=frame,
            issue=0,
            token=secrets.token_hex(16),
            started=self._state.now(),
            seconds=0.0,
            result=result,
        )
        loans.keep_result(connection, job.peer, event.token, event.encode())
        self._fetch()

    # -- cycles ------------------------------------------------------------------------------------------------------

    def _hear_probe(self, connection: Connection, peer: str, message: Probe) -> After | None:
        changed = self._probe(connection, message)
        return None if changed is None else lambda: self._note(changed)

    def _probe(self, connection: Connection, probe: Probe) -> Changed | None:
        """Follow what a frame of ours waits for to other servers; where that is the start, a cycle is closed."""
        known = far.every(connection)
        for job, frame in sorted(far.waited_for(connection, (probe.at[0], probe.at[1]))):
            away = known.get(job)
            if away is None:
                continue
            url = str(Url(server=away.peer, job=away.of_job, frame=frame))
            if (away.peer, (away.of_job, frame)) == (probe.server, tuple(probe.start)):
                lifecycle = Lifecycle(connection, self._state.now())
                path = " → ".join([*probe.path, url])
                lifecycle.fail_far(job, frame, f"{IN_A_CYCLE}: {path}"[:2_000])
                return lifecycle.save()
            if url not in probe.path and len(probe.path) < LONGEST_PATH:
                further = probe.model_copy(update={"at": (away.of_job, frame), "path": [*probe.path, url]})
                self._federation.send(connection, away.peer, further)
        return None


def _shown(one: Watched) -> WatchedFrame:
    """A frame of ours as peers are told of it."""
    if one.state is None:
        return WatchedFrame(job=one.job, frame=one.frame, state="unknown")
    if one.state is FrameState.DONE and one.result is not None:
        return WatchedFrame(job=one.job, frame=one.frame, state="done", result=Blob.of(one.result))
    if one.state is FrameState.FAILED:
        return WatchedFrame(job=one.job, frame=one.frame, state="failed", reason=(one.reason or "")[:2_000])
    if one.state is FrameState.CANCELLED:
        return WatchedFrame(job=one.job, frame=one.frame, state="cancelled")
    return WatchedFrame(job=one.job, frame=one.frame, state="open")
