"""What `scripts/demo --federated` runs: two farms on this machine become peers, and one helps the other.

A job is rendered by alpha alone, then again with beta's worker; what each server rendered is shown frame by frame.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DISTREN = ROOT / ".venv" / "bin" / "distren"
MARK = ".distren-demo"
FRAMES, SIZE = 24, "320x180"
PATIENCE = 180.0
"""seconds that a farm may take to start, and two to hear of each other"""
COLOURS = {"alpha": (75, 68), "beta": (114, 107)}
"""backgrounds, as terminals with 256 colours number them: two shades for each server"""
WIDTH = 96
"""columns of the picture"""


class Farm:
    """A server with a broker and one slot of its own, in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        own = {key: value for key, value in os.environ.items() if not key.startswith("DISTREN_")}
        self.environment = own | {
            "DISTREN_CONFIG": str(folder / "no-settings.toml"),
            "DISTREN_DATA": str(folder / name),
            "DISTREN_SERVER": name,
        }

    def run(self, *arguments: str, given: str | None = None) -> str:
        """What a command prints; ends the demo where it fails."""
        done = subprocess.run(
            [str(DISTREN), *arguments], env=self.environment, input=given, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"demo: distren {arguments[0]} failed at {self.name}: {done.stderr.strip()}")
        return done.stdout

    def ask(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    @contextmanager
    def up(self) -> Iterator[None]:
        """The farm runs until the end of the block."""
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [str(DISTREN), "up", "--slots", "1", "--name", "render"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            until(lambda: self._is_ready(process), f"{self.name} was not ready in time: see {self.log}")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            sys.exit(f"demo: {self.name} ended while it started: see {self.log}")
        return any(line.startswith("ready") for line in self.log.read_text().splitlines())

    def render(self, name: str, output: Path) -> tuple[int, float]:
        """Submit the animation and wait for it; the job and the seconds that it took."""
        before = time.monotonic()
        scene = str(ROOT / "examples" / "orrery" / "orrery.ini")
        options = ("--frames", f"1-{FRAMES}", "--size", SIZE, "--name", name, "--wait", "--output", str(output))
        self.run("submit", scene, *options)
        seconds = time.monotonic() - before
        return int(self.ask("jobs")[0]["job"]), seconds


def until(condition: Any, trouble: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"demo: {trouble}")
        time.sleep(0.2)


def server_of(worker: str) -> str:
    """Who rendered: a peer's worker is written `peer/worker`."""
    return "beta" if worker.startswith("beta/") else "alpha"


def picture(frames: list[dict[str, Any]]) -> str:
    """A line for each server, from left to right in time, with the frames that it rendered where and when it did."""
    began, ended = min(frame["started"] for frame in frames), max(frame["ended"] for frame in frames)
    scale = WIDTH / (ended - began)
    lines = [f"{'':8}0 s{f'{ended - began:.1f} s':>{WIDTH - 3}}"]
    for name in COLOURS:
        line, at = "", 0
        own = sorted((one["started"], one) for one in frames if server_of(str(one["worker"])) == name)
        for number, (started, frame) in enumerate(own):
            start = max(round((started - began) * scale), at)
            end = max(round((frame["ended"] - began) * scale), start + 1)
            line += " " * (start - at) + cell(str(frame["frame"]), end - start, name, number)
            at = end
        lines.append(f"  {name:6}{line}")
    return "\n".join(lines)


def cell(text: str, width: int, server: str, number: int) -> str:
    """One frame: coloured by who rendered it, every second one darker; between bars where this is no terminal."""
    if not sys.stdout.isatty():
        return ("|" + text.center(width - 1, "-"))[:width]
    shade = COLOURS[server][number % 2]
    return f"\x1b[30;48;5;{shade}m{text.center(width)[:width]}\x1b[0m"


def main(folder: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).exists():
        sys.exit(f"demo: {folder} is not empty, and not of an earlier demo: name another folder")
    (folder / MARK).touch()
    for name in ("alpha", "beta", "alone", "together"):
        shutil.rmtree(folder / name, ignore_errors=True)
    alpha, beta = Farm("alpha", folder), Farm("beta", folder)
    with ExitStack() as stack:
        print(
            "Starting two farms on this machine, alpha and beta: each with a RabbitMQ, a server and one slot",
            flush=True,
        )
        stack.enter_context(alpha.up())
        stack.enter_context(beta.up())
        print(f"alpha renders {FRAMES} frames of examples/orrery alone ...", flush=True)
        _, alone = alpha.render("alone", folder / "alone")
        print(f"  {alone:.1f} s")
        print(
            "alpha and beta become peers: 'distren peer accept alpha' at beta, 'distren peer add beta' at alpha",
            flush=True,
        )
        alpha.run("peer", "add", "beta", "-", given=beta.run("peer", "accept", "alpha"))
        until(
            lambda: all(peer["state"] == "up" for peer in alpha.ask("peers")), "alpha and beta do not hear each other"
        )
        print(f"alpha renders the same {FRAMES} frames with beta's help ...", flush=True)
        job, together = alpha.render("together", folder / "together")
        frames = alpha.ask("frames", str(job))
        print(f"  {together:.1f} s")
        print("Who rendered what, and when:")
        print(picture(frames))
        for worker, count in sorted(Counter(str(frame["worker"]) for frame in frames).items()):
            print(f"  {worker:24} {count} frames")
        print(f"alpha alone: {alone:.1f} s. With beta's help: {together:.1f} s, {alone / together:.2f} times as fast.")
        print(f"The frames are in {folder / 'together'}; alpha collected all of them.")
        if "beta" not in {server_of(str(frame["worker"])) for frame in frames}:
            sys.exit("demo: beta has rendered nothing")
        if together >= alone:
            sys.exit("demo: beta's help made it no faster: is this machine busy with something else?")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
