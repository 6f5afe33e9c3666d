"""Two farms: what a client of alpha does with beta's jobs, as docs/how-to/connect-two-farms.md says, and beyond it."""

from __future__ import annotations

import re
import secrets
import shlex
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from brokers import Broker
from farm_processes import Command, FarmProcesses
from waiting import wait_for

from distren.broker.management import Management

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/connect-two-farms.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh (alpha|beta)\n(.*?)^```", re.DOTALL | re.MULTILINE)


OFTEN = 20
"""looks at a process: it shows the command line of its parent before its own"""


@dataclass(frozen=True, kw_only=True)
class Farms:
    """alpha has no worker, and lends nothing; beta's broker is the one that is reached."""

    alpha: FarmProcesses
    beta: FarmProcesses


@pytest.fixture(scope="module")
def farms(
    broker: Broker, other_broker: Broker, management: Management, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farms]:
    folder, mark = tmp_path_factory.mktemp("farms"), secrets.token_hex(4)
    with other_broker.management() as other_management:
        made = Farms(
            alpha=_farm(other_broker, other_management, folder / "alpha", f"alpha-{mark}"),
            beta=_farm(broker, management, folder / "beta", f"beta-{mark}"),
        )
        made.alpha.variables["DISTREN_LEND"] = "never"
        try:
            for name, each in (("alpha", made.alpha), ("beta", made.beta)):
                upgraded = each.distren("db", "upgrade")
                assert upgraded.code == 0, upgraded.err
                each.start("server", "--server", name)
            made.beta.start("worker", "--slots", "2", "--name", "render-b", "--renderers", "povray")
            made.alpha.await_ready(workers=0)
            made.beta.await_ready()
            yield made
        finally:
            made.alpha.end()
            made.beta.end()
            for api, vhosts in (
                (other_management, (f"alpha-{mark}", "peer_alpha_beta")),
                (management, (f"beta-{mark}", "peer_beta_alpha")),
            ):
                for vhost in set(api.vhosts()) & set(vhosts):
                    api.delete_vhost(vhost)


def _farm(broker: Broker, management: Management, folder: Path, vhost: str) -> FarmProcesses:
    management.create_vhost(vhost)
    api = broker.management_url.replace("://", f"://{broker.user}:{broker.password}@")
    return FarmProcesses(broker.url_of(vhost), folder, variables={"DISTREN_MANAGEMENT": api})


def _run(farms: Farms, where: str, line: str, folder: Path) -> Command:
    """One line of the page, in a folder that both share, as somebody types it there."""
    into = None
    words = shlex.split(line.split("  #")[0])
    if ">" in words:
        words, into = words[: words.index(">")], folder / words[-1]
    assert words.pop(0) == "distren"
    words = [word for word in words if word not in ("--address", "beta.example:5672")]
    # those that are given the secret must have a command line that an onlooker can read
    done = getattr(farms, where).distren(*words, cwd=folder, from_the_start=words[0] == "peer")
    assert done.code == 0, f"{line}: {done.err}"
    if into is not None:
        into.write_text(done.out)
    return done


class Onlooker(threading.Thread):
    """Another user of this machine: sees the command lines of all processes, of young ones again and again."""

    def __init__(self) -> None:
        super().__init__(name="onlooker", daemon=True)
        self.seen: set[str] = set()
        self._ended = threading.Event()

    def __enter__(self) -> Onlooker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        looks: Counter[int] = Counter()
        while not self._ended.wait(0.05):
            for process in psutil.pids():
                looks[process] += 1
                if looks[process] <= OFTEN:
                    with suppress(OSError):
                        line = Path(f"/proc/{process}/cmdline").read_bytes()
                        self.seen.add(line.replace(b"\0", b" ").decode(errors="replace"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_farms_are_connected_as_the_page_says(
    farms: Farms, tmp_path: Path, broker: Broker, other_broker: Broker
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = [(where, text.splitlines()) for where, text in BLOCK.findall(PAGE)]
    removing = [block for block in blocks if "peer remove" in block[1][0]]
    said: dict[str, Command] = {}
    with Onlooker() as onlooker:
        for where, lines in blocks:
            if (where, lines) not in removing:
                said |= {line: _run(farms, where, line, tmp_path) for line in lines}
    assert len(list((tmp_path / "out/quick").glob("*.png"))) == 4
    with tarfile.open(tmp_path / "out/quick.tar") as bundle:
        assert len(bundle.getnames()) == 4
    assert "render-b" in said["distren workers --server beta"].out
    assert "Persistence of Vision" in said["distren logs distren://beta/1/frame/1"].out
    assert "up" in said["distren peers"].out
    assert said["distren move 1 beta"].out.endswith("distren://alpha/1 is distren://beta/3 now\n")
    assert len(list((tmp_path / "out/moved").glob("*.png"))) == 4
    assert farms.alpha.distren("jobs", "--json").json == []

    said = {line: command for line, command in said.items() if " accept " not in line}
    for farm in (farms.alpha, farms.beta):
        said |= {f"{line} in {farm.data}": farm.distren(line, "--json") for line in ("peers", "workers", "jobs")}
    _nothing_is_uploaded_twice(farms, tmp_path)
    _refusals_are_one_line(farms, tmp_path)
    _a_peer_that_is_down_is_named(farms)

    for where, lines in removing:
        for line in lines:
            _run(farms, where, line, tmp_path)
    assert farms.alpha.distren("peers", "--json").json == []
    secret = (tmp_path / "for-alpha").read_text().split(":")[2].split("@")[0]
    assert len(secret) >= 32
    shown = {line: command.out + command.err for line, command in said.items()}
    shown |= {str(path): path.read_text() for farm in (farms.alpha, farms.beta) for path in farm.data.glob("*.log")}
    shown |= {
        str(path): path.read_text()
        for each in (broker, other_broker)
        if each.folder is not None
        for path in each.folder.glob("log/*.log")
    }
    shown["processes"] = "\n".join(onlooker.seen)
    assert any("peer add beta" in line for line in onlooker.seen)
    assert [where for where, text in shown.items() if secret in text] == []


def _nothing_is_uploaded_twice(farms: Farms, folder: Path) -> None:
    again = farms.alpha.distren(
        "submit", "examples/quick", "-f", "1", "-s", "64x36", "--server", "beta", "--json", cwd=folder
    )
    assert again.code == 0, again.err
    assert again.json["server"] == "beta"
    assert again.json["url"] == "distren://beta/4"
    assert again.json["uploaded"] < 2_000  # the job file alone


def _refusals_are_one_line(farms: Farms, folder: Path) -> None:
    cases = (
        (
            ("status", "distren://gamma/1"),
            4,
            "there is no server 'gamma' here: 'alpha' answers, and its peers are: beta",
        ),
        (("status", "distren://beta/99"), 4, "there is no job 99"),
        (("fetch", "distren://beta/99", "-o", "x"), 4, "there is no job 99"),
        (("peer", "add", "beta", "amqp://x:y@127.0.0.1/peer_beta_alpha"), 8, "is a peer already"),
        (("peer", "remove", "gamma"), 4, "there is no peer 'gamma'"),
    )
    for arguments, code, text in cases:
        done = farms.alpha.distren(*arguments, cwd=folder)
        assert (done.code, done.err.count("\n")) == (code, 1), done.err
        assert text in done.err


def _a_peer_that_is_down_is_named(farms: Farms) -> None:
    farms.beta.stop("server")
    done = farms.alpha.distren("status", "distren://beta/1", DISTREN_SERVER="alpha")
    assert done.code == 11
    assert "'beta'" in done.err
    farms.beta.start("server", "--server", "beta")
    wait_for(lambda: farms.alpha.distren("status", "distren://beta/1").code == 0, 90)
