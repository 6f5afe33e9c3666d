"""--slots, --renderers, --pool, --name and --sandbox, for `distren-worker` and `distren up`."""

from __future__ import annotations

from typing import Any, Literal

import click

from distren.domain.job import DEFAULT_POOL


def _slots(_: click.Context, __: click.Parameter, text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if text.isascii() and text.isdigit() and 0 < int(text) <= 1024:
        return int(text)
    raise click.BadParameter(f"'{text}' is no number of slots: write 1 to 1024, or auto")


def worker_options(command: Any) -> Any:
    """Add the options of a worker to a command."""
    for option in (
        click.option("--name", metavar="NAME", help="The worker's name; the host's and a number by default."),
        click.option("--pool", default=DEFAULT_POOL, show_default=True, help="The pool that the worker belongs to."),
        click.option("--renderers", metavar="A,B", help="Offer only these renderers; by default all that run here."),
        click.option(
            "--sandbox", type=click.Choice(["auto", "on", "off"]), metavar="auto|on|off",
            help="Render in a sandbox: where that is possible (the default), only so, or never.",
        ),
        click.option(
            "--slots", callback=_slots, metavar="N|auto", default="auto", show_default=True,
            help="Renders at once; auto starts another while processor and memory are free.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command
