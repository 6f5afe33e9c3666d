"""What a private broker keeps, and how a process finds its broker; nothing is started."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from distren import config
from distren.broker import credentials, ports, server_program
from distren.broker.credentials import Ports
from distren.broker.folder import Folder
from distren.broker.locate import broker_url
from distren.errors import BrokerUnavailable, Conflict, OutputError, SettingsError


def generated() -> credentials.Credentials:
    numbers = credentials.Ports(amqp=20001, management=20002, prometheus=20003, distribution=20004, epmd=20005)
    return credentials.generate("node", numbers)


def test_credentials_are_read_as_they_were_written(tmp_path: Path) -> None:
    known = generated()
    credentials.write(tmp_path, known)
    credentials.write(tmp_path, known)
    assert credentials.read(tmp_path) == known
    assert stat.S_IMODE((tmp_path / credentials.FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [credentials.FILE]


def test_no_two_brokers_share_a_password() -> None:
    assert generated().password != generated().password


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ports": {}}', '{"ports": {"amqp": 1}}'])
def test_damaged_credentials_give_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / credentials.FILE).write_text(text)
    with pytest.raises(SettingsError, match="damaged"):
        credentials.read(tmp_path)


def test_credentials_that_can_not_be_written_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can not be written"):
        credentials.write(tmp_path / "missing", generated())


def test_a_named_broker_wins_over_the_private_one(tmp_path: Path) -> None:
    settings = config.Settings(data=tmp_path, broker="amqp://host/")
    settings.broker_folder.mkdir()
    credentials.write(settings.broker_folder, generated())
    assert broker_url(settings) == "amqp://host/"


def test_the_private_broker_is_found_in_the_data_folder(tmp_path: Path) -> None:
    settings, known = config.Settings(data=tmp_path), generated()
    settings.broker_folder.mkdir()
    credentials.write(settings.broker_folder, known)
    assert broker_url(settings) == known.amqp_url == f"amqp://distren:{known.password}@127.0.0.1:20001/"


def test_without_a_broker_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match=r"'distren up' or 'distren broker start', or .* --broker URL"):
        broker_url(config.Settings(data=tmp_path))


@pytest.fixture
def claims() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_picked_ports_are_different_and_free(claims: ExitStack) -> None:
    picked = ports.pick(claims)
    assert len(set(vars(picked).values())) == 5
    assert all(ports.is_free(port) for port in vars(picked).values())


def test_ports_are_not_picked_again_while_a_broker_is_being_started_on_them(
    claims: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of as many ports as two brokers need, each gets its own."""
    most = 2 * len(Ports.__dataclass_fields__)
    free = (low for low in range(21_000, 31_000) if all(ports.is_free(port) for port in range(low, low + most)))
    lowest = next(free)
    monkeypatch.setattr(ports, "_LOWEST", lowest)
    monkeypatch.setattr(ports, "_HIGHEST", lowest + most)
    first, second = ports.pick(claims), ports.pick(claims)
    assert not set(vars(first).values()) & set(vars(second).values())
    claims.close()
    ports.pick(claims)


def test_the_ports_of_a_broker_stay_its_own_between_two_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on them while it is killed and started again."""
    count = len(Ports.__dataclass_fields__)
    free = (low for low in range(21_000, 31_000) if all(ports.is_free(port) for port in range(low, low + count)))
    lowest = next(free)
    monkeypatch.setattr(ports, "_LOWEST", lowest)
    monkeypatch.setattr(ports, "_HIGHEST", lowest + count)
    one, other = Folder(tmp_path / "one"), Folder(tmp_path / "other")
    for path in (one.path, other.path):
        path.mkdir()
    known = one.prepare("node")
    with pytest.raises(BrokerUnavailable, match="no free ports"):
        other.prepare("node")
    assert one.prepare("node") == known
    one.erase()
    assert set(vars(other.prepare("node").ports).values()) == set(vars(known.ports).values())
    other.erase()


def test_a_taken_port_is_named(claims: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_LINGERING", 0.2)
    picked = ports.pick(claims)
    with ports._bound(picked.management), pytest.raises(Conflict, match=rf"port {picked.management} \(management\)"):
        ports.claim(picked, claims)


def test_a_named_server_program_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="which is not a program"):
        server_program.find({server_program.VARIABLE: str(tmp_path / "missing")})
    assert server_program.find({server_program.VARIABLE: "/bin/sh"}) == Path("/bin/sh")
