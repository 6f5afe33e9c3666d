"""A small picture of a frame, fit to be looked at: of any depth, with linear light brought into the range of a screen.

Floating-point files hold linear light of any brightness. Up to `_KNEE` it is shown as it is; what is brighter is bent
by a tangent curve that never reaches white, so that highlights keep their shape (the shoulder of a film's response).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813 - the name that its own documentation uses

from distren.errors import InputError, OutputError

LONGEST = 320
"""pixels of the longer side"""
_KNEE = 0.6
_FLOATS = ("half", "float", "double")
_DARK, _LIGHT, _CHECK = 0.03, 0.07, 8
"""the pattern behind transparent pixels: linear light of its two colours, pixels of its squares"""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""rows x columns x RGB"""
_Linear = np.ndarray[Any, np.dtype[np.float32]]


def read(path: Path, *, longest: int = LONGEST, exposure: float = 0.0) -> Pixels:
    """The image `path` with at most `longest` pixels on a side, made 2**`exposure` times as bright.

    Raises InputError for a file that can not be read.
    """
    image = oiio.ImageBuf(str(path))
    if not image.read(force=True, convert="float"):
        raise InputError(f"{path.name} can not be shown: {' '.join(image.geterror().split())}")
    is_linear = str(image.nativespec().format) in _FLOATS
    values = _finite(np.asarray(image.get_pixels(oiio.FLOAT), dtype=np.float32))
    alpha = image.spec().alpha_channel
    colours, cover = _channels(values, alpha)
    if not is_linear:
        colours = _from_srgb(colours)
    colours, cover = (_shrunk(one, longest) for one in (colours, cover))
    colours = colours * np.float32(2.0**exposure) + (1 - cover) * _pattern(colours.shape[0], colours.shape[1])
    return np.asarray(np.rint(_to_srgb(_bent(colours) if is_linear or exposure else colours) * 255), dtype=np.uint8)


def write(pixels: Pixels, target: Path) -> None:
    """Write a picture to a file whose ending says its kind; raises OutputError."""
    made = oiio.ImageBuf(oiio.ImageSpec(pixels.shape[1], pixels.shape[0], 3, "uint8"))
    made.set_pixels(oiio.ROI(), np.ascontiguousarray(pixels))
    if not made.write(str(target)):
        raise OutputError(f"{target} can not be written: {' '.join(made.geterror().split())}")


def _finite(values: _Linear) -> _Linear:
    """NaN and what lies below black become black, infinite light becomes very bright."""
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=1e4, neginf=0.0), 0.0, 1e4)


def _channels(values: _Linear, alpha: int) -> tuple[_Linear, _Linear]:
    """Red, green and blue, and how much of each pixel is covered."""
    count = values.shape[-1]
    cover = values[..., alpha : alpha + 1] if 0 <= alpha < count else np.ones_like(values[..., :1])
    others = [channel for channel in range(count) if channel != alpha] or [0]
    chosen = others[:3] if len(others) >= 3 else [others[0]] * 3
    return values[..., chosen], np.clip(cover, 0.0, 1.0)


def _shrunk(values: _Linear, longest: int) -> _Linear:
    """Scaled down, every pixel of the original counted; never up."""
    height, width = values.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return values
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    source = oiio.ImageBuf(oiio.ImageSpec(width, height, values.shape[2], "float"))
    source.set_pixels(oiio.ROI(), np.ascontiguousarray(values))
    small = oiio.ImageBufAlgo.resize(source, "triangle", 0, oiio.ROI(0, size[0], 0, size[1], 0, 1, 0, values.shape[2]))
    return np.maximum(np.asarray(small.get_pixels(oiio.FLOAT), dtype=np.float32), 0.0)


def _pattern(height: int, width: int) -> _Linear:
    rows, columns = np.indices((height, width)) // _CHECK
    return np.where((rows + columns) % 2, _LIGHT, _DARK).astype(np.float32)[..., None]


def _bent(values: _Linear) -> _Linear:
    room = 1 - _KNEE
    return np.where(values <= _KNEE, values, _KNEE + room * np.tanh((values - _KNEE) / room)).astype(np.float32)


def _to_srgb(values: _Linear) -> _Linear:
    """IEC 61966-2-1."""
    values = np.clip(values, 0.0, 1.0)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055).astype(np.float32)


def _from_srgb(values: _Linear) -> _Linear:
    """IEC 61966-2-1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)
