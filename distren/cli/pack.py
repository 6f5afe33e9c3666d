"""`distren pack`: a scene or a directory becomes a tarball with its distrenjob.xml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distren.cli import human
from distren.cli.context import Cli, json_option, pass_cli
from distren.cli.job_options import as_arguments, job_options
from distren.client import seed, seedfile
from distren.client.job import frame_numbers
from distren.client.wishes import Wishes


@click.command(short_help="Make a tarball that 'submit' takes, anywhere and later.")
@click.argument("source", metavar="SCENE|DIRECTORY", type=click.Path(path_type=Path))
@job_options
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE.tar", required=True,
    help="The tarball: .tar, .tar.gz, .tar.bz2, .tar.xz or .tar.zst.",
)  # fmt: skip
@json_option
@pass_cli
def pack(cli: Cli, /, source: Path, output: Path, **how: Any) -> None:
    """Make a tarball of a scene or a directory, with the distrenjob.xml that describes the job.

    The same files give the same bytes. 'distren submit' takes it, on this machine or another.
    """
    arguments = as_arguments(how)
    wishes = Wishes(**arguments | {"frames": frame_numbers(arguments["frames"])})
    with seed.pack(source, wishes) as packed:
        size = seedfile.write_seed(packed, output)
        spec, count = packed.spec, len(packed.files)
    record = {
        "output": str(output),
        "bytes": size,
        "files": count,
        "name": spec.name,
        "renderer": spec.renderer,
        "frames": len(spec.every),
    }
    told = f"{human.plural(len(spec.every), 'frame')} of '{spec.name}'"
    cli.show(record, lambda: f"{told}: {human.plural(count, 'file')}, {human.size(size)} in {output}")
