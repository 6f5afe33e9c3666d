"""What `--json` prints about jobs, frames, files, attempts and workers. Times are seconds since 1970, UTC."""

from __future__ import annotations

from typing import Any

from distren.client.logs import LogPiece, log_text
from distren.renderers.declaration import Setting
from distren.renderers.protocol import Capability, Renderer
from distren.urls import Url
from distren.wire.jobs import AttemptInfo, FileInfo, FrameInfo, JobInfo, WorkerInfo

Record = dict[str, Any]
_OVER = ("done", "failed", "cancelled")


def total(info: JobInfo) -> int:
    return sum(info.counts.values())


def done(info: JobInfo) -> int:
    return info.counts.get("done", 0)


def left(info: JobInfo) -> float | None:
    """Seconds until the job ends at its present rate; None where that can not be said."""
    still = total(info) - sum(info.counts.get(state, 0) for state in _OVER)
    return still / info.rate if info.state == "active" and info.rate > 0 else None


def job(info: JobInfo, server: str) -> Record:
    return {
        "job": info.job,
        "url": str(Url(server=server, job=info.job)),
        "name": info.name,
        "renderer": info.renderer,
        "renderers": info.renderers or [info.renderer],
        "pool": info.pool,
        "priority": info.priority,
        "state": info.state,
        "frames": total(info),
        "done": done(info),
        "counts": info.counts,
        "rate": info.rate,
        "left": left(info),
        "created": info.created,
        "ended": info.ended,
        "width": info.width,
        "height": info.height,
        "limits": None if info.limits is None else info.limits.model_dump(),
        "error": info.error,
    }


def frame(info: FrameInfo, url: str) -> Record:
    return {
        "frame": info.frame,
        "url": f"{url}/frame/{info.frame}",
        "state": info.state,
        "attempts": info.attempts,
        "worker": info.worker,
        "started": info.started,
        "ended": info.ended,
        "percent": info.percent,
        "reason": info.reason,
        "warning": info.warning,
        "waits_for": info.waits_for,
        "renderer": info.renderer,
        "label": info.label,
        "tried": info.tried,
        "not_before": info.not_before,
        "intermediate": info.intermediate,
        "result": None if info.result is None else {"sha256": info.result.digest, "size": info.result.size},
    }


def file(info: FileInfo, url: str) -> Record:
    return {
        "file": info.file,
        "url": f"{url}/file/{info.file}",
        "kind": info.kind,
        "path": info.path,
        "size": None if info.blob is None else info.blob.size,
        "sha256": None if info.blob is None else info.blob.digest,
        "frame": info.frame,
        "attempt": info.attempt,
    }


def attempt(info: AttemptInfo) -> Record:
    return {
        "attempt": info.number,
        "worker": info.worker,
        "state": info.state,
        "started": info.started,
        "ended": info.ended,
        "seconds": info.seconds,
        "reason": info.reason,
        "memory": info.memory,
        "processor": info.processor,
        "log": log_text(info),
    }


def log_piece(piece: LogPiece) -> Record:
    return {
        "attempt": piece.attempt,
        "worker": piece.worker,
        "text": piece.text,
        "state": piece.state,
        "reason": piece.reason,
    }


def worker(info: WorkerInfo) -> Record:
    return {
        "worker": info.worker,
        "host": info.host,
        "pool": info.pool,
        "queue": info.queue,
        "state": info.state,
        "renderers": info.renderers,
        "slots": info.slots,
        "rendering": [{"job": job, "frame": frame} for job, frame in info.held],
        "done": info.done,
        "cores": info.cores,
        "memory": info.memory,
        "seen": info.seen,
        "sandboxed": info.sandboxed,
        "trouble": info.trouble,
    }


def renderer(adapter: Renderer, capability: Capability) -> Record:
    declaration = adapter.declaration
    return {
        "renderer": adapter.name,
        "title": declaration.title,
        "about": declaration.about,
        "endings": list(declaration.endings),
        "tiles": declaration.can_tile,
        "version": capability.version,
        "missing": capability.missing,
    }


def setting(declared: Setting) -> Record:
    return {
        "setting": declared.shown,
        "meaning": declared.meaning,
        "kind": str(declared.kind),
        "values": declared.values,
        "words": list(declared.words),
        "lowest": declared.lowest,
        "highest": declared.highest,
        "pattern": declared.pattern,
        "default": declared.default,
        "option": declared.option,
    }
