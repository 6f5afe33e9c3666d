# Part of DistRen. MIT licence.
"""Draws dial.png, the star map that is inlaid in the orrery's base.

A grey mask, black for enamel and white for gold: the northern sky seen from within, the pole in the middle and the
declination of -35 degrees at the inner scale. Standard library only: `python3 make_dial.py` writes beside itself.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from pathlib import Path

SIZE = 1200
UNIT = SIZE / 2  # the dial's radius in pixels

# Bright stars: right ascension in hours, declination in degrees, magnitude (rounded catalogue values).
STARS = {
    "polaris": (2.5, 89.3, 2.0),
    "kochab": (14.85, 74.2, 2.1),
    "pherkad": (15.35, 71.8, 3.0),
    "yildun": (17.54, 86.6, 4.3),
    "urodelus": (16.77, 82.0, 4.2),
    "ahfa": (15.73, 77.8, 4.3),
    "dubhe": (11.06, 61.8, 1.8),
    "merak": (11.03, 56.4, 2.4),
    "phecda": (11.9, 53.7, 2.4),
    "megrez": (12.26, 57.0, 3.3),
    "alioth": (12.9, 56.0, 1.8),
    "mizar": (13.4, 54.9, 2.2),
    "alkaid": (13.79, 49.3, 1.9),
    "caph": (0.15, 59.2, 2.3),
    "schedar": (0.68, 56.5, 2.2),
    "gamma_cas": (0.95, 60.7, 2.5),
    "ruchbah": (1.43, 60.2, 2.7),
    "segin": (1.91, 63.7, 3.4),
    "deneb": (20.69, 45.3, 1.3),
    "sadr": (20.37, 40.3, 2.2),
    "gienah": (20.77, 34.0, 2.5),
    "delta_cyg": (19.75, 45.1, 2.9),
    "albireo": (19.51, 28.0, 3.1),
    "vega": (18.62, 38.8, 0.0),
    "sheliak": (18.83, 33.4, 3.5),
    "sulafat": (18.98, 32.7, 3.2),
    "altair": (19.85, 8.9, 0.8),
    "tarazed": (19.77, 10.6, 2.7),
    "alshain": (19.92, 6.4, 3.7),
    "betelgeuse": (5.92, 7.4, 0.5),
    "bellatrix": (5.42, 6.3, 1.6),
    "alnitak": (5.68, -1.9, 1.8),
    "alnilam": (5.6, -1.2, 1.7),
    "mintaka": (5.53, -0.3, 2.2),
    "saiph": (5.8, -9.7, 2.1),
    "rigel": (5.24, -8.2, 0.1),
    "sirius": (6.75, -16.7, -1.4),
    "aldebaran": (4.6, 16.5, 0.9),
    "elnath": (5.44, 28.6, 1.7),
    "hyadum": (4.33, 15.6, 3.6),
    "capella": (5.28, 46.0, 0.1),
    "menkalinan": (6.0, 44.9, 1.9),
    "mahasim": (5.99, 37.2, 2.6),
    "hassaleh": (4.95, 33.2, 2.7),
    "castor": (7.58, 31.9, 1.6),
    "pollux": (7.76, 28.0, 1.1),
    "alhena": (6.63, 16.4, 1.9),
    "procyon": (7.65, 5.2, 0.4),
    "regulus": (10.14, 12.0, 1.4),
    "algieba": (10.33, 19.8, 2.0),
    "zosma": (11.24, 20.5, 2.6),
    "denebola": (11.82, 14.6, 2.1),
    "chertan": (11.24, 15.4, 3.3),
    "arcturus": (14.26, 19.2, 0.0),
    "izar": (14.75, 27.1, 2.4),
    "seginus": (14.53, 38.3, 3.0),
    "nekkar": (15.03, 40.4, 3.5),
    "spica": (13.42, -11.2, 1.0),
    "alphecca": (15.58, 26.7, 2.2),
    "antares": (16.49, -26.4, 1.0),
    "alpheratz": (0.14, 29.1, 2.1),
    "mirach": (1.16, 35.6, 2.1),
    "almach": (2.07, 42.3, 2.2),
    "scheat": (23.06, 28.1, 2.4),
    "markab": (23.08, 15.2, 2.5),
    "algenib": (0.22, 15.2, 2.8),
    "mirfak": (3.41, 49.9, 1.8),
    "algol": (3.14, 41.0, 2.1),
    "hamal": (2.12, 23.5, 2.0),
    "fomalhaut": (22.96, -29.6, 1.2),
}
LINES = (
    "polaris yildun urodelus ahfa kochab pherkad",
    "alkaid mizar alioth megrez dubhe merak phecda megrez",
    "caph schedar gamma_cas ruchbah segin",
    "deneb sadr albireo",
    "delta_cyg sadr gienah",
    "vega sheliak sulafat vega",
    "tarazed altair alshain",
    "betelgeuse bellatrix mintaka alnilam alnitak betelgeuse",
    "mintaka rigel saiph alnitak",
    "hyadum aldebaran elnath capella menkalinan mahasim elnath hassaleh capella",
    "castor pollux alhena castor",
    "regulus algieba zosma denebola chertan regulus",
    "arcturus izar nekkar seginus arcturus",
    "scheat alpheratz algenib markab scheat",
    "alpheratz mirach almach mirfak algol",
)


class Dial:
    """A square grey picture with the origin in the middle; lengths are in units of the dial's radius."""

    def __init__(self) -> None:
        self.rows = [bytearray(SIZE) for _ in range(SIZE)]

    def dot(self, x: float, y: float, radius: float) -> None:
        self.line(x, y, x, y, 2 * radius)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float, tone: float = 1.0) -> None:
        """A stroke with round ends; its edge is smoothed over one pixel."""
        ax, ay, bx, by = (UNIT * (1 + v) for v in (x0, y0, x1, y1))
        half = width * UNIT / 2
        length2 = (bx - ax) ** 2 + (by - ay) ** 2 or 1.0
        for row in range(max(0, int(min(ay, by) - half - 1)), min(SIZE, int(max(ay, by) + half + 2))):
            for column in range(max(0, int(min(ax, bx) - half - 1)), min(SIZE, int(max(ax, bx) + half + 2))):
                px, py = column + 0.5, row + 0.5
                along = max(0.0, min(1.0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length2))
                away = math.hypot(px - ax - along * (bx - ax), py - ay - along * (by - ay))
                self.gild(row, column, tone * (half + 0.5 - away))

    def circle(self, radius: float, width: float, tone: float = 1.0) -> None:
        half = width * UNIT / 2
        for row in range(SIZE):
            for column in range(SIZE):
                away = abs(math.hypot(column + 0.5 - UNIT, row + 0.5 - UNIT) - radius * UNIT)
                if away < half + 0.5:
                    self.gild(row, column, tone * (half + 0.5 - away))

    def gild(self, row: int, column: int, amount: float) -> None:
        self.rows[row][column] = max(self.rows[row][column], round(255 * max(0.0, min(1.0, amount))))

    def png(self) -> bytes:
        """The picture as an 8-bit grey PNG (RFC 2083)."""
        header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 0, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in self.rows), 9)
        parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in parts
        )


def place(name: str) -> tuple[float, float]:
    """Azimuthal equidistant projection: the pole at the origin, declination -35 at radius 0.8."""
    hours, declination, _ = STARS[name]
    radius, angle = 0.8 * (90 - declination) / 125, math.tau * hours / 24
    return radius * math.cos(angle), radius * math.sin(angle)


def draw_scale(dial: Dial) -> None:
    """Two rims, a tick every 2 degrees, a longer one every 10, a lozenge at every twelfth."""
    for radius, width in ((0.985, 0.012), (0.955, 0.004), (0.84, 0.008)):
        dial.circle(radius, width)
    for degrees in range(0, 360, 2):
        x, y = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        inner = 0.90 if degrees % 10 == 0 else 0.93
        dial.line(inner * x, inner * y, 0.953 * x, 0.953 * y, 0.005 if degrees % 10 else 0.008)
        if degrees % 30 == 0:
            dial.line(0.855 * x, 0.855 * y, 0.885 * x, 0.885 * y, 0.022)


def draw_sky(dial: Dial) -> None:
    for declination in (60, 30, 0):
        dial.circle(0.8 * (90 - declination) / 125, 0.003, 0.45)
    for hour in range(0, 24, 2):
        x, y = math.cos(math.tau * hour / 24), math.sin(math.tau * hour / 24)
        dial.line(0.19 * x, 0.19 * y, 0.84 * x, 0.84 * y, 0.003, 0.3)
    for names in LINES:
        path = [place(name) for name in names.split()]
        for (x0, y0), (x1, y1) in itertools.pairwise(path):
            dial.line(x0, y0, x1, y1, 0.0045, 0.75)
    for name, (_, _, magnitude) in STARS.items():
        dial.dot(*place(name), 0.0125 - 0.0022 * magnitude)


def main() -> None:
    dial = Dial()
    draw_scale(dial)
    draw_sky(dial)
    Path(__file__).with_name("dial.png").write_bytes(dial.png())


if __name__ == "__main__":
    main()
