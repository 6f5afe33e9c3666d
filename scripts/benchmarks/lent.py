"""Lent frames: two servers with one slot each, one of which lends, against one server with two slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks.efficiency import FRAMES, SIZE, on_farm
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns
from benchmarks.sites import Site, associate, site, two_brokers, worker
from distren.client.farm import Farm


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    """alpha and the one that is alone are on the farm's broker, beta on another one; all have folders of their own."""
    folder = farm.folder / "lent"
    with ExitStack() as stack:
        here, there = stack.enter_context(two_brokers(farm, folder))
        alone = stack.enter_context(site("alone", folder, here))
        alpha = stack.enter_context(site("alpha", folder, here))
        beta = stack.enter_context(site("beta", folder, there))
        for at, slots in ((alone, 2), (alpha, 1), (beta, 1)):
            stack.enter_context(worker(at, slots, "povray"))
        associate(alpha, beta)
        clients = {at.name: stack.enter_context(_client(at)) for at in (alone, alpha)}
        for client in clients.values():
            on_farm(client, frames=6)  # both know each other, and the scene is everywhere
        samples = in_turns(
            rounds,
            {
                "two servers": partial(on_farm, clients["alpha"]),
                "one server": partial(on_farm, clients["alone"]),
            },
        )
        by = _who_rendered(clients["alpha"])
    ratio = median(samples["two servers"]) / median(samples["one server"])
    yield Row(
        name="lent",
        what=f"{FRAMES} POV-Ray frames: seconds of two servers with one slot each, one lending to the other / of one "
        f"server with two slots; of the last job beta rendered {by['beta']}",
        figure=ratio,
        unit="x",
        need="at most",
        bar=1.10,
        samples=samples,
        notes={"frames": FRAMES, "size": SIZE, "rendered": dict(by)},
    )


def _client(at: Site) -> Farm:
    return Farm(broker=at.settings.broker, data=at.settings.data)


def _who_rendered(client: Farm) -> Counter[str]:
    """How many frames of the newest job each server rendered."""
    job = client.job(next(client.jobs()).job)
    return Counter("beta" if (one.worker or "").startswith("beta/") else "alpha" for one in job.frames())
