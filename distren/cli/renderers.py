"""`distren renderers`: what this machine can render with, what to install for the rest, and each one's settings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import click

from distren.cli import records, tables
from distren.cli.context import Cli, json_option, pass_cli
from distren.renderers import registry
from distren.worker import skills

_AT_ONCE = 8
"""programs that are asked for their version at once: some take a second"""


@click.command(short_help="List what this machine can render with, or a renderer's settings.")
@click.argument("name", metavar="[NAME]", required=False)
@json_option
@pass_cli
def renderers(cli: Cli, name: str | None) -> None:
    """List the renderers, which of them run on this machine, and what to install for the others.

    With a renderer's name, list its settings: what --set NAME=VALUE may say. Needs no farm.
    """
    settings = cli.settings()
    if name is not None:
        adapter = registry.named(name)
        declared = adapter.declaration.settings
        record = records.renderer(adapter, skills.probe(adapter, settings))
        record["settings"] = [records.setting(setting) for setting in declared]
        cli.show(record, lambda: tables.settings(declared))
        return
    known = [adapter for _, adapter in sorted(registry.installed().items())]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        probed = list(threads.map(lambda adapter: skills.probe(adapter, settings), known))
    found = list(zip(known, probed, strict=True))
    cli.show([records.renderer(*one) for one in found], lambda: tables.renderers(found))
