"""The options that say what a job is, for `distren submit` and `distren pack`."""

from __future__ import annotations

import re
from typing import Any

import click

from distren.domain.groups import Output
from distren.errors import InputError
from distren.jobfile.words import MOST_ATTEMPTS
from distren.renderers import tiles
from distren.renderers.encode import settings as words


def _size(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text, re.ASCII)
    if not match or not int(match[1]) or not int(match[2]):
        raise click.BadParameter(f"'{text}' is no image size: write for example 640x360")
    return int(match[1]), int(match[2])


def _grid(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else str(tiles.parse(text))
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def _settings(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"'{text}' is no setting: write key=value, for example quality=9")
        found[key.strip()] = value
    return found


def job_options(command: Any) -> Any:
    """Add the options of a job to a command; `as_arguments` makes wishes out of them."""
    for option in (
        click.option(
            "--expect-image", "images", multiple=True, metavar="PATH", help="The same, an image that must decode."
        ),
        click.option(
            "--expect", "outputs", multiple=True, metavar="PATH",
            help="A file that each frame must produce beyond its renderer's own, for example 'depth{frame:04}.exr'.",
        ),
        click.option(
            "--attempts", type=click.IntRange(1, MOST_ATTEMPTS), help="What a frame gets before it fails (default 3)."
        ),
        click.option("--output-limit", metavar="SIZE", help="What all that an attempt writes may take: 500M."),
        click.option("--memory-limit", metavar="SIZE", help="What an attempt's processes may use together: 4G."),
        click.option("--silence-limit", metavar="TIME", help="Without a word, an attempt is ended after this: 5m."),
        click.option("--time-limit", metavar="TIME", help="What an attempt may take: 90s, 20m, 2h (default 24h)."),
        click.option(
            "--set", "settings", multiple=True, callback=_settings, metavar="KEY=VALUE",
            help="A setting of the renderer.",
        ),
        click.option("--tiles", callback=_grid, metavar="CxR", help="Divide each image into columns and rows, as 4x4."),
        click.option("--scene", metavar="NAME", help="The scene, in a directory that holds several."),
        click.option("--renderer", "-r", help="The renderer, where the scene's name does not tell."),
        click.option(
            "--priority", type=click.IntRange(0, 100), help="0 to 100; larger is rendered earlier (default 50)."
        ),
        click.option("--pool", help="The pool of workers that renders it."),
        click.option("--name", "-n", help="What the job is called; the scene's name by default."),
        click.option("--size", "-s", callback=_size, metavar="WxH", help="Pixels of the images, for example 640x360."),
        click.option(
            "--frames", "-f", metavar="RANGE", help="Frames to render: 1-24, 1-100x2 (every second one), 3,7,12."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def video_options(command: Any) -> Any:
    """Add the options that say what a video is like."""
    for option in (
        click.option("--tonemap", type=click.Choice(words.TONEMAPS), help="EXR images: soft (default) or clip."),
        click.option(
            "--exposure", type=click.FloatRange(-20, 20), help="EXR images: stops to make the video brighter."
        ),
        click.option("--quality", type=click.Choice(words.QUALITIES), help="Of the video (default high)."),
        click.option("--codec", type=click.Choice(list(words.CONTAINERS)), help="Of the video (default h264)."),
        click.option(
            "--fps", type=click.FloatRange(0.1, 1000), default=words.FPS, show_default=True, help="Pictures per second."
        ),
    ):
        command = option(command)
    return command


def as_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the size taken apart, and the expected files in one list."""
    width, height = options.pop("size") or (None, None)
    outputs = [Output(path=path) for path in options.pop("outputs")]
    outputs += [Output(path=path, image=True) for path in options.pop("images")]
    return {**options, "width": width, "height": height, "outputs": outputs}
