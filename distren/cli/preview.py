"""`distren preview`: what a frame looks like, in the terminal or as a small file."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from distren.cli import terminal_picture
from distren.cli.context import Cli, json_option, pass_cli
from distren.client import preview as small
from distren.client.farm import Farm
from distren.client.fetch import check_writable
from distren.client.job import Job
from distren.domain.states import FrameState
from distren.errors import InputError, NotFound
from distren.renderers.needed import IMAGES


@click.command(short_help="Show a frame in the terminal.")
@click.argument("reference", metavar="JOB|FRAME")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Save it (.png, .jpg) instead.")
@click.option("--size", type=click.IntRange(8, 4096), default=small.LONGEST, show_default=True, metavar="PIXELS",
              help="The longer side at most.")  # fmt: skip
@click.option("--exposure", type=click.FloatRange(-20, 20), default=0.0, metavar="STOPS",
              help="Twice as bright for each stop; for EXR files above all.")  # fmt: skip
@click.option("--as", "way", type=click.Choice(["auto", "kitty", "iterm", "blocks"]), default="auto",
              help="How the terminal is told; found out by default.")  # fmt: skip
@json_option
@pass_cli
def preview(cli: Cli, reference: str, output: Path | None, size: int, exposure: float, way: str) -> None:
    """Show a frame, for example 17/frame/3; of a whole job the frame that was done last.

    EXR files are tone-mapped. Terminals of the kitty and iTerm2 kind show the picture itself, others coloured blocks.
    """
    if output is not None:
        check_writable(output.parent)
    with cli.farm() as farm, tempfile.TemporaryDirectory(prefix="distren-preview-") as folder:
        job, number = _frame(farm, reference)
        image = _image(job, number, Path(folder))
        pixels = small.read(image, longest=size, exposure=exposure)
        if output is not None:
            small.write(pixels, output)
        elif not cli.json:
            _show(image, pixels, Path(folder) / ".preview.png", way, exposure)
    height, width = pixels.shape[:2]
    record = {"job": job.id, "frame": number, "file": image.name, "width": width, "height": height}
    cli.show(record | {"output": None if output is None else str(output)}, lambda: _told(job, number, image, output))


def _told(job: Job, number: int, image: Path, output: Path | None) -> str:
    return f"{job.url}/frame/{number}  {image.name}" + (f" in {output}" if output is not None else "")


def _frame(farm: Farm, reference: str) -> tuple[Job, int]:
    """The frame that is named, or that a job has done last; raises NotFound where there is no picture yet."""
    if farm.resolve(reference).frame is not None:
        job, number = farm.frame(reference)
        if job.frame(number).state != FrameState.DONE:
            raise NotFound(f"frame {number} of job {job.id} is not done: 'distren show {reference}' says how far it is")
        return job, number
    job = farm.job(reference)
    done = list(job.frames([FrameState.DONE]))
    if not done:
        raise NotFound(f"no frame of job {job.id} is done yet: 'distren watch {job.id}' waits")
    return job, max(done, key=lambda frame: frame.ended or 0.0).frame


def _image(job: Job, number: int, folder: Path) -> Path:
    """The first image of a frame, brought to `folder`."""
    fetched = job.fetch(folder, [number])
    images = [path for paths in fetched.files.values() for path in paths if path.suffix.lower() in IMAGES]
    if not images:
        raise InputError(f"frame {number} of job {job.id} holds no image: 'distren fetch' brings what it holds")
    return folder / images[0]


def _show(image: Path, pixels: Any, scratch: Path, way: str, exposure: float) -> None:
    chosen = terminal_picture.way(os.environ) if way == "auto" else way
    if chosen == "blocks":
        columns, lines = shutil.get_terminal_size()
        fits = min(columns / pixels.shape[1], 2 * (lines - 2) / pixels.shape[0], 1.0)
        shown = small.read(image, longest=max(8, int(max(pixels.shape[:2]) * fits)), exposure=exposure)
        click.echo(terminal_picture.blocks(shown), nl=False, color=True)
        return
    small.write(pixels, scratch)
    made = terminal_picture.kitty if chosen == "kitty" else terminal_picture.iterm
    click.echo(made(scratch.read_bytes()), nl=False, color=True)
