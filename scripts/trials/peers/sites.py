"""Several whole farms that are peers; the only way from one broker to another is a proxy of this trial."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from distren.amqp import peers
from distren.broker import credentials
from distren.broker.credentials import Credentials
from distren.broker.management import Management
from distren.client.farm import Farm
from distren.errors import DistrenError
from trials.farm import READY_WITHIN, Size, TrialFarm, wait_for
from trials.peers.shapes import Line, Shape
from trials.proxy import Proxies, Proxy

_ONE_BY_ONE = threading.Lock()
_COMMAND = (sys.executable, "-c", "from distren.cli.main import main; main()")


class Site(TrialFarm):
    """A farm whose server is called `name`, and whose renders are noted in a log that all sites share."""

    def __init__(self, name: str, folder: Path, size: Size) -> None:
        super().__init__(folder, size)
        self.name = name
        self.busy = threading.RLock()
        """held while the broker is killed and started, or while messages in it are meddled with"""

    def _start(self, stack: ExitStack) -> None:
        known = self.credentials
        api = known.management_url.replace("://", f"://{known.user}:{known.password}@")
        self.size.environment["DISTREN_MANAGEMENT"] = api
        with _ONE_BY_ONE:  # Alembic makes one database at a time in a process
            super()._start(stack)

    @property
    def credentials(self) -> Credentials:
        known = credentials.read(self.folder / "broker")
        assert known is not None, "the broker has been started"
        return known

    def management(self) -> Management:
        """The management API of this site's broker."""
        return Management.of(self.credentials)

    def vhost_url(self, peer: str) -> str:
        """The virtual host for a peer, on this site's broker, without a proxy."""
        return f"{self.direct_url.rstrip('/')}/{quote(peers.vhost(self.name, peer), safe='')}"

    def at(self, peer: str | None = None) -> Farm:
        """A client of this site, which no fault touches; `peer`: whose jobs are meant. Raises DistrenError."""
        return Farm(broker=self.direct_url, data=self.folder / "client", at=peer)

    def distren(self, *arguments: str, given: str | None = None) -> str:
        """What a command prints at this site."""
        done = subprocess.run(
            [*_COMMAND, *arguments],
            env=self._environment("server"),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_WITHIN,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: distren {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


class Sites:
    """The farms of a shape by name. Use it in `running`."""

    def __init__(self, folder: Path, shape: Shape, size: Size) -> None:
        """`size` is that of each farm."""
        self.folder, self.shape, self.size = folder, shape, size
        self.render_log = folder / "render.log"
        self.lines: dict[Line, Proxy] = {}
        self.by_name = {name: self._site(name) for name in shape.names}
        self.boot = 0.0
        """seconds that everything took to start"""

    def _site(self, name: str) -> Site:
        size = Size(
            workers=self.size.workers,
            slots=self.size.slots,
            frames=self.size.frames,
            server=name,
            mark=f"{name}/",
            environment={"TRIAL_LOG": str(self.render_log)},
        )
        return Site(name, self.folder / name, size)

    def __iter__(self) -> Iterator[Site]:
        return iter(self.by_name.values())

    def __getitem__(self, name: str) -> Site:
        return self.by_name[name]

    @contextmanager
    def running(self) -> Iterator[Sites]:
        """Everything runs, and all know each other, from here to the end of the `with`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.render_log.touch()
        began = time.monotonic()
        with ExitStack() as stack:
            proxies = Proxies()
            stack.callback(proxies.close)
            with ThreadPoolExecutor(len(self.by_name)) as threads:
                list(threads.map(lambda site: stack.enter_context(site.running()), self))
            for line in self.shape.lines:
                port = urlsplit(self[line.accepts].direct_url).port
                assert port is not None, "a private broker's URL names its port"
                self.lines[line] = proxies.open(port)
                self._associate(line)
            wait_for(self._all_up, READY_WITHIN, "the association of all sites")
            self.boot = time.monotonic() - began
            yield self

    def _associate(self, line: Line) -> None:
        place = f"127.0.0.1:{self.lines[line].port}"
        given = self[line.accepts].distren("peer", "accept", line.adds, "--address", place)
        self[line.adds].distren("peer", "add", line.accepts, "-", given=given)

    def _all_up(self) -> bool:
        with suppress(DistrenError):
            return all(self._knows(site) for site in self)
        return False

    def _knows(self, site: Site) -> bool:
        with site.at() as farm:
            return [one.peer for one in farm.peers() if one.state == "up"] == self.shape.neighbours(site.name)
