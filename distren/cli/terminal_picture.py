"""A picture in a terminal: by the protocol of kitty or of iTerm2 where the terminal has one, else in half blocks."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Way = Literal["kitty", "iterm", "blocks"]
_CHUNK = 4_096
"""bytes of base64 in one command of kitty's protocol"""
_ITERM = ("iTerm.app", "WezTerm", "mintty", "vscode")
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def way(environment: Mapping[str, str]) -> Way:
    """What the terminal that sets these variables understands."""
    program, kind = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if "TMUX" in environment or kind.startswith("screen"):
        return "blocks"  # both pass on no pictures
    if environment.get("KITTY_WINDOW_ID") or "kitty" in kind or program == "ghostty" or "ghostty" in kind:
        return "kitty"
    return "iterm" if program in _ITERM else "blocks"


def kitty(png: bytes) -> str:
    """Kitty's graphics protocol: a PNG that is shown where the cursor is (a=T, f=100), in chunks (m=1: more come)."""
    data = base64.standard_b64encode(png).decode("ascii")
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    more = [int(number < len(parts)) for number in range(1, len(parts) + 1)]
    told = [f"a=T,f=100,m={more[0]}", *(f"m={one}" for one in more[1:])]
    return "".join(f"\x1b_G{about};{part}\x1b\\" for about, part in zip(told, parts, strict=True)) + "\n"


def iterm(png: bytes) -> str:
    """iTerm2's inline images (OSC 1337)."""
    data = base64.standard_b64encode(png).decode("ascii")
    return f"\x1b]1337;File=inline=1;size={len(png)}:{data}\a\n"


def blocks(pixels: Pixels) -> str:
    """Half blocks in true colour: each character is two pixels, one above the other."""
    rows = np.pad(pixels, [(0, pixels.shape[0] % 2), (0, 0), (0, 0)], mode="edge")
    lines = []
    for upper, lower in zip(rows[0::2], rows[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀" for a, b in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines) + "\n"
