"""The boundary where errors become one line on stderr and an exit code; no command shows a traceback.

DISTREN_DEBUG=1 in the environment shows the traceback as well.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import NoReturn

import click

from distren.errors import DistrenError

USAGE = 2
INTERNAL = 70
"""EX_SOFTWARE of sysexits.h: a mistake in DistRen itself"""
INTERRUPTED = 130
"""128 + SIGINT, as shells count"""


def run(command: click.Command, program: str, arguments: list[str] | None = None) -> NoReturn:
    """Run `command` and end the process: with 0, or with one line on stderr and the error's exit code."""
    try:
        result = command.main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        code = exit_code(error)
        line = one_line(error, program)
        if line:
            # What log lines say on stderr is above the error, never within it.
            logging.shutdown()
            click.echo(line, err=True)
        if os.environ.get("DISTREN_DEBUG") and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        _leave(code)
    _leave(result if isinstance(result, int) else 0)


def exit_code(error: BaseException) -> int:
    """The exit code that a command ends with because of `error`; the table is in docs/reference/exit-codes.md."""
    if isinstance(error, DistrenError):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return USAGE
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return DistrenError.exit_code
    return INTERNAL


def one_line(error: BaseException, program: str) -> str:
    """What is said about `error`, empty where nothing needs saying."""
    if isinstance(error, click.exceptions.Exit | SystemExit | click.Abort | KeyboardInterrupt | BrokenPipeError):
        return ""
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx is not None else program
        text = f"{error.format_message()} (see '{where} --help')"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, DistrenError):
        text = str(error)
    elif isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        text = f"{name}{error.strerror or error}"
    else:
        text = f"internal error, please report it: {type(error).__name__}: {error} (DISTREN_DEBUG=1 shows where)"
    return f"{program}: {' '.join(text.split())}"


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone: nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
