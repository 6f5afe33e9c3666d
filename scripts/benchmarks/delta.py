"""Delta submission: what travels when a large job is handed in again with one small file changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks import trivial
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say
from benchmarks.memory import random_file
from distren.client.upload import Upload

FILES, SIZE = 50, 10**7
"""the large files of the job: how many, and bytes of each"""
CHANGED = 10_000
LIMIT = 1_000
"""kB that may travel"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    scene = trivial.scene(farm.folder / "delta")
    for number in range(FILES):
        random_file(scene.parent / f"texture-{number}.bin", SIZE)
    sent: list[float] = []
    seconds: list[float] = []
    with farm.worker(trivial.RENDERER, "--slots", "1"), farm.client() as client:

        def submit() -> Upload:
            uploads: list[Upload] = []
            client.submit(scene.parent, frames="1", on_upload=uploads.append)
            return uploads[-1]

        whole = submit()
        assert whole.sent_bytes > FILES * SIZE, "the first time, all of it travels"
        for _ in range(rounds):
            (scene.parent / "changed.bin").write_bytes(os.urandom(CHANGED))
            began = time.monotonic()
            upload = submit()
            seconds.append(time.monotonic() - began)
            sent.append(upload.sent_bytes / 1e3)
            say(f"  {sent[-1]:.1f} kB of {upload.total_bytes / 1e6:.0f} MB in {seconds[-1]:.1f} s")
    for path in scene.parent.glob("*.bin"):
        path.unlink()
    yield Row(
        name="delta",
        what=f"sent when a job of {FILES * SIZE / 1e6:.0f} MB is handed in again with {CHANGED} other bytes, highest",
        figure=max(sent),
        unit="kB",
        need="at most",
        bar=LIMIT,
        samples={"sent": sent, "seconds": seconds},
    )
