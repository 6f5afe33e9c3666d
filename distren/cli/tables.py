"""Jobs, frames, attempts and workers as tables for people; pure functions from records to rich tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from distren.cli import human, records
from distren.domain.job import DEFAULT_POOL, DEFAULT_PRIORITY
from distren.renderers.declaration import Setting
from distren.renderers.protocol import Capability, Renderer
from distren.renderers.registry import HELPERS
from distren.wire.jobs import AttemptInfo, FileInfo, FrameInfo, JobInfo, LimitsInfo, WorkerInfo
from distren.wire.peers import PeerInfo

_STYLES = {
    "done": "green",
    "active": "cyan",
    "rendering": "cyan",
    "queued": "blue",
    "ready": "default",
    "blocked": "bright_black",
    "paused": "yellow",
    "failed": "bold red",
    "cancelled": "bright_black",
    "lost": "yellow",
    "dropped": "bright_black",
    "working": "green",
    "draining": "yellow",
    "quarantined": "bold red",
    "silent": "red",
    "ended": "bright_black",
    "up": "green",
    "down": "red",
    "refused": "bold red",
    "new": "yellow",
}
_WRONG = "what went wrong"
_FOLDED = frozenset({_WRONG, "what it is for, or what to do", "write", "meaning"})
"""headings of columns whose texts go on in the next line; others are cut"""
_BAR = 20
"""columns of a progress bar inside a table"""


def state(name: str) -> Text:
    """A state in its colour; the word says it all where there are no colours."""
    return Text(name, style=_STYLES.get(name, "default"))


def bar(counts: dict[str, int], width: int = _BAR) -> Text:
    """Frames by state as one bar: done, failed, under way, the rest."""
    total = sum(counts.values())
    parts = [("done", "green", "━"), ("failed", "red", "━"), ("rendering", "cyan", "╸")]
    made, used, seen = Text(), 0, 0
    for name, style, glyph in parts:
        seen += counts.get(name, 0)
        end = round(width * seen / total) if total else 0
        made.append(glyph * (end - used), style)
        used = end
    return made.append("─" * (width - used), "bright_black")


def jobs(infos: Sequence[JobInfo], now: float) -> Table:
    """One line for each job, newest first; a column that would say the same for all of them is left out."""
    goes_on = any(info.state == "active" and info.rate > 0 for info in infos)
    columns: dict[str, Callable[[JobInfo], Text | str]] = {
        "job": lambda info: str(info.job),
        "name": lambda info: Text(human.harmless(info.name)),
        "state": lambda info: state(info.state),
        "progress": lambda info: bar(info.counts),
        "frames": lambda info: f"{records.done(info):,}/{records.total(info):,}",
    }
    if any(info.counts.get("failed") for info in infos):
        columns["failed"] = lambda info: Text(f"{info.counts.get('failed', 0) or ''}", style="red")
    if goes_on:
        columns["rate"] = lambda info: human.rate(info.rate) if info.state == "active" else ""
        columns["left"] = lambda info: human.remaining(records.left(info)).removesuffix(" left")
    if any(info.pool != DEFAULT_POOL for info in infos):
        columns["pool"] = lambda info: info.pool
    if any(info.priority != DEFAULT_PRIORITY for info in infos):
        columns["priority"] = lambda info: str(info.priority)
    columns["submitted"] = lambda info: human.ago(info.created, now)
    table = _table(*columns)
    for column in table.columns:
        if column.header in ("job", "frames", "failed", "priority"):
            column.justify = "right"
    for info in infos:
        table.add_row(*(cell(info) for cell in columns.values()))
    return table


def job(info: JobInfo, url: str, now: float) -> Table:
    """Everything about one job, a line for each thing."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bright_black")
    table.add_column()
    size = f"{info.width} x {info.height} pixels" if info.width and info.height else "as the scene says"
    counts = ", ".join(f"{count:,} {name}" for name, count in info.counts.items() if count)
    rows: list[tuple[str, Text | str]] = [
        ("job", Text(url, style="bold")),
        ("name", Text(human.harmless(info.name))),
        ("state", state(info.state)),
        ("progress", bar(info.counts, 40).append(f"  {_percent(info)}", "default")),
        ("frames", f"{records.total(info):,}: {counts}"),
        ("renderer", f"{', '.join(info.renderers or [info.renderer])}, pool {info.pool}, priority {info.priority}"),
        ("size", size),
        ("limits", _limits(info.limits)),
        ("submitted", f"{human.clock(info.created)} ({human.ago(info.created, now)})"),
    ]
    if info.ended is not None:
        took = human.duration(info.ended - info.created)
        rows.append(("ended", f"{human.clock(info.ended)} (after {took})"))
    elif info.state == "active" and info.rate > 0:
        rows.append(("rate", f"{human.rate(info.rate)}, {human.remaining(records.left(info))}"))
    if info.error:
        rows.append(("trouble", Text(human.harmless(info.error), style="red")))
    for name, value in rows:
        table.add_row(name, value)
    return table


def _limits(limits: LimitsInfo | None) -> str:
    """What an attempt may take, in words; of a server that does not say, nothing."""
    if limits is None:
        return ""
    parts = [f"{human.plural(limits.attempts, 'attempt')} of {human.duration(limits.time)}"]
    if limits.silence is not None:
        parts.append(f"{human.duration(limits.silence)} of silence")
    if limits.memory is not None:
        parts.append(f"{human.size(limits.memory)} of memory")
    if limits.output is not None:
        parts.append(f"{human.size(limits.output)} of output")
    return ", ".join(parts)


def frames(infos: Sequence[FrameInfo], now: float) -> Table:
    """One line for each frame, by number; what groups call their frames only where there are groups."""
    grouped = any(info.label or info.renderer for info in infos)
    of_group = ("group",) if grouped else ()
    table = _table("frame", *of_group, "state", "%", "tries", "worker", "time", "result", _WRONG)
    for column in table.columns:
        if column.header in ("frame", "%", "tries", "time", "result"):
            column.justify = "right"
    for info in infos:
        end = info.ended if info.ended is not None else now
        running = info.started is not None and info.state in ("rendering", "done", "failed")
        table.add_row(
            str(info.frame),
            *((Text(human.harmless(_group(info))),) if grouped else ()),
            state(info.state),
            f"{info.percent:.0f}" if info.state == "rendering" else "",
            str(info.attempts),
            Text(human.harmless(info.worker or "")),
            human.duration(end - (info.started or end)) if running else "",
            human.size(info.result.size) if info.result is not None else "",
            Text(
                human.harmless(_trouble(info, now) or info.warning or ""),
                style=_STYLES_OF_WORDS.get(info.state, "red"),
                overflow="fold",
            ),
        )
    return table


_STYLES_OF_WORDS = {"blocked": "bright_black", "done": "yellow"}
"""of what is said about a frame, by its state: one that waits, or is strange though it is done, has not failed"""


def _trouble(info: FrameInfo, now: float) -> str:
    """What went wrong with a frame, and where it is tried again because of that: when."""
    if info.reason is None or info.state == "blocked" or info.ended is not None:
        return info.reason or ""
    if info.not_before is not None and info.not_before > now:
        return f"tried again at {human.clock(info.not_before)}: {info.reason}"
    return f"retried at {human.clock(info.tried)} because {info.reason}" if info.tried else info.reason


def _group(info: FrameInfo) -> str:
    """`trailer (encode)`, or either of the two."""
    if info.label and info.renderer:
        return f"{info.label} ({info.renderer})"
    return info.label or info.renderer or ""


def attempts(infos: Iterable[AttemptInfo]) -> Table:
    """One line for each attempt at a frame, oldest first."""
    table = _table("attempt", "state", "worker", "started", "time", "processor", "memory", _WRONG)
    for number in (0, 4, 5, 6):
        table.columns[number].justify = "right"
    for info in infos:
        table.add_row(
            str(info.number),
            state(info.state),
            Text(human.harmless(info.worker)),
            human.clock(info.started),
            human.duration(info.seconds),
            human.duration(info.processor),
            "" if info.memory is None else human.size(info.memory),
            Text(human.harmless(info.reason or ""), style=_STYLES_OF_WORDS.get(info.state, "red"), overflow="fold"),
        )
    return table


def files(infos: Iterable[FileInfo]) -> Table:
    """One line for each file."""
    table = _table("reference", "kind", "size", "sha256", "path")
    table.columns[2].justify = "right"
    for info in infos:
        size, digest = ("", "") if info.blob is None else (human.size(info.blob.size), info.blob.digest[:12])
        table.add_row(f"file/{info.file}", info.kind, size, digest, Text(human.harmless(info.path)))
    return table


def workers(infos: Iterable[WorkerInfo], now: float) -> Table:
    """One line for each worker."""
    infos = list(infos)
    troubled = any(info.trouble for info in infos)
    more = ["renderers", "pool", "machine", "sandbox", "seen", *([_WRONG] if troubled else [])]
    table = _table("worker", "host", "state", "slots", "rendering", "done", *more)
    table.columns[3].justify = table.columns[5].justify = "right"
    for info in infos:
        table.add_row(
            Text(human.harmless(info.worker)),
            Text(human.harmless(info.host)),
            state(info.state),
            f"{len(info.held)}/{info.slots}",
            _held(info.held),
            f"{info.done:,}",
            Text(", ".join(f"{name} {version}" for name, version in sorted(_own(info.renderers).items()))),
            info.pool,
            f"{human.plural(info.cores, 'core')}, {human.size(info.memory)}",
            Text("yes", style="green") if info.sandboxed else Text("no", style="yellow"),
            human.ago(info.seen, now),
            *([Text(human.harmless(info.trouble or ""), style="red", overflow="fold")] if troubled else []),
        )
    return table


def peers(infos: Iterable[PeerInfo], now: float) -> Table:
    """One line for each peer."""
    table = _table("peer", "state", "since", "waiting", "unconfirmed", "heard", "clock", "DistRen", "what went wrong")
    for column in (3, 4, 6):
        table.columns[column].justify = "right"
    for info in infos:
        table.add_row(
            info.peer,
            state(info.state),
            human.ago(info.since, now),
            f"{info.backlog:,}",
            f"{info.owed:,}",
            human.ago(info.seen, now),
            "-" if info.clock is None else f"{info.clock:+.1f} s",
            Text(human.harmless(info.software or "-")),
            Text(human.harmless(info.reason), style="red", overflow="fold"),
        )
    return table


def renderers(found: Iterable[tuple[Renderer, Capability]]) -> Table:
    """One line for each renderer that is installed, whether its program runs here or not."""
    table = _table("renderer", "runs here", "scenes", "what it is for, or what to do")
    for adapter, capability in found:
        version = capability.version
        table.add_row(
            adapter.name,
            Text("no", style="yellow") if version is None else Text(human.harmless(version), style="green"),
            " ".join(adapter.declaration.endings),
            Text(human.harmless(capability.missing or adapter.declaration.about)),
        )
    return table


def settings(declared: Iterable[Setting]) -> Table:
    """One line for each setting of a renderer."""
    table = _table("setting", "write", "default", "meaning")
    for setting in declared:
        table.add_row(*map(Text, (setting.shown, setting.values, setting.default, setting.meaning)))
    return table


def helping_peer(info: PeerInfo) -> str:
    """What a peer does for this server."""
    what = ", ".join(f"{name} {human.harmless(version)}" for name, version in sorted(_own(info.renderers).items()))
    has = human.plural(info.lent, "frame")
    return f"peer {info.peer}: renders {has} for this server now, and takes up to {info.room} ({what})"


def _own(renderers: Mapping[str, str]) -> Mapping[str, str]:
    """A worker's renderers without those that every worker has."""
    return {name: version for name, version in renderers.items() if name not in HELPERS}


def _held(held: Sequence[tuple[int, int]]) -> str:
    shown = ", ".join(f"{job}/frame/{frame}" for job, frame in held[:3])
    return f"{shown}, {len(held) - 3} more" if len(held) > 3 else shown


def _percent(info: JobInfo) -> str:
    total = records.total(info)
    return f"{100 * records.done(info) / total:.0f} %" if total else ""


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for heading in headings:
        fold = heading in _FOLDED
        table.add_column(heading, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
    return table
