"""What a server refuses, with one line that says why, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from players import Player, RunningServer, running, settings
from waiting import PATIENCE

from distren.amqp.publisher import Outgoing
from distren.amqp.topology import EVENTS
from distren.domain import frameset
from distren.domain.job import Blob, JobSpec
from distren.domain.needs import Needs
from distren.errors import Conflict, InputError, NotFound, RendererUnavailable, SchemaError
from distren.jobfile.writer import write_jobfile
from distren.server.daemon import Server
from distren.storage import schema
from distren.wire import jobs


@pytest.mark.parametrize(
    ("job", "named", "error", "why"),
    [(10**6, None, NotFound, "no job 1000000"), (1, "beta", InputError, "which is no peer of 'alpha'")],
)
def test_needs_that_can_not_be_met_are_refused(
    player: Player, job: int, named: str | None, error: type[Exception], why: str
) -> None:
    rule = Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=job, server=named)
    with pytest.raises(error, match=why):
        player.submit("1", needs=(rule,))
    assert player.requester.ask(jobs.ListJobs(), jobs.Jobs).jobs == []


@pytest.mark.parametrize(
    ("files", "error", "text"),
    [
        ({"distrenjob.xml": None}, InputError, "distrenjob.xml"),
        ({"distrenjob.xml": b"<job/>"}, InputError, "distrenjob.xml"),
        ({"../up": b""}, InputError, "up"),
    ],
)
def test_a_bad_seed_is_refused_and_leaves_no_job(
    player: Player, files: dict[str, bytes | None], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        player.submit(files=files)
    assert player.requester.ask(jobs.ListJobs(), jobs.Jobs).jobs == []


def test_a_renderer_that_nobody_has_is_refused(player: Player) -> None:
    spec = JobSpec(name="test", renderer="nosuch", frames=frameset.parse("1"))
    with pytest.raises(RendererUnavailable, match="no renderer is called 'nosuch'"):
        player.submit(files={"distrenjob.xml": write_jobfile(spec)})


def test_a_manifest_that_was_not_uploaded_is_refused(player: Player) -> None:
    with pytest.raises(NotFound, match="was not uploaded"):
        player.ask_submit(Blob(digest="0" * 64, size=5))


def test_an_unknown_job_is_named(player: Player) -> None:
    with pytest.raises(NotFound, match="there is no job 99"):
        player.show(99)


def test_rubbish_does_not_stop_the_server(player: Player) -> None:
    for key, exchange in (("frame.completed", EVENTS), ("distren.requests", ""), ("worker.report", EVENTS)):
        rubbish = [Outgoing(exchange=exchange, key=key, body=body) for body in (b"", b"\xc1", b"\x81\xa4type\xa1x")]
        player.link.publish_all(rubbish, PATIENCE)
    assert player.requester.ask(jobs.Describe(), jobs.Description).server == "alpha"


def test_a_second_server_on_the_broker_is_refused(player: Player, server: RunningServer, tmp_path: Path) -> None:
    other = settings(tmp_path / "other", "beta")
    schema.upgrade(other.database_url)
    with pytest.raises(Conflict, match="another server runs on this broker"):
        Server(other, server.broker_url).run()


def test_a_server_refuses_an_empty_database_and_another_servers(vhost_url: str, tmp_path: Path) -> None:
    given = settings(tmp_path)
    with pytest.raises(SchemaError, match="distren db upgrade"):
        Server(given, vhost_url).run()
    with running(vhost_url, given):
        pass
    with pytest.raises(Conflict, match="belongs to the server 'alpha'"):
        Server(settings(tmp_path, "beta"), vhost_url).run()
