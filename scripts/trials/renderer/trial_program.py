"""The program of the trial renderer: trial_program.py SCENE FRAME OUTPUT.

A scene is JSON: `token`, a word that no other scene has, and `seconds`, the shortest and the longest frame's time. With
`needs`, its frames up to `frames` need those of the same number of the job at `place`, whose scene has that `token`: a
frame whose needed file is not there, byte by byte, fails.
What is written follows from token and frame alone, so that whoever knows those knows the bytes. Each attempt appends
two lines to TRIAL_LOG, in one write each: when it begins, and when its file is there, with the file's SHA-256.
"""

import hashlib
import json
import os
import sys
import time

SMALLEST, USUAL, LARGE = 500, 8_000, 1_300_000
"""bytes; a large result does not fit into an event and travels as a blob"""
LARGE_ONE_IN = 150


def content(token: str, frame: int) -> bytes:
    """The bytes of a frame."""
    seed = hashlib.sha256(f"{token} {frame}".encode()).digest()
    number = int.from_bytes(seed[:4], "big")
    size = LARGE if number % LARGE_ONE_IN == 0 else SMALLEST + number % USUAL
    return (seed * (size // len(seed) + 1))[:size]


def duration(token: str, frame: int, shortest: float, longest: float) -> float:
    """Seconds that a frame takes."""
    part = int.from_bytes(hashlib.sha256(f"seconds {token} {frame}".encode()).digest()[:4], "big") / 2**32
    return shortest + part * (longest - shortest)


def main(scene: str, frame: int, output: str) -> None:
    with open(scene, encoding="utf-8") as file:  # noqa: PTH123 (pathlib takes longer to import than a frame may)
        known = json.load(file)
    attempt = os.urandom(8).hex()
    about = {"attempt": attempt, "worker": os.environ["TRIAL_WORKER"], "token": known["token"], "frame": frame}
    about["pid"] = os.getpid()
    print(f"attempt {attempt}", flush=True)
    tell({"event": "begin", "time": time.time(), **about})
    check_needed(known.get("needs"), frame)
    data = content(known["token"], frame)
    time.sleep(duration(known["token"], frame, *known["seconds"]))
    with open(output, "wb") as file:  # noqa: PTH123
        file.write(data)
    tell({"event": "end", "time": time.time(), "digest": hashlib.sha256(data).hexdigest(), **about})


def check_needed(needs: dict | None, frame: int) -> None:
    """Exit where the file of the frame that this one needs is not what it must be."""
    if needs is not None and frame <= needs["frames"]:
        with open(f"needs/{needs['place']}/frame/{frame}/frame-{frame}.dat", "rb") as file:  # noqa: PTH123
            if file.read() != content(needs["token"], frame):
                sys.exit(f"frame {frame} of {needs['place']} has other bytes than foretold")


def tell(line: dict) -> None:
    """Append a line: O_APPEND and one write keep the lines of many processes apart."""
    log = os.open(os.environ["TRIAL_LOG"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(log, json.dumps(line).encode() + b"\n")
    finally:
        os.close(log)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
