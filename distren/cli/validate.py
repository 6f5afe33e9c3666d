"""`distren validate`: everything that is wrong with a job, before it is handed in."""

from __future__ import annotations

from pathlib import Path

import click

from distren.cli import human
from distren.cli.context import Cli, json_option, pass_cli
from distren.client.validate import Validation
from distren.client.validate import validate as examined
from distren.errors import JobFileError


@click.command(short_help="Say everything that is wrong with a job.")
@click.argument("source", metavar="FILE|DIRECTORY|TARBALL", type=click.Path(path_type=Path))
@json_option
@pass_cli
def validate(cli: Cli, source: Path) -> None:
    """Check a distrenjob.xml, or all files of a job, without handing it in.

    Says every error with its line and column, and what to write instead; ends with 3 where there is one.
    """
    found = examined(source)
    record = {
        "valid": not found.findings,
        "files": found.files,
        "problems": [
            {"file": one.file, "line": one.line, "column": one.column, "text": one.text} for one in found.findings
        ],
    }
    if cli.json or found.findings:
        cli.show(record, lambda: "\n".join(human.harmless(str(one)) for one in found.findings))
    else:
        cli.say(_good(source, found))
    if found.findings:
        raise JobFileError(f"{source} can not be submitted: {human.plural(len(found.findings), 'problem')}")


def _good(source: Path, found: Validation) -> str:
    assert found.spec is not None
    frames = human.plural(len(found.spec.every), "frame")
    return f"{source} is good: {frames} of '{found.spec.name}' for {', '.join(found.spec.renderers)}, " + human.plural(
        found.files, "file"
    )
