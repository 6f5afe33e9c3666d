"""An MP4 of rendered frames: H.264, yuv420p, BT.709, so that every player and browser shows it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenImageIO as oiio  # noqa: N813 - the name that its own documentation uses

from distren.errors import InputError, OutputError

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".hdr", ".tga", ".bmp", ".ppm", ".webp"})
_LINEAR = frozenset({"half", "float", "double"})
_QUALITY = {"crf": "18", "preset": "medium"}
"""visually lossless at a moderate size"""
_BT709 = 1
"""the number of BT.709 in H.264's tables E-3, E-4 and E-5 (ITU-T H.264, annex E)"""


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
    images: Iterable[Path], target: Path, *, fps: float, on_image: Callable[[int], None] | None = None
) -> int:
    """Write the images in their order as `target` (.mp4), which appears complete or not at all; returns how many.

    Sizes are made even by repeating the last row or column; images of another size than the first are scaled to it.
    Raises InputError (an image that can not be read), OutputError.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".distren-video-", dir=target.parent) as scratch:
            made = Path(scratch) / "video.mp4"
            count = _encode(map(read_srgb, images), made, fps=fps, on_image=on_image or (lambda _: None))
            made.replace(target)
    except (OSError, av.error.FFmpegError) as error:
        raise OutputError(f"{target} can not be written: {error.strerror or error}") from error
    return count


def read_srgb(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An image of any depth as rows x columns x RGB in 8 bits; floating-point files hold linear light by convention."""
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
    colours = np.clip(np.nan_to_num(colours), 0.0, 1.0)
    if str(spec.format) in _LINEAR:
        colours = _to_srgb(colours)
    return (colours * 255.0 + 0.5).astype(np.uint8)


def _to_srgb(linear: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The transfer function of IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)


def _encode(
    pictures: Iterator[np.ndarray[Any, np.dtype[np.uint8]]],
    path: Path,
    *,
    fps: float,
    on_image: Callable[[int], None],
) -> int:
    count = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=_QUALITY)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        for count, pixels in enumerate(pictures, start=1):
            even = np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)], mode="edge")
            if count == 1:
                stream.height, stream.width = even.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            made = frame.reformat(width=stream.width, height=stream.height, format="yuv420p", dst_colorspace="ITU709")
            container.mux(stream.encode(made))
            on_image(count)
        container.mux(stream.encode())
    return count
