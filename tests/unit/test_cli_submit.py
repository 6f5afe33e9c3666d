"""What `distren submit` warns of."""

from __future__ import annotations

from distren.cli.submit import mixed_versions
from distren.wire.jobs import JobInfo, WorkerInfo


def job(pool: str = "default") -> JobInfo:
    return JobInfo(
        job=1,
        name="shot",
        renderer="blender",
        pool=pool,
        priority=50,
        state="active",
        counts={},
        created=1.0,
        ended=None,
        width=None,
        height=None,
        renderers=["blender", "merge"],
    )


def worker(version: str, *, state: str = "working", pool: str = "default") -> WorkerInfo:
    return WorkerInfo(
        worker=f"w-{version}",
        host="h",
        pool=pool,
        queue="q",
        renderers={"blender": version, "merge": "1"},
        slots=1,
        state=state,
        held=[],
        cores=1,
        memory=1,
        seen=1.0,
    )


def test_workers_of_several_versions_are_told() -> None:
    said = mixed_versions(job(), [worker("4.2.0"), worker("3.4.1"), worker("3.4.1")])
    assert said.startswith("pool 'default' has blender 3.4.1 and 4.2.0, whose pictures may differ: ")


def test_one_version_or_workers_that_take_nothing_of_the_job_are_no_matter() -> None:
    others = [worker("4.2.0", state="silent"), worker("5.0.0", pool="night")]
    assert mixed_versions(job(), [worker("3.4.1"), worker("3.4.1"), *others]) == ""
