"""Exit codes: documented, stable, and given with one line."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from distren import errors
from distren.cli import errors as boundary
from distren.errors import DistrenError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md"


def every_error(kind: type[DistrenError] = DistrenError) -> list[type[DistrenError]]:
    children = (child for child in kind.__subclasses__() if child.__module__ == errors.__name__)
    return [kind, *(found for child in children for found in every_error(child))]


def test_the_page_lists_every_error_with_its_code() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert {name: int(code) for code, name in rows} == {kind.__name__: kind.exit_code for kind in every_error()}


@pytest.mark.parametrize("code", [boundary.USAGE, boundary.INTERNAL, boundary.INTERRUPTED])
def test_the_page_lists_the_codes_that_are_no_errors_of_ours(code: int) -> None:
    assert re.search(rf"^\| {code} \| \|", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.NotFound("no job 17"), 4, "distren: no job 17"),
        (errors.TarballError("a\nb"), 3, "distren: a b"),
        (click.UsageError("No such option: --x"), 2, "distren: No such option: --x (see 'distren --help')"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (OSError(28, "No space left on device", "/x"), 1, "distren: /x: No space left on device"),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_an_error_becomes_one_line_and_its_code(error: BaseException, code: int, line: str) -> None:
    assert boundary.exit_code(error) == code
    assert boundary.one_line(error, "distren") == line


def test_a_mistake_of_our_own_is_one_line_too() -> None:
    error = KeyError("x")
    assert boundary.exit_code(error) == boundary.INTERNAL
    assert boundary.one_line(error, "distren").startswith("distren: internal error, please report it: KeyError: 'x'")


def test_run_says_one_line_and_ends_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def fails() -> None:
        raise errors.Conflict("the name is taken")

    with pytest.raises(SystemExit) as ended:
        boundary.run(fails, "distren", [])
    assert ended.value.code == 8
    assert capsys.readouterr().err == "distren: the name is taken\n"


def test_debugging_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fails() -> None:
        raise errors.Conflict("the name is taken")

    monkeypatch.setenv("DISTREN_DEBUG", "1")
    with pytest.raises(SystemExit):
        boundary.run(fails, "distren", [])
    assert "Traceback" in capsys.readouterr().err
