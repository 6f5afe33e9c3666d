"""What a render produced: checked file by file, then packed into the frame tarball."""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import stat
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from distren.domain.job import Blob
from distren.errors import OutputError, TarballError
from distren.renderers.protocol import AttemptFailed, Command, ExpectedFile
from distren.tarballs.writer import Member, write_tarball
from distren.wire.frames import INLINE, Render
from distren.worker.process import Outcome


def expected(command: Command, render: Render) -> Command:
    """The command with the files that the job expects of the frame beyond those that the renderer does."""
    wanted = {file.name: file for file in command.outputs}
    for more in render.outputs:
        wanted[more.path] = ExpectedFile(name=more.path, image=more.image, width=more.width, height=more.height)
    return replace(command, outputs=tuple(wanted.values()))


def get_ready(command: Command) -> None:
    """Have what decodes images loaded, while the first program starts that may write some."""
    if command.request is not None or any(file.image for file in command.outputs):
        _load_decoder()


@functools.cache
def _load_decoder() -> None:
    def load() -> None:
        for name in ("OpenImageIO", "numpy"):
            importlib.import_module(name)

    threading.Thread(target=load, name="loads OpenImageIO").start()


def with_found(command: Command, found: Iterable[ExpectedFile]) -> Command:
    """The command with the files that its program says it has written, where it did not expect them anyway."""
    files = {file.name: file for file in (*found, *command.outputs)}
    return replace(command, outputs=tuple(files.values()))


def check(command: Command, folder: Path, outcome: Outcome) -> tuple[str, ...]:
    """Raise AttemptFailed unless the run was good and every expected file is in `folder`, whole and of the right size.

    An exit status of 0 is not believed: images are decoded to their last pixel. Returns what somebody should look at
    though it may be as it should: one line for each image that shows nothing, or holds values that are no numbers.
    """
    if outcome.trouble is not None:
        raise AttemptFailed(outcome.trouble.text, permanent=outcome.trouble.permanent)
    name = Path(command.argv[0]).name
    found = (_check_file(expected, folder / expected.name, name) for expected in command.outputs)
    return tuple(warning for warning in found if warning is not None)


def pack(command: Command, folder: Path, target: Path) -> tuple[Blob, bytes | Path]:
    """Make the frame tarball of every expected file: one that travels inside its event in memory, another in `target`.

    Returns what it is, with its bytes or with `target`. Raises AttemptFailed, OutputError.
    """
    members = [Member(path=expected.name, source=folder / expected.name) for expected in command.outputs]
    try:
        small = sum((folder / member.path).lstat().st_size for member in members) <= INLINE
        with io.BytesIO() if small else target.open("w+b") as file:
            write_tarball(file, members)
            size = file.tell()
            file.seek(0)
            blob = Blob(digest=hashlib.file_digest(file, "sha256").hexdigest(), size=size)
            if isinstance(file, io.BytesIO):
                if size <= INLINE:
                    return blob, file.getvalue()
                target.write_bytes(file.getvalue())
    except TarballError as error:
        raise AttemptFailed(str(error)) from error
    except OSError as error:
        raise OutputError(f"the frame tarball can not be written to {target}: {error.strerror}") from error
    return blob, target


def _check_file(expected: ExpectedFile, path: Path, program: str) -> str | None:
    try:
        found = path.lstat()
    except OSError:
        raise AttemptFailed(f"{program} ended well, but did not write {expected.name}") from None
    if not stat.S_ISREG(found.st_mode):
        raise AttemptFailed(f"{program} left {expected.name}, which is no regular file")
    if not found.st_size:
        raise AttemptFailed(f"{program} ended well, but {expected.name} is empty")
    return _check_image(expected, path, program) if expected.image else None


def _check_image(expected: ExpectedFile, path: Path, program: str) -> str | None:
    import OpenImageIO  # here, as it takes a tenth of a second that a worker without images need not spend

    picture = OpenImageIO.ImageInput.open(str(path))
    if picture is None:
        raise AttemptFailed(f"{expected.name} by {program} is no image: {_one_line(OpenImageIO.geterror())}")
    try:
        spec = picture.spec()
        size = (spec.width, spec.height)
        pixels = picture.read_image()
        if pixels is None:
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
    if expected.channels is not None and spec.nchannels != expected.channels:
        raise AttemptFailed(
            f"{expected.name} by {program} has {spec.nchannels} channels instead of {expected.channels}"
        )
    flaw = _flaw(pixels, spec.alpha_channel)
    return None if flaw is None else f"{expected.name} {flaw}"


def _flaw(pixels: Any, alpha: int) -> str | None:
    """What is strange about an image: an array of height x width x channels, of which number `alpha` is no colour."""
    import numpy

    values = numpy.asarray(pixels)
    values = values.reshape(values.shape[0], -1, values.shape[-1])
    if values.dtype.kind == "f" and not numpy.isfinite(values).all():
        return "holds pixels that are no numbers (NaN or infinite)"
    if 0 <= alpha < values.shape[-1]:
        if not values[..., alpha].any():
            return "is empty: all of it is transparent"
        values = numpy.delete(values, alpha, axis=-1) if values.shape[-1] > 1 else values
    return None if values.any() else "is black all over"


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "it can not be decoded"
