"""A large scene file is on its way while it is still being read for what else belongs to the job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker
from sites import Site, site
from waiting import wait_for

from distren.broker.management import Management
from distren.client.upload import Upload
from distren.errors import SceneError

WORDS = "// " + "a scene of many words " * 100 + "\n"


@pytest.fixture(scope="module")
def alpha(broker: Broker, management: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site("alpha", tmp_path_factory.mktemp("ahead"), broker, management) as made:
        yield made


def test_a_large_scene_is_sent_while_it_is_read_and_counted_once(alpha: Site, tmp_path: Path) -> None:
    scene, uploads = tmp_path / "large.pov", list[Upload]()
    scene.write_text(WORDS * 600 + "sphere { 0, 1 }")
    size = scene.stat().st_size
    with alpha.farm() as farm:
        job = farm.submit(scene, frames="1", width=8, height=8, on_upload=uploads.append)
        assert [one.blob.size for one in job.files() if one.path == "large.pov"] == [size]
        assert size in {one.total_bytes for one in uploads}  # it alone, before anybody knew what else there is
        last = uploads[-1]
        assert last.sent_bytes == last.missing_bytes == last.total_bytes > size
        farm.submit(scene, frames="1-2", width=8, height=8, on_upload=uploads.append)
        assert uploads[-1].sent_bytes < size


def test_a_scene_that_can_not_be_used_makes_no_job_though_it_was_sent(alpha: Site, tmp_path: Path) -> None:
    scene, uploads = tmp_path / "lacking.pov", list[Upload]()
    scene.write_text(WORDS * 600 + '#include "not-there.inc"')
    with alpha.farm() as farm:
        before = len(list(farm.jobs()))
        with pytest.raises(SceneError, match=r"not-there\.inc"):
            farm.submit(scene, frames="1", width=8, height=8, on_upload=uploads.append)
        wait_for(lambda: bool(uploads) and uploads[-1].sent_bytes == scene.stat().st_size)
        assert len(list(farm.jobs())) == before
