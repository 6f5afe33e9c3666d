"""The last lines of a trial: good or bad, and how to have it again."""

from __future__ import annotations

import shutil
from pathlib import Path

from trials.checker import Verdict
from trials.course import Say


def conclude(verdict: Verdict, folder: Path, replay: str, *, seconds: float, keep: bool, say: Say) -> None:
    """The logs in `folder` stay after a bad trial, and where they are to be kept."""
    if verdict.good:
        say(f"GOOD: every result recorded exactly once ({verdict.frames} frames, {seconds:.0f} s)")
        if keep:
            say(f"the logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return
    for what, keys in verdict.examples.items():
        say(f"{what}: {' '.join(keys)}")
    say(f"the logs are in {folder}; to replay: {replay}")
    say(f"BAD: {'; '.join(verdict.failures)}")
