"""How far a job is: its frames counted by state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distren.domain.states import FrameState, JobState


@dataclass(frozen=True)
class Counts:
    """How many frames of a job are in each state."""

    by_state: Mapping[FrameState, int]

    def __getitem__(self, state: FrameState) -> int:
        return self.by_state.get(state, 0)

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def open(self) -> int:
        """Frames that have not ended."""
        return self.total - self[FrameState.DONE] - self[FrameState.FAILED] - self[FrameState.CANCELLED]


def outcome(state: JobState, counts: Counts) -> JobState:
    """The state of a job with these frames: it ends when its last frame ends, and lives again when one is retried."""
    if state is JobState.CANCELLED:
        return state
    if counts.open:
        return state if state is JobState.PAUSED else JobState.ACTIVE
    return JobState.FAILED if counts[FrameState.FAILED] or counts[FrameState.CANCELLED] else JobState.DONE
