"""A RabbitMQ node of our own, from the rabbitmq-server of this machine, in a folder of its own.

It shares nothing with the system's RabbitMQ service nor with other private nodes: its own ports, epmd, cookie, node
name, data and log, everything on the loopback address. Its processes form one session; each inherits the folder's
lock, so the lock is held exactly as long as one of them lives, and no pid file can be stale.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from distren import resources
from distren.broker import credentials, readiness, server_program
from distren.broker.credentials import HOST, Credentials
from distren.broker.folder import Folder
from distren.broker.management import Management
from distren.broker.private import START_LIMIT, Status
from distren.errors import BrokerUnavailable, Conflict, DistrenError

_LOOK_EVERY = 0.03  # seconds
_STOP_LIMIT = 40.0  # seconds; a node with very many queues takes its time
_FLUSH_LIMIT = 8.0  # seconds
_FLUSH = """
    Node = list_to_atom(os:getenv("DISTREN_NODE")),
    Tables = rpc:call(Node, dets, all, [], 5000),
    [ok = rpc:call(Node, dets, sync, [Table], 5000) || Table <- Tables],
    halt(0).
"""
_NODE_CONF = """\
# Written at each start by DistRen; what is common to all private brokers is in rabbitmq.conf.
listeners.tcp.1 = {host}:{ports.amqp}
management.tcp.ip = {host}
management.tcp.port = {ports.management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {ports.prometheus}
cluster_name = {cluster_name}
default_user = {user}
default_pass = {password}
log.console = false
"""


class Node:
    """A private broker (see `private.PrivateBroker`) that runs the rabbitmq-server `server`, by default the machine's.

    `cluster_name` is what the management UI shows at the top and what federation calls this broker.
    """

    def __init__(self, folder: Path, *, cluster_name: str = "distren", server: Path | None = None) -> None:
        self._files = Folder(folder)
        self.folder = self._files.path
        self._cluster_name = cluster_name
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self._tie: int | None = None

    def start(self, *, foreground: bool = False) -> Credentials:
        """See PrivateBroker; a node that is running already is a Conflict."""
        server = self._server or server_program.find()
        if server is None:
            raise BrokerUnavailable("this machine has no rabbitmq-server: install the package rabbitmq-server")
        lock = self._files.take_lock()
        self._forget()
        try:
            known = self._files.prepare("node")
            self._configure(known)
            self._spawn(server, known, lock, foreground=foreground)
        finally:
            os.close(lock)  # the node's processes hold it now
        try:
            self.wait_ready()
            self._files.made.touch()
        except BaseException:
            self.kill()
            raise
        return known

    def stop(self) -> bool:
        """Stop in good order, in well under a second once the node is ready; False when it did not run.

        RabbitMQ 3.10's own orderly stop closes its message stores within milliseconds, then waits 5 s for the
        management plugin's workers and 1 s for Erlang to halt. Messages, and what is written ahead for quorum queues
        and for the schema, are on disk by then; tables that Erlang writes up to 3 s late are flushed here, and what
        is left is ended at once. Where that can not be done, the node takes its own time.
        """
        if not self._files.locked():
            return False
        leader = self._leader()
        was_open = self._stores_open(leader)
        with suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
        end = time.monotonic() + _STOP_LIMIT
        while self._files.locked() and time.monotonic() < end:
            if was_open and self._stores_open(leader) is False:
                was_open = False
                if self._flush_tables():
                    break
            time.sleep(_LOOK_EVERY)
        self.kill()
        return True

    def kill(self) -> None:
        """End all processes of the node at once, as a power cut would."""
        end = time.monotonic() + _STOP_LIMIT
        while self._files.locked():
            leader = self._files.read_pid()
            if leader is not None:
                for pid in _session(leader):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if time.monotonic() > end:
                raise Conflict(f"the private broker in {self.folder} could not be ended (process {leader})")
            time.sleep(_LOOK_EVERY)
        self._forget()

    def status(self) -> Status:
        """How it is now; asks the node for its version, which takes some milliseconds."""
        known = credentials.read(self.folder)
        running = self._files.locked()
        ready = running and known is not None and readiness.greets(HOST, known.ports.amqp)
        version = None
        if ready and known is not None:
            with suppress(DistrenError), Management.of(known) as management:
                version = management.version()
        return Status(
            running=running,
            ready=ready,
            kind="node",
            pid=self._files.read_pid() if running else None,
            amqp_url=known.amqp_url if known else None,
            management_url=known.management_url if known else None,
            version=version,
            folder=self.folder,
            log=self._files.log / f"{known.node if known else 'distren@localhost'}.log",
        )

    def wait_ready(self, limit: float = START_LIMIT) -> Credentials:
        """See PrivateBroker."""
        known = credentials.read(self.folder)
        if known is None:
            raise BrokerUnavailable(f"the private broker in {self.folder} was never started")
        try:
            readiness.wait(known.amqp_url, alive=self._alive, limit=limit)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"{error}: {self._reason()}; see {self._files.log}") from error
        return known

    def erase(self) -> None:
        """End the node and delete its folder with all data."""
        self.kill()
        self._files.erase()

    def _forget(self) -> None:
        """Let go of the ended process that this object started."""
        if self._process is not None:
            self._process.wait()
            self._process = None
        if self._tie is not None:
            os.close(self._tie)
            self._tie = None

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self._files.locked()

    def _leader(self) -> int:
        leader = self._files.read_pid()
        if leader is None:
            raise Conflict(f"the private broker in {self.folder} is being started: stop it once it runs")
        return leader

    def _configure(self, known: Credentials) -> None:
        """Write the files that RabbitMQ reads besides the common ones; they hold the password and the cookie."""
        text = _NODE_CONF.format(
            host=HOST, ports=known.ports, cluster_name=self._cluster_name, user=known.user, password=known.password
        )
        credentials.write_private(self._files.conf / "node.conf", text)
        credentials.write_private(self._files.home / ".erlang.cookie", known.cookie)

    def _environment(self, known: Credentials) -> dict[str, str]:
        """All that the node sees: nothing of this process's RABBITMQ_* variables, nothing of /etc/rabbitmq."""
        files, common = self._files, resources.folder("broker")
        return {
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "HOME": str(files.home),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(known.ports.epmd),
            "ERL_CRASH_DUMP": str(files.log / "erl_crash.dump"),
            "RABBITMQ_NODENAME": known.node,
            "RABBITMQ_DIST_PORT": str(known.ports.distribution),
            "RABBITMQ_CONF_ENV_FILE": str(files.path / "none-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(common / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(files.conf),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(files.path / "none-advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(common / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(files.data / "config"),
            "RABBITMQ_MNESIA_BASE": str(files.data),
            "RABBITMQ_LOG_BASE": str(files.log),
            "RABBITMQ_PID_FILE": str(files.data / "rabbitmq.pid"),
            # Busy waiting of idle schedulers would take processor time from the renders.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
            "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def _spawn(self, server: Path, known: Credentials, lock: int, *, foreground: bool) -> None:
        script = resources.folder("broker") / "run-node.sh"
        reading, writing = os.pipe()
        try:
            with self._files.output.open("wb") as output:
                self._process = subprocess.Popen(
                    ["sh", str(script), str(server), "tied" if foreground else "keep"],
                    stdin=reading,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment(known),
                    cwd=self.folder,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            self._files.pid.write_text(f"{self._process.pid}\n")
        except OSError as error:
            os.close(writing)
            raise BrokerUnavailable(f"{server} can not be started: {error.strerror}") from error
        finally:
            os.close(reading)
        if foreground:
            self._tie = writing  # closes with this process, and `run-node.sh` reads that
        else:
            os.close(writing)

    def _flush_tables(self) -> bool:
        """Have the node write its disk tables now; whether it did.

        Quorum queues are listed in one (ra's names.dets) that is not written ahead: a queue that is missing there
        after a restart never gets a leader again.
        """
        known = credentials.read(self.folder)
        if known is None:
            return False
        command = ["erl", "-noinput", "-hidden", "-sname", f"flush-{os.getpid()}@localhost", "-eval", _FLUSH]
        environment = self._environment(known) | {"DISTREN_NODE": known.node}
        try:
            return (
                subprocess.run(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=_FLUSH_LIMIT,
                    check=False,
                ).returncode
                == 0
            )
        except (OSError, subprocess.TimeoutExpired):
            return False

    def _reason(self) -> str:
        """The first line of RabbitMQ's output that speaks of an error, else its last line."""
        try:
            lines = self._files.output.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        lines = [line.strip() for line in lines if line.strip()]
        telling = [line for line in lines if "error" in line.lower() or "fail" in line.lower()]
        return (telling or lines[-1:] or ["it said nothing"])[0][:300]

    def _stores_open(self, leader: int) -> bool | None:
        """Whether the node has files of its message stores open; None when that can not be seen."""
        stores = "/msg_stores/"
        try:
            return any(
                stores in file.path
                for pid in _session(leader)
                for file in psutil.Process(pid).open_files()
                if file.path.startswith(str(self._files.data))
            )
        except (psutil.Error, OSError):
            return None


def _session(leader: int) -> list[int]:
    """The processes of the session that `leader` began, also when it is gone itself."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found
