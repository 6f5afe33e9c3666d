"""The program itself, a stand-in for one that knows nothing of DistRen: draws one picture and says how far it is."""

from __future__ import annotations

import argparse
import struct
import sys
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path

VERSION = "1.0"
COLOURS = {"fire": ((20, 0, 0), (255, 120, 0), (255, 255, 220)), "ice": ((0, 0, 30), (0, 140, 255), (240, 255, 255))}
Colour = tuple[int, int, int]


def main() -> int:
    parser = argparse.ArgumentParser(prog="fractal")
    parser.add_argument("--version", action="version", version=f"fractal {VERSION}")
    parser.add_argument("scene", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--colours", default="fire")
    options = parser.parse_args()
    try:
        scene = tomllib.loads(options.scene.read_text("utf-8"))
        centre = complex(*scene.get("centre", (-0.5, 0.0)))
        span = 3.0 / scene.get("zoom", 1.0) / scene.get("step", 1.1) ** options.frame
        palette = _palette(options.scene.parent / scene["palette"]) if "palette" in scene else COLOURS[options.colours]
    except (OSError, ValueError, TypeError) as error:
        print(f"error: {options.scene.name}: {error}", file=sys.stderr)
        return 1
    width, height = map(int, options.size.split("x"))
    rows = b"".join(_rows(width, height, centre, span, options.iterations, palette))
    options.picture.write_bytes(_png(width, height, rows))
    return 0


def _palette(path: Path) -> tuple[Colour, ...]:
    """Three numbers a line."""
    lines = [line.split() for line in path.read_text("ascii").splitlines() if line.strip()]
    return tuple((int(red), int(green), int(blue)) for red, green, blue in lines)


def _rows(
    width: int, height: int, centre: complex, span: float, iterations: int, palette: tuple[Colour, ...]
) -> Iterator[bytes]:
    for row in range(height):
        yield b"\0"  # PNG: this row is not filtered
        for column in range(width):
            point = centre + span * complex(column / width - 0.5, (row - height / 2) / width)
            yield bytes(_colour(_steps(point, iterations) / iterations, palette))
        print(f"row {row + 1} of {height}", flush=True)


def _steps(point: complex, iterations: int) -> int:
    """How many steps of z*z + point stay near the origin; 0 where all of them do."""
    z = 0j
    for step in range(iterations):
        z = z * z + point
        if abs(z) > 2:
            return step
    return 0


def _colour(share: float, palette: tuple[Colour, ...]) -> Colour:
    """The colour at `share` (0 to 1) of the way through the palette."""
    place = share**0.4 * (len(palette) - 1)
    low = min(int(place), len(palette) - 1)
    high = min(low + 1, len(palette) - 1)
    one, other, part = palette[low], palette[high], place - low
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _png(width: int, height: int, rows: bytes) -> bytes:
    """An RGB image of 8 bits; the format is PNG's specification, section 11."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


if __name__ == "__main__":
    sys.exit(main())
