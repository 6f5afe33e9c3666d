"""Whether a failed frame gets another attempt, and when."""

from __future__ import annotations

from datetime import timedelta

FIRST_WAIT = timedelta(seconds=1)
"""Short: most failures that pass by themselves (POV-Ray's thread start-up, say) are gone at once."""
LONGEST_WAIT = timedelta(minutes=5)
MOST_WAIT = LONGEST_WAIT * 1.5
"""with all of its jitter"""


def retry_at(*, failures: int, attempts: int, permanent: bool, now: float, jitter: float) -> float | None:
    """When a frame may be tried again after its `failures`-th failure (1, 2, ...); None: never.

    `attempts` is how many the job allows, `permanent` says that another attempt would fail alike, `jitter` is a
    random number from 0 to 1. The wait doubles with each failure: 1 s, 2 s, 4 s ... 5 min, plus up to half of itself.
    """
    if permanent or failures >= attempts:
        return None
    wait = min(FIRST_WAIT * (1 << min(failures - 1, 30)), LONGEST_WAIT)
    return now + wait.total_seconds() * (1 + jitter / 2)
