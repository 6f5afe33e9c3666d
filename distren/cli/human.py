"""Sizes, times and states as people read them; pure functions."""

from __future__ import annotations

from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """`1.5 MiB`; powers of 1024, three digits at most."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def duration(seconds: float | None) -> str:
    """`850 ms`, `4.2 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`; `-` where there is none."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min {whole % 60:02d} s"
    if days == 0:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{days} d {hours % 24} h"


def remaining(seconds: float | None) -> str:
    """A forecast, which is never better than a second: `4 s left`, `3 min 20 s left`."""
    if seconds is None:
        return ""
    return f"{round(seconds)} s left" if seconds < 60 else f"{duration(seconds)} left"


def ago(moment: float | None, now: float) -> str:
    """`12 s ago`; `-` where it never was."""
    if moment is None:
        return "-"
    seconds = max(now - moment, 0)
    if seconds < 1:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < 60 else f"{duration(seconds)} ago"


def clock(moment: float | None) -> str:
    """Local date and time to the second."""
    return "-" if moment is None else datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")


def rate(frames_per_second: float) -> str:
    """`12.5 frames/s`; slow ones as frames per minute or hour, so that there is always something to read."""
    if frames_per_second <= 0:
        return "-"
    if frames_per_second >= 1:
        digits = 0 if frames_per_second >= 100 else 1
        return f"{frames_per_second:.{digits}f} frames/s"
    if frames_per_second * 60 >= 1:
        return f"{frames_per_second * 60:.1f} frames/min"
    return f"{frames_per_second * 3600:.1f} frames/h"


def plural(count: int, word: str) -> str:
    """`1 frame`, `24 frames`, `2,000 frames`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def harmless(text: str) -> str:
    """`text` without anything that could command a terminal: a renderer's output and a job's name are anybody's."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)
