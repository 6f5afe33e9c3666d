"""A video of rendered images: H.264 that every player and browser shows, ProRes for editing, FFV1 without any loss.

The only encoder: the farm's encode frames run it as a child process, and `distren fetch --video` calls it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenImageIO as oiio  # noqa: N813 - the name that its own documentation uses

from distren.errors import InputError, OutputError
from distren.renderers.encode.settings import QUALITIES, Look, Way
from distren.renderers.needed import IMAGES

_LINEAR = frozenset({"half", "float", "double"})
_SHOULDER = 0.8
"""linear light above which `soft` compresses what is brighter, so that all of it stays below 1"""
_BT709 = 1
"""the number of BT.709 in H.264's tables E-3, E-4 and E-5 (ITU-T H.264, annex E)"""
_BRIGHTEST = 1e6
"""linear light that stands for infinity"""
Pixels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class _Codec:
    """How a codec is called in FFmpeg; `deep`: it is given 16 bits per colour; `qualities` are its options by word."""

    encoder: str
    pixels: str
    deep: bool
    is_rgb: bool
    qualities: Mapping[str, Mapping[str, str]]


_CODECS = {
    "h264": _Codec(
        encoder="libx264",
        pixels="yuv420p",
        deep=False,
        is_rgb=False,
        # the constant rate factor; 18 is visually lossless at a moderate size
        qualities={
            word: {"crf": crf, "preset": "medium"} for word, crf in (("low", "28"), ("medium", "23"), ("high", "18"))
        },
    ),
    "prores": _Codec(
        encoder="prores_ks",
        pixels="yuv422p10le",
        deep=True,
        is_rgb=False,
        qualities={"low": {"profile": "proxy"}, "medium": {"profile": "standard"}, "high": {"profile": "hq"}},
    ),
    "ffv1": _Codec(
        encoder="ffv1",
        pixels="bgr0",
        deep=False,
        is_rgb=True,
        qualities={word: {"level": "3", "slicecrc": "1"} for word in QUALITIES},
    ),
}


def images_of(files: dict[int, list[Path]], folder: Path) -> list[Path]:
    """The first image of each frame, in frame order; raises InputError where a frame has none."""
    found = []
    for frame, paths in files.items():
        images = [path for path in paths if path.suffix.lower() in IMAGES]
        if not images:
            raise InputError(f"frame {frame} holds no image, so there is nothing to make a video of")
        found.append(folder / images[0])
    if not found:
        raise InputError("there are no frames to make a video of")
    return found


def write_video(
    images: Iterable[Path],
    target: Path,
    *,
    fps: float,
    way: Way | None = None,
    look: Look | None = None,
    on_image: Callable[[int], None] | None = None,
) -> int:
    """Write the images in their order as `target`, which appears complete or not at all; returns how many.

    The ending says which container it is. Sizes are made even by repeating the last row or column; images of another
    size than the first are scaled to it. Raises InputError (an image that can not be read), OutputError.
    """
    read = partial(read_srgb, look=look or Look())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".distren-video-", dir=target.parent) as scratch:
            made = Path(scratch) / f"video{target.suffix.lower()}"
            count = _encode(map(read, images), made, fps=fps, way=way or Way(), on_image=on_image or (lambda _: None))
            made.replace(target)
    except (OSError, av.error.FFmpegError) as error:
        raise OutputError(f"{target} can not be written: {error.strerror or error}") from error
    return count


def read_srgb(path: Path, look: Look | None = None) -> Pixels:
    """An image of any depth as rows x columns x RGB from 0 to 1, in sRGB.

    Floating-point files hold linear light by convention: that is exposed and tone-mapped as `look` says.
    """
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise InputError(f"{path} is no image that can be read: {oiio.geterror()}")
    try:
        spec = source.spec()
        pixels = source.read_image(0, 0, 0, min(spec.nchannels, 4), oiio.FLOAT)
        if pixels is None:
            raise InputError(f"{path} is damaged: {source.geterror()}")
    finally:
        source.close()
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    colours = pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
    colours = np.nan_to_num(colours, posinf=_BRIGHTEST)
    if str(spec.format) in _LINEAR:
        colours = _to_srgb(np.clip(_toned(colours, look or Look()), 0.0, 1.0))
    shown: Pixels = np.clip(colours, 0.0, 1.0)
    return shown


def _toned(linear: Pixels, look: Look) -> Pixels:
    """Exposed, and what is brighter than the shoulder compressed: identity below it, with a continuous slope there."""
    exposed: Pixels = linear * 2.0**look.exposure
    if look.tonemap == "soft":
        rest = 1.0 - _SHOULDER
        compressed = 1.0 - rest * np.exp(-(np.maximum(exposed, _SHOULDER) - _SHOULDER) / rest)
        exposed = np.where(exposed > _SHOULDER, compressed, exposed)
    return exposed


def _to_srgb(linear: Pixels) -> Pixels:
    """The transfer function of IEC 61966-2-1."""
    encoded: Pixels = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    return encoded


def _encode(pictures: Iterator[Pixels], path: Path, *, fps: float, way: Way, on_image: Callable[[int], None]) -> int:
    codec, count = _CODECS[way.codec], 0
    options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = container.add_stream(codec.encoder, rate=rate, options=dict(codec.qualities[way.quality]))
        stream.pix_fmt = codec.pixels
        if not codec.is_rgb:
            context = stream.codec_context
            context.color_primaries = context.color_trc = context.colorspace = _BT709
        for count, pixels in enumerate(pictures, start=1):
            even = np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")
            if count == 1:
                stream.height, stream.width = even.shape[:2]
            made = _frame(even, codec, stream)
            container.mux(stream.encode(made))
            on_image(count)
        container.mux(stream.encode())
    return count


def _frame(pixels: Pixels, codec: _Codec, stream: Any) -> Any:
    most, kind, form = (65535.0, np.uint16, "rgb48le") if codec.deep else (255.0, np.uint8, "rgb24")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray((pixels * most + 0.5).astype(kind)), format=form)
    space = None if codec.is_rgb else "ITU709"
    return frame.reformat(width=stream.width, height=stream.height, format=codec.pixels, dst_colorspace=space)
