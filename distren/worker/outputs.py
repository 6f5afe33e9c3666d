"""What a render produced: checked file by file, then packed into the frame tarball."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from distren.domain.job import Blob
from distren.errors import OutputError, TarballError
from distren.renderers.protocol import AttemptFailed, Command, ExpectedFile
from distren.tarballs.writer import Member, write_tarball
from distren.wire.frames import Render
from distren.worker.process import Outcome


def expected(command: Command, render: Render) -> Command:
    """The command with the files that the job expects of the frame beyond those that the renderer does."""
    wanted = {file.name: file for file in command.outputs}
    for more in render.outputs:
        wanted[more.path] = ExpectedFile(name=more.path, image=more.image, width=more.width, height=more.height)
    return replace(command, outputs=tuple(wanted.values()))


def with_found(command: Command, found: Iterable[ExpectedFile]) -> Command:
    """The command with the files that its program says it has written, where it did not expect them anyway."""
    files = {file.name: file for file in (*found, *command.outputs)}
    return replace(command, outputs=tuple(files.values()))


def check(command: Command, folder: Path, outcome: Outcome) -> None:
    """Raise AttemptFailed unless the run was good and every expected file is in `folder`, whole and of the right size.

    An exit status of 0 is not believed: images are decoded to their last pixel.
    """
    if outcome.trouble is not None:
        raise AttemptFailed(outcome.trouble.text, permanent=outcome.trouble.permanent)
    for expected in command.outputs:
        _check_file(expected, folder / expected.name, Path(command.argv[0]).name)


def pack(command: Command, folder: Path, target: Path) -> Blob:
    """Write the frame tarball of every expected file to `target`. Raises AttemptFailed, OutputError."""
    members = (Member(path=expected.name, source=folder / expected.name) for expected in command.outputs)
    try:
        with target.open("w+b") as file:
            write_tarball(file, members)
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except TarballError as error:
        raise AttemptFailed(str(error)) from error
    except OSError as error:
        raise OutputError(f"the frame tarball can not be written to {target}: {error.strerror}") from error
    return Blob(digest=digest, size=size)


def _check_file(expected: ExpectedFile, path: Path, program: str) -> None:
    try:
        found = path.lstat()
    except OSError:
        raise AttemptFailed(f"{program} ended well, but did not write {expected.name}") from None
    if not stat.S_ISREG(found.st_mode):
        raise AttemptFailed(f"{program} left {expected.name}, which is no regular file")
    if not found.st_size:
        raise AttemptFailed(f"{program} ended well, but {expected.name} is empty")
    if expected.image:
        _check_image(expected, path, program)


def _check_image(expected: ExpectedFile, path: Path, program: str) -> None:
    import OpenImageIO  # here, as it takes a tenth of a second that a worker without images need not spend

    picture = OpenImageIO.ImageInput.open(str(path))
    if picture is None:
        raise AttemptFailed(f"{expected.name} by {program} is no image: {_one_line(OpenImageIO.geterror())}")
    try:
        spec = picture.spec()
        size = (spec.width, spec.height)
        if picture.read_image() is None:
            raise AttemptFailed(f"{expected.name} by {program} is damaged: {_one_line(picture.geterror())}")
        # what a decoder forgives (a JPEG that ends too early) is only told
        if complaint := picture.geterror():
            raise AttemptFailed(f"{expected.name} by {program} is damaged: {_one_line(complaint)}")
    finally:
        picture.close()
    wanted = (expected.width or size[0], expected.height or size[1])
    if size != wanted:
        raise AttemptFailed(
            f"{expected.name} by {program} has {size[0]}x{size[1]} pixels instead of {wanted[0]}x{wanted[1]}"
        )


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "it can not be decoded"
