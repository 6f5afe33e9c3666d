"""What takes a server long is done in parts, and others are served between."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal

from players import Player, RunningServer

from distren.errors import Conflict
from distren.wire import jobs

LARGE = 300_000
"""frames: five parts when they are written, twenty when they are changed"""


def test_others_are_answered_while_a_large_job_is_written_and_changed(player: Player, server: RunningServer) -> None:
    """Between two parts of it; and nobody sees the job before it is all there."""
    answers: list[list[jobs.JobInfo]] = []
    over = threading.Event()

    def ask(other: Player) -> None:
        while not over.is_set():
            answers.append(other.requester.ask(jobs.ListJobs(), jobs.Jobs).jobs)

    counted = []
    with Player(server.broker_url, player.store) as other, ThreadPoolExecutor() as beside:
        asking = beside.submit(ask, other)
        try:
            job = player.submit(f"1-{LARGE},{2 * LARGE}").job
            counted.append(len(answers))
            assert not [jobs for jobs in answers[:-1] if jobs and sum(jobs[0].counts.values()) != LARGE + 1]
            for action, ranges in (("cancel", None), ("retry", [(1, 2 * LARGE, 1)]), ("cancel", [(1, LARGE, 2)])):
                change = jobs.Change(job=job, action=action, frames=ranges)  # type: ignore[arg-type]
                player.requester.ask(change, jobs.ShownJob, timeout=120)
                counted.append(len(answers))
        finally:
            over.set()
        asking.result()
    assert all(after - before > 3 for before, after in zip([0, *counted], counted, strict=False)), counted
    assert player.show(job).counts == {"cancelled": LARGE // 2, "ready": LARGE // 2 + 1}


def test_changes_of_a_job_follow_one_another(player: Player, server: RunningServer) -> None:
    job = player.submit("1-60000").job

    def change(one: Player, action: Literal["cancel", "retry"]) -> None:
        with suppress(Conflict):  # a retry that comes first finds nothing to do
            one.requester.ask(jobs.Change(job=job, action=action), jobs.ShownJob)

    with Player(server.broker_url, player.store) as other, ThreadPoolExecutor() as at_once:
        for asked in [at_once.submit(change, player, "cancel"), at_once.submit(change, other, "retry")]:
            asked.result()
    counts = {state: count for state, count in player.show(job).counts.items() if count}
    assert counts in ({"cancelled": 60_000}, {"ready": 60_000})
