"""Small pictures of frames: of every depth, with what no screen can show made visible, and in terminals."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy
import OpenImageIO
import pytest

from distren.cli import terminal_picture
from distren.client import preview
from distren.errors import InputError


def picture(path: Path, values: numpy.ndarray, kind: str) -> Path:
    height, width, channels = values.shape
    image = OpenImageIO.ImageBuf(OpenImageIO.ImageSpec(width, height, channels, kind))
    image.set_pixels(OpenImageIO.ROI(), numpy.ascontiguousarray(values, dtype=numpy.float32))
    assert image.write(str(path))
    return path


def flat(value: float, channels: int = 3, size: tuple[int, int] = (4, 6)) -> numpy.ndarray:
    return numpy.full((*size, channels), value, dtype=numpy.float32)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_picture_for_screens_keeps_its_colours(tmp_path: Path, kind: str) -> None:
    shown = preview.read(picture(tmp_path / "a.png", flat(128 / 255), kind))
    assert numpy.all(numpy.abs(shown.astype(int) - 128) <= 1)


def test_linear_light_is_shown_as_a_screen_wants_it(tmp_path: Path) -> None:
    shown = preview.read(picture(tmp_path / "a.exr", flat(0.18), "half"))
    assert numpy.all(numpy.abs(shown.astype(int) - 118) <= 1)  # middle grey in sRGB


def test_highlights_keep_their_order_and_exposure_moves_them(tmp_path: Path) -> None:
    values = numpy.array([[[0.5] * 3, [1.0] * 3, [1.5] * 3, [1000.0] * 3]])
    path = picture(tmp_path / "a.exr", values, "float")
    shown = preview.read(path)[0, :, 0]
    assert list(shown) == sorted(set(shown))
    assert preview.read(path, exposure=-2)[0, 1, 0] < shown[1]


def test_pixels_that_are_no_numbers_are_black_and_infinite_ones_white(tmp_path: Path) -> None:
    values = numpy.array([[[float("nan")] * 3, [float("inf")] * 3, [-5.0] * 3]])
    assert preview.read(picture(tmp_path / "a.exr", values, "float"))[0, :, 0].tolist() == [0, 255, 0]


def test_the_longer_side_is_bounded_and_nothing_is_enlarged(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", flat(0.5, size=(90, 400)), "uint8")
    assert preview.read(path).shape == (72, 320, 3)
    assert preview.read(path, longest=1000).shape == (90, 400, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_any_number_of_channels_is_shown(tmp_path: Path, channels: int) -> None:
    assert preview.read(picture(tmp_path / "a.exr", flat(0.5, channels), "half")).shape == (4, 6, 3)


def test_what_is_transparent_is_a_pattern(tmp_path: Path) -> None:
    shown = preview.read(picture(tmp_path / "a.exr", flat(0.0, 4, (16, 16)), "half"))
    assert len(numpy.unique(shown)) == 2


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"a\.png can not be shown"):
        preview.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({}, "blocks"),
    ],
)
def test_the_terminal_is_known_by_its_environment(environment: dict[str, str], way: str) -> None:
    assert terminal_picture.way(environment) == way


@pytest.mark.parametrize("size", [1, 3_072, 3_073, 20_000])
def test_kittys_chunks_hold_the_whole_file(size: int) -> None:
    png = bytes(range(256)) * (size // 256 + 1)
    parts = terminal_picture.kitty(png[:size]).strip().removesuffix("\x1b\\").split("\x1b\\")
    heads, data = zip(*(part.removeprefix("\x1b_G").split(";") for part in parts), strict=True)
    assert base64.b64decode("".join(data)) == png[:size]
    assert [head[-1] for head in heads] == ["1"] * (len(heads) - 1) + ["0"]
    assert heads[0].startswith("a=T,f=100,")


def test_half_blocks_hold_two_rows_each() -> None:
    pixels = numpy.arange(3 * 2 * 3, dtype=numpy.uint8).reshape(3, 2, 3)
    lines = terminal_picture.blocks(pixels).splitlines()
    assert [line.count("▀") for line in lines] == [2, 2]
    assert lines[0].startswith("\x1b[38;2;0;1;2;48;2;6;7;8m▀")
